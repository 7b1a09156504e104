"""The journal of changes tells how the stored values came to be, whatever the supplier says and whoever is killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import curve_of, serving_curves, serving_days, window_job
from tests.support.profiles import examples
from tests.unit.conftest import Household
from worker.domain.documents import ALL_KEYS, REMOVED, to_entry
from worker.domain.messages import Writes
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import Document
from worker.stores.registry.supplier_answers import Correction


class Killed(BaseException):
    """The death of the worker; nothing in the code under test may catch it."""


@dataclass
class Home:
    """Two days of a home, of which the supplier tells other values each time."""

    household: Household
    account: str = ""
    doctype: Doctype = Doctype.DAY

    def __post_init__(self) -> None:
        self.account = self.household.add_another()
        yesterday = self.household.history.today() - ONE_DAY
        self.days = [yesterday - ONE_DAY, yesterday]

    def ask(self, values: Sequence[int]) -> Writes:
        """Ask a minute later than the time before, and return the message that waits to be stored."""
        self.household.at += timedelta(minutes=1)
        self.household.supplier.daily = serving_days(dict(zip(self.days, values, strict=True)))
        return self._ask(DateWindow(self.days[0], self.days[-1] + ONE_DAY), Series.DAILY)

    def ask_curve(self, minutes: int, watts: int) -> Writes:
        """Ask for the curve of the first day, in steps of so many minutes."""
        self.household.at += timedelta(minutes=1)
        self.household.supplier.curve = serving_curves({self.days[0]: curve_of(self.days[0], watts, minutes)})
        return self._ask(DateWindow(self.days[0], self.days[0] + ONE_DAY), Series.LOAD_CURVE)

    def _ask(self, window: DateWindow, series: Series) -> Writes:
        """Ask in a run of its own."""
        sync, job = self.household.window_sync, window_job(window, series, self.account)
        job["run_id"] = f"run at {self.household.at}"
        return sync.aggregate(sync.filter_known(sync.fetch(job)))

    def store(self, message: Writes, written_before_death: int | None = None) -> None:
        """Store a message; or die after the journal and so many documents."""
        store = self.household.measures[self.doctype]

        def die(documents: Sequence[Document]) -> None:
            store.before_write = None
            store.write(documents[:written_before_death])
            raise Killed

        store.before_write = None if written_before_death is None else die
        with suppress(Killed):
            self.household.window_sync.store(message)
        store.before_write = None

    def changes(self) -> list[Correction]:
        return self.household.registry.corrections.list_between(self.account, self.doctype, *ALL_KEYS)

    def stored(self) -> dict[str, int]:
        found = self.household.measures.read(self.account, {self.doctype: ALL_KEYS})[self.doctype]
        return {entry.key: entry.amount for entry in map(to_entry, found)}


def replay(started: Mapping[str, int], changes: Sequence[Correction]) -> dict[str, int]:
    """Return the values after the changes, each of which begins where the one before it ended."""
    values = dict(started)
    for change in changes:
        assert change.was_amount == values.get(change.key, REMOVED)
        values[change.key] = change.became_amount
    return {key: value for key, value in values.items() if value != REMOVED}


values = st.lists(st.integers(0, 2).map(lambda number: 1000 * number), min_size=2, max_size=2)
# How many documents each worker that is killed over the message has written.
kills = st.lists(st.integers(0, 2), max_size=3)
a_few = settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def new_home(household: Household) -> Callable[..., Home]:
    return lambda doctype=Doctype.DAY: Home(household, doctype=doctype)


@a_few
@given(values, st.lists(st.tuples(values, kills), max_size=12))
def test_the_journal_replayed_from_its_first_value_gives_the_store(
    new_home: Callable[[], Home], first: list[int], story: list[tuple[list[int], list[int]]]
) -> None:
    """The broker delivers the message of a killed worker again before the next answer is compared."""
    home = new_home()
    home.store(home.ask(first))
    started = home.stored()
    for told, killed_after in story:
        message = home.ask(told)
        for written in killed_after:
            home.store(message, written)
        home.store(message)
    assert replay(started, home.changes()) == home.stored()


@a_few
@given(st.lists(values, min_size=1, max_size=12))
def test_the_journal_has_each_change_of_each_value_once(new_home: Callable[[], Home], told: list[list[int]]) -> None:
    home = new_home()
    for day_values in told:
        message = home.ask(day_values)
        home.store(message)
        home.store(message)
    for place, day in enumerate(home.days):
        amounts = [1000 * day_values[place] for day_values in told]
        expected = [(was, became) for was, became in pairwise(amounts) if was != became]
        found = [(one.was_amount, one.became_amount) for one in home.changes() if one.key == day.isoformat()]
        assert found == expected


def test_a_value_that_another_run_kept_out_of_the_store_is_not_in_the_journal(new_home: Callable[[], Home]) -> None:
    home = new_home()
    home.store(home.ask([1000, 1000]))
    late, next_one = home.ask([2000, 1000]), home.ask([3000, 1000])
    home.store(next_one)
    home.store(late)
    assert [(one.was_amount, one.became_amount) for one in home.changes()] == [(1_000_000, 3_000_000)]


def test_a_later_answer_that_lost_its_first_write_tells_which_value_it_replaced(new_home: Callable[[], Home]) -> None:
    home = new_home()
    home.store(home.ask([1000, 1000]))
    earlier, later = home.ask([2000, 1000]), home.ask([3000, 1000])
    home.store(earlier)
    home.store(later)
    expected = [(1_000_000, 2_000_000), (2_000_000, 3_000_000)]
    assert [(one.was_amount, one.became_amount) for one in home.changes()] == expected


def test_a_reading_that_two_runs_have_there_again_is_told_by_the_one_that_won(new_home: Callable[[], Home]) -> None:
    home = new_home()
    key, before = home.days[0].isoformat(), home.household.at
    changes = [
        Correction(home.account, home.doctype, key, was, became, None, before + timedelta(minutes=place), run)
        for place, (was, became, run) in enumerate([(4, REMOVED, "a"), (REMOVED, 5, "b"), (REMOVED, 6, "c")])
    ]
    journal = home.household.registry.corrections
    for change in changes:
        journal.record([change])
    journal.withdraw(home.account, home.doctype, "b", {key: 6})
    assert home.changes() == [changes[0], changes[2]]


@a_few
@given(values, st.lists(st.tuples(values, kills), max_size=5), st.randoms(use_true_random=False))
def test_the_journal_gives_the_store_where_answers_cross_and_workers_die(
    new_home: Callable[[], Home],
    first: list[int],
    story: list[tuple[list[int], list[int]]],
    order: Random,
) -> None:
    """Every answer is compared with the store before any of them is stored; a killed worker's message comes again."""
    home = new_home()
    home.store(home.ask(first))
    started = home.stored()
    messages = [(home.ask(told), killed_after) for told, killed_after in story]
    deliveries = [(message, written) for message, killed_after in messages for written in killed_after]
    order.shuffle(deliveries)
    order.shuffle(messages)
    for message, written in deliveries:
        home.store(message, written)
    for message, _ in messages:
        home.store(message)
    assert started | {change.key: change.became_amount for change in home.changes()} == home.stored()


@a_few
@given(st.lists(st.tuples(st.sampled_from([10, 30, 60]), st.integers(1, 2), kills), min_size=1, max_size=8))
def test_the_journal_of_a_curve_gives_the_store_whatever_its_steps(
    new_home: Callable[[Doctype], Home], story: list[tuple[int, int, list[int]]]
) -> None:
    """A half-hour goes where hours come, and is there again with the next half-hours."""
    home = new_home(Doctype.MINUTE)
    for minutes, watts, killed_after in story:
        message = home.ask_curve(minutes, 600 * watts)
        for written in killed_after:
            home.store(message, written * 20)
        home.store(message)
    changes = home.changes()
    started = {change.key: change.was_amount for change in reversed(changes)}
    assert replay(started, changes) == {key: value for key, value in home.stored().items() if key in started}
