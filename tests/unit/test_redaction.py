"""Masking of log records: wherever a secret stands in a record, it is not written."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.logs import (
    MASK,
    MIN_SECRET_LENGTH,
    ConsoleFormatter,
    JsonFormatter,
    RedactionFilter,
    Redactor,
    fields,
    written_forms,
)

SECRET = 'p@ss/wörd "1" \\&x=y%'
METER = "98765432109876"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


def record(message: Any, *args: Any, error: BaseException | None = None, **values: Any) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error else None
    line = logging.getLogger("releve").makeRecord("releve", logging.ERROR, "x.py", 1, message, args, trace)
    line.fields = values
    return line


def written(line: logging.LogRecord, *secrets: str) -> str:
    """Return what both formatters write of a record, with the strings of the JSON line unescaped as well."""
    assert RedactionFilter(Redactor(secrets)).filter(line)
    as_json = JsonFormatter().format(line)
    return "\n".join(
        [ConsoleFormatter().format(line), as_json, repr(json.loads(as_json)), *strings_in(json.loads(as_json))]
    )


def strings_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in strings_in(part)]
    return [text for part in value for text in strings_in(part)] if isinstance(value, list) else [str(value)]


def error_with_cause(text: str) -> BaseException:
    """Return an error with a traceback and a cause, both with the text."""
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(f"because {text}.") from error
    except ValueError as error:
        return error


WAYS: list[Callable[[str], logging.LogRecord]] = [
    lambda text: record(f"<{text}>"),
    lambda text: record("of %s and %r", text, text),
    lambda text: record("of %(a)s", {"a": text}),
    lambda text: record("%s", ["in", {"a list": text}]),
    lambda text: record("x", reason=text),
    lambda text: record("x", deep=[{"er": (text, {text})}], **{"as a name": {text: 1}}),
    lambda text: record("x", raw=text.encode()),
    lambda text: record("x", error=error_with_cause(text)),
    lambda text: record(ValueError(text)),
]
# Without the mask's own character: together with a text it could form a secret that was never there.
SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_characters="*\x7f\xad", exclude_categories=["Cc"]),
    min_size=10,
    max_size=40,
)


@given(SECRETS, TEXTS, TEXTS, st.sampled_from(WAYS), st.sampled_from([str, quote, quote_plus]))
def test_a_secret_that_is_known_never_comes_out_wherever_it_is_put(
    secret: str, before: str, after: str, way: Callable[[str], logging.LogRecord], as_written: Callable[[str], str]
) -> None:
    line = way(before + as_written(secret) + after)
    shown = written(line, secret)
    assert secret not in shown
    assert as_written(secret) not in shown


# What stands before the number: no digit, and no point at its end, or else the number is a part of a longer one.
BEFORE = st.text(st.characters(exclude_characters="0123456789", exclude_categories=["Cs"])).map(lambda t: t.rstrip("."))


@given(TEXTS, BEFORE, st.sampled_from(WAYS))
def test_a_meter_number_never_comes_out_wherever_it_is_put(
    after: str, before: str, way: Callable[[str], logging.LogRecord]
) -> None:
    after = after.lstrip("0123456789abcdef")
    assert METER not in written(way(before + METER + after))


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_with_every_awkward_sign_is_masked(way: Callable[[str], logging.LogRecord]) -> None:
    shown = written(way(SECRET), SECRET)
    assert MASK in shown
    assert not [left for left in written_forms(SECRET) if left in shown]


@pytest.mark.parametrize("form", sorted(written_forms(SECRET)))
def test_a_secret_is_known_in_each_way_it_may_be_written(form: str) -> None:
    assert Redactor([SECRET]).mask_text(f"a{form}b") == f"a{MASK}b"


@pytest.mark.parametrize(
    "text, left",
    [
        ("redis://:s3cret@host:6379/0", "redis://***@host:6379/0"),
        ("couchdb+http://releve:p@ss@couch:5984/", "couchdb+http://***@couch:5984/"),
        ("sentinel://:one@a:1;sentinel://:two@b:2", "sentinel://***@a:1;sentinel://***@b:2"),
        (f"Authorization: Bearer {'x' * 20}", "Authorization: Bearer ***"),
        ("'Authorization': 'Basic cmVsZXZlOnNlY3JldA=='", "'Authorization': 'Basic ***'"),
        (f"token {JWT}, next", "token ***, next"),
        ('{"access_token": "opaque-1", "refresh_token":"opaque 2"}', '{"access_token": ***, "refresh_token":***}'),
        ("GET /callback?code=aBc-1.2&state=x", "GET /callback?code=***&state=x"),
        ("GET /pce/GI123456/donnees_techniques", "GET /pce/***/donnees_techniques"),
        ("meters GI123456,GI654321.", "meters ***,***."),
        ("a%2FGI123456%2Fb \\nGI123456", "a%2F***%2Fb \\n***"),
        ("XGI123456, GI1234567 and gi12", "XGI123456, GI1234567 and gi12"),
        ("PATCH /droit_acces/5f8c2b0e-0000-4000-8000-000000000001", "PATCH /droit_acces/***"),
        ("PUT /droit_acces/5f8c2b0e/preuves", "PUT /droit_acces/***/preuves"),
        ("/login?next=%2Fcallback%3Fcode%3DaBc12", "/login?next=%2Fcallback%3Fcode%3D***"),
        ("grant_type=x&refresh_token=abc&client_secret=def", "grant_type=x&refresh_token=***&client_secret=***"),
        ("password='it is a secret'", "password=***"),
        (f"of releve_{'a' * 12}_{'b' * 43}", "of ***"),
        (f"/invitation#invite_{'a' * 12}_{'b' * 43}", "/invitation#***"),
        (f"/sign-in/link#sign_in_link_{'a' * 12}_{'b' * 43}", "/sign-in/link#***"),
        (f"cookie household_{'a' * 12}_{'b' * 43}", "cookie ***"),
        ("typed K7QD-0FR2-MXH4-T8Q2-WZ5P-9N3C-7HYD", "typed ***"),
        (f"sent proxyclient_{'a' * 12}_{'b' * 43}", "sent ***"),
        (f"sent proxyaccess_{'a' * 12}_{'b' * 43}", "sent ***"),
        (f"sent proxyrefresh_{'a' * 12}_{'b' * 43}", "sent ***"),
        (f"sealed gAAAAABm{'x' * 40}==", "sealed ***"),
        (f"sealed AgAAAABm{'x' * 40}==", "sealed ***"),
        (f"PRM{METER}, {METER}: usage_point_id={METER}", "PRM***, ***: usage_point_id=***"),
        (f"https://host/{METER}?usagePoint={METER}", "https://host/***?usagePoint=***"),
        (f"_{METER}.csv", "_***.csv"),
        (f"?body=%7B%22prm%22%3A%22{METER}%22%7D", "?body=%7B%22prm%22%3A%22***%22%7D"),
    ],
)
def test_the_shape_of_a_secret_is_enough(text: str, left: str) -> None:
    assert Redactor().mask_text(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "account_id=3kq7d0fr2mxx run=20240725T070000.123456 chain=0f8fad5b-d9cb-469f-a165-70867728950e",
        "id 9876543210987654321098765432abcd of a trace, and abcdef98765432109876543210abcdef98765432",
        "succeeded in 0.12345678901234s",
        "2024-07-25T07:00:00.123456+00:00",
        "100123456789012345",
        "status code: 404, code=503",
        "error_code=ADAM-DC-0008",
        "http://127.0.0.1:8765/a@b is no userinfo",
        "bearer of news",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert Redactor().mask_text(text) == text


def test_numbers_stay_numbers_unless_they_are_a_meters() -> None:
    values = {"created": 4, "duration_s": 0.25, "new": True, "code": None, "days": [1, 2], "meter": int(METER)}
    assert Redactor().mask_value(values) == {**values, "meter": MASK}


def test_a_field_is_masked_by_its_name_too() -> None:
    assert Redactor().mask_value({"refresh_token": "opaque", "password": "x", "usage_point": 5, "token_id": "t1"}) == {
        "refresh_token": MASK,
        "password": MASK,
        "usage_point": MASK,
        "token_id": "t1",
    }


def test_a_short_secret_tears_no_holes_into_words() -> None:
    short = "x" * (MIN_SECRET_LENGTH - 1)
    redactor = Redactor([short])
    assert redactor.mask_text(f"a{short}b, redis://:{short}@host") == f"a{short}b, redis://***@host"


def test_what_is_learned_later_is_masked_from_then_on() -> None:
    redactor = Redactor()
    assert redactor.mask_text("with canary") == "with canary"
    redactor.add_secrets("canary")
    redactor.add_secrets("another")
    assert redactor.mask_text("with canary and another") == "with *** and ***"
    assert "canary" not in repr(redactor) + repr(RedactionFilter(redactor))


def test_a_call_whose_arguments_do_not_fit_neither_fails_nor_quotes_them(capsys: pytest.CaptureFixture[str]) -> None:
    line = record("%d of %d", "canary")
    assert "canary" not in written(line, "canary")
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RedactionFilter(Redactor(["canary"])))
    handler.handle(record("%d of %d", "canary"))
    assert "canary" not in capsys.readouterr().err


def test_without_the_mask_the_same_records_tell_everything() -> None:
    """Without a mask the secret is written, so that the tests above prove something."""
    for way in WAYS:
        line = way("canary-1")
        assert "canary-1" in ConsoleFormatter().format(line)
    assert fields(a=1) == {"fields": {"a": 1}}
