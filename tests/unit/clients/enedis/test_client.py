"""The whole client: the request that is sent, one token renewal, and the classified answer."""

from __future__ import annotations

import logging
import traceback
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses

from tests.support.supplier_server import BASE_URL, SECRETS, USAGE_POINT, ClientHarness
from worker.domain.answers import AnswerKind
from worker.domain.series import USUAL_SERIES, Series, of_supplier
from worker.domain.windows import DateWindow
from worker.errors import (
    ConsentRevoked,
    LoginFailed,
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    RequestRefused,
    SupplierUnavailable,
    WorkerError,
)

WINDOW = DateWindow(date(2024, 7, 18), date(2024, 7, 25))  # It ends today.
PAST = DateWindow(date(2024, 7, 1), date(2024, 7, 8))
TOKEN = {"access_token": "access-token-two", "token_type": "Bearer", "expires_in": 12600, "refresh_token": "r2"}
NO_CONSENT = {"error": "ADAM-DC-0008", "error_description": "No consent can be found for this customer"}


def body_of(harness: ClientHarness, usage_point_id: str = USAGE_POINT) -> dict[str, Any]:
    if harness.endpoints.preset.name == "enedis-2026":
        points = [{"v": "1", "d": "2024-07-18"}]
        return {"idPrm": usage_point_id, "grandeur": [{"grandeurMetier": "CONS", "points": points}]}
    reading = [{"value": "1", "date": "2024-07-18"}]
    return {"meter_reading": {"usage_point_id": usage_point_id, "interval_reading": reading}}


def refuse_token(harness: ClientHarness) -> None:
    if harness.endpoints.preset.token_mode == "user":
        harness.answer_measures(403, b"", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    else:
        harness.answer_measures(401, {"fault": {"code": 900901, "message": "Invalid Credentials"}})


@pytest.mark.parametrize("series", of_supplier("enedis", USUAL_SERIES))
def test_a_window_is_asked_in_the_words_of_its_generation(harness: ClientHarness, series: Series) -> None:
    harness.answer_measures(200, body_of(harness))
    answer = harness.client.ask(series, USAGE_POINT, WINDOW)
    assert (answer.kind, answer.payload) == (AnswerKind.DATA, body_of(harness))

    request = harness.supplier.calls[-1].request
    address, preset = urlsplit(request.url), harness.endpoints.preset
    assert address.scheme + "://" + address.netloc + address.path == BASE_URL + preset.paths[series]
    assert parse_qs(address.query) == {
        preset.usage_point_parameter: [USAGE_POINT],
        preset.start_parameter: ["2024-07-18"],
        preset.end_parameter: ["2024-07-25"],
    }
    assert request.headers["Authorization"] == "Bearer access-token-one"
    assert request.headers["Accept"] == "application/json"
    assert "Content-Type" not in request.headers


def test_a_refused_token_is_renewed_once_and_the_walk_does_not_notice(harness: ClientHarness) -> None:
    refuse_token(harness)
    harness.answer_token(200, TOKEN)
    harness.answer_measures(200, body_of(harness))
    assert harness.client.ask(Series.DAILY, USAGE_POINT, WINDOW).kind is AnswerKind.DATA
    assert harness.store.token is not None and harness.store.token.access == "access-token-two"
    assert harness.supplier.calls[-1].request.headers["Authorization"] == "Bearer access-token-two"
    api = harness.endpoints.preset.quota_names[0]
    assert harness.permits.requested_apis == [api, "token", api]


def test_a_token_refused_twice_is_given_up(harness: ClientHarness) -> None:
    refuse_token(harness)
    harness.answer_token(200, TOKEN)
    refuse_token(harness)
    user = harness.endpoints.preset.token_mode == "user"
    with pytest.raises(LoginFailed if user else OperatorFault):
        harness.client.ask(Series.DAILY, USAGE_POINT, WINDOW)
    assert len(harness.supplier.calls) == 3


def test_a_consent_that_ended_costs_no_renewal(harness: ClientHarness) -> None:
    harness.answer_measures(403, NO_CONSENT)
    with pytest.raises(ConsentRevoked):
        harness.client.ask(Series.LOAD_CURVE, USAGE_POINT, WINDOW)
    assert len(harness.supplier.calls) == 1


def test_a_429_closes_the_gate_for_everybody(harness: ClientHarness) -> None:
    harness.answer_measures(429, b"", {"Retry-After": "90"})
    with pytest.raises(RateLimited) as caught:
        harness.client.ask(Series.LOAD_CURVE, USAGE_POINT, WINDOW)
    assert caught.value.retry_after_s == 90
    assert harness.permits.closed_for_s == [90]
    assert harness.permits.closed_by == ["permit 1"]
    assert harness.permits.released == []


def test_the_429_after_a_renewal_is_that_of_the_second_call(harness: ClientHarness) -> None:
    refuse_token(harness)
    harness.answer_token(200, TOKEN)
    harness.answer_measures(429)
    with pytest.raises(RateLimited):
        harness.client.ask(Series.LOAD_CURVE, USAGE_POINT, WINDOW)
    assert harness.permits.closed_by == ["permit 3"]


@pytest.mark.parametrize(
    "failure, given_back",
    [
        (requests.ConnectTimeout("host"), ["permit 1"]),
        (requests.ReadTimeout("host"), []),
        (requests.ConnectionError("cut off"), []),  # The supplier may have counted it.
    ],
)
def test_a_call_that_never_left_gives_its_permit_back(
    harness: ClientHarness, failure: Exception, given_back: list[str]
) -> None:
    for path in set(harness.endpoints.preset.paths.values()):
        harness.supplier.add(responses.GET, BASE_URL + path, body=failure)
    with pytest.raises(SupplierUnavailable):
        harness.client.ask(Series.LOAD_CURVE, USAGE_POINT, WINDOW)
    assert harness.permits.released == given_back


def test_without_a_permit_nothing_is_sent_and_nothing_is_closed(harness: ClientHarness) -> None:
    def refuse(api: str) -> None:
        raise RateLimited(f"no permit for {api}", 3)

    harness.permits.take_permit = refuse  # type: ignore[method-assign]
    with pytest.raises(RateLimited):
        harness.client.ask(Series.LOAD_CURVE, USAGE_POINT, WINDOW)
    assert (len(harness.supplier.calls), harness.permits.closed_for_s) == (0, [])


@pytest.mark.parametrize("spelling", ["Invalid_request", "invalid_request", "invalid_resquest"])
def test_a_refused_end_of_today_is_to_be_moved_and_any_other_is_our_bug(harness: ClientHarness, spelling: str) -> None:
    refusal = {"error": spelling, "error_description": "The end date parameter must be earlier than the current date"}
    harness.answer_measures(400, refusal)
    assert harness.client.ask(Series.DAILY, USAGE_POINT, WINDOW).kind is AnswerKind.END_TOO_LATE
    with pytest.raises(RequestRefused):
        harness.client.ask(Series.DAILY, USAGE_POINT, PAST)


def test_the_answer_for_another_meter_is_kept_out(harness: ClientHarness) -> None:
    harness.answer_measures(200, body_of(harness, "11111111111111"))
    with pytest.raises(MalformedAnswer, match="another meter"):
        harness.client.ask(Series.DAILY, USAGE_POINT, WINDOW)


@pytest.mark.parametrize("masked", ["<masque>", None, 5, ""])
def test_an_answer_that_masks_its_meter_is_taken(harness: ClientHarness, masked: Any) -> None:
    harness.answer_measures(200, body_of(harness, masked))
    assert harness.client.ask(Series.DAILY, USAGE_POINT, WINDOW).kind is AnswerKind.DATA


def test_a_redirect_is_not_followed_with_our_token(harness: ClientHarness) -> None:
    harness.answer_measures(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"})
    with pytest.raises(SupplierUnavailable):
        harness.client.ask(Series.DAILY, USAGE_POINT, WINDOW)
    assert len(harness.supplier.calls) == 1


LEAKS: list[tuple[int, Any]] = [
    *((status, {"error": USAGE_POINT, "error_description": SECRETS[1]}) for status in (200, 400, 403, 404, 429, 500)),
    *((status, SECRETS[1].encode()) for status in (200, 400, 401, 403, 404, 429, 500, 503)),
    (200, {"meter_reading": {"usage_point_id": "11111111111111", "token": SECRETS[1]}}),
    (403, {"code": SECRETS[1], "message": USAGE_POINT}),
    (200, requests.ConnectionError(f"{BASE_URL}?usage_point_id={USAGE_POINT}")),
    (200, requests.exceptions.InvalidHeader(SECRETS[1])),
]


@pytest.mark.parametrize("status, body", LEAKS)
def test_no_text_or_log_holds_a_token_a_meter_or_a_body(
    harness: ClientHarness, status: int, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for path in harness.endpoints.preset.paths.values():
        content = body if isinstance(body, bytes | Exception) else requests.compat.json.dumps(body)
        harness.supplier.add(responses.GET, BASE_URL + path, status=status, body=content)
    harness.answer_token(200, TOKEN)
    with pytest.raises(WorkerError) as caught:
        harness.client.ask(Series.DAILY, USAGE_POINT, PAST)
    shown = [*traceback.format_exception(caught.value), repr(caught.value), repr(vars(caught.value)), caplog.text]
    shown += [repr(harness.store.token), repr(harness.oauth), repr(harness.session), repr(harness.client)]
    text = "".join(shown)
    assert [secret for secret in SECRETS if secret in text] == []


def test_the_token_endpoints_answers_are_not_logged_either(
    harness: ClientHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    harness.answer_token(200, TOKEN)
    harness.oauth.refresh("refresh-token-one")
    harness.oauth.application_token()
    assert [secret for secret in SECRETS if secret in caplog.text] == []
