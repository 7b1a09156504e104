"""What work is due, told by the registry, the finished windows and the store; never by a message.

Messages get lost and come twice (stack-trials, 4.5), so each decision here can be taken again at any time:
publishing notes the window in ``inflight:*``, and what is due, not done and not in flight is published anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.fleet.policy import FleetPolicy, look_back
from worker.domain.fleet.rounds import serves, takes_over
from worker.domain.measures.messages import NIGHTLY, WindowJob, night_of, split_claim, window_of
from worker.domain.measures.readings import PARIS, DateWindow, Series
from worker.domain.measures.windows import LOOK_BACK_DAYS
from worker.errors import WorkerError
from worker.stores.redis.claims import Try
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.history import History
from worker.sync.results import MOST_COST, TRY, attempts_run

BACKFILL: Final = "account/backfill"  # one window in flight per account
REPAIR: Final = "repair"  # one a series
LOST_AFTER_S: Final = 20.0  # a claim this old without a message of its run in the broker is a lost message's
_PAGE: Final = 500
_A_MOMENT: Final = timedelta(microseconds=1)  # windows published together are runs of their own
_ANY: Final[Callable[[Series], bool]] = lambda series: True  # noqa: E731 - a default
_NEVER: Final[Callable[[Series], bool]] = lambda series: False  # noqa: E731 - a default


@dataclass(frozen=True)
class ClaimPolicy:
    """``words_in_flight``: what the messages in the broker name, as of the last seconds (``Sightings``), or None
    where it can't tell.  ``held``: nothing of such a series is published, for an incident is open.
    """

    registry: AccountRegistry
    state: ProgressStore
    history: History
    now: Clock
    claim_ttl_s: int
    words_in_flight: Callable[[], Collection[str] | None] = lambda: None
    held: Callable[[Series], bool] = _NEVER

    def today(self) -> date:
        return self.now().astimezone(PARIS).date()

    # -- one account's history

    def claim_backfill(self, account_id: str, room: Callable[[Series], bool] = _ANY) -> WindowJob | None:
        """The next window of the account's history, noted as in flight; None if nothing is due or one is already.

        Daily values first, for totals appear at once, then the load curve, newest window first.  A series whose
        windows fail doesn't hold up the other; one without ``room`` waits for the reconciler.
        """
        run_id = new_run_id(self.now())
        if not self.registry.get(account_id).active or not self._claim(account_id, BACKFILL, run_id):
            return None
        try:
            origin = self._next_window(account_id, run_id, room)
        except WorkerError:
            self.release(account_id, BACKFILL, run_id)
            raise
        if origin is None:
            self.release(account_id, BACKFILL, run_id)
        return origin

    def _next_window(self, account_id: str, run_id: str, room: Callable[[Series], bool]) -> WindowJob | None:
        for series in Series:
            missing = self.history.missing(account_id, series)
            if not missing or not room(series) or self.held(series):
                continue
            for window in missing:
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
        for page in self.pages_after(None):
            for account_id, _ in self.backfills_of(page):
                yield account_id

    def backfills_of(self, page: Sequence[Account]) -> Iterator[tuple[str, Series]]:
        """Those of a page of accounts, each with the series that comes first."""
        oldest = self.today() - timedelta(days=min(LOOK_BACK_DAYS.values()))
        ids = [account.id for account in page]
        busy = self._busy(ids)
        wanted = [series for series in Series if self.history.wanted(series)]
        flags = [self.history.loaded_flags(ids, series) for series in wanted]
        for account_id, claimed, *until in zip(ids, busy, *flags, strict=True):
            lacking = [series for series, day in zip(wanted, until, strict=True) if day is None or day < oldest]
            if lacking and not claimed:
                yield account_id, lacking[0]

    def _busy(self, ids: Sequence[str]) -> list[bool]:
        """Which accounts have a window of their history in flight, lost messages let go of."""
        claimed = self.state.claimed_flags(ids, *split_claim(BACKFILL))
        if held := [account_id for account_id, busy in zip(ids, claimed, strict=True) if busy]:
            self._free_lost([(account_id, BACKFILL) for account_id in held], self.words_in_flight())
            return self.state.claimed_flags(ids, *split_claim(BACKFILL))
        return claimed

    def readmit(self, account_id: str) -> None:
        """Its owner consented, or an operator let it run again: nothing is left alone on purpose any more."""
        works = [BACKFILL, *(f"{series.value}/{what}" for series in Series for what in (NIGHTLY, REPAIR))]
        self.state.let_go([(account_id, *split_claim(work)) for work in works])

    # -- the look-back of all

    def claim_look_back(self, account_id: str, series: Series, run: str) -> WindowJob | None:
        """The last days of a series for one run, noted as in flight; None if that run is doing it, or another night."""
        return next(iter(self.claim_look_backs([(account_id, series)], run)), None)

    def claim_look_backs(self, pairs: Sequence[tuple[str, Series]], run: str) -> list[WindowJob]:
        """``claim_look_back`` of many, without those for which it is None."""
        today = self.today()
        return self._claim_windows([(*pair, look_back(today, pair[1])) for pair in pairs], run)

    def as_of_now(self, origin: WindowJob) -> WindowJob | None:
        """A window as it is to be asked for now that its turn has come.

        The look-back of a night waits for hours where quota is short.  It then serves the newest night, up to its own
        today; None where that has been asked already, or another message will.
        """
        night = night_of(origin["claim"])
        if night is None:
            return origin
        account_id, series, run_id = origin["account_id"], Series(origin["series"]), origin["run_id"]
        standing = self.state.look_back_standing(account_id, series)
        newest = night
        if standing.newest is not None and takes_over(standing.newest, night, self.today()):
            newest = standing.newest
        claim = f"{series.value}/{NIGHTLY}:{newest.isoformat()}"
        if serves(standing.served, newest, self.today()):
            self.release(account_id, claim, run_id)
            return None
        if standing.holder is None:  # it waited longer than a claim lives
            if not self._claim(account_id, claim, run_id):
                return None
        elif standing.holder != run_id:
            return None
        return _origin(account_id, series, look_back(self.today(), series), run_id, claim)

    # -- open days, asked for again

    def claim_repair(self, account_id: str, series: Series, window: DateWindow) -> WindowJob | None:
        """One window of open days, noted as in flight; None if one of the series is already, or failed too often."""
        return next(iter(self._claim_windows([(account_id, series, window)], REPAIR)), None)

    def look_back_now(self, account_id: str, series: Series) -> WindowJob:
        """The last days of a series, asked for by hand: no run, no claim."""
        return self.window_by_hand(account_id, series, look_back(self.today(), series))

    def window_by_hand(self, account_id: str, series: Series, window: DateWindow) -> WindowJob:
        """Any window, without a claim: whoever asks by hand is not held up by what is in flight."""
        return _origin(account_id, series, window, new_run_id(self.now()), None)

    def due_look_backs(
        self, accounts: Sequence[Account], run: str, policy: FleetPolicy | None = None
    ) -> Iterator[tuple[str, Series]]:
        """What of a page of accounts was not asked for since its last turn up to this night (``nightly:2024-07-25``).

        ``policy``: whose turn it is when; without one everybody's, every night.  A turn that an unfinished night left
        out is made up for by the next; of what was never noted nobody can tell, so it waits for its turn.
        """
        night, today = _night(run), self.today()
        pairs = [(account.id, series) for account in accounts if account.active for series in Series]
        turns = self._turns(pairs, night, policy) if policy is not None else [night] * len(pairs)
        for pair, turn, noted in zip(pairs, turns, self.state.nights(pairs), strict=True):
            if (turn == night) if noted is None else not serves(noted.night, turn, today):
                yield pair

    def _turns(self, pairs: Sequence[tuple[str, Series]], night: date, policy: FleetPolicy) -> list[date]:
        off = self.registry.completeness.curves_off({each for each, _ in pairs}, self.today())
        return [policy.last_turn(*pair, night, curve_off=pair[0] in off) for pair in pairs]

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

    def due_catch_ups(
        self, accounts: Sequence[Account], policy: FleetPolicy | None = None
    ) -> Iterator[tuple[str, Series]]:
        """What of a page of accounts has no reading of yesterday, though today was its turn, and no night in flight."""
        lacking = [*self.lacking_yesterday(accounts)]
        if policy is not None:
            turns = self._turns(lacking, self.today(), policy)
            lacking = [pair for pair, turn in zip(lacking, turns, strict=True) if turn == self.today()]
        ids = [account.id for account in accounts]
        flags = {series: self.state.claimed_flags(ids, series.value, NIGHTLY) for series in Series}
        in_flight = {(each, series) for series in Series for each, busy in zip(ids, flags[series], strict=True) if busy}
        yield from (pair for pair in lacking if pair not in in_flight)

    def pages_after(self, cursor: str | None) -> Iterator[list[Account]]:
        """Active accounts behind ``cursor``, by id, a page at a time."""
        while page := self.page_after(cursor):
            yield page
            cursor = page[-1].id

    def page_after(self, cursor: str | None, until: str | None = None) -> list[Account]:
        """The next of them, up to and with ``until``: keyset, no OFFSET."""
        return self.registry.page_active(cursor, _PAGE, until=until)

    def release(self, account_id: str, claim: str, run_id: str) -> None:
        self.state.release(account_id, *split_claim(claim), holder=run_id)

    def _claim_windows(self, windows: Sequence[tuple[str, Series, DateWindow]], what: str) -> list[WindowJob]:
        now = self.now()
        wanted = [
            _origin(account_id, series, window, new_run_id(now + place * _A_MOMENT), f"{series.value}/{what}")
            for place, (account_id, series, window) in enumerate(windows)
            if not self.held(series)
        ]
        tries = [
            Try(origin["account_id"], *split_claim(f"{origin['claim']}"), window_of(origin), origin["run_id"])
            for origin in wanted
        ]
        claimed = self.state.claim_tries(tries, self.claim_ttl_s, run=attempts_run(now), times=TRY, most=MOST_COST)
        return [origin for origin, ours in zip(wanted, claimed, strict=True) if ours]

    def _claim(self, account_id: str, claim: str, run_id: str) -> bool:
        return self.state.claim(account_id, *split_claim(claim), self.claim_ttl_s, holder=run_id)

    def _may_try(self, account_id: str, series: Series, window: DateWindow) -> bool:
        """Count the try; once they have cost enough, the rest is left to the next run."""
        run = attempts_run(self.now())
        return self.state.count_attempt(account_id, series.value, window, run=run, times=TRY) <= MOST_COST


def _origin(account_id: str, series: Series, window: DateWindow, run_id: str, claim: str | None) -> WindowJob:
    return WindowJob(
        account_id=account_id,
        series=series.value,
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        run_id=run_id,
        claim=claim,
    )


def _night(run: str) -> date:
    return date.fromisoformat(run.removeprefix(f"{NIGHTLY}:"))


def new_run_id(now: datetime) -> str:
    """Sorts as time does, so that an older run's late outcome can be told from a newer one."""
    return now.strftime("%Y%m%dT%H%M%S.%f")


# What the broker holds, as somebody saw it a few seconds ago: to look into it costs more than to decide.

Words = Collection[str] | None


class TtlCache:
    """Called, gives what ``look`` found at most ``good_for_s`` ago."""

    def __init__(
        self, look: Callable[[], Words], good_for_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look, self._good_for_s, self._clock = look, good_for_s, clock
        self._lock = threading.Lock()
        self._seen: tuple[float, Words] | None = None

    def __call__(self) -> Words:
        with self._lock:
            now = self._clock()  # before the look: what is published meanwhile may be missed by it
            if self._seen is None or now - self._seen[0] > self._good_for_s:
                self._seen = now, self._look()
            return self._seen[1]
