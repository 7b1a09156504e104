"""The class of each recorded body that holds no measures; skipped if the recordings are absent."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.clients.enedis.errors import Reply, classify, token_refused
from worker.domain.measures.answers import AnswerKind
from worker.errors import (
    ConsentRevoked,
    HolderChanged,
    OperatorFault,
    RateLimited,
    RequestRefused,
    SupplierUnavailable,
    WorkerError,
)

FOLDER = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "responses"
NOW = datetime(2026, 7, 17, 4, 0, tzinfo=UTC)

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded answers are not here")

CASES: list[tuple[str, int, AnswerKind | type[WorkerError]]] = [
    ("consoapi_403_cloudflare_block.fragment.html", 403, SupplierUnavailable),
    ("consoapi_502_cloudflare.fragment.txt", 502, SupplierUnavailable),
    ("consoapi_v5_400_adam_dc_0007.json", 400, HolderChanged),
    ("consoapi_v5_400_adam_err0123.json", 400, AnswerKind.BEFORE_HISTORY),
    ("consoapi_v5_400_daily_consumption_2023-04-02_2023-04-01.json", 400, RequestRefused),
    ("consoapi_v5_401_invalid_token.json", 401, OperatorFault),
    ("consoapi_v5_403_adam_dc_0008.json", 403, ConsentRevoked),
    ("consoapi_v5_404_no_data_found.json", 404, AnswerKind.NO_DATA),
    ("consoapi_v5_429_900804_throttled.json", 429, RateLimited),
    ("consoapi_v5_500_technical_error.json", 500, SupplierUnavailable),
    ("consoapi_v5_500_unknown.json", 500, SupplierUnavailable),
    ("dc2026_400_adam_err0123_fr.json", 400, AnswerKind.BEFORE_HISTORY),
    ("dc2026_400_no_subscribed_service_fr.json", 400, RequestRefused),
    ("dc2026_403_900908_not_subscribed.json", 403, OperatorFault),
    ("enedisgateway_no_data_found.json", 200, AnswerKind.NO_DATA),
    ("enedisgateway_no_data_found.json", 404, AnswerKind.NO_DATA),
    ("enedisgateway_result_400_end_date.json", 400, RequestRefused),
    ("enedisgateway_result_400_end_date.json", 200, RequestRefused),
    ("med_quota_valid_access_2022.json", 200, RateLimited),
    ("med_v5_200_valid_access_quota_reached.json", 200, RateLimited),
]


@pytest.mark.parametrize("name, status, expected", CASES)
def test_each_recorded_refusal_has_its_class(name: str, status: int, expected: AnswerKind | type[WorkerError]) -> None:
    reply = Reply(status, {}, (FOLDER / name).read_bytes())
    if isinstance(expected, AnswerKind):
        assert classify(reply, NOW).kind is expected
        return
    with pytest.raises(expected) as caught:
        classify(reply, NOW)
    assert type(caught.value) is expected


def test_a_recorded_bad_token_is_renewed() -> None:
    assert token_refused(Reply(401, {}, (FOLDER / "consoapi_v5_401_invalid_token.json").read_bytes()), "application")


def test_the_recorded_throttling_waits_for_its_announced_time() -> None:
    with pytest.raises(RateLimited) as caught:
        classify(Reply(429, {}, (FOLDER / "consoapi_v5_429_900804_throttled.json").read_bytes()), NOW)
    assert caught.value.retry_after_s == 3600


def test_every_recorded_measure_is_data() -> None:
    bodies = sorted(FOLDER.glob("*_200_*.json")) + sorted(FOLDER.glob("dataconnect_v4_*.json"))
    measures = [body for body in bodies if "valid_access" not in body.name]
    verdicts = {body.name: classify(Reply(200, {}, body.read_bytes()), NOW).kind for body in measures}
    assert len(verdicts) > 10
    assert set(verdicts.values()) == {AnswerKind.DATA}


def test_no_recorded_refusal_is_left_out() -> None:
    refusals = {body.name for body in FOLDER.iterdir() if "_200_" not in body.name and "_v4_" not in body.name}
    assert refusals - {"INDEX.csv"} <= {name for name, _, _ in CASES}
