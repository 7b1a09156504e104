"""Count the calls of our functions that a walk takes, such as a nightly window from beat's message to its totals.

python -m tools.window_walk [--walk NAME …] [CHECKOUT …]

For each checkout (this one by default) and walk (``window`` by default, ``--walk all`` for all) it prints one JSON
object. Up to the moment when the totals are stored, in other walks up to the end: ``calls`` of functions in another of
our files, ``functions`` with those that stay in a file, ``files``, ``returns_to_a_file`` and ``climbs``, the calls into
a higher floor. ``calls_to_the_end`` and ``files_to_the_end`` go on to the end of a window's last task. ``walk`` has the
functions in the order of their first call, those that enter a file with a ``>``.

A function that is called for each reading counts once, and so does one that several steps call. Of a walk, all is done
first for another account in the same process, so that what is built once a process does not count. All walks have
CouchDB in the plain layout, and the preset of 2026 but where they name another:

    window        the look-back of daily values of a new account, in a worker
    consent-v4    the callback of a consent, the worker's step, and the page that comes again
    consent-2026  the same
    page          the page of an account, by month
    page-new      the same before a window has brought a day, though days are stored: it has no chart
    api           the days of that month by the API
    import        ``releve import FILE`` with opening the stores; modules are imported before
    right         the declaration of a gas right, the worker's step, and the sweep that finds that its holder agreed
    output        one delivery to Home Assistant

A checkout is measured with its own ``tests/support``, so that the tree before a change can be compared with the one
after. The simulator runs in a process of its own; neither it nor the supplier's register of rights counts.

It needs the packages of the tests, and a CouchDB: the one that RELEVE_TEST_COUCHDB_URL names, or the stand-in that
``make servers`` installs (with node).
"""

from __future__ import annotations

import argparse
import configparser
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
import requests

OURS: Final = ("tasks", "worker", "config")
NOT_OURS: Final = ("worker/simulator/", "worker/drill/")  # Where they stood before 30 November 2026.
NOW: Final = "2024-07-25T09:00+02:00"
STORES, SYNC = "worker/stores/measures/", "worker/sync/"
METERS: Final = ("30001640000011", "30001640000022")
FIRST, LAST = date(2024, 7, 1), date(2024, 7, 24)


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

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count the calls of the block, in this thread and in those that are started from now on."""
        self.counting = True
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            self.counting = False

    def _name(self, frame: FrameType) -> tuple[str, str] | None:
        """Return file and function of a frame of ours; not of a template. A comprehension is part of its function."""
        path, name = frame.f_code.co_filename, frame.f_code.co_qualname
        if not (path.startswith(self._root) and path.endswith(".py")) or name.rpartition(".")[2].startswith("<"):
            return None
        file = path.removeprefix(self._root)
        return (file, name) if file.partition(os.sep)[0] in OURS and not file.startswith(NOT_OURS) else None


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
    layers = floors(root)

    def floor_of(file: str) -> int:
        module = file.removesuffix(".py").replace(os.sep, ".")
        return next(
            (
                place
                for place, packages in enumerate(layers)
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


# -- The walks


@dataclass(frozen=True)
class Place:
    """Where a walk is taken: an empty installation. Modules of ours are imported after its settings are given."""

    measured: Walk
    folder: Path
    supplier: str

    def parts(self, **settings: str) -> Any:
        """Return the parts of this process with these settings and the usual ones."""
        os.environ |= {f"RELEVE_{name}": value for name, value in settings.items()}
        from config.settings import get_settings
        from tests.support.parts import Parts, use_parts

        parts = Parts(get_settings())
        use_parts(pytest.MonkeyPatch(), parts)
        return parts


def walk_window(place: Place) -> None:
    """Run the night of one account after another in a worker of this process."""
    parts, measured, stored = place.parts(), place.measured, threading.Semaphore(0)
    from celery.signals import task_postrun, task_prerun

    from worker.app import app

    app.conf.update(worker_hijack_root_logger=False)
    app.loader.import_default_modules()

    def begin(task: Any, **_: object) -> None:
        if measured.armed and task.name == "tasks.nightly.nightly_sync":
            measured.counting = True

    def end(task: Any, args: Any, **_: object) -> None:
        if task.name == "tasks.pipeline.store":
            measured.counting = False
            stored.release()

    task_prerun.connect(begin, weak=False)
    task_postrun.connect(end, weak=False)
    worker = app.Worker(pool="solo", without_mingle=True, without_gossip=True, loglevel="CRITICAL")
    threading.Thread(target=worker.start, daemon=True).start()
    for number, meter in enumerate(METERS):
        parts.stores.registry.accounts.add("enedis", meter, parts.stores.now(), token_needed=False)
        measured.armed = number == 1
        app.send_task("tasks.nightly.nightly_sync", args=(f"2024-07-{25 + number}",))
        for _ in range(2):  # Both series.
            if not stored.acquire(timeout=30):
                raise SystemExit("no window was stored")


def walk_consent(place: Place, preset: str) -> None:
    """Connect two meters, each in a browser of its own."""
    parts = place.parts(PRESET=preset, PUBLIC_URL="http://testserver")
    from tests.support.connect_service import ConnectService

    service = ConnectService(parts, parts.create_app(), place.supplier)
    service.connect(service.browser(), METERS[0])
    browser = service.browser()
    way_back = service.begin(browser, METERS[1])
    with place.measured.count():
        answer = service.come_back(browser, way_back)
    expect(answer.status_code in (200, 303), answer.text)


def walk_page(place: Place, *, is_new: bool = False) -> None:
    """Load the page of two accounts, each in the browser of its household."""
    service, accounts = service_with_accounts(place) if is_new else service_with_days(place)
    for number, account in enumerate(accounts):
        browser = service.browser(account)
        if is_new:
            service.store_days(account, FIRST, [9_000] * 24)
        with place.measured.count() if number else ExitStack():
            page = browser.get(f"/accounts/{account}?by=month&at=2024-07-15")
        expect(page.status_code == 200 and ("chart-title" in page.text) != is_new, page.text)


def walk_api(place: Place) -> None:
    """Read the measures of two accounts with a token."""
    service, accounts = service_with_days(place)
    client = service.client()
    for number, account in enumerate(accounts):
        with place.measured.count() if number else ExitStack():
            answer = client.get(f"/api/accounts/{account}/measures?from=2024-07-01&to=2024-07-31")
        expect(answer.status_code == 200 and answer.json()["documents"], answer.text)


def walk_import(place: Place) -> None:
    """Import a file for each of two accounts, with the command, which opens the stores each time."""
    service_with_accounts(place)
    from tests.support.commands import run_releve
    from tests.support.made_files import hour_export

    env = {name: value for name, value in os.environ.items() if name.startswith("RELEVE_")}
    for number, meter in enumerate(METERS):
        file = place.folder / f"{number}.csv"
        file.write_text(hour_export(meter), encoding="utf-8")
        with place.measured.count() if number else ExitStack():
            ended = run_releve(place.folder, env, "import", str(file))
        expect(ended.code == 0 and "2 days new" in ended.out, ended.err)


def walk_right(place: Place) -> None:
    """Declare a gas right for each of two meters, to a register that stands for the supplier."""
    import pytest

    from tests.support.declared_rights import GAS, OTHER, PCE, opened
    from tests.support.right_register import RightRegister

    register = RightRegister(postcodes={PCE: "69001", OTHER: "69001"})
    register.install(pytest.MonkeyPatch())
    parts = place.parts(**{name.upper(): value for name, value in GAS.items()})
    opened(parts, register, OTHER, browser="c" * 64)
    with place.measured.count():
        account = opened(parts, register)
    expect(account.usage_point_id == PCE, "no account was opened")


def walk_output(place: Place) -> None:
    """Deliver the changes of one account after another."""
    service, accounts = service_with_days(place)
    parts = service.parts
    from tests.support.home_assistant_server import TOKEN, home_assistant_server
    from tests.support.output_home import Series, change_of

    with home_assistant_server() as server:
        options = {"url": server.url, "secret": TOKEN}
        output = parts.stores.registry.outputs.insert("home-assistant", options, parts.stores.now())
        for number, account in enumerate(accounts):
            with parts.stores.registry.outbox.noting(account, Series.DAILY) as note:
                note(change_of(Series.DAILY, FIRST, LAST))
            with place.measured.count() if number else ExitStack():
                sent = parts.outputs.deliver(output)
            expect(sent == 1, f"{sent} series were sent")


def service_with_accounts(place: Place) -> tuple[Any, list[str]]:
    """Return the application with its clients, and two accounts."""
    parts = place.parts()
    from tests.support.api_service import ApiService

    service = ApiService(parts, parts.create_app())
    return service, [service.add(int(meter[-6:])) for meter in METERS]


def service_with_days(place: Place) -> tuple[Any, list[str]]:
    """Return the same after the first look-back of both accounts, by a process of its own."""
    service, accounts = service_with_accounts(place)
    for account in accounts:
        subprocess.run([sys.executable, "-m", "worker", "sync", account, "--inline"], check=True, stdout=sys.stderr)
    return service, accounts


def expect(holds: object, otherwise: str) -> None:
    """End the program if a walk was not completed: its calls would be counted for another one."""
    if not holds:
        raise SystemExit(f"the walk did not come to its end: {otherwise[-2000:]}")


WALKS: Final[dict[str, Callable[[Place], None]]] = {
    "window": walk_window,
    "consent-v4": lambda place: walk_consent(place, "enedis-v4"),
    "consent-2026": lambda place: walk_consent(place, "enedis-2026"),
    "page": walk_page,
    "page-new": lambda place: walk_page(place, is_new=True),
    "api": walk_api,
    "import": walk_import,
    "right": walk_right,
    "output": walk_output,
}


def measure(root: Path, name: str, couchdb: str) -> dict[str, Any]:
    """Take a walk in this process, whose modules are those of ``root``, and return what was counted."""
    measured, folder = Walk(root), Path(tempfile.mkdtemp())
    with simulator(root) as supplier:
        settings = {
            "DATA_DIR": str(folder),
            "MEASURES_URL": couchdb,
            "LAYOUT": "plain",
            "ENEDIS_URL": supplier,
            "PRETEND_NOW": NOW,
            "HISTORY_LOAD_DAYS": "7",
            "CALLS_PER_SECOND": "0",
            "CALLS_PER_HOUR": "0",
        }
        os.environ |= {f"RELEVE_{name}": value for name, value in settings.items()}
        gc.disable()  # A collection in a walk would close what was left before, and that call would count.
        threading.setprofile(measured)
        WALKS[name](Place(measured, folder, supplier))
    steps = measured.steps[: measured.until_totals] if name == "window" else measured.steps
    files = [file for file, _, _ in steps]
    return {
        "checkout": str(root),
        "name": name,
        "calls": sum(entered for _, _, entered in steps),
        "functions": len(steps),
        "files": len(set(files)),
        "returns_to_a_file": sum(
            before != file and file in files[:place] for place, (before, file) in enumerate(pairwise(files))
        ),
        "climbs": climbs(root, measured.callers),
        "calls_to_the_end": sum(entered for _, _, entered in measured.steps),
        "files_to_the_end": len({file for file, _, _ in measured.steps}),
        "walk": [f"{'> ' if entered else '  '}{file}:{name}" for file, name, entered in measured.steps],
    }


def main() -> None:
    if asked := os.environ.get("WINDOW_WALK"):
        name, couchdb = asked.split(" ")
        sys.stdout.write(json.dumps(measure(Path.cwd(), name, couchdb)) + "\n")
        sys.stdout.flush()
        os._exit(0)  # The worker's threads would wait for messages.
    parser = argparse.ArgumentParser(
        prog="python -m tools.window_walk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkouts", nargs="*", default=["."], metavar="CHECKOUT", help="default: this one")
    names = ", ".join(WALKS)
    parser.add_argument("--walk", action="append", metavar="NAME", help=f"{names} or all; default: window")
    given = parser.parse_args()
    walks = given.walk or ["window"]
    for name in walks:
        if name not in (*WALKS, "all"):
            parser.error(f"no walk is called {name}")
    for checkout in given.checkouts:
        if not Path(checkout, "worker").is_dir():
            parser.error(f"{checkout} is no checkout")
    for checkout in given.checkouts:
        for name in WALKS if "all" in walks else walks:
            result = run(Path(checkout).resolve(), name)
            sys.stdout.write(json.dumps(json.loads(result), indent=1) + "\n")


def run(root: Path, name: str) -> str:
    """Take a walk in a process of its own, with an empty CouchDB, and return its last line."""
    from tests.support.servers import NotInstalled, couchdb_server

    try:
        with couchdb_server() as couchdb, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            requests.get(couchdb.removeprefix("couchdb+"), timeout=10).raise_for_status()
            env = {**os.environ, "WINDOW_WALK": f"{name} {couchdb}", "PYTHONPATH": str(root), "TMPDIR": folder}
            command = [sys.executable, __file__]
            result = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, text=True, check=False)
    except (NotInstalled, ValueError) as missing:
        raise SystemExit(f"window_walk: it needs a CouchDB; {missing}") from None
    except OSError:  # Its text may contain the password.
        raise SystemExit("window_walk: the CouchDB of RELEVE_TEST_COUCHDB_URL doesn't answer, or refuses") from None
    if result.returncode:
        raise SystemExit(f"window_walk: the walk {name} failed in {root}")
    return result.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()
