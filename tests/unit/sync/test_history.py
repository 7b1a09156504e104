"""The windows still to fetch, as the ledger of days tells them: a loss of Redis asks for nothing again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Connection, Redis
from sqlalchemy import update

from tests.support.factories import content, curve_of, serving_curves, serving_days
from tests.support.profiles import examples
from tests.support.registries import mark_asked, set_history_due
from tests.support.sql_statements import changes_something, watch_statements
from tests.unit.conftest import Household
from worker.accounts.status import status_of
from worker.domain.account import AccountState
from worker.domain.answers import Answer, AnswerKind
from worker.domain.completeness import BEFORE
from worker.domain.messages import window_of
from worker.domain.series import USUAL_SERIES, Doctype, Series, SeriesSwitch, intervals_of
from worker.domain.windows import ONE_DAY, DateWindow, merge_windows
from worker.stores.registry.tables import ACCOUNTS
from worker.sync.history import History, rebuild_days

TODAY = date(2024, 7, 25)
DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE


def three_years() -> dict[date, int]:
    first = TODAY - 1095 * ONE_DAY
    return {first + number * ONE_DAY: 5000 + number for number in range(1095)}


def four_weeks() -> dict[date, object]:
    first = TODAY - 28 * ONE_DAY
    return {first + number * ONE_DAY: curve_of(first + number * ONE_DAY, 100) for number in range(28)}


@pytest.fixture
def filled(household: Household) -> tuple[Household, str]:
    """Return an account whose whole history was fetched in seven calls."""
    household.supplier.daily = serving_days(three_years())
    household.supplier.curve = serving_curves(four_weeks())  # type: ignore[arg-type]
    account = household.add()
    assert len(household.backfill(account)) == 7
    household.supplier.asked.clear()
    return household, account


def test_a_new_account_lacks_everything_and_its_store_is_not_looked_at(household: Household) -> None:
    account = household.add()
    assert [window.days for window in household.history.missing_windows(account, DAILY)] == [365, 365, 365]
    assert [window.days for window in household.history.missing_windows(account, CURVE)] == [7, 7, 7, 7]
    assert household.history.count_days(account, DAILY) == (0, 1095)
    assert sum(store.requests for store in household.measures.values()) == 0


def test_a_history_of_periods_reaches_into_what_is_there_as_far_as_one_call_does(household: Household) -> None:
    account, published = household.add(), intervals_of("grdf")
    look_back = DateWindow(TODAY - 400 * ONE_DAY, TODAY)
    household.registry.outcomes.switch(account, published, SeriesSwitch.ON, household.at)
    mark_asked(household.registry, account, published, look_back)
    # A period may begin before the look-back and end in it.
    assert household.history.missing_windows(account, published) == [DateWindow(TODAY - 1825 * ONE_DAY, TODAY)]
    mark_asked(household.registry, account, published, DateWindow(TODAY - 1825 * ONE_DAY, TODAY))
    assert household.history.missing_windows(account, published) == []


def test_a_history_of_no_day_is_never_missing(household: Household) -> None:
    without = household.with_settings(curve_days=0)
    account = without.add()
    assert without.history.missing_windows(account, CURVE) == []
    assert without.history.count_days(account, CURVE) == (0, 0)


def loaded_flag(household: Household, account: str, series: Series = DAILY) -> str | None:
    return household.redis.hget(f"{household.prefix}history_loaded:{series}:{account[:3]}", account)  # type: ignore[return-value]


def test_the_flag_is_set_when_the_last_window_is_done_and_not_before(household: Household) -> None:
    household.supplier.daily = serving_days(three_years())
    account = household.add()
    for number in range(3):
        assert household.history.count_days(account, DAILY) == (365 * number, 1095)
        assert loaded_flag(household, account) is None
        household.run(household.claim_history(account))
    assert household.history.missing_windows(account, DAILY) == []
    assert loaded_flag(household, account) == "1"


def resume(household: Household, account: str) -> None:
    household.registry.accounts.set_state(account, AccountState.PAUSED, now=household.at)
    household.registry.accounts.set_state(account, AccountState.READY, now=household.at)


def switch_off_and_on(household: Household, account: str) -> None:
    for switch in (SeriesSwitch.OFF, SeriesSwitch.ON):
        household.registry.outcomes.switch(account, DAILY, switch, household.at)


def follow_a_fleet_that_collects_it_again(household: Household, account: str) -> None:
    for fleet in ([CURVE], USUAL_SERIES):
        household.registry.outcomes.follow_fleet(fleet, household.at)


def consent_again(household: Household, account: str) -> None:
    meter = household.registry.accounts.get(account).usage_point_id
    household.registry.accounts.add("enedis", meter, household.at, token_needed=False)


def be_refused_by_mistake(household: Household, account: str) -> None:
    code, pending = "USER_ACTION_NEEDED.ACCOUNT_REMOVED", household.registry.pending_refusals
    assert pending.suspend(account, code, household.at, consent_ended=False, notices=list)
    assert pending.reinstate(code, household.at, household.at, "enedis") == [account]


def rebuild_after_a_loss_of_documents(household: Household, account: str) -> None:
    household.measures[DAILY.inputs].erase(account)
    assert rebuild_days(household.stores.measures, household.registry.completeness, account, DAILY, TODAY)


@pytest.mark.parametrize(
    ("make_due", "curves"),
    [
        (resume, None),
        (consent_again, None),
        (be_refused_by_mistake, None),
        (switch_off_and_on, "1"),
        (follow_a_fleet_that_collects_it_again, "1"),
        (rebuild_after_a_loss_of_documents, "1"),
    ],
)
def test_the_flag_goes_when_the_history_is_due_again(
    filled: tuple[Household, str], make_due: Callable[[Household, str], None], curves: str | None
) -> None:
    household, account = filled
    make_due(household, account)
    assert [loaded_flag(household, account, series) for series in USUAL_SERIES] == [None, curves]
    household.backfill(account)
    assert loaded_flag(household, account) == "1"


def test_a_history_is_due_again_also_while_redis_is_away(
    filled: tuple[Household, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    household, account = filled
    with monkeypatch.context() as away:
        away.setattr(household.redis, "execute_command", None)
        away.setattr(household.redis, "pipeline", Redis(port=1).pipeline)
        resume(household, account)
    assert household.backfill(account) == [] and loaded_flag(household, account) == "1"


@pytest.mark.parametrize("make_due", [resume, rebuild_after_a_loss_of_documents])
def test_a_history_that_is_made_due_while_its_end_is_noted_stays_due(
    filled: tuple[Household, str], monkeypatch: pytest.MonkeyPatch, make_due: Callable[[Household, str], None]
) -> None:
    household, account = filled
    find = History.reachable_windows

    def find_and_be_overtaken(history: History, *asked: Any) -> Any:
        found = find(history, *asked)
        household.at += timedelta(seconds=1)
        make_due(household, account)
        return found

    resume(household, account)
    with monkeypatch.context() as overtaken:
        overtaken.setattr(History, "reachable_windows", find_and_be_overtaken)
        assert household.claims.claim_history(account, DAILY) is None
    assert [row.account_id for row in household.histories(DAILY)] == [account]
    assert loaded_flag(household, account) is None


def test_a_flag_decides_nothing_and_a_lost_one_comes_back_with_the_next_night(filled: tuple[Household, str]) -> None:
    household, account = filled
    household.lose_redis()
    household.run(household.claim_look_back(account, DAILY))
    assert [loaded_flag(household, account, series) for series in USUAL_SERIES] == ["1", None]
    assert household.backfill(account) == []
    new = household.add_another()
    household.progress.note_loaded(new, DAILY, loaded=True)
    assert len(household.history.missing_windows(new, DAILY)) == 3


def test_no_look_writes_and_none_asks_redis(filled: tuple[Household, str], monkeypatch: pytest.MonkeyPatch) -> None:
    household, account = filled
    household.at += timedelta(days=60)
    monkeypatch.setattr(household, "progress", None)
    with watch_statements(changes_something) as written:
        for series in Series:
            household.history.reachable_windows(account, household.history.load(account, series)[series])
            household.history.count_days(account, series)
            household.history.covers(account, series, DateWindow(TODAY, TODAY + ONE_DAY))
        status_of(household.registry.accounts.get(account), household.history)
    assert written == []


def test_a_full_history_lacks_nothing_and_grows_with_each_night(filled: tuple[Household, str]) -> None:
    household, account = filled
    assert household.backfill(account) == []
    household.at += timedelta(days=1)
    assert household.history.missing_windows(account, CURVE) == [DateWindow(TODAY, TODAY + ONE_DAY)]
    household.run(household.claim_look_back(account, CURVE))
    assert household.history.missing_windows(account, CURVE) == []


def test_a_night_that_ends_after_redis_was_emptied_asks_for_nothing_of_the_history(
    filled: tuple[Household, str],
) -> None:
    household, account = filled
    household.lose_redis()
    for series in USUAL_SERIES:
        household.run(household.claim_look_back(account, series))
    household.supplier.asked.clear()
    assert household.backfill(account) == []
    assert household.supplier.asked == []


def test_days_before_the_first_one_are_never_missing(household: Household) -> None:
    household.supplier.daily = serving_days(three_years())
    account = household.add()
    household.registry.database.change(update(ACCOUNTS).values(activated_on=TODAY - 10 * ONE_DAY))
    assert household.history.load(account, DAILY)[DAILY].undone_windows() == [DateWindow(TODAY - 10 * ONE_DAY, TODAY)]
    jobs = [job for job in household.backfill(account) if job["series"] == DAILY.value]
    assert [job["start"] for job in jobs] == [str(TODAY - 10 * ONE_DAY)]
    assert household.history.count_days(account, DAILY) == (1095, 1095)
    assert household.histories(DAILY) == []


def test_days_that_the_supplier_never_had_are_not_asked_again_after_a_loss(household: Household) -> None:
    holed = {day: rows for day, rows in four_weeks().items() if day.day != 10}
    household.supplier.curve = serving_curves(holed)  # type: ignore[arg-type]
    account = household.add()
    household.backfill(account)
    household.lose_redis()
    assert household.backfill(account) == []


def test_what_lies_before_the_floor_is_done_with(household: Household) -> None:
    floor = date(2024, 5, 1)
    values = {day: energy for day, energy in three_years().items() if day >= floor}
    serve = serving_days(values)
    household.supplier.daily = lambda window: (
        serve(window) if window.start >= floor else Answer(AnswerKind.BEFORE_HISTORY)
    )
    account = household.add()
    jobs = [job for job in household.backfill(account) if job["series"] == DAILY.value]
    assert len(jobs) == 1  # The two older years would only be refused again.
    assert len(content(household.measures, account)[Doctype.DAY]) == len(values)
    assert household.history.count_days(account, DAILY) == (1095, 1095)


def test_a_meter_activated_today_has_no_history_and_no_endless_backfill(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = Answer(AnswerKind.BEFORE_HISTORY)
    account = household.add()
    assert len(household.backfill(account)) == 2
    assert household.history.count_days(account, DAILY) == (1095, 1095)


def test_an_end_too_late_leaves_yesterday_to_the_next_try_without_going_round_in_circles(household: Household) -> None:
    serve = serving_days(three_years())
    household.supplier.daily = lambda window: serve(window) if window.end < TODAY else Answer(AnswerKind.END_TOO_LATE)
    account = household.add()
    household.backfill(account)
    assert len(content(household.measures, account)[Doctype.DAY]) == 1094
    household.at += timedelta(days=1)
    household.supplier.daily = serve
    household.run(household.claim_look_back(account, DAILY))
    assert len(content(household.measures, account)[Doctype.DAY]) == 1095


def test_stored_days_below_the_floor_do_not_hide_it(household: Household) -> None:
    """The supplier has forgotten days that were stored in time: the mark goes below them."""
    account, floor = household.add(), TODAY - 400 * ONE_DAY
    mark_asked(household.registry, account, DAILY, DateWindow(floor - 400 * ONE_DAY, floor))
    serve = serving_days(three_years())
    household.supplier.daily = lambda window: (
        serve(window) if window.start >= floor else Answer(AnswerKind.BEFORE_HISTORY)
    )
    household.backfill(account)
    ledger = household.registry.completeness.load_ledger(account, DAILY)
    assert ledger.start is not None and ledger.mark_of(ledger.start) == BEFORE
    assert household.history.missing_windows(account, DAILY) == []


def as_loaded_by_0_2_0(household: Household, account: str, series: Series, days: int) -> None:
    """Store the row of a history that 0.2.0 has loaded, of which only the newest days are in the ledger."""
    mark_asked(household.registry, account, series, DateWindow(TODAY - days * ONE_DAY, TODAY))
    set_history_due(household.registry, account, series, None)


def test_what_0_2_0_has_loaded_stays_loaded_and_the_next_window_notes_where_it_begins(household: Household) -> None:
    account = household.add()
    as_loaded_by_0_2_0(household, account, DAILY, 30)
    assert household.history.missing_windows(account, DAILY) == []
    assert household.history.count_days(account, DAILY) == (1095, 1095)
    household.supplier.daily = serving_days(three_years())
    household.run(household.claim_look_back(account, DAILY))
    assert household.histories(DAILY) == []
    assert str(household.registry.completeness.load_ledger(account, DAILY)) == "2024-06-24 1b 30c"
    set_history_due(household.registry, account, DAILY, household.at)
    assert household.history.missing_windows(account, DAILY) == [], "also when it is due again"


def test_a_history_that_0_2_0_has_not_loaded_goes_on(household: Household) -> None:
    account = household.add()
    mark_asked(household.registry, account, DAILY, DateWindow(TODAY - 30 * ONE_DAY, TODAY))
    assert household.history.missing_windows(account, DAILY)[0].end == TODAY - 30 * ONE_DAY


def test_a_deeper_history_of_curves_is_loaded_when_the_setting_is_raised(household: Household) -> None:
    account = household.add()
    as_loaded_by_0_2_0(household, account, CURVE, 28)
    household.supplier.curve = serving_curves(four_weeks())  # type: ignore[arg-type]
    household.run(household.claim_look_back(account, CURVE))
    assert household.histories(CURVE) == []
    deeper = household.with_settings(curve_days=60)
    deeper.run(deeper.claim_look_back(account, CURVE))
    assert [row.account_id for row in deeper.histories(CURVE)] == [account]
    assert len(deeper.backfill(account)) > 0
    assert deeper.history.count_days(account, CURVE) == (60, 60)


@settings(max_examples=examples(8, desk=4), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(4)), st.sets(st.integers(0, 4)), st.integers(0, 4))
def test_windows_in_any_order_with_losses_of_redis_between_them_leave_the_same_days(
    household: Household, order: list[int], losses: set[int], stored: int
) -> None:
    service = household.with_settings()
    service.supplier.curve = serving_curves(four_weeks())  # type: ignore[arg-type]
    account = service.add_another()
    windows = service.history.missing_windows(account, CURVE)
    for turn, number in enumerate(order[:stored]):
        if turn in losses:
            service.lose_redis()
        service.run(service.claims.to_job(account, CURVE, windows[number]))
    service.lose_redis()
    left = [windows[number] for number in sorted(order[stored:])]
    assert service.history.load(account, CURVE)[CURVE].undone_windows() == merge_windows(left)
    tried = [window_of(job) for job in service.backfill(account) if job["series"] == CURVE]
    # Of a history that lacks the newest week alone, the look-back asks for it.
    assert tried == ([] if left == windows[:1] else left)
    service.look_back(account, CURVE)
    assert service.history.missing_windows(account, CURVE) == []
    assert loaded_flag(service, account, CURVE) == "1"


def test_a_nights_window_asks_the_registry_as_often_as_0_2_0_and_redis_once_less(
    filled: tuple[Household, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    household, account = filled
    household.at += timedelta(days=1)
    household.supplier.daily = serving_days({**three_years(), TODAY: 5000})
    job, calls = household.claim_look_back(account, DAILY), list[object]()
    send = Connection.send_packed_command
    monkeypatch.setattr(
        Connection, "send_packed_command", lambda self, *args, **more: calls.append(args) or send(self, *args, **more)
    )
    with watch_statements(lambda statement: not statement.startswith("BEGIN")) as statements:
        assert household.run(job)
    assert (len(statements), len(calls)) == (9 + 2, 5), "two look for outputs that are to be told"
