"""Accounts of a drill and the work for them: new accounts, nightly runs, corrected values, filled gaps, new consents.

The seed decides all of it, so that a failed run can be repeated.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests

from drill.expected_documents import Differences, find_differences, read_account
from drill.servers import DrillSimulator
from worker.app import enqueue, enqueue_backfill, enqueue_look_back, queue_lengths
from worker.clients.enedis import ENEDIS
from worker.clients.enedis.consent import read_callback
from worker.clients.grdf import GRDF
from worker.domain.account import AccountState
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.invitation import InvitationPurpose
from worker.errors import ConsentRevoked, LoginFailed, PageNotReady, RefreshAnswerLost, StoreUnavailable
from worker.runtime.process import Runtime

_FIRST_METER: Final = 40_000_000_000_001
_GAS_EVERY: Final = 4  # Every so many homes one has gas.
_GAS_RANK: Final = 3
_FIRST_ACCOUNTS: Final = 4
_CONSENT_NEEDED: Final = (ConsentRevoked.code, RefreshAnswerLost.code, LoginFailed.code)
_MOST_WAITING_MESSAGES: Final = 2  # For each account.
_NEW_ACCOUNTS_UNTIL: Final = 0.6  # Share of the run in which accounts are added.
_NIGHT_EVERY_S: Final = 5.0
_CORRECTION_EVERY_S: Final = 2.0
_EXPIRE_TOKENS_EVERY_S: Final = 25.0
_CONSENTS_EVERY_S: Final = 1.0
_GAS_IS_LATER_BY: Final = 3  # Days after which a day's gas is published at the latest.
_CALLBACK: Final = "http://127.0.0.1:9/back"  # No server listens there: only the address of the redirect is read.
_TIMEOUT_S: Final = 10.0
_BROWSER: Final = hashlib.sha256(b"drill").hexdigest()


@dataclass
class DrillHome:
    """Meter and account of one home, with the corrections and gaps that the supplier has made so far."""

    usage_point: str
    account_id: str
    has_gas: bool = False
    corrections: dict[str, float] = field(default_factory=dict)
    holes: list[str] = field(default_factory=list)


class DrillFleet:
    """Accounts of a drill; ``tick`` does the work that is due."""

    def __init__(self, runtime: Runtime, simulator: DrillSimulator, seed: int, size: int, seconds: float) -> None:
        self._runtime, self._simulator = runtime, simulator
        self._random_source = random.Random(f"{seed} fleet")
        self.homes: list[DrillHome] = []
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
        ]
        self._due: list[tuple[float, Callable[[], None]]] = [
            *((at_s, self.add_account) for at_s in arrivals),
            *((n * every_s, work) for every_s, work in periodic for n in range(1, ceil(seconds / every_s))),
        ]
        self._due.sort(key=lambda due: due[0])

    def tick(self, elapsed_s: float) -> None:
        """Do the work that is due.  Raises TransientError where a server is down; a later call does the rest."""
        while self._due and self._due[0][0] <= elapsed_s:
            self._due[0][1]()
            self._due.pop(0)

    @property
    def probe_account(self) -> str:
        """Account whose look-back is requested after each fault."""
        return self.homes[0].account_id

    def add_account(self) -> None:
        """Add an account and enqueue its history."""
        rank = len(self.homes)
        usage_point, has_gas = str(_FIRST_METER + rank), rank % _GAS_EVERY == _GAS_RANK
        create = self._create_gas_account if has_gas else self._create_account
        home = DrillHome(usage_point, create(usage_point), has_gas)
        if rank % 4 == 2:
            # The first gap stays, the second is filled later.
            home.holes = [
                f"{self._day_before(5)}T10:00/{self._day_before(5)}T12:00",
                f"{self._day_before(3)}T01:00/{self._day_before(3)}T05:00",
            ]
            self._switch(home, holes=home.holes)
        self.homes.append(home)
        # A web page may fail here too: the nightly run finds an account without a history.
        with suppress(StoreUnavailable):
            enqueue_backfill(home.account_id, broker_url=self._runtime.broker_url)

    def _create_account(self, usage_point: str) -> str:
        if self._runtime.clients.account_tokens:
            return give_consent(self._runtime, usage_point)
        return self._runtime.registry.add(ENEDIS.name, usage_point, self._runtime.now(), token_needed=False)[0].id

    def _create_gas_account(self, pce: str) -> str:
        self._simulator.admin("POST", "gas/rights", {"pce": pce})
        self._simulator.admin("POST", f"gas/meters/{pce}", {"frequency": "1M"})
        return self._runtime.registry.add(GRDF.name, pce, self._runtime.now(), token_needed=False)[0].id

    def renew_consents(self) -> None:
        """Give consent again for the accounts that need it: in v4 a refresh token is lost with its answer."""
        for home in self.homes if self._runtime.clients.account_tokens else ():
            if home.has_gas:
                continue
            account = self._runtime.registry.get(home.account_id)
            if account.state is AccountState.ACTION_NEEDED and account.reason in _CONSENT_NEEDED:
                give_consent(self._runtime, home.usage_point)
                self.consented_again += 1

    def expire_tokens(self) -> None:
        """Let the supplier refuse every access token from now on, as when it has expired."""
        self._simulator.admin("DELETE", "tokens")

    def start_night(self) -> None:
        """Start a nightly run over all accounts, unless too many messages of earlier ones wait."""
        if queue_lengths(self._runtime.broker_url)["nightly"] > _MOST_WAITING_MESSAGES * len(self.homes):
            return
        self.nights += 1
        # No moment to come: the worker takes its own present time.
        enqueue("tasks.nightly.nightly_sync", "2100-01-01", broker_url=self._runtime.broker_url)

    def change_values(self) -> None:
        """Let the supplier correct a recent day or fill a gap; the next nightly run must store it."""
        home = self._random_source.choice(self.homes)
        if len(home.holes) > 1:
            home.holes.pop()
            self._switch(home, holes=home.holes)
            return
        days_ago = self._random_source.randint(1, 6) + home.has_gas * _GAS_IS_LATER_BY
        home.corrections[self._day_before(days_ago).isoformat()] = round(self._random_source.uniform(0.5, 2), 2)
        corrections = [{"day": day, "factor": factor} for day, factor in home.corrections.items()]
        self._switch(home, corrections=corrections)
        self.corrected += 1

    def request_look_backs(self, accounts: Iterable[str]) -> None:
        """Enqueue a look-back of each account."""
        for account_id in sorted(accounts):
            enqueue_look_back(account_id, broker_url=self._runtime.broker_url)

    def accounts_in_flight(self, lanes: Iterable[str]) -> set[str]:
        """Return the accounts with a claim in one of these lanes."""
        claims = self._runtime.claims
        return {member.partition(":")[0] for lane in lanes for member in claims.in_flight(lane)}

    def now(self) -> datetime:
        """Return the time that the drill pretends."""
        return self._runtime.now()

    def is_stored_since(self, account_id: str, moment: datetime) -> bool:
        """Return whether every series of an account was stored since ``moment``."""
        outcomes = self._runtime.registry.outcomes.load(account_id)
        collected = self._runtime.registry.outcomes.collected(account_id)
        successes = [outcomes[series].last_success_at if series in outcomes else None for series in collected]
        return all(at is not None and at >= moment for at in successes)

    def count_history_days(self, account_id: str) -> tuple[int, int]:
        """Return the number of days of all histories that are loaded, and of those wanted."""
        collected = self._runtime.registry.outcomes.collected(account_id)
        counts = [self._runtime.history.count_days(account_id, series) for series in collected]
        return sum(done for done, _ in counts), sum(wanted for _, wanted in counts)

    def is_loaded(self, account_id: str) -> bool:
        """Return whether the whole history of the account is loaded."""
        days, wanted_days = self.count_history_days(account_id)
        return days == wanted_days

    def is_asked_since(self, account_id: str, moment: datetime) -> bool:
        """Return whether a look-back of every series that was asked since ``moment`` is stored."""
        outcomes = self._runtime.registry.outcomes.load(account_id)
        collected = [outcomes.get(series) for series in self._runtime.registry.outcomes.collected(account_id)]
        return all(one and one.code is None and one.asked_at and one.asked_at >= moment for one in collected)

    def is_healthy(self, account_id: str) -> bool:
        """Return whether the account is active and its last outcomes are successes."""
        account = self._runtime.registry.get(account_id)
        table = self._runtime.registry.outcomes
        outcomes = table.load(account_id)
        codes = (outcomes[series].code for series in table.collected(account_id) if series in outcomes)
        return account.active and not any(codes)

    def compare_store(self, home: DrillHome) -> tuple[Differences, int]:
        """Return how the store differs from what the meter measured, and the number of its documents."""
        truth, stored = read_account(self._runtime, self._simulator.url, home.usage_point, home.account_id)
        return find_differences(truth, stored), sum(map(len, stored.values()))

    def remove_accounts(self) -> None:
        """Erase all accounts, for a store that is not the drill's own."""
        for home in self.homes:
            self._runtime.erase(home.account_id)

    def _day_before(self, days_ago: int) -> date:
        return self._runtime.history.today() - timedelta(days=days_ago)

    def _switch(self, home: DrillHome, **switches: Any) -> None:
        path = f"gas/meters/{home.usage_point}" if home.has_gas else f"meters/{home.usage_point}"
        self._simulator.admin("POST", path, switches)


def give_consent(runtime: Runtime, usage_point: str) -> str:
    """Invite a holder, give the consent on the supplier's page, connect the account, and return its id.

    The steps are those of the web service and its task.  A known meter keeps its account, which then needs no consent
    any more.  Raises TransientError where the supplier or a store is down.
    """
    parameters = {"usage_point_id": usage_point, "redirect_uri": _CALLBACK}
    invitation_id = _invite(runtime, usage_point)
    try:
        page = requests.get(
            runtime.consents_of(ENEDIS.name).consent_page("drill"),
            parameters,
            allow_redirects=False,
            timeout=_TIMEOUT_S,
        )
    except requests.RequestException as error:
        raise PageNotReady(f"the consent page does not answer ({type(error).__name__})") from error
    callback = read_callback(parse_qsl(urlsplit(page.headers.get("location") or "").query))
    request = ConnectionRequest(
        id=secrets.token_hex(16),
        supplier=ENEDIS.name,
        browser=_BROWSER,
        begun_on=runtime.consents_of(ENEDIS.name).today(),
        created_at=real_clock(),
        invitation_id=invitation_id,
    )
    runtime.connection_requests.create(runtime.connector.receive(callback, request))
    concluded = runtime.connector.conclude(request.id)
    if concluded is None or concluded.state is not RequestState.CONNECTED:
        raise PageNotReady(f"the consent is {concluded.state if concluded else 'lost'}: it is given again")
    return concluded.accounts[0].id


def _invite(runtime: Runtime, usage_point: str) -> str:
    account = runtime.registry.find(ENEDIS.name, usage_point)
    purpose = InvitationPurpose.ACCOUNT if account else InvitationPurpose.METER
    meter = None if account else usage_point
    account_id = account.id if account else None
    invitation, secret = runtime.invitations.create(
        purpose, ENEDIS.name, "drill", account_id=account_id, usage_point_id=meter
    )
    runtime.invitations.open(secret, _BROWSER)
    return invitation.id
