"""What the registry stores after each event is what the table of an account's life says."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.support.registries import LATER, METER, NOW, add_ready, close_account, registry_sealer
from worker.domain.account import TRANSITIONS, AccountEvent, AccountState
from worker.domain.transitions import WrongState
from worker.errors import ConsentStopped, LoginFailed, UnknownAccount, UnknownUsagePoint
from worker.stores.registry import Registry, account_rows
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.tables import ACCOUNTS, SERIES_OUTCOMES

_REASONS = {AccountEvent.REFUSED: UnknownUsagePoint.code, AccountEvent.STOPPED: ConsentStopped.code}


def add_in(registry: Registry, state: AccountState) -> str:
    if state is AccountState.NEW:
        return registry.accounts.add("enedis", METER, NOW)[0].id
    account_id = add_ready(registry)
    match state:
        case AccountState.PAUSED:
            registry.accounts.set_state(account_id, state, now=NOW)
        case AccountState.ACTION_NEEDED:
            registry.accounts.set_state(account_id, state, LoginFailed.code, now=NOW)
        case AccountState.CLOSED:
            close_account(ConsentTable(registry.database, registry_sealer()), account_id, NOW)
        case AccountState.DELETED:
            registry.accounts.remove(account_id, NOW)
    return account_id


def stored(registry: Registry) -> list[str]:
    return [str(row) for table in (ACCOUNTS, SERIES_OUTCOMES) for row in registry.database.fetch(select(table))]


@pytest.mark.parametrize("event", AccountEvent)
@pytest.mark.parametrize("state", AccountState)
def test_an_event_writes_what_the_table_says_or_nothing(
    registry: Registry, state: AccountState, event: AccountEvent
) -> None:
    account_id = add_in(registry, state)
    before, waits = stored(registry), registry.accounts.get(account_id).reason
    reason = waits if event is AccountEvent.REINSTATED else _REASONS.get(event, "")

    def let_happen() -> None:
        with registry.database.writing() as connection:
            account_rows.apply(connection, account_id, event, LATER, reason)

    if (state, event) not in TRANSITIONS:
        with pytest.raises((WrongState, UnknownAccount)):
            let_happen()
        assert stored(registry) == before
        return
    let_happen()
    step, after = TRANSITIONS[state, event], registry.accounts.get(account_id)
    assert after.state in step.states
    assert after.reason == ("" if step.keeps_reason and state is AccountState.PAUSED else _expected(state, event))
    columns = SERIES_OUTCOMES.c
    asked = {row.active for row in registry.database.fetch(select(columns.active).where(columns.collected))}
    assert asked in ({after.active}, set())
    if step.due and after.active:
        due = registry.database.fetch(select(columns.history_due_at, columns.again_at).where(columns.collected))
        assert {tuple(row) for row in due} == {(LATER, None)}


def _expected(state: AccountState, event: AccountEvent) -> str:
    keeps = TRANSITIONS[state, event].keeps_reason and state is AccountState.ACTION_NEEDED
    return LoginFailed.code if keeps else _REASONS.get(event, "")
