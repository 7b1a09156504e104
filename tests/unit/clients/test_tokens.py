"""The two strategies of tokens: one renewal at a time, and a token is stored before it is used."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.support.supplier_server import FakeTokenStore
from worker.clients.oauth import Grant
from worker.clients.supplier_session import Token
from worker.clients.tokens import ApplicationTokens, BearerTokens, UserTokens
from worker.errors import (
    ConsentRevoked,
    OperatorFault,
    RateLimited,
    RefreshAnswerLost,
    RefreshTokenDead,
    RequestRefused,
    StoreUnavailable,
    SupplierUnavailable,
    TokenNeeded,
    WorkerError,
)

NOW_S = 1_000_000


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.clients.supplier_session.time.time", lambda: float(NOW_S))


@dataclass
class FakeEndpoint:
    store: FakeTokenStore
    used_grants: list[str] = field(default_factory=list)
    failure: WorkerError | None = None

    def refresh(self, refresh_token: str) -> Grant:
        return Grant(self._answer(refresh_token), {})

    def application_token(self) -> Token:
        return self._answer("credentials")

    def _answer(self, grant: str) -> Token:
        self.store.events.append("ask")
        self.used_grants.append(grant)
        if self.failure:
            raise self.failure
        return Token(f"access-{len(self.used_grants) + 1}", f"refresh-{len(self.used_grants) + 1}", NOW_S + 12_600)


def token(life_s: int = 12_600) -> Token:
    return Token("access-1", "refresh-1", NOW_S + life_s)


def harness(
    stored: Token | None, user: bool = True
) -> tuple[FakeTokenStore, FakeEndpoint, UserTokens | ApplicationTokens]:
    store = FakeTokenStore(stored)
    endpoint = FakeEndpoint(store)
    return store, endpoint, (UserTokens if user else ApplicationTokens)(store, endpoint)


@pytest.mark.parametrize("stored", [token(), token(301), Token("access-1", "refresh-1", None)])
def test_a_good_token_is_used_as_it_is(stored: Token) -> None:
    store, _, tokens = harness(stored)
    assert tokens.current() == stored
    assert store.events == []


@pytest.mark.parametrize("life_s", [300, 0, -1])
def test_a_token_about_to_end_is_renewed_and_kept_before_anybody_uses_it(life_s: int) -> None:
    store, endpoint, tokens = harness(token(life_s))
    assert tokens.current().access == "access-2"
    assert store.events == ["lock", "ask", "save", "unlock"]
    assert endpoint.used_grants == ["refresh-1"]
    assert store.token is not None and store.token.refresh == "refresh-2"


def test_the_token_that_another_worker_renewed_meanwhile_is_taken() -> None:
    store, endpoint, tokens = harness(token())
    store.on_lock = lambda: setattr(store, "token", Token("access-7", "refresh-7", NOW_S + 12_600))
    assert tokens.renew(token()).access == "access-7"
    assert endpoint.used_grants == []


def test_another_workers_token_that_ended_in_its_turn_is_renewed() -> None:
    store, endpoint, tokens = harness(Token("access-7", "refresh-7", NOW_S - 5))
    assert tokens.renew(token()).access == "access-2"
    assert endpoint.used_grants == ["refresh-7"]
    assert store.token is not None and store.token.access == "access-2"


def test_a_refresh_token_that_a_sleeper_spent_before_us_is_no_dead_consent() -> None:
    """A worker that slept past the end of its lock has used the token and stored the answer just now."""
    store, endpoint, tokens = harness(token(0))
    renewed = Token("access-7", "refresh-7", NOW_S + 12_600)

    def refused(_: str) -> Token:
        store.token = renewed
        raise RefreshTokenDead("spent")

    endpoint.refresh = refused  # type: ignore[method-assign]
    assert tokens.current() == renewed
    assert store.token == renewed


@pytest.mark.parametrize("stored", [None, Token("access-1", None, NOW_S)])
def test_a_user_without_refresh_token_must_consent_again(stored: Token | None) -> None:
    _, endpoint, tokens = harness(stored)
    with pytest.raises(ConsentRevoked):
        tokens.current()
    assert endpoint.used_grants == []


def test_the_application_asks_with_its_credentials_from_the_first_call_on() -> None:
    store, endpoint, tokens = harness(None, user=False)
    assert tokens.current().access == "access-2"
    assert store.events == ["lock", "ask", "save", "unlock"]
    assert tokens.current().access == "access-2"
    assert endpoint.used_grants == ["credentials"]


def test_an_outage_while_renewing_ahead_harms_nobody() -> None:
    store, endpoint, tokens = harness(token(120))
    endpoint.failure = SupplierUnavailable("down")
    assert tokens.current() == token(120)
    store.token = token(0)
    with pytest.raises(SupplierUnavailable):
        tokens.current()


def test_a_renewed_token_that_could_not_be_kept_is_never_hidden() -> None:
    store, _, tokens = harness(token(120))

    def fail(token: str, expires_at: int | None) -> None:
        raise StoreUnavailable("registry is down")

    store.save = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        tokens.current()


def test_a_token_comes_back_from_its_text_and_shows_nothing() -> None:
    assert Token.from_text(token().to_text()) == token()
    assert repr(token()) == "Token()"


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", '{"access": "secret"', '{"secret": 1}'])
def test_a_text_that_is_no_token_is_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="not a token") as caught:
        Token.from_text(text)
    assert "secret" not in str(caught.value)


LOST, DEAD = SupplierUnavailable("the connection was cut"), RefreshTokenDead("invalid_grant")
WAIT, CREDENTIALS, OUR_BUG = RateLimited("wait"), OperatorFault("credentials"), RequestRefused("our bug")


@pytest.mark.parametrize(
    ("failures", "last", "owed"),
    [
        ([DEAD], RefreshTokenDead, False),  # A refusal is an answer, and was read.
        ([LOST, DEAD], RefreshAnswerLost, True),
        ([LOST, WAIT, DEAD], RefreshAnswerLost, True),  # A wait between does not hide the loss.
        ([LOST, None, DEAD], RefreshTokenDead, False),  # The supplier had not taken the token.
        # These refuse before they look at the token.
        ([WAIT], RateLimited, False),
        ([CREDENTIALS], OperatorFault, False),
        ([OUR_BUG], RequestRefused, False),
    ],
)
def test_a_dead_token_is_told_from_a_lost_answer(
    failures: list[WorkerError | None], last: type[WorkerError], owed: bool
) -> None:
    store, endpoint, tokens = harness(token())
    for endpoint.failure in failures:
        before = store.token
        if endpoint.failure is None:
            tokens.renew(before)
            continue
        with pytest.raises(WorkerError) as caught:
            tokens.renew(before)
        assert store.token == before
    assert (type(caught.value), store.refreshing) == (last, owed)


def test_a_gateways_token_serves_until_the_second_in_which_it_ends() -> None:
    assert BearerTokens(FakeTokenStore(token(life_s=1))).current() == token(life_s=1)
    with pytest.raises(TokenNeeded):
        BearerTokens(FakeTokenStore(token(life_s=0))).current()
