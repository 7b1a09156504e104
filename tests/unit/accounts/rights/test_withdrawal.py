"""Rights of those who leave: erased, stopped, withdrawn at the supplier, and gas that is taken away."""

from __future__ import annotations

from dataclasses import replace
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
from tests.support.registries import all_rows
from tests.support.right_register import RightRegister
from worker.clients.tokens import ApplicationTokens
from worker.domain.access_right import RightState
from worker.domain.account import AccountState
from worker.domain.clock import real_clock
from worker.domain.connection_request import RequestState
from worker.errors import ConsentStopped, OperatorFault
from worker.runtime.process import Runtime
from worker.stores.registry.tables import RIGHTS


def test_an_erasure_leaves_nothing_of_the_meter_but_the_keyed_hash(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    account = opened(runtime, register)
    assert runtime.erase(account.id, "household")["rights"] == 1
    register.silent = True
    assert runtime.right_withdrawal.run() == 0
    register.silent = False
    assert runtime.right_withdrawal.run() == 1
    assert register.withdrawn == ["uuid-1"]
    assert runtime.registry.database.fetch(select(RIGHTS)) == []
    everything = all_rows(runtime.registry.database)
    unsealed = [row for table in everything.values() for row in table]
    assert not [row for row in unsealed if PCE in row or "uuid-1" in row]
    with runtime.registry.database.reading() as connection:
        assert runtime.erasures.find(connection, "grdf", PCE) is not None
    assert PCE not in caplog.text and runtime.right_sweep.run().opened == []


def test_an_erasure_withdraws_what_waits_for_the_same_meter(runtime: Runtime, register: RightRegister) -> None:
    account = runtime.registry.accounts.add("grdf", PCE, NOW, token_needed=False)[0]
    register.grant(PCE)
    runtime.erase(account.id)  # No sweep has found the right yet.
    assert runtime.right_withdrawal.run() == 1 and register.withdrawn == ["uuid-1"]


def test_an_erasure_during_a_sweep_leaves_nothing_either(runtime: Runtime, register: RightRegister) -> None:
    """The sweep has listed the account as one without a right, and the supplier's answer comes after the erasure."""
    account = runtime.registry.accounts.add("grdf", PCE, NOW, token_needed=False)[0]
    record = register.grant(PCE)
    runtime.erase(account.id)
    assert runtime.rights.adopt(account, record, NOW) is None
    assert runtime.right_withdrawal.run() == 1
    assert runtime.registry.database.fetch(select(RIGHTS)) == []


def test_a_fault_that_concerns_all_rights_is_met_once(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    for meter in (PCE, OTHER):
        runtime.erase(opened(runtime, register, meter).id)
    register.fault = OperatorFault("the credentials are wrong")
    assert runtime.right_withdrawal.run() == 0
    assert caplog.text.count("right not withdrawn yet") == 1
    register.fault = None
    assert runtime.right_withdrawal.run() == 2


def test_an_erased_meter_opens_by_what_was_begun_since(runtime: Runtime, register: RightRegister) -> None:
    account = opened(runtime, register)
    early = declare(runtime, browser=STRANGER)
    runtime.erase(account.id)
    assert runtime.connector.let_in(early.id, by="cli:operator") is None  # The erasure has ended it.
    waits = accepted(runtime, declare(runtime))
    assert (waits.state, waits.page) == (RequestState.ASKING, "unavailable")  # The old right is withdrawn first.
    runtime.right_withdrawal.run()
    declared(runtime, step(runtime, waits, hours=1))
    register.change(PCE, state=RightState.ACTIVE)
    assert len(runtime.right_sweep.run(pending_only=True).opened) == 1


def test_a_right_of_before_an_erasure_opens_nothing(runtime: Runtime, register: RightRegister) -> None:
    """Its row comes back with a backup, say."""
    right = declared(runtime, declare(runtime, invitation=invite(runtime)))
    with runtime.registry.database.writing() as connection:
        meter = runtime.erasures.digests("grdf", PCE)[0]
        runtime.erasures.remember(connection, meter, real_clock() + timedelta(seconds=1), date(2027, 1, 1))
    register.change(PCE, state=RightState.ACTIVE)
    assert runtime.right_sweep.run().opened == [] and gas_accounts(runtime) == []
    assert runtime.rights.of_request(right.id) is not None


def test_gas_is_left_without_losing_electricity(runtime: Runtime, register: RightRegister) -> None:
    power, account = electricity(runtime), opened(runtime, register)
    runtime.stop_consent(account.id)
    after = runtime.registry.accounts.get(account.id)
    assert (after.state, after.reason, after.usage_point_id) == (AccountState.ACTION_NEEDED, ConsentStopped.code, PCE)
    assert runtime.registry.accounts.get(power.id) == power
    assert runtime.right_withdrawal.run() == 1 and register.withdrawn == ["uuid-1"]
    register.change(PCE, state=RightState.ACTIVE)  # It says so by mistake: what was stopped stays so.
    assert runtime.right_sweep.run().opened == [] and runtime.right_sweep.run().ended == 0
    register.change(PCE, state=RightState.OBSOLETE)
    declared(runtime, accepted(runtime, declare(runtime, session={account.id: after.session_number})))
    register.change(PCE, state=RightState.ACTIVE)
    assert runtime.right_sweep.run(pending_only=True).opened == [account.id]
    assert runtime.registry.accounts.get(account.id).state is AccountState.READY


def test_a_withdrawal_is_given_up_after_a_week(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.erase(opened(runtime, register).id)
    register.silent = True
    in_a_week = replace(runtime.right_withdrawal, now=lambda: real_clock() + timedelta(days=8))
    assert in_a_week.run() == 0
    assert "given up" in caplog.text and runtime.rights.list_to_withdraw() == []


def test_gas_that_is_taken_away_leaves_its_accounts_and_says_so_once(
    installation: Installation, runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    """RELEVE_GRDF_CLIENT_ID is unset again while there are accounts, and rights that wait to be withdrawn."""
    account = opened(runtime, register)
    other = opened(runtime, register, OTHER)
    runtime.erase(other.id)
    with installation.open() as bare:
        assert bare.right_sweep.run().checked == 0
        assert bare.right_withdrawal.run() == 0
        assert caplog.text.count("RELEVE_GRDF_CLIENT_ID") == 1
        assert bare.due_windows.night(NOW).jobs == []
        with pytest.raises(OperatorFault, match="RELEVE_GRDF_CLIENT_ID"):
            bare.client_of(account)


def test_tokens_are_renewed_for_the_suppliers_whose_accounts_are_read(
    runtime: Runtime, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[str] = []
    monkeypatch.setattr(tasks.upkeep, "get_runtime", lambda: runtime)
    monkeypatch.setattr(ApplicationTokens, "current", lambda tokens: renewed.append("one"))
    tasks.upkeep.renew_tokens()
    assert renewed == []
    opened(runtime, register)
    tasks.upkeep.renew_tokens()
    assert len(renewed) == 1
    electricity(runtime)
    tasks.upkeep.renew_tokens()
    assert len(renewed) == 3


def test_without_gas_nothing_is_asked(installation: Installation, register: RightRegister) -> None:
    with installation.open() as runtime:
        assert not runtime.has_rights and "grdf" not in runtime.suppliers_consents
        assert runtime.right_sweep.run().checked == 0 and register.asked == []
