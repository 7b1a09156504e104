"""Gas days and billed periods: every trap of GRDF's answers."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gas_answers import absent, day, done, period, refusal
from tests.support.strategies import json_values, many
from worker.domain.parsing import parse
from worker.domain.parsing.gas import parse_gas_days, parse_gas_periods
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import daily_of, intervals_of
from worker.domain.windows import DateWindow, IntervalReading, day_length, local_midnight
from worker.errors import MalformedAnswer

DAILY, PUBLISHED = daily_of(supplier="grdf"), intervals_of("grdf")
WINDOW = DateWindow(date(2024, 1, 1), date(2025, 1, 1))


def days(*records: Any) -> ParsedAnswer:
    return parse({"records": list(records)}, DAILY, WINDOW)


def periods(*records: Any) -> ParsedAnswer:
    return parse({"records": list(records)}, PUBLISHED, WINDOW)


def kwh(parsed: ParsedAnswer) -> dict[str, float]:
    return {str(reading.start.date()): reading.amount / 10**6 for reading in parsed.readings}


def spans(parsed: ParsedAnswer) -> dict[str, tuple[str, float]]:
    return {
        str(reading.start.date()): ((reading.details or {})["ends_on"], reading.amount / 10**6)
        for reading in parsed.readings
    }


def counts(parsed: ParsedAnswer) -> tuple[int, int, int]:
    return parsed.dropped, parsed.differing, parsed.left_out


def test_a_day_has_its_energy_as_sent_and_all_that_is_told_beside_it() -> None:
    parsed = days(day("2024-01-15", 33, volume_brut=3, index=(1204, 1207)))
    details = {
        "volume": 3,
        "coefficient": 11.16,
        "index_start": 1204,
        "index_end": 1207,
        "quality": "measured",
        "status": "provisional",
    }
    start = local_midnight(date(2024, 1, 15))
    assert parsed.readings == [IntervalReading(start, timedelta(hours=24), 33_000_000, details)]
    assert counts(parsed) == (0, 0, 0)


@pytest.mark.parametrize(
    "first, hours", [("2024-03-30", 24), ("2024-03-31", 23), ("2024-10-27", 25), ("2024-10-26", 24)]
)
def test_a_gas_day_has_the_key_and_length_of_the_civil_day_on_which_it_begins(first: str, hours: int) -> None:
    for record in (day(first, 8), day(first, 8, journee_gaziere=None)):
        (reading,) = days(record).readings
        assert (reading.start.date().isoformat(), reading.length) == (first, timedelta(hours=hours))


@pytest.mark.parametrize(
    "began", ["2024-07-15T04:00:00Z", "2024-07-15T06:00:00+02:00", "2024-07-15T06:00:00", "2024-07-15"]
)
def test_a_day_without_its_name_is_that_of_its_first_local_instant(began: str) -> None:
    record = day("2024-07-15", 8, journee_gaziere=None, date_debut_consommation=began)
    assert kwh(days(record)) == {"2024-07-15": 8}
    assert kwh(days(day("2024-07-15", 8, journee_gaziere="soon"))) == {"2024-07-15": 8}


@pytest.mark.parametrize(
    "sent, millionths",
    [
        (0, 0),
        ("0", 0),
        ("540", 540_000_000),
        (" 540.0 ", 540_000_000),
        (3.16, 3_160_000),
        (0.1234565, 123_457),
        (0.1234564, 123_456),
        ("8.0000005", 8_000_001),
        (1e2, 100_000_000),
        ("1.5E1", 15_000_000),
        (3.5999999999999996, 3_600_000),
    ],
)
def test_a_number_is_read_exactly_whatever_its_form(sent: Any, millionths: int) -> None:
    (reading,) = days(day("2024-01-15", sent)).readings
    assert reading.amount == millionths


def test_details_keep_more_places_than_energy_has() -> None:
    told = {"volume_brut": "9.23456789012", "coefficient": 11.42781999}
    (reading,) = days(day("2024-01-15", 33, index=(1204.5, "1207"), **told)).readings
    assert reading.details is not None
    assert Decimal(repr(reading.details["volume"])) == Decimal("9.23456789012")
    assert (reading.details["coefficient"], reading.details["index_start"]) == (11.42781999, 1204.5)
    assert reading.details["index_end"] == 1207


def test_absence_is_a_gap_and_zero_is_a_reading() -> None:
    parsed = days(absent("2024-01-14"), day("2024-01-15", 0), day("2024-01-16", None), day("2024-01-17", ""))
    assert kwh(parsed) == {"2024-01-15": 0}
    assert counts(parsed) == (0, 0, 0)
    told_as_absent = day("2024-01-15", 5, type_qualif_conso="ABSENCE DE DONNEES")
    assert days(told_as_absent).readings == []


@pytest.mark.parametrize("energy", ["x", -1, "-0.5", True, [3], {"kwh": 3}, "1e99", 10**12, "null"])
def test_an_energy_that_is_no_number_is_dropped(energy: Any) -> None:
    assert counts(days(day("2024-01-15", energy), day("2024-01-16", 1))) == (1, 0, 0)


def test_of_a_start_that_comes_twice_the_reading_holds_then_the_later_end_then_the_last() -> None:
    assert kwh(days(absent("2024-01-15"), day("2024-01-15", 7))) == {"2024-01-15": 7}
    assert kwh(days(day("2024-01-15", 7), absent("2024-01-15"))) == {"2024-01-15": 7}
    longer = day("2024-01-15", 20, date_fin_consommation="2024-01-17T06:00:00+01:00")
    for answer in ((longer, day("2024-01-15", 7)), (day("2024-01-15", 7), longer)):
        parsed = days(*answer)
        assert (kwh(parsed), counts(parsed)) == ({"2024-01-15": 20}, (0, 0, 1))
        assert parsed.readings[0].length == day_length(date(2024, 1, 15))
    parsed = days(day("2024-01-15", 7), day("2024-01-15", 8))
    assert (kwh(parsed), counts(parsed)) == ({"2024-01-15": 8}, (0, 1, 0))
    doubled = days(*[day("2024-01-15", 7), day("2024-01-16", 8)] * 2)
    assert (kwh(doubled), counts(doubled)) == ({"2024-01-15": 7, "2024-01-16": 8}, (0, 0, 0))


def test_no_energy_is_counted_twice_where_a_reading_spans_days_that_have_their_own() -> None:
    longer = day("2024-01-15", 20, date_fin_consommation="2024-01-18T06:00:00+01:00")
    parsed = days(longer, day("2024-01-17", 7))
    assert (kwh(parsed), counts(parsed)) == ({"2024-01-17": 7}, (0, 0, 1))
    assert kwh(days(longer, absent("2024-01-16"))) == {"2024-01-15": 20}


@pytest.mark.parametrize(
    "changed",
    [
        {"type_conso": "Informative horaire"},
        {"type_conso": "Publiée"},
        {"sens_flux_gaz": "Production"},
        {"journee_gaziere": None, "date_debut_consommation": None},
        {"journee_gaziere": None, "date_debut_consommation": "yesterday"},
        {"date_fin_consommation": "2034-01-16T06:00:00+01:00"},
    ],
)
def test_what_is_no_day_of_a_consumption_is_dropped(changed: dict[str, Any]) -> None:
    parsed = days(day("2024-01-15", 7, **changed), day("2024-01-16", 8))
    assert (kwh(parsed), counts(parsed)) == ({"2024-01-16": 8}, (1, 0, 0))


@pytest.mark.parametrize("kind", ["Informative Journalier", "Informative journalier", "INFORMATIVE JOURNALIER", None])
def test_the_kind_of_a_day_comes_in_any_case(kind: Any) -> None:
    assert kwh(days(day("2024-01-15", 7, type_conso=kind))) == {"2024-01-15": 7}


@pytest.mark.parametrize(
    "record",
    [
        {"journeeGaziere": "2024-01-15", "energieConsomme": 7},
        {"consommation": {"journeeGaziere": "2024-01-15", "energieConsomme": 7}},
        {"pce": {"id_pce": "x"}, "consommation": None, "statut_restitution": {}},
        {"consommation": "2024"},
        None,
        "text",
        7,
        [],
    ],
)
def test_records_of_another_form_are_dropped(record: Any) -> None:
    parsed = days(record, day("2024-01-16", 8))
    assert (kwh(parsed), counts(parsed)) == ({"2024-01-16": 8}, (1, 0, 0))


def test_what_the_supplier_says_of_its_answer_is_no_record() -> None:
    assert counts(days(refusal("1000008"), day("2024-01-16", 8))) == (0, 0, 0)
    assert counts(days(done())) == (1, 0, 0)  # The client has left these out already.


def test_a_name_with_a_colon_at_its_end_is_read() -> None:
    record = day("2024-01-15", 7)
    consumption = record.pop("consommation")
    consumption["energie :"] = consumption.pop("energie")
    assert kwh(days({**record, "consommation:": consumption})) == {"2024-01-15": 7}


@pytest.mark.parametrize(
    "told, stored",
    [("Mesuré", "measured"), ("ESTIMÉ", "estimated"), ("corrige", "corrected"), ("Deviné", "deviné"), (None, None)],
)
def test_words_are_translated_and_unknown_ones_kept(told: Any, stored: Any) -> None:
    (reading,) = days(day("2024-01-15", 7, type_qualif_conso=told)).readings
    assert (reading.details or {}).get("quality") == stored


@pytest.mark.parametrize(
    "told, stored", [("Provisoire", "provisional"), ("Définitive", "final"), ("definitif", "final"), ("?", "?")]
)
def test_provisional_and_final(told: str, stored: str) -> None:
    (reading,) = days(day("2024-01-15", 7, statut_conso=told)).readings
    assert (reading.details or {})["status"] == stored


def test_a_meter_with_a_converter_has_its_converted_volume_and_indexes() -> None:
    record = day("2024-01-15", 7, volume_converti=12.5)
    record["releve_debut"]["index_converti_debut"]["valeur_index"] = 100
    record["releve_fin"]["index_converti_fin"]["valeur_index"] = 112.5
    (reading,) = days(record).readings
    details = reading.details or {}
    assert (details["volume"], details["index_start"], details["index_end"]) == (12.5, 100, 112.5)
    record["releve_fin"]["index_brut_fin"]["valeur_index"] = 9
    (reading,) = days(record).readings
    assert "index_start" not in (reading.details or {})  # The two kinds are never mixed.


# -- Billed periods


def test_a_period_is_known_by_its_first_day_and_the_day_on_which_it_ends() -> None:
    parsed = periods(period("2024-01-03", "2024-02-01", 2032, volume_brut=180, index=(771, 951)))
    details = {
        "ends_on": "2024-02-01",
        "volume": 180,
        "coefficient": 11.16,
        "index_start": 771,
        "index_end": 951,
        "quality": "measured",
        "status": "final",
    }
    start = local_midnight(date(2024, 1, 3))
    assert parsed.readings == [IntervalReading(start, timedelta(days=29), 2_032_000_000, details)]


def test_a_period_over_a_clock_change_has_its_true_length() -> None:
    (spring,) = periods(period("2024-03-03", "2024-04-01", 1)).readings
    (autumn,) = periods(period("2024-10-03", "2024-11-01", 1)).readings
    assert (spring.length, autumn.length) == (timedelta(days=29, hours=-1), timedelta(days=29, hours=1))


def test_a_month_cut_at_the_reading_day_is_two_periods() -> None:
    parsed = periods(period("2024-01-01", "2024-01-03", 235), period("2024-01-03", "2024-02-01", 3541))
    assert spans(parsed) == {"2024-01-01": ("2024-01-03", 235), "2024-01-03": ("2024-02-01", 3541)}


def test_of_periods_that_overlap_the_one_that_ends_later_holds_then_the_last() -> None:
    parsed = periods(period("2024-01-01", "2024-02-01", 10), period("2024-01-15", "2024-02-15", 20))
    assert (spans(parsed), counts(parsed)) == ({"2024-01-15": ("2024-02-15", 20)}, (0, 0, 1))
    parsed = periods(period("2024-01-15", "2024-02-15", 20), period("2024-01-01", "2024-02-15", 10))
    assert (spans(parsed), counts(parsed)) == ({"2024-01-01": ("2024-02-15", 10)}, (0, 0, 1))
    parsed = periods(period("2024-01-01", "2024-02-01", 10), period("2024-01-01", "2024-02-01", 11))
    assert (spans(parsed), counts(parsed)) == ({"2024-01-01": ("2024-02-01", 11)}, (0, 1, 0))


@pytest.mark.parametrize(
    "changed",
    [
        {"date_fin_consommation": None},
        {"date_fin_consommation": "2024-01-03T06:00:00+01:00"},
        {"date_fin_consommation": "2034-01-03T06:00:00+01:00"},
        {"date_debut_consommation": None},
        {"type_conso": "Informative Journalier"},
        {"energie": "?"},
    ],
)
def test_what_is_no_period_is_dropped(changed: dict[str, Any]) -> None:
    record = period("2024-01-03", "2024-02-01", 5)
    record["consommation"].update(changed)
    assert counts(periods(record)) == (1, 0, 0)
    assert periods(period("2024-01-03", "2024-02-01", None)).dropped == 0


def test_a_period_that_reaches_into_the_window_belongs_to_it_and_a_day_does_not() -> None:
    window = DateWindow(date(2024, 1, 10), date(2024, 1, 20))
    parsed = periods(
        period("2023-10-10", "2024-01-10", 1),
        period("2024-01-10", "2024-04-09", 2),
        period("2024-04-09", "2024-04-10", 3),
    )
    assert spans(parsed.clip_to(window, reaching_in=True)) == {"2024-01-10": ("2024-04-09", 2)}
    reaching = periods(period("2023-10-10", "2024-01-11", 1)).clip_to(window, reaching_in=True)
    assert spans(reaching) == {"2023-10-10": ("2024-01-11", 1)}
    assert days(day("2024-01-09", 1)).clip_to(window).dropped == 1


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"records": None}, {"records": {}}, {"meter_reading": {}}])
@pytest.mark.parametrize("read", [parse_gas_days, parse_gas_periods])
def test_what_is_no_answer_of_gas_is_refused(payload: Any, read: Any) -> None:
    with pytest.raises(MalformedAnswer):
        read(payload)


@many
@given(st.lists(json_values | st.builds(lambda value: {"consommation": value}, json_values), max_size=6))
def test_any_records_are_read_or_dropped(records: list[Any]) -> None:
    for parsed in (days(*records), periods(*records)):
        starts = [reading.start.astimezone(UTC) for reading in parsed.readings]
        assert starts == sorted(set(starts))
        assert len(parsed.readings) + parsed.dropped <= len(records)
