"""Rights on the command line: own meters, invitations, the list, proofs, and the check by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.support.declared_rights import BROWSER, GAS, OTHER, PCE, STRANGER, TYPED, begin, electricity, opened
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.registries import record_consent
from tests.support.right_register import RightRegister
from worker.accounts.gas_rights import withdraw_rights
from worker.clients.grdf.consent import LARGEST_PROOF
from worker.domain.access_right import ProofState, RightRole, RightState
from worker.domain.account import AccountState
from worker.domain.clock import real_clock
from worker.domain.connection_request import RequestState
from worker.domain.consents import ConsentKind, Proof
from worker.errors import RightEnded

OWN = ("accounts", "add", "--pce", PCE, "--own")


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> RightRegister:
    register = RightRegister(postcodes={PCE: "69001", OTHER: "69001"})
    register.install(monkeypatch)
    return register


@pytest.fixture
def house(installation: Installation, register: RightRegister) -> Installation:
    return installation.but(**GAS)


@pytest.fixture
def parts(house: Installation) -> Iterator[Parts]:
    with house.open() as parts:
        yield parts


def test_an_active_right_is_used_and_nothing_is_declared(
    house: Installation, parts: Parts, register: RightRegister
) -> None:
    register.grant(PCE, role=RightRole.OWN)
    row = house.query(*OWN, "--by", "Alice")
    assert (row["state"], row["right_state"], row["tenant"]) == ("ready", "active", "default")
    assert register.declarations == []
    account = parts.stores.registry.accounts.get(row["account"])
    assert (account.supplier, account.usage_point_id, account.consent_until) == ("grdf", PCE, date(2026, 12, 31))
    (proof,) = parts.stores.registry.consents.list_proofs(account.id)
    assert (proof.kind, proof.proof, proof.vouched_by) == (ConsentKind.RIGHT, Proof.OWN, "cli:Alice")
    assert "has this meter already" in house.run(*OWN).error_line


def test_an_account_that_became_a_households_is_no_own_meter_any_more(
    house: Installation, parts: Parts, register: RightRegister
) -> None:
    register.grant(PCE, role=RightRole.OWN)
    account = house.query(*OWN)["account"]
    later = real_clock() + timedelta(days=1)
    record_consent(parts.stores.registry.consents, account, ConsentKind.RIGHT, later, proof=Proof.RIGHT)
    parts.stores.registry.accounts.set_state(account, AccountState.ACTION_NEEDED, RightEnded.code, now=later)
    assert "has this meter already" in house.run(*OWN).error_line


@pytest.mark.parametrize("holder", [("--name", "Durand"), ("--company", "Ferme du Lac")])
def test_where_there_is_none_it_is_declared_as_our_own(
    house: Installation, register: RightRegister, holder: tuple[str, str]
) -> None:
    assert "--postcode" in house.run(*OWN).error_line
    row = house.query(*OWN, "--postcode", "69001", *holder)
    assert row["account"] and row["right_state"] == "active"
    (sent,) = register.declarations
    assert (sent.role, sent.email) == (RightRole.OWN, None)
    assert (sent.name, sent.company) == (("Durand", None) if holder[0] == "--name" else (None, "Ferme du Lac"))


def test_without_gas_there_are_no_commands_for_it(installation: Installation) -> None:
    assert "No such command" in installation.run("consents", "check").err
    assert "gas is not set up here" in installation.run("rights", "--json").error_line
    assert "gas is not set up here" in installation.run("invite", "--pce", PCE).error_line


def test_what_cannot_be_is_one_line(house: Installation) -> None:
    wrong = [
        (("accounts", "add", "--pce", "123", "--own"), "14 digits, or GI and six digits"),
        (("accounts", "add", "--pce", PCE), "--pce needs --own"),
        (("accounts", "add", "--usage-point", PCE, "--own"), "--pce needs --own"),
        (("accounts", "add", "--usage-point", PCE, "--pce", PCE, "--own"), "give one meter"),
        ((*OWN, "--name", "Durand"), "--postcode and either --name or --company"),
        ((*OWN, "--postcode", "69001", "--name", "a", "--company", "b"), "--name or --company"),
        ((*OWN, "--postcode", "690", "--name", "a"), "five digits"),
        ((*OWN, "--postcode", "75001", "--name", "a"), "another postcode"),
        (
            ("accounts", "add", "--pce", "GI999999", "--own", "--postcode", "69001", "--name", "a"),
            "Check the meter number (PCE)",
        ),
        (("invite", "--pce", "123"), "14 digits, or GI and six digits"),
        (("invite", "--pce", PCE, "--usage-point", PCE), "give one ACCOUNT, or --usage-point or --pce"),
        (("invite", "x", "--new-holder"), "--new-holder needs --usage-point or --pce"),
    ]
    lines = {words: house.run(*words).error_line for words, _ in wrong}
    assert {words: lines[words] for words, message in wrong if message not in lines[words]} == {}
    assert [line for line in lines.values() if PCE in line] == []


def test_a_right_that_waits_opens_later(house: Installation, parts: Parts, register: RightRegister) -> None:
    register.grant(PCE, RightState.PENDING, role=RightRole.OWN)
    row = house.query(*OWN, "--postcode", "69001", "--name", "Durand")
    assert (row["account"], row["right_state"]) == (None, "pending")
    register.change(PCE, state=RightState.ACTIVE)
    checked = house.query("consents", "check")
    assert (checked["checked"], len(checked["opened"]), checked["set_aside"]) == (1, 1, 0)
    (proof,) = parts.stores.registry.consents.list_proofs(checked["opened"][0])
    assert proof.proof is Proof.OWN


def test_an_erased_own_meter_is_added_again_by_a_right_since_or_by_our_word(
    house: Installation, parts: Parts, register: RightRegister
) -> None:
    register.grant(PCE, role=RightRole.OWN)
    account = house.query(*OWN)["account"]
    house.releve("accounts", "remove", account, "--yes")
    # The removal was not sent to the supplier yet, so that the old right is still active there.
    assert "--anew" in house.run(*OWN).error_line
    withdraw_rights(parts.stores.registry.rights, parts.sync.suppliers.clients_of)
    assert house.query(*OWN, "--postcode", "69001", "--name", "Durand")["account"]
    assert register.withdrawn == ["uuid-1"]


@pytest.mark.parametrize("ended", [RightState.REVOKED, RightState.OBSOLETE])
def test_an_own_meter_whose_right_has_ended_is_declared_anew_for_its_account(
    house: Installation, parts: Parts, register: RightRegister, ended: RightState
) -> None:
    register.grant(PCE, role=RightRole.OWN)
    account = house.query(*OWN)["account"]
    register.change(PCE, state=ended)
    assert house.query("consents", "check")["set_aside"] == 1
    assert "--postcode" in house.run(*OWN).error_line
    again = house.query(*OWN, "--postcode", "69001", "--name", "Durand")
    assert (again["account"], again["state"]) == (account, "ready")
    assert [proof.open for proof in parts.stores.registry.consents.list_proofs(account)] == [True, False]
    assert house.query("consents", "check") == {"checked": 2, "opened": [], "set_aside": 0}
    assert "has this meter already" in house.run(*OWN).error_line


def test_a_households_account_is_no_own_meter_whatever_became_of_its_right(
    house: Installation, parts: Parts, register: RightRegister
) -> None:
    account = opened(parts, register)
    register.change(PCE, state=RightState.REVOKED)
    assert house.query("consents", "check")["set_aside"] == 1
    register.grant(PCE, role=RightRole.OWN)
    assert "has this meter already" in house.run(*OWN).error_line
    assert parts.stores.registry.accounts.get(account.id).reason == RightEnded.code


def test_a_right_that_is_being_withdrawn_is_not_used_again(
    house: Installation, parts: Parts, register: RightRegister
) -> None:
    register.grant(PCE, role=RightRole.OWN)
    house.releve("accounts", "remove", house.query(*OWN)["account"], "--yes")
    assert "is being withdrawn" in house.run(*OWN, "--anew").err
    withdraw_rights(parts.stores.registry.rights, parts.sync.suppliers.clients_of)
    assert house.query(*OWN, "--anew", "--postcode", "69001", "--name", "Durand")["account"]


def test_an_invitation_for_a_gas_meter(house: Installation, parts: Parts) -> None:
    assert "link" in house.query("invite", "--pce", f"{OTHER[:5]} {OTHER[5:]}".lower())
    (invitation,) = parts.stores.registry.invitations.list_invitations()
    assert (invitation.supplier, invitation.usage_point_id) == ("grdf", OTHER)


def test_a_gas_meter_without_an_invitation_is_listed_by_its_last_digits_and_accepted_or_refused(
    house: Installation, parts: Parts, register: RightRegister
) -> None:
    power = electricity(parts)
    for meter, browser in ((PCE, BROWSER), (OTHER, STRANGER)):
        begin(parts, replace(TYPED, meter=meter), browser=browser, session={power.id: 1})
    # Both are of the same moment.
    first, second = sorted(house.query_rows("consents", "--requests"), key=lambda row: str(row["digits"]))
    assert [(row["meters"], row["digits"], row["accounts"]) for row in (first, second)] == [
        (1, ["…1234"], [power.id]),
        (1, ["…3456"], [power.id]),
    ]
    listed = house.releve("consents", "--requests").out
    assert "…1234" in listed and power.id in listed and not [text for text in (PCE, OTHER, "Durand") if text in listed]
    assert "a worker declares its right" in house.releve("consents", "accept", first["request"]).out
    accepted = parts.consent.requests.get(first["request"])
    assert accepted is not None and accepted.state is RequestState.ASKING
    assert (accepted.vouched_by or "").startswith("cli:") and register.declarations == []
    assert parts.stores.redis.llen("releve:celery:first_screen") == 1
    house.releve("consents", "refuse", second["request"])
    assert house.query_rows("consents", "--requests") == []
    assert "no waiting request" in house.run("consents", "accept", second["request"]).error_line


def test_rights_are_listed_without_their_meters(house: Installation, parts: Parts, register: RightRegister) -> None:
    assert "no rights yet" in house.releve("consents", "--rights").out
    register.grant(PCE, role=RightRole.OWN)
    account = house.query(*OWN)["account"]
    register.grant(OTHER, proof=ProofState.AWAITED, proof_until=date(2024, 8, 1))
    parts.stores.registry.accounts.add("grdf", OTHER, NOW, token_needed=False)
    house.releve("consents", "check")
    listed = {row["meter"]: row for row in house.query_rows("consents", "--rights")}
    assert listed["…1234"]["account"] == account and listed["…1234"]["state"] == "active"
    assert (listed["…3456"]["proof"], listed["…3456"]["proof_until"]) == ("awaited", "2024-08-01")
    table = house.releve("consents", "--rights").out
    assert "…1234" in table and PCE not in table and OTHER not in table


def test_a_proof_is_sent_once_its_size_is_checked(
    house: Installation, parts: Parts, register: RightRegister, tmp_path: Path
) -> None:
    register.grant(PCE, RightState.ACTIVE, proof=ProofState.AWAITED, proof_until=date(2024, 8, 1))
    house.query(*OWN)
    (right,) = house.query_rows("consents", "--rights")
    small, large, empty = (tmp_path / name for name in ("consent.pdf", "large.pdf", "empty.pdf"))
    small.write_bytes(b"%PDF-1.4")
    empty.touch()
    with large.open("wb") as file:
        file.truncate(LARGEST_PROOF + 1)
    for files, message in (
        ([large], "a file must have 1 byte to 4 MB"),
        ([empty], "a file must have 1 byte to 4 MB"),
        ([small] * 4, "3 files"),
        ([tmp_path / "none.pdf"], "does not exist"),
    ):
        assert message in house.run("consents", "proof", right["right"], *map(str, files)).error_line
    assert "no right has this id" in house.run("consents", "proof", "nothing", str(small)).error_line
    assert house.query("consents", "proof", right["right"], str(small))["files"] == 1
    assert register.uploads == [("uuid-1", [("consent.pdf", b"%PDF-1.4")])]
    assert house.query_rows("consents", "--rights")[0]["proof"] == "in_review"


def test_an_account_is_explained_as_one_of_electricity_is(house: Installation, register: RightRegister) -> None:
    register.grant(PCE, role=RightRole.OWN)
    account = house.query(*OWN)["account"]
    shown = house.query("accounts", "show", account)
    assert (shown["proof"], shown["supplier"], shown["usage_point"]) == ("own", "grdf", "…1234")
    assert house.query_rows("consents")[0]["consent_until"] == "2026-12-31"
