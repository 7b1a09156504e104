"""Incidents at work: opened by failed windows and refused accounts, asked before a call, closed by probes or by hand.

``worker.domain.fleet.incidents`` explains the two families and when one opens. The open incidents are read from Redis
at most once a second in each process, so a process knows of a new one a second later.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from worker.domain.consent.consents import Notice, NoticeKind
from worker.domain.fleet.incidents import (
    PROBE,
    REFUSALS,
    FailureCount,
    Incident,
    IncidentGate,
    IncidentKind,
    Thresholds,
    is_incident,
    kind_of,
    probe_wait_s,
    slot_of,
)
from worker.domain.fleet.lanes import Lane, current_lane
from worker.domain.measures.messages import WindowJob, series_of
from worker.domain.measures.readings import Series
from worker.errors import IncidentOpen, StoreUnavailable, WorkerError
from worker.logs import fields
from worker.metrics import INCIDENTS, WINDOWS_HELD
from worker.stores.redis.incidents import IncidentStore
from worker.stores.registry import consent_rows
from worker.stores.registry.notices import NoticeTable

log = logging.getLogger("releve.incidents")

# Seconds after which the open incidents are read again.
MAX_AGE_S: Final = 1.0
# After refusals were believed, or an operator closed an incident, none of its kind opens for this time.
MUTED_WHEN_BELIEVED: Final = timedelta(days=7)
MUTED_BY_HAND: Final = timedelta(hours=24)


class Incidents(IncidentGate):
    """The incidents in Redis, with notices to the operator.

    ``channels``: the channels of notices. ``first_wait_s``: seconds from the opening to the first probes. Methods that
    read raise StoreUnavailable; a record that fails is only logged.
    """

    def __init__(
        self,
        *,
        store: IncidentStore,
        notices: NoticeTable,
        channels: Sequence[str],
        now: Callable[[], datetime],
        thresholds: Thresholds,
        first_wait_s: float = 60.0,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self._store = store
        self._notices = notices
        self._channels = channels
        self._now = now
        self._thresholds = thresholds
        self._first_wait_s = first_wait_s
        self._max_age_s = max_age_s
        # When it was read (by the monotonic clock), the open incidents by slot, and the muted kinds.
        self._cached: tuple[float, dict[str, Incident], set[IncidentKind]] | None = None

    # -- Before a call

    def is_open(self) -> bool:
        """Return whether incidents hold every series, so that nobody should be asked for anything."""
        return all(self.is_held(series) for series in Series)

    def is_held(self, series: Series) -> bool:
        """Return whether an incident holds all windows of this series."""
        return self._incident_of(series) is not None

    def raise_if_held(self, job: WindowJob) -> None:
        """Raise IncidentOpen if an incident holds the series; never for probes and for what a person asks for."""
        if job["claim"] == PROBE or current_lane() is Lane.BY_HAND:
            return
        series = series_of(job)
        if incident := self._incident_of(series):
            self._store.increment_count(incident.slot, "windows_held")
            WINDOWS_HELD.labels(series).inc()
            raise IncidentOpen(
                f"nobody is asked for this during an incident ({incident.kind}): it is due again afterwards"
            )

    # -- After a call

    def record_failure(self, job: WindowJob, error: WorkerError) -> None:
        """Count that the supplier failed for this account; may open an incident."""
        if kind := kind_of(error):
            self._ignore_store_failure(lambda: self._count_failure(job, kind))

    def record_answer(self, job: WindowJob, *, usable: bool) -> None:
        """Count an answer; not ``usable`` if it has points of which none could be used."""
        if usable:
            self._ignore_store_failure(lambda: self._store.record_answer(job, None, self._thresholds.minutes))
        else:
            self._ignore_store_failure(lambda: self._count_failure(job, IncidentKind.ANSWERS))

    def _count_failure(self, job: WindowJob, kind: IncidentKind) -> None:
        series = series_of(job)
        failures = self._store.record_answer(job, kind, self._thresholds.minutes)
        incident = self._incident_of(series) or self._open_by_slot().get(kind.value)
        if incident and job["claim"] == PROBE:
            # A probe is a call, but not a window that must be asked for again.
            self._store.increment_count(incident.slot, "failed_calls")
        elif incident:
            self._store.add_failure(incident.slot, job)
        elif kind.holds and is_incident(kind, failures, self._thresholds):
            self._open(slot_of(kind, series), kind, failures)

    def _ignore_store_failure(self, record: Callable[[], object]) -> None:
        """Record something; where Redis or the registry is down, that must not hide the outcome of the call."""
        try:
            record()
        except StoreUnavailable as error:
            log.warning("not recorded, a store is away: %s", error)

    # -- When a failure is judged

    def excuses(self, series: Series | None, error: WorkerError) -> IncidentKind | None:
        """Return the open incident that explains a failure, or None, and count the failure if a series is named."""
        kind = kind_of(error)
        if holding := self._incident_of(series) if series else self._first_holding_incident():
            incident = holding
        elif kind in REFUSALS and kind.value in self._open_by_slot():
            incident = self._open_by_slot()[kind.value]
        else:
            return None
        if series:
            self._ignore_store_failure(lambda: self._store.increment_count(incident.slot, "windows_failed"))
        return incident.kind

    def may_open(self, kind: IncidentKind) -> bool:
        """Return whether an incident of this kind could open now."""
        return self._thresholds.accounts > 0 and kind not in self._read()[2]

    def open_if_incident(self, kind: IncidentKind, failures: FailureCount) -> bool:
        """Open an incident if there are enough refusals; return whether it is open."""
        return is_incident(kind, failures, self._thresholds) and self._open(kind.value, kind, failures)

    # -- Lists, probes, and the end

    def list_open(self) -> list[Incident]:
        """Return the incidents that are open at this moment, oldest first."""
        return sorted(self._store.open_incidents().values(), key=lambda incident: incident.began_at)

    def list_past(self) -> list[Incident]:
        """Return the past incidents, newest first."""
        return self._store.closed_incidents()

    def open_by_hand(self) -> list[Incident]:
        """Hold all series for a day at most, and return the incidents opened for that."""
        kind = IncidentKind.BY_HAND
        for series in Series:
            self._open(series.value, kind, FailureCount(0, 0))
        return [incident for incident in self.list_open() if incident.kind is kind]

    def claim_due_probe_rounds(self) -> Iterator[Incident]:
        """Yield the incidents whose next round of probes is due and claimed by this call."""
        for incident in self.list_open():
            wait_s = probe_wait_s(incident.rounds + incident.relapses + 1, self._first_wait_s)
            if incident.kind is not IncidentKind.BY_HAND and self._store.claim_probe_round(
                incident, wait_s, self._first_wait_s
            ):
                yield incident

    def sample_failed_windows(self, incident: Incident, most: int) -> list[WindowJob]:
        """Return at most so many of the windows that failed, at random."""
        return self._store.sample_failed_windows(incident.slot, most)

    def failed_windows(self, incident: Incident) -> Iterator[WindowJob]:
        """Yield all windows that failed."""
        return self._store.failed_windows(incident.slot)

    def close(self, incident: Incident, how: str) -> None:
        """Close an incident with its reason: ``probes``, ``by_hand``, ``believed`` or ``expired``.

        After ``by_hand`` and ``believed``, none of this kind opens for a while.
        """
        muted = {"by_hand": MUTED_BY_HAND, "believed": MUTED_WHEN_BELIEVED}.get(how, timedelta())
        if incident.kind is IncidentKind.BY_HAND:
            muted = timedelta()
        ended_at = self._now()
        closed = self._store.close(incident, ended_at, how, muted_s=int(muted.total_seconds()))
        self._cached = None
        if closed:
            past = self._with_last_counts(incident)
            cost = fields(**_name_fields(past), **_cost_fields(past), how=how, minutes=_minutes(past))
            log.warning("incident over", extra=cost)
            self._insert_notices(past, NoticeKind.INCIDENT_OVER)

    def is_replay_due(self) -> bool:
        """Return whether windows that an incident held are to be published again."""
        return self._store.is_replay_due()

    def clear_replay(self) -> None:
        """Forget that a replay is due."""
        self._store.clear_replay()

    # -- Helpers

    def _open(self, slot: str, kind: IncidentKind, failures: FailureCount) -> bool:
        """Open an incident and return whether one is open then, this or another."""
        incident = Incident(secrets.token_hex(6), slot, kind, self._now())
        opened = self._store.open(incident, self._first_wait_s)
        self._cached = None
        if opened:
            INCIDENTS.labels(kind).inc()
            extra = fields(**_name_fields(incident), accounts=failures.failed, asked=failures.asked)
            log.error("incident open", extra=extra)
            self._insert_notices(incident, NoticeKind.INCIDENT)
        return opened is not None

    def _insert_notices(self, incident: Incident, kind: NoticeKind) -> None:
        now = self._now()
        reason, about = incident.kind.value, f"{incident.slot}@{incident.began_at.isoformat(timespec='microseconds')}"
        notices = [
            Notice(consent_rows.new_id(), None, kind, reason, about, channel, now, now) for channel in self._channels
        ]
        self._ignore_store_failure(lambda: self._notices.insert_new(notices))

    def _with_last_counts(self, incident: Incident) -> Incident:
        """Return the closed incident with the counts at its end."""
        return next((past for past in self._store.closed_incidents() if past.id == incident.id), incident)

    def _incident_of(self, series: Series) -> Incident | None:
        """Return the incident that holds the series, if any."""
        return self._open_by_slot().get(series.value)

    def _first_holding_incident(self) -> Incident | None:
        return next((incident for series in Series if (incident := self._incident_of(series))), None)

    def _open_by_slot(self) -> dict[str, Incident]:
        return self._read()[1]

    def _read(self) -> tuple[float, dict[str, Incident], set[IncidentKind]]:
        cached, now_s = self._cached, time.monotonic()
        if cached is None or now_s - cached[0] >= self._max_age_s:
            cached = self._cached = (now_s, self._store.open_incidents(), self._store.muted_kinds(REFUSALS))
        return cached


def _name_fields(incident: Incident) -> dict[str, str]:
    return {"incident": incident.id, "kind": incident.kind.value, "slot": incident.slot}


def _cost_fields(incident: Incident) -> dict[str, int]:
    return {
        "failed_calls": incident.failed_calls,
        "windows_failed": incident.windows_failed,
        "windows_held": incident.windows_held,
        "accounts": incident.accounts,
    }


def _minutes(incident: Incident) -> float:
    ended_at = incident.ended_at or incident.began_at
    return round((ended_at - incident.began_at).total_seconds() / 60, 1)
