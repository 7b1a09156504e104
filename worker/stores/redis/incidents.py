"""Incidents in Redis: the last answer to each account, the open incidents, and the past ones.

    incident:ring:<series>     sorted set: the accounts asked lately, by time (µs)
    incident:last:<series>     hash: account to ``outage 3 2024-06-25 2024-07-25 20240725T070000.000001 daily/nightly``:
                               kind (empty for a good answer), calls in a row, window, run id, claim
    incident:tally:<series>    hash: kind to the number of these accounts
    incident:open:<slot>       hash: the open incident, with its counts
    incident:failed:<slot>     hash: ``account/series`` to the window that failed, as above; at most 10 000
    incident:touched:<slot>    HyperLogLog of the accounts
    incident:relapses:<slot>   number of incidents that ended within the last hour
    incident:muted:<kind>      present while this kind must not be opened
    incident:past              list of past incidents as JSON, newest first
    incident:replay            present while the missed windows are to be fetched

All sizes are bounded, whatever the number of accounts.  Lost keys cost the list of past incidents; an open one is
detected again.
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

MOST_RECENT: Final = 1_000  # Accounts whose last answer counts, for each series.
MOST_FAILED: Final = 10_000  # Windows stored for one incident.
MOST_PAST: Final = 200
OPEN_TTL_S: Final = 3 * 3600  # An incident without probes ends: workers without beat would wait for ever.
RELAPSE_TTL_S: Final = 3600
RECENT_TTL_S: Final = 6 * 3600
REPLAY_TTL_S: Final = 24 * 3600
_COUNTS: Final = ("failed_calls", "windows_failed", "windows_held", "rounds", "relapses")
_NO_LIMIT: Final = 1_000_000


class IncidentStore(PrefixedKeys):
    """Incidents in Redis; every method raises StoreUnavailable.

    A slot is what one incident blocks: a series, or a kind of refusal.  ``clock_us`` gives µs since 1970 in tests and
    simulations; without it the server's clock counts.
    """

    def __init__(self, redis: Redis, prefix: str = "releve:", clock_us: Callable[[], int] | None = None) -> None:
        super().__init__(redis, prefix)
        self._clock_us = clock_us
        self._record_script = redis.register_script(scripts.RECORD_ANSWER)
        self._open_script = redis.register_script(scripts.OPEN)
        self._add_script = redis.register_script(scripts.ADD_FAILURE)
        self._increment_script = redis.register_script(scripts.INCREMENT_COUNT)
        self._round_script = redis.register_script(scripts.CLAIM_PROBE_ROUND)
        self._close_script = redis.register_script(scripts.CLOSE)

    # -- Answers to accounts

    @redis_errors()
    def record_answer(self, job: WindowJob, kind: IncidentKind | None, minutes: float) -> FailureCount:
        """Record the last answer to an account and count how many of the accounts asked lately failed alike.

        ``kind`` is None for a good answer; ``minutes`` is how far back accounts count.
        """
        keys = [self._incident_key(part, job["series"]) for part in ("ring", "last", "tally")]
        answer = [job["account_id"], kind or "", _window_text(job)]
        limits = [minutes * 60e6, MOST_RECENT, RECENT_TTL_S]
        failed, asked = self._record_script(keys=keys, args=[self._now(), *answer, *limits])
        return FailureCount(int(failed), int(asked))

    # -- Open incidents

    @redis_errors()
    def open(self, incident: Incident, first_wait_s: float) -> bool | None:
        """Open an incident and return whether this call opened it; None where it must not be opened.

        That is where its kind is muted, or has come back too often within the hour.  Accounts that failed with the same
        kind just before count for it.  Each relapse within the hour doubles the first wait.
        """
        slot = incident.slot
        keys = [self._incident_key(part, slot) for part in ("open", "failed", "touched", "relapses")]
        keys.append(self._incident_key("muted", incident.kind.value))
        keys += [self._incident_key("last", series.value) for series in incident.series]
        facts = [incident.id, incident.kind.value, incident.began_at.isoformat()]
        relapses = _NO_LIMIT if incident.kind is IncidentKind.BY_HAND else MOST_RELAPSES
        limits = [first_wait_s * 1e6, LONGEST_WAIT, relapses, self._ttl_s(incident.kind, first_wait_s)]
        args = [self._now(), *facts, *limits, *(series.value for series in incident.series)]
        opened = int(self._open_script(keys=keys, args=args))
        return None if opened < 0 else bool(opened)

    @redis_errors()
    def add_failure(self, slot: str, job: WindowJob) -> None:
        """Add a window that failed during the open incident; does nothing where none is open."""
        keys = [self._incident_key(part, slot) for part in ("open", "failed", "touched")]
        account_id = job["account_id"]
        member = f"{account_id}/{job['series']}"
        self._add_script(keys=keys, args=[account_id, member, _window_text(job), MOST_FAILED])

    @redis_errors()
    def increment_count(self, slot: str, field: str) -> None:
        """Increment ``failed_calls``, ``windows_failed`` or ``windows_held`` of the open incident, if one is open."""
        self._increment_script(keys=[self._incident_key("open", slot)], args=[field])

    @redis_errors()
    def open_incidents(self) -> dict[str, Incident]:
        """Return the open incidents by slot."""
        with self._redis.pipeline(transaction=False) as pipe:
            for slot in SLOTS:
                pipe.hgetall(self._incident_key("open", slot))
                pipe.pfcount(self._incident_key("touched", slot))
            answers = pipe.execute()
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return {
            slot: _to_incident(slot, fields, accounts)
            for slot, (fields, accounts) in zip(SLOTS, pairs, strict=True)
            if "id" in fields
        }

    @redis_errors()
    def muted_kinds(self, kinds: Sequence[IncidentKind]) -> set[IncidentKind]:
        """Return those of ``kinds`` that must not be opened for a while."""
        marks = self._redis.mget([self._incident_key("muted", kind.value) for kind in kinds])
        return {kind for kind, mark in zip(kinds, marks, strict=True) if mark is not None}

    @redis_errors()
    def claim_probe_round(self, incident: Incident, wait_s: float, first_wait_s: float) -> bool:
        """Claim the next round of probes and return whether it is due and ours; the round after it is in ``wait_s``."""
        keys = [self._incident_key(part, incident.slot) for part in ("open", "failed", "touched")]
        ttl_s = self._ttl_s(incident.kind, first_wait_s)
        args = [self._now(), incident.id, incident.rounds, wait_s * 1e6, ttl_s]
        return bool(self._round_script(keys=keys, args=args))

    @redis_errors()
    def sample_failed_windows(self, slot: str, most: int) -> list[WindowJob]:
        """Return up to ``most`` windows that failed in the incident, drawn at random without repeats."""
        answer: Any = self._redis.hrandfield(self._incident_key("failed", slot), most, withvalues=True)
        return [_to_job(member, text) for member, text in _to_pairs(answer)]

    @redis_errors()
    def failed_windows(self, slot: str) -> Iterator[WindowJob]:
        """Yield all stored windows that failed in the incident; one may come twice."""
        for member, text in self._redis.hscan_iter(self._incident_key("failed", slot), count=500):
            yield _to_job(member, text)

    @redis_errors()
    def close(self, incident: Incident, ended_at: datetime, how: str, *, muted_s: int = 0) -> bool:
        """Close an incident and return whether this call closed it; from then on a replay is due."""
        slot = incident.slot
        keys = [self._incident_key(part, slot) for part in ("open", "failed", "touched", "relapses")]
        keys += [self._key("incident", "past"), self._key("incident", "replay")]
        keys.append(self._incident_key("muted", incident.kind.value))
        limits = [RELAPSE_TTL_S, MOST_PAST, REPLAY_TTL_S, muted_s]
        return bool(self._close_script(keys=keys, args=[incident.id, slot, ended_at.isoformat(), how, *limits]))

    # -- After an incident

    @redis_errors()
    def closed_incidents(self) -> list[Incident]:
        """Return the past incidents, newest first."""
        entries = [json.loads(text) for text in self._redis.lrange(self._key("incident", "past"), 0, -1)]
        return [_to_incident(fields["slot"], fields, int(fields["accounts"])) for fields in entries]

    @redis_errors()
    def is_replay_due(self) -> bool:
        return bool(self._redis.exists(self._key("incident", "replay")))

    @redis_errors()
    def clear_replay(self) -> None:
        """Record that the replay was done; safe to repeat."""
        self._redis.delete(self._key("incident", "replay"))

    def _incident_key(self, part: str, name: str) -> str:
        return self._key("incident", part, name)

    def _now(self) -> int | str:
        return "" if self._clock_us is None else self._clock_us()

    def _ttl_s(self, kind: IncidentKind, first_wait_s: float) -> int:
        if kind is IncidentKind.BY_HAND:
            return int(BY_HAND_LASTS.total_seconds())
        return max(OPEN_TTL_S, int(first_wait_s * LONGEST_WAIT * 4))


def _window_text(job: WindowJob) -> str:
    """Return ``2024-06-25 2024-07-25 20240725T070000.000001 daily/nightly``; the claim is empty where there is none."""
    return " ".join((job["start"], job["end"], job["run_id"], job["claim"] or ""))


def _to_job(member: str, text: str) -> WindowJob:
    account_id, _, series = member.partition("/")
    start, end, run_id, claim = text.split(" ", 3)
    return WindowJob(
        account_id=account_id, series=Series(series).value, start=start, end=end, run_id=run_id, claim=claim or None
    )


def _to_pairs(answer: Any) -> list[tuple[str, str]]:
    """Return the pairs in an answer: RESP3 sends pairs, RESP2 a flat list."""
    if answer and isinstance(answer[0], str):
        return list(zip(answer[::2], answer[1::2], strict=True))
    return [(member, text) for member, text in answer or ()]


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
