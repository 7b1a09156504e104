"""The table of access rights, which are declared, checked, used to open an account, and withdrawn at the supplier.

The meter's number, the supplier's id of a right and the digest of the supplier's answer are sealed; a meter is found by
its keyed hash. A right that waits to be withdrawn is no longer used; its row is deleted after the withdrawal.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from worker.domain.access_right import HOPEFUL_STATES, REGISTERING, ProofState, Right, RightRecord, RightState
from worker.domain.account import IN_USE_STATES, Account
from worker.domain.clock import real_clock
from worker.stores.database import Database, SealedTable, new_id, place_of
from worker.stores.encryption import KeyedHashes
from worker.stores.registry import account_rows
from worker.stores.registry.account_rows import ACCOUNT_QUERY
from worker.stores.registry.tables import ACCOUNTS, RIGHTS, USAGE_POINTS

if TYPE_CHECKING:
    from worker.stores.encryption import Sealer


PAGE: Final = 500
_C: Final = RIGHTS.c
_SEALED: Final = ("meter", "supplier_id", "digest")
_PLAIN: Final = tuple(column.name for column in _C if column.name not in ("meter", "sealed", "sealed_at"))
_CHECKED: Final = ("role", "state", "state_since", "proof", "proof_until", "first_day", "last_day", "checked_at")
_LIVE: Final = _C.withdraw_since.is_(None)


class RightTable(SealedTable):
    """The table of rights. Lists leave out rows that no key can unseal."""

    def __init__(self, database: Database, sealer: Sealer, hashes: KeyedHashes) -> None:
        super().__init__(database, sealer)
        self._hashes = hashes

    # Reading, for pages and commands.

    def of_request(self, request_id: str) -> Right | None:
        """Return the right that a connection request has declared; None if the right doesn't exist any more."""
        return next(iter(self._list(_C.id == request_id)), None)

    def of_browser(self, names: Collection[str]) -> list[Right]:
        """Return the rights that were declared by the browser with these hashed names, the newest first."""
        return self._newest_first(_C.browser.in_(names))

    def of_account(self, account_id: str) -> list[Right]:
        """Return the rights of an account, the newest first."""
        return self._newest_first(_C.account_id == account_id)

    def find(self, right_id: str) -> Right | None:
        """Return the right with this id (our own); None if there is none, or if the right waits to be withdrawn."""
        return next(iter(self._list(_C.id == right_id, _LIVE)), None)

    def list_all(self) -> list[Right]:
        """Return all rights by id, with those that wait to be withdrawn."""
        return self._list()

    def of_supplier(self, supplier: str, *, pending_only: bool = False) -> list[Right]:
        """Return a supplier's rights by id. ``pending_only``: only the rights that wait for the holder."""
        only = (_C.state == RightState.PENDING,) if pending_only else ()
        return self._list(_C.supplier == supplier, _LIVE, *only)

    def list_awaiting_proof(self, limit: int = PAGE) -> list[Right]:
        """Return rights for which the supplier is waiting for a proof or has rejected one, sorted by id."""
        return self._list(_LIVE, _C.proof.in_((ProofState.AWAITED, ProofState.REJECTED)), limit=limit)

    def of_meter(self, supplier: str, meter: str) -> list[Right]:
        """Return the rights of a meter, the newest first, without those that wait to be withdrawn."""
        return self._newest_first(self._is_meter(supplier, meter), _LIVE)

    def is_being_withdrawn(self, supplier: str, meter: str) -> bool:
        """Return whether a right of this meter waits to be withdrawn at the supplier."""
        query = select(_C.id).where(self._is_meter(supplier, meter), _C.withdraw_since.is_not(None)).limit(1)
        return bool(self._database.fetch(query))

    def list_accounts_without(self, supplier: str) -> list[Account]:
        """Return the supplier's accounts in use, including paused ones, that have no right in the table."""
        has_right = select(_C.id).where(_C.account_id == ACCOUNTS.c.id).exists()
        query = ACCOUNT_QUERY.where(
            ACCOUNTS.c.supplier == supplier,
            ACCOUNTS.c.state.in_(IN_USE_STATES),
            USAGE_POINTS.c.usage_point_id.is_not(None),
            ~has_right,
        )
        return [Account(**row._asdict()) for row in self._database.fetch(query.order_by(ACCOUNTS.c.id))]

    def lock_name(self, supplier: str, meter: str) -> str:
        """Return a name for the meter's lock; it doesn't reveal the meter's number."""
        return self._digests(supplier, meter)[0][:32]

    # Changes of a right.

    def insert(self, connection: Connection, right: Right, *, instead_of: Iterable[str] = ()) -> None:
        """Insert a right, and delete the rights in ``instead_of``, which the new right replaces.

        Rights that wait to be withdrawn stay.
        """
        connection.execute(delete(RIGHTS).where(_C.id.in_(list(instead_of)), _C.id != right.id, _LIVE))
        row = {name: getattr(right, name) for name in _PLAIN}
        meter = self._digests(right.supplier, right.meter)[0]
        connection.execute(insert(RIGHTS).values(**row, meter=meter, **self._seal(right)))

    def adopt(self, account: Account, record: RightRecord, now: datetime) -> Right | None:
        """Insert a right from the supplier's list for an account that has none here.

        The right is stored as if it had opened the account. Returns None if the account has got a right meanwhile, or
        doesn't read this meter any more.
        """
        right = Right(
            id=new_id(),
            supplier=account.supplier,
            tenant=account.tenant,
            meter=record.meter,
            account_id=account.id,
            state=record.state,
            state_since=now,
            opened_at=now,
            is_found=True,
        ).after(record, now)
        with self._database.writing() as connection:
            account_rows.lock(connection, account.id, include_removed=True)
            meter = account_rows.get(connection, account.id).usage_point_id
            has_right = connection.execute(select(_C.id).where(_C.account_id == account.id).limit(1)).first()
            if meter != account.usage_point_id or has_right:
                return None
            self.insert(connection, right)
        return right

    def save_check(self, before: Right, after: Right) -> None:
        """Store the state of a right after a check at the supplier (``Right.after``).

        A right that was withdrawn meanwhile stays withdrawn.
        """
        values = {name: getattr(after, name) for name in _CHECKED}
        if before.supplier_id != after.supplier_id:
            values |= self._seal(after)
        self._database.change(update(RIGHTS).where(_C.id == before.id, _LIVE).values(values))

    def lock(self, connection: Connection, right: Right) -> bool:
        """Lock the row of a right; return whether the row is unchanged since ``right`` was read from it.

        Unchanged means that the row exists, doesn't wait to be withdrawn, and has opened no account since then.
        """
        query = select(_C.account_id, _C.opened_at).where(_C.id == right.id, _LIVE).with_for_update()
        row = connection.execute(query).first()
        return row is not None and (row.account_id, row.opened_at) == (right.account_id, right.opened_at)

    def mark_opened(self, connection: Connection, right_id: str, account_id: str, now: datetime) -> None:
        """Record that the right has opened or renewed this account, in the caller's transaction."""
        connection.execute(update(RIGHTS).where(_C.id == right_id).values(account_id=account_id, opened_at=now))

    def delete_ended_before(self, moment: datetime) -> int:
        """Delete the rights that ended at the supplier before ``moment``; return how many were deleted."""
        return self._database.change(
            delete(RIGHTS).where(_LIVE, _C.state.not_in(HOPEFUL_STATES), _C.state_since < moment)
        )

    # The withdrawal of rights.

    def withdraw_meter(self, connection: Connection, account: Account, *, of_everybody: bool = False) -> int:
        """Mark an account's rights for withdrawal at the supplier.

        Returns how many rights of the account's meter now wait to be withdrawn; 0 if the supplier registers no rights,
        or the account has no meter. If the table has no right to withdraw, a row is inserted, because the supplier may
        have a right that the table lacks. ``of_everybody``: True for an erasure, to mark the rights of all holders of
        the meter.
        """
        if account.supplier not in REGISTERING or account.usage_point_id is None:
            return 0
        withdraw_rights(connection, account.id)
        of_meter = self._is_meter(account.supplier, account.usage_point_id)
        if of_everybody:
            connection.execute(update(RIGHTS).where(of_meter, _LIVE).values(withdraw_since=real_clock()))
        waiting = select(_C.id).where(of_meter, _C.withdraw_since.is_not(None))
        if number := len(connection.execute(waiting).all()):
            return number
        unknown = Right(
            id=new_id(),
            supplier=account.supplier,
            tenant=account.tenant,
            account_id=account.id,
            meter=account.usage_point_id,
            state=RightState.ACTIVE,
            state_since=real_clock(),
            withdraw_since=real_clock(),
        )
        self.insert(connection, unknown)
        return 1

    def list_to_withdraw(self, limit: int = PAGE) -> list[Right]:
        """Return the rights that wait to be withdrawn at the supplier, longest waiting first.

        Raises OperatorFault if the key that sealed one of them is missing.
        """
        query = select(RIGHTS).where(_C.withdraw_since.is_not(None)).order_by(_C.withdraw_since, _C.id).limit(limit)
        return [self._to_right(row) for row in self._database.fetch(query)]

    def delete_withdrawn(self, right_id: str) -> None:
        """Delete a right that was withdrawn at the supplier, or whose withdrawal was given up."""
        self._database.change(delete(RIGHTS).where(_C.id == right_id, _C.withdraw_since.is_not(None)))

    def _digests(self, supplier: str, meter: str) -> list[str]:
        return self._hashes.all_hashes("meter", f"{supplier}:{meter}")

    def _is_meter(self, supplier: str, meter: str) -> ColumnElement[bool]:
        return _C.meter.in_(self._digests(supplier, meter))

    def _newest_first(self, *conditions: ColumnElement[bool]) -> list[Right]:
        rights = self._list(*conditions)
        return sorted(rights, key=lambda right: right.declared_at or right.state_since, reverse=True)

    def _list(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[Right]:
        rows = self._database.fetch(select(RIGHTS).where(*conditions).order_by(_C.id).limit(limit))
        return [self._to_right(row) for row in rows if self._sealer.can_unseal(row.sealed, place_of(_C.sealed, row.id))]

    def _seal(self, right: Right) -> dict[str, Any]:
        text = json.dumps({name: getattr(right, name) for name in _SEALED})
        return {"sealed": self._sealer.seal(text, place_of(_C.sealed, right.id)), "sealed_at": datetime.now(UTC)}

    def _to_right(self, row: Row[Any]) -> Right:
        sealed = json.loads(self._sealer.unseal(row.sealed, place_of(_C.sealed, row.id)))
        return Right(**{name: getattr(row, name) for name in _PLAIN}, **sealed)


# Functions that run inside the caller's transaction.


def withdraw_rights(connection: Connection, account_id: str) -> int:
    """Mark an account's rights for withdrawal at the supplier, and return how many were marked."""
    of_account = (_C.account_id == account_id, _LIVE)
    return connection.execute(update(RIGHTS).where(*of_account).values(withdraw_since=real_clock())).rowcount


def withdraw_waiting(connection: Connection, meter: str, moment: datetime) -> None:
    """Mark a meter's rights for withdrawal if they have no account and a person declared them by ``moment``.

    ``meter``: the meter's keyed hash.
    """
    of_nobody = (_C.meter == meter, _C.account_id.is_(None), _C.begun_at <= moment, _LIVE)
    connection.execute(update(RIGHTS).where(*of_nobody).values(withdraw_since=real_clock()))


def forget_rights(connection: Connection, account_ids: Sequence[str]) -> None:
    """Delete the rights of these accounts, except rights that wait to be withdrawn."""
    connection.execute(delete(RIGHTS).where(_C.account_id.in_(account_ids), _LIVE))
