"""The journal of changes tells how the stored values came to be, whatever the supplier says and whoever is killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import serving_days, window_job
from tests.support.profiles import examples
from tests.unit.conftest import Household
from worker.domain.documents import ALL_KEYS, to_entry
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

    def __post_init__(self) -> None:
        self.account = self.household.add_another()
        yesterday = self.household.history.today() - ONE_DAY
        self.days = [yesterday - ONE_DAY, yesterday]

    def ask(self, values: Sequence[int]) -> Writes:
        """Ask a minute later than the time before, and return the message that waits to be stored."""
        self.household.at += timedelta(minutes=1)
        self.household.supplier.daily = serving_days(dict(zip(self.days, values, strict=True)))
        sync, window = self.household.window_sync, DateWindow(self.days[0], self.days[-1] + ONE_DAY)
        return sync.aggregate(sync.filter_known(sync.fetch(window_job(window, Series.DAILY, self.account))))

    def store(self, message: Writes, written_before_death: int | None = None) -> None:
        """Store a message; or die after the journal and so many documents."""
        store = self.household.measures[Doctype.DAY]

        def die(documents: Sequence[Document]) -> None:
            store.before_write = None
            store.write(documents[:written_before_death])
            raise Killed

        store.before_write = None if written_before_death is None else die
        with suppress(Killed):
            self.household.window_sync.store(message)
        store.before_write = None

    def changes(self) -> list[Correction]:
        return self.household.results.corrections.list_between(self.account, Doctype.DAY, *ALL_KEYS)

    def stored(self) -> dict[str, int]:
        found = self.household.measures.read(self.account, {Doctype.DAY: ALL_KEYS})[Doctype.DAY]
        return {entry.key: entry.amount for entry in map(to_entry, found)}


values = st.lists(st.integers(0, 2).map(lambda number: 1000 * number), min_size=2, max_size=2)
# How many documents each worker that is killed over the message has written.
kills = st.lists(st.integers(0, 2), max_size=3)
a_few = settings(
    max_examples=examples(100, desk=20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def new_home(household: Household) -> Callable[[], Home]:
    return lambda: Home(household)


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
    replayed = dict(started)
    for key, changes in groupby(home.changes(), key=lambda change: change.key):
        for number, change in enumerate(changes):
            assert number or change.was_amount == started[key]
            replayed[key] = change.became_amount
    assert replayed == home.stored()


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
