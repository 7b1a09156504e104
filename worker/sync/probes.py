"""Probes: while an incident is open, a few accounts are asked with growing waits; answers to them close it.

Closing makes all windows that failed due again at once, as if they had not been tried. A round ends with its first
failure, so an outage costs one call a round. A round that is killed is done again by the next one.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from worker.domain.clock import Clock
from worker.domain.incident import PROBE, PROBES_TO_PASS, Incident, ProbeResult, judge_probe
from worker.domain.lanes import enter_lane, leave_lane
from worker.domain.messages import WindowJob, series_of
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.errors import WorkerError
from worker.logs import fields
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.incidents import Incidents

log = logging.getLogger("releve.incidents")
# Nobody else is asked during an incident, so a probe may use a lane that has a permit at once.
_LANE: Final = "first_screen"
# More than necessary, because some accounts may have been removed or have answers that say nothing.
_MAX_PROBED_ACCOUNTS: Final = 3 * PROBES_TO_PASS


@dataclass(frozen=True, kw_only=True)
class IncidentProber:
    """A prober of open incidents.

    ``look_back`` returns the job of an account's last days; ``sync_window`` does all steps of a job.
    """

    incidents: Incidents
    accounts: AccountRegistry
    look_back: Callable[[str, Series], WindowJob]
    sync_window: Callable[[WindowJob], object]
    now: Clock

    def run(self) -> None:
        """Close the incidents that are too old, and do the rounds of probes that are due. Raises StoreUnavailable."""
        now = self.now()
        for incident in self.incidents.list_open():
            if how := incident.expiry_reason(now):
                self.close(incident, how)
        token = enter_lane(_LANE)
        try:
            for incident in self.incidents.begin_due_rounds():
                self._do_round(incident)
        finally:
            leave_lane(token)

    def close(self, incident: Incident, how: str) -> None:
        """Make the windows that failed due again, then close the incident."""
        # The incident is closed last: after a kill in between, all is done again.
        for job in self.incidents.store.failed_windows(incident):
            self.accounts.outcomes.make_due(job["account_id"], series_of(job), self.now())
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
        """Return some of the accounts that failed; if all of these are gone, any active ones.

        An account that never failed could be answered all the time and would say nothing.
        """
        failed = sorted({(job["account_id"], series_of(job)) for job in self.incidents.store.failed_windows(incident)})
        drawn = random.sample(failed, min(len(failed), _MAX_PROBED_ACCOUNTS))
        accounts = self.accounts.get_many([account_id for account_id, _ in drawn])
        today = civil_date(self.now())
        asked = {id_ for id_, account in accounts.items() if account.active and not account.refusal_on(today)}
        pairs = [pair for pair in drawn if pair[0] in asked]
        if not pairs:
            others = self.accounts.due.list_some(incident.series, today, PROBES_TO_PASS)
            pairs = [(row.account_id, row.series) for row in others]
        return pairs

    def _probe(self, incident: Incident, account_id: str, series: Series) -> ProbeResult:
        job: WindowJob = {**self.look_back(account_id, series), "claim": PROBE}
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
