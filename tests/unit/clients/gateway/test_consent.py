"""Tests for the token of a gateway: which meters it is for, and until when."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.clients.gateway.consent import GatewayToken, read_gateway_token

METER, OTHER = "99000000000011", "09000000000022"
ISSUED, ENDS = 1_700_000_000, int(time.time()) + 1_093 * 24 * 3600


def make_token(**claims: Any) -> str:
    """Return a token as conso-api makes it; a claim of None is left out."""
    payload = {"sub": [METER], "iat": ISSUED, "exp": ENDS} | claims
    return jwt.encode(
        {name: value for name, value in payload.items() if value is not None}, "a key of thirty-two bytes or more ..."
    )


@pytest.mark.parametrize(
    ("sub", "meters"),
    [([METER], (METER,)), ([METER, OTHER, METER], (METER, OTHER)), (METER, (METER,)), ([METER, "x"], (METER,))],
)
def test_a_token_tells_its_meters_and_its_end(sub: Any, meters: tuple[str, ...]) -> None:
    token = read_gateway_token(f"  {make_token(sub=sub)}\n")
    assert token == GatewayToken(meters, datetime.fromtimestamp(ISSUED, UTC), datetime.fromtimestamp(ENDS, UTC))


def test_a_token_that_tells_nothing_is_taken_as_it_is() -> None:
    assert read_gateway_token("cli_0123456789abcdefghij") == GatewayToken()
    assert read_gateway_token(make_token(iat=None, exp=None)) == GatewayToken((METER,))


def _unsigned(claims: str) -> str:
    parts = ['{"alg": "HS256"}', claims, "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a token"),
        (METER, "not a token"),
        (f"{METER};{OTHER}", "not a token"),
        ("my password", "not a token"),
        ("Bearer " + make_token(), "not a token"),
        (make_token()[10:], "damaged"),
        (_unsigned("[]"), "damaged"),
        (_unsigned("[" * 5_000), "damaged"),
        (make_token(exp="soon"), "damaged"),
        (make_token(exp=1e300), "damaged"),
        (make_token(iat={}), "damaged"),
        (make_token(exp=1_700_000_000), "expired on 2023-11-14"),
        (make_token(sub=None), "names no meter"),
        (make_token(sub=[]), "names no meter"),
        (make_token(sub=["someone", 5]), "names no meter"),
    ],
)
def test_what_is_no_usable_token_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refusal:
        read_gateway_token(text)
    assert "\n" not in str(refusal.value)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@given(
    st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(_unsigned))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_gateway_token(text)
    except ValueError as refusal:
        assert text.strip() == "" or text.strip() not in str(refusal) or len(text.strip()) < 16


def test_nothing_of_the_meters_is_shown() -> None:
    assert METER not in repr(read_gateway_token(make_token()))
