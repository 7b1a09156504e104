"""Injection of each kind of fault into a drill, and how to undo it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from worker.drill.couchdb_relay import FaultMode
from worker.drill.crash_worker import CLOCK_AHEAD_VARIABLE, TWICE_VARIABLE
from worker.drill.processes import PREFORK, DrillProcesses
from worker.drill.schedule import KILLS, FaultKind, PlannedFault
from worker.drill.servers import MEASURES, DrillCouchdb, DrillRedis, DrillSimulator

_TOKENS: Final = r"oauth2/(v3/)?token"
_MOST_CRASH_POINTS: Final = 60  # A window has about 30.
_CLOCK_BACK_S: Final = 3600.0
_FULL_AT_BYTES: Final = 4096  # A page of SQLite is as large, so nearly every write fails.
_SECOND_BEAT: Final = "beat-2"
_HTML: Final = "<html><body>maintenance</body></html>"

Undo = Callable[[], None]
_COUCHDB_MODES: Final = {
    FaultKind.COUCH_SLOW: FaultMode.SLOW,
    FaultKind.COUCH_CONFLICTS: FaultMode.CONFLICTS,
    FaultKind.COUCH_ERRORS: FaultMode.ERRORS,
    FaultKind.COUCH_HALF: FaultMode.HALF,
    FaultKind.COUCH_CUT: FaultMode.LOST,
}
_SUPPLIER_FAULTS: Final[dict[FaultKind, dict[str, Any]]] = {
    FaultKind.SUPPLIER_429: {"status": 429, "body": {"error": "quota"}, "headers": {"Retry-After": "3"}},
    FaultKind.SUPPLIER_HTML: {"status": 200, "body": _HTML},
    FaultKind.SUPPLIER_EMPTY: {"status": 200, "body": ""},
    FaultKind.SUPPLIER_SILENT: {"kind": "timeout", "delay_s": 30.0},
    FaultKind.SUPPLIER_TRUNCATED: {"kind": "truncated"},
}


class FaultInjector:
    """Injector of faults: ``kill`` returns the process that a kill hits, ``start`` how to undo a lasting fault.

    The drill sets ``empty_redis``, because it records the emptied accounts too.
    """

    def __init__(
        self,
        processes: DrillProcesses,
        redis: DrillRedis,
        couchdb: DrillCouchdb | None,
        simulator: DrillSimulator,
        measures: Path,
    ) -> None:
        self._processes, self._redis, self._couchdb, self._simulator = processes, redis, couchdb, simulator
        self._measures = measures
        self.empty_redis: Callable[[], None] = lambda: None

    def kill(self, fault: PlannedFault) -> tuple[str, int] | None:
        """Kill a process, or schedule its crash, and return its name and process id; None where none can be killed."""
        source = fault.random_source()
        if fault.kind is FaultKind.KILL_BEAT:
            pid = self._processes.pid("beat")
            self._processes.kill("beat")
            return ("beat", pid) if pid else None
        names = self._processes.killable_workers()
        if fault.kind is FaultKind.KILL_CHILD:
            names = [name for name in names if name == PREFORK]
        if not names:
            return None
        name = source.choice(names)
        pid = self._processes.pid(name)
        return (name, pid) if pid and self._send_kill(fault.kind, name, source) else None

    def _send_kill(self, kind: FaultKind, name: str, source: random.Random) -> bool:
        if kind is FaultKind.KILL_CHILD:
            return self._processes.kill_child(name, source)
        if kind is FaultKind.KILL_BETWEEN_WRITES:
            self._processes.schedule_crash(name, source.randint(1, _MOST_CRASH_POINTS))
        elif kind is FaultKind.TERM_WORKER:
            self._processes.terminate(name)
        else:
            self._processes.kill(name)
        return True

    def start(self, fault: PlannedFault) -> Undo:
        """Begin a lasting or instant fault and return what ends it."""
        kind, source = fault.kind, fault.random_source()
        assert kind not in KILLS  # noqa: S101
        if kind in _SUPPLIER_FAULTS:
            return self._fail_supplier({"path": MEASURES, **_SUPPLIER_FAULTS[kind]})
        if kind in _COUCHDB_MODES:
            return self._set_couchdb_mode(_COUCHDB_MODES[kind])
        if kind is FaultKind.REDIS_STALLED:
            self._redis.stall(fault.lasts_s)  # It ends by itself.
            return _no_undo
        return _STARTERS[kind](self, source)

    def _fail_supplier(self, *faults: dict[str, Any]) -> Undo:
        self._simulator.inject_faults(*faults)
        return self._simulator.clear_faults

    def _set_couchdb_mode(self, mode: FaultMode) -> Undo:
        assert self._couchdb is not None  # noqa: S101 - the plan knows the store
        relay = self._couchdb.relay

        def undo() -> None:
            relay.mode = FaultMode.PASS

        relay.mode = mode
        return undo

    def _answer_5xx(self, source: random.Random) -> Undo:
        body = _HTML if source.random() < 0.5 else {"error": "technical_error"}
        return self._fail_supplier({"path": MEASURES, "status": source.choice((500, 502, 503, 504)), "body": body})

    def _lose_tokens(self, _: random.Random) -> Undo:
        self._simulator.admin("DELETE", "tokens")
        return self._fail_supplier({"path": _TOKENS, "kind": "refresh_lost"})

    def _restart_redis(self, _: random.Random) -> Undo:
        self._redis.stop()
        return self._redis.start

    def _kill_redis(self, _: random.Random) -> Undo:
        self._redis.kill()
        return self._redis.start

    def _kill_redis_in_retry(self, source: random.Random) -> Undo:
        """Let the store or the supplier refuse, so that workers hold retries, and kill Redis at the end of that."""
        end_refusal = self._set_couchdb_mode(FaultMode.ERRORS) if self._couchdb else self._answer_5xx(source)

        def undo() -> None:
            self._redis.kill()
            end_refusal()
            self._redis.start()

        return undo

    def _empty_redis(self, _: random.Random) -> Undo:
        self.empty_redis()
        return _no_undo

    def _cut_redis(self, _: random.Random) -> Undo:
        self._redis.cut()
        return _no_undo

    def _lose_messages(self, _: random.Random) -> Undo:
        self._redis.lose_messages()
        return _no_undo

    def _stop_couchdb(self, _: random.Random) -> Undo:
        assert self._couchdb is not None  # noqa: S101 - the plan knows the store
        return self._couchdb.start if self._couchdb.kill() else self._set_couchdb_mode(FaultMode.AWAY)

    def _lock_sqlite(self, _: random.Random) -> Undo:
        connection = sqlite3.connect(self._measures, timeout=10, isolation_level=None, check_same_thread=False)
        # A writer that holds the lock already makes this fail, and locks the file just as well.
        with suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
        return connection.close

    def _fill_disk(self, _: random.Random) -> Undo:
        self._processes.limit_file_size(_FULL_AT_BYTES)
        return lambda: self._processes.limit_file_size(None)

    def _start_second_beat(self, _: random.Random) -> Undo:
        self._processes.add_beat(_SECOND_BEAT)
        return lambda: self._processes.remove(_SECOND_BEAT)

    def _double_messages(self, _: random.Random) -> Undo:
        return self._restart_with(self._processes.worker_names, **{TWICE_VARIABLE: "1"})

    def _set_clock_back(self, source: random.Random) -> Undo:
        ahead = float(self._processes.env()[CLOCK_AHEAD_VARIABLE]) - _CLOCK_BACK_S
        return self._restart_with([source.choice(self._processes.worker_names)], **{CLOCK_AHEAD_VARIABLE: str(ahead)})

    def _restart_with(self, names: list[str], **env: str) -> Undo:
        def restart(**env: str) -> None:
            for name in names:
                self._processes.restart_with(name, **env)

        restart(**env)
        return restart


def _no_undo() -> None:
    """Undo an instant fault, which is over already."""


_STARTERS: Final[dict[FaultKind, Callable[[FaultInjector, random.Random], Undo]]] = {
    FaultKind.SUPPLIER_5XX: FaultInjector._answer_5xx,
    FaultKind.TOKEN_LOST: FaultInjector._lose_tokens,
    FaultKind.REDIS_RESTARTED: FaultInjector._restart_redis,
    FaultKind.REDIS_KILLED: FaultInjector._kill_redis,
    FaultKind.REDIS_KILLED_IN_RETRY: FaultInjector._kill_redis_in_retry,
    FaultKind.REDIS_EMPTIED: FaultInjector._empty_redis,
    FaultKind.REDIS_CUT: FaultInjector._cut_redis,
    FaultKind.MESSAGES_LOST: FaultInjector._lose_messages,
    FaultKind.COUCH_STOPPED: FaultInjector._stop_couchdb,
    FaultKind.SQLITE_LOCKED: FaultInjector._lock_sqlite,
    FaultKind.DISK_FULL: FaultInjector._fill_disk,
    FaultKind.TWO_BEATS: FaultInjector._start_second_beat,
    FaultKind.DOUBLED: FaultInjector._double_messages,
    FaultKind.CLOCK_BACK: FaultInjector._set_clock_back,
}
