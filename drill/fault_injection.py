"""Injection of each kind of fault into a drill, and how to undo it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from drill.crash_worker import CLOCK_AHEAD_VARIABLE, TWICE_VARIABLE
from drill.faults import FaultKind, PlannedFault
from drill.servers import MEASURES, POOLS, PREFORK, DrillServers

_TOKENS: Final = r"oauth2/(v3/)?token"
_MOST_CRASH_POINTS: Final = 60  # A window has about 30.
_CLOCK_BACK_S: Final = 3600.0
_FULL_AT_BYTES: Final = 4096  # A page of SQLite is as large, so nearly every write fails.
_SECOND_BEAT: Final = "beat-2"
_HTML: Final = "<html><body>maintenance</body></html>"
Undo = Callable[[], None]
_SUPPLIER_FAULTS: Final[dict[FaultKind, dict[str, Any]]] = {
    FaultKind.SUPPLIER_429: {"status": 429, "body": {"error": "quota"}, "headers": {"Retry-After": "3"}},
    FaultKind.SUPPLIER_HTML: {"status": 200, "body": _HTML},
    FaultKind.SUPPLIER_EMPTY: {"status": 200, "body": ""},
    FaultKind.SUPPLIER_SILENT: {"kind": "timeout", "delay_s": 30.0},
    FaultKind.SUPPLIER_TRUNCATED: {"kind": "truncated"},
}


class FaultInjector:
    """Injector of faults: ``kill`` returns the process that a kill hits, ``start`` how to undo a lasting fault."""

    def __init__(self, servers: DrillServers) -> None:
        self._servers, self._processes = servers, servers.processes

    def kill(self, fault: PlannedFault) -> tuple[str, int] | None:
        """Kill a process, or schedule its crash, and return its name and process id; None where none can be killed."""
        source, processes = fault.random_source(), self._processes
        if fault.kind is FaultKind.KILL_BEAT:
            names = ["beat"]
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
        elif fault.kind is FaultKind.TERM_WORKER:
            processes.terminate(name)
        elif fault.kind is not FaultKind.KILL_CHILD:
            processes.kill(name)
        return (name, pid) if pid else None

    def start(self, fault: PlannedFault) -> Undo:
        """Begin a lasting or instant fault and return what ends it."""
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
            case FaultKind.DISK_FULL:
                self._processes.limit_file_size(_FULL_AT_BYTES)
                return partial(self._processes.limit_file_size, None)
            case FaultKind.RECEIVER_AWAY:
                self._servers.receiver.away = True
                return partial(setattr, self._servers.receiver, "away", False)
            case FaultKind.TWO_BEATS:
                self._processes.add_beat(_SECOND_BEAT)
                return partial(self._processes.stop_child, _SECOND_BEAT)
            case FaultKind.DOUBLED:
                return self._restart_with(POOLS, **{TWICE_VARIABLE: "1"})
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
            case FaultKind.REDIS_EMPTIED:
                self._servers.runtime.redis.flushall()
            case FaultKind.REDIS_CUT:
                redis.cut()
            case FaultKind.REDIS_STALLED:
                redis.stall(fault.lasts_s)
            case FaultKind.MESSAGES_LOST:
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
        """Let the store or the supplier refuse, so that workers hold retries, and kill Redis at the end of that."""
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

    def _lock_sqlite(self) -> Undo:
        measures = self._servers.folder / "measures.db"
        connection = sqlite3.connect(measures, timeout=10, isolation_level=None, check_same_thread=False)
        # A writer that holds the lock already makes this fail, and locks the file just as well.
        with suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
        return connection.close

    def _restart_with(self, names: Iterable[str], **env: str) -> Undo:
        def restart(**env: str) -> None:
            for name in names:
                self._processes.restart_with(name, **env)

        restart(**env)
        return restart
