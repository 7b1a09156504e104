"""An invitation that a campaign has mailed to an address of a list: what it proves, and what opens the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.factories import NOW
from tests.support.parts import Parts
from tests.support.registries import METER
from worker.accounts.opening import HELD_HISTORY, HELD_READING, RequestEnded
from worker.domain.account import Account
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, ProvenMeters, RequestState
from worker.domain.consents import ConsentKind, ConsentProof, Proof
from worker.domain.invitation import Invitation, InvitationPurpose, InvitationState
from worker.domain.oauth_proxy import ProxyCaller
from worker.errors import StoreUnavailable
from worker.runtime.consent_parts import erase
from worker.stores.database import new_id
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import GivenConsent
from worker.stores.registry.tables import INVITATIONS

OLD, BROWSER, LATER, STRANGER = "o" * 64, "b" * 64, "l" * 64, "s" * 64
OTHER = "30001640000022"
VOUCHER = "campaign:c4mpa1gn:list"
KINDS = {
    Proof.INVITED: ConsentKind.AUTORISATION,
    Proof.REGISTER: ConsentKind.AUTORISATION,
    Proof.EXCHANGE: ConsentKind.CODE,
}
BY_ITSELF = (Proof.EXCHANGE, Proof.REGISTER)


@dataclass
class Home:
    """A household's account, which has been read for years, and an opened invitation for its meter."""

    parts: Parts
    account: Account
    invitation: Invitation

    @property
    def outcomes(self) -> Any:
        return self.parts.consent.connector.outcomes

    def request(self, proof: Proof = Proof.INVITED, *meters: str, **changes: Any) -> ConnectionRequest:
        proven = ProvenMeters(
            proof, KINDS[proof], meters or (METER,), reference="900001", since=NOW.date(), until=date(2027, 7, 24)
        )
        usual: dict[str, Any] = {"browser": LATER, "known_as": (BROWSER,), "autorisation_id": 900001, "proven": proven}
        usual |= {
            "id": new_id(),
            "supplier": "enedis",
            "begun_on": NOW.date(),
            "created_at": NOW,
            "begun_at": real_clock(),
        }
        return ConnectionRequest(**{**usual, "invitation_id": self.invitation.id, **changes})

    def hold(self, **changes: Any) -> ConnectionRequest:
        """Return a stored request that waits with the history."""
        request = self.request(**changes)
        assert self.parts.consent.requests.create(request)
        after = self.outcomes.conclude(request)
        assert (after.state, after.page) == (RequestState.HELD, HELD_HISTORY)
        self.parts.consent.requests.save(after)
        return after

    def accept(self, request: ConnectionRequest) -> ConnectionRequest:
        after = self.parts.consent.connector.let_in(request.id, by="cli:operator")
        assert after is not None
        return after

    def proofs(self) -> list[ConsentProof]:
        return self.parts.stores.registry.consents.list_proofs(self.account.id)


def open_home(parts: Parts, *, listed: bool = True, meter: str = METER) -> Home:
    registry = parts.stores.registry
    given = GivenConsent(kind=ConsentKind.USAGE_POINT, proof=Proof.INVITED, vouched_by="cli:test", browser=OLD)
    ((account, _),) = registry.accounts.add_all(
        "enedis",
        [METER],
        NOW,
        NewConsent(date(2021, 7, 25), date(2024, 7, 24), token_needed=False),
        on_accounts=lambda connection, ids: registry.consents.record(connection, ids, given, NOW),
    )
    by = VOUCHER if listed else "cli:test"
    _, secret = registry.invitations.create(InvitationPurpose.METER, "enedis", by, usage_point_id=meter)
    invitation = registry.invitations.open(secret, BROWSER)
    assert invitation is not None and invitation.is_listed is listed
    return Home(parts, account, invitation)


OWN: Mapping[str, Mapping[str, Any]] = {
    "stranger": {},
    "session": {"session": True},
    "browser": {"known_as": (BROWSER, OLD)},
}


@pytest.mark.parametrize("who", OWN)
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("proof", KINDS)
def test_a_history_opens_for_the_same_person_by_a_proof_of_the_meter_or_by_the_operators_yes_alone(
    parts: Parts, proof: Proof, listed: bool, who: str
) -> None:
    """The invariant: a request that is connected to the account has its session, its browser, a proof or a yes."""
    home = open_home(parts, listed=listed)
    changes = dict(OWN[who])
    if changes.pop("session", False):
        changes["session"] = {home.account.id: home.account.session_number}
    after = home.outcomes.conclude(home.request(proof, **changes))
    known = parts.stores.registry.accounts.get(home.account.id)
    assert known.usage_point_id == METER, "the account is not closed"
    if who != "stranger" or (listed and proof in BY_ITSELF):
        assert after.state is RequestState.CONNECTED and [one.id for one in after.accounts] == [home.account.id]
        newest = home.proofs()[0]
        assert (newest.proof, newest.vouched_by, newest.browser) == (proof, home.invitation.created_by, LATER)
    elif listed:
        assert (after.state, after.page) == (RequestState.HELD, HELD_HISTORY)
    else:
        page = HELD_READING if proof is Proof.REGISTER else "other_person"
        state = RequestState.HELD if proof is Proof.REGISTER else RequestState.CHOICE
        assert (after.state, after.page, after.accounts) == (state, page, ())
        assert len(home.proofs()) == 1


def test_the_link_alone_records_the_consent_and_shows_nothing(parts: Parts) -> None:
    home = open_home(parts)
    held = home.hold()
    assert [one.id for one in held.accounts] == [home.account.id] and parts.consent.requests.list_held() == [held]
    newest, before = home.proofs()
    assert (newest.proof, newest.vouched_by, newest.browser) == (Proof.INVITED, VOUCHER, None)
    assert (newest.open, before.end_reason) == (True, "renewed")
    registry = parts.stores.registry
    account = registry.accounts.get(home.account.id)
    assert (account.consent_until, account.session_number) == (date(2027, 7, 24), home.account.session_number)
    assert account.data_from == home.account.data_from
    assert registry.consents.browser_of(account.id) is None
    used = registry.invitations.get(home.invitation.id)
    assert used is not None and used.state_at(real_clock()) is InvitationState.USED


def test_the_operators_yes_opens_the_history_and_stands_in_the_evidence(parts: Parts) -> None:
    home = open_home(parts)
    connected = home.accept(home.hold())
    assert connected.state is RequestState.CONNECTED and [one.id for one in connected.accounts] == [home.account.id]
    newest, held, _ = home.proofs()
    assert (newest.vouched_by, newest.browser, newest.proof) == ("cli:operator", LATER, Proof.INVITED)
    assert (held.vouched_by, held.end_reason) == (VOUCHER, "renewed")


def test_the_operators_no_opens_nothing_and_the_consent_stays(parts: Parts) -> None:
    home = open_home(parts)
    refused = parts.consent.connector.turn_away(home.hold().id)
    assert refused is not None and (refused.state, refused.page) == (RequestState.REFUSED, "history_refused")
    assert home.proofs()[0].open and parts.stores.registry.consents.browser_of(home.account.id) is None


def test_a_step_that_is_repeated_after_a_crash_comes_to_the_same_end(parts: Parts) -> None:
    home = open_home(parts)
    first = home.hold()
    again = home.outcomes.conclude(home.request())
    assert (again.state, again.accounts, len(home.proofs())) == (RequestState.HELD, first.accounts, 2)
    # The operator's yes was committed, and the request was not saved.
    home.outcomes.conclude(replace(first, vouched_by="cli:operator"))
    assert home.accept(first).state is RequestState.CONNECTED and len(home.proofs()) == 3
    # A late repetition of the step without a browser takes nothing back.
    assert home.outcomes.conclude(home.request()).state is RequestState.CONNECTED
    assert parts.stores.registry.consents.browser_of(home.account.id) == LATER and len(home.proofs()) == 3


@pytest.mark.parametrize("other", ["browser", "used"])
def test_a_link_that_another_browser_has_opened_or_used_proves_nothing(parts: Parts, other: str) -> None:
    home = open_home(parts)
    if other == "used":  # Not for this account, as the evidence shows.
        parts.stores.registry.database.change(update(INVITATIONS).values(used_at=real_clock()))
        stranger = home.request()
    else:
        stranger = home.request(browser=STRANGER, known_as=())
    with pytest.raises(RequestEnded, match="invitation_over"):
        home.outcomes.conclude(stranger)
    assert len(home.proofs()) == 1


def test_a_proof_of_other_meters_leaves_the_invited_account_alone(parts: Parts) -> None:
    """A list that is a row off: the link is for the neighbour's meter, and the person proves the own one."""
    home = open_home(parts)
    after = home.outcomes.conclude(home.request(Proof.EXCHANGE, OTHER))
    assert after.state is RequestState.CONNECTED and home.account.id not in [one.id for one in after.accounts]
    assert len(home.proofs()) == 1


def test_a_proof_of_several_meters_opens_only_the_invited_ones_history(parts: Parts) -> None:
    home = open_home(parts)
    other, _ = parts.stores.registry.accounts.add("enedis", OTHER, NOW, token_needed=False)
    after = home.outcomes.conclude(home.request(Proof.EXCHANGE, METER, OTHER))
    assert (after.state, after.page) == (RequestState.CHOICE, "other_person")
    assert parts.stores.registry.accounts.get(other.id).usage_point_id == OTHER and len(home.proofs()) == 1


@pytest.mark.parametrize("proof", KINDS)
def test_who_has_taken_over_the_meter_meanwhile_keeps_the_account(parts: Parts, proof: Proof) -> None:
    home = open_home(parts)
    held = home.hold()
    registry = parts.stores.registry
    _, secret = registry.invitations.create(InvitationPurpose.NEW_HOLDER, "enedis", "cli:test", usage_point_id=METER)
    newer = registry.invitations.open(secret, STRANGER)
    assert newer is not None
    taken = home.outcomes.conclude(home.request(browser=STRANGER, known_as=(), invitation_id=newer.id))
    (new,) = taken.accounts
    assert new.id != home.account.id
    later = replace(home.request(proof), accounts=held.accounts, vouched_by="cli:operator")
    with pytest.raises(RequestEnded, match="invitation_over"):
        home.outcomes.conclude(later)
    assert registry.consents.browser_of(new.id) == STRANGER


def test_an_erasure_ends_a_request_that_waits(parts: Parts) -> None:
    home = open_home(parts)
    held = home.hold()
    erase(parts.stores, home.account.id, "household")
    assert parts.consent.requests.get(held.id) is None
    with pytest.raises(RequestEnded, match="erased_since"):
        home.outcomes.conclude(home.request())


def test_a_client_of_the_proxy_gets_nothing_by_the_link_alone(parts: Parts) -> None:
    home = open_home(parts)
    caller = ProxyCaller("client", "https://cozy.example/back", "state")
    with pytest.raises(RequestEnded, match="invitation_over"):
        home.outcomes.conclude(home.request(caller=caller))


def test_a_meter_without_an_account_is_connected_as_by_any_invitation(parts: Parts) -> None:
    home = open_home(parts, meter=OTHER)
    after = home.outcomes.conclude(home.request(Proof.INVITED, OTHER))
    assert after.state is RequestState.CONNECTED and home.account.id not in [one.id for one in after.accounts]


def test_only_the_request_that_waits_with_a_history_can_be_opened_by_a_reading(parts: Parts) -> None:
    home = open_home(parts)
    held, connector = home.hold(), parts.consent.connector
    connector = replace(connector, meter_readings=replace(connector.meter_readings, offered=True))
    assert connector.find_unproven([LATER]) == held
    for other in (replace(held, accounts=()), replace(held, was_unknown=True)):
        parts.consent.requests.save(other)
        assert connector.find_unproven([LATER]) is None


def test_a_failing_registry_changes_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(parts)

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(home.outcomes), "record_closures", fail)
        with pytest.raises(StoreUnavailable):
            home.outcomes.conclude(home.request())
    kept = parts.stores.registry.invitations.get(home.invitation.id)
    assert kept is not None and kept.used_at is None and len(home.proofs()) == 1
