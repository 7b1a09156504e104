"""Files and answers in any order give the same store: of two, the one that was told last holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.crossing_answers import DAY, TWO_DAYS, Answer, AskedHome, orders, whole_curves, whole_days
from tests.support.factories import NOW, MemoryRecorder, content, curve_of, memory_measures
from tests.support.interleaving import Turns
from tests.support.made_files import FilesInMemory, curve_file, days_file, importer_in_memory
from tests.support.strategies import few, many, several
from tests.support.window_runs import revisions
from worker.domain.completeness import DayState
from worker.domain.documents import ALL_KEYS, to_entry
from worker.domain.files.cells import FileSeries
from worker.domain.series import Doctype, Series
from worker.domain.tariffs import day_energies
from worker.domain.windows import ONE_DAY, DateWindow
from worker.sync.file_import import FileImporter

EIGHT = NOW - timedelta(hours=1)


class FiledHome(AskedHome):
    """A home that answers and files are stored of."""

    def __init__(self, series: Series, measures: Any = None) -> None:
        super().__init__(measures if measures is not None else memory_measures(), series)
        self.importer = importer_in_memory(self.measures, self.recorder)

    def file(self, answer: Answer, second: float) -> FileSeries:
        made = days_file if self.series is Series.DAILY else curve_file
        return made(answer, EIGHT + timedelta(seconds=second))

    def receive(self, kind: str, answer: Answer, second: float) -> Callable[[], object]:
        """Return what stores a file that was made, or an answer that was asked for, so many seconds after eight."""
        if kind == "answer":
            return self.ask(answer, second)
        file = self.file(answer, second)
        return lambda: self.importer.store(file, self.home)


kinds = st.lists(st.sampled_from(["file", "answer"]), min_size=3, max_size=3)


def stored(series: Series, kinds: list[str], answers: list[Answer], order: list[int]) -> Any:
    home = FiledHome(series)
    arrivals = [home.receive(*one, second) for second, one in enumerate(zip(kinds, answers, strict=True))]
    for place in order:
        arrivals[place]()
    return home.content()


# -- In any order


@many
@given(kinds, st.lists(whole_days, min_size=3, max_size=3), orders)
def test_days_of_files_and_answers_in_any_order_give_the_last_one(
    kinds: list[str], answers: list[Answer], order: list[int]
) -> None:
    assert stored(Series.DAILY, kinds, answers, order) == stored(Series.DAILY, ["answer"], answers[2:], [0])


@several
@given(kinds, st.lists(whole_curves, min_size=3, max_size=3), orders)
def test_curves_of_files_and_answers_in_any_order_give_the_last_one(
    kinds: list[str], answers: list[Answer], order: list[int]
) -> None:
    assert stored(Series.LOAD_CURVE, kinds, answers, order) == stored(Series.LOAD_CURVE, ["file"], answers[2:], [0])


@many
@given(
    st.lists(whole_days, min_size=2, max_size=2),
    st.sampled_from([("file", "answer"), ("answer", "file")]),
    st.lists(st.integers(0, 1), min_size=30, max_size=60),
)
def test_an_import_that_crosses_a_running_night_ends_in_the_same_store(
    answers: list[Answer], kinds: tuple[str, str], schedule: list[int]
) -> None:
    """The days of which the one did not see the other are asked for again."""
    measures = memory_measures()
    home = FiledHome(Series.DAILY, measures)
    Turns(schedule).run(measures, [home.receive(kind, answers[n], n) for n, kind in enumerate(kinds)])
    doubtful = home.recorder.days_in_doubt
    assert doubtful <= set(TWO_DAYS.dates())
    if doubtful:
        home.ask(answers[1], 3, DateWindow(min(doubtful), max(doubtful) + ONE_DAY))()
    assert home.content() == stored(Series.DAILY, ["answer"], answers[1:], [0])


def test_a_file_never_replaces_what_a_later_answer_only_confirmed() -> None:
    home = FiledHome(Series.DAILY)
    day = {DAY: 31_200}
    home.ask(day, 0)()
    home.ask(day, 2)()
    home.importer.store(home.file({DAY: 24_000}, 1), home.home)
    assert home.content()[Doctype.DAY] == {DAY.isoformat(): 31.2}
    assert home.recorder.corrections == []
    assert home.recorder.days_in_doubt == set(), "nothing is asked for again: the supplier has told it"


def test_a_file_made_in_the_future_counts_as_made_now() -> None:
    home = FiledHome(Series.DAILY)
    home.importer.store(replace(home.file({DAY: 24_000}, 0), told_at=NOW + timedelta(days=30)), home.home)
    document = home.measures.read(home.home, {Doctype.DAY: ALL_KEYS})[Doctype.DAY][0]
    assert datetime.fromisoformat(document["updated_at"]) == NOW


def test_an_older_file_corrects_nothing_and_fills_what_lacks() -> None:
    home = FiledHome(Series.DAILY)
    home.ask({DAY: 3}, 5, DateWindow(DAY, DAY + ONE_DAY))()
    home.importer.store(home.file({DAY: 1, DAY + ONE_DAY: 2}, 0), home.home)
    assert home.content()[Doctype.DAY] == {"2024-05-10": 0.003, "2024-05-11": 0.002}


def test_a_newer_file_corrects_and_the_correction_is_kept() -> None:
    home = FiledHome(Series.DAILY)
    home.ask({DAY: 3000}, 0)()
    home.importer.store(home.file({DAY: 4000}, 1), home.home)
    assert home.content()[Doctype.DAY] == {"2024-05-10": 4.0}
    assert [(one.replaced_amount, one.amount) for one in home.recorder.corrections] == [(3_000_000, 4_000_000)]


def test_days_that_a_file_lacks_stay() -> None:
    home = FiledHome(Series.DAILY)
    home.ask({DAY: 1, DAY + ONE_DAY: 2}, 0)()
    home.importer.store(home.file({DAY: 1}, 1), home.home)
    home.importer.store(home.file({DAY - ONE_DAY: 5, DAY + 2 * ONE_DAY: 6}, 2), home.home)
    assert list(home.content()[Doctype.DAY]) == ["2024-05-09", "2024-05-10", "2024-05-11", "2024-05-12"]


# -- Twice, and after an interruption


@few
@given(whole_curves)
def test_a_file_imported_twice_writes_nothing_the_second_time(answer: Answer) -> None:
    measures = memory_measures()
    home = FiledHome(Series.LOAD_CURVE, measures)
    file = home.file(answer, 0)
    home.importer.store(file, home.home)
    before = revisions(measures)
    counts = home.importer.store(file, home.home)
    assert (counts.created, counts.updated, counts.removed, counts.left_out) == (0, 0, 0, 0)
    assert revisions(measures) == before
    comparison = home.importer.compare(file, home.home)
    assert (comparison.days_new, comparison.days_same, comparison.days_different) == (0, 2, 0)


class Killed(BaseException):
    """The death of the importing process."""


@pytest.mark.parametrize("number", range(1, 9))
def test_an_import_killed_at_any_write_and_run_again_ends_in_the_same_store(number: int) -> None:
    days = [date(2024, 3, 30) + place * ONE_DAY for place in range(35)]
    file = curve_file({day: curve_of(day, 300) for day in days})
    whole, killed = memory_measures(), memory_measures()
    importer_in_memory(whole).store(file, "home1")
    count = 0

    def before_write(_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Killed

    for store in killed.values():
        store.before_write = before_write
    with suppress(Killed):
        importer_in_memory(killed).store(file, "home1")
    for store in killed.values():
        store.before_write = None
    importer_in_memory(killed).store(file, "home1")
    assert content(killed) == content(whole)


def test_a_long_file_is_stored_in_parts() -> None:
    days = [date(2023, 12, 15) + place * ONE_DAY for place in range(45)]
    parts: list[int] = []
    importer = importer_in_memory(memory_measures())
    importer.store(curve_file({day: curve_of(day, 300, 60) for day in days}), "home1", on_part=parts.append)
    assert parts == [17, 28], "December, and the days of January"
    parts.clear()
    importer.store(days_file(dict.fromkeys(days, 9000)), "home1", on_part=parts.append)
    assert parts == [17, 28], "2023 and 2024"


# -- What is found


def importer_and_ledger() -> tuple[FileImporter, FilesInMemory]:
    importer = importer_in_memory(memory_measures(), MemoryRecorder())
    files: Any = importer.outcomes
    return importer, files


def test_a_comparison_counts_days_and_writes_nothing() -> None:
    importer, _ = importer_and_ledger()
    importer.store(days_file({DAY: 1000, DAY + ONE_DAY: 2000}), "home1")
    found = importer.compare(days_file({DAY: 1000, DAY + ONE_DAY: 2500, DAY + 2 * ONE_DAY: 7}), "home1")
    assert (found.days_new, found.days_same, found.days_different) == (1, 1, 1)
    assert (found.first, found.last) == (DAY, DAY + 2 * ONE_DAY)
    assert found.watt_hours == 3507
    assert content(importer.window_sync.measures)[Doctype.DAY] == {"2024-05-10": 1.0, "2024-05-11": 2.0}


def test_without_an_account_every_day_is_new() -> None:
    importer, _ = importer_and_ledger()
    assert importer.compare(days_file({DAY: 1000}), None).days_new == 1


def test_the_same_energy_in_other_steps_is_different() -> None:
    importer, _ = importer_and_ledger()
    importer.store(curve_file({DAY: curve_of(DAY, 300, 60)}), "home1")
    found = importer.compare(curve_file({DAY: curve_of(DAY, 300, 30)}), "home1")
    assert (found.days_new, found.days_same, found.days_different) == (0, 0, 1)


def test_what_no_meter_can_deliver_and_what_is_not_over_is_left_out() -> None:
    importer, files = importer_and_ledger()
    tomorrow = NOW.date() + ONE_DAY
    file = days_file({DAY: 9_000_000, DAY + ONE_DAY: 5, tomorrow: 7})
    assert (found := importer.compare(file, "home1")).left_out == 2
    assert (found.first, found.last) == (DAY + ONE_DAY, DAY + ONE_DAY)
    importer.store(file, "home1")
    assert content(importer.window_sync.measures)[Doctype.DAY] == {"2024-05-11": 0.005}
    assert files.ledger.mark_of(DAY).state is DayState.UNKNOWN, "it is still to be asked for"


def test_nothing_of_before_the_first_day_that_may_be_read_is_stored() -> None:
    importer, _ = importer_and_ledger()
    file = days_file({DAY: 1, DAY + ONE_DAY: 2})
    assert importer.compare(file, "home1", DAY + ONE_DAY).left_out == 1
    importer.store(file, "home1", DAY + ONE_DAY)
    assert list(content(importer.window_sync.measures)[Doctype.DAY]) == ["2024-05-11"]


@few
@given(whole_curves)
def test_the_energy_of_a_file_is_the_sum_of_what_is_stored(answer: Answer) -> None:
    importer, _ = importer_and_ledger()
    file = curve_file(answer)
    importer.store(file, "home1")
    documents = importer.window_sync.measures.read("home1", dict.fromkeys((Doctype.MINUTE, Doctype.HOUR), ALL_KEYS))
    steps = sum(to_entry(document).amount for document in documents[Doctype.MINUTE])
    assert importer.compare(file, "home1").amount == steps
    assert sum(document["load"] for document in documents[Doctype.HOUR]) * 1e6 == pytest.approx(steps, abs=50 * 48)


# -- The ledger of days


def test_whole_days_are_marked_as_of_a_file_and_done() -> None:
    importer, files = importer_and_ledger()
    half = curve_of(DAY + ONE_DAY, 300)[:20]
    importer.store(curve_file({DAY: curve_of(DAY, 300), DAY + ONE_DAY: half}, told_at=NOW), "home1")
    assert files.ledger.mark_of(DAY).state is DayState.FILE
    partial = files.ledger.mark_of(DAY + ONE_DAY)
    assert (partial.state, partial.half_hours) == (DayState.PARTIAL, 20)
    assert partial.asked_at_age is None
    assert files.ledger.asked_windows() == [DateWindow(DAY, DAY + ONE_DAY)]


def test_registers_tell_the_energy_between_their_days() -> None:
    importer, _ = importer_and_ledger()
    daily = days_file({DAY: 1, DAY + ONE_DAY: 1, DAY + 2 * ONE_DAY: 1})
    readings = [
        replace(one, amount=1000 * total) for one, total in zip(daily.readings, (1000, 4000, 9000), strict=True)
    ]
    file = replace(daily, series=Series.REGISTERS, readings=readings)
    found = importer.compare(file, None)
    assert found.watt_hours == 8000
    importer.store(file, "home1")
    stored = importer.window_sync.measures.read("home1", {Series.REGISTERS.inputs: ALL_KEYS})[Series.REGISTERS.inputs]
    assert sum(day.total for day in day_energies(list(map(to_entry, stored)))) == 8000
