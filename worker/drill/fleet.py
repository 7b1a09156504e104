"""The accounts of a drill and what happens to them: new ones come, nights are sent, values corrected, holes filled.

All of it is decided by the seed, so that a run that failed can be run again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests

from worker.accounts.connect import connect, consent_page
from worker.app import publish_backfill, publish_look_back, queue_lengths, send
from worker.cli.totals_check import Differences, Truth, differences
from worker.clients.enedis.consent import read_callback
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import ONE_DAY, Period, Series
from worker.drill.servers import Simulator
from worker.errors import ConsentRevoked, LoginFailed, RefreshAnswerLost, StoreUnavailable, SupplierUnavailable
from worker.runtime.process import SUPPLIER, Runtime

_FIRST_METER: Final = 40_000_000_000_001
_FIRST_NIGHT: Final = date(2030, 1, 1)  # nights by name only: all ask for the days before the pretended today
_AT_ONCE: Final = 4
_CONSENT_AGAIN: Final = (ConsentRevoked.code, RefreshAnswerLost.code, LoginFailed.code)
_MOST_WAITING_EACH: Final = 2  # messages for each account
_NEW_UNTIL: Final = 0.6  # of the run
_NIGHT_EVERY_S: Final = 5.0
_CORRECTION_EVERY_S: Final = 2.0
_TOKENS_END_EVERY_S: Final = 25.0
_OWNERS_LOOK_EVERY_S: Final = 1.0


@dataclass
class DrillHome:
    """One meter, its account, and what of its values the supplier has changed so far."""

    usage_point: str
    account_id: str
    corrections: dict[str, float] = field(default_factory=dict)
    holes: list[str] = field(default_factory=list)


class DrillFleet:
    def __init__(self, runtime: Runtime, simulator: Simulator, seed: int, size: int, seconds: float) -> None:
        self._runtime, self._simulator = runtime, simulator
        self._luck = random.Random(f"{seed} fleet")
        self.size = size
        self.homes: list[DrillHome] = []
        self.nights = 0
        self.corrected = self.consented_again = 0
        at_once = min(_AT_ONCE, size)
        step = seconds * _NEW_UNTIL / max(1, size - at_once)
        arrivals = [0.0] * at_once + [step * (rank + 1) for rank in range(size - at_once)]
        self._due: list[tuple[float, Callable[[], None]]] = [
            *((at_s, self.add) for at_s in arrivals),
            *((at_s, self.night) for at_s in _every(_NIGHT_EVERY_S, seconds)),
            *((at_s, self.correct) for at_s in _every(_CORRECTION_EVERY_S, seconds)),
            *((at_s, self.end_tokens) for at_s in _every(_TOKENS_END_EVERY_S, seconds)),
            *((at_s, self.tend_owners) for at_s in _every(_OWNERS_LOOK_EVERY_S, seconds)),
        ]
        self._due.sort(key=lambda due: due[0])

    def tend(self, elapsed_s: float) -> None:
        """Do what is due.  Raises TransientError where the servers are away just now: call it again."""
        while self._due and self._due[0][0] <= elapsed_s:
            self._due[0][1]()
            self._due.pop(0)

    @property
    def probe(self) -> str:
        """The account that a look-back is asked for after each fault."""
        return self.homes[0].account_id

    # -- what happens

    def add(self) -> None:
        """One more account; its history is enqueued."""
        rank = len(self.homes)
        usage_point = str(_FIRST_METER + rank)
        home = DrillHome(usage_point, self._account_of(usage_point))
        if rank % 4 == 2:  # a hole that stays, and one that is filled later
            home.holes = [f"{self._day(5)}T10:00/{self._day(5)}T12:00", f"{self._day(3)}T01:00/{self._day(3)}T05:00"]
            self._switch(home, holes=home.holes)
        self.homes.append(home)
        with suppress(StoreUnavailable):  # as it may happen to any door: then the reconciler finds the account
            publish_backfill(self._runtime, home.account_id)

    def _account_of(self, usage_point: str) -> str:
        if self._runtime.account_tokens:
            return give_consent(self._runtime, usage_point)
        return self._runtime.registry.add(SUPPLIER, usage_point, self._runtime.now(), token_needed=False)[0].id

    def tend_owners(self) -> None:
        """Whoever is asked to consent again does so: a refresh token's answer may be lost for good (v4)."""
        for home in self.homes if self._runtime.account_tokens else ():
            account = self._runtime.registry.get(home.account_id)
            if account.state is AccountState.ACTION_NEEDED and account.reason in _CONSENT_AGAIN:
                give_consent(self._runtime, home.usage_point)
                self.consented_again += 1

    def end_tokens(self) -> None:
        """Every access token is refused from now on, as when its time is over."""
        self._simulator.admin("DELETE", "tokens")

    def night(self) -> None:
        """One more nightly run over all accounts, unless the last ones still wait."""
        if queue_lengths(self._runtime)["nightly"] > _MOST_WAITING_EACH * len(self.homes):
            return
        self.nights += 1
        send(self._runtime, "tasks.schedule.nightly_sync", (_FIRST_NIGHT + self.nights * ONE_DAY).isoformat())

    def correct(self) -> None:
        """The supplier works a recent day out anew, or fills a hole: the next night must bring it."""
        home = self._luck.choice(self.homes)
        if len(home.holes) > 1:
            home.holes.pop()
            self._switch(home, holes=home.holes)
            return
        home.corrections[self._day(self._luck.randint(1, 6)).isoformat()] = round(self._luck.uniform(0.5, 2), 2)
        told = [{"day": day, "factor": factor} for day, factor in home.corrections.items()]
        self._switch(home, corrections=told)
        self.corrected += 1

    def look_back(self, account_id: str, run: str) -> None:
        publish_look_back(self._runtime, account_id, run)

    def look_back_all(self, accounts: Iterable[str], run: str) -> None:
        for account_id in sorted(accounts):
            self.look_back(account_id, run)

    # -- how far it is

    def has_run(self, account_id: str, run: str) -> bool:
        """Whether a look-back of that name (``run`` or ``run:…``) is stored, of every series."""
        states = self._runtime.state.task_states([(account_id, series.value) for series in Series])
        return all(f"last_{run}" in noted for noted in states)

    def loaded(self, account_id: str) -> bool:
        counts = [self._runtime.history.days(account_id, series) for series in Series]
        return all(done == total for done, total in counts)

    def well(self, account_id: str) -> bool:
        """Whether the account runs by itself, and its last outcomes are successes."""
        account = self._runtime.registry.get(account_id)
        outcomes = self._runtime.registry.outcomes(account_id)
        return account.active and all(outcome.code is None for outcome in outcomes.values())

    def differences(self, home: DrillHome) -> tuple[Differences, int]:
        """How the whole store differs from what the meter measured, and how many documents there are."""
        wanted = {series: self._runtime.history.wanted(series) for series in Series}
        daily, curve = wanted[Series.DAILY], wanted[Series.LOAD_CURVE]
        assert daily is not None and curve is not None  # noqa: S101 - the drill's own settings
        truth = Truth.of(self._simulator.url, home.usage_point, daily, curve)
        stored = {period: self._runtime.measures[period].read(home.account_id, "0", "~") for period in Period}
        return differences(truth.content(), stored), sum(map(len, stored.values()))

    def remove(self) -> None:
        """Leave nothing of it in a store that is not the drill's own."""
        for home in self.homes:
            self._runtime.remove(home.account_id)

    def _day(self, ago: int) -> date:
        return self._runtime.dispatcher.today() - timedelta(days=ago)

    def _switch(self, home: DrillHome, **switches: Any) -> None:
        self._simulator.admin("POST", f"meters/{home.usage_point}", switches)


def _every(seconds: float, until_s: float) -> Iterator[float]:
    at_s = seconds
    while at_s < until_s:
        yield at_s
        at_s += seconds


# The people behind the accounts, where the supplier wants a token of each (v4): they consent, and again when asked.

_CALLBACK: Final = "http://127.0.0.1:9/back"  # nobody listens: where it leads to is all that is read
_TIMEOUT_S: Final = 10.0


def give_consent(runtime: Runtime, usage_point: str) -> str:
    """Over the supplier's page and back, as the web service does it; the account's id.

    A meter that is known keeps its account, and what it waited for its owner for is over.  Raises TransientError
    where the supplier or a store is away just now.
    """
    picked = {"usage_point_id": usage_point, "redirect_uri": _CALLBACK}
    try:
        page = requests.get(consent_page(runtime, "drill"), picked, allow_redirects=False, timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        raise SupplierUnavailable(f"the consent page does not answer ({type(error).__name__})") from error
    callback = read_callback(parse_qsl(urlsplit(page.headers.get("location", "")).query))
    if callback.failure:
        raise SupplierUnavailable(f"the consent page ended in {callback.failure}")
    return connect(runtime, callback).accounts[0].id
