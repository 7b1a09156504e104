"""RTE's calendar of Tempo: colours by day, whatever the form of the answer; what goes wrong is one line."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.canned_server import CannedServer, answer, canned_server
from worker.clients.published_files import NotFetched
from worker.clients.rte import LONGEST_DAYS, RteApplication, fetch_colours
from worker.domain.prices import Colour
from worker.domain.windows import DateWindow

pytestmark = pytest.mark.sockets

TOKEN = {"access_token": "t0ken", "token_type": "Bearer", "expires_in": 7200}
WINDOW = DateWindow(date(2024, 10, 26), date(2024, 10, 29))
COLOURS = {date(2024, 10, 26): Colour.BLUE, date(2024, 10, 27): Colour.RED, date(2024, 10, 28): Colour.WHITE}


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server() as server:
        yield server


def value(start: str, colour: Any, updated: str = "2024-10-25T10:20:00+02:00") -> dict[str, Any]:
    return {"start_date": start, "end_date": start, "value": colour, "updated_date": updated}


VALUES = [
    value("2024-10-28T00:00:00+01:00", "WHITE"),
    value("2024-10-27T00:00:00+02:00", "RED"),
    value("2024-10-26T00:00:00+02:00", "BLUE"),
]


def fetch(server: CannedServer, *bodies: Any, windows: tuple[DateWindow, ...] = (WINDOW,)) -> list[dict[date, Colour]]:
    server.script[:] = [answer(200, TOKEN), *(answer(200, body) for body in bodies)]
    return list(fetch_colours(RteApplication(server.url, "our-id", "s3cret"), windows))


def calendar(*values: Any) -> dict[str, Any]:
    return {"tempo_like_calendars": {"start_date": "", "end_date": "", "values": list(values)}}


def refusal(server: CannedServer, *script: Any) -> str:
    server.script[:] = script
    with pytest.raises(NotFetched) as caught:
        list(fetch_colours(RteApplication(server.url, "our-id", "s3cret"), [WINDOW]))
    text = str(caught.value)
    assert "s3cret" not in text and "t0ken" not in text and text.isprintable()
    return text


def test_the_longest_call_has_no_more_than_366_times_24_hours_whenever_it_begins() -> None:
    starts = DateWindow(date(2025, 1, 1), date(2026, 1, 1)).dates()
    windows = [DateWindow(start, start + timedelta(days=LONGEST_DAYS)).instants() for start in starts]
    assert max(end - start for start, end in windows) <= timedelta(days=366)


@pytest.mark.parametrize(
    "body",
    [
        calendar(*VALUES),
        calendar(*reversed(VALUES)),
        {"tempo_like_calendars": [{"values": VALUES[:1]}, {"values": VALUES[1:]}]},
    ],
    ids=["newest first", "oldest first", "list"],
)
def test_colours_are_read_from_each_form_of_the_calendar(server: CannedServer, body: Any) -> None:
    assert fetch(server, body) == [COLOURS]


def test_each_window_is_one_call_from_local_midnight_to_local_midnight_with_one_token(server: CannedServer) -> None:
    next_days = DateWindow(date(2024, 10, 29), date(2024, 10, 31))
    assert fetch(server, calendar(*VALUES), calendar(), windows=(WINDOW, next_days)) == [COLOURS, {}]
    path = "/open_api/tempo_like_supply_contract/v1/tempo_like_calendars?start_date="
    assert [request[:2] for request in server.requests] == [
        ("POST", "/token/oauth/"),
        ("GET", f"{path}2024-10-26T00%3A00%3A00%2B02%3A00&end_date=2024-10-29T00%3A00%3A00%2B01%3A00"),
        ("GET", f"{path}2024-10-29T00%3A00%3A00%2B01%3A00&end_date=2024-10-31T00%3A00%3A00%2B01%3A00"),
    ]
    basic = base64.b64encode(b"our-id:s3cret").decode()
    assert [headers["authorization"] for headers in server.headers] == [f"Basic {basic}", *["Bearer t0ken"] * 2]


def test_a_day_told_twice_has_its_newest_colour_and_others_are_left_out(server: CannedServer) -> None:
    corrected = value("2024-10-27T00:00:00+02:00", "WHITE", "2024-10-26T11:00:00+02:00")
    of_another_day = value("2024-10-25T00:00:00+02:00", "RED")
    unknown = [value("2024-10-28T00:00:00+01:00", name) for name in ("GREEN", None)]
    told = fetch(server, calendar(corrected, *VALUES[1:], of_another_day, *unknown))
    assert told == [{date(2024, 10, 26): Colour.BLUE, date(2024, 10, 27): Colour.WHITE}]


@pytest.mark.parametrize("number", range(1, 8))
def test_a_refused_request_is_told_with_its_code_and_nothing_else(server: CannedServer, number: int) -> None:
    code = f"TMPLIKSUPCON_TMPLIKCAL_F0{number}"
    body = {"error": code, "error_description": "t0ken", "error_details": {"transaction_id": "1"}}
    assert refusal(server, answer(200, TOKEN), answer(400, body)) == f"RTE refuses the request ({code})"


APPLICATION = "RTE refuses the application: check RELEVE_RTE_CLIENT_ID and RELEVE_RTE_CLIENT_SECRET"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, APPLICATION),
        (403, "RTE: the application of RELEVE_RTE_CLIENT_ID is not subscribed to Tempo Like Supply Contract"),
        (404, "RTE answered with status 404"),
        (429, "RTE: the application has used up its calls (429)"),
        (500, "RTE has a fault (500)"),
        (503, "RTE has a fault (503)"),
        (509, "RTE has too many calls from all its clients (509)"),
        (302, "RTE answered with status 302"),
    ],
)
def test_what_rte_answers_instead_is_told_in_a_line(server: CannedServer, status: int, said: str) -> None:
    assert said in refusal(server, answer(200, TOKEN), answer(status, "<html>t0ken", Location="https://example.com/"))
    assert len(server.requests) == 2


def test_without_a_token_no_calendar_is_asked_for(server: CannedServer) -> None:
    for status in (400, 401, 403):
        assert refusal(server, answer(status, {"error": "invalid_client"})) == APPLICATION
    assert "has a fault (503)" in refusal(server, answer(503, "later"))
    form = "RTE's answer has another form than expected"
    for body in ({}, [], {"access_token": 1}, {"access_token": "t0ken\n"}, "<html>"):
        assert refusal(server, answer(200, body)) == form
    assert {request[1] for request in server.requests} == {"/token/oauth/"}
    assert "127.0.0.1 can't be reached" in refusal(server)


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[" * 50_000,
        [],
        {"tempo_like_calendars": None},
        calendar("2024-10-26"),
        calendar(value("yesterday", "RED")),
        calendar(value("9999-12-31T23:00:00-12:00", "RED")),
        calendar(value("2024-10-26T00:00:00+02:00", ["RED"])),
        calendar({"value": "RED"}),
    ],
)
def test_an_answer_of_another_form_is_refused_whole(server: CannedServer, body: Any) -> None:
    assert refusal(server, answer(200, TOKEN), answer(200, body)) == "RTE's answer has another form than expected"


def test_a_calendar_that_is_too_long_is_not_read(server: CannedServer) -> None:
    assert "more than 1048576 bytes" in refusal(server, answer(200, TOKEN), answer(200, " " * 1024**2 + "{}"))


def test_an_address_without_tls_is_not_called_beyond_this_network() -> None:
    with pytest.raises(NotFetched, match=r"RELEVE_RTE_URL: .* must begin with https://"):
        list(fetch_colours(RteApplication("http://rte.example", "our-id", "s3cret"), [WINDOW]))
    assert "s3cret" not in repr(RteApplication("http://rte.example", "our-id", "s3cret"))
