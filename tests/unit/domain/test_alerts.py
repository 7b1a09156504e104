"""Which limits a day exceeds, and of which days of a window a household is told."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, cast

import pytest

from tests.support.factories import window_job
from worker.domain.alerts import AlertLimits, Limit, days_to_tell, find_exceeded
from worker.domain.documents import Entry
from worker.domain.messages import AGAIN, BACKFILL, CATCH_UP, LOOK_BACK, NIGHTLY, REPAIR, Writes
from worker.domain.prices.cost import EURO
from worker.domain.prices.energy import EnergySource, PeriodEnergies
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow

TODAY = date(2024, 7, 25)
YESTERDAY = TODAY - ONE_DAY
LIMITS = AlertLimits(energy=Decimal("12.5"), cost=Decimal("2.50"), power_since=TODAY - 9 * ONE_DAY)
KVA = 1_000_000


def energy_of(mwh: int) -> PeriodEnergies:
    return PeriodEnergies({"base": mwh}, EnergySource.DAILY)


def cost_of(cents: str, known: int = 1) -> PeriodEnergies:
    return PeriodEnergies({"base": 1}, EnergySource.CURVE, known, parts={"base": int(Decimal(cents) * EURO) // 100})


@pytest.mark.parametrize(
    ("amounts", "exceeded"),
    [
        ((energy_of(12_500_000), None, None, None), {}),
        ((energy_of(12_500_001), None, None, None), {Limit.ENERGY: EnergySource.DAILY}),
        ((None, cost_of("250.4"), None, None), {}),  # As the page shows it: 2.50 €.
        ((None, cost_of("250.5"), None, None), {Limit.COST: EnergySource.CURVE}),
        ((None, cost_of("900", known=0), None, None), {}),
        ((None, None, 5_399_999, 6 * KVA), {}),
        ((None, None, 5_400_000, 6 * KVA), {Limit.POWER: None}),
        ((None, None, 9 * KVA, None), {}),
        ((None, None, None, 6 * KVA), {}),
        (
            (energy_of(20 * KVA), cost_of("900"), 9 * KVA, 6 * KVA),
            {Limit.ENERGY: EnergySource.DAILY, Limit.COST: EnergySource.CURVE, Limit.POWER: None},
        ),
    ],
)
def test_a_day_exceeds_limits_and_is_compared_with_no_other(amounts: Any, exceeded: dict[Limit, Any]) -> None:
    assert find_exceeded(LIMITS, *amounts) == exceeded
    assert find_exceeded(AlertLimits(), *amounts) == {}


def writes_of(series: Series, *entries: Entry, kind: str = NIGHTLY, reshaped: tuple[str, ...] = ()) -> Writes:
    job: Any = window_job(DateWindow(YESTERDAY, TODAY), series, claim=f"{kind}/1" if kind else None)
    writes: Any = {**job, "changed": [list(entry) for entry in entries], "reshaped": list(reshaped)}
    return cast(Writes, writes)


def told(writes: Writes, limits: AlertLimits = LIMITS) -> list[int]:
    """Return the ages of the days that are told."""
    return [(TODAY - day).days for day in days_to_tell(writes, limits, TODAY)]


DAYS = [Entry(str(TODAY - age * ONE_DAY), 1) for age in range(12)]


@pytest.mark.parametrize("kind", [NIGHTLY, CATCH_UP, AGAIN, LOOK_BACK, REPAIR])
def test_of_energy_the_last_two_days_are_told_and_of_power_those_since_it_was_asked_for(kind: str) -> None:
    assert told(writes_of(Series.DAILY, *DAYS, kind=kind)) == [2, 1]
    assert told(writes_of(Series.GAS_DAILY, *DAYS, kind=kind)) == [2, 1]
    assert told(writes_of(Series.MAX_POWER, *DAYS, kind=kind)) == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert told(writes_of(Series.MAX_POWER, *DAYS, kind=kind), AlertLimits()) == []
    # The midnight that begins a day ends the one before.
    assert told(writes_of(Series.REGISTERS, *DAYS, kind=kind)) == [2, 1]
    assert told(writes_of(Series.REGISTERS, DAYS[1], kind=kind)) == [2]


@pytest.mark.parametrize("series", [Series.DAILY, Series.MAX_POWER])
def test_nobody_is_told_of_a_history_a_file_or_a_correction(series: Series) -> None:
    corrected = [entry._replace(revision="1-a", replaced_amount=2) for entry in DAYS]
    assert told(writes_of(series, *corrected)) == []
    for kind in (BACKFILL, ""):  # Runs without a claim are of files, or of stored answers.
        assert told(writes_of(series, *DAYS, kind=kind)) == []


def test_steps_with_other_bounds_correct_and_production_is_never_told() -> None:
    steps = Entry("2024-07-24T10:00Z", 1), Entry("2024-07-24T10:30Z", 1)
    assert told(writes_of(Series.LOAD_CURVE, *steps)) == [1]
    assert told(writes_of(Series.LOAD_CURVE, *steps, reshaped=tuple(one.key for one in steps))) == []
    assert told(writes_of(Series.PRODUCTION_DAILY, *DAYS)) == []
    assert told(writes_of(Series.PRODUCTION_LOAD_CURVE, *steps)) == []
