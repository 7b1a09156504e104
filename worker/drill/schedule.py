"""Which fault comes when: the same seed gives the same plan.

Kills come all along, every few seconds, whatever else is going on.  The other faults come one at a time with a
quiet gap behind each, in rounds that hold every kind once.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_FIRST_S: Final = 8.0  # the crew has its hands full by then
_KILL_EVERY_S: Final = (6.0, 11.0)
_AS_USUAL_FROM_S: Final = 90.0  # in a shorter drill kills come closer together
_LASTS_S: Final = (3.0, 10.0)
_GAP_S: Final = (6.0, 11.0)
_CALM_END_S: Final = 8.0  # no fault begins so late
_EVERY_KIND_FROM_S: Final = 300.0
_LEAST_S: Final = 3.0
_START_S: Final = 9.0  # where processes must start first


class FaultKind(StrEnum):
    """What goes wrong; the value is how the report calls it."""

    # to processes, at any moment
    KILL_BETWEEN_WRITES = "worker killed between two touches of the store"
    KILL_WORKER = "worker and its children killed"
    KILL_CHILD = "one child of a worker killed"
    KILL_BEAT = "beat killed"
    TERM_WORKER = "worker told to end, with work in hand"
    # to Redis
    REDIS_RESTARTED = "redis restarted"
    REDIS_KILLED = "redis killed"
    REDIS_EMPTIED = "redis emptied"
    REDIS_CUT = "redis connections cut"
    REDIS_STALLED = "redis stalled"
    REDIS_AWAY = "redis refuses connections"
    # to a CouchDB-protocol store
    COUCH_STOPPED = "couchdb killed"
    COUCH_SLOW = "couchdb slow"
    COUCH_CONFLICTS = "couchdb answers 409"
    COUCH_ERRORS = "couchdb answers 500"
    COUCH_HALF = "couchdb takes half a bulk"
    COUCH_CUT = "couchdb answers lost"
    # to a SQLite store
    SQLITE_LOCKED = "sqlite locked by another"
    DISK_FULL = "disk full"
    # to the supplier
    SUPPLIER_429 = "supplier answers 429"
    SUPPLIER_5XX = "supplier answers 500 and 503"
    SUPPLIER_HTML = "supplier answers HTML"
    SUPPLIER_EMPTY = "supplier answers nothing"
    SUPPLIER_SILENT = "supplier times out"
    SUPPLIER_TRUNCATED = "supplier's JSON truncated"
    TOKEN_LOST = "token answers lost"  # noqa: S105
    # to the order of things
    TWO_BEATS = "two beats"
    DOUBLED = "every message twice"
    CLOCK_BACK = "clock set back an hour"


BESIDE: Final = (
    FaultKind.TWO_BEATS,
    FaultKind.DOUBLED,
    FaultKind.CLOCK_BACK,
)  # processes start first, and work goes on meanwhile
AT_ONCE: Final = (FaultKind.REDIS_EMPTIED, FaultKind.REDIS_CUT)
KILLS: Final = (
    FaultKind.KILL_BETWEEN_WRITES,
    FaultKind.KILL_WORKER,
    FaultKind.KILL_CHILD,
    FaultKind.TERM_WORKER,
    FaultKind.KILL_BEAT,
)
_WEIGHTS: Final = (8, 5, 5, 2, 1)
_COUCH: Final = tuple(kind for kind in FaultKind if kind.name.startswith("COUCH"))
_SQLITE: Final = (FaultKind.SQLITE_LOCKED, FaultKind.DISK_FULL)


def others(couchdb: bool) -> tuple[FaultKind, ...]:
    """The kinds that last a while, of a drill over that store."""
    left_out = {*KILLS, *(_SQLITE if couchdb else _COUCH)}
    return tuple(kind for kind in FaultKind if kind not in left_out)


@dataclass(frozen=True, slots=True, order=True)
class Planned:
    """``at_s`` from the drill's start; ``lasts_s`` is 0 for what is over at once; ``seed``: its own luck."""

    at_s: float
    kind: FaultKind
    lasts_s: float
    seed: int

    def luck(self) -> random.Random:
        return random.Random(self.seed)


def plan(seed: int, seconds: float, *, couchdb: bool, without: Collection[FaultKind] = ()) -> list[Planned]:
    """The faults in their order; ``without`` those that this machine can't do."""
    end_s = seconds - min(_CALM_END_S, seconds / 4)
    kinds = [kind for kind in others(couchdb) if kind not in without]
    kills, storms = random.Random(f"{seed} kills"), random.Random(f"{seed} storms")
    planned = [*_kills(kills, end_s), *_storms(storms, end_s, kinds, seconds >= _EVERY_KIND_FROM_S)]
    return sorted(planned)


def _kills(luck: random.Random, end_s: float) -> Iterator[Planned]:
    """Each kind of kill once among the first, then by weight."""
    first = luck.sample(KILLS, len(KILLS))
    at_s = min(_FIRST_S, end_s / 3)
    hurry = min(1.0, max(0.3, end_s / _AS_USUAL_FROM_S))
    while at_s < end_s:
        kind = first.pop() if first else luck.choices(KILLS, _WEIGHTS)[0]
        yield Planned(round(at_s, 1), kind, 0.0, luck.getrandbits(32))
        at_s += hurry * luck.uniform(*_KILL_EVERY_S)


def _storms(luck: random.Random, end_s: float, kinds: Sequence[FaultKind], all_of_them: bool) -> Iterator[Planned]:
    """Rounds of every kind in an order of their own; squeezed where one round would not fit otherwise."""
    spans = [(luck.uniform(*_LASTS_S), luck.uniform(*_GAP_S)) for _ in kinds]
    begin_s = min(_FIRST_S, end_s / 3)
    room_s = end_s - begin_s - len(BESIDE) * _START_S
    squeeze = min(1.0, room_s / sum(map(sum, spans))) if all_of_them else 1.0
    at_s = begin_s
    while at_s < end_s:
        for kind, (lasts_s, gap_s) in zip(luck.sample(kinds, len(kinds)), spans, strict=True):
            if at_s >= end_s:
                return
            span_s = 0.0 if kind in AT_ONCE else max(lasts_s * squeeze, _START_S if kind in BESIDE else _LEAST_S)
            yield Planned(round(at_s, 1), kind, round(span_s, 1), luck.getrandbits(32))
            at_s += span_s + gap_s * squeeze
