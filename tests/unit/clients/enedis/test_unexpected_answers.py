"""Undocumented refusals are reported, and raise the same error as without the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import json_values, many
from tests.support.supplier_server import NOW, USAGE_POINT, ClientHarness
from tests.unit.clients.enedis.test_errors import ERRORS, THROTTLED, VERDICTS, reply
from worker.clients.enedis.client import EnedisClient, classify, unexpected_refusal
from worker.domain.answers import Deviation, DeviationKind
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import RequestRefused, WorkerError

NEW_CODES = {"SOMETHING-NEW", "something_new"}


@pytest.mark.parametrize("status, code", [(row[0], row[1]) for row in (*VERDICTS, *ERRORS)])
def test_a_documented_code_is_no_surprise_and_any_other_is(status: int, code: str) -> None:
    deviation = unexpected_refusal(reply(status, {"error": code, "error_description": "x"}))
    assert (deviation is not None) == (code in NEW_CODES)


@pytest.mark.parametrize(
    "status, body",
    [
        (429, THROTTLED),
        (429, {"error": "429", "error_description": "Quota Q4 reached"}),
        (401, {"fault": {"code": 900901, "message": "Invalid Credentials"}}),
        (401, {"status": 401, "message": "Votre token est invalide"}),
        (500, {"status": 500, "message": "Erreur inconnue"}),
        (502, {"status": 502, "error_code": 502, "error_name": "origin_bad_gateway"}),
        (403, b""),
        (403, b"<html>firewall</html>"),
        (200, {"meter_reading": {"interval_reading": []}}),
        (200, {"valid": False, "quota_reached": True}),
        (200, {}),  # AnswerWatch checks what is taken for an answer.
        (200, [1]),
    ],
)
def test_what_is_known_or_looked_at_elsewhere_is_not_reported(status: int, body: Any) -> None:
    assert unexpected_refusal(reply(status, body)) is None


@pytest.mark.parametrize(
    "status, body, expected",
    [
        (400, {"error": "ADAM-ERR0999", "error_description": "x"}, (DeviationKind.CODE, "refusal 400", "adam-err0999")),
        (200, {"error": "ADAM-ERR0999", "error_description": "x"}, (DeviationKind.CODE, "refusal 200", "adam-err0999")),
        (500, {"error": "ADAM-DC-0501"}, (DeviationKind.CODE, "refusal 500", "adam-dc-0501")),
        (403, {"code": "SGT4X1", "message": "Refus"}, (DeviationKind.SHAPE, "refusal 403", "code,message")),
        (404, {"detail": "no"}, (DeviationKind.SHAPE, "refusal 404", "detail")),
        (400, {"error": USAGE_POINT}, (DeviationKind.SHAPE, "refusal 400", "error")),
    ],
)
def test_an_unknown_refusal_is_reported_with_its_code_or_its_shape(status: int, body: Any, expected: Any) -> None:
    deviation = unexpected_refusal(reply(status, body))
    assert deviation is not None
    assert (deviation.kind, deviation.place, deviation.detail) == expected
    assert USAGE_POINT not in repr(deviation)


@many
@given(st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503]), json_values)
def test_any_body_is_looked_at_and_a_refusal_that_is_our_bug_is_always_reported(status: int, body: Any) -> None:
    answer = reply(status, body)
    deviation = unexpected_refusal(answer)
    try:
        classify(answer, NOW)
    except RequestRefused:
        known = isinstance(body, dict) and answer.json.get("error") in ("invalid_request",)
        assert deviation is not None or known or not isinstance(answer.json, dict)
    except WorkerError:
        pass


def test_the_client_reports_and_raises_as_before(build: Callable[[str], ClientHarness]) -> None:
    harness, reported = build("enedis-2026"), list[Deviation]()
    client = EnedisClient(harness.endpoints, harness.session, lambda: NOW, reported.append)
    harness.answer_measures(400, {"error": "ADAM-ERR0999", "error_description": "x"})
    with pytest.raises(RequestRefused, match="adam-err0999"):
        client.ask(Series.DAILY, USAGE_POINT, DateWindow(date(2024, 7, 1), date(2024, 7, 2)))
    assert [(deviation.kind, deviation.detail) for deviation in reported] == [(DeviationKind.CODE, "adam-err0999")]
    with pytest.raises(RequestRefused):
        harness.client.ask(Series.DAILY, USAGE_POINT, DateWindow(date(2024, 7, 1), date(2024, 7, 2)))
