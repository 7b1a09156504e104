"""The way out of an incident: a few canary accounts are asked with growing waits; once they are answered it is over.

Then whatever it touched is due again at once, as if it had not been tried.  A round ends with its first failure, so
an outage costs a call a round.  Killed anywhere, the next round does the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.fleet.incidents import CANARIES, PROBE, Incident, ProbeResult, judge_canary
from worker.domain.fleet.lanes import enter_lane, leave_lane
from worker.domain.measures.messages import WindowJob, series_of, split_claim, window_of
from worker.domain.measures.readings import DateWindow, Series
from worker.errors import WorkerError
from worker.logs import fields
from worker.sync.claims import ClaimPolicy
from worker.sync.incidents import Incidents
from worker.sync.results import attempts_run
from worker.sync.window import WindowSync

log = logging.getLogger("releve.incidents")

_LANE: Final = "first_screen"  # while nobody else is asked, canaries must not wait for a permit
_DRAWN: Final = 3 * CANARIES  # some may have been removed, or say nothing


class Accounts(Protocol):
    def some(self, account_ids: Collection[str]) -> dict[str, Account]: ...

    def page_active(self, after: str | None = None, limit: int = ...) -> list[Account]: ...


class Notes(Protocol):
    """The part of SyncState that forgets what was held against a window."""

    def clear_attempts(self, account_id: str, series: str, window: DateWindow, *, run: str) -> None: ...

    def release(self, account_id: str, series: str, what: str, *, holder: str) -> None: ...


class House(Protocol):
    """A Runtime is one."""

    @property
    def incidents(self) -> Incidents: ...

    @property
    def registry(self) -> Accounts: ...

    @property
    def state(self) -> Notes: ...

    @property
    def dispatcher(self) -> ClaimPolicy: ...

    @property
    def walk(self) -> WindowSync: ...

    @property
    def now(self) -> Clock: ...


@dataclass(frozen=True)
class Probing:
    """``ask`` does the whole walk of a window; ``look_back`` gives the window of an account and series."""

    incidents: Incidents
    accounts: Accounts
    state: Notes
    look_back: Callable[[str, Series], WindowJob]
    ask: Callable[[WindowJob], object]
    now: Clock

    @classmethod
    def of(cls, house: House) -> Self:
        ask, look_back = house.walk.sync_window, house.dispatcher.look_back_now
        return cls(house.incidents, house.registry, house.state, look_back, ask, house.now)

    def run(self) -> None:
        """Close what is overdue, send the canaries whose turn it is.  Raises StoreUnavailable."""
        now = self.now()
        for incident in self.incidents.current():
            if how := incident.overdue(now):
                self.close(incident, how)
        token = enter_lane(_LANE)
        try:
            for incident in self.incidents.rounds_due():
                self._round(incident)
        finally:
            leave_lane(token)

    def close(self, incident: Incident, how: str) -> None:
        """Make due again what it touched, then close it: after a kill in between it is done again."""
        run = attempts_run(self.now())
        for origin in self.incidents.all_failed(incident):
            self.state.clear_attempts(origin["account_id"], origin["series"], window_of(origin), run=run)
            if origin["claim"]:
                self.state.release(origin["account_id"], *split_claim(origin["claim"]), holder=origin["run_id"])
        self.incidents.close(incident, how)

    def _round(self, incident: Incident) -> None:
        passed = 0
        for account_id, series in self._canaries(incident):
            canary = self._send(incident, account_id, series)
            if canary is ProbeResult.FAILED:
                return
            passed += canary is ProbeResult.PASSED
            if passed == CANARIES:
                break
        if passed:
            self.close(incident, "probes")

    def _canaries(self, incident: Incident) -> Iterator[tuple[str, Series]]:
        """Of those it touched, for others may always have been well; anybody where they are all gone."""
        drawn = self.incidents.some_failed(incident, _DRAWN)
        known = self.accounts.some([origin["account_id"] for origin in drawn])
        active = {account_id for account_id, account in known.items() if account.active}
        pairs = [(each["account_id"], series_of(each)) for each in drawn if each["account_id"] in active]
        if not pairs:
            pairs = [(account.id, incident.series[0]) for account in self.accounts.page_active(None, CANARIES)]
        yield from pairs

    def _send(self, incident: Incident, account_id: str, series: Series) -> ProbeResult:
        origin: WindowJob = {**self.look_back(account_id, series), "claim": PROBE}
        error: WorkerError | None = None
        try:
            self.ask(origin)
        except WorkerError as failure:
            error = failure
        canary = judge_canary(incident.kind, error)
        reason = {"reason": str(error)} if error else {}
        told = fields(incident=incident.id, account_id=account_id, series=series, canary=canary, **reason)
        log.info("canary asked", extra=told)
        return canary
