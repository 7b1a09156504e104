"""Limits, publication times and the order of refusals."""

from __future__ import annotations

import pytest

from tests.support.enedis_caller import HOME, PATHS, SimulatorCaller, error_of, points

NO_DATA = (404, "no_data_found")


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"start": "2024-11-01", "end": "2024-11-02"}, "usage_point_id parameter is required"),
        (
            {"usage_point_id": "123", "start": "2024-11-01", "end": "2024-11-02"},
            "usage_point_id parameter must be 14 digits long",
        ),
        ({"usage_point_id": HOME, "end": "2024-11-02"}, "Start date parameter is required"),
        (
            {"usage_point_id": HOME, "start": "1/11/2024", "end": "2024-11-02"},
            "Start date parameter must be in the format YYYY-MM-DD",
        ),
        ({"usage_point_id": HOME, "start": "2024-11-01"}, "End date parameter is required"),
        (
            {"usage_point_id": HOME, "start": "2024-11-01", "end": "2024-11-06"},
            "The end date parameter must be earlier than the current date",
        ),
        (
            {"usage_point_id": HOME, "start": "2024-11-02", "end": "2024-11-02"},
            "Start date should be before end date.",
        ),
    ],
)
def test_a_malformed_question_is_told_why(supplier: SimulatorCaller, parameters: dict[str, str], text: str) -> None:
    answer = supplier.get(PATHS["v5", "daily"], parameters, supplier.bearer("v5"))
    assert answer.status_code == 400
    assert answer.json() == {"error": "Invalid_request", "error_description": text}


def test_today_as_the_end_gives_yesterday_from_eight_on(supplier: SimulatorCaller) -> None:
    supplier.admin("clock", {"now": "2024-11-05T07:59"})
    assert error_of(supplier.request_measures("2024-11-04", "2024-11-05")) == NO_DATA
    supplier.admin("clock", {"advance_s": 120})
    assert [day for day, _ in points(supplier.request_measures("2024-11-04", "2024-11-05"))] == ["2024-11-04"]
    assert len(points(supplier.request_measures("2024-11-04", "2024-11-05", "curve"))) == 48


def test_a_late_meter_comes_out_days_later(supplier: SimulatorCaller) -> None:
    supplier.switch(delay_days=2)
    published = [day for day, _ in points(supplier.request_measures("2024-11-01", "2024-11-05"))]
    assert published == ["2024-11-01", "2024-11-02"]
    assert set(supplier.truth("2024-11-01", "2024-11-05")["daily"]) == {"2024-11-01", "2024-11-02"}


def test_seven_days_of_curve_are_the_most(supplier: SimulatorCaller) -> None:
    assert supplier.request_measures("2024-10-28", "2024-11-04", "curve").status_code == 200
    assert error_of(supplier.request_measures("2024-10-28", "2024-11-05", "curve")) == (400, "ADAM-ERR0126")


def test_history_ends_after_so_many_months_and_fifteen_days(supplier: SimulatorCaller) -> None:
    assert len(points(supplier.request_measures("2021-10-21", "2024-11-05"))) == 1111
    assert error_of(supplier.request_measures("2021-10-20", "2024-11-05")) == (400, "ADAM-ERR0125")
    assert supplier.request_measures("2022-10-21", "2022-10-28", "curve").status_code == 200
    assert error_of(supplier.request_measures("2022-10-20", "2022-10-27", "curve")) == (400, "ADAM-ERR0125")


@pytest.mark.parametrize("generation", ["v4", "v5", "2026"])
def test_nothing_is_told_from_before_the_contract(supplier: SimulatorCaller, generation: str) -> None:
    supplier.switch(activated_on="2024-10-10")
    assert error_of(supplier.request_measures("2024-10-09", "2024-10-12", generation=generation)) == (
        400,
        "ADAM-ERR0123",
    )
    assert len(points(supplier.request_measures("2024-10-10", "2024-10-12", generation=generation))) == 2


def test_consent_is_asked_before_length_and_history(supplier: SimulatorCaller) -> None:
    supplier.switch(consent_revoked=True)
    assert error_of(supplier.request_measures("2010-01-01", "2024-11-05", "curve")) == (403, "ADAM-DC-0008")
    assert error_of(supplier.request_measures("2010-01-01", "2024-11-06", "curve")) == (400, "Invalid_request")


def test_the_token_is_asked_before_anything(supplier: SimulatorCaller) -> None:
    refused = supplier.request_measures("1", "2", usage_point="3", generation="v4", token="no-token")
    assert (refused.status_code, refused.content) == (403, b"")
    assert "invalid_token" in refused.headers["www-authenticate"]
    for generation in ("v5", "2026"):
        refused = supplier.request_measures("1", "2", usage_point="3", generation=generation, token="no-token")
        assert (refused.status_code, refused.json()["fault"]["code"]) == (401, 900901)


def test_a_users_token_opens_its_own_meter_alone(supplier: SimulatorCaller) -> None:
    token = supplier.bearer("v4")
    assert supplier.request_measures(generation="v4", token=token).status_code == 200
    other = supplier.request_measures(generation="v4", token=token, usage_point="11111111111111")
    assert error_of(other) == (403, "ADAM-DC-0008")
    assert "error_uri" in other.json()


def test_the_two_kinds_of_token_do_not_open_each_others_doors(supplier: SimulatorCaller) -> None:
    assert supplier.request_measures(generation="v4", token=supplier.bearer("v5")).status_code == 403
    assert supplier.request_measures(generation="v5", token=supplier.bearer("v4")).status_code == 401


def test_a_curve_that_is_not_collected_leaves_the_daily_values(supplier: SimulatorCaller) -> None:
    supplier.switch(curve_enabled=False)
    assert error_of(supplier.request_measures(series="curve")) == NO_DATA
    assert supplier.request_measures().status_code == 200
    assert supplier.truth("2024-11-01", "2024-11-02")["load_curve"] == []


def test_the_newest_words_some_refusals_of_its_own(supplier: SimulatorCaller) -> None:
    assert error_of(supplier.request_measures("2024-11-02", "2024-11-01", generation="2026")) == (400, "ADAM-ERR0002")
    supplier.switch(holes=["2024-11-01"])
    assert error_of(supplier.request_measures(generation="2026")) == (404, "404")
    older = supplier.request_measures(generation="v4").json()
    assert older["error_description"] == "no measure found for this usage point"
