"""Accounts of a drill and the work for them: new accounts, nightly runs, corrected values, filled gaps, new consents.

The seed decides everything, so that a failed run can be repeated.

Some accounts are connected by ``Households`` through the pages of the web process. Corrected days of past months are
requested by hand, all at once: several of one month, whose runs all write its total, or a few of them twice, with
different values. No look-back requests these days again. Wrong values there are counted at the end, before doubtful
days are requested again as beat does every hour, because that would correct a lost update, which must never happen.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil
from queue import Empty, SimpleQueue
from typing import Any, Final, Self

import requests

from drill.demo import connect_home
from drill.expected_documents import Differences, find_differences, loads_by_key, read_account
from drill.servers import DrillServers
from worker.app import enqueue, enqueue_backfill, enqueue_look_back, enqueue_window, queue_lengths
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.domain.account import AccountState
from worker.domain.messages import new_run_id
from worker.domain.series import daily_of
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import ConsentRevoked, LoginFailed, PageNotReady, RefreshAnswerLost, StoreUnavailable
from worker.runtime.consent_parts import erase
from worker.stores.child_processes import answers

_FIRST_METER: Final = 40_000_000_000_001
_GAS_EVERY: Final = 4  # One in so many homes has gas.
_GAS_RANK: Final = 3
_FIRST_ACCOUNTS: Final = 4
_CONSENT_NEEDED: Final = (ConsentRevoked.code, RefreshAnswerLost.code, LoginFailed.code)
_MOST_WAITING_MESSAGES: Final = 2  # For each account.
_NEW_ACCOUNTS_UNTIL: Final = 0.6  # Share of the run in which accounts are added.
_NIGHT_EVERY_S: Final = 5.0
_CORRECTION_EVERY_S: Final = 2.0
_EXPIRE_TOKENS_EVERY_S: Final = 25.0
_CONSENTS_EVERY_S: Final = 1.0
_CROSSINGS_EVERY_S: Final = 5.0
_CROSSED_DAYS: Final = 4  # Of one month.
_TWICE_DAYS: Final = 2
_LOOK_EVERY_S: Final = 1.0
_REPAIR_EVERY_S: Final = 5.0
_STAYS_WRONG_S: Final = 10.0  # A value that is wrong after this time counts as permanently wrong.
_ALL_ROWS: Final = 10_000
_CROSSED_MONTHS: Final = range(3, 35)  # How many months ago: beyond look-backs, but within the history.
_LOST_AFTER_S: Final = 15.0  # After this time, a request by hand is repeated, as a person would.
# Example: "window stored account_id=k9x4w series=daily window_start=2024-03-05 window_end=2024-03-06 run=… fetched=1".
_WINDOW_STORED: Final = re.compile(r"window stored account_id=(\w+) series=daily window_start=(\S+) \S+ run=(\S+)")
_WEB_EVERY: Final = 4  # One in so many homes is connected through the pages.
_WEB_RANK: Final = 1
_CONSENT_PAUSE_S: Final = 1.5
_GAS_IS_LATER_BY: Final = 3  # A day's gas is published after at most so many days.
_CALLBACK: Final = "http://127.0.0.1:9/back"  # No server listens there: only the address of the redirect is read.
_TIMEOUT_S: Final = 10.0
_BROWSER: Final = hashlib.sha256(b"drill").hexdigest()


@dataclass
class DrillHome:
    """Meter and account of one home, with the corrections and gaps that the supplier has made so far."""

    usage_point: str
    account_id: str = ""
    has_gas: bool = False
    corrections: dict[str, float] = field(default_factory=dict)
    holes: list[str] = field(default_factory=list)


class Households(threading.Thread):
    """Households that connect meters through the pages of the web process at this URL, one at a time.

    An interrupted consent is given again from its first page. Meanwhile connected households renew theirs.
    """

    def __init__(self, web: str) -> None:
        super().__init__(name="households", daemon=True)
        self._web = web
        self._meters: SimpleQueue[str] = SimpleQueue()
        self._stopped = threading.Event()
        self.connected: dict[str, str] = {}  # Account ids by meter.
        self.waiting: set[str] = set()
        self.consents = self.interrupted = 0

    def ask(self, usage_point: str) -> None:
        """Let a household connect its meter, or give its consent again."""
        self.waiting.add(usage_point)
        self._meters.put(usage_point)

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                usage_point = self._meters.get(timeout=_CONSENT_PAUSE_S)
            except Empty:
                usage_point = next(iter(self.connected), "")
            while usage_point and not self._stopped.is_set():
                if not self._is_web_up():
                    self._stopped.wait(_CONSENT_PAUSE_S)
                    continue
                try:
                    account_id = connect_home(self._web, usage_point)
                except (requests.RequestException, PageNotReady):
                    self.interrupted += 1
                    self._stopped.wait(_CONSENT_PAUSE_S)
                else:
                    self.consents += 1
                    self.connected.pop(usage_point, None)  # The others renew theirs first.
                    self.connected[usage_point] = account_id
                    self.waiting.discard(usage_point)
                    break

    def _is_web_up(self) -> bool:
        with suppress(OSError):
            return answers(self._web)
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()


@dataclass
class CrossedDay:
    """A past day requested by hand, last at ``asked_s``; ``value_since``: a run id of its last correction."""

    account_id: str
    window: DateWindow
    asked_s: float
    value_since: str = ""


class DrillFleet:
    """Accounts of a drill; ``tick`` does the work that is due."""

    def __init__(self, servers: DrillServers, households: Households, seed: int, size: int, seconds: float) -> None:
        self._stores, self._sync, self._simulator, self._logs = (
            servers.stores,
            servers.sync,
            servers.simulator,
            servers.folder / "logs",
        )
        self._households = households
        self._random_source = random.Random(f"{seed} fleet")
        self._crossing_source = random.Random(f"{seed} crossings")
        self.homes: list[DrillHome] = []
        self._next_rank = 0
        self._connecting: list[DrillHome] = []
        self._crossed: list[CrossedDay] = []
        self._elapsed_s = 0.0
        self._crossings_due = 0
        self._looked_s = self._repaired_s = self._suspected_s = 0.0
        self._days_by_hand: defaultdict[str, set[date]] = defaultdict(set)  # By account.
        self._suspects: set[tuple[str, str]] | None = None
        self.crossings = self.asked_again = 0
        self.nights = 0
        self.corrected = self.consented_again = 0
        first_accounts = min(_FIRST_ACCOUNTS, size)
        step = seconds * _NEW_ACCOUNTS_UNTIL / max(1, size - first_accounts)
        arrivals = [0.0] * first_accounts + [step * (rank + 1) for rank in range(size - first_accounts)]
        periodic = [
            (_NIGHT_EVERY_S, self.start_night),
            (_CORRECTION_EVERY_S, self.change_values),
            (_EXPIRE_TOKENS_EVERY_S, self.expire_tokens),
            (_CONSENTS_EVERY_S, self.renew_consents),
            (_CONSENTS_EVERY_S, self.take_in_households),
            (_CROSSINGS_EVERY_S, self._plan_crossing),
        ]
        self._due: list[tuple[float, Callable[[], None]]] = [
            *((at_s, self.add_account) for at_s in arrivals),
            *((n * every_s, work) for every_s, work in periodic for n in range(1, ceil(seconds / every_s))),
        ]
        self._due.sort(key=lambda due: due[0])

    def tick(self, elapsed_s: float) -> None:
        """Do the work that is due. Raises TransientError if a server is down; a later call does the rest."""
        self._elapsed_s = elapsed_s
        while self._due and self._due[0][0] <= elapsed_s:
            self._due[0][1]()
            self._due.pop(0)
        if self._crossings_due and self.cross_days():
            self._crossings_due -= 1

    @property
    def probe_account(self) -> str:
        """Account whose look-back is requested after each fault; empty while there is none."""
        return self.homes[0].account_id if self.homes else ""

    def add_account(self) -> None:
        """Add an account and enqueue its history, or let a household connect it, which is needed for a token."""
        rank = self._next_rank
        home = DrillHome(str(_FIRST_METER + rank), has_gas=rank % _GAS_EVERY == _GAS_RANK)
        if rank % 4 == 2:
            # The first gap stays, the second is filled later.
            home.holes = [
                f"{self._day_before(5)}T10:00/{self._day_before(5)}T12:00",
                f"{self._day_before(3)}T01:00/{self._day_before(3)}T05:00",
            ]
            self._switch(home, holes=home.holes)
        if rank % _WEB_EVERY == _WEB_RANK or (self._sync.suppliers.main.account_tokens and not home.has_gas):
            self._connecting.append(home)
            self._households.ask(home.usage_point)
        else:
            home.account_id = self._create_account(home)
            self.homes.append(home)
            # A real web page may fail here too; the nightly run finds an account without a history.
            with suppress(StoreUnavailable):
                enqueue_backfill(home.account_id, broker_url=self._stores.broker_url)
        self._next_rank += 1

    def _create_account(self, home: DrillHome) -> str:
        if home.has_gas:
            self._simulator.admin("POST", "gas/rights", {"pce": home.usage_point})
            self._simulator.admin("POST", f"gas/meters/{home.usage_point}", {"frequency": "1M"})
        supplier = GRDF.name if home.has_gas else ENEDIS.name
        return self._stores.registry.accounts.add(supplier, home.usage_point, self._stores.now(), token_needed=False)[
            0
        ].id

    def renew_consents(self) -> None:
        """Give consent again for the accounts that need it, because in v4 a lost answer loses the refresh token."""
        for home in self.homes if self._sync.suppliers.main.account_tokens else ():
            if home.has_gas:
                continue
            account = self._stores.registry.accounts.get(home.account_id)
            is_needed = account.state is AccountState.ACTION_NEEDED and account.reason in _CONSENT_NEEDED
            if is_needed and home.usage_point not in self._households.waiting:
                self._households.ask(home.usage_point)
                self.consented_again += 1

    def take_in_households(self) -> None:
        """Add the accounts that households have connected to our homes; their history begins without us."""
        connected = self._households.connected.copy()
        for home in [home for home in self._connecting if home.usage_point in connected]:
            home.account_id = connected[home.usage_point]
            self._connecting.remove(home)
            self.homes.append(home)

    @property
    def is_complete(self) -> bool:
        """Return whether no household waits, and all connected ones are among our homes."""
        return not self._households.waiting and not self._connecting

    def has_given_up(self, code: str) -> bool:
        """Return whether a window has failed with this code, so that its retry comes later."""
        table = self._stores.registry.outcomes
        return any(outcome.code == code for home in self.homes for outcome in table.load(home.account_id).values())

    def count_by_hand(self) -> dict[str, int]:
        """Return the counts of people's actions for the report."""
        households = self._households
        return {
            "consents_on_pages": households.consents,
            "consents_interrupted": households.interrupted,
            "months_asked_by_hand": self.crossings,
            "asked_again_by_hand": self.asked_again,
        }

    def count_unknown(self) -> int:
        """Return the number of accounts in the registry that belong to no home: remains of a consent."""
        known = {home.account_id for home in self.homes}
        return sum(account.id not in known for account in self._stores.registry.accounts.list_accounts())

    def _plan_crossing(self) -> None:
        self._crossings_due += 1

    def cross_days(self) -> bool:
        """Correct days of a past month and request all of them by hand; return False if no home has its days yet."""
        homes = [home for home in self.homes if not home.has_gas and self._is_settled(home.account_id)]
        if not homes:
            return False
        source, today = self._crossing_source, self._sync.history.today()
        home, months_ago = source.choice(homes), source.choice(_CROSSED_MONTHS)
        place = today.year * 12 + today.month - 1 - months_ago
        first = date(place // 12, place % 12 + 1, 1)
        times, count = (1, _CROSSED_DAYS) if source.random() < 0.5 else (2, _TWICE_DAYS)
        days = [first + number * ONE_DAY for number in source.sample(range(28), count)]
        crossed = [CrossedDay(home.account_id, DateWindow(day, day + ONE_DAY), self._elapsed_s) for day in days]
        self._crossed += crossed  # A request that a fault prevents now is repeated later.
        self._days_by_hand[home.account_id] |= {*days}
        self.crossings += 1
        for _ in range(times):
            self._correct(home, {day: round(source.uniform(0.5, 2), 2) for day in days})
            value_since = new_run_id(self.now())
            for one in crossed:
                one.value_since = value_since
            with suppress(StoreUnavailable):
                for one in crossed:
                    self._request_window(one)
        return True

    def _is_settled(self, account_id: str) -> bool:
        done, wanted = self._sync.history.load(account_id, daily_of())[daily_of()].count()
        return 0 < wanted == done

    def _request_window(self, day: CrossedDay) -> None:
        job = self._sync.claims.to_job(day.account_id, daily_of(), day.window)
        enqueue_window(job, broker_url=self._stores.broker_url)

    def finish_crossed_days(self, elapsed_s: float) -> bool:
        """Return whether all days requested by hand are stored; repeat lost requests.

        Stored days, right or wrong, are not requested again.
        """
        if self._crossed and elapsed_s - self._looked_s > _LOOK_EVERY_S:
            self._looked_s = elapsed_s
            stored = self._stored_runs()
            self._crossed = [one for one in self._crossed if stored[one.account_id, one.window.start] < one.value_since]
            for one in self._crossed:
                if elapsed_s - one.asked_s > _LOST_AFTER_S:
                    one.asked_s = elapsed_s
                    self._request_window(one)
                    self.asked_again += 1
        return not self._crossed

    def count_overwritten(self, elapsed_s: float) -> int | None:
        """Return how many totals and days requested by hand are wrong; None while that may still change."""
        wrong = self._wrong_keys() if self._suspects is None or self._suspects else set()
        self._suspects = wrong if self._suspects is None else self._suspects & wrong
        self._suspected_s = self._suspected_s or elapsed_s
        sure = not self._suspects or elapsed_s - self._suspected_s > _STAYS_WRONG_S
        return len(self._suspects) if sure else None

    def _wrong_keys(self) -> set[tuple[str, str]]:
        """Return (account, key) of months that aren't the sum of their stored days, and of wrong days.

        If two answers for one day were stored at the same time, the day is in doubt, which doesn't count as wrong yet.
        """
        due, today, series = self._stores.registry.due, self._sync.history.today(), daily_of()
        rows = due.load_unchanged(due.list_repairs(today, _ALL_ROWS, [series]), today)
        doubtful = {(row[0], f"{day}") for row, days in rows.items() for day in days.ledger.due_days(today, series)}
        wrong: set[tuple[str, str]] = set()
        for home in self.homes:
            if by_hand := self._days_by_hand.get(home.account_id):
                truth, stored = read_account(
                    self._stores, self._sync, self._simulator.url, home.usage_point, home.account_id
                )
                days, months = (loads_by_key(stored[doctype]) for doctype in (series.inputs, series.totals[0]))
                for month in {f"{day:%Y-%m}" for day in by_hand}:
                    energy = sum(Decimal(str(load)) for day, load in days.items() if day.startswith(month))
                    wrong |= {(home.account_id, month)} if months.get(month) != float(energy) else set()
                wrong |= {
                    (home.account_id, day) for day in map(str, by_hand) if days.get(day) != truth[series.inputs][day]
                }
        return wrong - doubtful

    def are_doubts_settled(self, elapsed_s: float) -> bool:
        """Return whether no day is due to be requested again; as long as one is, let it be requested."""
        if not self._stores.registry.due.list_repairs(self._sync.history.today(), 1, [daily_of()]):
            return True
        if elapsed_s - self._repaired_s > _REPAIR_EVERY_S:
            self._repaired_s = elapsed_s
            enqueue("tasks.upkeep.repair_open_days", broker_url=self._stores.broker_url)
        return False

    def _stored_runs(self) -> dict[tuple[str, date], str]:
        """Return the newest stored run in the workers' logs, by account and first day of a daily window."""
        newest: defaultdict[tuple[str, date], str] = defaultdict(str)
        for path in self._logs.glob("worker*.log"):
            for account_id, day, run in _WINDOW_STORED.findall(path.read_text(encoding="utf-8", errors="replace")):
                place = account_id, date.fromisoformat(day)
                newest[place] = max(newest[place], run)
        return newest

    def expire_tokens(self) -> None:
        """Let the supplier refuse all present access tokens, as if they had expired."""
        self._simulator.admin("DELETE", "tokens")

    def start_night(self) -> None:
        """Start a nightly run over all accounts, unless too many messages of earlier ones wait."""
        if queue_lengths(self._stores.broker_url)["nightly"] > _MOST_WAITING_MESSAGES * len(self.homes):
            return
        self.nights += 1
        # For a future date the worker uses its own present time.
        enqueue("tasks.nightly.nightly_sync", "2100-01-01", broker_url=self._stores.broker_url)

    def change_values(self) -> None:
        """Let the supplier correct a recent day or fill a gap; the next nightly run must store it."""
        if not self.homes:
            return
        home = self._random_source.choice(self.homes)
        if len(home.holes) > 1:
            home.holes.pop()
            self._switch(home, holes=home.holes)
            return
        days_ago = self._random_source.randint(1, 6) + home.has_gas * _GAS_IS_LATER_BY
        self._correct(home, {self._day_before(days_ago): round(self._random_source.uniform(0.5, 2), 2)})
        self.corrected += 1

    def _correct(self, home: DrillHome, factors: dict[date, float]) -> None:
        home.corrections |= {day.isoformat(): factor for day, factor in factors.items()}
        corrections = [{"day": day, "factor": factor} for day, factor in home.corrections.items()]
        self._switch(home, corrections=corrections)

    def request_look_backs(self, accounts: Iterable[str]) -> None:
        """Enqueue a look-back of each account."""
        for account_id in sorted(accounts):
            enqueue_look_back(account_id, broker_url=self._stores.broker_url)

    def accounts_in_flight(self, lanes: Iterable[str]) -> set[str]:
        """Return the accounts with a claim in one of these lanes."""
        claims = self._sync.claims
        return {member.partition(":")[0] for lane in lanes for member in claims.in_flight(lane)}

    def now(self) -> datetime:
        """Return the drill's pretended time."""
        return self._stores.now()

    def is_stored_since(self, account_id: str, moment: datetime) -> bool:
        """Return whether every series of an account was stored since ``moment``."""
        outcomes = self._stores.registry.outcomes.load(account_id)
        collected = self._stores.registry.outcomes.collected(account_id)
        successes = [outcomes[series].last_success_at if series in outcomes else None for series in collected]
        return all(at is not None and at >= moment for at in successes)

    def count_history_days(self, account_id: str) -> tuple[int, int]:
        """Return the numbers of loaded and of wanted days of all histories."""
        collected = self._stores.registry.outcomes.collected(account_id)
        counts = [days.count() for days in self._sync.history.load(account_id, *collected).values()]
        return sum(done for done, _ in counts), sum(wanted for _, wanted in counts)

    def is_loaded(self, account_id: str) -> bool:
        """Return whether the whole history of the account is loaded."""
        days, wanted_days = self.count_history_days(account_id)
        return days == wanted_days

    def is_asked_since(self, account_id: str, moment: datetime) -> bool:
        """Return whether, for every series, a look-back requested since ``moment`` is stored."""
        outcomes = self._stores.registry.outcomes.load(account_id)
        collected = [outcomes.get(series) for series in self._stores.registry.outcomes.collected(account_id)]
        return all(one and one.code is None and one.asked_at and one.asked_at >= moment for one in collected)

    def is_healthy(self, account_id: str) -> bool:
        """Return whether the account is active and its last outcomes are successes."""
        account = self._stores.registry.accounts.get(account_id)
        table = self._stores.registry.outcomes
        outcomes = table.load(account_id)
        codes = (outcomes[series].code for series in table.collected(account_id) if series in outcomes)
        return account.active and not any(codes)

    def compare_store(self, home: DrillHome) -> tuple[Differences, int]:
        """Return the store's differences from the meter's values, and the number of its documents."""
        truth, stored = read_account(self._stores, self._sync, self._simulator.url, home.usage_point, home.account_id)
        return find_differences(truth, stored), sum(map(len, stored.values()))

    def remove_accounts(self) -> None:
        """Erase all accounts, for a store that isn't the drill's own."""
        for home in self.homes:
            erase(self._stores, home.account_id)

    def _day_before(self, days_ago: int) -> date:
        return self._sync.history.today() - timedelta(days=days_ago)

    def _switch(self, home: DrillHome, **switches: Any) -> None:
        path = f"gas/meters/{home.usage_point}" if home.has_gas else f"meters/{home.usage_point}"
        self._simulator.admin("POST", path, switches)
