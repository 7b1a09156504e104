"""A running Relève for acceptance tests, each part in a process of its own.

A test acts by commands, by task names or through the simulator's admin interface. It reads the store, the registry
and the state in Redis through ``System.parts``, parts of its own on the same settings.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import redis
import requests
from celery import Celery

from config.settings import PREFIX, Settings
from drill.expected_documents import Loads, Truth, count_repeats, loads_by_key
from simulator.application import create_app
from simulator.switches import SimulatorOptions
from tests.support import servers
from tests.support.commands import CommandResult, run_releve
from tests.support.parts import Parts
from tests.support.simulators import run_in_background
from tests.support.waiting import DEADLINE_S, until
from worker.cli.status import asked_at
from worker.domain.documents import ALL_KEYS
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.domain.windows import PARIS
from worker.runtime.sync_parts import build_inline
from worker.stores.child_processes import ChildExit, Supervisor, answers, free_port

ROOT: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent
QUEUE_PREFIX: Final = "releve:celery:"
CALLBACK: Final = "http://127.0.0.1:9/back"  # Nobody listens there: only the redirect's address is read.

METER_NUMBER: Final = re.compile(r"(?<![\d.])\d{14}(?!\d)")  # A fraction of a second is no match.

NO_QUOTA: Final = {"CALLS_PER_SECOND": "0", "CALLS_PER_HOUR": "0"}
QUICK_START: Final = ("--without-mingle", "--without-gossip")
QUICK_HEALING: Final = {"INFLIGHT_EXPIRY_S": "3", "VISIBILITY_TIMEOUT_S": "3", "RECONCILE_EVERY_S": "1"}


class System:
    """A Relève whose processes a test starts one by one; ``settings`` are RELEVE_* names without the prefix."""

    def __init__(self, folder: Path, redis_url: str, settings: Mapping[str, str], opened: ExitStack) -> None:
        self.folder = folder
        self._began = time.monotonic()
        port = free_port()
        self.settings = {
            "DATA_DIR": str(folder / "data"),
            "ENEDIS_URL": f"http://127.0.0.1:{port}",
            "REDIS_URL": redis_url,
            **settings,
        }
        self.redis = opened.enter_context(redis.Redis.from_url(redis_url, decode_responses=True))
        self._supervisor = opened.enter_context(Supervisor())
        self._opened = opened
        self._starts = itertools.count(1)
        self._runs = itertools.count()
        self._pids: dict[str, int] = {}
        opened.callback(self._kill_all)
        self._asked_before: dict[str, dict[str, dict[Series, datetime | None]]] = {}
        self.publisher = Celery("tests", set_as_current=False)  # This process has an app of its own.
        self.publisher.config_from_object("config.celery_options")
        self.publisher.conf.update(broker_url=redis_url)
        opened.callback(self.publisher.close)

    # -- Processes

    def start_simulator(self, *options: str) -> None:
        port = str(urlsplit(self.settings["ENEDIS_URL"]).port)
        self.start_process("simulator", [BIN / "releve", "simulate", "--port", port, *options])
        health = f"{self.settings['ENEDIS_URL']}/__sim__/health"
        self._supervisor.wait_until_ready("simulator", lambda: answers(health))

    def serve_simulator(self, **options: Any) -> None:
        """Serve a simulator in a thread of this process, which saves the start of a process."""
        pretended = self._present(self.settings).get("PRETEND_NOW")
        now = datetime.fromisoformat(pretended) if pretended else None
        port = urlsplit(self.settings["ENEDIS_URL"]).port
        app = create_app(SimulatorOptions(pretend_now=now, client_id=None, client_secret="", **options))
        self._opened.enter_context(run_in_background(app, port or 0))

    def start_worker(self, *options: str, app: str = "worker", **settings: str) -> Path:
        """Start a worker, wait until it is ready, and return its log; QUICK_START saves a second."""
        command = [BIN / "celery", "-A", app, "worker", "-l", "INFO", *options]
        log = self.start_process("worker", command, settings)
        self._supervisor.wait_until_ready("worker", lambda: " ready." in log.read_text())
        return log

    def start_beat(self) -> None:
        self.start_process("beat", [BIN / "celery", "-A", "worker", "beat", "-l", "INFO"])

    def start_web(self, *program: str) -> str:
        """Start the web service at RELEVE_PUBLIC_URL, which must be set, and return its address.

        ``program``: instead of ``releve``.
        """
        address = self.settings["PUBLIC_URL"]
        command = [*(program or [BIN / "releve"]), "web", "--port", str(urlsplit(address).port)]
        self.start_process("web", command)
        self._supervisor.wait_until_ready("web", lambda: answers(address))
        return address

    def stop(self, name: str) -> None:
        self._supervisor.stop_child(name)
        del self._pids[name]

    def is_running(self, name: str) -> bool:
        return name in self._pids

    def kill(self, name: str) -> None:
        """Kill the process and all its children with SIGKILL."""
        del self._pids[name]
        self._supervisor.kill_child(name)

    def exits(self) -> list[ChildExit]:
        """Return the ends of processes that nobody asked to end, each once."""
        return self._supervisor.collect_exits()

    def _kill_all(self) -> None:
        """Kill what still runs at the end: no test waits for goodbyes that it doesn't look at."""
        for name in [name for name in self._pids if self._supervisor.pid(name)]:
            self.kill(name)

    def start_process(
        self, name: str, command: list[Any], settings: Mapping[str, str] | None = None, code: Path = ROOT
    ) -> Path:
        """Start a process, of the ``code`` of another version too, and return its log."""
        log = self.folder / "logs" / f"{next(self._starts)}-{name}.log"
        env = self.environment(**(settings or {})) | {"PYTHONPATH": str(code)}
        self._pids[name] = self._supervisor.start(name, [str(word) for word in command], env=env, log_path=log)
        return log

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs").iterdir()))

    # -- Commands, tasks and the simulator

    def environment(self, **settings: str) -> dict[str, str]:
        return {PREFIX + name: value for name, value in self._present({**self.settings, **settings}).items()}

    def _present(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the settings with the pretended time of now, so that the clocks of all processes agree."""
        pretended = settings.get("PRETEND_NOW")
        elapsed = timedelta(seconds=time.monotonic() - self._began)
        now = {"PRETEND_NOW": (datetime.fromisoformat(pretended) + elapsed).isoformat()} if pretended else {}
        return {**settings, **now}

    def releve(self, *words: str, code: int = 0, **settings: str) -> CommandResult:
        """Run a command in this process, to save a second each; it must end with ``code``."""
        result = run_releve(self.folder, self.environment(**settings), *words)
        assert result.code == code, f"releve {words}: {result.code}, {result.err}"
        return result

    def query(self, *words: str, **settings: str) -> Any:
        """Run a command with ``--json`` and return what it prints."""
        return json.loads(self.releve(*words, "--json", **settings).out)

    def query_rows(self, *words: str, **settings: str) -> list[Any]:
        """Run a command that prints a list with ``--json`` and return its rows."""
        return self.releve(*words, "--json", **settings).rows

    def show_day(self, account: str, by: str, day: str) -> list[dict[str, Any]]:
        """Return the documents of one day, as ``releve show`` prints them."""
        words = ("show", account, "--by", by, "--from", day, "--to", day, "--format", "json")
        documents: list[dict[str, Any]] = json.loads(self.releve(*words).out)
        return documents

    def add_account(self, usage_point: str, *options: str, **settings: str) -> str:
        """Add an account, whose backfill is enqueued, and return its id."""
        account: str = self.query("accounts", "add", "--usage-point", usage_point, *options, **settings)["account"]
        return account

    def add_account_by_process(self, usage_point: str) -> str:
        """Add an account in a process of its own, for this one keeps the options of a Redis broker."""
        command = [BIN / "releve", "accounts", "add", "--usage-point", usage_point, "--json"]
        env = {**os.environ, **self.environment()}
        account: str = json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)["account"]
        return account

    def send_task(self, task: str, *args: Any) -> None:
        self.publisher.send_task(task, args=args)

    def simulator(self, method: str, path: str, body: Any = None) -> Any:
        """Call the simulator's admin interface, below ``/__sim__/``."""
        url = f"{self.settings['ENEDIS_URL']}/__sim__/{path}"
        answer = requests.request(method, url, json=body, timeout=DEADLINE_S)
        answer.raise_for_status()
        return answer.json()

    def report(self) -> Any:
        return self.simulator("GET", "report")

    def switch(self, usage_point: str, **switches: Any) -> None:
        self.simulator("POST", f"meters/{usage_point}", switches)

    def grant_consent(self, usage_point: str) -> Path:
        """Give the holder's consent on the simulator's page (v4); return a file with the token answer."""
        client = {"client_id": "releve-simulator", "client_secret": self.settings["ENEDIS_CLIENT_SECRET"]}
        parameters = {"client_id": client["client_id"], "response_type": "code", "state": "x", "duration": "P1Y"}
        page = requests.get(
            f"{self.settings['ENEDIS_URL']}/dataconnect/v1/oauth2/authorize",
            {**parameters, "usage_point_id": usage_point, "redirect_uri": CALLBACK},
            allow_redirects=False,
            timeout=DEADLINE_S,
        )
        code = parse_qs(urlsplit(page.headers["location"]).query)["code"][0]
        grant = {"grant_type": "authorization_code", "code": code, **client}
        answer = requests.post(f"{self.settings['ENEDIS_URL']}/v1/oauth2/token", grant, timeout=DEADLINE_S)
        file = self.folder / f"token-{usage_point}.json"
        file.write_text(answer.text)
        return file

    # -- Results

    @cached_property
    def parts(self) -> Parts:
        """The test's own parts, on the same settings."""
        settings = {name.lower(): value for name, value in self._present(self.settings).items()}
        return self._opened.enter_context(Parts(Settings.from_env(_env_file=None, **settings)))

    def wait_loaded(self, account: str) -> None:
        """Wait until every window of the account's history is done."""
        until(lambda: all(self.loaded(account, series) for series in USUAL_SERIES), f"the backfill of {account}")

    @contextmanager
    def slow_history(self, meter: str) -> Iterator[None]:
        """Run the block in the middle of a new account's history, which must be complete afterwards."""
        self.simulator("POST", "faults", {"path": "mesure_synchrone_auto", "delay_s": 0.4, "count": None})
        account = self.add_account_by_process(meter)
        until(lambda: self.parts.sync.history.count_days(account, Series.DAILY)[0] >= 365, "the first window")
        assert not self.loaded(account, Series.LOAD_CURVE)
        yield
        self.simulator("DELETE", "faults")
        self.wait_loaded(account)
        assert self.content(account) == self.truth(meter).expected_loads()

    def change_settings(self, **settings: str) -> None:
        """Change the settings from here on, and take an empty folder for embedded databases."""
        self.settings |= {"DATA_DIR": str(self.folder / f"data-{next(self._runs)}"), **settings}
        self.__dict__.pop("parts", None)

    def load_history_inline(self, account: str) -> None:
        """Load the account's history without the queue."""
        inline = build_inline(self.parts.stores, self.parts.sync, print_line=print)
        assert list(inline.run_history(account)) and not inline.failures

    def loaded(self, account: str, series: Series) -> bool:
        done, total = self.parts.sync.history.count_days(account, series)
        return done == total

    def run_night(self, *accounts: str) -> str:
        """Run one more night over the look-back of the pretended day, until it is done; return its run name."""
        run = self.start_night()
        for account in accounts:
            until(lambda account=account: self.has_run(account, run), f"the night of {account}")
        return run

    def start_night(self) -> str:
        """Ask every account again, as a night does, and return the run's name."""
        run = f"night-{next(self._runs)}"
        accounts = [account.id for account in self.parts.stores.registry.accounts.list_accounts()]
        self._asked_before[run] = {account: self._asked_at(account) for account in accounts}
        self.send_task("tasks.nightly.nightly_sync", "2100-01-01")  # The worker takes its own present time.
        return run

    def has_run(self, account: str, run: str, series_list: Iterable[Series] = USUAL_SERIES) -> bool:
        """Return whether the series were asked in this run, or since the night of ``nightly:<date>`` began."""
        asked = self._asked_at(account)
        if run.startswith("nightly:"):
            start = datetime.combine(date.fromisoformat(run.removeprefix("nightly:")), self._nightly_at, PARIS)
            return all((at := asked[series]) is not None and at >= start for series in series_list)
        return all(asked[series] != self._asked_before[run][account][series] for series in series_list)

    def _asked_at(self, account: str) -> dict[Series, datetime | None]:
        return asked_at(self.parts.stores.registry, self.parts.stores.registry.accounts.get(account))

    @property
    def _nightly_at(self) -> time_of_day:
        return time_of_day.fromisoformat(self.parts.stores.settings.nightly_at)

    def documents(self, account: str, period: Doctype) -> list[dict[str, Any]]:
        return self.parts.stores.measures.read(account, {period: ALL_KEYS})[period]

    def content(self, account: str) -> Loads:
        """Return all that is stored of an account; fail if a value is stored twice."""
        content: Loads = {}
        for period in Doctype:
            documents = self.documents(account, period)
            assert not count_repeats(documents), f"{period}: a moment is stored twice"
            content[period] = loads_by_key(documents)
        return content

    def revisions(self, account: str) -> dict[str, str]:
        return {
            f"{period}/{document['_id']}": document["_rev"]
            for period in Doctype
            for document in self.documents(account, period)
        }

    def truth(self, usage_point: str) -> Truth:
        """Return what the simulator says the meter measured, over the history that an account has."""
        daily, curve = (self.parts.sync.history.wanted_window(series) for series in USUAL_SERIES)
        assert daily and curve, "no history of both series"
        return Truth.fetch(self.settings["ENEDIS_URL"], usage_point, daily, curve)

    # -- The queue, read without a worker

    def messages(self) -> list[str]:
        """Return all messages that wait or are not acknowledged: envelope and body of each, as text."""
        waiting = [raw for key in self.queues() for raw in self.redis.lrange(key, 0, -1)]
        unacked_keys = self.redis.scan_iter(f"{QUEUE_PREFIX}unacked:*")
        unacked = [json.dumps(json.loads(raw)[0]) for key in unacked_keys for raw in self.redis.hvals(key)]
        return [_readable(json.loads(raw)) for raw in (*waiting, *unacked)]

    def queues(self) -> list[str]:
        names = ("steps", "control", "first_screen", "nightly", "repair", "backfill", "strangers")
        return [key for key in (QUEUE_PREFIX + name for name in names) if self.redis.exists(key)]


def _readable(message: dict[str, Any]) -> str:
    body = base64.b64decode(message["body"])
    if message["headers"].get("compression"):  # Kombu calls it gzip; the data is zlib.
        body = zlib.decompress(body)
    return json.dumps({**message, "body": body.decode()})


@contextmanager
def open_system(folder: Path, **settings: str) -> Iterator[System]:
    """Yield a system on a Redis of its own; all its processes end with the block."""
    with ExitStack() as opened:
        redis_url = opened.enter_context(servers.redis_server())
        yield System(folder, redis_url, settings, opened)
