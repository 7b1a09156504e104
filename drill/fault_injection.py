"""Injection of each kind of fault into a drill, and how to undo it."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from drill.crash_worker import CLOCK_AHEAD_VARIABLE, TWICE_VARIABLE
from drill.faults import FaultKind, PlannedFault
from drill.servers import COUCHDB, MEASURES, POOLS, POSTGRES, PREFORK, REDIS, WEB, DrillServers
from worker.domain.consistency import Law
from worker.errors import TransientError

_TOKENS: Final = r"oauth2/(v3/)?token"
_MOST_CRASH_POINTS: Final = 60  # A window has about 30.
_MOST_WEB_CRASH_POINTS: Final = 14  # A consent has about ten.
_CLOCK_BACK_S: Final = 3600.0
_OPERATOR_TRIES_AGAIN_S: Final = 3.0
_SECOND_BEAT: Final = "beat-2"
_HTML: Final = "<html><body>maintenance</body></html>"
Undo = Callable[[], None]
_PAUSED_SERVERS: Final = {
    FaultKind.COUCH_PAUSED: COUCHDB,
    FaultKind.POSTGRES_PAUSED: POSTGRES,
    FaultKind.REDIS_PAUSED: REDIS,
}
_SUPPLIER_FAULTS: Final[dict[FaultKind, dict[str, Any]]] = {
    FaultKind.SUPPLIER_429: {"status": 429, "body": {"error": "quota"}, "headers": {"Retry-After": "3"}},
    FaultKind.SUPPLIER_HTML: {"status": 200, "body": _HTML},
    FaultKind.SUPPLIER_EMPTY: {"status": 200, "body": ""},
    FaultKind.SUPPLIER_SILENT: {"kind": "timeout", "delay_s": 30.0},
    FaultKind.SUPPLIER_TRUNCATED: {"kind": "truncated"},
}


class LossRepair(threading.Thread):
    """A person who restores the content of a dropped database by ``releve migrate`` and ``verify --all --repair``.

    The verification runs once after the loss, and again once ``calm`` is set, until everything is stored that should be
    according to the registry.
    """

    def __init__(self, servers: DrillServers) -> None:
        super().__init__(name="repair of a loss", daemon=True)
        self._servers = servers
        self.calm = threading.Event()

    def run(self) -> None:
        while self._command("migrate") is None or self._command("verify", "--all", "--repair") is None:
            self.calm.wait(_OPERATOR_TRIES_AGAIN_S)
        self.calm.wait()
        while (found := self._command("verify", "--all", "--repair", "--json")) is None or Law.STORED in found:
            threading.Event().wait(_OPERATOR_TRIES_AGAIN_S)

    def _command(self, *words: str) -> str | None:
        """Return a command's output; None if it could not do its work."""
        folder = self._servers.folder
        argv, env = [sys.executable, "-m", "worker", *words], {**os.environ, **self._servers.processes.env()}
        ended = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        with (folder / "logs" / "operator.log").open("a") as log:
            log.write(f"releve {' '.join(words)}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        # A verification with findings ends with 1; so does an outage, but without the summary.
        return ended.stdout if ended.returncode == 0 or "accounts" in ended.stdout else None


class FaultInjector:
    """Injector of faults: ``kill`` returns the process that a kill hits, ``start`` how to undo a lasting fault."""

    def __init__(self, servers: DrillServers, account_ids: Callable[[], Iterable[str]]) -> None:
        self._servers, self._processes, self._account_ids = servers, servers.processes, account_ids
        self._repairs: list[LossRepair] = []

    def is_repaired(self) -> bool:
        """Return whether dropped databases are repaired; from now on, repairs continue until nothing is missing."""
        for repair in self._repairs:
            repair.calm.set()
        return not any(repair.is_alive() for repair in self._repairs)

    def kill(self, fault: PlannedFault) -> tuple[str, int] | None:
        """Kill a process, or schedule its crash, and return its name and process id; None if none can be killed."""
        source, processes = fault.random_source(), self._processes
        if fault.kind is FaultKind.KILL_BEAT:
            names = ["beat"]
        elif fault.kind is FaultKind.KILL_WEB:
            names = [WEB] if processes.is_killable(WEB) else []
        else:
            names = [
                name
                for name in processes.killable_workers()
                if fault.kind is not FaultKind.KILL_CHILD or name == PREFORK
            ]
        if not names:
            return None
        name = source.choice(names)
        pid = processes.pid(name)
        if fault.kind is FaultKind.KILL_CHILD and not processes.kill_fork(name, source):
            return None
        if fault.kind is FaultKind.KILL_BETWEEN_WRITES:
            processes.schedule_crash(name, source.randint(1, _MOST_CRASH_POINTS))
        elif fault.kind is FaultKind.KILL_WEB:
            processes.schedule_crash(name, source.randint(1, _MOST_WEB_CRASH_POINTS))
        elif fault.kind is FaultKind.TERM_WORKER:
            processes.terminate(name)
        elif fault.kind is not FaultKind.KILL_CHILD:
            processes.kill(name)
        return (name, pid) if pid else None

    def start(self, fault: PlannedFault) -> Undo:
        """Begin a lasting or instant fault and return the function that ends it."""
        kind, source = fault.kind, fault.random_source()
        if kind in _SUPPLIER_FAULTS:
            return self._fail_supplier(MEASURES, **_SUPPLIER_FAULTS[kind])
        match kind:
            case FaultKind.SUPPLIER_5XX:
                return self._answer_5xx(source)
            case FaultKind.TOKEN_LOST:
                self._servers.simulator.admin("DELETE", "tokens")
                return self._fail_supplier(_TOKENS, kind="refresh_lost")
            case FaultKind.COUCH_STOPPED:
                return self._stop_couchdb()
            case (
                FaultKind.COUCH_SLOW
                | FaultKind.COUCH_CONFLICTS
                | FaultKind.COUCH_ERRORS
                | FaultKind.COUCH_HALF
                | FaultKind.COUCH_CUT
            ):
                return self._fail_couchdb(kind)
            case FaultKind.SQLITE_LOCKED:
                return self._lock_sqlite()
            case FaultKind.DISK_FULL if self._servers.postgres:
                return self._servers.supervisor.fill_disk([POSTGRES], self._servers.postgres.as_user)
            case FaultKind.DISK_FULL:
                return self._processes.fill_disk([*POOLS, WEB])
            case FaultKind.WORKER_PAUSED:
                return self._processes.pause(source.choice(list(POOLS)), fault.lasts_s)
            case FaultKind.BEAT_PAUSED:
                return self._processes.pause("beat", fault.lasts_s)
            case FaultKind.COUCH_PAUSED | FaultKind.POSTGRES_PAUSED | FaultKind.REDIS_PAUSED:
                return self._servers.supervisor.pause(_PAUSED_SERVERS[kind], fault.lasts_s)
            case FaultKind.COUCH_DROPPED:
                return self._drop_database(source)
            case FaultKind.POSTGRES_KILLED:
                assert self._servers.postgres is not None  # noqa: S101 - the plan knows the store
                self._servers.postgres.kill()
                return self._servers.postgres.start
            case FaultKind.RECEIVER_AWAY:
                self._servers.receiver.away = True
                return partial(setattr, self._servers.receiver, "away", False)
            case FaultKind.TWO_BEATS:
                self._processes.add_beat(_SECOND_BEAT)
                return partial(self._processes.stop_child, _SECOND_BEAT)
            case FaultKind.DOUBLED:
                return self._restart_with(POOLS, **{TWICE_VARIABLE: "1"})
            case FaultKind.WRITES_LATE:
                return self._processes.make_writes_late()
            case FaultKind.CLOCK_BACK:
                ahead = float(self._processes.env()[CLOCK_AHEAD_VARIABLE]) - _CLOCK_BACK_S
                return self._restart_with([source.choice(list(POOLS))], **{CLOCK_AHEAD_VARIABLE: str(ahead)})
        return self._hit_redis(fault, source)

    def _hit_redis(self, fault: PlannedFault, source: random.Random) -> Undo:
        redis = self._servers.redis
        match fault.kind:
            case FaultKind.REDIS_RESTARTED | FaultKind.REDIS_KILLED:
                (redis.stop if fault.kind is FaultKind.REDIS_RESTARTED else redis.kill)()
                return redis.start
            case FaultKind.REDIS_KILLED_IN_RETRY:
                return self._kill_redis_in_retry(source)
            case FaultKind.REDIS_LEFT:
                redis.leave()
            case FaultKind.REDIS_FULL:
                return self._servers.supervisor.fill_disk([REDIS])
            case FaultKind.REDIS_EMPTIED:
                self._servers.stores.redis.flushall()
            case FaultKind.REDIS_CUT:
                redis.cut()
            case FaultKind.REDIS_STALLED:
                redis.stall(fault.lasts_s)
            case FaultKind.MESSAGES_LOST:
                with suppress(TransientError):
                    for account_id in self._account_ids():
                        # Like a worker that claims and publishes, but whose messages are lost.
                        self._servers.sync.claims.claim_look_backs(account_id)
                redis.lose_messages()
            case kind:
                raise ValueError(f"no way to begin: {kind}")
        return lambda: None  # It is over already, or ends by itself.

    def _fail_supplier(self, path: str, **fault: Any) -> Undo:
        self._servers.simulator.inject_faults({"path": path, **fault})
        return self._servers.simulator.clear_faults

    def _fail_couchdb(self, fault: FaultKind) -> Undo:
        assert self._servers.couchdb is not None  # noqa: S101 - the plan knows the store
        relay = self._servers.couchdb.relay
        relay.fault = fault
        return partial(setattr, relay, "fault", None)

    def _answer_5xx(self, source: random.Random) -> Undo:
        body = _HTML if source.random() < 0.5 else {"error": "technical_error"}
        return self._fail_supplier(MEASURES, status=source.choice((500, 502, 503, 504)), body=body)

    def _kill_redis_in_retry(self, source: random.Random) -> Undo:
        """Let the store or the supplier refuse, so that workers hold retries, and finally kill Redis."""
        end_refusal = self._fail_couchdb(FaultKind.COUCH_ERRORS) if self._servers.couchdb else self._answer_5xx(source)

        def undo() -> None:
            self._servers.redis.kill()
            end_refusal()
            self._servers.redis.start()

        return undo

    def _stop_couchdb(self) -> Undo:
        couchdb = self._servers.couchdb
        assert couchdb is not None  # noqa: S101 - the plan knows the store
        return couchdb.start if couchdb.kill() else self._fail_couchdb(FaultKind.COUCH_STOPPED)

    def _drop_database(self, source: random.Random) -> Undo:
        assert self._servers.couchdb is not None  # noqa: S101 - the plan knows the store
        self._servers.couchdb.drop_database(source)
        self._repairs.append(LossRepair(self._servers))
        return self._repairs[-1].start

    def _lock_sqlite(self) -> Undo:
        measures = self._servers.folder / "measures.db"
        connection = sqlite3.connect(measures, timeout=10, isolation_level=None, check_same_thread=False)
        # This fails if a writer already holds the lock, which locks the file just as well.
        with suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
        return connection.close

    def _restart_with(self, names: Iterable[str], **env: str) -> Undo:
        def restart(**env: str) -> None:
            for name in names:
                self._processes.restart_with(name, **env)

        restart(**env)
        return restart
