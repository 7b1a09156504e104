"""Claims: which windows are due, and which of them this process may publish.

What is due comes from the registry, the finished windows and the measure store, never from a message, because a broker
may lose or repeat messages. Each decision here can therefore be taken again at any time. Publishing a window claims it
(``inflight:*`` in Redis); a window that is due, not done and not claimed is published again.

A claim is named ``<scope>/<run>``: ``daily/nightly:2024-07-25``, ``load_curve/repair``, ``account/backfill``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.fleet.policy import FleetPolicy, look_back
from worker.domain.fleet.rounds import serves, takes_over
from worker.domain.measures.messages import (
    BACKFILL,
    NIGHTLY,
    WindowJob,
    new_run_id,
    night_of,
    split_claim,
    to_job,
    window_of,
)
from worker.domain.measures.readings import PARIS, DateWindow, Series
from worker.domain.measures.windows import LOOK_BACK_DAYS
from worker.errors import WorkerError
from worker.stores.redis.claims import ClaimRequest
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.attempts import ATTEMPT_COST, MAX_ATTEMPT_COST, attempts_run
from worker.sync.history import History

# The run of a claim for open days; there is one such claim for each series.
REPAIR: Final = "repair"
# A claim of this age without a message of its run in the broker belongs to a lost message. Younger ones may be on their
# way.
LOST_AFTER_S: Final = 20.0
_PAGE_SIZE: Final = 500
# Windows that are claimed together have run ids that differ by this.
_RUN_ID_STEP: Final = timedelta(microseconds=1)
_ALWAYS: Final[Callable[[Series], bool]] = lambda series: True  # noqa: E731 - It is a default value.
_NEVER: Final[Callable[[Series], bool]] = lambda series: False  # noqa: E731 - It is a default value.


@dataclass(frozen=True, kw_only=True)
class ClaimPolicy:
    """The policy that decides which windows are due and claims them.

    ``claim_ttl_s``: seconds after which a claim expires. ``run_ids_in_broker`` returns the run ids of the messages in
    the broker, possibly some seconds old, or None if the broker can't tell. ``is_held``: whether an open incident holds
    a series, so that nothing of it is published. Methods raise StoreUnavailable.
    """

    registry: AccountRegistry
    progress: ProgressStore
    history: History
    now: Clock
    claim_ttl_s: int
    run_ids_in_broker: Callable[[], Collection[str] | None] = lambda: None
    is_held: Callable[[Series], bool] = _NEVER

    def today(self) -> date:
        """Return the civil date of the meters."""
        return self.now().astimezone(PARIS).date()

    # -- The history of one account

    def claim_backfill(self, account_id: str, has_capacity: Callable[[Series], bool] = _ALWAYS) -> WindowJob | None:
        """Claim the next window of the account's history; None if nothing is due or one is claimed already.

        Daily values come first because their totals can be shown at once, then the load curve; of each the newest
        window. A series whose windows fail does not stop the other. A series without capacity is left to a later run.
        """
        run_id = new_run_id(self.now())
        # The claim comes before the choice, so that two processes do not choose the same window.
        if not self.registry.get(account_id).active or not self._claim(account_id, BACKFILL, run_id):
            return None
        try:
            job = self._next_window(account_id, run_id, has_capacity)
        except WorkerError:
            self.release_claim(account_id, BACKFILL, run_id)
            raise
        if job is None:
            self.release_claim(account_id, BACKFILL, run_id)
        return job

    def _next_window(self, account_id: str, run_id: str, has_capacity: Callable[[Series], bool]) -> WindowJob | None:
        for series in Series:
            missing = self.history.missing_windows(account_id, series)
            if not missing or not has_capacity(series) or self.is_held(series):
                continue
            for window in missing:
                if self._count_attempt_within_limit(account_id, series, window):
                    return to_job(account_id, series, window, run_id, BACKFILL)
        return None

    def attempts_exhausted(self, account_id: str, series: Series) -> bool:
        """Return whether every missing window of the series has failed too often today."""
        run = attempts_run(self.now())
        return all(
            self.progress.attempts(account_id, series.value, window, run=run) > MAX_ATTEMPT_COST - ATTEMPT_COST
            for window in self.history.missing_windows(account_id, series)
        )

    def due_backfills(self) -> Iterator[str]:
        """Yield the accounts whose history is not loaded up to the days that a look-back reaches."""
        for page in self.pages_after(None):
            for account_id, _ in self.due_backfills_of(page):
                yield account_id

    def due_backfills_of(self, page: Sequence[Account]) -> Iterator[tuple[str, Series]]:
        """Yield those of a page of accounts whose history is due, each with the series that comes first."""
        oldest = self.today() - timedelta(days=min(LOOK_BACK_DAYS.values()))
        ids = [account.id for account in page]
        claimed = self._backfill_flags(ids)
        wanted = [series for series in Series if self.history.wanted_window(series)]
        loaded = [self.history.loaded_until_of(ids, series) for series in wanted]
        for account_id, is_claimed, *loaded_until in zip(ids, claimed, *loaded, strict=True):
            due = [series for series, day in zip(wanted, loaded_until, strict=True) if day is None or day < oldest]
            if due and not is_claimed:
                yield account_id, due[0]

    def _backfill_flags(self, ids: Sequence[str]) -> list[bool]:
        """Drop lost claims of histories, and return for each account whether one is left."""
        flags = self.progress.claimed_flags(ids, *split_claim(BACKFILL))
        if claimed_ids := [account_id for account_id, claimed in zip(ids, flags, strict=True) if claimed]:
            self._drop_lost([(account_id, BACKFILL) for account_id in claimed_ids], self.run_ids_in_broker())
            return self.progress.claimed_flags(ids, *split_claim(BACKFILL))
        return flags

    def clear_retry_delays(self, account_id: str) -> None:
        """Delete the claims that only hold windows back, after its owner consented or an operator resumed it."""
        claims = [BACKFILL, *(f"{series.value}/{run}" for series in Series for run in (NIGHTLY, REPAIR))]
        self.progress.clear_holds([(account_id, *split_claim(claim)) for claim in claims])

    # -- Look-backs

    def claim_look_back(self, account_id: str, series: Series, run: str) -> WindowJob | None:
        """Claim the last days of a series for a run; None if this run or another night has claimed them."""
        return next(iter(self.claim_look_backs([(account_id, series)], run)), None)

    def claim_look_backs(self, pairs: Sequence[tuple[str, Series]], run: str) -> list[WindowJob]:
        """Do ``claim_look_back`` for many (account, series) and return the claimed windows."""
        today = self.today()
        return self._claim_windows([(*pair, look_back(today, pair[1])) for pair in pairs], run)

    def refresh_window(self, job: WindowJob) -> WindowJob | None:
        """Return the window to ask for now, after its message has waited in a queue.

        With a small quota, the look-back of a night waits for hours. It then serves the newest night and reaches up to
        the present day. None if that night has asked already, or if another message holds the claim.
        """
        night = night_of(job["claim"])
        if night is None:
            return job
        account_id, series, run_id = job["account_id"], Series(job["series"]), job["run_id"]
        state = self.progress.load_look_back_state(account_id, series)
        newest = night
        if state.newest is not None and takes_over(state.newest, night, self.today()):
            newest = state.newest
        claim = f"{series.value}/{NIGHTLY}:{newest.isoformat()}"
        if serves(state.served, newest, self.today()):
            self.release_claim(account_id, claim, run_id)
            return None
        if state.holder is None:
            # The message waited longer than its claim lives.
            if not self._claim(account_id, claim, run_id):
                return None
        elif state.holder != run_id:
            return None
        return to_job(account_id, series, look_back(self.today(), series), run_id, claim)

    # -- Open days

    def claim_repair(self, account_id: str, series: Series, window: DateWindow) -> WindowJob | None:
        """Claim a window of open days; None if one of the series is claimed already or has failed too often."""
        return next(iter(self._claim_windows([(account_id, series, window)], REPAIR)), None)

    # -- Windows asked for by a person

    def manual_look_back(self, account_id: str, series: Series) -> WindowJob:
        """Return the last days of a series without a claim."""
        return self.manual_window(account_id, series, look_back(self.today(), series))

    def manual_window(self, account_id: str, series: Series, window: DateWindow) -> WindowJob:
        """Return a window without a claim, so that no claim delays it."""
        return to_job(account_id, series, window, new_run_id(self.now()), None)

    # -- What is due tonight

    def due_look_backs(
        self, accounts: Sequence[Account], run: str, policy: FleetPolicy | None = None
    ) -> Iterator[tuple[str, Series]]:
        """Yield the (account, series) of a page that are due in the night ``run``, such as ``nightly:2024-07-25``.

        Due is what has not been asked for since its last turn.

        ``policy`` decides whose turn it is; without one, every night is everybody's turn. The next night makes up for
        turns that an unfinished night missed. A series of which no night is recorded waits for its turn.
        """
        night, today = date.fromisoformat(run.removeprefix(f"{NIGHTLY}:")), self.today()
        pairs = [(account.id, series) for account in accounts if account.active for series in Series]
        turns = self._turns(pairs, night, policy) if policy is not None else [night] * len(pairs)
        for pair, turn, last in zip(pairs, turns, self.progress.last_nights(pairs), strict=True):
            if (turn == night) if last is None else not serves(last.night, turn, today):
                yield pair

    def _turns(self, pairs: Sequence[tuple[str, Series]], night: date, policy: FleetPolicy) -> list[date]:
        ids = {account_id for account_id, _ in pairs}
        without_curve = self.registry.completeness.find_accounts_without_curve(ids, self.today())
        return [policy.last_turn(*pair, night, curve_off=pair[0] in without_curve) for pair in pairs]

    def drop_lost_claims(self, pairs: Sequence[tuple[str, Series]], run: str) -> None:
        """Drop the claims of a run whose message is lost: a broker may lose messages when it is killed."""
        # A scan of the broker costs more than all else here, so an empty page must not cause one.
        if pairs:
            claims = [(account_id, f"{series.value}/{run}") for account_id, series in pairs]
            self._drop_lost(claims, self.run_ids_in_broker())

    def _drop_lost(self, claims: Sequence[tuple[str, str]], run_ids: Collection[str] | None) -> None:
        """Drop those of the claims (account, claim) that are lost; without ``run_ids`` they expire by themselves."""
        if run_ids is not None:
            keys = [(account_id, *split_claim(claim)) for account_id, claim in claims]
            self.progress.drop_lost_claims(keys, LOST_AFTER_S, run_ids)

    def find_missing_yesterday(self, accounts: Sequence[Account]) -> Iterator[tuple[str, Series]]:
        """Yield the (account, series) of a page without a reading of yesterday."""
        yesterday = self.today() - timedelta(days=1)
        outcomes = self.registry.load_outcomes_of([account.id for account in accounts])
        for account in accounts:
            for series in Series:
                outcome = outcomes[account.id].get(series)
                if outcome is None or outcome.last_day is None or outcome.last_day < yesterday:
                    yield account.id, series

    def due_catch_ups(
        self, accounts: Sequence[Account], policy: FleetPolicy | None = None
    ) -> Iterator[tuple[str, Series]]:
        """Yield the (account, series) of a page without a reading of yesterday whose turn is today.

        Those that a night has claimed are left out.
        """
        lacking = [*self.find_missing_yesterday(accounts)]
        if policy is not None:
            turns = self._turns(lacking, self.today(), policy)
            lacking = [pair for pair, turn in zip(lacking, turns, strict=True) if turn == self.today()]
        ids = [account.id for account in accounts]
        flags = {series: self.progress.claimed_flags(ids, series.value, NIGHTLY) for series in Series}
        claimed_pairs = {
            (account_id, series)
            for series in Series
            for account_id, claimed in zip(ids, flags[series], strict=True)
            if claimed
        }
        yield from (pair for pair in lacking if pair not in claimed_pairs)

    # -- Pages of accounts

    def pages_after(self, cursor: str | None) -> Iterator[list[Account]]:
        """Yield the active accounts behind ``cursor`` in the order of their ids, a page at a time."""
        while page := self.page_after(cursor):
            yield page
            cursor = page[-1].id

    def page_after(self, cursor: str | None, until: str | None = None) -> list[Account]:
        """Return the next page behind ``cursor``, up to and including ``until``; empty at the end."""
        return self.registry.page_active(cursor, _PAGE_SIZE, until=until)

    # -- Claims

    def release_claim(self, account_id: str, claim: str, run_id: str) -> None:
        """Release a claim if this run still holds it."""
        self.progress.release_claim(account_id, *split_claim(claim), holder=run_id)

    def _claim_windows(self, windows: Sequence[tuple[str, Series, DateWindow]], run: str) -> list[WindowJob]:
        now = self.now()
        jobs = [
            to_job(account_id, series, window, new_run_id(now + place * _RUN_ID_STEP), f"{series.value}/{run}")
            for place, (account_id, series, window) in enumerate(windows)
            if not self.is_held(series)
        ]
        requests = [
            ClaimRequest(job["account_id"], *split_claim(f"{job['claim']}"), window_of(job), job["run_id"])
            for job in jobs
        ]
        flags = self.progress.claim_windows(
            requests, self.claim_ttl_s, run=attempts_run(now), times=ATTEMPT_COST, limit=MAX_ATTEMPT_COST
        )
        return [job for job, claimed in zip(jobs, flags, strict=True) if claimed]

    def _claim(self, account_id: str, claim: str, run_id: str) -> bool:
        return self.progress.claim(account_id, *split_claim(claim), self.claim_ttl_s, holder=run_id)

    def _count_attempt_within_limit(self, account_id: str, series: Series, window: DateWindow) -> bool:
        """Count an attempt and return whether the day allows it."""
        run = attempts_run(self.now())
        cost = self.progress.count_attempt(account_id, series.value, window, run=run, times=ATTEMPT_COST)
        return cost <= MAX_ATTEMPT_COST
