"""An incident from its first failure to the replay: no useless calls, no penalties, and all windows due again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import serving_days
from tests.support.window_runs import days
from tests.unit.conftest import Household, open_household
from worker.domain.account import AccountState
from worker.domain.answers import Json
from worker.domain.incident import PROBE, PROBES_TO_PASS, IncidentKind, Thresholds
from worker.domain.lanes import enter_lane, leave_lane
from worker.domain.notice import NoticeKind
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import DateWindow
from worker.errors import (
    ConsentRevoked,
    HolderChanged,
    IncidentOpen,
    LoginFailed,
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    StoreUnavailable,
    SupplierUnavailable,
    WorkerError,
)
from worker.stores.redis.connection import connect
from worker.stores.redis.incidents import IncidentStore
from worker.sync.incidents import IncidentProber

DOWN = SupplierUnavailable("500")
EVERYTHING_BAD: list[WorkerError] = [DOWN, OperatorFault("key"), MalformedAnswer("odd")]
ALL_ERRORS: list[WorkerError] = [*EVERYTHING_BAD, ConsentRevoked("no"), HolderChanged("moved"), LoginFailed("refused")]


class Fleet:
    """A service with accounts; each call to the supplier raises ``fault``, or gets an answer if that is None."""

    def __init__(self, household: Household, homes: int) -> None:
        self.household = household
        self.homes = [household.add(number) for number in range(11, 11 + homes)]
        self.fault: WorkerError | None = None
        self.calls = 0
        household.supplier.daily = self._answer(serving_days(days("2024-07-20", 5000, 6000)))
        household.supplier.curve = self._answer(lambda window: None)

    def _answer(self, well: Callable[[DateWindow], Json]) -> Callable[[DateWindow], Json]:
        def answer(window: DateWindow) -> Json:
            self.calls += 1
            if self.fault is not None:
                raise self.fault
            return well(window)

        return answer

    def look_back(self, home: str, series: Series = Series.DAILY) -> bool:
        """Publish and sync a look-back where it is due, and return whether it was published at all."""
        if self.household.claims.is_held(series) or self.waits(home, series):
            return False
        with task("nightly"):
            self.household.run(self.household.claim_look_back(home, series))
        return True

    def waits(self, home: str, series: Series) -> bool:
        """Return whether the series waits for its next try."""
        outcome = self.household.registry.outcomes.load(home).get(series)
        return outcome is not None and outcome.again_at is not None and outcome.again_at > self.household.at

    def night(self, fault: WorkerError | None, series: Series = Series.DAILY) -> int:
        """Publish the look-backs of all accounts, and return how many were published."""
        self.fault = fault
        return sum(self.look_back(home, series) for home in self.homes)

    def probe(self) -> None:
        IncidentProber(
            incidents=self.household.incidents,
            claims=self.household.claims,
            sync_window=self.household.window_sync.sync_window,
        ).run()

    def probe_with(self, fault: WorkerError | None) -> None:
        """Probe a minute later, when each call meets ``fault``."""
        self.fault = fault
        self.pass_time(1)
        self.probe()

    def pass_time(self, minutes: float) -> None:
        self.household.at += timedelta(minutes=minutes)

    @property
    def kinds(self) -> list[IncidentKind]:
        return [incident.kind for incident in self.household.incidents.list_open()]

    def count_waiting(self) -> int:
        """Return how many series wait for their next try."""
        return sum(self.waits(home, series) for home in self.homes for series in USUAL_SERIES)

    def states(self) -> set[AccountState]:
        return {self.household.registry.accounts.get(home).state for home in self.homes}


@contextmanager
def task(queue: str) -> Iterator[None]:
    token = enter_lane(queue)
    try:
        yield
    finally:
        leave_lane(token)


@pytest.fixture
def fleet(household: Household) -> Fleet:
    return Fleet(household, 12)


@pytest.fixture(scope="module")
def lasting(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Yield one service for all examples; its Redis is emptied before each."""
    with open_household(redis_url, tmp_path_factory.mktemp("incidents")) as household:
        yield Fleet(household, 8)


# -- It opens


@pytest.mark.parametrize(
    "fault, kind",
    [
        (DOWN, IncidentKind.OUTAGE),
        (OperatorFault("key"), IncidentKind.APPLICATION),
        (MalformedAnswer("odd"), IncidentKind.ANSWERS),
    ],
)
def test_what_fails_for_all_is_an_incident_after_a_few_calls_and_then_nobody_is_asked(
    fleet: Fleet, fault: WorkerError, kind: IncidentKind, caplog: pytest.LogCaptureFixture
) -> None:
    assert fleet.night(fault) == 5, "the others are not even published"
    assert fleet.kinds == [kind]
    assert fleet.calls == 5
    assert (fleet.states(), fleet.household.incidents.is_open()) == ({AccountState.READY}, False)
    fleet.night(fault, Series.LOAD_CURVE)
    assert fleet.kinds == [kind, kind]
    assert fleet.household.incidents.is_open()
    assert fleet.night(fault) == 0
    assert fleet.calls == 10
    assert [line for line in caplog.messages if line == "incident open"] == ["incident open"] * 2
    notices = fleet.household.claim_due_notices()
    assert [(notice.kind, notice.reason) for notice in notices] == [(NoticeKind.INCIDENT, kind.value)] * 2


def test_three_homes_are_too_few_to_tell_and_all_is_as_ever(household: Household) -> None:
    fleet = Fleet(household, 3)
    for _ in range(8):
        assert fleet.night(DOWN) == 3
        assert fleet.count_waiting() in (3, 0), "after the fifth failure in a row it is the next night's"
        fleet.pass_time(24 * 60)
    assert fleet.kinds == []


def test_answers_of_which_nothing_can_be_used_are_an_incident(fleet: Fleet) -> None:
    fleet.household.supplier.daily = serving_days({date(2024, 7, 20): "nonsense"})
    fleet.night(None)
    assert fleet.kinds == [IncidentKind.ANSWERS]


def test_refusals_of_many_hold_nobody_up_and_set_nobody_aside(fleet: Fleet) -> None:
    assert fleet.night(HolderChanged("moved")) == 12, "some may be served: all are asked"
    assert fleet.kinds == [IncidentKind.HOLDER]
    assert fleet.states() == {AccountState.READY}
    assert not fleet.household.incidents.is_held(Series.DAILY)


def test_where_incidents_are_switched_off_nothing_is_one(fleet: Fleet) -> None:
    household = fleet.household
    incidents = replace(household.incidents, thresholds=Thresholds(accounts=0, share=0.8, minutes=10))
    for home in fleet.homes:
        incidents.record_failure(household.claims.manual_look_back(home, Series.DAILY), DOWN)
    assert incidents.list_open() == []
    assert not incidents.may_open(IncidentKind.HOLDER)


# -- While it is open


def test_a_window_that_is_queued_already_ends_without_a_call_and_as_if_it_had_not_been(fleet: Fleet) -> None:
    household, home = fleet.household, fleet.homes[-1]
    job = fleet.household.claim_look_back(home, Series.DAILY)
    fleet.fault = DOWN
    for other in fleet.homes[:-1]:
        fleet.look_back(other)
    calls = fleet.calls
    with task("nightly"), pytest.raises(IncidentOpen):
        household.window_sync.fetch(job)
    household.results.record_failure(job, IncidentOpen("held"))
    assert fleet.calls == calls
    assert household.claims.in_flight("nightly") == {}
    assert household.registry.outcomes.load(home) == {}
    assert household.incidents.list_open()[0].windows_held == 1


def test_probes_and_whoever_asks_by_hand_are_let_through(fleet: Fleet) -> None:
    fleet.night(DOWN)
    fleet.fault = None
    by_hand = fleet.household.claims.manual_look_back(fleet.homes[0], Series.DAILY)
    assert fleet.household.window_sync.fetch(by_hand)["facts"]["fetched"] == 2
    with task("control"):
        assert fleet.household.window_sync.fetch({**by_hand, "claim": PROBE})["facts"]["fetched"] == 2
        with pytest.raises(IncidentOpen):
            fleet.household.window_sync.fetch(by_hand)


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(ALL_ERRORS)), min_size=1, max_size=12))
def test_no_attempt_is_counted_and_no_account_set_aside_while_one_holds(
    lasting: Fleet, failures: list[tuple[int, WorkerError]]
) -> None:
    lasting.household.lose_redis()
    published = {home: lasting.household.claim_look_back(home, Series.DAILY) for home in lasting.homes}
    for home in lasting.homes:
        lasting.household.incidents.record_failure(lasting.household.claims.manual_look_back(home, Series.DAILY), DOWN)
    assert lasting.kinds == [IncidentKind.OUTAGE]
    for number, error in failures:
        if job := published.pop(lasting.homes[number], None):
            lasting.household.results.record_failure(job, error)
    assert lasting.count_waiting() == 0, "once it is over, all is due at once"
    assert lasting.states() == {AccountState.READY}


def test_an_outage_of_the_curve_holds_up_no_daily_value(fleet: Fleet) -> None:
    fleet.night(DOWN, Series.LOAD_CURVE)
    assert fleet.night(None, Series.DAILY) == 12
    assert fleet.night(None, Series.LOAD_CURVE) == 0
    assert not fleet.household.incidents.is_open()
    jobs = [fleet.household.claims.claim_history(fleet.homes[0], series) for series in USUAL_SERIES]
    assert [job is not None for job in jobs] == [True, False]


def test_a_lost_redis_costs_seeing_it_again(fleet: Fleet) -> None:
    fleet.night(DOWN)
    fleet.household.lose_redis()
    assert fleet.kinds == []
    assert fleet.night(DOWN) == 5
    assert fleet.kinds == [IncidentKind.OUTAGE]


def test_a_redis_that_is_away_hides_no_failure_and_opens_nothing(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    with connect("redis://127.0.0.1:1/0") as nobody:
        incidents = replace(fleet.household.incidents, store=IncidentStore(nobody))
        job = fleet.household.claims.manual_look_back(fleet.homes[0], Series.DAILY)
        incidents.record_failure(job, DOWN)
        incidents.record_answer(job, usable=True)
        with pytest.raises(StoreUnavailable):
            incidents.is_held(Series.DAILY)
    assert len([line for line in caplog.messages if "not recorded" in line]) == 2


# -- It ends


def test_probes_are_sent_with_growing_waits_and_each_round_in_vain_costs_one_call(fleet: Fleet) -> None:
    fleet.night(DOWN)
    spent, asked_at = fleet.calls, []
    for minute in range(1, 61):
        fleet.pass_time(1)
        fleet.probe()
        if fleet.calls > spent:
            assert fleet.calls == spent + 1
            spent = fleet.calls
            asked_at.append(minute)
    assert asked_at == [1, 3, 7, 15, 30, 45, 60]
    assert fleet.kinds == [IncidentKind.OUTAGE]


@pytest.mark.parametrize("fault", EVERYTHING_BAD, ids=lambda fault: type(fault).__name__)
def test_when_probes_are_answered_it_is_over_and_all_is_due_as_if_nothing_had_been(
    fleet: Fleet, fault: WorkerError
) -> None:
    """Failures before the incident was known had counted, and some had kept their claims."""
    fleet.night(fault)
    spent = fleet.calls
    fleet.probe_with(None)
    assert fleet.calls == spent + PROBES_TO_PASS
    assert fleet.kinds == []
    assert fleet.count_waiting() == 0
    assert fleet.night(None) == 12
    (over,) = fleet.household.incidents.store.closed_incidents()
    assert (over.how, over.failed_calls, over.accounts, over.rounds) == ("probes", 5, 5, 1)
    assert over.ended_at == fleet.household.at
    assert {notice.kind for notice in fleet.household.claim_due_notices()} == {
        NoticeKind.INCIDENT,
        NoticeKind.INCIDENT_OVER,
    }


def test_refused_accounts_are_asked_for_again_at_once_when_they_are_served_again(fleet: Fleet) -> None:
    fleet.night(HolderChanged("moved"))
    assert not fleet.look_back(fleet.homes[-1]), "it waits six hours"
    fleet.probe_with(None)
    assert fleet.kinds == []
    assert fleet.night(None) == 12


@pytest.mark.parametrize("fault", [RateLimited("wait"), StoreUnavailable("ours")])
def test_a_probe_that_says_nothing_ends_nothing(fleet: Fleet, fault: WorkerError) -> None:
    fleet.night(DOWN)
    fleet.probe_with(fault)
    assert fleet.kinds == [IncidentKind.OUTAGE]


def test_a_supplier_that_refuses_is_there_again(fleet: Fleet) -> None:
    fleet.night(DOWN)
    fleet.probe_with(ConsentRevoked("no"))
    assert fleet.kinds == []
    assert fleet.states() == {AccountState.READY}, "a probe is no sighting"


def test_where_all_that_it_touched_are_gone_anybody_is_a_probe(fleet: Fleet) -> None:
    fleet.night(DOWN)
    for home in fleet.homes[:5]:
        fleet.household.registry.accounts.remove(home, fleet.household.at)
    fleet.probe_with(None)
    assert fleet.kinds == []


def test_refusals_that_outlast_all_patience_are_believed(fleet: Fleet) -> None:
    fleet.night(ConsentRevoked("no"))
    assert fleet.kinds == [IncidentKind.CONSENT]
    for _ in range(3):
        fleet.pass_time(24 * 60)
        fleet.probe()
    assert (fleet.kinds, fleet.household.incidents.store.closed_incidents()[0].how) == ([], "believed")
    assert fleet.night(ConsentRevoked("no")) == 12
    fleet.pass_time(7 * 60)
    for home in fleet.homes:
        fleet.household.refusals.record_refusal(home, ConsentRevoked("no"))
    assert fleet.states() == {AccountState.ACTION_NEEDED}


def test_one_opened_by_hand_is_closed_by_no_probe_and_by_a_day(fleet: Fleet) -> None:
    assert {incident.kind for incident in fleet.household.incidents.open_by_hand()} == {IncidentKind.BY_HAND}
    assert fleet.household.incidents.open_by_hand() != []
    for _ in range(23):
        fleet.pass_time(60)
        fleet.probe()
    assert fleet.household.incidents.is_open() and fleet.calls == 0
    fleet.pass_time(60)
    fleet.probe()
    assert fleet.kinds == []
    assert {over.how for over in fleet.household.incidents.store.closed_incidents()} == {"expired"}
    assert fleet.night(None) == 12


def test_one_that_comes_again_opens_anew_after_as_many_failures(fleet: Fleet) -> None:
    for lap in range(1, 4):
        fleet.night(DOWN)
        assert (fleet.kinds, fleet.calls) == ([IncidentKind.OUTAGE], (5 + PROBES_TO_PASS) * lap - PROBES_TO_PASS)
        fleet.probe_with(None)
        assert (fleet.kinds, fleet.count_waiting()) == ([], 0)
    assert len(fleet.household.incidents.store.closed_incidents()) == 3


def test_no_line_names_a_meter(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "releve"):
        fleet.night(DOWN)
        fleet.probe_with(None)
    assert "300016400000" not in caplog.text
    assert caplog.messages.count("probe answered") == PROBES_TO_PASS
