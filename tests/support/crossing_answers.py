"""Answers that are requested in one order and arrive in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from tests.support.factories import (
    NOW,
    MemoryRecorder,
    PretendSupplier,
    Row,
    content,
    curve_of,
    make_window_sync,
    serving_curves,
    serving_days,
    window_job,
)
from worker.domain.documents import ALL_KEYS, interval_of, to_entry
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.sync.window import WindowSync

DAY: Final = date(2024, 5, 10)
TWO_DAYS: Final = DateWindow(DAY, DAY + 2 * ONE_DAY)
Answer = Mapping[date, Any]


class AskedHome:
    """A home in a store, whose answers arrive when the test lets them."""

    def __init__(self, measures: MeasureStore, series: Series, home: str = "home1") -> None:
        self.measures, self.series, self.home = measures, series, home
        self.recorder = MemoryRecorder()

    def ask(self, answer: Answer, second: float, window: DateWindow = TWO_DAYS) -> Callable[[], object]:
        """Request an answer ``second`` seconds after 08:00, and return a function that lets it arrive."""
        asking = self._sync(answer, NOW - timedelta(hours=1) + timedelta(seconds=second))
        fetched = asking.fetch(window_job(window, self.series, self.home))
        arriving = self._sync(answer, NOW)
        return lambda: arriving.store(arriving.aggregate(arriving.filter_known(fetched)))

    def _sync(self, answer: Answer, at: datetime) -> WindowSync:
        served = serving_days(answer) if self.series is Series.DAILY else serving_curves(answer)
        supplier = PretendSupplier(daily=served, curve=served)
        return make_window_sync(supplier, self.measures, recorder=self.recorder, now=lambda: at)

    def content(self) -> dict[Doctype, dict[str, float]]:
        return content(self.measures, self.home)

    def covered_minutes(self) -> list[int]:
        """Return each minute that the stored steps cover, once for each step that covers it."""
        documents = self.measures.read(self.home, {Doctype.MINUTE: ALL_KEYS})[Doctype.MINUTE]
        return [minute for document in documents for minute in range(*interval_of(to_entry(document)))]


def mixed_curve(day: date, hours: Sequence[int], watts: int) -> list[Row]:
    """Return a day with a step length in minutes for each hour; 0 leaves the hour out."""
    by_length = {minutes: curve_of(day, watts, minutes) for minutes in set(hours) - {0}}
    return [
        row
        for hour, minutes in enumerate(hours)
        if minutes
        for row in by_length[minutes][hour * 60 // minutes : (hour + 1) * 60 // minutes]
    ]


def curves(lengths: st.SearchStrategy[int]) -> st.SearchStrategy[Answer]:
    """Two days of 24 hours, each in its own mix of steps."""
    hours = st.lists(lengths, min_size=24, max_size=24)
    days = st.tuples(hours, hours, st.integers(1, 3))
    return days.map(
        lambda drawn: {
            DAY + place * ONE_DAY: mixed_curve(DAY + place * ONE_DAY, drawn[place], drawn[2]) for place in (0, 1)
        }
    )


whole_curves = curves(st.sampled_from([10, 15, 30, 60]))
curves_with_holes = curves(st.sampled_from([0, 0, 10, 15, 30, 60]))
whole_days = st.fixed_dictionaries({DAY: st.integers(1, 3), DAY + ONE_DAY: st.integers(1, 3)})
orders = st.permutations(range(3))
