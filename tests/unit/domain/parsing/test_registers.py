"""Registers at each midnight: by period, with the total; one calendar holds where several are told."""

from __future__ import annotations

import copy
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import USAGE_POINT, calendar_2026, registers_2026
from tests.support.strategies import many
from worker.domain.parsing.electricity import parse_registers
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import Series
from worker.errors import MalformedAnswer


def days_of(parsed: ParsedAnswer) -> dict[str, tuple[int, Any]]:
    return {str(reading.start.date()): (reading.amount // 1000, reading.details) for reading in parsed.readings}


TWO = {"HC": {"2024-07-01": 100, "2024-07-02": 150}, "HP": {"2024-07-01": "200", "2024-07-02": "260"}}


@pytest.mark.parametrize("total", [None, {"2024-07-01": 300, "2024-07-02": "410"}])
def test_a_midnight_has_its_registers_and_their_total(total: Any) -> None:
    parsed = parse_registers(registers_2026(calendar_2026("FC000040", TWO), total=total))
    assert days_of(parsed) == {
        "2024-07-01": (300, {"calendar": "FC000040", "registers": {"HC": 100, "HP": 200}}),
        "2024-07-02": (410, {"calendar": "FC000040", "registers": {"HC": 150, "HP": 260}}),
    }
    assert (parsed.dropped, parsed.differing, parsed.left_out) == (0, 0, 0)


def test_the_direction_is_that_of_the_series() -> None:
    produced = registers_2026(
        calendar_2026("FC000010", {"BASE": {"2024-07-01": 5}}), series=Series.PRODUCTION_REGISTERS
    )
    assert days_of(parse_registers(produced, Series.PRODUCTION_REGISTERS))["2024-07-01"][0] == 5
    assert days_of(parse_registers(produced))["2024-07-01"] == (7, None)


def test_the_supplier_s_calendar_holds_before_the_distributor_s_however_they_are_ordered() -> None:
    distributor = calendar_2026("DI000003", {"HCB": {"2024-07-01": 120}, "HPB": {"2024-07-01": 180}})
    supplier = calendar_2026("FC000040", TWO)
    for calendars in ((distributor, supplier), (supplier, distributor)):
        readings = days_of(parse_registers(registers_2026(*calendars)))
        assert readings["2024-07-01"] == (300, {"calendar": "FC000040", "registers": {"HC": 100, "HP": 200}})
    alone = {"2024-07-01": (300, {"calendar": "DI000003", "registers": {"HCB": 120, "HPB": 180}})}
    assert days_of(parse_registers(registers_2026(distributor))) == alone


def test_where_the_calendar_changes_the_one_that_goes_on_holds() -> None:
    before = calendar_2026("FC000040", {"HC": {"2024-07-01": 1, "2024-07-02": 1}})
    after = calendar_2026("FC000010", {"BASE": {"2024-07-02": 1, "2024-07-03": 2}})
    readings = days_of(parse_registers(registers_2026(before, after)))
    assert [details["calendar"] for _, details in readings.values()] == ["FC000040", "FC000010", "FC000010"]


def test_without_a_total_a_midnight_that_lacks_a_register_is_left_out() -> None:
    lacking = {"HC": {"2024-07-01": 100, "2024-07-02": 150}, "HP": {"2024-07-01": 200, "2024-07-02": None}}
    parsed = parse_registers(registers_2026(calendar_2026("FC000040", lacking)))
    assert list(days_of(parsed)) == ["2024-07-01"] and parsed.dropped == 2
    told = days_of(parse_registers(registers_2026(calendar_2026("FC000040", lacking), total={"2024-07-02": 410})))
    assert told["2024-07-02"] == (410, {"calendar": "FC000040", "registers": {"HC": 150}})
    # The distributor's is whole, so it holds.
    distributor = calendar_2026("DI000001", {"BASE": {"2024-07-02": 410}})
    whole = days_of(parse_registers(registers_2026(calendar_2026("FC000040", lacking), distributor)))
    assert whole["2024-07-02"] == (410, {"calendar": "DI000001", "registers": {"BASE": 410}})


@pytest.mark.parametrize(
    "label", ["2024-07-01 14:32:10", "2024-07-01T12:00:00+02:00", None, "x", "2024-02-30 00:00:00"]
)
def test_a_value_at_no_midnight_is_left_out(label: Any) -> None:
    body = registers_2026(total={"2024-07-02": 410})
    body["contexte"][0]["grandeur"][1]["cadranTotalisateur"]["valeur"].append({"d": label, "v": 1})
    parsed = parse_registers(body)
    assert (list(days_of(parsed)), parsed.dropped) == (["2024-07-02"], 1)


def test_a_midnight_that_comes_again_counts_once() -> None:
    body = registers_2026(total={"2024-07-01": 400})
    body["contexte"] *= 2
    assert (parse_registers(body).differing, len(parse_registers(body).readings)) == (0, 1)
    changed = copy.deepcopy(body)
    changed["contexte"].append(registers_2026(total={"2024-07-01": 410})["contexte"][0])
    assert (parse_registers(changed).differing, days_of(parse_registers(changed))["2024-07-01"][0]) == (1, 410)


@pytest.mark.parametrize("body", [None, [], {}, {"meter_reading": {"interval_reading": []}}, {"contexte": "x"}])
def test_what_is_no_answer_of_registers_is_refused(body: Any) -> None:
    with pytest.raises(MalformedAnswer):
        parse_registers(body)


def test_another_unit_is_refused() -> None:
    with pytest.raises(MalformedAnswer, match="unit"):
        parse_registers(registers_2026(total={"2024-07-01": 1}, unite="kWh"))


@pytest.mark.parametrize(
    "body", [{"idPrm": USAGE_POINT, "grandeur": [], "contexte": []}, {"idPrm": USAGE_POINT}, registers_2026(total={})]
)
def test_an_empty_answer_has_no_reading(body: Any) -> None:
    assert not parse_registers(body).readings


@many
@given(
    st.lists(st.lists(st.integers(0, 20_000), min_size=4, max_size=4), min_size=1, max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_differences_of_midnights_are_the_days_by_period_and_in_sum(days: Any, with_total: bool, as_text: bool) -> None:
    """For any home, in every form: the registers' differences are the days, and their sum is the total's."""
    first, names = date(2024, 3, 20), ("HCB", "HCH", "HPB", "HPH")
    sums = [[0] * 4]
    for day in days:
        sums.append([before + energy for before, energy in zip(sums[-1], day, strict=True)])
    labels = [str(first + timedelta(days=number)) for number in range(len(sums))]
    registers = {
        name: {label: str(row[place]) if as_text else row[place] for label, row in zip(labels, sums, strict=True)}
        for place, name in enumerate(names)
    }
    total = {label: sum(row) for label, row in zip(labels, sums, strict=True)} if with_total else None
    readings = parse_registers(registers_2026(calendar_2026("FC000040", registers), total=total)).readings
    assert [str(reading.start.date()) for reading in readings] == labels
    for number, day in enumerate(days):
        before, after = readings[number], readings[number + 1]
        assert (after.amount - before.amount) // 1000 == sum(day)
        assert before.details and after.details
        differences = [after.details["registers"][name] - before.details["registers"][name] for name in names]
        assert differences == list(day)
