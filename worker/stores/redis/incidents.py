"""Incidents in Redis: the outcomes of the latest calls, the open incidents, and the past ones.

    incident:ring:<series>   list, newest first: the outcomes of the last 1 000 calls, each
                             ``[1721890000.123, "outage", {"account_id": "k9x4w", "series": "daily", …}]``:
                             seconds since 1970, kind (empty for a good answer), the WindowJob
    incident:open:<slot>     text, if an incident is open: ``{"id": "9f02…", "kind": "outage", "began_at": "2024-…"}``
    incident:counts:<id>     hash: failed_calls, windows_failed, windows_held, rounds
    incident:failed:<id>     list: the last 10 000 windows that failed, each a WindowJob; a window may occur twice
    incident:touched:<id>    HyperLogLog of the accounts with a failed window, to count them
    incident:past            list, newest first: the past incidents with their counts

The keys of an open incident contain its id, so a count that comes too late can't change another incident: it is written
to a key that nobody reads and that expires. All sizes are bounded, whatever the number of accounts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final, cast

from redis.client import Pipeline

from worker.domain.incident import BY_HAND_LASTS, LONGEST_WAIT, SLOTS, Incident, IncidentKind, RecentAnswer
from worker.domain.messages import WindowJob
from worker.stores.redis.connection import PrefixedKeys

MOST_RECENT: Final = 1_000
MOST_FAILED: Final = 10_000
MOST_PAST: Final = 100
# An open incident expires if no probes run, for example while beat is down. Otherwise workers would wait forever.
OPEN_TTL_S: Final = 3 * 3600
DAY_S: Final = 24 * 3600


class IncidentStore(PrefixedKeys):
    """The incidents in Redis. A slot is a series or a kind of refusal; each slot has at most one open incident."""

    def record_answer(self, job: WindowJob, kind: IncidentKind | None, now: datetime) -> None:
        """Record how a call ended; ``kind`` is None for a good answer."""
        key = self._key("incident", "ring", job["series"])
        with self._redis.pipeline() as pipe:
            pipe.lpush(key, json.dumps([now.timestamp(), kind or "", job]))
            pipe.ltrim(key, 0, MOST_RECENT - 1)
            pipe.expire(key, DAY_S)
            pipe.execute()

    def recent_answers(self, series: str, now: datetime, minutes: float) -> list[RecentAnswer]:
        """Return the outcomes of the calls of the last ``minutes``, newest first.

        Because the clocks of two machines may differ a little, outcomes that lie up to ``minutes`` in the future are
        included. Outcomes further in the future are left out: they were recorded before a clock was set back.
        """
        answers = [json.loads(text) for text in self._redis.lrange(self._key("incident", "ring", series), 0, -1)]
        return [
            RecentAnswer(at, IncidentKind(kind) if kind else None, job)
            for at, kind, job in answers
            if abs(now.timestamp() - at) <= minutes * 60
        ]

    def open(self, incident: Incident, failed: Sequence[WindowJob], first_wait_s: float) -> bool:
        """Open an incident with the windows that failed before it.

        Return True if this incident is open now, False if its slot already has another open incident.
        """
        text = _to_text(incident)
        with self._redis.pipeline() as pipe:
            for job in failed:
                self._push_failure(pipe, incident, job)
            self._expire(pipe, incident)
            pipe.set(self._open_key(incident.slot), text, nx=True, ex=_ttl_s(incident.kind, first_wait_s))
            opened = pipe.execute()[-1]
        # The client may have sent the commands twice; then the text of this incident is stored already.
        return bool(opened) or self._redis.get(self._open_key(incident.slot)) == text

    def add_failure(self, incident: Incident, job: WindowJob) -> None:
        """Add a window that failed while the incident was open, and count its call as failed."""
        with self._redis.pipeline() as pipe:
            self._push_failure(pipe, incident, job)
            self._expire(pipe, incident)
            pipe.execute()

    def increment_count(self, incident: Incident, field: str) -> None:
        """Increment ``failed_calls``, ``windows_failed`` or ``windows_held`` of an incident."""
        with self._redis.pipeline() as pipe:
            pipe.hincrby(self._key("incident", "counts", incident.id), field, 1)
            self._expire(pipe, incident)
            pipe.execute()

    def open_incidents(self) -> dict[str, Incident]:
        texts = self._redis.mget([self._open_key(slot) for slot in SLOTS])
        incidents = [_to_incident(slot, json.loads(text)) for slot, text in zip(SLOTS, texts, strict=True) if text]
        return {incident.slot: self._with_counts(incident) for incident in incidents}

    def begin_round(self, incident: Incident, first_wait_s: float) -> bool:
        """Count the next round of probes, and return whether this caller is to run it.

        This also puts off the expiry of the open incident. If two callers come at the same time, only one of them gets
        the round, but two rounds are counted. The second of these rounds never runs, so the next probes come later.
        """
        with self._redis.pipeline() as pipe:
            pipe.hincrby(self._key("incident", "counts", incident.id), "rounds", 1)
            self._expire(pipe, incident)
            pipe.expire(self._open_key(incident.slot), _ttl_s(incident.kind, first_wait_s))
            return bool(pipe.execute()[0] == incident.rounds + 1)

    def failed_windows(self, incident: Incident) -> list[WindowJob]:
        """Return the windows that failed in the incident; a window may occur twice."""
        return [json.loads(text) for text in self._redis.lrange(self._key("incident", "failed", incident.id), 0, -1)]

    def close(self, incident: Incident, ended_at: datetime, how: str) -> Incident | None:
        """Close an incident and return it with its final counts; None if this incident isn't open any more.

        The recorded outcomes of calls are deleted, so that only new failures can open the next incident of the same
        series.
        """
        open_key, past_key = self._open_key(incident.slot), self._key("incident", "past")

        def move(pipe: Pipeline) -> Any:
            if pipe.get(open_key) != _to_text(incident):
                return None
            past = replace(self._with_counts(incident), ended_at=ended_at, how=how)
            pipe.multi()
            pipe.delete(open_key, *self._own_keys(incident))
            pipe.delete(*(self._key("incident", "ring", series.value) for series in incident.series))
            pipe.lpush(past_key, json.dumps(asdict(past), default=datetime.isoformat))
            pipe.ltrim(past_key, 0, MOST_PAST - 1)
            return past

        return cast("Incident | None", self._redis.transaction(move, open_key, value_from_callable=True))

    def closed_incidents(self) -> list[Incident]:
        """Return the closed incidents, newest first."""
        entries = [json.loads(text) for text in self._redis.lrange(self._key("incident", "past"), 0, -1)]
        return [_to_incident(fields["slot"], fields) for fields in entries]

    def _push_failure(self, pipe: Pipeline, incident: Incident, job: WindowJob) -> None:
        counts, failed, touched = self._own_keys(incident)
        pipe.hincrby(counts, "failed_calls", 1)
        pipe.lpush(failed, json.dumps(job))
        pipe.ltrim(failed, 0, MOST_FAILED - 1)
        pipe.pfadd(touched, job["account_id"])

    def _expire(self, pipe: Pipeline, incident: Incident) -> None:
        for key in self._own_keys(incident):
            pipe.expire(key, DAY_S)

    def _with_counts(self, incident: Incident) -> Incident:
        counts_key, _, touched_key = self._own_keys(incident)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(counts_key)
            pipe.pfcount(touched_key)
            texts, accounts = pipe.execute()
        counts: dict[str, Any] = {field: int(text) for field, text in texts.items()}
        return replace(incident, accounts=accounts, **counts)

    def _own_keys(self, incident: Incident) -> list[str]:
        return [self._key("incident", part, incident.id) for part in ("counts", "failed", "touched")]

    def _open_key(self, slot: str) -> str:
        return self._key("incident", "open", slot)


def _ttl_s(kind: IncidentKind, first_wait_s: float) -> int:
    if kind is IncidentKind.BY_HAND:
        # ``IncidentProber`` closes the incident after BY_HAND_LASTS, with a notice. If that fails, the key expires.
        return int(BY_HAND_LASTS.total_seconds()) + OPEN_TTL_S
    return max(OPEN_TTL_S, int(first_wait_s * LONGEST_WAIT * 4))


def _to_text(incident: Incident) -> str:
    """Return the stored text of an open incident, with only the fields that stay the same while it is open."""
    return json.dumps({"id": incident.id, "kind": incident.kind, "began_at": incident.began_at.isoformat()})


def _to_incident(slot: str, fields: dict[str, Any]) -> Incident:
    moments = {name: datetime.fromisoformat(fields[name]) for name in ("began_at", "ended_at") if fields.get(name)}
    return Incident(**{**fields, **moments, "slot": slot, "kind": IncidentKind(fields["kind"])})
