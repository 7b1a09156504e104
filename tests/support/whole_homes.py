"""Random homes with panels, registers, maximum powers and a contract, whose series agree, built without parsers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.support.factories import MemoryRecorder, PretendSupplier, make_window_sync, window_job
from tests.support.strategies import CLOCK_CHANGE_DAYS
from worker.domain.documents import Entry, entry_of, key_range, to_timestamp
from worker.domain.messages import Fetched, WindowJob, WindowResult
from worker.domain.series import Series, of_supplier
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, IntervalReading, day_length, local_midnight
from worker.stores.measures.measure_store import MeasureStore
from worker.sync.window import WindowSync

PERIODS = ("HC", "HP", "BUHC")
FAMILIES = {
    Series.DAILY: (Series.LOAD_CURVE, Series.REGISTERS),
    Series.PRODUCTION_DAILY: (Series.PRODUCTION_LOAD_CURVE, Series.PRODUCTION_REGISTERS),
}
# Each step is a whole number of Wh, so that every tariff period of a day is one, too.
_WATTS_A_STEP_OF_ONE_MINUTE = 60


@dataclass(frozen=True)
class WholeHome:
    """What a supplier has of a home: the entries of each series, in key order, and the Wh of each day by direction."""

    window: DateWindow
    entries: Mapping[Series, Sequence[Entry]]
    watt_hours: Mapping[Series, Mapping[date, int]]
    by_period: Mapping[Series, Mapping[date, Mapping[str, int]]]

    def fetched(self, series: Series, window: DateWindow) -> list[Entry]:
        """Return what the supplier publishes of a window."""
        first, end = key_range(window, series.inputs)
        return [entry for entry in self.entries[series] if first <= entry.key < end]


def curve_of_day(day: date, minutes: int, loads: Sequence[int]) -> list[IntervalReading]:
    """Return the steps of a whole civil day; ``loads`` come again and again, in units of 60 W."""
    start, step = local_midnight(day).astimezone(UTC), timedelta(minutes=minutes)
    return [
        IntervalReading(
            (start + number * step).astimezone(PARIS),
            step,
            loads[number % len(loads)] * _WATTS_A_STEP_OF_ONE_MINUTE * minutes * 1000 // 60,
        )
        for number in range(day_length(day) // step)
    ]


@st.composite
def whole_homes(draw: st.DrawFn, longest: int = 5) -> WholeHome:
    """Draw a home of some days in a row, the change of a month, a year or a clock often among them."""
    middle = draw(st.sampled_from([*CLOCK_CHANGE_DAYS, date(2023, 12, 31), date(2024, 2, 29), date(2024, 7, 31)]))
    first = middle - draw(st.integers(0, 2)) * ONE_DAY
    days = [first + number * ONE_DAY for number in range(draw(st.integers(1, longest)))]
    entries: dict[Series, list[Entry]] = {series: [] for series in of_supplier("enedis")}
    watt_hours, by_period = {}, {}
    for daily, (curve, registers) in FAMILIES.items():
        counted = dict.fromkeys(PERIODS, draw(st.integers(0, 10**7)))
        starts = draw(st.lists(st.integers(0, 23), min_size=2, max_size=2))  # When HP and BUHC begin, local time.
        watt_hours[daily], by_period[daily] = {}, {}
        entries[registers].append(index_entry(first, counted))
        for day in days:
            minutes = draw(st.sampled_from([10, 30, 60]))
            loads = draw(st.lists(st.integers(0, 100), min_size=1, max_size=48))
            steps = curve_of_day(day, minutes, loads)
            periods = dict.fromkeys(PERIODS, 0)
            for step in steps:
                periods[PERIODS[sum(step.start.hour >= hour for hour in starts)]] += step.amount // 1000
            counted = {period: counted[period] + periods[period] for period in PERIODS}
            total = sum(periods.values())
            watt_hours[daily][day], by_period[daily][day] = total, periods
            entries[curve] += [entry_of(step, curve.inputs) for step in steps]
            entries[daily].append(Entry(str(day), total * 1000))
            entries[registers].append(index_entry(day + ONE_DAY, counted))
            if daily is Series.DAILY:
                entries[Series.MAX_POWER].append(_peak_entry(day, steps, draw(st.integers(0, 3_000))))
    entries[Series.CONTRACT].append(Entry(str(days[-1]), 9_000_000, details={"tariff": "BTINFCU4"}))
    return WholeHome(DateWindow(first, days[-1] + 2 * ONE_DAY), entries, watt_hours, by_period)


def index_entry(day: date, registers: Mapping[str, int], calendar: str = "FC000040") -> Entry:
    """Return what the registers show at the midnight that begins the day."""
    return Entry(str(day), 1000 * sum(registers.values()), details={"calendar": calendar, "registers": dict(registers)})


def _peak_entry(day: date, steps: Sequence[IntervalReading], reactive: int) -> Entry:
    """Return a maximum power within the highest step: its mean power in W, and so many VA more."""
    highest = max(steps, key=lambda step: step.amount / step.length.total_seconds())
    power = highest.amount * 3600 // int(highest.length.total_seconds()) + 1000 * reactive
    return Entry(str(day), power, details={"at": highest.start.isoformat()})


def fetched_of(job: WindowJob, entries: Sequence[Entry], window_sync: WindowSync) -> Fetched:
    """Return the message that a supplier's answer with these entries becomes."""
    now = window_sync.now()
    facts: Any = {
        "fetched": len(entries),
        "asked_at": now.timestamp(),
        "fetched_at": to_timestamp(now),
        "dropped": 0,
        "differing": 0,
        "left_out": 0,
        "set_aside": {},
        "last_day": None,
        "floor": None,
        "open": {},
        "activated_on": None,
    }
    return Fetched(**job, readings=[entry.reading for entry in entries], facts=facts)


def sync_entries(
    measures: MeasureStore,
    series: Series,
    entries: Sequence[Entry],
    window: DateWindow,
    home: str = "home1",
    recorder: MemoryRecorder | None = None,
) -> WindowResult:
    """Run the steps of a window on these entries, as if a supplier had sent them."""
    window_sync = make_window_sync(PretendSupplier(), measures, recorder=recorder)
    fetched = fetched_of(window_job(window, series, home), entries, window_sync)
    return window_sync.store(window_sync.aggregate(window_sync.filter_known(fetched)))
