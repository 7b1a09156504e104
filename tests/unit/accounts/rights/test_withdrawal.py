"""Rights of those who leave: erased, stopped, withdrawn at the supplier, and gas that is taken away."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import select

import tasks.upkeep
from tests.support.declared_rights import (
    OTHER,
    PCE,
    STRANGER,
    accepted,
    declare,
    declared,
    electricity,
    gas_accounts,
    invite,
    opened,
    step,
)
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts, use_parts
from tests.support.registries import all_rows
from tests.support.right_register import RightRegister
from worker.accounts.gas_rights import withdraw_rights
from worker.clients.tokens import ApplicationTokens
from worker.domain.access_right import RightState
from worker.domain.account import AccountState
from worker.domain.clock import Clock, real_clock
from worker.domain.connection_request import RequestState
from worker.errors import ConsentStopped, OperatorFault
from worker.runtime.consent_parts import erase, stop_consent
from worker.stores.registry.tables import RIGHTS


def withdraw(parts: Parts, now: Clock = real_clock) -> int:
    return withdraw_rights(parts.stores.registry.rights, parts.sync.suppliers.clients_of, now)


def test_an_erasure_leaves_nothing_of_the_meter_but_the_keyed_hash(
    parts: Parts, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    account = opened(parts, register)
    assert erase(parts.stores, account.id, "household")["rights"] == 1
    register.silent = True
    assert withdraw(parts) == 0
    register.silent = False
    assert withdraw(parts) == 1
    assert register.withdrawn == ["uuid-1"]
    assert parts.stores.registry.database.fetch(select(RIGHTS)) == []
    everything = all_rows(parts.stores.registry.database)
    unsealed = [row for table in everything.values() for row in table]
    assert not [row for row in unsealed if PCE in row or "uuid-1" in row]
    with parts.stores.registry.database.reading() as connection:
        assert parts.stores.registry.erasures.find(connection, "grdf", PCE) is not None
    assert PCE not in caplog.text and parts.consent.right_sweep.run().opened == []


def test_an_erasure_withdraws_what_waits_for_the_same_meter(parts: Parts, register: RightRegister) -> None:
    account = parts.stores.registry.accounts.add("grdf", PCE, NOW, token_needed=False)[0]
    register.grant(PCE)
    erase(parts.stores, account.id)  # No sweep has found the right yet.
    assert withdraw(parts) == 1 and register.withdrawn == ["uuid-1"]


def test_an_erasure_during_a_sweep_leaves_nothing_either(parts: Parts, register: RightRegister) -> None:
    """The sweep has listed the account as one without a right, and the supplier's answer comes after the erasure."""
    account = parts.stores.registry.accounts.add("grdf", PCE, NOW, token_needed=False)[0]
    record = register.grant(PCE)
    erase(parts.stores, account.id)
    assert parts.stores.registry.rights.adopt(account, record, NOW) is None
    assert withdraw(parts) == 1
    assert parts.stores.registry.database.fetch(select(RIGHTS)) == []


def test_a_fault_that_concerns_all_rights_is_met_once(
    parts: Parts, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    for meter in (PCE, OTHER):
        erase(parts.stores, opened(parts, register, meter).id)
    register.fault = OperatorFault("the credentials are wrong")
    assert withdraw(parts) == 0
    assert caplog.text.count("right not withdrawn yet") == 1
    register.fault = None
    assert withdraw(parts) == 2


def test_an_erased_meter_opens_by_what_was_begun_since(parts: Parts, register: RightRegister) -> None:
    account = opened(parts, register)
    early = declare(parts, browser=STRANGER)
    erase(parts.stores, account.id)
    assert parts.consent.connector.let_in(early.id, by="cli:operator") is None  # The erasure has ended it.
    waits = accepted(parts, declare(parts))
    assert (waits.state, waits.page) == (RequestState.ASKING, "unavailable")  # The old right is withdrawn first.
    withdraw(parts)
    declared(parts, step(parts, waits, hours=1))
    register.change(PCE, state=RightState.ACTIVE)
    assert len(parts.consent.right_sweep.run(pending_only=True).opened) == 1


def test_a_right_of_before_an_erasure_opens_nothing(parts: Parts, register: RightRegister) -> None:
    """Its row comes back with a backup, say."""
    right = declared(parts, declare(parts, invitation=invite(parts)))
    with parts.stores.registry.database.writing() as connection:
        meter = parts.stores.registry.erasures.digests("grdf", PCE)[0]
        parts.stores.registry.erasures.remember(
            connection, meter, real_clock() + timedelta(seconds=1), date(2027, 1, 1)
        )
    register.change(PCE, state=RightState.ACTIVE)
    assert parts.consent.right_sweep.run().opened == [] and gas_accounts(parts) == []
    assert parts.stores.registry.rights.of_request(right.id) is not None


def test_gas_is_left_without_losing_electricity(parts: Parts, register: RightRegister) -> None:
    power, account = electricity(parts), opened(parts, register)
    stop_consent(parts.stores, account.id)
    after = parts.stores.registry.accounts.get(account.id)
    assert (after.state, after.reason, after.usage_point_id) == (AccountState.ACTION_NEEDED, ConsentStopped.code, PCE)
    assert parts.stores.registry.accounts.get(power.id) == power
    assert withdraw(parts) == 1 and register.withdrawn == ["uuid-1"]
    register.change(PCE, state=RightState.ACTIVE)  # It says so by mistake: what was stopped stays so.
    assert parts.consent.right_sweep.run().opened == [] and parts.consent.right_sweep.run().ended == 0
    register.change(PCE, state=RightState.OBSOLETE)
    declared(parts, accepted(parts, declare(parts, session={account.id: after.session_number})))
    register.change(PCE, state=RightState.ACTIVE)
    assert parts.consent.right_sweep.run(pending_only=True).opened == [account.id]
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY


def test_a_withdrawal_is_given_up_after_a_week(
    parts: Parts, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    erase(parts.stores, opened(parts, register).id)
    register.silent = True
    assert withdraw(parts, now=lambda: real_clock() + timedelta(days=8)) == 0
    assert "given up" in caplog.text and parts.stores.registry.rights.list_to_withdraw() == []


def test_gas_that_is_taken_away_leaves_its_accounts_and_says_so_once(
    installation: Installation, parts: Parts, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    """RELEVE_GRDF_CLIENT_ID is unset again while there are accounts, and rights that wait to be withdrawn."""
    account = opened(parts, register)
    other = opened(parts, register, OTHER)
    erase(parts.stores, other.id)
    with installation.open() as bare:
        assert bare.consent.right_sweep.run().checked == 0
        assert withdraw(bare) == 0
        assert caplog.text.count("RELEVE_GRDF_CLIENT_ID") == 1
        assert [due.claim_night(NOW).jobs for due in bare.sync.due] == [[]]
        with pytest.raises(OperatorFault, match="RELEVE_GRDF_CLIENT_ID"):
            bare.sync.suppliers.client_of(account)


def test_tokens_are_renewed_for_the_suppliers_whose_accounts_are_read(
    parts: Parts, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[str] = []
    use_parts(monkeypatch, parts)
    monkeypatch.setattr(ApplicationTokens, "current", lambda tokens: renewed.append("one"))
    tasks.upkeep.renew_tokens()
    assert renewed == []
    opened(parts, register)
    tasks.upkeep.renew_tokens()
    assert len(renewed) == 1
    electricity(parts)
    tasks.upkeep.renew_tokens()
    assert len(renewed) == 3


def test_without_gas_nothing_is_asked(installation: Installation, register: RightRegister) -> None:
    with installation.open() as parts:
        assert not parts.sync.suppliers.has_rights and "grdf" not in parts.consent.suppliers
        assert parts.consent.right_sweep.run().checked == 0 and register.asked == []
