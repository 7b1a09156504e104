"""The proxy's rules: addresses that a client may have, and the proof key of a code."""

from __future__ import annotations

import string
from datetime import UTC, date, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.consents import Proof
from worker.domain.oauth_proxy import (
    LONGEST_ADDRESS,
    ProxyCaller,
    ProxyGrant,
    challenge_of,
    check_redirect_uri,
    host_of,
    is_code_challenge,
    is_proven,
)

NOW = datetime(2024, 7, 25, 9, tzinfo=UTC)
VERIFIERS = st.text(string.ascii_letters + string.digits + "-._~", min_size=43, max_size=128)


@pytest.mark.parametrize(
    "address",
    [
        "https://alice.cozy.example",
        "https://alice.cozy.example/",
        "https://alice.cozy.example/accounts/enedis/redirect?a=b&c=%20",
        "https://stack.example:8443/x",
        "http://localhost:8080/x",
        "http://127.0.0.1/x",
    ],
)
def test_a_whole_address_may_be_a_clients(address: str) -> None:
    assert check_redirect_uri(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "alice.cozy.example",
        "//alice.cozy.example/",
        "https://*.cozy.example/",
        "https://cozy/",
        "http://alice.cozy.example/",
        "https://user@alice.cozy.example/",
        "https://evil.example\\.cozy.example/",
        "https:/\\alice.cozy.example/",
        "https://alice.cozy.example\t/",
        "https://alice.cozy.example/\n",
        " https://alice.cozy.example/",
        "https://ALICE.cozy.example/",
        "https://аlice.cozy.example/",  # The first letter is Cyrillic.
        "https://alice.cozy.example./",
        "https://alice.cozy.example/#fragment",
        "https://alice.cozy.example/ https://other.example/",
        "javascript:alert(1)//.cozy.example",
        "https://alice.cozy.example/\r\nSet-Cookie: a=b",
        "https://alice.cozy.example/" + "a" * LONGEST_ADDRESS,
    ],
)
def test_an_address_that_readers_could_differ_about_may_not(address: str) -> None:
    with pytest.raises(ValueError, match="needs a whole address"):
        check_redirect_uri(address)


@given(st.text(max_size=80))
def test_a_checked_address_is_one_word_on_one_host(text: str) -> None:
    try:
        address = check_redirect_uri(f"https://a.example{text}")
    except ValueError:
        return
    assert address.split() == [address] and address.isascii()
    assert host_of(address) == urlsplit(address).netloc and "@" not in host_of(address)


@given(verifier=VERIFIERS, other=VERIFIERS)
def test_a_verifier_proves_its_own_challenge_alone(verifier: str, other: str) -> None:
    challenge = challenge_of(verifier)
    assert is_code_challenge(challenge)
    assert is_proven(challenge, verifier)
    assert is_proven(challenge, other) is (other == verifier)
    assert not is_proven(challenge, challenge)  # As the method "plain" would have it.


def test_the_challenge_is_that_of_the_rfc() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B.
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize("verifier", ["", "short", "é" * 50, "a" * 129, "a" * 42])
def test_what_is_no_verifier_proves_nothing(verifier: str) -> None:
    assert not is_proven(challenge_of(verifier), verifier)


def test_a_challenge_needs_its_verifier_and_a_verifier_its_challenge() -> None:
    assert is_proven(None, None)
    assert not is_proven("a" * 43, None)
    assert not is_proven(None, "a" * 43)


@given(state=st.text(min_size=1, max_size=60), value=st.text(max_size=20))
def test_the_clients_address_keeps_its_own_query_and_state(state: str, value: str) -> None:
    caller = ProxyCaller("c", "https://stack.example/back?slug=enedis", state)
    address = caller.address(code=value)
    assert address.startswith("https://stack.example/back?slug=enedis&state=")
    query = parse_qs(urlsplit(address).query, keep_blank_values=True)
    assert query == {"slug": ["enedis"], "state": [state], "code": [value]}


def test_nothing_of_a_caller_is_shown() -> None:
    shown = repr(ProxyCaller("c", "https://x.example/", "their-state", "a" * 43))
    assert not [secret for secret in ("x.example", "their-state", "aaaa") if secret in shown]


@pytest.mark.parametrize(
    ("until", "ended_at", "over"),
    [
        (None, None, False),
        (date(2024, 7, 25), None, False),
        (date(2024, 7, 24), None, True),
        (date(2025, 7, 24), NOW, True),
    ],
)
def test_a_grant_is_over_after_its_last_day_or_its_end(
    until: date | None, ended_at: datetime | None, over: bool
) -> None:
    grant = ProxyGrant(
        id="g",
        client_id="c",
        supplier="enedis",
        meter="hash",
        data_from=None,
        consent_until=until,
        proof=Proof.INVITED,
        vouched_by="cli:a",
        granted_at=NOW,
        access_expires_at=NOW,
        ended_at=ended_at,
    )
    assert grant.is_over(date(2024, 7, 25)) is over
