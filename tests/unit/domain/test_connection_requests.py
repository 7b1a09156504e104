"""Connection requests: which event leads where, what proves a consent, and when the supplier is asked again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.connection_request import (
    TRANSITIONS,
    ConnectionRequest,
    RequestEvent,
    RequestState,
    find_proof,
)
from worker.domain.consents import REQUEST_LIFE, ConsentKind, Proof, SharedMeter
from worker.domain.transitions import WrongState

NOW = datetime(2024, 7, 25, 7, tzinfo=UTC)
TODAY = date(2024, 7, 25)
METER, OTHER = "30001640000011", "30001640000022"
NEW = ConnectionRequest(id="r", supplier="enedis", browser="b", begun_on=TODAY, created_at=NOW)
BY_SUPPLIER = (ConsentKind.CODE, ConsentKind.ID_TOKEN)


@pytest.mark.parametrize("state", RequestState)
@pytest.mark.parametrize("event", RequestEvent)
def test_only_the_events_of_the_table_happen(state: RequestState, event: RequestEvent) -> None:
    request = replace(NEW, state=state)
    after = TRANSITIONS.get((state, event))
    if after is not None:
        assert request.after(event).state is after
    else:
        gone = f"was {event} is gone" if (state, event) in TRANSITIONS else f"that is {state} can't be {event}"
        with pytest.raises(WrongState, match=gone):
            request.after(event)


def test_a_request_is_connected_by_a_proof_or_by_the_operator_after_one_alone() -> None:
    leading = {(state, event) for (state, event), after in TRANSITIONS.items() if after is RequestState.CONNECTED}
    assert leading == {
        (RequestState.ASKING, RequestEvent.PROVEN),
        (RequestState.CHOICE, RequestEvent.PROVEN),
        (RequestState.HELD, RequestEvent.LET_IN),
    }


def test_nothing_leads_on_from_an_end() -> None:
    final = {state for state in RequestState if replace(NEW, state=state).is_final}
    assert final == set(RequestState) - {state for (state, _), after in TRANSITIONS.items() if after is not None}
    assert {RequestState.CONNECTED, RequestState.REFUSED} < final
    from_unproven = {event: after for (state, event), after in TRANSITIONS.items() if state is RequestState.UNPROVEN}
    assert {event: after for event, after in from_unproven.items() if after} == {
        RequestEvent.READING_TYPED: RequestState.ASKING
    }


METERS = st.lists(
    st.builds(
        SharedMeter,
        st.sampled_from([METER, OTHER, "30001640000033"]),
        st.none() | st.dates(TODAY - timedelta(days=3), TODAY + timedelta(days=3)),
    ),
    max_size=4,
)


@given(st.sampled_from(ConsentKind), METERS, st.none() | st.sampled_from([METER, OTHER]))
def test_a_proof_is_of_the_supplier_or_of_an_invitation_that_names_the_meter(
    kind: ConsentKind, meters: list[SharedMeter], invited: str | None
) -> None:
    found = find_proof(kind, meters, TODAY, invited)
    if kind in BY_SUPPLIER:
        assert found == ((Proof.EXCHANGE, tuple(meters)) if meters else None)
        return
    of_invited = [meter for meter in meters if meter.usage_point_id == invited]
    if kind is ConsentKind.AUTORISATION:
        of_invited = [meter for meter in of_invited if meter.since is not None and meter.since >= TODAY]
    assert found == ((Proof.INVITED, tuple(of_invited)) if of_invited else None)


def test_h2_a_consent_of_yesterday_is_no_proof_for_a_handshake_of_today() -> None:
    for since, proven in ((TODAY - timedelta(days=1), False), (TODAY, True), (TODAY + timedelta(days=1), True)):
        meters = [SharedMeter(METER, since)]
        assert (find_proof(ConsentKind.AUTORISATION, meters, TODAY, METER) is not None) is proven


@given(st.lists(st.none() | st.floats(0, 7200), max_size=30))
def test_each_wait_is_as_long_as_it_was_told_and_never_a_rush(waits: list[float | None]) -> None:
    request, now = NEW, NOW
    for wait_s in waits:
        assert request.is_due(now)
        request = request.waiting("unavailable", now, wait_s)
        assert request.state is RequestState.ASKING
        assert request.next_try_at is not None
        assert request.next_try_at - now >= timedelta(seconds=max(2, wait_s or 0))
        assert not request.is_due(now)
        now = request.next_try_at
    assert request.tries == len(waits)


def test_usual_waits_leave_the_supplier_few_calls_in_the_life_of_a_request() -> None:
    request, now, tries = NEW, NOW, 0
    while now < NOW + REQUEST_LIFE:
        request = request.waiting("unavailable", now)
        assert request.next_try_at is not None
        now, tries = request.next_try_at, tries + 1
    assert tries < 2100  # One each five minutes.


def test_no_repr_shows_a_meter_a_code_or_a_browser() -> None:
    request = replace(NEW, usage_points=(METER,), code="s3cret", autorisation_id=900001, browser="hash", address="ip")
    assert not [secret for secret in (METER, "s3cret", "900001", "hash", "'ip'") if secret in repr(request)]


@pytest.mark.parametrize(
    ("kind", "since", "was_unknown", "told"),
    [
        (ConsentKind.USAGE_POINT, None, False, True),  # The person's own callback names it.
        (ConsentKind.AUTORISATION, TODAY, False, True),
        (ConsentKind.AUTORISATION, TODAY, True, False),  # A number that may be guessed tells nobody a meter.
        (ConsentKind.AUTORISATION, TODAY - timedelta(days=1), False, False),
        (ConsentKind.AUTORISATION, None, False, False),
    ],
)
def test_a_consent_for_another_meter_than_the_invited_one_tells_it_unless_its_number_may_be_guessed(
    kind: ConsentKind, since: date | None, was_unknown: bool, told: bool
) -> None:
    request = replace(NEW, was_unknown=was_unknown)
    other = request.for_other_meter(kind, [SharedMeter(OTHER, since)])
    assert (other.state, other.page) == (RequestState.UNPROVEN, "other_meter")
    assert other.usage_points == ((OTHER,) if told else ())
