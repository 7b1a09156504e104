"""The rules of incidents: when many failures open one, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import NOW
from worker.domain.incident import (
    REFUSALS,
    FailureCount,
    Incident,
    IncidentKind,
    ProbeResult,
    Thresholds,
    is_believed,
    is_incident,
    judge_probe,
    kind_of,
)
from worker.errors import (
    ConsentRevoked,
    HolderChanged,
    IncidentOpen,
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

KINDS = st.sampled_from(IncidentKind)
LIMITS = st.builds(Thresholds, st.integers(0, 50), st.floats(0.01, 1.0), st.just(10.0))


@pytest.mark.parametrize(
    "error, kind",
    [
        (SupplierUnavailable("500"), IncidentKind.OUTAGE),
        (OperatorFault("key"), IncidentKind.APPLICATION),
        (MalformedAnswer("odd"), IncidentKind.ANSWERS),
        (ConsentRevoked("no"), IncidentKind.CONSENT),
        (RefreshTokenDead("dead"), IncidentKind.CONSENT),
        (RefreshAnswerLost("lost"), None),
        (HolderChanged("moved"), IncidentKind.HOLDER),
        (UnknownUsagePoint("who"), IncidentKind.METER),
        (LoginFailed("no"), IncidentKind.LOGIN),
        (RateLimited("wait"), None),
        (IncidentOpen("wait"), None),
        (StoreUnavailable("ours"), None),
        (UnknownAccount("gone"), None),
        (RequestRefused("our bug"), None),
        (WriteRefused("ours"), None),
        (WorkerError("unforeseen"), None),
    ],
)
def test_a_failure_speaks_of_the_supplier_or_of_nobody(error: WorkerError, kind: IncidentKind | None) -> None:
    assert kind_of(error) is kind


@given(KINDS, st.integers(0, 60), st.integers(0, 200), LIMITS)
def test_it_takes_the_threshold_of_accounts_and_never_fewer(
    kind: IncidentKind, failed: int, tried: int, limits: Thresholds
) -> None:
    if is_incident(kind, FailureCount(failed, tried), limits):
        assert 0 < limits.accounts <= failed


@given(KINDS, st.integers(0, 60), st.integers(0, 200), LIMITS)
def test_more_that_fail_alike_make_it_no_less_an_incident_and_more_that_are_well_no_more(
    kind: IncidentKind, failed: int, well: int, limits: Thresholds
) -> None:
    is_open = is_incident(kind, FailureCount(failed, failed + well), limits)
    assert is_open <= is_incident(kind, FailureCount(failed + 1, failed + 1 + well), limits)
    assert is_incident(kind, FailureCount(failed, failed + well + 1), limits) <= is_open


@pytest.mark.parametrize(
    "refused, tried, open_now",
    [(4, 4, False), (5, 5, True), (5, 0, True), (5, 25, True), (5, 26, False), (19, 100, False), (20, 100, True)],
)
def test_refusals_are_one_when_many_of_those_tried_are_refused(refused: int, tried: int, open_now: bool) -> None:
    assert {is_incident(kind, FailureCount(refused, tried), Thresholds(5, 0.8, 10)) for kind in REFUSALS} == {open_now}


@pytest.mark.parametrize("failed, tried, open_now", [(4, 4, False), (5, 5, True), (7, 10, False), (8, 10, True)])
def test_an_outage_is_one_when_nearly_nobody_is_answered(failed: int, tried: int, open_now: bool) -> None:
    assert is_incident(IncidentKind.OUTAGE, FailureCount(failed, tried), Thresholds(5, 0.8, 10)) is open_now


def test_probes_wait_twice_as_long_each_time_and_fifteen_minutes_at_most() -> None:
    incident = Incident("i", "daily", IncidentKind.OUTAGE, NOW)
    due = [replace(incident, rounds=rounds).next_round_at(60) - NOW for rounds in (*range(6), 1003, 1004)]
    assert [wait.total_seconds() / 60 for wait in due] == [1, 3, 7, 15, 30, 45, 15 * 1001, 15 * 1002]


def test_refusals_are_believed_for_a_week_after_disbelief_ended_and_for_a_day_after_an_operator_ended_it() -> None:
    def days_believed(how: str) -> int:
        past = [Incident("i", "holder", IncidentKind.HOLDER, NOW, ended_at=NOW, how=how)]
        assert not is_believed(IncidentKind.CONSENT, past, NOW)
        return sum(is_believed(IncidentKind.HOLDER, past, NOW + timedelta(days=day)) for day in range(30))

    assert {how: days_believed(how) for how in ("believed", "by_hand", "probes")} == {
        "believed": 7,
        "by_hand": 1,
        "probes": 0,
    }


@pytest.mark.parametrize(
    "kind, error, verdict",
    [
        (IncidentKind.OUTAGE, None, ProbeResult.PASSED),
        (IncidentKind.OUTAGE, SupplierUnavailable("500"), ProbeResult.FAILED),
        (IncidentKind.OUTAGE, OperatorFault("key"), ProbeResult.FAILED),  # Still no account is served.
        (IncidentKind.OUTAGE, ConsentRevoked("no"), ProbeResult.PASSED),  # The supplier answers.
        (
            IncidentKind.OUTAGE,
            RefreshAnswerLost("lost"),
            ProbeResult.PASSED,
        ),  # It is a refusal too, because the token was lost before.
        (IncidentKind.ANSWERS, RefreshTokenDead("dead"), ProbeResult.PASSED),
        (IncidentKind.OUTAGE, RequestRefused("400"), ProbeResult.PASSED),
        (IncidentKind.OUTAGE, MalformedAnswer("?"), ProbeResult.FAILED),
        (IncidentKind.OUTAGE, RateLimited("wait"), ProbeResult.SAYS_NOTHING),
        (IncidentKind.OUTAGE, StoreUnavailable("ours"), ProbeResult.SAYS_NOTHING),
        (IncidentKind.HOLDER, None, ProbeResult.PASSED),
        (IncidentKind.HOLDER, HolderChanged("moved"), ProbeResult.FAILED),
        (IncidentKind.HOLDER, ConsentRevoked("no"), ProbeResult.SAYS_NOTHING),
    ],
)
def test_what_a_probe_says(kind: IncidentKind, error: WorkerError | None, verdict: ProbeResult) -> None:
    assert judge_probe(kind, error) is verdict


def test_disbelief_and_what_was_opened_by_hand_end_in_time_and_an_outage_when_it_is_over() -> None:
    days = {kind: _days_until_overdue(kind) for kind in IncidentKind}
    assert days == {
        IncidentKind.OUTAGE: None,
        IncidentKind.APPLICATION: None,
        IncidentKind.ANSWERS: None,
        IncidentKind.CONSENT: (3, "believed"),
        IncidentKind.HOLDER: (45, "believed"),
        IncidentKind.METER: (3, "believed"),
        IncidentKind.LOGIN: (3, "believed"),
        IncidentKind.BY_HAND: (1, "expired"),
    }


def _days_until_overdue(kind: IncidentKind) -> tuple[int, str] | None:
    incident = Incident("i", "daily", kind, NOW)
    return next(((day, how) for day in range(100) if (how := incident.expiry_reason(NOW + timedelta(days=day)))), None)
