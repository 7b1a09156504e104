"""The table of rights: what is sealed, who finds a right, and how it is withdrawn and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.registries import KEY, NOW, all_rows, registry_sealer
from worker.domain.access_right import (
    TRANSITIONS,
    HouseholdDeclaration,
    OurState,
    ProofState,
    Right,
    RightEvent,
    RightRecord,
    RightRole,
    RightState,
)
from worker.domain.account import Account
from worker.stores.encryption import KeyedHashes, generate_key
from worker.stores.registry import Registry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.key_rotation import RIGHT_SEALS, rotate_seals
from worker.stores.registry.rights import RightTable, forget_rights, withdraw_rights
from worker.stores.registry.tables import RIGHTS

METER, OTHER = "12345678901234", "GI123456"
UUID = "5f8c2b0e-0000-4000-8000-000000000001"
LATER = NOW + timedelta(hours=1)
RIGHT = Right(
    id="r1",
    supplier="grdf",
    tenant="default",
    meter=METER,
    supplier_id=UUID,
    state=RightState.PENDING,
    state_since=NOW.astimezone(UTC),
    first_day=date(2024, 7, 25),
    last_day=date(2027, 7, 24),
    vouched_by="cli:test",
    invited_at=datetime(2024, 7, 24, 8, tzinfo=UTC),
    browser="b1",
    begun_at=datetime(2024, 7, 25, 7, tzinfo=UTC),
    declared_at=NOW.astimezone(UTC),
    line="grdf-adict PUT /pce/{meter}/droit_acces",
    digest="a" * 64,
)
RECORD = RightRecord(id=UUID, meter=METER, state=RightState.ACTIVE, last_day=date(2027, 1, 1))


@pytest.fixture
def rights(registry: Registry) -> Iterator[RightTable]:
    yield RightTable(registry.database, registry_sealer(), KeyedHashes(["k" * 40]))


def insert(rights: RightTable, *added: Right, **options: Any) -> None:
    with rights._database.writing() as connection:
        for right in added:
            rights.insert(connection, right, **options)


def add_account(registry: Registry, meter: str = METER) -> Account:
    return registry.accounts.add("grdf", meter, NOW, token_needed=False)[0]


def rows(rights: RightTable) -> list[Any]:
    return list(rights._database.fetch(select(RIGHTS).order_by(RIGHTS.c.id)))


def test_a_right_comes_back_as_it_was_and_nothing_in_its_row_names_the_meter(
    registry: Registry, rights: RightTable
) -> None:
    insert(rights, RIGHT)
    assert rights.of_request("r1") == rights.find("r1") == RIGHT
    assert rights.of_browser(["b1"]) == [RIGHT] and rights.of_browser(["b2"]) == []
    assert rights.of_meter("grdf", METER) == [RIGHT] and rights.of_meter("enedis", METER) == []
    stored = str(all_rows(registry.database))
    assert not [secret for secret in (METER, UUID, "a" * 64) if secret in stored]
    assert METER not in repr(RIGHT) and UUID not in repr(RIGHT) and RIGHT.last_digits == "…1234"


def test_a_right_in_the_place_of_another_is_the_only_one(rights: RightTable) -> None:
    insert(rights, RIGHT, replace(RIGHT, id="r2", meter=OTHER))
    insert(rights, replace(RIGHT, id="r3"), instead_of=["r1"])
    assert [row.id for row in rows(rights)] == ["r2", "r3"]


def test_what_the_supplier_says_is_stored_with_when_it_began(rights: RightTable) -> None:
    insert(rights, RIGHT)
    awaited = replace(RECORD, state=RightState.PENDING, proof=ProofState.AWAITED, proof_until=date(2024, 8, 1))
    after = RIGHT.after(awaited, LATER)
    rights.save_check(RIGHT, after)
    assert rights.find("r1") == after
    assert (after.state_since, after.proof, after.last_day) == (NOW, ProofState.AWAITED, date(2027, 1, 1))
    assert after.first_day == RIGHT.first_day  # The supplier didn't tell it.
    active = after.after(RECORD, LATER)
    assert (active.state, active.state_since, active.proof) == (RightState.ACTIVE, LATER, None)


def test_lists_hold_what_is_asked_for(rights: RightTable) -> None:
    states = {"a": RightState.ACTIVE, "b": RightState.PENDING, "c": RightState.REVOKED, "d": RightState.ACTIVE}
    insert(rights, *(replace(RIGHT, id=name, state=state) for name, state in states.items()))
    insert(rights, replace(RIGHT, id="e", withdraw_since=NOW), replace(RIGHT, id="f", opened_at=NOW))
    insert(rights, replace(RIGHT, id="g", state=RightState.ACTIVE, opened_at=NOW))
    assert [right.id for right in rights.of_supplier("grdf")] == ["a", "b", "c", "d", "f", "g"]
    assert [right.id for right in rights.of_supplier("grdf", pending_only=True)] == ["b", "f"]
    assert rights.of_supplier("enedis") == []
    assert [right.id for right in rights.list_all()] == ["a", "b", "c", "d", "e", "f", "g"]


def test_accounts_without_a_right_are_listed_until_one_is_found(registry: Registry, rights: RightTable) -> None:
    account, electricity = add_account(registry), registry.accounts.add("enedis", METER, NOW, token_needed=False)[0]
    assert [one.id for one in rights.list_accounts_without("grdf")] == [account.id]
    adopted = rights.adopt(account, RECORD, NOW)
    assert (adopted.account_id, adopted.is_found, adopted.supplier_id) == (account.id, True, UUID)
    assert rights.list_accounts_without("grdf") == [] and rights.of_account(electricity.id) == []
    assert [right.id for right in rights.of_account(account.id)] == [adopted.id]


IN_STATE: dict[OurState, dict[str, Any]] = {
    OurState.DECLARED: {},
    OurState.FOUND: {"is_found": True},
    OurState.OPENED: {"opened_at": NOW},
    OurState.WITHDRAWING: {"opened_at": NOW, "withdraw_since": NOW},
}


@pytest.mark.parametrize("event", RightEvent)
@pytest.mark.parametrize("state", OurState)
def test_each_event_does_to_a_stored_right_what_its_table_says(
    registry: Registry, rights: RightTable, state: OurState, event: RightEvent
) -> None:
    account, gone = add_account(registry), RightState.REVOKED if event is RightEvent.ENDED else RightState.ACTIVE
    right = replace(RIGHT, account_id=account.id, state=gone, **IN_STATE[state])
    insert(rights, right)

    def let_happen() -> None:
        with registry.database.writing() as connection:
            match event:
                case RightEvent.OPENED:
                    rights.mark_opened(connection, right.id, account.id, LATER)
                case RightEvent.STOPPED:
                    withdraw_rights(connection, account.id)
                case RightEvent.FORGOTTEN:
                    forget_rights(connection, [account.id])

    let_happen()
    match event:
        case RightEvent.ENDED:
            rights.delete_ended_before(LATER)
        case RightEvent.WITHDRAWN:
            rights.delete_withdrawn(right.id)
    after = rights.of_request(right.id)
    assert (after and after.ours) is TRANSITIONS.get((state, event), state)


def test_a_right_that_is_withdrawn_meanwhile_is_withdrawn_also_where_another_takes_its_place(
    registry: Registry, rights: RightTable
) -> None:
    insert(rights, replace(RIGHT, withdraw_since=NOW))
    insert(rights, replace(RIGHT, id="r2"), instead_of=["r1"])
    assert [right.id for right in rights.list_to_withdraw()] == ["r1"]


def test_a_withdrawn_right_is_nobodys_until_its_row_goes(registry: Registry, rights: RightTable) -> None:
    account = add_account(registry)
    insert(rights, replace(RIGHT, account_id=account.id), replace(RIGHT, id="r2", browser="b2"))
    with registry.database.writing() as connection:
        assert rights.withdraw_meter(connection, account) == 1
    assert [right.id for right in rights.list_to_withdraw()] == ["r1"]
    assert rights.find("r1") is None and rights.is_being_withdrawn("grdf", METER)
    assert [right.id for right in rights.of_meter("grdf", METER)] == ["r2"]
    after = rights.of_request("r1")
    assert after is not None and after.page == "right_withdrawn"
    rights.save_check(RIGHT, RIGHT.after(RECORD, LATER))  # A sweep that began before.
    assert rights.list_to_withdraw()[0].state is RightState.PENDING
    with registry.database.writing() as connection:
        assert rights.withdraw_meter(connection, account, of_everybody=True) == 2
    rights.delete_withdrawn("r1")
    rights.delete_withdrawn("r2")
    assert rows(rights) == [] and not rights.is_being_withdrawn("grdf", METER)


def test_what_the_table_does_not_know_is_withdrawn_too(registry: Registry, rights: RightTable) -> None:
    """The right was given on the supplier's own page, and no sweep has found it yet."""
    account, electricity = add_account(registry), registry.accounts.add("enedis", METER, NOW, token_needed=False)[0]
    with registry.database.writing() as connection:
        assert rights.withdraw_meter(connection, electricity, of_everybody=True) == 0
        assert rights.withdraw_meter(connection, account, of_everybody=True) == 1
        assert rights.withdraw_meter(connection, account, of_everybody=True) == 1
    (right,) = rights.list_to_withdraw()
    assert (right.meter, right.supplier_id, right.account_id) == (METER, None, account.id)


def test_a_removal_and_a_stop_withdraw_the_rights_by_themselves(registry: Registry, rights: RightTable) -> None:
    """So does the ledger, when a backup is restored."""
    removed, stopped, closed = (add_account(registry, f"1234567890000{number}") for number in range(3))
    insert(rights, *(replace(RIGHT, id=one.id, account_id=one.id, meter="") for one in (removed, stopped, closed)))
    consents = ConsentTable(registry.database, registry_sealer())
    registry.accounts.remove(removed.id, NOW)
    consents.withdraw(stopped.id, NOW)
    with registry.database.writing() as connection:
        consents.close(connection, closed.id, NOW)
        assert withdraw_rights(connection, removed.id) == 0  # It is done.
    assert {right.id for right in rights.list_to_withdraw()} == {removed.id, stopped.id}
    assert rights.of_account(closed.id) == []


def test_rights_that_have_ended_are_forgotten_after_a_while(rights: RightTable) -> None:
    old = NOW - timedelta(days=40)
    insert(rights, *(replace(RIGHT, id=state.value, state=state, state_since=old) for state in RightState))
    insert(rights, replace(RIGHT, id="young", state=RightState.REFUSED))
    assert rights.delete_ended_before(NOW - timedelta(days=30)) == 3
    assert {row.id for row in rows(rights)} == {"pending", "active", "to_check", "young"}


def test_rights_are_sealed_anew_under_a_new_key(registry: Registry, rights: RightTable) -> None:
    insert(rights, RIGHT)
    new_key = generate_key()
    newer = registry_sealer(new_key, KEY)
    assert rotate_seals(registry.database, newer, RIGHT_SEALS) == 1
    with_new_key = RightTable(registry.database, registry_sealer(new_key), KeyedHashes(["k" * 40]))
    assert with_new_key.find("r1") == RIGHT
    assert rights.list_all() == []  # Without its key it is left out.


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({}, ()),
        ({"meter": "GI123456", "name": None, "company": "Ferme du Lac"}, ()),
        ({"meter": "123"}, ("meter",)),
        ({"company": "Ferme du Lac"}, ("holder",)),
        ({"name": None}, ("holder",)),
        ({"name": "a\nb", "postcode": "7500", "email": "nobody"}, ("holder", "postcode", "email")),
    ],
)
def test_a_declaration_names_what_cannot_be_sent(changes: dict[str, Any], faults: tuple[str, ...]) -> None:
    typed = {"meter": METER, "postcode": "69001", "email": "a@example.org", "name": "Durand", **changes}
    declaration = HouseholdDeclaration(**typed)
    assert declaration.faults() == faults
    assert METER not in repr(declaration) and "Durand" not in repr(declaration)


@pytest.mark.parametrize(
    ("changes", "page"),
    [
        ({}, "right_pending"),
        ({"proof": ProofState.AWAITED}, "right_proof"),
        ({"state": RightState.ACTIVE}, "right_exists"),
        ({"state": RightState.ACTIVE, "opened_at": NOW, "account_id": "a"}, ""),
        ({"state": RightState.REFUSED}, "right_refused"),
        ({"withdraw_since": NOW, "state": RightState.ACTIVE}, "right_withdrawn"),
    ],
)
def test_a_right_has_a_page_until_its_account_is_open(changes: dict[str, Any], page: str) -> None:
    assert replace(RIGHT, role=RightRole.AUTHORIZED, **changes).page == page
