"""Incidents in Redis: how each account was answered last, what is open, what is over.

    incident:ring:<series>     sorted set: the accounts asked lately, by when (µs)
    incident:last:<series>     hash: the same accounts, by how it went: ``kind calls window run claim``
    incident:tally:<series>    hash: how many of them went how
    incident:open:<slot>       hash: the incident, with its counts
    incident:failed:<slot>     hash: ``account/series`` it touched, with the window; capped
    incident:touched:<slot>    HyperLogLog of the accounts
    incident:relapses:<slot>   how often it ended within the hour
    incident:muted:<kind>      not to be opened for a while
    incident:past              list of those over, newest first; incident:replay: what was missed is to be asked for

All of it is bounded whatever the fleet.  Losing it costs seeing the incident anew, and the list of those that are over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from redis import Redis

from worker.domain.fleet.incidents import (
    BY_HAND_LASTS,
    LONGEST_WAIT,
    MOST_RELAPSES,
    SLOTS,
    FailureCount,
    Incident,
    IncidentKind,
)
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.stores.redis import incident_scripts as scripts
from worker.stores.redis.connection import PrefixedKeys, redis_errors

MOST_RECENT: Final = 1_000  # accounts looked at, for each series
MOST_FAILED: Final = 10_000  # windows remembered of an incident
MOST_PAST: Final = 200
OPEN_TTL_S: Final = 3 * 3600  # of an incident that nobody probes: a worker without beat must not wait for ever
RELAPSE_TTL_S: Final = 3600
RECENT_TTL_S: Final = 6 * 3600
REPLAY_TTL_S: Final = 24 * 3600
_COUNTS: Final = ("failed_calls", "windows_failed", "windows_held", "rounds", "relapses")
_NO_LIMIT: Final = 1_000_000


class IncidentStore(PrefixedKeys):
    """Every method raises StoreUnavailable.  ``clock_us``: for tests and simulations; None is the server's own."""

    def __init__(self, redis: Redis, prefix: str = "releve:", clock_us: Callable[[], int] | None = None) -> None:
        super().__init__(redis, prefix)
        self._clock_us = clock_us
        self._note = redis.register_script(scripts.NOTE)
        self._open = redis.register_script(scripts.OPEN)
        self._add = redis.register_script(scripts.ADD)
        self._count = redis.register_script(scripts.COUNT)
        self._turn = redis.register_script(scripts.TURN)
        self._close = redis.register_script(scripts.CLOSE)

    # -- how accounts are answered

    @redis_errors()
    def note(self, origin: WindowJob, kind: IncidentKind | None, minutes: float) -> FailureCount:
        """Note how an account was answered last (None: well); how many of those asked lately were answered alike."""
        keys = [self._of(what, origin["series"]) for what in ("ring", "last", "tally")]
        told = [origin["account_id"], kind or "", _window_text(origin)]
        failed, tried = self._note(keys=keys, args=[self._now(), *told, minutes * 60e6, MOST_RECENT, RECENT_TTL_S])
        return FailureCount(int(failed), int(tried))

    # -- what is open

    @redis_errors()
    def open(self, incident: Incident, first_wait_s: float) -> bool | None:
        """Whether it was opened by us; None where it must not be: it was muted, or has come again too often.

        What failed alike just before is its too.  One that comes again within the hour waits as long as the one before.
        """
        slot = incident.slot
        keys = [self._of(what, slot) for what in ("open", "failed", "touched", "relapses")]
        keys.append(self._of("muted", incident.kind.value))
        keys += [self._of("last", series.value) for series in incident.series]
        told = [incident.id, incident.kind.value, incident.began_at.isoformat()]
        relapses = _NO_LIMIT if incident.kind is IncidentKind.BY_HAND else MOST_RELAPSES
        limits = [first_wait_s * 1e6, LONGEST_WAIT, relapses, self._ttl_s(incident.kind, first_wait_s)]
        args = [self._now(), *told, *limits, *(series.value for series in incident.series)]
        opened = int(self._open(keys=keys, args=args))
        return None if opened < 0 else bool(opened)

    @redis_errors()
    def add(self, slot: str, origin: WindowJob) -> None:
        """One more that failed while it is open."""
        keys = [self._of(what, slot) for what in ("open", "failed", "touched")]
        account_id = origin["account_id"]
        member = f"{account_id}/{origin['series']}"
        self._add(keys=keys, args=[account_id, member, _window_text(origin), MOST_FAILED])

    @redis_errors()
    def count(self, slot: str, what: str) -> None:
        """One more of ``failed_calls``, ``windows_failed`` or ``windows_held``; nothing happens where it is over."""
        self._count(keys=[self._of("open", slot)], args=[what])

    @redis_errors()
    def all_open(self) -> dict[str, Incident]:
        """By slot."""
        with self._redis.pipeline(transaction=False) as pipe:
            for slot in SLOTS:
                pipe.hgetall(self._of("open", slot))
                pipe.pfcount(self._of("touched", slot))
            told = pipe.execute()
        return {slot: _to_incident(slot, told[2 * rank], told[2 * rank + 1]) for rank, slot in _found(told)}

    @redis_errors()
    def muted(self, kinds: Sequence[IncidentKind]) -> set[IncidentKind]:
        found = self._redis.mget([self._of("muted", kind.value) for kind in kinds])
        return {kind for kind, told in zip(kinds, found, strict=True) if told is not None}

    @redis_errors()
    def take_turn(self, incident: Incident, wait_s: float, first_wait_s: float) -> bool:
        """Whether its next round of canaries is due and ours; the one after is due in ``wait_s``."""
        keys = [self._of(what, incident.slot) for what in ("open", "failed", "touched")]
        ttl_s = self._ttl_s(incident.kind, first_wait_s)
        args = [self._now(), incident.id, incident.rounds, wait_s * 1e6, ttl_s]
        return bool(self._turn(keys=keys, args=args))

    @redis_errors()
    def some_failed(self, slot: str, most: int) -> list[WindowJob]:
        """Windows it touched, picked at random, none twice."""
        told: Any = self._redis.hrandfield(self._of("failed", slot), most, withvalues=True)
        return [_to_origin(member, text) for member, text in _pairs(told)]

    @redis_errors()
    def failed(self, slot: str) -> Iterator[WindowJob]:
        """All windows remembered of it; one may come twice."""
        for member, text in self._redis.hscan_iter(self._of("failed", slot), count=500):
            yield _to_origin(member, text)

    @redis_errors()
    def close(self, incident: Incident, ended_at: datetime, how: str, *, muted_s: int = 0) -> bool:
        """Whether it was us who closed it.  What was missed is to be replayed from then on."""
        slot = incident.slot
        keys = [self._of(what, slot) for what in ("open", "failed", "touched", "relapses")]
        keys += [self._key("incident", "past"), self._key("incident", "replay"), self._of("muted", incident.kind.value)]
        times = [RELAPSE_TTL_S, MOST_PAST, REPLAY_TTL_S, muted_s]
        return bool(self._close(keys=keys, args=[incident.id, slot, ended_at.isoformat(), how, *times]))

    # -- afterwards

    @redis_errors()
    def past(self) -> list[Incident]:
        """Those that are over, newest first."""
        told = [json.loads(text) for text in self._redis.lrange(self._key("incident", "past"), 0, -1)]
        return [_to_incident(fields["slot"], fields, int(fields["accounts"])) for fields in told]

    @redis_errors()
    def replay_due(self) -> bool:
        return bool(self._redis.exists(self._key("incident", "replay")))

    @redis_errors()
    def replayed(self) -> None:
        """It was asked for; twice is harmless."""
        self._redis.delete(self._key("incident", "replay"))

    def _of(self, what: str, which: str) -> str:
        return self._key("incident", what, which)

    def _now(self) -> int | str:
        return "" if self._clock_us is None else self._clock_us()

    def _ttl_s(self, kind: IncidentKind, first_wait_s: float) -> int:
        if kind is IncidentKind.BY_HAND:
            return int(BY_HAND_LASTS.total_seconds())
        return max(OPEN_TTL_S, int(first_wait_s * LONGEST_WAIT * 4))


def _window_text(origin: WindowJob) -> str:
    return " ".join((origin["start"], origin["end"], origin["run_id"], origin["claim"] or ""))


def _to_origin(member: str, text: str) -> WindowJob:
    account_id, _, series = member.partition("/")
    start, end, run_id, claim = text.split(" ", 3)
    return WindowJob(
        account_id=account_id, series=Series(series).value, start=start, end=end, run_id=run_id, claim=claim or None
    )


def _pairs(told: Any) -> list[tuple[str, str]]:
    """Redis' newer protocol sends pairs, the older one flat."""
    if told and isinstance(told[0], str):
        return list(zip(told[::2], told[1::2], strict=True))
    return [(member, text) for member, text in told or ()]


def _found(told: Sequence[Any]) -> list[tuple[int, str]]:
    return [(rank, slot) for rank, slot in enumerate(SLOTS) if "id" in told[2 * rank]]


def _to_incident(slot: str, fields: dict[str, str], accounts: int) -> Incident:
    ended_at = fields.get("ended_at")
    return Incident(
        fields["id"],
        slot,
        IncidentKind(fields["kind"]),
        datetime.fromisoformat(fields["began_at"]),
        **{name: int(fields.get(name, 0)) for name in _COUNTS},
        accounts=accounts,
        ended_at=datetime.fromisoformat(ended_at) if ended_at else None,
        how=fields.get("how", ""),
    )
