"""Servers of a drill: Redis, store, the simulator, the processes of Relève, a receiver, and the stores.

``open_servers`` starts them all.  The pretended day is 4 November 2024: every history contains the day of 25 hours.
Worker, beat, web, Redis and PostgreSQL are restarted after a kill, as an operator's supervisor does it.  A CouchDB
stands behind a relay.  The receiver keeps what the drill's webhook of measures is sent; the drill compares it with the
store.
"""

from __future__ import annotations

import hmac
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread, Timer
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psycopg
import requests
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.settings import PREFIX, get_settings
from drill.crash_worker import CLOCK_AHEAD_VARIABLE, CRASH_FOLDER_VARIABLE, LATE_FILE, set_clock
from drill.faults import CouchdbRelay
from drill.parts import process_exists, start_part, use_pretend_settings
from worker.clients.http_calls import SIGNATURE_HEADER, sign_body
from worker.domain.clock import real_clock
from worker.domain.documents import ALL_KEYS, key_of, start_of
from worker.domain.lanes import BROKER_PREFIX
from worker.domain.series import Series
from worker.domain.windows import PARIS
from worker.errors import PageNotReady, ProcessFailed
from worker.outputs.delivery import OutputDelivery
from worker.runtime.stores import Stores, open_stores
from worker.runtime.sync_parts import Sync, build_sync
from worker.stores.child_processes import (
    POLL_S,
    START_S,
    Supervisor,
    answers,
    free_port,
    last_log_line,
)
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.redis.connection import connect
from worker.stores.redis.embedded import find_server
from worker.stores.registry.outputs import OutboxTable

_RESPAWN_AFTER_S: Final = 0.5
_GRACE_S: Final = 20.0  # From SIGTERM to the supervisor's SIGKILL.
_CRASH_WITHIN_S: Final = 8.0  # An idle process reaches no crash point, so it is killed after this time.
_FULL_AT_BYTES: Final = 4096  # A page of SQLite is as large, so nearly every write fails.
_CELERY: Final = ("celery", "-A", "drill.crash_worker")
_QUICK_START_OPTIONS: Final = ("--without-mingle", "--without-gossip", "-l", "INFO")
POOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker-1": ("-P", "threads", "-c", "6"),
    "worker-2": ("-P", "threads", "-c", "6"),
    "worker-3": ("-P", "processes", "-c", "2"),  # Celery takes "prefork" for its default, which a setting overrides.
}
PREFORK: Final = "worker-3"
WEB: Final = "web"
REDIS: Final = "redis"
POSTGRES: Final = "postgresql"
COUCHDB: Final = "couchdb"
# That of the embedded Redis (worker/stores/redis/embedded.py).
_REDIS_CONF: Final = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""
_LATER: Final = timedelta(days=1)
Readings = dict[datetime, float]
_TIMEOUT_S: Final = 30.0
MEASURES: Final = "mesure_synchrone_auto|metering_data"  # Paths of Data Connect 2026, and of v4 and v5.
_USUAL_DELAY: Final = {"path": MEASURES, "delay_s": 0.25}
POUCHDB: Final = Path(".test-servers/node_modules/.bin/pouchdb-server")
PRETEND_NOW: Final = datetime(2024, 11, 4, 9, 0, tzinfo=PARIS)
_SUPPLIER_TIMEOUT_S: Final = 2
_CALLS_PER_SECOND: Final = 25
_FIRST_PROBE_S: Final = 1  # Faults last seconds here instead of hours.


class FaultySupervisor(Supervisor):
    """A supervisor with faults: it pauses children, or lets their disk be full."""

    def __init__(self, *, grace_s: float = 10.0) -> None:
        super().__init__(grace_s=grace_s)
        self._full: Collection[str] = ()  # Those whose disk is full, and what begins a command of their user.
        self._as_user: Sequence[str] = ()
        self._limited: set[int] = set()

    def is_ending(self, name: str) -> bool:
        """Return whether ``terminate`` was called for the child, and its exit hasn't been collected yet."""
        return self._children[name].terminated_at is not None

    def tree(self, name: str) -> list[int]:
        """Return the process ids of a child and of those that it has forked; none while it does not run."""
        if (parent := self.pid(name)) is None:
            return []
        children: list[int] = []
        for thread in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # The thread or the process ends just now.
                children += map(int, thread.read_text().split())
        return [parent, *children]

    def pause(self, name: str, seconds: float) -> Callable[[], None]:
        """Stop a child with SIGSTOP for this time, and return what waits for the end of that.

        A thread of its own ends it, because ours may wait for an answer of the paused child.
        """
        pids = self.tree(name)
        _send(pids, signal.SIGSTOP)
        end = Timer(seconds, _send, (pids, signal.SIGCONT))
        end.start()

        return end.join

    def fill_disk(self, names: Collection[str], as_user: Sequence[str] = ()) -> Callable[[], None]:
        """Let these children write nothing but the beginning of a file, and return what ends that.

        ``as_user`` begins a command of their user, where that is another one than ours.
        """
        self._full, self._as_user = names, as_user
        self.limit_new_processes()

        def end() -> None:
            self._full = ()
            for name in names:
                for pid in self.tree(name):
                    _limit_file_size(pid, None, as_user)
            self._limited.clear()

        return end

    def limit_new_processes(self) -> None:
        """Limit the files of those that have just started, too; call it every 0.1 s or so."""
        for name in self._full:
            if (pid := self.pid(name)) not in self._limited:
                for one in self.tree(name):  # Those that are forked from now on inherit the limit.
                    _limit_file_size(one, _FULL_AT_BYTES, self._as_user)
                self._limited |= {pid} if pid else set()


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _limit_file_size(pid: int, most_bytes: int | None, as_user: Sequence[str]) -> None:
    """Set the soft limit of a process, or lift it with None; do nothing for one that has ended."""
    limit = "unlimited" if most_bytes is None else most_bytes
    subprocess.run([*as_user, "prlimit", f"--pid={pid}", f"--fsize={limit}:"], capture_output=True, check=False)


class DrillProcesses(FaultySupervisor):
    """Workers, beats and web of a drill, restarted when they end; ``env`` returns the environment for each start."""

    def __init__(self, folder: Path, env: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(grace_s=_GRACE_S)
        self.env = env
        self._folder, self._crash_folder = folder, folder / "crashes"
        self._crash_folder.mkdir()
        self._extra_env: dict[str, Mapping[str, str]] = {}  # By name.
        # Moment of the order and process ids, by name.
        self._scheduled_crashes: dict[str, tuple[float, list[int]]] = {}

    def add_worker(self, name: str) -> None:
        """Start a worker of POOLS; ``tick`` keeps it running."""
        self._add(name, *_CELERY, "worker", *_QUICK_START_OPTIONS, "-n", f"{name}@drill", *POOLS[name])

    def add_beat(self, name: str) -> None:
        """Start a beat; ``tick`` keeps it running."""
        self._add(name, *_CELERY, "beat", "-l", "INFO", "-s", str(self._folder / f"{name}-schedule"))

    def add_web(self, port: int) -> None:
        """Start the web process; ``tick`` keeps it running."""
        self._add(WEB, "drill.crash_worker", "web", "--port", str(port))

    def _add(self, name: str, *command: str) -> None:
        def env() -> Mapping[str, str]:
            return {**self.env(), CRASH_FOLDER_VARIABLE: str(self._crash_folder), **self._extra_env.get(name, {})}

        log_path = self._folder / "logs" / f"{name}.log"
        argv = [sys.executable, "-m", *command]
        self.start(name, argv, env=env, log_path=log_path, respawn_after_s=_RESPAWN_AFTER_S)

    def killable_workers(self) -> list[str]:
        """Return the workers that run and have neither a scheduled crash nor a SIGTERM."""
        return [name for name in POOLS if self.is_killable(name)]

    def is_killable(self, name: str) -> bool:
        """Return whether a process runs and has neither a scheduled crash nor a SIGTERM."""
        return bool(self.pid(name)) and not self.is_ending(name) and name not in self._scheduled_crashes

    def forks(self, name: str) -> list[int]:
        """Return the processes that this one has forked."""
        return self.tree(name)[1:]

    def tick(self) -> list[tuple[str, int, int]]:
        """Start missing processes and kill overdue ones; return name, process id and exit code of those that ended.

        Call it every 0.1 s or so.
        """
        ends = [(end.name, end.pid, end.code) for end in self.collect_exits()]
        for name, _, _ in ends:
            self._cancel_crash(name)
        for name, (since, process_ids) in list(self._scheduled_crashes.items()):
            pid = self.pid(name)
            if pid and not all(map(process_exists, process_ids)):
                # A child crashed: its parent goes on, so the supervisor sees no exit.
                self._cancel_crash(name)
                ends.append((name, pid, -signal.SIGKILL))
            elif pid and time.monotonic() - since > _CRASH_WITHIN_S:
                self.kill(name)
        self.limit_new_processes()
        return ends

    def kill_fork(self, name: str, source: random.Random) -> bool:
        """Send SIGKILL to one forked process; return False if none runs."""
        forks = self.forks(name)
        with suppress(ProcessLookupError):
            if forks:
                os.kill(source.choice(forks), signal.SIGKILL)
                return True
        return False

    def schedule_crash(self, name: str, crash_points: int) -> None:
        """Let a process crash after so many crash points; in a pool of processes the first child that gets there."""
        if not (pid := self.pid(name)):
            return
        process_ids = self.forks(name) if name == PREFORK else [pid]
        for process_id in process_ids:
            # A rename is atomic, so the process never reads half a number.
            draft = self._crash_folder / f"{process_id}.draft"
            draft.write_text(str(crash_points))
            draft.rename(self._crash_folder / str(process_id))
        self._scheduled_crashes[name] = time.monotonic(), process_ids

    def make_writes_late(self) -> Callable[[], None]:
        """Let all processes halt before each write to the store, and return what ends that."""
        file = self._crash_folder / LATE_FILE
        file.touch()
        return file.unlink

    def _cancel_crash(self, name: str) -> None:
        """Cancel the crash of those processes that have not reached it."""
        for pid in self._scheduled_crashes.pop(name, (0.0, []))[1]:
            (self._crash_folder / str(pid)).unlink(missing_ok=True)

    def restart_with(self, name: str, **extra_env: str) -> None:
        """Kill a process and let it start again with more environment variables; without them with the usual ones."""
        self._extra_env[name] = extra_env
        self.kill(name)


class MeasuresReceiver:
    """A web server that takes signed measures; while ``away`` it answers 503."""

    def __init__(self) -> None:
        self.away = False
        self.requests = 0
        self._secret = secrets.token_hex(32)
        self._readings: defaultdict[tuple[str, str], Readings] = defaultdict(dict)
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.receiver = self  # type: ignore[attr-defined]
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True)
        self._output_id = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def set_up(self, stores: Stores) -> None:
        """Add this receiver as an output of all accounts."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}/measures"
        options = {"url": url, "secret": self._secret, "more": {}}
        self._output_id = stores.registry.outputs.insert("webhook", options, stores.now())

    def deliver_rest(self, stores: Stores, outputs: OutputDelivery) -> bool:
        """Deliver what waits, now that no window runs any more, and return whether all is sent."""
        # A day later each window that was killed counts as killed.
        outbox = OutboxTable(stores.registry.database, lambda: stores.now() + _LATER, timedelta(hours=2))
        stores.registry.outputs.end_wait(self._output_id)
        replace(outputs, outbox=outbox).deliver(self._output_id)
        return not stores.registry.outputs.get(self._output_id).waiting

    def count_differences(self, measures: MeasureStore, account_ids: Sequence[str]) -> int:
        """Return how many readings differ between the receiver and the store, or are in only one of the two."""
        return sum(self._count_differences(measures, account, series) for account in account_ids for series in Series)

    def _count_differences(self, measures: MeasureStore, account_id: str, series: Series) -> int:
        if series.is_state:
            return 0
        documents = measures.read(account_id, {series.inputs: ALL_KEYS})[series.inputs]
        stored = {start_of(key_of(document)): document["load"] for document in documents}
        received = self._readings[account_id, series.value]
        return sum(stored.get(start) != received.get(start) for start in stored.keys() | received.keys())

    def take(self, signature: str, body: bytes) -> int:
        """Keep the readings of a signed request, and return the status of the answer."""
        if self.away:
            return 503
        sent_at = signature.partition(",")[0].removeprefix("t=")
        if not hmac.compare_digest(signature, sign_body(self._secret, int(sent_at or 0), body)):
            return 401
        message = json.loads(body)
        with self._lock:
            self.requests += 1
            readings = self._readings[message["account"], message["series"]]
            begin, until = (datetime.fromisoformat(message[name]) for name in ("from", "until"))
            for start in [start for start in readings if begin <= start < until]:
                del readings[start]
            readings |= {datetime.fromisoformat(row["start"]): row["value"] for row in message["readings"]}
        return 204


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver: Any = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(receiver.take(self.headers[SIGNATURE_HEADER] or "", body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


def find_couchdb_program() -> list[str] | None:
    """Return the command of a checkout's pouchdb-server (tests/install_servers.sh); None without it or node."""
    node, program = shutil.which("node"), Path(__file__).parents[1] / POUCHDB
    return [node, str(program)] if node and program.exists() else None


def find_postgres() -> Path | None:
    """Return the folder of the newest PostgreSQL; Debian keeps it off the PATH or links only some programs there."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    folders = sorted(versions, key=lambda path: [int(part) for part in path.parent.name.split(".")])
    if on_path := shutil.which("postgres"):
        folders.append(Path(on_path).resolve().parent)
    found = (folder for folder in reversed(folders) if (folder / "initdb").exists() and (folder / "postgres").exists())
    return next(found, None)


def unprivileged_user() -> str | None:
    """Return the user that PostgreSQL runs as where we are root, for it refuses to run as root; None elsewhere."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names) if os.geteuid() == 0 else None


def as_user(user: str | None) -> list[str]:
    """Return what begins a command that is to run as the user; nothing if there is none."""
    if user is None:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups", "--"]


class DrillRedis:
    """Redis server with the faults of the drill; up when the constructor returns."""

    def __init__(self, supervisor: FaultySupervisor, folder: Path) -> None:
        self._supervisor, self._folder = supervisor, folder
        port, password = free_port(), secrets.token_urlsafe(24)
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        data = folder / "redis"
        data.mkdir(mode=0o700)
        (data / "server.conf").write_text(_REDIS_CONF.format(port=port, password=password, data=data))
        self.start()

    def start(self) -> None:
        """Start the server, also again after ``stop`` or ``kill``.  Raises WorkerError."""
        # On a full disk a write fails, but a file beyond its limit ends a process that does not ignore SIGXFSZ.
        command = ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", str(find_server())]
        self._supervisor.start(
            REDIS,
            [*command, str(self._folder / "redis" / "server.conf")],
            log_path=self._folder / "logs" / "redis.log",
            respawn_after_s=_RESPAWN_AFTER_S,
        )
        self._supervisor.wait_until_ready(REDIS, self._answers)

    def _answers(self) -> bool:
        with Redis.from_url(self.url, socket_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def stop(self) -> None:
        """End the server in order."""
        self._supervisor.stop_child(REDIS)

    def kill(self) -> None:
        """Send SIGKILL to the server, which stays away until ``start``."""
        self._supervisor.kill_child(REDIS)

    def leave(self) -> None:
        """Send SIGKILL to the server, and leave the rest to its supervisor."""
        self._supervisor.kill(REDIS)

    def stall(self, seconds: float) -> None:
        """Let the server answer nobody for this time; connections stay open."""
        with connect(self.url) as client:
            client.client_pause(round(seconds * 1000), all=True)

    def cut(self) -> None:
        """Close all connections, those that wait for messages too."""
        with connect(self.url) as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def lose_messages(self) -> None:
        """Delete all that the broker holds: messages that wait, and those that workers have taken."""
        with connect(self.url) as client:
            for kind in ("list", "hash", "zset"):
                for key in client.scan_iter(f"{BROKER_PREFIX}*", _type=kind):
                    client.delete(key)


class DrillPostgres:
    """PostgreSQL server of our own with two databases, whose URLs begin with ``url``; up when it is constructed."""

    def __init__(self, supervisor: FaultySupervisor, folder: Path) -> None:
        """Start an empty server.  Raises PageNotReady if none is installed, ProcessFailed if it fails."""
        binaries, user = find_postgres(), unprivileged_user()
        if binaries is None:
            raise PageNotReady("no PostgreSQL is installed here: install it, or choose another --store")
        self._supervisor, self._log = supervisor, folder / "logs" / "postgresql.log"
        port, password, data = free_port(), secrets.token_urlsafe(24), folder / "postgresql"
        data.mkdir(mode=0o700)
        (data / "password").write_text(f"{password}\n")
        self.as_user = as_user(user)
        if user is not None:
            folder.chmod(0o711)  # The way to its data.
            shutil.chown(data, user)
            shutil.chown(data / "password", user)
        cluster = ["-U", "releve", "-A", "scram-sha-256", f"--pwfile={data / 'password'}", "-E", "UTF8", "--no-locale"]
        initdb = [*self.as_user, str(binaries / "initdb"), "-D", str(data / "cluster"), *cluster, "--no-sync"]
        subprocess.run(initdb, cwd=data, check=True, capture_output=True)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._command = [*self.as_user, str(binaries / "postgres"), "-D", str(data / "cluster"), *options]
        self.url = f"postgresql://releve:{password}@127.0.0.1:{port}/"
        self.start()
        with psycopg.connect(f"{self.url}postgres", autocommit=True) as connection:
            for name in ("registry", "measures"):
                connection.execute(f"CREATE DATABASE {name}")

    def start(self) -> None:
        """Start the server, also again after ``kill``, and wait until it answers.  Raises ProcessFailed."""
        self._supervisor.start(POSTGRES, self._command, log_path=self._log, respawn_after_s=_RESPAWN_AFTER_S)
        deadline = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{POSTGRES} did not start: {last_log_line(self._log)}")
            self._supervisor.collect_exits()  # It refuses to start while processes of a killed one still end.
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(f"{self.url}postgres", connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def kill(self) -> None:
        """Send SIGKILL to the server, which stays away until ``start``; its processes for clients end by themselves."""
        self._supervisor.kill_child(POSTGRES)


class DrillCouchdb:
    """CouchDB-protocol server behind a relay: our own pouchdb-server, or the one of ``--measures-url``.

    Only our own is killed, paused or loses a database.
    """

    def __init__(self, supervisor: Supervisor, folder: Path, url: str | None) -> None:
        """Take the server at ``url`` (``couchdb+http://…``), or our own with None.  Raises PageNotReady."""
        self._supervisor, self._folder = supervisor, folder
        self.is_own = url is None
        self.url = url or f"couchdb+http://127.0.0.1:{free_port()}/"
        if urlsplit(self.url).scheme != "couchdb+http":
            raise PageNotReady("the drill can't use TLS: give a couchdb+http:// URL")
        self.relay = CouchdbRelay(self.url)

    def __enter__(self) -> Self:
        if self.is_own:
            self.start()
        self.relay.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.relay.__exit__(*error)

    def kill(self) -> bool:
        """Kill the server and return True; return False if it is not our own."""
        if self.is_own:
            self._supervisor.kill_child(COUCHDB)
        return self.is_own

    def start(self) -> None:
        """Start our own server, and wait until it answers.

        Raises PageNotReady if it is not installed, and ProcessFailed if it does not start.
        """
        program = find_couchdb_program()
        if program is None:
            raise PageNotReady("no CouchDB server was found: give --measures-url, or --store sqlite")
        port = urlsplit(self.url).port
        files = {"--dir": "couchdb", "--config": "couchdb.json"}
        paths = [word for name, file in files.items() for word in (name, str(self._folder / file))]
        command = [*program, "--host", "127.0.0.1", "--port", str(port), "--no-stdout-logs", "--no-color", *paths]
        (self._folder / "couchdb.json").write_text(f'{{"log": {{"file": "{self._folder / "logs" / "couchdb.log"}"}}}}')
        self._supervisor.start(COUCHDB, command, log_path=self._folder / "logs" / "couchdb-server.log")
        self._supervisor.wait_until_ready(COUCHDB, lambda: answers(f"http://127.0.0.1:{port}/"))

    def drop_database(self, source: random.Random) -> str:
        """Drop one of the databases of our own server with all that it holds, and return its name."""
        address = self.url.removeprefix("couchdb+")
        names = [name for name in requests.get(f"{address}_all_dbs", timeout=_TIMEOUT_S).json() if name[0] != "_"]
        name: str = source.choice(sorted(names))
        requests.delete(f"{address}{name}", timeout=_TIMEOUT_S).raise_for_status()
        return name


class DrillSimulator:
    """Simulator of the suppliers; ``admin`` calls its routes below ``/__sim__/``."""

    def __init__(self, supervisor: Supervisor, logs: Path) -> None:
        self._supervisor, self._logs = supervisor, logs
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, env: Mapping[str, str]) -> None:
        """Start the simulator with this environment, and wait until it answers.  Raises WorkerError."""
        start_part(self._supervisor, "simulator", "--port", str(self._port), env=env, logs=self._logs)
        self._supervisor.wait_until_ready("simulator", lambda: answers(f"{self.url}/__sim__/health"))
        self.clear_faults()

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call a route below ``/__sim__/`` and return its JSON."""
        answer = requests.request(method, f"{self.url}/__sim__/{path}", json=body, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def inject_faults(self, *faults: Mapping[str, Any]) -> None:
        """Let matching calls fail until ``clear_faults``; all others take 0.25 s, as with the real supplier."""
        self.admin("DELETE", "faults")
        self.admin("POST", "faults", [{"count": None, **fault} for fault in (*faults, _USUAL_DELAY)])

    def clear_faults(self) -> None:
        """End the faults; calls still take 0.25 s."""
        self.inject_faults()


@dataclass
class DrillServers:
    """Running servers and processes of a drill; ``folder`` has their logs and databases, ``web`` is a URL."""

    folder: Path
    stores: Stores
    sync: Sync
    supervisor: FaultySupervisor
    redis: DrillRedis
    couchdb: DrillCouchdb | None
    postgres: DrillPostgres | None
    simulator: DrillSimulator
    processes: DrillProcesses
    receiver: MeasuresReceiver
    web: str

    def tick(self) -> list[tuple[str, int, int]]:
        """Start again what is missing, and return the processes of Relève that ended; see ``DrillProcesses.tick``."""
        self.supervisor.collect_exits()
        self.supervisor.limit_new_processes()
        return self.processes.tick()


@contextmanager
def open_servers(
    folder: Path, *, preset: str, store: str, series: Sequence[Series], measures_url: str | None
) -> Iterator[DrillServers]:
    """Start servers, simulator and processes; at the end of the block stop everything, the workers first.

    The environment of this process is replaced by the drill's, so that a drill never uses the user's own settings.
    Raises PageNotReady if a server does not start.
    """
    ahead = PRETEND_NOW - datetime.now(UTC)
    with ExitStack() as resources:
        supervisor = resources.enter_context(FaultySupervisor())
        redis = DrillRedis(supervisor, folder)
        couchdb = postgres = None
        urls: dict[str, str] = {}
        if store.startswith(COUCHDB):
            couchdb = resources.enter_context(DrillCouchdb(supervisor, folder, measures_url))
            urls = {"measures_url": couchdb.url}
        elif store == POSTGRES:
            postgres = DrillPostgres(supervisor, folder)
            urls = {"registry_url": f"{postgres.url}registry", "measures_url": f"{postgres.url}measures"}
        simulator, web_port = DrillSimulator(supervisor, folder / "logs"), free_port()
        web = f"http://127.0.0.1:{web_port}"
        environment = use_pretend_settings(
            folder,
            preset,
            redis.url,
            simulator.url,
            **urls,
            public_url=web,
            session_key=secrets.token_urlsafe(48),
            layout="packed" if store == "couchdb-packed" else "plain",
            calls_per_second=_CALLS_PER_SECOND,
            calls_per_hour=0,
            grdf_calls_per_second=_CALLS_PER_SECOND,
            grdf_calls_per_day=0,
            series=",".join(series),
            supplier_timeout_s=_SUPPLIER_TIMEOUT_S,
            incident_probe_s=_FIRST_PROBE_S,
            pretend_now=PRETEND_NOW.isoformat(),
        )
        simulator.start(environment)

        def env() -> Mapping[str, str]:
            """Return the environment of a process that starts now, with the current pretended time."""
            relayed = {f"{PREFIX}MEASURES_URL": couchdb.relay.url} if couchdb else {}
            paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
            return {
                **environment,
                **relayed,
                f"{PREFIX}PRETEND_NOW": (real_clock() + ahead).isoformat(),
                CLOCK_AHEAD_VARIABLE: str(ahead.total_seconds()),
                "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in paths if path),
            }

        set_clock(ahead)
        stores = resources.enter_context(open_stores(get_settings(), guarded=False))
        receiver = resources.enter_context(MeasuresReceiver())
        receiver.set_up(stores)
        processes = resources.enter_context(DrillProcesses(folder, env))
        for name in POOLS:
            processes.add_worker(name)
        processes.add_beat("beat")
        processes.add_web(web_port)
        yield DrillServers(
            folder,
            stores,
            build_sync(stores),
            supervisor,
            redis,
            couchdb,
            postgres,
            simulator,
            processes,
            receiver,
            web,
        )
