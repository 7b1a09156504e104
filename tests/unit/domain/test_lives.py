"""The laws of every table of a life: it begins somewhere, ends somewhere, and refuses what it doesn't have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

import pytest

from tests.support.factories import NOW
from worker.domain import access_right, account, connection_request, invitation
from worker.domain.access_right import OurState
from worker.domain.account import AccountState, Step
from worker.domain.connection_request import RequestState
from worker.domain.invitation import InvitationState
from worker.domain.transitions import Transitions, WrongState
from worker.errors import ConsentRevoked, ConsentStopped

LIVES = [
    pytest.param(account.TRANSITIONS, AccountState.NEW, AccountState.DELETED, id="account"),
    pytest.param(connection_request.TRANSITIONS, RequestState.ASKING, None, id="connection request"),
    pytest.param(invitation.TRANSITIONS, InvitationState.SENT, None, id="invitation"),
    pytest.param(access_right.TRANSITIONS, (OurState.DECLARED, OurState.FOUND), None, id="right"),
]


@pytest.mark.parametrize(("table", "first", "last"), LIVES)
def test_every_event_in_every_state_is_in_the_table_or_refused_by_name(
    table: Transitions[Any, Any, Any], first: Any, last: StrEnum | None
) -> None:
    states, events = type(begins_in(first)[0]), type(next(iter(table))[1])
    assert {event for _, event in table} == set(events), "each happens somewhere"
    for event in events:
        assert {state for state in states if (state, event) in table} == set(table.states_before(event))
        for state in set(states) - set(table.states_before(event)):
            with pytest.raises(WrongState, match=f"{state} can't be {event}"):
                table[state, event]


@pytest.mark.parametrize(("table", "first", "last"), LIVES)
def test_every_state_is_reached_and_has_a_way_to_the_last(
    table: Transitions[Any, Any, Any], first: Any, last: StrEnum | None
) -> None:
    ways: dict[Any, set[Any]] = {state: set() for state in type(begins_in(first)[0])}
    for (state, _), after in table.items():
        ways[state].update(after.states if isinstance(after, Step) else (after,))
    assert set().union(*(reached(ways, one) for one in begins_in(first))) == {*ways, last}
    for state in ways:
        assert last in reached(ways, state)
    assert ways.get(last, set()) <= {last}, "nothing leads on from there"


def begins_in(first: Any) -> tuple[StrEnum, ...]:
    return first if isinstance(first, tuple) else (first,)


def reached(ways: Mapping[Any, set[Any]], first: Any) -> set[Any]:
    found, waiting = {first}, [first]
    while waiting:
        new = ways.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def test_an_incident_makes_good_the_refusal_that_it_explains_and_nothing_else() -> None:
    refused = account.Account(
        "a", AccountState.ACTION_NEEDED, "enedis", NOW, "30001640000011", reason=ConsentRevoked.code
    )
    ready, _ = refused.after(account.AccountEvent.REINSTATED, NOW.date(), ConsentRevoked.code)
    assert (ready.state, ready.reason) == (AccountState.READY, "")
    stopped = replace(refused, reason=ConsentStopped.code)
    for waits in (stopped, replace(stopped, state=AccountState.PAUSED)):
        with pytest.raises(WrongState, match="something else"):
            waits.after(account.AccountEvent.REINSTATED, NOW.date(), ConsentRevoked.code)
