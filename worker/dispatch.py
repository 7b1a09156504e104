"""What work is due, told by the registry, the finished windows and the store; never by a message.

Messages get lost and come twice (stack-trials, 4.5), so each decision here can be taken again at any time:
publishing notes the window in ``inflight:*``, and what is due, not done and not in flight is published anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from worker.clock import Clock
from worker.domain.accounts import Account
from worker.domain.batches import Origin, split_claim
from worker.domain.readings import PARIS, DateWindow, Series
from worker.domain.windows import LOOK_BACK_DAYS, plan_look_back
from worker.errors import WorkerError
from worker.history import History
from worker.journal import MOST_COST, TRY, attempts_run, run_field
from worker.stores.registry import AccountRegistry
from worker.stores.state import SyncState

BACKFILL: Final = "account/backfill"  # one window in flight per account
REPAIR: Final = "repair"  # one a series
LOST_AFTER_S: Final = 20.0  # a claim this old without a message of its run in the broker is a lost message's
_PAGE: Final = 500


@dataclass(frozen=True)
class Dispatcher:
    """``words_in_flight``: what the messages in the broker name, or None where it can't tell."""

    registry: AccountRegistry
    state: SyncState
    history: History
    now: Clock
    claim_ttl_s: int
    words_in_flight: Callable[[], Collection[str] | None] = lambda: None

    def today(self) -> date:
        return self.now().astimezone(PARIS).date()

    # -- one account's history

    def claim_backfill(self, account_id: str) -> Origin | None:
        """The next window of the account's history, noted as in flight; None if nothing is due or one is already.

        Daily values first, for totals appear at once, then the load curve, newest window first.  A series whose
        windows fail doesn't hold up the other.
        """
        run_id = new_run_id(self.now())
        if not self.registry.get(account_id).active or not self._claim(account_id, BACKFILL, run_id):
            return None
        try:
            origin = self._next_window(account_id, run_id)
        except WorkerError:
            self.release(account_id, BACKFILL, run_id)
            raise
        if origin is None:
            self.release(account_id, BACKFILL, run_id)
        return origin

    def _next_window(self, account_id: str, run_id: str) -> Origin | None:
        for series in Series:
            for window in self.history.missing(account_id, series):
                if self._may_try(account_id, series, window):
                    return _origin(account_id, series, window, run_id, BACKFILL)
        return None

    def given_up(self, account_id: str, series: Series) -> bool:
        """Whether every missing window of the series has failed too often today."""
        run = attempts_run(self.now())
        return all(
            self.state.attempts(account_id, series.value, window, run=run) > MOST_COST - TRY
            for window in self.history.missing(account_id, series)
        )

    def due_backfills(self) -> Iterator[str]:
        """Accounts whose history is not loaded, or so long ago that the look-back no longer reaches it."""
        oldest_flag = self.today() - timedelta(days=min(LOOK_BACK_DAYS.values()))
        in_flight = self.words_in_flight()
        for page in self._pages():
            ids = [account.id for account in page]
            self._free_lost([(account_id, BACKFILL) for account_id in ids], in_flight)
            busy = self.state.claimed_flags(ids, *split_claim(BACKFILL))
            flags = [self.state.loaded_flags(ids, series) for series in Series if self.history.wanted(series)]
            for account_id, claimed, *until in zip(ids, busy, *flags, strict=True):
                if not claimed and any(day is None or day < oldest_flag for day in until):
                    yield account_id

    # -- the look-back of all

    def claim_look_back(self, account_id: str, series: Series, run: str) -> Origin | None:
        """The last days of a series for one run, noted as in flight; None if that run has done or is doing it."""
        return self._claim_window(account_id, series, plan_look_back(self.today(), series), run)

    # -- open days, asked for again

    def claim_repair(self, account_id: str, series: Series, window: DateWindow) -> Origin | None:
        """One window of open days, noted as in flight; None if one of the series is already, or failed too often."""
        return self._claim_window(account_id, series, window, REPAIR)

    def look_back_now(self, account_id: str, series: Series) -> Origin:
        """The last days of a series, asked for by hand: no run, no claim."""
        return self.window_by_hand(account_id, series, plan_look_back(self.today(), series))

    def window_by_hand(self, account_id: str, series: Series, window: DateWindow) -> Origin:
        """Any window, without a claim: whoever asks by hand is not held up by what is in flight."""
        return _origin(account_id, series, window, new_run_id(self.now()), None)

    def due_look_backs(self, accounts: Sequence[Account], run: str) -> Iterator[tuple[str, Series]]:
        """What of a page of accounts the run hasn't done yet."""
        pairs = [(account.id, series) for account in accounts if account.active for series in Series]
        states = self.state.task_states([(account_id, series.value) for account_id, series in pairs])
        for (account_id, series), noted in zip(pairs, states, strict=True):
            if noted.get(run_field(run)) != run:
                yield account_id, series

    def free_lost(self, pairs: Sequence[tuple[str, Series]], what: str) -> None:
        """Let go of the claims of windows whose message nobody has: a broker may lose one when it is killed."""
        if pairs:  # to look into the broker costs more than all else here
            claims = [(account_id, f"{series.value}/{what}") for account_id, series in pairs]
            self._free_lost(claims, self.words_in_flight())

    def _free_lost(self, claims: Sequence[tuple[str, str]], in_flight: Collection[str] | None) -> None:
        """Not where the broker can't be looked into: such a claim expires by itself."""
        if in_flight is not None:
            ours = [(account_id, *split_claim(claim)) for account_id, claim in claims]
            self.state.drop_lost(ours, LOST_AFTER_S, in_flight)

    def lacking_yesterday(self, accounts: Sequence[Account]) -> Iterator[tuple[str, Series]]:
        """What of a page of accounts has no reading of yesterday."""
        yesterday = self.today() - timedelta(days=1)
        outcomes = self.registry.outcomes_of([account.id for account in accounts])
        for account in accounts:
            for series in Series:
                outcome = outcomes[account.id].get(series)
                if outcome is None or outcome.last_day is None or outcome.last_day < yesterday:
                    yield account.id, series

    def pages_after(self, cursor: str | None) -> Iterator[list[Account]]:
        """Active accounts behind ``cursor``, by id, a page at a time: keyset, no OFFSET."""
        while page := self.registry.page_active(cursor, _PAGE):
            yield page
            cursor = page[-1].id

    def release(self, account_id: str, claim: str, run_id: str) -> None:
        self.state.release(account_id, *split_claim(claim), holder=run_id)

    def _pages(self) -> Iterator[list[Account]]:
        return self.pages_after(None)

    def _claim_window(self, account_id: str, series: Series, window: DateWindow, what: str) -> Origin | None:
        claim, run_id = f"{series.value}/{what}", new_run_id(self.now())
        if not self._claim(account_id, claim, run_id):
            return None
        if not self._may_try(account_id, series, window):
            self.release(account_id, claim, run_id)
            return None
        return _origin(account_id, series, window, run_id, claim)

    def _claim(self, account_id: str, claim: str, run_id: str) -> bool:
        return self.state.claim(account_id, *split_claim(claim), self.claim_ttl_s, holder=run_id)

    def _may_try(self, account_id: str, series: Series, window: DateWindow) -> bool:
        """Count the try; once they have cost enough, the rest is left to the next run."""
        run = attempts_run(self.now())
        return self.state.count_attempt(account_id, series.value, window, run=run, times=TRY) <= MOST_COST


def _origin(account_id: str, series: Series, window: DateWindow, run_id: str, claim: str | None) -> Origin:
    return Origin(
        account_id=account_id,
        series=series.value,
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        run_id=run_id,
        claim=claim,
    )


def new_run_id(now: datetime) -> str:
    """Sorts as time does, so that an older run's late outcome can be told from a newer one."""
    return now.strftime("%Y%m%dT%H%M%S.%f")
