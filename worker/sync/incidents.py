"""Incidents: opened by failed windows and refused accounts, checked before each call, closed by probes or by hand.

``worker.domain.incident`` explains the two families of incidents, and when an incident opens. While an incident is
open, a few accounts are probed at growing intervals; usable answers close it. Closing makes all failed windows due
again at once, as if they had not been tried. A round of probes ends with its first failure, so an outage costs one call
a round. If the process is killed during a round, the next round probes again.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from worker.domain.clock import Clock
from worker.domain.incident import (
    PROBE,
    PROBES_TO_PASS,
    REFUSALS,
    FailureCount,
    Incident,
    IncidentKind,
    ProbeResult,
    Thresholds,
    failures_alike,
    is_believed,
    is_incident,
    judge_probe,
    kind_of,
    slot_of,
)
from worker.domain.lanes import Lane, current_lane, enter_lane, leave_lane
from worker.domain.messages import WindowJob, series_of
from worker.domain.notice import NoticeKind
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.errors import IncidentOpen, StoreUnavailable, WorkerError
from worker.logs import fields
from worker.metrics import INCIDENTS, WINDOWS_HELD
from worker.stores.redis.incidents import IncidentStore
from worker.stores.registry import Registry
from worker.stores.registry.notices import build_notices
from worker.sync.claims import WindowClaims

log = logging.getLogger("releve.incidents")
# There are no other calls during an incident, so a probe may use a lane whose permits come at once.
_PROBE_LANE: Final = "first_screen"
# More than needed, because some accounts may be gone, and some answers say nothing about the incident.
_MAX_PROBED_ACCOUNTS: Final = 3 * PROBES_TO_PASS


@dataclass(frozen=True, kw_only=True)
class Incidents:
    """The incidents in Redis, with notices to the operator.

    ``channels``: the channels of notices. ``first_wait_s``: seconds from the opening to the first probes. Methods that
    read raise StoreUnavailable; a failed attempt to record something is only logged.
    """

    store: IncidentStore
    registry: Registry
    channels: Sequence[str]
    now: Clock
    thresholds: Thresholds
    first_wait_s: float = 60.0

    # -- Before a call

    def is_open(self) -> bool:
        """Return whether incidents hold every series, so that nothing should be requested."""
        if not self.store.open_incidents():
            return False
        return all(self.is_held(series) for series in self.registry.outcomes.list_in_use())

    def is_held(self, series: Series) -> bool:
        """Return whether an open incident holds this series: only probes and people may request its windows."""
        return series.value in self.store.open_incidents()

    def hold_back(self, job: WindowJob) -> None:
        """Raise IncidentOpen, and count the window, if an incident holds its series.

        Probes, and windows that a person has requested, are never held.
        """
        incident = self.store.open_incidents().get(job["series"])
        if incident is None or job["claim"] == PROBE or current_lane() is Lane.BY_HAND:
            return
        self.store.increment_count(incident, "windows_held")
        WINDOWS_HELD.labels(series_of(job)).inc()
        raise IncidentOpen(f"no calls during an incident ({incident.kind}): retried afterwards")

    # -- After a call

    def record_answer(self, job: WindowJob, *, usable: bool) -> None:
        """Count an answer. ``usable``: False if the answer has values, but none of them could be used."""
        self._record(job, None if usable else IncidentKind.ANSWERS)

    def record_failure(self, job: WindowJob, error: WorkerError) -> None:
        """Count that the supplier failed for this account; may open an incident."""
        if kind := kind_of(error):
            self._record(job, kind)

    def _record(self, job: WindowJob, kind: IncidentKind | None) -> None:
        try:
            self.store.record_answer(job, kind, self.now())
            if kind:
                self._count_failure(job, kind)
        except StoreUnavailable as error:
            _log_not_recorded(error)

    def _count_failure(self, job: WindowJob, kind: IncidentKind) -> None:
        incident = self.store.open_incidents().get(job["series"]) or self.store.open_incidents().get(kind.value)
        if incident and job["claim"] == PROBE:
            # A probe is a call, but not a window that must be requested again.
            self.store.increment_count(incident, "failed_calls")
        elif incident:
            self.store.add_failure(incident, job)
        elif kind.holds:
            answers = self.store.recent_answers(job["series"], self.now(), self.thresholds.minutes)
            failures = failures_alike(answers, kind)[1]
            if is_incident(kind, failures, self.thresholds):
                self._open_incident(slot_of(kind, series_of(job)), kind, failures)

    # -- When a failure is judged

    def find_excuse(self, error: WorkerError, series: Iterable[Series] = Series) -> Incident | None:
        """Return the open incident that explains a failure, so that the account isn't blamed; None if none does."""
        open_by_slot, kind = self.store.open_incidents(), kind_of(error)
        slots = [*(one.value for one in series), *([kind.value] if kind in REFUSALS else ())]
        return next((open_by_slot[slot] for slot in slots if slot in open_by_slot), None)

    def record_excused(self, error: WorkerError, series: Series) -> IncidentKind | None:
        """Count a failed window for the incident that explains it; return the incident's kind, None if none does."""
        incident = self.find_excuse(error, [series])
        if incident is None:
            return None
        try:
            self.store.increment_count(incident, "windows_failed")
        except StoreUnavailable as failure:
            _log_not_recorded(failure)
        return incident.kind

    def may_open(self, kind: IncidentKind) -> bool:
        """Return whether refusals of this kind may open an incident now; if not, they count against the accounts."""
        return self.thresholds.accounts > 0 and not is_believed(kind, self.store.closed_incidents(), self.now())

    def open_if_incident(self, kind: IncidentKind, failures: FailureCount) -> bool:
        """Return whether there are enough refusals for an incident; if so, open it."""
        if not is_incident(kind, failures, self.thresholds):
            return False
        self._open_incident(kind.value, kind, failures)
        return True

    # -- Lists, opening and closing

    def list_open(self) -> list[Incident]:
        return sorted(self.store.open_incidents().values(), key=lambda incident: incident.began_at)

    def open_by_hand(self) -> list[Incident]:
        """Open an incident for each series, for a day at most; return all open incidents that were opened by hand."""
        kind = IncidentKind.BY_HAND
        for series in self.registry.outcomes.list_in_use():
            self._open_incident(series.value, kind, FailureCount(0, 0))
        return [incident for incident in self.list_open() if incident.kind is kind]

    def begin_due_rounds(self) -> list[Incident]:
        """Return the incidents for which a round of probes is due, and record that their round has started."""
        return [
            incident
            for incident in self.list_open()
            if incident.kind is not IncidentKind.BY_HAND
            and self.now() >= incident.next_round_at(self.first_wait_s)
            and self.store.begin_round(incident, self.first_wait_s)
        ]

    def close(self, incident: Incident, how: str) -> None:
        """Close an incident.

        ``how``: why it ends: ``probes`` got usable answers, a person closed it (``by_hand``), the refusals lasted too
        long to be a mistake (``believed``), or an incident opened by hand has ``expired``.
        """
        past = self.store.close(incident, self.now(), how)
        if past and past.ended_at:
            cost = fields(
                **_name_fields(past),
                failed_calls=past.failed_calls,
                windows_failed=past.windows_failed,
                windows_held=past.windows_held,
                accounts=past.accounts,
                how=how,
                minutes=round((past.ended_at - past.began_at).total_seconds() / 60, 1),
            )
            log.warning("incident over", extra=cost)
            self._insert_notices(past, NoticeKind.INCIDENT_OVER)

    def _open_incident(self, slot: str, kind: IncidentKind, failures: FailureCount) -> None:
        """Open an incident, unless ``slot`` (a series or a kind of refusal) has an open one.

        Windows that recently failed in the same way are added to the new incident.
        """
        incident, minutes = Incident(secrets.token_hex(6), slot, kind, self.now()), self.thresholds.minutes
        failed: list[WindowJob] = []
        for series in incident.series:
            failed += failures_alike(self.store.recent_answers(series.value, incident.began_at, minutes), kind)[0]
        opened = self.store.open(incident, failed, self.first_wait_s)
        if opened:
            INCIDENTS.labels(kind).inc()
            extra = fields(**_name_fields(incident), accounts=failures.failed, asked=failures.asked)
            log.error("incident open", extra=extra)
            self._insert_notices(incident, NoticeKind.INCIDENT)

    def _insert_notices(self, incident: Incident, kind: NoticeKind) -> None:
        now = self.now()
        reason, about = incident.kind.value, f"{incident.slot}@{incident.began_at.isoformat(timespec='microseconds')}"
        try:
            self.registry.notices.insert_new(build_notices(self.channels, kind, reason, about, now))
        except StoreUnavailable as error:
            _log_not_recorded(error)


def _log_not_recorded(error: StoreUnavailable) -> None:
    """Log that something could not be recorded; this failure must not hide the outcome of the call."""
    log.warning("not recorded, a store is away: %s", error)


def _name_fields(incident: Incident) -> dict[str, str]:
    return {"incident": incident.id, "kind": incident.kind.value, "slot": incident.slot}


@dataclass(frozen=True, kw_only=True)
class IncidentProber:
    """Probes open incidents. ``sync_window``: runs all steps of a job."""

    incidents: Incidents
    claims: WindowClaims
    sync_window: Callable[[WindowJob], object]

    def run(self) -> None:
        """Close the incidents that are too old, and do the rounds of probes that are due."""
        now = self.incidents.now()
        for incident in self.incidents.list_open():
            if how := incident.expiry_reason(now):
                self.close(incident, how)
        token = enter_lane(_PROBE_LANE)
        try:
            for incident in self.incidents.begin_due_rounds():
                self._do_round(incident)
        finally:
            leave_lane(token)

    def close(self, incident: Incident, how: str) -> None:
        """Make the failed windows due again, then close the incident."""
        # The incident is closed last, so that all of this is repeated if the process is killed in between.
        for job in self.incidents.store.failed_windows(incident):
            self.claims.registry.outcomes.make_due(job["account_id"], series_of(job), self.incidents.now())
        self.incidents.close(incident, how)

    def _do_round(self, incident: Incident) -> None:
        passed = 0
        for account_id, series in self._draw_accounts(incident):
            result = self._probe(incident, account_id, series)
            if result is ProbeResult.FAILED:
                return
            passed += result is ProbeResult.PASSED
            if passed == PROBES_TO_PASS:
                break
        if passed:
            self.close(incident, "probes")

    def _draw_accounts(self, incident: Incident) -> list[tuple[str, Series]]:
        """Return some of the accounts that failed; if none of these may be called any more, return any active accounts.

        The supplier may have answered all the time for accounts that didn't fail, so their answers would prove nothing.
        """
        failed = sorted({(job["account_id"], series_of(job)) for job in self.incidents.store.failed_windows(incident)})
        drawn = random.sample(failed, min(len(failed), _MAX_PROBED_ACCOUNTS))
        accounts = self.claims.registry.accounts.get_many([account_id for account_id, _ in drawn])
        today = civil_date(self.incidents.now())
        asked = {id_ for id_, account in accounts.items() if account.active and not account.refusal_on(today)}
        pairs = [pair for pair in drawn if pair[0] in asked]
        if not pairs:
            others = self.claims.registry.due.list_some(incident.series, today, PROBES_TO_PASS)
            pairs = [(row.account_id, row.series) for row in others]
        return pairs

    def _probe(self, incident: Incident, account_id: str, series: Series) -> ProbeResult:
        job: WindowJob = {**self.claims.manual_look_back(account_id, series), "claim": PROBE}
        error: WorkerError | None = None
        try:
            self.sync_window(job)
        except WorkerError as failure:
            error = failure
        result = judge_probe(incident.kind, error)
        reason = {"reason": str(error)} if error else {}
        extra = fields(incident=incident.id, account_id=account_id, series=series, result=result, **reason)
        log.info("probe answered", extra=extra)
        return result
