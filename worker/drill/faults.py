"""What is done for each kind of fault, and how it is undone."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from worker.drill.couchdb_relay import FaultMode
from worker.drill.crash_worker import AHEAD
from worker.drill.processes import DOUBLING_APP, PREFORK, DrillProcesses
from worker.drill.relay import Line
from worker.drill.schedule import KILLS, FaultKind, Planned
from worker.drill.servers import MEASURES, Couch, Redis, Simulator

_TOKENS: Final = r"oauth2/(v3/)?token"
_MOST_TOUCHES: Final = 60  # a window is about 30
_BACK_S: Final = 3600.0
_FULL_AT_BYTES: Final = 4096  # of any file: SQLite's pages are as large
_SECOND_BEAT: Final = "beat-2"
_HTML: Final = "<html><body>maintenance</body></html>"

Undo = Callable[[], None]
_MOODS: Final = {
    FaultKind.COUCH_SLOW: FaultMode.SLOW,
    FaultKind.COUCH_CONFLICTS: FaultMode.CONFLICTS,
    FaultKind.COUCH_ERRORS: FaultMode.ERRORS,
    FaultKind.COUCH_HALF: FaultMode.HALF,
    FaultKind.COUCH_CUT: FaultMode.LOST,
}
_LINES: Final = {FaultKind.REDIS_STALLED: Line.STALL, FaultKind.REDIS_AWAY: Line.REFUSE}
_STORMS: Final[dict[FaultKind, dict[str, Any]]] = {
    FaultKind.SUPPLIER_429: {"status": 429, "body": {"error": "quota"}, "headers": {"Retry-After": "3"}},
    FaultKind.SUPPLIER_HTML: {"status": 200, "body": _HTML},
    FaultKind.SUPPLIER_EMPTY: {"status": 200, "body": ""},
    FaultKind.SUPPLIER_SILENT: {"kind": "timeout", "delay_s": 30.0},
    FaultKind.SUPPLIER_TRUNCATED: {"kind": "truncated"},
}


class FaultInjector:
    """Does them; ``kill`` says which worker process a kill is about to hit, ``start`` how to undo what lasts."""

    def __init__(
        self, crew: DrillProcesses, redis: Redis, couch: Couch | None, simulator: Simulator, measures: Path
    ) -> None:
        self._crew, self._redis, self._couch, self._simulator = crew, redis, couch, simulator
        self._measures = measures
        self.emptied: Callable[[], None] = lambda: None

    # -- kills

    def kill(self, fault: Planned) -> tuple[str, int] | None:
        """Whom it hits: the post and its process; None where nobody stands at any.  See ``Crew.doom`` for when."""
        luck = fault.luck()
        if fault.kind is FaultKind.KILL_BEAT:
            pid = self._crew.pid("beat")
            self._crew.kill("beat")
            return ("beat", pid) if pid else None
        posts = self._crew.unharmed()
        if fault.kind is FaultKind.KILL_CHILD:
            posts = [name for name in posts if name == PREFORK]
        if not posts:
            return None
        name = luck.choice(posts)
        pid = self._crew.pid(name)
        return (name, pid) if pid and self._kill(fault.kind, name, luck) else None

    def _kill(self, kind: FaultKind, name: str, luck: random.Random) -> bool:
        if kind is FaultKind.KILL_CHILD:
            return self._crew.kill_child(name, luck)
        if kind is FaultKind.KILL_BETWEEN_WRITES:
            self._crew.doom(name, luck.randint(1, _MOST_TOUCHES))
        elif kind is FaultKind.TERM_WORKER:
            self._crew.tell_to_end(name)
        else:
            self._crew.kill(name)
        return True

    # -- what lasts

    def start(self, fault: Planned) -> Undo:
        kind, luck = fault.kind, fault.luck()
        assert kind not in KILLS  # noqa: S101
        if kind in _STORMS:
            return self._storm({"path": MEASURES, **_STORMS[kind]})
        if kind in _MOODS:
            return self._mood(_MOODS[kind])
        if kind in _LINES:
            return self._line(_LINES[kind])
        return _OTHERS[kind](self, luck)

    def _storm(self, *faults: dict[str, Any]) -> Undo:
        self._simulator.storm(*faults)
        return self._simulator.calm

    def _mood(self, mood: FaultMode) -> Undo:
        assert self._couch is not None  # noqa: S101 - the plan knows the store
        relay = self._couch.relay

        def undo() -> None:
            relay.mood = FaultMode.PASS

        relay.mood = mood
        return undo

    def _line(self, line: Line) -> Undo:
        self._redis.relay.set_line(line)
        return lambda: self._redis.relay.set_line(Line.PASS)

    def _errors_of_its_own(self, luck: random.Random) -> Undo:
        body = _HTML if luck.random() < 0.5 else {"error": "technical_error"}
        return self._storm({"path": MEASURES, "status": luck.choice((500, 502, 503, 504)), "body": body})

    def _lose_tokens(self, _: random.Random) -> Undo:
        self._simulator.admin("DELETE", "tokens")
        return self._storm({"path": _TOKENS, "kind": "refresh_lost"})

    def _restart_redis(self, _: random.Random) -> Undo:
        self._redis.stop()
        return self._redis.start

    def _kill_redis(self, _: random.Random) -> Undo:
        self._redis.kill()
        return self._redis.start

    def _empty_redis(self, _: random.Random) -> Undo:
        self.emptied()
        return _nothing

    def _cut_redis(self, _: random.Random) -> Undo:
        self._redis.relay.cut()
        return _nothing

    def _stop_couch(self, _: random.Random) -> Undo:
        assert self._couch is not None  # noqa: S101 - the plan knows the store
        return self._couch.start if self._couch.kill() else self._mood(FaultMode.AWAY)

    def _lock_sqlite(self, _: random.Random) -> Undo:
        connection = sqlite3.connect(self._measures, timeout=10, isolation_level=None, check_same_thread=False)
        with suppress(sqlite3.OperationalError):  # always busy just now: then it is locked by another all the same
            connection.execute("BEGIN IMMEDIATE")
        return connection.close

    def _fill_disk(self, _: random.Random) -> Undo:
        self._crew.limit_files(_FULL_AT_BYTES)
        return lambda: self._crew.limit_files(None)

    def _second_beat(self, _: random.Random) -> Undo:
        self._crew.hire_beat(_SECOND_BEAT)
        return lambda: self._crew.dismiss(_SECOND_BEAT)

    def _double(self, _: random.Random) -> Undo:
        undoing = [self._as_another(name, DOUBLING_APP) for name in self._crew.names]

        def undo() -> None:
            for each in undoing:
                each()

        return undo

    def _set_clock_back(self, luck: random.Random) -> Undo:
        name = luck.choice(self._crew.names)
        ahead = float(self._crew.env()[AHEAD]) - _BACK_S
        return self._as_another(name, **{AHEAD: str(ahead)})

    def _as_another(self, name: str, app: str | None = None, **env: str) -> Undo:
        self._crew.restart_as(name, app, **env)
        return lambda: self._crew.restart_as(name)


def _nothing() -> None:
    """It was over at once."""


_OTHERS: Final[dict[FaultKind, Callable[[FaultInjector, random.Random], Undo]]] = {
    FaultKind.SUPPLIER_5XX: FaultInjector._errors_of_its_own,
    FaultKind.TOKEN_LOST: FaultInjector._lose_tokens,
    FaultKind.REDIS_RESTARTED: FaultInjector._restart_redis,
    FaultKind.REDIS_KILLED: FaultInjector._kill_redis,
    FaultKind.REDIS_EMPTIED: FaultInjector._empty_redis,
    FaultKind.REDIS_CUT: FaultInjector._cut_redis,
    FaultKind.COUCH_STOPPED: FaultInjector._stop_couch,
    FaultKind.SQLITE_LOCKED: FaultInjector._lock_sqlite,
    FaultKind.DISK_FULL: FaultInjector._fill_disk,
    FaultKind.TWO_BEATS: FaultInjector._second_beat,
    FaultKind.DOUBLED: FaultInjector._double,
    FaultKind.CLOCK_BACK: FaultInjector._set_clock_back,
}
