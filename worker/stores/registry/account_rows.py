"""Rows of the registry to accounts and back, inside a transaction that the registry opened."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from worker.domain.consent.accounts import Account, AccountState
from worker.errors import UnknownAccount
from worker.stores.registry.tables import ACCOUNTS, USAGE_POINTS

CONSUMPTION = "consumption"
LIVING = ACCOUNTS.c.state != AccountState.DELETED.value
EVERY_ACCOUNT = select(ACCOUNTS, USAGE_POINTS.c.usage_point_id).select_from(ACCOUNTS.outerjoin(USAGE_POINTS))
# Asked several times a window and built once: to build them costs more than to ask.
_ONE_ACCOUNT = EVERY_ACCOUNT.where(ACCOUNTS.c.id == bindparam("wanted"))
_STATE = select(ACCOUNTS.c.state).where(ACCOUNTS.c.id == bindparam("wanted"))
_STATE_LOCKED = {shared: _STATE.with_for_update(read=shared) for shared in (False, True)}
_LETTERS, _DIGITS = "abcdefghjkmnpqrstvwxyz", "0123456789"  # without i, l, o, u: read aloud and typed back


def get(connection: Connection, account_id: str) -> Account:
    """The account, a removed one too.  Raises UnknownAccount."""
    row = connection.execute(_ONE_ACCOUNT, {"wanted": account_id}).one_or_none()
    if row is None:
        raise UnknownAccount(_unknown(account_id))
    return to_account(row)


def find(
    connection: Connection,
    supplier: str,
    usage_point_id: str | None,
    direction: str,
    *,
    lock: bool = False,
) -> Account | None:
    """The living account that keeps this usage point; with ``lock`` it stays so until we commit."""
    if usage_point_id is None:
        return None
    wanted = {"supplier": supplier, "usage_point_id": usage_point_id, "direction": direction}
    query = EVERY_ACCOUNT.where(LIVING, *(USAGE_POINTS.c[name] == value for name, value in wanted.items()))
    row = connection.execute(query.with_for_update(of=ACCOUNTS) if lock else query).one_or_none()
    return None if row is None else to_account(row)


def lock(connection: Connection, account_id: str, *, shared: bool = False, removed_too: bool = False) -> None:
    """Nobody removes the account or (unless ``shared``) changes it before our transaction ends.

    Raises UnknownAccount where it isn't there or (unless ``removed_too``) was removed.  SQLite needs no
    lock: who writes there is alone anyway.
    """
    state = connection.execute(_STATE_LOCKED[shared], {"wanted": account_id}).scalar()
    if state is None:
        raise UnknownAccount(_unknown(account_id))
    if state == AccountState.DELETED.value and not removed_too:
        raise UnknownAccount(f"account {account_id} was removed")


def insert_account(connection: Connection, supplier: str, now: datetime, consent: Mapping[str, date]) -> str:
    """The id of a new account, in state ``new``."""
    account_id = _new_id()
    row = {"id": account_id, "supplier": supplier, "state": AccountState.NEW.value, "reason": ""}
    connection.execute(insert(ACCOUNTS).values(created_at=now, state_since=now, **row, **consent))
    return account_id


def insert_usage_point(
    connection: Connection, account_id: str, supplier: str, usage_point_id: str, direction: str
) -> None:
    """Raises IntegrityError where another account has it."""
    row = {"supplier": supplier, "usage_point_id": usage_point_id, "direction": direction}
    connection.execute(insert(USAGE_POINTS).values(account_id=account_id, **row))


def find_or_insert(
    connection: Connection,
    supplier: str,
    usage_point_id: str | None,
    direction: str,
    now: datetime,
    consent: Mapping[str, date],
) -> tuple[str, bool]:
    """The id of the account that keeps this usage point, locked and with these dates, and whether it is new.

    Raises IntegrityError where another process adds it at this moment.
    """
    known = find(connection, supplier, usage_point_id, direction, lock=True)
    if known is not None:
        update_account(connection, known.id, consent)
        return known.id, False
    account_id = insert_account(connection, supplier, now, consent)
    if usage_point_id is not None:
        insert_usage_point(connection, account_id, supplier, usage_point_id, direction)
    return account_id, True


def update_account(connection: Connection, account_id: str, changes: Mapping[str, Any]) -> None:
    if changes:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(**changes))


def make_ready(connection: Connection, account_id: str, now: datetime) -> None:
    """End ``new`` and ``action_needed``, if there is a usage point; the operator's ``paused`` stays."""
    waiting = (AccountState.NEW.value, AccountState.ACTION_NEEDED.value)
    has_usage_point = select(USAGE_POINTS.c.account_id).where(USAGE_POINTS.c.account_id == account_id).exists()
    which = (ACCOUNTS.c.id == account_id, ACCOUNTS.c.state.in_(waiting), has_usage_point)
    values = {"state": AccountState.READY.value, "reason": "", "state_since": now}
    connection.execute(update(ACCOUNTS).where(*which).values(values))


def change_state(connection: Connection, account_id: str, state: AccountState, reason: str, now: datetime) -> Account:
    """Put the account into ``state``; gives it as it was before.

    A paused account that needs its owner stays paused, with the reason noted.  Raises ValueError where an
    account without a usage point should become ready, and UnknownAccount.
    """
    lock(connection, account_id)
    account = get(connection, account_id)
    if state is AccountState.READY and account.usage_point_id is None:
        raise ValueError("an account without a usage point can't be ready")
    if account.state is AccountState.PAUSED and state is AccountState.ACTION_NEEDED:
        state = AccountState.PAUSED
    update_account(connection, account_id, {"state": state.value, "reason": reason, "state_since": now})
    return account


def to_account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        state=AccountState(row.state),
        supplier=row.supplier,
        created_at=row.created_at,
        usage_point_id=row.usage_point_id,
        consent_from=row.consent_from,
        consent_until=row.consent_until,
        reason=row.reason,
    )


def _new_id() -> str:
    """Twelve characters, a letter first (never taken for a number, nor for CouchDB's own ``_`` names)."""
    return secrets.choice(_LETTERS) + "".join(secrets.choice(_LETTERS + _DIGITS) for _ in range(11))


def _unknown(account_id: str) -> str:
    # Who mixes the two up gives a meter number for the id: that must not come back in a text.
    named = f"account {account_id}" if account_id.isalnum() and account_id[0].isalpha() else "such account"
    return f"no {named} in the registry: `releve accounts list` shows them"
