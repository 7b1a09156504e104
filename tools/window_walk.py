"""Count the calls of our functions that one nightly window takes, from beat's message to the totals stored.

python -m tools.window_walk [CHECKOUT …]

For each checkout (this one by default) it prints one JSON object.  Up to the moment when the totals are stored:
``calls`` of functions in another of our files, ``functions`` with those that stay in a file, ``files``, and ``climbs``,
the calls into a higher floor.  ``calls_to_the_end`` and ``files_to_the_end`` go on to the end of the last task.
``walk`` has the functions in the order of their first call, those that enter a file with a ``>``.

A function that is called for each reading counts once, and so does one that several steps call.  The window is the
look-back of daily values of a new account, with CouchDB in the plain layout and the preset of 2026, after another
account's in the same process: what is built once a process does not count.
"""

from __future__ import annotations

import configparser
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

OURS = ("tasks", "worker", "config")
NOW = "2024-07-25T09:00+02:00"
STORES, SYNC = "worker/stores/measures/", "worker/sync/"
METERS = ("30001640000011", "30001640000022")


class Walk:
    """A profile function that notes each first call of a function of ours, with its caller of ours."""

    def __init__(self, root: Path) -> None:
        self._root = str(root) + os.sep
        self.armed = self.counting = False
        self.steps: list[tuple[str, str, bool]] = []  # File, function, and whether the call entered the file.
        self.callers: set[tuple[str, str]] = set()
        self.until_totals: int | None = None  # The number of steps when the totals were stored.
        self._known: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if not self.counting or event not in {"call", "return"} or (name := self._name(frame)) is None:
            return
        caller: FrameType | None = frame.f_back
        while caller is not None and (caller_name := self._name(caller)) is None:
            caller = caller.f_back
        from_file = "" if caller is None or caller_name is None else caller_name[0]
        if event == "return":
            # The step ``store`` calls the measure store to write; readings and totals are stored when it comes back.
            if name[0].startswith(STORES) and from_file.startswith(SYNC) and "write" in name[1]:
                self.until_totals = len(self.steps)
            return
        if from_file:
            self.callers.add((from_file, name[0]))
        if name not in self._known:
            self._known.add(name)
            self.steps.append((*name, from_file != name[0]))

    def _name(self, frame: FrameType) -> tuple[str, str] | None:
        """Return file and function of a frame of ours; a comprehension is part of the function around it."""
        path, name = frame.f_code.co_filename, frame.f_code.co_qualname
        if not path.startswith(self._root) or name.rpartition(".")[2].startswith("<"):
            return None
        file = path.removeprefix(self._root)
        return (file, name) if file.partition(os.sep)[0] in OURS else None


def floors(root: Path) -> list[list[str]]:
    """Return the layers of the import contract, the highest first, each with its packages."""
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg")
    for section in parser.sections():
        if parser[section].get("type") == "layers":
            lines = parser[section]["layers"].strip().splitlines()
            return [[word.strip(" ()") for word in line.replace("|", ":").split(":")] for line in lines]
    return []


def climbs(root: Path, callers: set[tuple[str, str]]) -> list[str]:
    """Return the calls from a lower floor into a higher one, as ``file -> file``."""

    def floor_of(file: str) -> int:
        module = file.removesuffix(".py").replace(os.sep, ".")
        return next(
            (
                place
                for place, packages in enumerate(floors(root))
                if any(module == package or module.startswith(package + ".") for package in packages)
            ),
            -1,
        )

    pairs = {(caller, callee) for caller, callee in callers if floor_of(caller) > floor_of(callee) >= 0}
    return sorted(f"{caller} -> {callee}" for caller, callee in pairs)


@contextmanager
def simulator(root: Path) -> Iterator[str]:
    """Run the simulator of ``root`` and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "worker", "simulate", "--port", str(port)]
    env = {**os.environ, "RELEVE_PRETEND_NOW": NOW}
    with subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def walk(root: Path, couchdb: str) -> dict[str, Any]:
    """Run the window in a worker of this process, whose modules are those of ``root``, and return what was counted."""
    from celery.signals import task_postrun, task_prerun

    with ExitStack() as opened:
        folder = Path(tempfile.mkdtemp())
        settings = {
            "DATA_DIR": str(folder),
            "MEASURES_URL": couchdb,
            "LAYOUT": "plain",
            "ENEDIS_URL": opened.enter_context(simulator(root)),
            "PRETEND_NOW": NOW,
            "HISTORY_LOAD_DAYS": "7",
            "CALLS_PER_SECOND": "0",
            "CALLS_PER_HOUR": "0",
        }
        os.environ |= {f"RELEVE_{name}": str(value) for name, value in settings.items()}
        from worker.app import app
        from worker.runtime.current import get_runtime

        app.conf.update(worker_hijack_root_logger=False)
        app.loader.import_default_modules()
        runtime, measured, stored = get_runtime(), Walk(root), threading.Semaphore(0)

        def begin(task: Any, **_: object) -> None:
            if measured.armed and task.name == "tasks.nightly.nightly_sync":
                measured.counting = True

        def end(task: Any, args: Any, **_: object) -> None:
            if task.name == "tasks.pipeline.store":
                measured.counting = False
                stored.release()

        task_prerun.connect(begin, weak=False)
        task_postrun.connect(end, weak=False)
        threading.setprofile(measured)
        worker = app.Worker(pool="solo", without_mingle=True, without_gossip=True, loglevel="CRITICAL")
        threading.Thread(target=worker.start, daemon=True).start()
        for number, meter in enumerate(METERS):
            runtime.registry.add("enedis", meter, runtime.now(), token_needed=False)
            measured.armed = number == 1
            app.send_task("tasks.nightly.nightly_sync", args=(f"2024-07-{25 + number}",))
            for _ in range(2):  # Both series.
                if not stored.acquire(timeout=30):
                    raise SystemExit("no window was stored")
        totals = measured.steps[: measured.until_totals]
        files = [file for file, _, _ in totals]
        pairs = enumerate(pairwise(files))
        return {
            "checkout": str(root),
            "calls": sum(entered for _, _, entered in totals),
            "functions": len(totals),
            "files": len(set(files)),
            "returns_to_a_file": sum(before != file and file in files[:place] for place, (before, file) in pairs),
            "climbs": climbs(root, measured.callers),
            "calls_to_the_end": sum(entered for _, _, entered in measured.steps),
            "files_to_the_end": len({file for file, _, _ in measured.steps}),
            "walk": [f"{'> ' if entered else '  '}{file}:{name}" for file, name, entered in measured.steps],
        }


def main() -> None:
    if os.environ.get("WINDOW_WALK"):
        sys.stdout.write(json.dumps(walk(Path.cwd(), os.environ["WINDOW_WALK"])) + "\n")
        sys.stdout.flush()
        os._exit(0)  # The worker's threads would wait for messages.
    from tests.support.servers import couchdb_server

    for checkout in sys.argv[1:] or ["."]:
        with couchdb_server() as couchdb:
            root = Path(checkout).resolve()
            env = {**os.environ, "WINDOW_WALK": couchdb, "PYTHONPATH": str(root)}
            result = subprocess.run([sys.executable, __file__], cwd=root, env=env, stdout=subprocess.PIPE, check=True)
            sys.stdout.write(json.dumps(json.loads(result.stdout.splitlines()[-1]), indent=1) + "\n")


if __name__ == "__main__":
    main()
