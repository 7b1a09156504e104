"""A running Relève for acceptance tests: every part a process of its own, driven through its public doors.

What a test looks at (the store, the registry, the state) it reads through ``House.inside``, a runtime of its own
on the same settings; what it does, it does by command, by task name or through the simulator's admin.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import redis
import requests
from celery import Celery

from config.settings import PREFIX, Settings
from tests.support import servers
from tests.support.commands import run_here
from worker.cli.totals_check import Content, Truth, loads, repeats
from worker.domain.measures.readings import Period, Series
from worker.runtime.process import Runtime
from worker.stores.redis.child_processes import Supervisor, free_port
from worker.sync.inline import Inline

DEADLINE_S: Final = 20.0
ROOT: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent
QUEUE_PREFIX: Final = "releve:celery:"
CALLBACK: Final = "http://127.0.0.1:9/back"  # nobody listens: where it leads to is all that is read

METER_NUMBER: Final = re.compile(r"(?<![\d.])\d{14}(?!\d)")  # and no fraction of a second

NO_QUOTA: Final = {"CALLS_PER_SECOND": "0", "CALLS_PER_HOUR": "0"}
QUICKLY: Final = ("--without-mingle", "--without-gossip")
QUICK_HEALING: Final = {"INFLIGHT_EXPIRY_S": "3", "VISIBILITY_TIMEOUT_S": "3", "RECONCILE_EVERY_S": "1"}


def until(happened: Callable[[], Any], what: str = "it") -> Any:
    """What ``happened`` gives once it is true."""
    give_up = time.monotonic() + DEADLINE_S
    while not (found := happened()):
        assert time.monotonic() < give_up, f"{what} did not happen in {DEADLINE_S:.0f} s"
        time.sleep(0.05)
    return found


class House:
    """Starts nothing by itself but what is looked through; ``settings`` are RELEVE_* names without the prefix."""

    def __init__(self, folder: Path, redis_url: str, settings: Mapping[str, str], opened: ExitStack) -> None:
        self.folder = folder
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
        self.publisher = Celery("tests", set_as_current=False)  # this process has an app of its own
        self.publisher.config_from_object("config.celery_options")
        self.publisher.conf.update(broker_url=redis_url)
        opened.callback(self.publisher.close)

    # -- processes

    def start_simulator(self, *options: str) -> None:
        port = str(urlsplit(self.settings["ENEDIS_URL"]).port)
        self._start("simulator", [BIN / "releve", "simulate", "--port", port, *options])
        until(lambda: self._answers("/__sim__/health"), "the simulator's start")

    def start_worker(self, *options: str, app: str = "worker", **settings: str) -> Path:
        """A worker that is ready; its log.  See QUICKLY for one that is so a second earlier."""
        command = [BIN / "celery", "-A", app, "worker", "-l", "INFO", *options]
        log = self._start("worker", command, settings)
        until(lambda: " ready." in log.read_text() or self._fell("worker", log), "the worker's start")
        return log

    def start_beat(self) -> None:
        self._start("beat", [BIN / "celery", "-A", "worker", "beat", "-l", "INFO"])

    def start_web(self) -> str:
        """The connect service at RELEVE_PUBLIC_URL, which must be given; its address."""
        address = self.settings["PUBLIC_URL"]
        self._start("web", [BIN / "releve", "web", "--port", str(urlsplit(address).port)])
        until(lambda: _is_up(address), "the web service's start")
        return address

    def stop(self, name: str) -> None:
        self._supervisor.stop_child(name)
        del self._pids[name]

    def runs(self, name: str) -> bool:
        return name in self._pids

    def kill(self, name: str) -> None:
        """SIGKILL to it and all its children."""
        os.killpg(self._pids.pop(name), signal.SIGKILL)
        until(self._supervisor.ended, f"the end of {name}")

    def _start(self, name: str, command: list[Any], settings: Mapping[str, str] | None = None) -> Path:
        log = self.folder / "logs" / f"{next(self._starts)}-{name}.log"
        env = self.env(**(settings or {})) | {"PYTHONPATH": str(ROOT)}
        self._pids[name] = self._supervisor.start(name, [str(word) for word in command], env=env, log_path=log)
        return log

    def _fell(self, name: str, log: Path) -> None:
        assert not (ended := self._supervisor.ended()), f"{ended}: {log.read_text()[-2000:]}"

    def _answers(self, path: str) -> bool:
        return _is_up(self.settings["ENEDIS_URL"] + path)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs").iterdir()))

    # -- doors

    def env(self, **settings: str) -> dict[str, str]:
        return {PREFIX + name: value for name, value in {**self.settings, **settings}.items()}

    def releve(self, *words: str, code: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
        """The command in a process of its own, which must end with ``code``."""
        env = {**os.environ, **self.env(**settings)}
        done = subprocess.run([BIN / "releve", *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"releve {words}: {done.returncode}, {done.stderr}"
        return done

    def told(self, *words: str, **settings: str) -> Any:
        """The JSON that a command prints, which runs in this process: a hundred new ones would take minutes."""
        ended = run_here(self.folder, self.env(**settings), *words)
        assert ended.code == 0, f"releve {words}: {ended.code}, {ended.err}"
        return json.loads(ended.out)

    def ask(self, *words: str, **settings: str) -> Any:
        return self.told(*words, "--json", **settings)

    def shown(self, account: str, by: str, day: str) -> list[dict[str, Any]]:
        """What ``releve show`` prints of one day."""
        words = ("show", account, "--by", by, "--from", day, "--to", day, "--format", "json")
        documents: list[dict[str, Any]] = self.told(*words)
        return documents

    def add(self, usage_point: str, *options: str, **settings: str) -> str:
        """A new account's id; its backfill is enqueued."""
        account: str = self.ask("accounts", "add", "--usage-point", usage_point, *options, **settings)["account"]
        return account

    def send(self, task: str, *args: Any) -> None:
        self.publisher.send_task(task, args=args)

    def simulator(self, method: str, path: str, body: Any = None) -> Any:
        """The simulator's admin, below ``/__sim__/``."""
        url = f"{self.settings['ENEDIS_URL']}/__sim__/{path}"
        answer = requests.request(method, url, json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def report(self) -> Any:
        return self.simulator("GET", "report")

    def switch(self, usage_point: str, **switches: Any) -> None:
        self.simulator("POST", f"meters/{usage_point}", switches)

    def consent(self, usage_point: str) -> Path:
        """The holder's way through the consent page (v4): a file with the answer to the code's exchange."""
        client = {"client_id": "releve-simulator", "client_secret": self.settings["ENEDIS_CLIENT_SECRET"]}
        asked = {"client_id": client["client_id"], "response_type": "code", "state": "x", "duration": "P1Y"}
        page = requests.get(
            f"{self.settings['ENEDIS_URL']}/dataconnect/v1/oauth2/authorize",
            {**asked, "usage_point_id": usage_point, "redirect_uri": CALLBACK},
            allow_redirects=False,
            timeout=10,
        )
        code = parse_qs(urlsplit(page.headers["location"]).query)["code"][0]
        grant = {"grant_type": "authorization_code", "code": code, **client}
        answer = requests.post(f"{self.settings['ENEDIS_URL']}/v1/oauth2/token", grant, timeout=10)
        file = self.folder / f"token-{usage_point}.json"
        file.write_text(answer.text)
        return file

    # -- what came of it

    @cached_property
    def inside(self) -> Runtime:
        """A runtime of the test's own on the same settings."""
        given = {name.lower(): value for name, value in self.settings.items()}
        return self._opened.enter_context(Runtime(Settings.from_env(_env_file=None, **given)))

    def wait_loaded(self, account: str) -> None:
        """Until every window of its history is done."""
        until(lambda: all(self.loaded(account, series) for series in Series), f"the backfill of {account}")

    def move(self, **settings: str) -> None:
        """Other settings from here on, and an empty folder for whatever is embedded."""
        self.settings |= {"DATA_DIR": str(self.folder / f"data-{next(self._runs)}"), **settings}
        self.__dict__.pop("inside", None)

    def load_here(self, account: str) -> None:
        """Its history without the queue, where the way is not the matter."""
        here = Inline(self.inside, say=print)
        assert list(here.history(account)) and not here.failures

    def loaded(self, account: str, series: Series) -> bool:
        done, total = self.inside.history.days(account, series)
        return done == total

    def night(self, *accounts: str) -> str:
        """One more nightly run over the look-back of the pretended day; done when it ends."""
        run = self.begin_night()
        for account in accounts:
            until(lambda account=account: self.has_run(account, run), f"the night of {account}")
        return run

    def begin_night(self) -> str:
        """A date of its own, later than all before it: the newest night takes over from the others."""
        run_date = (date(2030, 1, 1) + timedelta(days=next(self._runs))).isoformat()
        self.send("tasks.schedule.nightly_sync", run_date)
        return f"nightly:{run_date}"

    def has_run(self, account: str, run: str, of: Iterable[Series] = tuple(Series)) -> bool:
        asked = list(of)
        states = self.inside.state.task_states([(account, series.value) for series in asked])
        return all(
            f"{series.value}/{run}" in (noted.get("last_run"), noted.get("failed_run"))
            for series, noted in zip(asked, states, strict=True)
        )

    def documents(self, account: str, period: Period) -> list[dict[str, Any]]:
        return self.inside.measures[period].read(account, "0", "~")

    def content(self, account: str) -> Content:
        """All that is stored of an account; nothing of it twice."""
        content: Content = {}
        for period in Period:
            documents = self.documents(account, period)
            assert not repeats(documents), f"{period}: a moment is stored twice"
            content[period] = loads(documents)
        return content

    def revisions(self, account: str) -> dict[str, str]:
        return {
            f"{period}/{document['_id']}": document["_rev"]
            for period in Period
            for document in self.documents(account, period)
        }

    def truth(self, usage_point: str) -> Truth:
        """What the simulator says the meter measured, over the history that an account has."""
        today = self.inside.dispatcher.today()
        daily = self._truth(usage_point, today - timedelta(days=1095), today)["daily"]
        curve = self._truth(usage_point, today - timedelta(days=self.inside.history.load_curve_days), today)[
            "load_curve"
        ]
        return Truth(daily, curve)

    def _truth(self, usage_point: str, start: date, end: date) -> Any:
        return self.simulator("GET", f"truth/{usage_point}?start={start}&end={end}")

    # -- the queue, looked at from outside

    def messages(self) -> list[str]:
        """All that waits or is not acknowledged: envelope and body of each, as text."""
        waiting = [raw for key in self.queues() for raw in self.redis.lrange(key, 0, -1)]
        hands = self.redis.scan_iter(f"{QUEUE_PREFIX}unacked:*")
        unacked = [json.dumps(json.loads(raw)[0]) for hand in hands for raw in self.redis.hvals(hand)]
        return [_readable(json.loads(raw)) for raw in (*waiting, *unacked)]

    def queues(self) -> list[str]:
        names = ("control", "first_screen", "nightly", "repair", "backfill")
        return [key for key in (QUEUE_PREFIX + name for name in names) if self.redis.exists(key)]


def _is_up(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.ConnectionError:
        return False


def _readable(message: dict[str, Any]) -> str:
    body = base64.b64decode(message["body"])
    if message["headers"].get("compression"):  # called gzip, and is zlib
        body = zlib.decompress(body)
    return json.dumps({**message, "body": body.decode()})


@contextmanager
def open_house(folder: Path, **settings: str) -> Iterator[House]:
    """A house on a Redis of its own; all its processes are gone at the end."""
    with ExitStack() as opened:
        redis_url = opened.enter_context(servers.redis_server())
        yield House(folder, redis_url, settings, opened)
