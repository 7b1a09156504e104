"""Incidents: opened by what the walk and the desk see, asked by whoever would feed or judge, closed by canaries.

One mechanism for both families (``worker.domain.fleet.incidents``).  What is open is read at most once a second in each
process: an incident that another has opened is known a second later.
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
from worker.metrics import HELD, INCIDENTS
from worker.stores.redis.incidents import IncidentStore
from worker.stores.registry import consent_rows
from worker.stores.registry.notices import NoticeTable

log = logging.getLogger("releve.incidents")

FRESH_S: Final = 1.0
MUTED_AFTER_DISBELIEF: Final = timedelta(days=7)
MUTED_BY_HAND: Final = timedelta(hours=24)


class Incidents:
    """A ``Watch``.  ``channels``: over which notices go; ``first_wait_s``: until the first canaries."""

    def __init__(
        self,
        store: IncidentStore,
        notices: NoticeTable,
        channels: Sequence[str],
        now: Callable[[], datetime],
        thresholds: Thresholds,
        first_wait_s: float = 60.0,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._store = store
        self._notices = notices
        self._channels = channels
        self._now = now
        self._thresholds = thresholds
        self._first_wait_s = first_wait_s
        self._fresh_s = fresh_s
        self._known: tuple[float, dict[str, Incident], set[IncidentKind]] | None = None

    # -- whoever would feed

    def is_open(self) -> bool:
        """Whether nobody should be asked for anything: every series is held."""
        return all(self.is_held(series) for series in Series)

    def is_held(self, series: Series) -> bool:
        """Whether nobody should be asked for this series.  Raises StoreUnavailable, as all that reads does."""
        return self._holding(series) is not None

    def admit(self, origin: WindowJob) -> None:
        """Raises Held, for a window that a task would ask for now; canaries and what a person asks for go on."""
        if origin["claim"] == PROBE or current_lane() is Lane.BY_HAND:
            return
        series = series_of(origin)
        if incident := self._holding(series):
            self._store.count(incident.slot, "windows_held")
            HELD.labels(series).inc()
            raise IncidentOpen(
                f"nobody is asked for this during an incident ({incident.kind}): it is due again afterwards"
            )

    # -- whoever saw how an account was answered

    def failed(self, origin: WindowJob, error: WorkerError) -> None:
        if kind := kind_of(error):
            self._noting(lambda: self._failed(origin, kind))

    def answered(self, origin: WindowJob, *, usable: bool) -> None:
        """``usable`` false: points came, and none could be used."""
        if usable:
            self._noting(lambda: self._store.note(origin, None, self._thresholds.minutes))
        else:
            self._noting(lambda: self._failed(origin, IncidentKind.ANSWERS))

    def _failed(self, origin: WindowJob, kind: IncidentKind) -> None:
        series = series_of(origin)
        burst = self._store.note(origin, kind, self._thresholds.minutes)
        found = self._holding(series) or self._open_now().get(kind.value)
        if found and origin["claim"] == PROBE:  # it costs, and is no window that must be asked for again
            self._store.count(found.slot, "failed_calls")
        elif found:
            self._store.add(found.slot, origin)
        elif kind.holds and is_incident(kind, burst, self._thresholds):
            self._open(slot_of(kind, series), kind, burst)

    def _noting(self, note: Callable[[], object]) -> None:
        """Redis or the registry may be away just now: that must not hide how the account was answered."""
        try:
            note()
        except StoreUnavailable as error:
            log.warning("not noted, for a store is away: %s", error)

    # -- whoever judges an account or a window

    def spares(self, series: Series | None, error: WorkerError) -> IncidentKind | None:
        """See ``Watch``; counted, where it concerns a series."""
        kind = kind_of(error)
        if incident := self._holding(series) if series else self._holding_any():
            found = incident
        elif kind in REFUSALS and kind.value in self._open_now():
            found = self._open_now()[kind.value]
        else:
            return None
        if series:
            self._noting(lambda: self._store.count(found.slot, "windows_failed"))
        return found.kind

    def may_open(self, kind: IncidentKind) -> bool:
        return self._thresholds.accounts > 0 and kind not in self._look()[2]

    def open_refusals(self, kind: IncidentKind, burst: FailureCount) -> bool:
        return is_incident(kind, burst, self._thresholds) and self._open(kind.value, kind, burst)

    # -- what is open, by hand and by canaries

    def current(self) -> list[Incident]:
        """Those open at this moment, the oldest first."""
        return sorted(self._store.all_open().values(), key=lambda incident: incident.began_at)

    def past(self) -> list[Incident]:
        return self._store.past()

    def open_by_hand(self) -> list[Incident]:
        """Nobody is asked from now on, for a day at most; those opened."""
        kind = IncidentKind.BY_HAND
        for series in Series:
            self._open(series.value, kind, FailureCount(0, 0))
        return [incident for incident in self.current() if incident.kind is kind]

    def rounds_due(self) -> Iterator[Incident]:
        """Those whose canaries are due and ours to send; each turn comes once.  What is overdue is left out."""
        for incident in self.current():
            wait_s = probe_wait_s(incident.rounds + incident.relapses + 1, self._first_wait_s)
            if incident.kind is not IncidentKind.BY_HAND and self._store.take_turn(
                incident, wait_s, self._first_wait_s
            ):
                yield incident

    def some_failed(self, incident: Incident, most: int) -> list[WindowJob]:
        return self._store.some_failed(incident.slot, most)

    def all_failed(self, incident: Incident) -> Iterator[WindowJob]:
        return self._store.failed(incident.slot)

    def close(self, incident: Incident, how: str) -> None:
        """It is over: ``probes``, ``by_hand``, ``believed`` or ``expired``.  By whose hand or belief it ends, it stays
        ended for a while.
        """
        muted = {"by_hand": MUTED_BY_HAND, "believed": MUTED_AFTER_DISBELIEF}.get(how, timedelta())
        if incident.kind is IncidentKind.BY_HAND:
            muted = timedelta()
        ended_at = self._now()
        done = self._store.close(incident, ended_at, how, muted_s=int(muted.total_seconds()))
        self._known = None
        if done:
            over = self._past_one(incident)
            cost = fields(**_name(over), **_cost(over), how=how, minutes=_minutes(over))
            log.warning("incident over", extra=cost)
            self._tell(over, NoticeKind.INCIDENT_OVER)

    def replay_due(self) -> bool:
        return self._store.replay_due()

    def replayed(self) -> None:
        self._store.replayed()

    # -- inside

    def _open(self, slot: str, kind: IncidentKind, burst: FailureCount) -> bool:
        """Whether one is open from here on."""
        incident = Incident(secrets.token_hex(6), slot, kind, self._now())
        opened = self._store.open(incident, self._first_wait_s)
        self._known = None
        if opened:
            INCIDENTS.labels(kind).inc()
            told = fields(**_name(incident), accounts=burst.failed, asked=burst.tried)
            log.error("incident open", extra=told)
            self._tell(incident, NoticeKind.INCIDENT)
        return opened is not None

    def _tell(self, incident: Incident, kind: NoticeKind) -> None:
        now = self._now()
        reason, about = incident.kind.value, f"{incident.slot}@{incident.began_at.isoformat(timespec='microseconds')}"
        drafts = [Notice(consent_rows.new_id(), None, kind, reason, about, each, now, now) for each in self._channels]
        self._noting(lambda: self._notices.post(drafts))

    def _past_one(self, incident: Incident) -> Incident:
        """With its last counts."""
        return next((over for over in self._store.past() if over.id == incident.id), incident)

    def _holding(self, series: Series) -> Incident | None:
        return self._open_now().get(series.value)

    def _holding_any(self) -> Incident | None:
        return next((found for series in Series if (found := self._holding(series))), None)

    def _open_now(self) -> dict[str, Incident]:
        return self._look()[1]

    def _look(self) -> tuple[float, dict[str, Incident], set[IncidentKind]]:
        known, at = self._known, time.monotonic()
        if known is None or at - known[0] >= self._fresh_s:
            known = self._known = (at, self._store.all_open(), self._store.muted(REFUSALS))
        return known


def _name(incident: Incident) -> dict[str, str]:
    return {"incident": incident.id, "kind": incident.kind.value, "slot": incident.slot}


def _cost(incident: Incident) -> dict[str, int]:
    return {
        "failed_calls": incident.failed_calls,
        "windows_failed": incident.windows_failed,
        "windows_held": incident.windows_held,
        "accounts": incident.accounts,
    }


def _minutes(incident: Incident) -> float:
    ended_at = incident.ended_at or incident.began_at
    return round((ended_at - incident.began_at).total_seconds() / 60, 1)
