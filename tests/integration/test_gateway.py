"""A home's installation at the simulator's gateway: measures of both generations, the quota, a ban and a new token."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from starlette.types import ASGIApp

from simulator.application import create_app
from simulator.switches import SimulatorOptions
from tests.support.canned_server import CannedAnswer, answer, canned_server
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.own_home import gateway_token
from tests.support.parts import Parts
from tests.support.simulators import run_in_background
from tests.support.waiting import DEADLINE_S
from worker.clients.gateway.consent import read_gateway_token
from worker.clients.supplier_session import Token
from worker.clients.tokens import BearerTokens
from worker.domain.account import AccountState
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import ONE_DAY
from worker.errors import GatewayBanned, SupplierLimited, SupplierUnavailable, TokenRefused
from worker.runtime.supplier_settings import is_offered
from worker.sync.due import GatewayWindows


@dataclass(frozen=True)
class Gateway:
    """The simulator's gateway at ``url``."""

    url: str

    def token(self, **query: Any) -> str:
        return requests.get(f"{self.url}/gateway/token", query, timeout=DEADLINE_S).text.strip()

    def switch(self, path: str, method: str = "POST", **body: Any) -> Any:
        return requests.request(method, f"{self.url}/__sim__/{path}", json=body, timeout=DEADLINE_S).json()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    app: ASGIApp = create_app(SimulatorOptions(pretend_now=NOW))
    with run_in_background(app) as url:
        yield Gateway(url)


@pytest.fixture
def home(installation: Installation, gateway: Gateway) -> Installation:
    gateway.switch("bans", "DELETE")
    gateway.switch("switches", gateway_bodies="2026")
    return installation.but(home="true", gateway_url=gateway.url)


@pytest.fixture
def parts(home: Installation) -> Iterator[Parts]:
    with home.open() as parts:
        yield parts


def add_account(parts: Parts, text: str) -> str:
    token = read_gateway_token(text)
    account, _ = parts.stores.registry.accounts.add(
        "gateway", token.meters[0], parts.stores.now(), token=Token(text).to_text()
    )
    return account.id


def sync(parts: Parts, account_id: str, series: Series) -> None:
    parts.sync.window.sync_window(parts.sync.claims.manual_look_back(account_id, series))


@pytest.mark.rest
def test_both_generations_of_bodies_store_the_same(parts: Parts, gateway: Gateway) -> None:
    account = add_account(parts, gateway.token())
    for series in (Series.DAILY, Series.LOAD_CURVE):
        sync(parts, account, series)
    stored = {
        series: parts.stores.measures.read(account, {series.inputs: ("2", "3")})
        for series in (Series.DAILY, Series.LOAD_CURVE)
    }
    assert all(len(documents) > 5 for by_doctype in stored.values() for documents in by_doctype.values())
    gateway.switch("switches", gateway_bodies="v5")
    for series in USUAL_SERIES:
        sync(parts, account, series)
        assert parts.stores.measures.read(account, {series.inputs: ("2", "3")}) == stored[series], "it is known already"


def test_a_home_is_set_up_for_its_gateway(parts: Parts, gateway: Gateway, home: Installation) -> None:
    assert list(parts.sync.suppliers) == ["gateway"] and is_offered(parts.stores.settings, Series.REGISTERS)
    assert not is_offered(parts.stores.settings, Series.CONTRACT)
    (due,) = parts.sync.due
    assert isinstance(due, GatewayWindows) and due.calls_in_half_a_day == 60
    assert (parts.sync.history.curve_days, f"{parts.sync.history.nightly_at:%H:%M}") == (745, "06:00")
    assert parts.stores.redis.keys("releve:permit:*") == []
    add_account(parts, gateway.token())
    permit = parts.sync.ledger.take_permit("data")
    assert parts.stores.redis.keys("releve:permit:127.0.0.1:data:*") and permit
    summary = json.loads(home.releve("status", "--json").out)
    assert summary["quota"]["gateway"] == {
        "used": {"data": 1},
        "limit": 60,
        "per": "12 hours",
        "gate_opens_in_seconds": 0,
    }
    assert "1 of 60 calls in the last 12 hours" in home.releve("status").out


def add_by_hand(home: Installation, monkeypatch: pytest.MonkeyPatch, token: str, *words: str) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO(token))
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    return home.releve("home", "add", "--token", "-", *words).out


def test_adding_a_home_asks_the_gateway_once_and_keeps_what_it_answers(
    home: Installation, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the gateway accepts the token" in add_by_hand(home, monkeypatch, gateway.token())
    with home.open() as parts:
        (account,) = parts.stores.registry.accounts.list_accounts()
        assert parts.sync.ledger.state(("data",)).used == {"data": 1}
        assert parts.stores.measures.read(account.id, {Series.DAILY.inputs: ("2", "3")})[Series.DAILY.inputs]


@pytest.mark.parametrize(
    ("answers", "code", "told"),
    [
        (
            [answer(401, {"status": 401, "message": "Votre token est invalide"})],
            TokenRefused.code,
            "refuses this meter",
        ),
        ([answer(403, "<html>blocked</html>", "text/html")], GatewayBanned.code, "has blocked this IP address"),
        ([], SupplierUnavailable.code, "could not"),
    ],
    ids=["refused", "banned", "offline"],
)
def test_a_home_is_added_whatever_the_gateway_says_and_the_command_tells_it(
    home: Installation, monkeypatch: pytest.MonkeyPatch, answers: list[CannedAnswer], code: str, told: str
) -> None:
    with canned_server(*answers) as server:
        home = home.but(gateway_url=server.url)
        said = add_by_hand(home, monkeypatch, gateway_token())
        assert len(server.requests) == 1
    assert "meter …0077 added" in said and code in said and told in said
    with home.open() as parts:
        (account,) = parts.stores.registry.accounts.list_accounts()
        assert account.active and parts.stores.registry.tokens.find_token_id(account.id)
        assert parts.sync.ledger.state(("data",)).used == {"data": 1}


@pytest.mark.rest  # At a call a second it takes a minute.
def test_the_sixty_first_call_of_half_a_day_waits(parts: Parts) -> None:
    ledger = parts.sync.ledger
    for _ in range(60):
        ledger.take_permit("data")
    decision = ledger.try_permit("data", 10.0)
    assert decision.permit is None and decision.wait_s > 11 * 3600
    assert ledger.calls_left("data") == 0


def test_a_ban_is_told_by_doctor_and_status(parts: Parts, gateway: Gateway, home: Installation) -> None:
    account = add_account(parts, gateway.token())
    gateway.switch("bans", limit=1)
    with pytest.raises(GatewayBanned):
        sync(parts, account, Series.DAILY)
    with pytest.raises(GatewayBanned, match="blocks this address"):
        sync(parts, account, Series.LOAD_CURVE)
    assert issubclass(GatewayBanned, SupplierLimited)
    assert parts.sync.ledger.closed_for_s() > 23 * 3600
    assert gateway.switch("bans", "GET")["most_calls_in_half_a_day"] == 1, "the second was not sent"
    gateway.switch("bans", limit=100)
    doctor = home.run("doctor").out  # It has no workers here, and says so.
    assert "the gateway blocks this address (403)" in doctor
    assert "GATEWAY_BANNED" in home.releve("status").out


def test_a_refused_token_waits_for_a_new_one(parts: Parts, gateway: Gateway) -> None:
    meter = read_gateway_token(gateway.token()).meters[0]
    wrong = gateway.token(usage_point="11111111111111")
    account, _ = parts.stores.registry.accounts.add("gateway", meter, parts.stores.now(), token=Token(wrong).to_text())
    assert isinstance(parts.sync.suppliers.tokens_of(account), BearerTokens)
    with pytest.raises(TokenRefused):
        sync(parts, account.id, Series.DAILY)
    parts.stores.registry.accounts.set_state(
        account.id, AccountState.ACTION_NEEDED, TokenRefused.code, now=parts.stores.now()
    )
    add_account(parts, gateway.token())
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY
    sync(parts, account.id, Series.DAILY)


def test_the_doctor_asks_for_no_token_and_nothing_is_renewed(parts: Parts, gateway: Gateway) -> None:
    soon = datetime.now().astimezone() + timedelta(minutes=1)
    text = gateway.token()
    account, _ = parts.stores.registry.accounts.add(
        "gateway", read_gateway_token(text).meters[0], parts.stores.now(), token="x"
    )
    parts.stores.registry.tokens.save(account.id, Token(text, expires_at=int(soon.timestamp())).to_text(), soon)
    calls = gateway.switch("report", "GET")["calls"]
    assert not parts.sync.suppliers.main.renews_tokens and parts.sync.suppliers.main.account_tokens
    parts.sync.suppliers.main.revoke_token(Token(text).to_text())
    assert gateway.switch("report", "GET")["calls"] == calls


def test_the_history_of_a_home_is_there_at_once(parts: Parts, gateway: Gateway) -> None:
    account = add_account(parts, gateway.token())
    for series in parts.stores.registry.outcomes.collected(account):
        for job in parts.sync.due_of(series).claim_next_of_history(account, series):
            parts.sync.window.sync_window(job)
    today = parts.sync.history.today()
    daily = parts.stores.measures.read(account, {Series.DAILY.inputs: (str(today - 31 * ONE_DAY), str(today))})
    assert len(daily[Series.DAILY.inputs]) >= 30
