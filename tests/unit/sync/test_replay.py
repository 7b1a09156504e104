"""History read again from kept answers: as if the parser had been right from the start, and no supplier is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import (
    NOW,
    PretendSupplier,
    Reports,
    content,
    curve_of,
    make_walk,
    memory_measures,
    origin,
    serving_curves,
    serving_days,
)
from tests.support.strategies import few
from tests.support.window_runs import revisions
from tests.unit.conftest import Household
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.completeness import COMPLETE, DayState, Ledger, Mark
from worker.domain.measures.documents import Entry
from worker.domain.measures.messages import Writes
from worker.domain.measures.readings import ONE_DAY, DateWindow, Period, Series
from worker.domain.parsing import enedis
from worker.domain.parsing.enedis import Parsed
from worker.errors import MalformedAnswer, StoreUnavailable, UnknownAccount
from worker.stores.encryption import Sealer, new_key
from worker.stores.registry.corrections import CorrectionTable
from worker.stores.registry.raw_answers import RawAnswerTable
from worker.sync.replay import Replay
from worker.sync.window import WindowSync

FIRST = date(2024, 7, 18)
WEEK = DateWindow(FIRST, FIRST + 7 * ONE_DAY)
DAYS = {FIRST + number * ONE_DAY: 9000 + 2 * number for number in range(7)}
CURVES = {day: curve_of(day, 300) for day in DAYS}


# -- stand-ins


@dataclass
class KeptInMemory:
    answers: list[RawAnswer] = field(default_factory=list)

    def answered(self, account_id: str, told: RawAnswer) -> None:
        self.answers.append(told)

    def told(self, account_id: str) -> Iterator[RawAnswer]:
        yield from self.answers


@dataclass
class LedgerInMemory:
    known: Ledger = field(default_factory=Ledger)

    def ledger(self, account_id: str, series: Series) -> Ledger:
        return self.known

    def exchange(self, account_id: str, series: Series, known: Ledger, ledger: Ledger) -> bool:
        self.known = ledger
        return True


class NoCorrections:
    def correcting(self, work: Writes, entries: Sequence[Entry]) -> None:
        pass


def halving(payload: Any, series: Series) -> Parsed:
    """A parser that takes every step for half as long, and loses the last."""
    parsed = enedis.parse(payload, series)
    return Parsed([replace(each, milliwatt_hours=each.milliwatt_hours // 2) for each in parsed.readings[:-1]])


def refusing(payload: Any, series: Series) -> Parsed:
    raise MalformedAnswer("not known to this version")


@pytest.fixture
def vault(household: Household) -> RawAnswerTable:
    return RawAnswerTable(household.registry.database, Sealer([new_key()]))


def watched(household: Household, vault: RawAnswerTable) -> WindowSync:
    return replace(household.walk, witness=vault)


def replay_of(household: Household, vault: RawAnswerTable) -> Replay:
    return Replay(household.walk, vault, household.journal, household.registry.completeness)


def sync_badly(household: Household, vault: RawAnswerTable, parser: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both series of a week through a parser with a fault."""
    home = household.add()
    household.supplier = PretendSupplier(daily=serving_days(DAYS), curve=serving_curves(CURVES))
    with monkeypatch.context() as patch:
        patch.setattr("worker.sync.window.parse", parser)
        for series in Series:
            try:
                watched(household, vault).sync_window(origin(WEEK, series, home))
            except MalformedAnswer:
                assert parser is refusing
    household.supplier.asked.clear()
    return home


def right(home: str) -> dict[Period, dict[str, float]]:
    """What a parser without a fault would have stored."""
    measures = memory_measures()
    walk = make_walk(PretendSupplier(daily=serving_days(DAYS), curve=serving_curves(CURVES)), measures)
    for series in Series:
        walk.sync_window(origin(WEEK, series, home))
    return content(measures, home)


# -- laws


@few
@given(
    st.lists(st.dictionaries(st.integers(0, 6), st.integers(0, 40_000), max_size=5), min_size=1, max_size=5),
    st.integers(0, 5),
    st.sampled_from([halving, refusing]),
)
def test_a_replay_gives_the_store_that_a_right_parser_would_have_given(
    nights: list[dict[int, int]], bad: int, fault: Any
) -> None:
    """Whatever was told night after night, and however many of the first nights were read wrongly."""
    clock = [NOW]
    kept, stored, expected = KeptInMemory(), memory_measures(), memory_measures()
    with pytest.MonkeyPatch.context() as patch:
        for number, values in enumerate(nights):
            clock[0] = NOW + number * ONE_DAY
            supplier = PretendSupplier(daily=serving_days({FIRST + day * ONE_DAY: wh for day, wh in values.items()}))
            make_walk(supplier, expected, now=lambda: clock[0]).sync_window(origin(WEEK, Series.DAILY))
            walk = replace(make_walk(supplier, stored, now=lambda: clock[0]), witness=kept)
            patch.setattr("worker.sync.window.parse", fault if number < bad else enedis.parse)
            try:
                walk.sync_window(origin(WEEK, Series.DAILY))
            except MalformedAnswer:
                assert number < bad
            patch.setattr("worker.sync.window.parse", enedis.parse)
    replay = Replay(make_walk(PretendSupplier(), stored, now=lambda: clock[0]), kept, NoCorrections(), LedgerInMemory())
    replay.account("home1", "r1")
    assert content(stored) == content(expected)
    before = revisions(stored)
    again = replay.account("home1", "r2")
    assert (again.created, again.updated) == (0, 0)
    assert revisions(stored) == before


# -- one house


@pytest.mark.parametrize("parser", [halving, refusing])
def test_a_mended_parser_mends_what_is_stored_without_a_call(
    household: Household, vault: RawAnswerTable, parser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_badly(household, vault, parser, monkeypatch)
    assert content(household.measures, home) != right(home)
    household.at += timedelta(days=40)
    done = replay_of(household, vault).account(home, "r9")
    assert content(household.measures, home) == right(home)
    assert (done.answers, done.unreadable, household.supplier.asked) == (2, 0, [])
    assert (done.updated > 0) == (parser is halving)
    before = revisions(household.measures)
    assert replay_of(household, vault).account(home, "r10").updated == 0
    assert revisions(household.measures) == before


def test_what_a_replay_corrects_is_kept_with_the_time_of_the_answer(
    household: Household, vault: RawAnswerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_badly(household, vault, halving, monkeypatch)
    household.at += timedelta(days=3)
    replay_of(household, vault).account(home, "r9")
    found = CorrectionTable(household.registry.database).between(home, Period.DAY, "0", "~")
    assert [(each.key, each.was_mwh, each.became_mwh, each.run_id) for each in found] == [
        (day.isoformat(), wh * 500, wh * 1000, "r9") for day, wh in list(DAYS.items())[:-1]
    ]
    assert {each.changed_at for each in found} == {NOW}


def test_a_value_told_later_stands_against_an_older_answer(household: Household, vault: RawAnswerTable) -> None:
    home, day = household.add(), DateWindow(FIRST, FIRST + ONE_DAY)
    for number, watt_hours in enumerate((8000, 8640)):
        household.at = NOW + number * ONE_DAY
        household.supplier.daily = serving_days({FIRST: watt_hours})
        watched(household, vault).sync_window(origin(day, Series.DAILY, home))
    done = replay_of(household, vault).account(home, "r9")
    assert (done.answers, done.created, done.updated) == (2, 0, 0)
    assert content(household.measures, home)[Period.DAY] == {FIRST.isoformat(): 8.64}


def test_an_answer_that_still_cant_be_read_is_counted_and_the_others_are_read(
    household: Household, vault: RawAnswerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_badly(household, vault, halving, monkeypatch)
    vault.answered(home, RawAnswer(Series.DAILY, NOW, WEEK, [(WEEK, {"what": "is this"})]))
    done = replay_of(household, vault).account(home, "r9")
    assert (done.answers, done.unreadable) == (3, 1)
    assert content(household.measures, home) == right(home)


def test_only_answers_of_the_wanted_days_are_read(
    household: Household, vault: RawAnswerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_badly(household, vault, halving, monkeypatch)
    replay = replay_of(household, vault)
    for first, last, answers in ((-9, -1, 0), (7, 9, 0), (-9, 0, 2), (6, 6, 2)):
        wanted = DateWindow(FIRST + first * ONE_DAY, FIRST + (last + 1) * ONE_DAY)
        assert replay.account(home, "r9", wanted).answers == answers


@pytest.mark.parametrize("step", ["parse", "filter_known", "aggregate", "store"])
def test_a_crash_between_answer_and_store_loses_nothing(
    household: Household, vault: RawAnswerTable, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies and the supplier never tells it again: the answer is there."""
    home = household.add()
    household.supplier = PretendSupplier(daily=serving_days(DAYS))
    with monkeypatch.context() as patch:
        patch.setattr(
            "worker.sync.window.parse" if step == "parse" else f"worker.sync.window.WindowWalk.{step}", _killed
        )
        with pytest.raises(KeyboardInterrupt):
            watched(household, vault).sync_window(origin(WEEK, Series.DAILY, home))
    household.supplier = PretendSupplier()
    replay_of(household, vault).account(home, "r9")
    days = content(household.measures, home)[Period.DAY]
    assert days == {day.isoformat(): wh / 1000 for day, wh in DAYS.items()}


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_answer_that_could_not_be_kept_is_not_taken_for_stored(household: Household) -> None:
    class Full:
        def answered(self, account_id: str, told: RawAnswer) -> None:
            raise StoreUnavailable("the disk is full")

    home, progress = household.add(), Reports()
    household.supplier = PretendSupplier(daily=serving_days(DAYS))
    walk = replace(household.walk, witness=Full(), progress=progress)
    with pytest.raises(StoreUnavailable):
        walk.sync_window(origin(WEEK, Series.DAILY, home))
    assert progress.finished_with == []


def test_a_removed_account_is_not_read_again(
    household: Household, vault: RawAnswerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_badly(household, vault, halving, monkeypatch)
    answers = list(vault.told(home))
    household.registry.remove(home)
    for store in household.measures.values():
        store.erase(home)
    late = Replay(household.walk, KeptInMemory(answers), household.journal, household.registry.completeness)
    with pytest.raises(UnknownAccount):
        late.account(home, "r9")
    assert not any(store.read(home, "0", "~") for store in household.measures.values())


# -- what is known of the days


def test_days_that_a_replay_made_whole_are_whole_and_the_run_stays_as_it_was(
    household: Household, vault: RawAnswerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_badly(household, vault, halving, monkeypatch)
    outcomes, state = household.registry.outcomes(home), household.state.task_state(home, "daily")
    book = household.registry.completeness
    assert book.ledger(home, Series.DAILY).of(WEEK.end - ONE_DAY).state is DayState.LATE
    assert book.ledger(home, Series.LOAD_CURVE).of(WEEK.end - ONE_DAY).state is DayState.PARTIAL
    household.at += timedelta(days=5)
    replay_of(household, vault).account(home, "r9")
    for series in Series:
        assert str(book.ledger(home, series)) == "2024-07-18 7c"
    assert household.registry.outcomes(home) == outcomes
    assert household.state.task_state(home, "daily") == state


@pytest.mark.parametrize(
    "known, after",
    [
        (None, Mark(DayState.LATE, 0, 1)),
        (Mark(DayState.LATE, 0, 8), Mark(DayState.LATE, 0, 8)),
        (Mark(DayState.ABSENT), Mark(DayState.ABSENT)),
        (COMPLETE, Mark(DayState.LATE, 0, 1)),
    ],
)
def test_an_old_answer_does_not_make_an_open_day_younger(known: Mark | None, after: Mark) -> None:
    """COMPLETE comes last: a ledger that says so of a day with nothing stored was wrong."""
    day = NOW.date() - ONE_DAY
    ledgers = LedgerInMemory(Ledger(day, [known]) if known else Ledger())
    kept = KeptInMemory([RawAnswer(Series.DAILY, NOW, DateWindow(day, day + ONE_DAY), [])])
    walk = make_walk(PretendSupplier(), now=lambda: datetime(2024, 9, 25, tzinfo=NOW.tzinfo))
    Replay(walk, kept, NoCorrections(), ledgers).account("home1", "r1")
    assert ledgers.known.of(day) == after
