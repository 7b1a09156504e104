"""When the same failure on many accounts is the supplier's: the law alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import NOW
from worker.domain.fleet.incidents import (
    REFUSALS,
    Burst,
    Canary,
    Incident,
    Kind,
    Thresholds,
    is_incident,
    judge_canary,
    kind_of,
    probe_wait_s,
)
from worker.errors import (
    ConsentNotThere,
    ConsentRevoked,
    Held,
    HolderChanged,
    LoginFailed,
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    RefreshAnswerLost,
    RefreshTokenDead,
    RequestRefused,
    StoreUnavailable,
    SupplierUnavailable,
    UnknownAccount,
    UnknownUsagePoint,
    WorkerError,
    WriteRefused,
)

KINDS = st.sampled_from(Kind)
LIMITS = st.builds(Thresholds, st.integers(0, 50), st.floats(0.01, 1.0), st.just(10.0))


@pytest.mark.parametrize(
    "error, kind",
    [
        (SupplierUnavailable("500"), Kind.OUTAGE),
        (ConsentNotThere("a moment ago"), None),
        (OperatorFault("key"), Kind.APPLICATION),
        (MalformedAnswer("odd"), Kind.ANSWERS),
        (ConsentRevoked("no"), Kind.CONSENT),
        (RefreshTokenDead("dead"), Kind.CONSENT),
        (RefreshAnswerLost("lost"), None),
        (HolderChanged("moved"), Kind.HOLDER),
        (UnknownUsagePoint("who"), Kind.METER),
        (LoginFailed("no"), Kind.LOGIN),
        (RateLimited("wait"), None),
        (Held("wait"), None),
        (StoreUnavailable("ours"), None),
        (UnknownAccount("gone"), None),
        (RequestRefused("our bug"), None),
        (WriteRefused("ours"), None),
        (WorkerError("unforeseen"), None),
    ],
)
def test_a_failure_speaks_of_the_supplier_or_of_nobody(error: WorkerError, kind: Kind | None) -> None:
    assert kind_of(error) is kind


@given(KINDS, st.integers(0, 60), st.integers(0, 200), LIMITS)
def test_it_takes_the_threshold_of_accounts_and_never_fewer(
    kind: Kind, failed: int, tried: int, limits: Thresholds
) -> None:
    if is_incident(kind, Burst(failed, tried), limits):
        assert 0 < limits.accounts <= failed


@given(KINDS, st.integers(0, 60), st.integers(0, 200), LIMITS)
def test_more_that_fail_alike_make_it_no_less_an_incident_and_more_that_are_well_no_more(
    kind: Kind, failed: int, well: int, limits: Thresholds
) -> None:
    found = is_incident(kind, Burst(failed, failed + well), limits)
    assert found <= is_incident(kind, Burst(failed + 1, failed + 1 + well), limits)
    assert is_incident(kind, Burst(failed, failed + well + 1), limits) <= found


@pytest.mark.parametrize(
    "affected, tried, storm",
    [(4, 4, False), (5, 5, True), (5, 0, True), (5, 25, True), (5, 26, False), (19, 100, False), (20, 100, True)],
)
def test_refusals_are_one_when_many_of_those_tried_are_refused(affected: int, tried: int, storm: bool) -> None:
    assert {is_incident(kind, Burst(affected, tried), Thresholds()) for kind in REFUSALS} == {storm}


@pytest.mark.parametrize("failed, tried, open_now", [(4, 4, False), (5, 5, True), (7, 10, False), (8, 10, True)])
def test_an_outage_is_one_when_nearly_nobody_is_answered(failed: int, tried: int, open_now: bool) -> None:
    assert is_incident(Kind.OUTAGE, Burst(failed, tried), Thresholds()) is open_now


def test_canaries_wait_twice_as_long_each_time_and_fifteen_minutes_at_most() -> None:
    assert [probe_wait_s(rounds, 60) / 60 for rounds in (*range(6), 2000)] == [1, 2, 4, 8, 15, 15, 15]


@pytest.mark.parametrize(
    "kind, error, verdict",
    [
        (Kind.OUTAGE, None, Canary.PASSED),
        (Kind.OUTAGE, SupplierUnavailable("500"), Canary.FAILED),
        (Kind.OUTAGE, OperatorFault("key"), Canary.FAILED),  # still nobody is served
        (Kind.OUTAGE, ConsentRevoked("no"), Canary.PASSED),  # it answers
        (Kind.OUTAGE, RefreshAnswerLost("lost"), Canary.PASSED),  # a refusal too: what was lost, was lost before
        (Kind.ANSWERS, RefreshTokenDead("dead"), Canary.PASSED),
        (Kind.OUTAGE, RequestRefused("400"), Canary.PASSED),
        (Kind.OUTAGE, MalformedAnswer("?"), Canary.FAILED),
        (Kind.OUTAGE, RateLimited("wait"), Canary.SAYS_NOTHING),
        (Kind.OUTAGE, StoreUnavailable("ours"), Canary.SAYS_NOTHING),
        (Kind.HOLDER, None, Canary.PASSED),
        (Kind.HOLDER, HolderChanged("moved"), Canary.FAILED),
        (Kind.HOLDER, ConsentRevoked("no"), Canary.SAYS_NOTHING),
    ],
)
def test_what_a_canary_says(kind: Kind, error: WorkerError | None, verdict: Canary) -> None:
    assert judge_canary(kind, error) is verdict


def test_disbelief_and_what_was_opened_by_hand_end_in_time_and_an_outage_when_it_is_over() -> None:
    days = {kind: _days_until_overdue(kind) for kind in Kind}
    assert days == {
        Kind.OUTAGE: None,
        Kind.APPLICATION: None,
        Kind.ANSWERS: None,
        Kind.CONSENT: (3, "believed"),
        Kind.HOLDER: (45, "believed"),
        Kind.METER: (3, "believed"),
        Kind.LOGIN: (3, "believed"),
        Kind.BY_HAND: (1, "expired"),
    }


def _days_until_overdue(kind: Kind) -> tuple[int, str] | None:
    incident = Incident("i", "daily", kind, NOW)
    return next(((day, how) for day in range(100) if (how := incident.overdue(NOW + timedelta(days=day)))), None)
