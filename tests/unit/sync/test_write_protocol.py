"""The write protocol as a model: several workers with the real steps, stopped, killed and repeated anywhere.

The rule: read the revisions of totals, then the readings; write readings, then totals. Hypothesis searches for an
order of events after which the store differs from the last answer of the supplier. As a negative control, the search
must find one if two steps are swapped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.support.factories import (
    NOW,
    MemoryRecorder,
    PretendAccounts,
    PretendSupplier,
    Row,
    content,
    serving_curves,
    serving_days,
    window_job,
)
from tests.support.fakes import ByDoctype, DoctypeStores, memory_measures
from tests.support.profiles import DESK_EXAMPLES, examples
from tests.support.stepped_stores import SteppedStore, SteppedWorker
from tests.support.window_runs import truth_of_days
from worker.domain import comparison
from worker.domain.documents import Entry, KeyRange
from worker.domain.messages import WindowJob, Writes
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures import open_measures
from worker.stores.measures.measure_store import MeasureStore
from worker.sync import window
from worker.sync.window import WindowSync

DAYS: Final = [
    date(2023, 12, 30) + number * ONE_DAY for number in range(4)
]  # These days lie in two months and two years.
STEPS: Final = ("filter_known", "aggregate", "store")
ACCOUNT: Final = "home1"
HOURS: Final = (10, 11)  # Of a day in Paris; in winter they begin an hour earlier in UTC.
READING_ORDER: Final = comparison.ranges_to_read
WRITING_ORDER: Final = window.entries_in_write_order


@dataclass(frozen=True)
class Message:
    """A message in the queue: the next step of a chain and its argument."""

    step: str
    content: Any


class Chain:
    """One chain in one worker, from a message to its end; ``left`` is delivered again after a kill."""

    def __init__(self, window_sync: WindowSync, message: Message, published: Callable[[Message], None]) -> None:
        self._window_sync, self._published = window_sync, published
        self.left: Message | None = message
        self.worker = SteppedWorker(self._run)

    def _run(self) -> None:
        while self.left is not None:
            message = self.left
            outcome = getattr(self._window_sync, message.step)(message.content)
            place = STEPS.index(message.step) + 1
            self.left = Message(STEPS[place], outcome) if place < len(STEPS) else None
            if self.left is not None:
                self._published(self.left)


class WriteProtocol(RuleBasedStateMachine):
    """The events; subclasses set ``open_stores``, or what is served and what must be stored then."""

    series: ClassVar[Series] = Series.DAILY
    most_workers: ClassVar[int] = 3

    def __init__(self) -> None:
        super().__init__()
        self.measures = self.open_stores()
        self.stepped = self.stepped_stores()
        self.seconds = 0
        self.values = 0
        self.supplier_has = {day: self._next_value() for day in DAYS}
        self.answered_days: dict[date, int] = {}  # From the latest answer that was fetched.
        self.chains: list[Chain] = []
        self.queue: list[Message] = []  # Of killed workers: the broker delivers these again.
        self.published: list[Message] = []

    def open_stores(self) -> MeasureStore:
        return memory_measures()

    def stepped_stores(self) -> MeasureStore:
        return DoctypeStores({period: SteppedStore(store) for period, store in self.measures.items()})

    @rule(day=st.sampled_from(DAYS))
    def the_supplier_corrects(self, day: date) -> None:
        self.supplier_has[day] = self._next_value()

    @precondition(lambda self: len(self.chains) < self.most_workers)
    @rule(first=st.integers(0, 3), length=st.integers(1, 4))
    def a_window_is_fetched(self, first: int, length: int) -> None:
        """Fetch a window and deliver its message to a new worker."""
        window = DateWindow(DAYS[first], DAYS[min(first + length, len(DAYS)) - 1] + ONE_DAY)
        fetched = self._window_sync().fetch(window_job(window, self.series, ACCOUNT))
        self.answered_days |= {
            day: value for day, value in self.supplier_has.items() if window.start <= day < window.end
        }
        self._deliver(Message("filter_known", fetched))

    @precondition(lambda self: self.chains)
    @rule(which=st.integers(0, 2), touches=st.integers(1, 4))
    def a_worker_moves(self, which: int, touches: int) -> None:
        chain = self.chains[which % len(self.chains)]
        for _ in range(touches):
            self.seconds += 1
            chain.worker.advance()
        self._remove_ended()

    @precondition(lambda self: self.chains)
    @rule(which=st.integers(0, 2), written_before=st.integers(0, 2))
    def a_worker_is_killed(self, which: int, written_before: int) -> None:
        chain = self.chains[which % len(self.chains)]
        chain.worker.kill(written_before)
        self.chains.remove(chain)
        if chain.left is not None:
            self.queue.append(chain.left)

    @precondition(lambda self: self.queue and len(self.chains) < self.most_workers)
    @rule()
    def what_a_dead_worker_had_is_delivered_again(self) -> None:
        self._deliver(self.queue.pop(0))

    @precondition(lambda self: self.published and len(self.chains) < self.most_workers)
    @rule(which=st.integers(0, 10**6))
    def an_old_message_comes_twice(self, which: int) -> None:
        self._deliver(self.published[which % len(self.published)])

    @precondition(lambda self: not self.chains and not self.queue)
    @rule()
    def all_is_quiet(self) -> None:
        assert content(self.measures, ACCOUNT) == self.truth(self.answered_days)

    def truth(self, values: dict[date, int]) -> dict[Doctype, dict[str, float]]:
        return truth_of_days(values)

    def supplier(self) -> PretendSupplier:
        return PretendSupplier(daily=serving_days(dict(self.supplier_has)))

    def teardown(self) -> None:
        try:
            while self.chains or self.queue:
                while self.queue and len(self.chains) < self.most_workers:
                    self._deliver(self.queue.pop(0))
                for chain in self.chains:
                    self.seconds += 1
                    chain.worker.finish()
                self._remove_ended()
            self.all_is_quiet()
        finally:
            for chain in self.chains:
                chain.worker.kill()

    def _window_sync(self) -> WindowSync:
        supplier = self.supplier()
        return WindowSync(
            accounts=PretendAccounts(),
            supplier_of=lambda _: supplier,
            measures=self.stepped,
            recorder=MemoryRecorder(),
            now=self._now,
        )

    def _now(self) -> Any:
        self.seconds += 1
        return NOW + timedelta(seconds=self.seconds)

    def _deliver(self, message: Message) -> None:
        if message not in self.published:
            self.published.append(message)
        self.chains.append(Chain(self._window_sync(), message, self.published.append))

    def _remove_ended(self) -> None:
        for chain in [chain for chain in self.chains if chain.worker.ended]:
            self.chains.remove(chain)
            if chain.worker.error is not None:
                raise chain.worker.error

    def _next_value(self) -> int:
        """Return a value that never occurred before, so that the latest answer differs from a late one."""
        self.values += 1
        return self.values


class SqlWriteProtocol(WriteProtocol):
    def open_stores(self) -> MeasureStore:
        self.folder = tempfile.TemporaryDirectory()
        self.opened = open_measures(f"sqlite:///{Path(self.folder.name) / 'measures.db'}")
        return ByDoctype(self.opened)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.opened.close()
            self.folder.cleanup()


class OtherStepsProtocol(WriteProtocol):
    """The supplier serves two hours of each day, by other steps whenever it corrects them (rule K5)."""

    series = Series.LOAD_CURVE

    def supplier(self) -> PretendSupplier:
        return PretendSupplier(
            curve=serving_curves({day: rows_of(day, value) for day, value in self.supplier_has.items()})
        )

    def truth(self, values: dict[date, int]) -> dict[Doctype, dict[str, float]]:
        loads: dict[Doctype, dict[str, float]] = {period: {} for period in Doctype}
        for day, value in values.items():
            for hour in HOURS:
                loads[Doctype.HOUR][f"{day}T{hour - 1:02}:00Z"] = value * 60 / 1000
                for minute in range(0, 60, length_of(value)):
                    loads[Doctype.MINUTE][f"{day}T{hour - 1:02}:{minute:02}Z"] = value * length_of(value) / 1000
        return loads


class ProductionProtocol(WriteProtocol):
    """Daily production, beside consumption that must stay as it is."""

    series = Series.PRODUCTION_DAILY

    def supplier(self) -> PretendSupplier:
        return PretendSupplier(others={self.series: serving_days(dict(self.supplier_has))})

    def truth(self, values: dict[date, int]) -> dict[Doctype, dict[str, float]]:
        loads: dict[Doctype, dict[str, float]] = {period: {} for period in Doctype}
        of_days = truth_of_days(values)
        for doctype in self.series.doctypes:
            loads[doctype] = next(of_days[one] for one in Series.DAILY.doctypes if one.period is doctype.period)
        return loads


def length_of(value: int) -> int:
    return (60, 30, 15)[value % 3]


def rows_of(day: date, value: int) -> list[Row]:
    """Return the rows of two winter hours, of ``value`` watt-hours a minute."""
    length = length_of(value)
    ends = [datetime.combine(day, time(hour)) + timedelta(minutes=end)
            for hour in HOURS for end in range(length, 61, length)]  # fmt: skip
    return [[str(end), str(value * 60), f"PT{length}M"] for end in ends]


class OnlyRaces(WriteProtocol):
    """Two workers that never die: with fewer events, a broken rule is found soon enough."""

    most_workers = 2
    a_worker_is_killed = what_a_dead_worker_had_is_delivered_again = an_old_message_comes_twice = None


def inputs_first(job: WindowJob) -> dict[Doctype, KeyRange]:
    """Break the rule: the readings are read before the revisions of their totals."""
    return dict(reversed(READING_ORDER(job).items()))


def totals_first(writes: Writes) -> Iterator[tuple[Doctype, list[Entry]]]:
    """Break the other rule: yield totals before the readings that they are made of."""
    readings, *totals = WRITING_ORDER(writes)
    yield from totals
    yield readings


def explored(number: int, steps: int, desk: int = DESK_EXAMPLES) -> settings:
    return settings(
        max_examples=examples(number, desk),
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
@pytest.mark.hypothesis  # `make test-rest` runs it with more examples.
def test_no_order_of_events_makes_a_store_that_differs_from_what_was_told_last() -> None:
    run_state_machine_as_test(WriteProtocol, settings=explored(150, 40))


def test_the_latest_steps_hold_although_an_older_answer_of_longer_ones_is_stored_between_read_and_write() -> None:
    """Half of the keys of the latest answer lose the race; its other half alone would give way to the older steps."""
    run = OtherStepsProtocol()
    run.a_window_is_fetched(first=0, length=1)  # Half-hours.
    run.the_supplier_corrects(day=DAYS[0])
    run.a_window_is_fetched(first=0, length=1)  # Quarters of an hour.
    run.a_worker_moves(which=1, touches=2)  # The second has read what is stored: nothing.
    run.chains[0].worker.finish()
    run.teardown()


@pytest.mark.slow
@pytest.mark.hypothesis  # `make test-rest` runs it with more examples.
def test_nor_where_the_supplier_serves_other_steps_each_time() -> None:
    run_state_machine_as_test(OtherStepsProtocol, settings=explored(60, 40))


@pytest.mark.slow
@pytest.mark.hypothesis  # `make test-rest` runs it with more examples.
def test_nor_of_daily_production() -> None:
    run_state_machine_as_test(ProductionProtocol, settings=explored(40, 40))


@pytest.mark.slow
@pytest.mark.hypothesis  # `make test-rest` runs it with more examples.
def test_nor_on_the_sql_store() -> None:
    run_state_machine_as_test(SqlWriteProtocol, settings=explored(25, 30, desk=8))


@pytest.mark.slow
@pytest.mark.rest
def test_a_walk_that_reads_inputs_before_revisions_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "ranges_to_read", inputs_first)
    assert_found_out(OnlyRaces)


@pytest.mark.slow
@pytest.mark.rest
def test_a_walk_that_writes_totals_before_readings_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "entries_in_write_order", totals_first)
    assert_found_out(OnlyRaces)


def assert_found_out(machine: type[WriteProtocol]) -> None:
    unshrunk = settings(explored(1, 40), max_examples=3000, phases=[Phase.generate], derandomize=True, database=None)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=unshrunk)
