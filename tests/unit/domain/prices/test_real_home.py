"""A real home on Tempo, of which registers by period, daily values, curve and colours are all recorded."""

from __future__ import annotations

import gzip
import io
from datetime import date

import pytest

from tests.support.recordings import RECORDINGS, needs_recordings
from worker.domain.consistency import find_differences
from worker.domain.documents import Entry, entry_of
from worker.domain.files import read_file
from worker.domain.prices import Option
from worker.domain.prices.choices import RegulatedChoice, TariffChoices, terms_by_day
from worker.domain.prices.cost import price_energies, rows_by_day, total_cost
from worker.domain.prices.energy import energies_by_day
from worker.domain.prices.regulated import read_tariff
from worker.domain.prices.tempo import read_colours
from worker.domain.series import Period, Series
from worker.domain.windows import DateWindow

pytestmark = [needs_recordings, pytest.mark.rest]
DAYS = DateWindow(date(2024, 1, 10), date(2024, 7, 25))  # Over a clock change and a price change.
FILES = ("Enedis_Conso_Heure_20221024-20240725_99000000000011", "Enedis_Conso_Jour_20240109-20240725_99000000000011")


@pytest.fixture(scope="module")
def home() -> dict[Series, list[Entry]]:
    series = {}
    for name in FILES:
        content = gzip.decompress((RECORDINGS / "exports" / f"{name}.csv.gz").read_bytes())
        for one in read_file(f"{name}.csv", io.BytesIO(content)):
            series[one.series] = [entry_of(reading, one.series.inputs) for reading in one.readings]
    return series


def test_registers_and_curve_tell_the_same_by_period_to_the_watt_hour_and_cost_the_same(
    home: dict[Series, list[Entry]],
) -> None:
    colours = read_colours((RECORDINGS / "prices/tempo_days.csv").read_text("utf-8-sig"))
    text = (RECORDINGS / "prices/Option_Tempo.csv").read_text("utf-8-sig")
    tariffs = {Option.TEMPO: read_tariff(text, Option.TEMPO, date(2025, 9, 1))}
    choices = TariffChoices().put("electricity", RegulatedChoice(DAYS.start, Option.TEMPO, 6))
    terms = terms_by_day(DAYS, [choices], tariffs)
    registers, steps = home[Series.REGISTERS], home[Series.LOAD_CURVE]
    by_registers = energies_by_day(terms, [], registers, lambda _: [], {})
    by_curve = energies_by_day(terms, [], [], lambda _: steps, colours)
    assert len(by_registers) == len(by_curve) == DAYS.days
    for day, energies in by_registers.items():
        assert {name: energy for name, energy in energies.by_period.items() if energy} == by_curve[day].by_period
        assert not energies.estimated and not by_curve[day].estimated
    daily = {date.fromisoformat(entry.key): entry.amount for entry in home[Series.DAILY]}
    assert {day: sum(one.by_period.values()) for day, one in by_registers.items()} == daily
    assert list(find_differences(terms, registers, steps, colours)) == []

    costs = [price_energies(energies, lambda day: terms[day].price) for energies in (by_registers, by_curve)]
    assert total_cost(DAYS, costs[0]).total == total_cost(DAYS, costs[1]).total
    rows = [[row | {"source": None} for row in rows_by_day(DAYS, Period.MONTH, one)] for one in costs]
    assert rows[0] == rows[1]
    assert [row["total_eur"] for row in rows[0]] == ["177.84", "122.26", "139.58", "89.97", "70.20", "74.33", "58.04"]
