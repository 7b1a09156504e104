"""The classification of Enedis answers: each documented error, and rules that all answers follow."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from worker.clients.enedis.client import classify
from worker.clients.supplier_session import Reply, token_refused
from worker.domain.answers import AnswerKind
from worker.errors import (
    ApplicationRefused,
    ConsentRevoked,
    HolderChanged,
    RateLimited,
    RequestRefused,
    SeriesNotOffered,
    SupplierFault,
    SupplierLimited,
    SupplierUnavailable,
    UnknownUsagePoint,
    WorkerError,
)

NOW = datetime(2030, 1, 17, 4, 20, tzinfo=UTC)
THROTTLED = {
    "code": "900804",
    "message": "Message throttled out",
    "description": "You have exceeded your quota .You can access API after 2030-Jan-17 05:00:00+0000 UTC",
    "nextAccessTime": "2030-Jan-17 05:00:00+0000 UTC",
}


def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, CaseInsensitiveDict({name.replace("_", "-"): headers[name] for name in headers}), content)


def error(code: Any) -> dict[str, Any]:
    return {"error": code, "error_description": "not to be read"}


VERDICTS = [
    (403, "ADAM-DC-0009", AnswerKind.BEFORE_HISTORY),
    (404, "no_data_found", AnswerKind.NO_DATA),
    (404, "STM-ERR-0000014", AnswerKind.NO_DATA),
    (404, "STM-ERR-0000020", AnswerKind.NO_DATA),
    (400, "ADAM-ERR0123", AnswerKind.BEFORE_HISTORY),
    (400, "ADAM-ERR0125", AnswerKind.BEFORE_HISTORY),
    (400, "ADAM-DC-0016", AnswerKind.BEFORE_HISTORY),
    (400, "ADAM-ERR0126", AnswerKind.TOO_LONG),
    (400, "ADAM-DC-0015", AnswerKind.TOO_LONG),
    (400, "ADAM-ERR0075", AnswerKind.NO_DATA),
]
ERRORS: list[tuple[int, str, type[WorkerError]]] = [
    (403, "ADAM-DC-0008", ConsentRevoked),
    (403, "ADAM_DC_0008", ConsentRevoked),
    (403, "ADAM-DC-0007", HolderChanged),
    (400, "ADAM-DC-0007", HolderChanged),
    (400, "ADAM-ERR0061", HolderChanged),
    (400, "ADAM-ERR0069", SeriesNotOffered),
    (403, "unauthorized_user", UnknownUsagePoint),
    (404, "STM-ERR-0000019", UnknownUsagePoint),
    (400, "Invalid_request", RequestRefused),
    (400, "invalid_resquest", RequestRefused),
    (400, "ADAM-ERR0002", RequestRefused),
    (403, "SOMETHING-NEW", RequestRefused),
    (404, "something_new", RequestRefused),
    (500, "technical_error", SupplierFault),
    (500, "Internal Server error", SupplierFault),
    (500, "ADAM-DC-0500", SupplierFault),
    (500, "STM-ERR-0000001", SupplierFault),
    (500, "ADAM-DC-0008", SupplierFault),
]


@pytest.mark.parametrize("status, code, verdict", VERDICTS)
@pytest.mark.parametrize("spell", [str, str.lower, lambda code: code.replace("-", "_")])
def test_a_code_means_the_same_however_it_is_spelled(status: int, code: str, verdict: AnswerKind, spell: Any) -> None:
    assert classify(reply(status, error(spell(code))), NOW).kind is verdict


@pytest.mark.parametrize("status, code, verdict", VERDICTS)
def test_a_code_means_the_same_inside_any_envelope(status: int, code: str, verdict: AnswerKind) -> None:
    inner = error(code)
    envelopes = [
        {"fault": {"code": code, "message": "m"}},
        {"code": code, "message": "m"},
        {"status": status, "message": "The Enedis API returned an error", "error": inner},
        {"tag": "enedis_return_ko", "error_code": code},
        {"error": "result_400", "enedis_return": inner},
    ]
    assert [classify(reply(status, body), NOW).kind for body in envelopes] == [verdict] * 5


@pytest.mark.parametrize("status, code, kind", ERRORS)
def test_an_error_code_becomes_the_error_that_says_what_to_do(status: int, code: str, kind: type[WorkerError]) -> None:
    with pytest.raises(kind) as caught:
        classify(reply(status, error(code)), NOW)
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [200, 204, 301, 400, 403, 404, 500, 502, 503])
@pytest.mark.parametrize("body", [b"", b"<html>firewall</html>", b"500 Internal Server Error", b'{"meter_reading": {'])
def test_what_is_no_json_is_never_no_data(status: int, body: bytes) -> None:
    with pytest.raises(SupplierUnavailable):
        classify(reply(status, body), NOW)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_outage_may_say_for_how_long(status: int) -> None:
    with pytest.raises(SupplierUnavailable) as caught:
        classify(reply(status, b"<html>", Retry_After="120"), NOW)
    assert caught.value.retry_after_s == 120


@pytest.mark.parametrize(
    "status, message, kind",
    [
        (403, "Le client n'est pas titulaire du point demandé", HolderChanged),
        (403, "Le client n'est pas autorisé pour le point demandé", ConsentRevoked),
        (400, "Paramètre invalide", RequestRefused),
        (429, "SLA dépassé", SupplierLimited),
        (500, "Problème technique dans l'interrogation du SI coeur", SupplierFault),
    ],
)
def test_an_unpublished_code_leaves_it_to_the_status(status: int, message: str, kind: type[WorkerError]) -> None:
    with pytest.raises(kind):
        classify(reply(status, {"code": "SGT4X1", "message": message}), NOW)


def test_a_404_of_2026_is_an_empty_answer_but_that_of_its_gateway_is_not() -> None:
    assert classify(reply(404, {"code": "X", "message": "Pas de mesure trouvée"}), NOW).kind is AnswerKind.NO_DATA
    gateway = {"code": "404", "type": "Status report", "message": "Not Found", "description": "No matching resource"}
    with pytest.raises(RequestRefused):
        classify(reply(404, gateway), NOW)


@pytest.mark.parametrize("status", [200, 403])
def test_a_missing_subscription_is_the_operators(status: int) -> None:
    with pytest.raises(ApplicationRefused, match="not subscribed"):
        classify(reply(status, {"code": "900908", "message": "Resource forbidden ", "description": "d"}), NOW)


@pytest.mark.parametrize("body", [{}, [], {"meter_reading": {"interval_reading": []}}, {"usage_point": []}, [1]])
def test_any_other_success_goes_to_the_parser_as_it_came(body: Any) -> None:
    answer = classify(reply(200, body), NOW)
    assert (answer.kind, answer.payload) == (AnswerKind.DATA, body)


@pytest.mark.parametrize("body", [{"idPrm": "1"}, {"idPrm": "1", "grandeur": []}, {"idPrm": "1", "grandeur": None}])
def test_a_2026_answer_without_quantities_is_no_data(body: Any) -> None:
    assert classify(reply(200, body), NOW).kind is AnswerKind.NO_DATA


@pytest.mark.parametrize(
    "body, kind",
    [
        (error("ADAM-DC-0008"), ConsentRevoked),
        (error("technical_error"), SupplierFault),
        (error("never-seen"), SupplierFault),
        (error("Invalid_request"), RequestRefused),
        (error("Unauthorized"), ApplicationRefused),
        ({"status": 429, "message": "m", "error": THROTTLED}, SupplierLimited),
        ({"valid": False, "quota_reached": True, "quota_reset_at": "2030-01-17T23:59:59.999999"}, SupplierLimited),
    ],
)
def test_an_error_in_the_dress_of_a_success_is_still_that_error(body: Any, kind: type[WorkerError]) -> None:
    with pytest.raises(kind):
        classify(reply(200, body), NOW)


@pytest.mark.parametrize(
    "body, headers, wait_s",
    [
        (THROTTLED, {}, 2400),
        ({"status": 429, "message": "m", "error": THROTTLED}, {}, 2400),
        ({"fault": {"code": 900804, "description": "access API after 2030-Jan-17 04:20:30+0000 UTC"}}, {}, 30),
        ({**THROTTLED, "nextAccessTime": "2030-Jan-17 06:00:00+0100 UTC"}, {}, 2400),
        ({"nextAccessTime": "2030-Jan-17 04:00:00+0000 UTC"}, {}, 60),
        ({"nextAccessTime": "2031-Jan-17 04:00:00+0000 UTC"}, {}, 86400),
        ({"nextAccessTime": "2030-Fév-17 04:00:00+0000 UTC"}, {}, 60),
        ({"nextAccessTime": "2030-Feb-31 04:00:00+0000 UTC"}, {}, 60),
        (error("429") | {"error_description": "Quota Q3 reached Call threshold allowed on 0:-30:-40"}, {}, 1),
        (error("429") | {"error_description": "Quota Q4 reached Call threshold allowed on 0:-30:-40"}, {}, 2400),
        (THROTTLED, {"Date": "Thu, 17 Jan 2030 04:30:00 GMT"}, 1800),  # Our clock is slow.
        (THROTTLED, {"Date": "Thu, 17 Jan 2030 04:10:00 GMT"}, 3000),
        (THROTTLED, {"Date": "Tue, 24 Nov 2026 04:10:00 GMT"}, 2400),  # Our clock is a simulated one.
        (THROTTLED, {"Date": "yesterday"}, 2400),
        (b"<html>slow down</html>", {}, 60),
        (b"<html>quota: access after 2030-Jan-17 05:00:00+0000 UTC</html>", {}, 2400),
        (b"", {"retry_after": "7"}, 7),
        (b"", {"Retry_After": "0"}, 1),
        (b"", {"Retry_After": "999999999"}, 86400),
        (b"", {"Retry_After": "Thu, 17 Jan 2030 04:25:00 GMT"}, 300),
        (b"", {"Retry_After": "Thu, 17 Jan 2030 04:15:00 GMT"}, 60),
        (b"", {"Retry_After": "soon"}, 60),
        ({"code": "SLA", "message": "SLA dépassé"}, {}, 60),
    ],
)
def test_a_429_in_any_body_says_how_long_to_wait(body: Any, headers: dict[str, str], wait_s: float) -> None:
    with pytest.raises(RateLimited) as caught:
        classify(reply(429, body, **headers), NOW)
    assert caught.value.retry_after_s == wait_s


def test_in_the_first_generation_an_empty_403_is_the_token_and_a_full_one_the_consent() -> None:
    challenge = 'Bearer error="invalid_token"'
    assert token_refused(reply(403), "user")
    assert token_refused(reply(403, b"Authentication Failed", WWW_Authenticate=challenge), "user")
    assert not token_refused(reply(403, error("ADAM-DC-0008")), "user")
    assert not token_refused(reply(403), "application")
    assert not token_refused(reply(403, {"code": "900908", "message": "m"}), "application")
    assert token_refused(reply(401, {"fault": {"code": 900901, "message": "Invalid Credentials"}}), "application")
    assert token_refused(reply(401), "application")
    assert token_refused(reply(200, error("Unauthorized")), "application")


@pytest.mark.parametrize("leak", ["98765432109876", "c29tZS10b2tlbi13aXRoLTEyMw", "x" * 60, "a\nb", "DUPONT, Jean", ""])
def test_a_code_that_does_not_look_like_one_is_not_shown(leak: str) -> None:
    assert reply(400, error(leak)).code == ""
    with pytest.raises(RequestRefused) as caught:
        classify(reply(400, error(leak)), NOW)
    assert not leak or leak.lower() not in str(caught.value).lower()


def test_a_body_nested_without_end_is_no_answer() -> None:
    with pytest.raises(SupplierUnavailable):
        classify(reply(200, b"[" * 200_000), NOW)
