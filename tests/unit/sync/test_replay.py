"""Replays of stored answers: as if the parser had been right from the start, without a call to the supplier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import (
    NOW,
    MemoryRecorder,
    PretendSupplier,
    content,
    curve_of,
    make_window_sync,
    memory_measures,
    serving_curves,
    serving_days,
    window_job,
)
from tests.support.registries import registry_sealer
from tests.support.strategies import few
from tests.support.window_runs import revisions
from tests.unit.conftest import Household
from worker.domain import parsing as parsers
from worker.domain.answers import RawAnswer
from worker.domain.completeness import COMPLETE, DayLedger, DayMark, DayState
from worker.domain.documents import Entry
from worker.domain.messages import Writes
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import USUAL_SERIES, Doctype, Series, of_supplier
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import MalformedAnswer, StoreUnavailable, UnknownAccount
from worker.stores.encryption import generate_key
from worker.stores.registry.outcomes import SeriesOutcome
from worker.stores.registry.supplier_answers import CorrectionTable, RawAnswerTable
from worker.sync.quarantine import ReplayCounts, replay_account

FIRST = date(2024, 7, 18)
WEEK = DateWindow(FIRST, FIRST + 7 * ONE_DAY)
DAYS = {FIRST + number * ONE_DAY: 9000 + 2 * number for number in range(7)}
CURVES = {day: curve_of(day, 300) for day in DAYS}


# -- Stand-ins


@dataclass
class AnswersInMemory:
    answers: list[RawAnswer] = field(default_factory=list)

    def record_answer(self, account_id: str, answer: RawAnswer) -> None:
        self.answers.append(answer)

    def read_answers(self, account_id: str) -> Iterator[RawAnswer]:
        yield from self.answers


@dataclass
class LedgerInMemory:
    known: DayLedger = field(default_factory=DayLedger)

    def change(self, account_id: str, series: Series, to_ledger: Callable[[DayLedger], DayLedger]) -> bool:
        self.known = to_ledger(self.known)
        return True


class NoCorrections:
    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        pass


def halving(payload: Any, series: Series, window: DateWindow) -> ParsedAnswer:
    """Parse every step as half as long, and lose the last."""
    parsed = parsers.parse(payload, series, window)
    return ParsedAnswer([replace(reading, amount=reading.amount // 2) for reading in parsed.readings[:-1]])


def refusing(payload: Any, series: Series, window: DateWindow) -> ParsedAnswer:
    raise MalformedAnswer("not known to this version")


@dataclass
class Archive:
    """The stored answers of a service, and the replay of them."""

    household: Household

    def __post_init__(self) -> None:
        self.answers = RawAnswerTable(self.household.registry.database, registry_sealer(generate_key()))

    def sync(self, home: str, series: Series = Series.DAILY, window: DateWindow = WEEK) -> None:
        observed = replace(self.household.window_sync, observe=self.answers.record_answer)
        observed.sync_window(window_job(window, series, home))

    def sync_badly(self, parser: Any = halving) -> str:
        """Sync both series of a week through a parser with a fault, and return the account's id."""
        home = self.household.add()
        self.household.supplier = PretendSupplier(daily=serving_days(DAYS), curve=serving_curves(CURVES))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("worker.sync.window.parse", parser)
            for series in of_supplier("enedis", USUAL_SERIES):
                try:
                    self.sync(home, series)
                except MalformedAnswer:
                    assert parser is refusing
        self.household.supplier.asked.clear()
        return home

    def replay(
        self, home: str, run_id: str = "r9", wanted: DateWindow | None = None, answers: Any = None
    ) -> ReplayCounts:
        household = self.household
        kept, ledgers = answers or self.answers, household.registry.completeness
        return replay_account(household.window_sync, kept, ledgers, home, run_id, wanted)


@pytest.fixture
def archive(household: Household) -> Archive:
    return Archive(household)


def content_of_correct_parser(home: str) -> dict[Doctype, dict[str, float]]:
    """Return what a parser without a fault would have stored."""
    measures = memory_measures()
    window_sync = make_window_sync(PretendSupplier(daily=serving_days(DAYS), curve=serving_curves(CURVES)), measures)
    for series in of_supplier("enedis", USUAL_SERIES):
        window_sync.sync_window(window_job(WEEK, series, home))
    return content(measures, home)


# -- Laws


@few
@given(
    st.lists(st.dictionaries(st.integers(0, 6), st.integers(0, 40_000), max_size=5), min_size=1, max_size=5),
    st.integers(0, 5),
    st.sampled_from([halving, refusing]),
)
def test_a_replay_gives_the_store_that_a_right_parser_would_have_given(
    nights: list[dict[int, int]], bad: int, fault: Any
) -> None:
    """For any answers night after night, however many of the first nights were parsed wrongly."""
    clock = [NOW]
    stored_answers, stored, expected = AnswersInMemory(), memory_measures(), memory_measures()
    with pytest.MonkeyPatch.context() as patch:
        for number, values in enumerate(nights):
            clock[0] = NOW + number * ONE_DAY
            supplier = PretendSupplier(daily=serving_days({FIRST + day * ONE_DAY: wh for day, wh in values.items()}))
            make_window_sync(supplier, expected, now=lambda: clock[0]).sync_window(window_job(WEEK, Series.DAILY))
            window_sync = replace(
                make_window_sync(supplier, stored, now=lambda: clock[0]), observe=stored_answers.record_answer
            )
            patch.setattr("worker.sync.window.parse", fault if number < bad else parsers.parse)
            try:
                window_sync.sync_window(window_job(WEEK, Series.DAILY))
            except MalformedAnswer:
                assert number < bad
            patch.setattr("worker.sync.window.parse", parsers.parse)
    replaying: Any = make_window_sync(PretendSupplier(), stored, now=lambda: clock[0]), stored_answers, LedgerInMemory()
    replay_account(*replaying, "home1", "r1")
    assert content(stored) == content(expected)
    before = revisions(stored)
    second = replay_account(*replaying, "home1", "r2")
    assert (second.created, second.updated) == (0, 0)
    assert revisions(stored) == before


# -- One service


@pytest.mark.parametrize("parser", [halving, refusing])
def test_a_mended_parser_mends_what_is_stored_without_a_call(
    household: Household, archive: Archive, parser: Any
) -> None:
    home = archive.sync_badly(parser)
    assert content(household.measures, home) != content_of_correct_parser(home)
    household.at += timedelta(days=40)
    counts = archive.replay(home)
    assert content(household.measures, home) == content_of_correct_parser(home)
    assert (counts.answers, counts.unreadable, household.supplier.asked) == (2, 0, [])
    assert (counts.updated > 0) == (parser is halving)
    before = revisions(household.measures)
    assert archive.replay(home, "r10").updated == 0
    assert revisions(household.measures) == before


def test_what_a_replay_corrects_is_kept_with_the_time_of_the_answer(household: Household, archive: Archive) -> None:
    home = archive.sync_badly()
    household.at += timedelta(days=3)
    archive.replay(home)
    corrections = CorrectionTable(household.registry.database).list_between(home, Doctype.DAY, "0", "~")
    assert [
        (correction.key, correction.was_amount, correction.became_amount, correction.run_id)
        for correction in corrections
    ] == [(day.isoformat(), wh * 500, wh * 1000, "r9") for day, wh in list(DAYS.items())[:-1]]
    assert {correction.changed_at for correction in corrections} == {NOW}


def test_a_value_told_later_stands_against_an_older_answer(household: Household, archive: Archive) -> None:
    home, day = household.add(), DateWindow(FIRST, FIRST + ONE_DAY)
    for number, watt_hours in enumerate((8000, 8640)):
        household.at = NOW + number * ONE_DAY
        household.supplier.daily = serving_days({FIRST: watt_hours})
        archive.sync(home, window=day)
    counts = archive.replay(home)
    assert (counts.answers, counts.created, counts.updated) == (2, 0, 0)
    assert content(household.measures, home)[Doctype.DAY] == {FIRST.isoformat(): 8.64}


def test_a_replay_of_some_days_leaves_the_others_as_the_last_answer_told_them(
    household: Household, archive: Archive
) -> None:
    """The second answer came late and lost; the third confirmed one day of the first and wrote nothing."""
    home, last = household.add(), FIRST + 6 * ONE_DAY
    for number, (watt_hours, window) in enumerate(
        ((8000, WEEK), (9000, WEEK), (8000, DateWindow(last, last + ONE_DAY)))
    ):
        household.at = NOW + number * ONE_DAY
        household.supplier.daily = serving_days({FIRST: 5000, last: watt_hours})
        if number == 1:
            archive.answers.record_answer(
                home, RawAnswer(Series.DAILY, household.at, WEEK, [(WEEK, household.supplier.daily(WEEK))])
            )
        else:
            archive.sync(home, window=window)
    before = content(household.measures, home)
    archive.replay(home, wanted=DateWindow(FIRST, FIRST + ONE_DAY))
    assert content(household.measures, home) == before
    archive.replay(home)
    assert content(household.measures, home) == before


def test_an_answer_that_still_cant_be_read_is_counted_and_the_others_are_read(
    household: Household, archive: Archive
) -> None:
    home = archive.sync_badly()
    archive.answers.record_answer(home, RawAnswer(Series.DAILY, NOW, WEEK, [(WEEK, {"what": "is this"})]))
    counts = archive.replay(home)
    assert (counts.answers, counts.unreadable) == (3, 1)
    assert content(household.measures, home) == content_of_correct_parser(home)


def test_only_answers_of_the_wanted_days_are_read(household: Household, archive: Archive) -> None:
    home = archive.sync_badly()
    for first, last, answers in ((-9, -1, 0), (7, 9, 0), (-9, 0, 2), (6, 6, 2)):
        wanted = DateWindow(FIRST + first * ONE_DAY, FIRST + (last + 1) * ONE_DAY)
        assert archive.replay(home, wanted=wanted).answers == answers


@pytest.mark.parametrize("step", ["parse", "filter_known", "aggregate", "store"])
def test_a_crash_between_answer_and_store_loses_nothing(household: Household, archive: Archive, step: str) -> None:
    """The process dies and the supplier never sends the answer again: it is stored."""
    home = household.add()
    household.supplier = PretendSupplier(daily=serving_days(DAYS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "worker.sync.window.parse" if step == "parse" else f"worker.sync.window.WindowSync.{step}", _killed
        )
        with pytest.raises(KeyboardInterrupt):
            archive.sync(home)
    household.supplier = PretendSupplier()
    archive.replay(home)
    days = content(household.measures, home)[Doctype.DAY]
    assert days == {day.isoformat(): wh / 1000 for day, wh in DAYS.items()}


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_answer_that_could_not_be_kept_is_not_taken_for_stored(household: Household) -> None:
    class Full:
        def record_answer(self, account_id: str, answer: RawAnswer) -> None:
            raise StoreUnavailable("the disk is full")

    home, progress = household.add(), MemoryRecorder()
    household.supplier = PretendSupplier(daily=serving_days(DAYS))
    window_sync = replace(household.window_sync, observe=Full().record_answer, recorder=progress)
    with pytest.raises(StoreUnavailable):
        window_sync.sync_window(window_job(WEEK, Series.DAILY, home))
    assert progress.results == []


def test_a_removed_account_is_not_read_again(household: Household, archive: Archive) -> None:
    home = archive.sync_badly()
    answers = list(archive.answers.read_answers(home))
    household.registry.accounts.remove(home, household.at)
    for store in household.measures.values():
        store.erase(home)
    with pytest.raises(UnknownAccount):
        archive.replay(home, answers=AnswersInMemory(answers))
    assert not any(store.read(home, "0", "~") for store in household.measures.values())


# -- The ledger of days


def test_days_that_a_replay_made_whole_are_whole_and_the_run_stays_as_it_was(
    household: Household, archive: Archive
) -> None:
    home = archive.sync_badly()
    outcomes, state = run_of(household, home), household.progress.task_state(home, "daily")
    ledgers = household.registry.completeness
    assert ledgers.load_ledger(home, Series.DAILY).mark_of(WEEK.end - ONE_DAY).state is DayState.LATE
    assert ledgers.load_ledger(home, Series.LOAD_CURVE).mark_of(WEEK.end - ONE_DAY).state is DayState.PARTIAL
    household.at += timedelta(days=5)
    archive.replay(home)
    for series in of_supplier("enedis", USUAL_SERIES):
        assert str(ledgers.load_ledger(home, series)) == "2024-07-18 7c"
    assert run_of(household, home) == outcomes
    assert household.progress.task_state(home, "daily") == state


def run_of(household: Household, account_id: str) -> dict[Series, SeriesOutcome]:
    """Return what the registry says of the last run of each series, without what it says of the days."""
    outcomes = household.registry.outcomes.load(account_id)
    return {series: replace(outcome, last_complete=None, repair_on=None) for series, outcome in outcomes.items()}


@pytest.mark.parametrize(
    "known, expected",
    [
        (None, DayMark(DayState.LATE, 0, 1)),
        (DayMark(DayState.LATE, 0, 8), DayMark(DayState.LATE, 0, 8)),
        (DayMark(DayState.ABSENT), DayMark(DayState.ABSENT)),
        (COMPLETE, DayMark(DayState.LATE, 0, 1)),
    ],
)
def test_an_old_answer_does_not_make_an_open_day_younger(known: DayMark | None, expected: DayMark) -> None:
    """The last case is a ledger that was wrong: COMPLETE for a day with nothing stored."""
    day = NOW.date() - ONE_DAY
    ledgers = LedgerInMemory(DayLedger(day, [known]) if known else DayLedger())
    stored_answers = AnswersInMemory([RawAnswer(Series.DAILY, NOW, DateWindow(day, day + ONE_DAY), [])])
    window_sync = make_window_sync(PretendSupplier(), now=lambda: datetime(2024, 9, 25, tzinfo=NOW.tzinfo))
    replay_account(window_sync, stored_answers, ledgers, "home1", "r1")
    assert ledgers.known.mark_of(day) == expected
