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
from tests.support.simulators import run_in_background
from tests.support.waiting import DEADLINE_S
from worker.clients.gateway.consent import read_gateway_token
from worker.clients.supplier_session import Token
from worker.clients.tokens import BearerTokens
from worker.domain.account import AccountState
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import ONE_DAY
from worker.errors import GatewayBanned, SupplierLimited, SupplierUnavailable, TokenRefused
from worker.runtime.process import Runtime
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
def runtime(home: Installation) -> Iterator[Runtime]:
    with home.open() as runtime:
        yield runtime


def add_account(runtime: Runtime, text: str) -> str:
    token = read_gateway_token(text)
    account, _ = runtime.registry.accounts.add("gateway", token.meters[0], runtime.now(), token=Token(text).to_text())
    return account.id


def sync(runtime: Runtime, account_id: str, series: Series) -> None:
    runtime.window_sync.sync_window(runtime.claims.manual_look_back(account_id, series))


def test_both_generations_of_bodies_store_the_same(runtime: Runtime, gateway: Gateway) -> None:
    account = add_account(runtime, gateway.token())
    for series in (Series.DAILY, Series.LOAD_CURVE):
        sync(runtime, account, series)
    stored = {
        series: runtime.measures.read(account, {series.inputs: ("2", "3")})
        for series in (Series.DAILY, Series.LOAD_CURVE)
    }
    assert all(len(documents) > 5 for by_doctype in stored.values() for documents in by_doctype.values())
    gateway.switch("switches", gateway_bodies="v5")
    for series in USUAL_SERIES:
        sync(runtime, account, series)
        assert runtime.measures.read(account, {series.inputs: ("2", "3")}) == stored[series], "it is known already"


def test_a_home_is_set_up_for_its_gateway(runtime: Runtime, gateway: Gateway, home: Installation) -> None:
    assert list(runtime.suppliers) == ["gateway"] and runtime.offers(Series.REGISTERS)
    assert not runtime.offers(Series.CONTRACT)
    (due,) = runtime.due_windows.suppliers
    assert isinstance(due, GatewayWindows) and due.calls_in_half_a_day == 60
    assert (runtime.history.curve_days, f"{runtime.history.nightly_at:%H:%M}") == (745, "06:00")
    assert runtime.redis.keys("releve:permit:*") == []
    add_account(runtime, gateway.token())
    permit = runtime.ledger.take_permit("data")
    assert runtime.redis.keys("releve:permit:127.0.0.1:data:*") and permit
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
    with home.open() as runtime:
        (account,) = runtime.registry.accounts.list_accounts()
        assert runtime.ledger.state(("data",)).used == {"data": 1}
        assert runtime.measures.read(account.id, {Series.DAILY.inputs: ("2", "3")})[Series.DAILY.inputs]


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
    with home.open() as runtime:
        (account,) = runtime.registry.accounts.list_accounts()
        assert account.active and runtime.registry.tokens.find_token_id(account.id)
        assert runtime.ledger.state(("data",)).used == {"data": 1}


@pytest.mark.rest  # At a call a second it takes a minute.
def test_the_sixty_first_call_of_half_a_day_waits(runtime: Runtime) -> None:
    ledger = runtime.ledger
    for _ in range(60):
        ledger.take_permit("data")
    decision = ledger.try_permit("data", 10.0)
    assert decision.permit is None and decision.wait_s > 11 * 3600
    assert ledger.calls_left("data") == 0


def test_a_ban_is_told_by_doctor_and_status(runtime: Runtime, gateway: Gateway, home: Installation) -> None:
    account = add_account(runtime, gateway.token())
    gateway.switch("bans", limit=1)
    with pytest.raises(GatewayBanned):
        sync(runtime, account, Series.DAILY)
    with pytest.raises(GatewayBanned, match="blocks this address"):
        sync(runtime, account, Series.LOAD_CURVE)
    assert issubclass(GatewayBanned, SupplierLimited)
    assert runtime.ledger.closed_for_s() > 23 * 3600
    assert gateway.switch("bans", "GET")["most_calls_in_half_a_day"] == 1, "the second was not sent"
    gateway.switch("bans", limit=100)
    doctor = home.run("doctor").out  # It has no workers here, and says so.
    assert "the gateway blocks this address (403)" in doctor
    assert "GATEWAY_BANNED" in home.releve("status").out


def test_a_refused_token_waits_for_a_new_one(runtime: Runtime, gateway: Gateway) -> None:
    meter = read_gateway_token(gateway.token()).meters[0]
    wrong = gateway.token(usage_point="11111111111111")
    account, _ = runtime.registry.accounts.add("gateway", meter, runtime.now(), token=Token(wrong).to_text())
    assert isinstance(runtime.tokens_of(account), BearerTokens)
    with pytest.raises(TokenRefused):
        sync(runtime, account.id, Series.DAILY)
    runtime.registry.accounts.set_state(account.id, AccountState.ACTION_NEEDED, TokenRefused.code, now=runtime.now())
    add_account(runtime, gateway.token())
    assert runtime.registry.accounts.get(account.id).state is AccountState.READY
    sync(runtime, account.id, Series.DAILY)


def test_the_doctor_asks_for_no_token_and_nothing_is_renewed(runtime: Runtime, gateway: Gateway) -> None:
    soon = datetime.now().astimezone() + timedelta(minutes=1)
    text = gateway.token()
    account, _ = runtime.registry.accounts.add("gateway", read_gateway_token(text).meters[0], runtime.now(), token="x")
    runtime.registry.tokens.save(account.id, Token(text, expires_at=int(soon.timestamp())).to_text(), soon)
    calls = gateway.switch("report", "GET")["calls"]
    assert not runtime.clients.renews_tokens and runtime.clients.account_tokens
    runtime.clients.revoke_token(Token(text).to_text())
    assert gateway.switch("report", "GET")["calls"] == calls


def test_the_history_of_a_home_is_there_at_once(runtime: Runtime, gateway: Gateway) -> None:
    account = add_account(runtime, gateway.token())
    for series in runtime.registry.outcomes.collected(account):
        for job in runtime.due_windows.next_of_history(account, series):
            runtime.window_sync.sync_window(job)
    today = runtime.history.today()
    daily = runtime.measures.read(account, {Series.DAILY.inputs: (str(today - 31 * ONE_DAY), str(today))})
    assert len(daily[Series.DAILY.inputs]) >= 30
