"""The table of operators (``domain.consent.operators``): made, checked, ended.

The password's argon2id hash, the key of the second factor and its last used step are sealed at the operator's row,
under a key that only the web application has. A person who can write the table, but lacks this key, can make no
operator.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from worker.domain.clock import Clock, real_clock
from worker.domain.sessions import (
    LONGEST_NAME,
    PASSWORD_FAULTS,
    KeyKind,
    Operator,
    find_password_fault,
    find_totp_step,
    is_name,
    plain_name,
)
from worker.errors import DataError, OperatorFault
from worker.logs import fields
from worker.stores.database import Database, SqlTable, place_of
from worker.stores.registry.access.sessions import end_keys_of
from worker.stores.registry.tables import OPERATORS
from worker.stores.sealing import Sealer

log = logging.getLogger("releve.access")
_HASHER: Final = PasswordHasher()  # argon2id (RFC 9106) as the library sets it.
# A check takes 64 MiB and a tenth of a second of all cores: tries must not take all memory and all threads.
_CHECKS_AT_ONCE: Final = threading.BoundedSemaphore(2)
_LIVING: Final = OPERATORS.c.ended_at.is_(None)


class OperatorRefused(DataError):
    """The error for a name or a password that an operator can't have; the text says what to do."""


class UnknownOperator(DataError):
    """The error for a name that no operator has."""


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What is sealed of an operator; ``step`` is the last step of the second factor whose code was used."""

    name: str
    password: str | None = field(default=None, repr=False)
    totp: str | None = field(default=None, repr=False)
    step: int = 0


class OperatorTable(SqlTable):
    """The table of operators; every method raises StoreUnavailable. An operator that has ended is none any more.

    ``now`` is the real time even if the fleet runs at a simulated one: authenticator apps go by it.
    """

    def __init__(self, database: Database, sealer: Sealer, now: Clock = real_clock) -> None:
        super().__init__(database)
        self._sealer, self._now = sealer, now

    def add(self, name: str, password: str | None = None, totp_key: str | None = None) -> Operator:
        """Add an operator. Raises OperatorRefused for a name or a password that can't be.

        Without a password only a link opens the page; without a second factor the page opens on loopback alone.
        """
        name = plain_name(name)
        if not is_name(name):
            raise OperatorRefused(f"a name must have 1 to {LONGEST_NAME} letters, digits, dots, dashes or underscores")
        hash_ = None if password is None else _hash(password, name)
        operator_id, now = secrets.token_hex(8), self._now().replace(microsecond=0)
        sealed = self._seal(operator_id, _Sealed(name, hash_, totp_key))
        row = {"id": operator_id, "name": name, "sealed": sealed, "created_at": now}
        try:
            self._database.change(insert(OPERATORS).values(**row))
        except IntegrityError:
            raise OperatorRefused(
                f"there is an operator {name} already: `releve operators password {name}` sets a new password"
            ) from None
        return Operator(operator_id, name, now, None, hash_ is not None, totp_key is not None)

    def has_any(self) -> bool:
        """Return whether there is an operator."""
        return bool(self._database.fetch(select(OPERATORS.c.id).where(_LIVING).limit(1)))

    def list(self) -> list[Operator]:
        """Return all operators by name. One who can't be read any more has neither password nor second factor."""
        rows = self._database.fetch(select(OPERATORS).where(_LIVING).order_by(OPERATORS.c.name))
        return [_to_operator(row, self._unseal(row) or _Sealed(row.name)) for row in rows]

    def get(self, operator_id: str) -> Operator | None:
        """Return the operator of this id, or None."""
        with self._database.reading() as connection:
            row, sealed = self._load(connection, OPERATORS.c.id == operator_id)
        return _to_operator(row, sealed) if row is not None and sealed is not None else None

    def find(self, name: str) -> Operator:
        """Return the operator of this name. Raises UnknownOperator."""
        name = plain_name(name)
        rows = self._database.fetch(select(OPERATORS).where(_LIVING, OPERATORS.c.name == name))
        if not rows:
            raise UnknownOperator("no operator has this name: `releve operators list` shows the operators")
        return _to_operator(rows[0], self._unseal(rows[0]) or _Sealed(name))

    def check(self, name: str, password: str, code: str | None) -> Operator | None:
        """Return the operator of this name, password and code; ``code`` None: the password is enough.

        A wrong or used code is refused before the password is looked at, so that guessing costs us nothing. A right
        one is used up even where the password is wrong.
        """
        name = plain_name(name)
        with self._database.reading() as connection:
            row, sealed = self._load(connection, OPERATORS.c.name == (name if is_name(name) else ""))
        if code is not None and (row is None or not self.use_code(row.id, code)):
            return None
        # A password is hashed even for a name that nobody has, so that the time doesn't tell which names there are.
        is_right = _matches(password, (sealed and sealed.password) or _nobodys_hash())
        if row is None or sealed is None or sealed.password is None or not is_right:
            return None
        return _to_operator(row, sealed)

    def use_code(self, operator_id: str, code: str) -> bool:
        """Return whether a code of the operator's second factor is right, and use it up: a code works once."""
        with self._database.reading() as connection:  # A wrong code must not cost the registry a write.
            if self._find_step(connection, operator_id, code) is None:
                return False
        with self._database.writing() as connection:
            found = self._find_step(connection, operator_id, code, lock=True)
            if found is not None:
                sealed, step = found
                self._save(connection, operator_id, replace(sealed, step=step))
            return found is not None

    def set_password(self, operator_id: str, password: str) -> None:
        """Set a new password, and end the operator's sessions and links. Raises OperatorRefused, UnknownOperator."""
        operator = self.get(operator_id)
        if operator is None:
            raise UnknownOperator(
                "this operator can't be read, because the session key has changed: remove it and add it again"
            )
        hash_ = _hash(password, operator.name)  # It takes long, so not inside the transaction.
        with self._database.writing() as connection:
            _, sealed = self._load(connection, OPERATORS.c.id == operator_id, lock=True)
            if sealed is not None:
                self._save(connection, operator_id, replace(sealed, password=hash_))
            end_keys_of(connection, [operator_id])

    def record_sign_in(self, operator_id: str) -> None:
        """Record that the operator has signed in."""
        self._database.change(update(OPERATORS).where(OPERATORS.c.id == operator_id).values(signed_in_at=self._now()))

    def end(self, operator_id: str) -> int:
        """End an operator, and all sessions and links of it at once; return how many. The secrets are erased."""
        with self._database.writing() as connection:
            row = connection.execute(select(OPERATORS).where(OPERATORS.c.id == operator_id)).one_or_none()
            if row is not None:
                ended = {"ended_at": self._now(), "sealed": self._seal(operator_id, _Sealed(row.name))}
                connection.execute(update(OPERATORS).where(OPERATORS.c.id == operator_id).values(**ended))
            return end_keys_of(connection, [operator_id])

    def end_sessions(self, operator_id: str, *, but: str = "") -> int:
        """End the operator's sessions, but the one with the id ``but``; return how many."""
        with self._database.writing() as connection:
            return end_keys_of(connection, [operator_id], [KeyKind.OPERATOR_SESSION], but=but)

    def end_links(self, operator_id: str) -> int:
        """End the links that open a session of the operator; return how many."""
        with self._database.writing() as connection:
            return end_keys_of(connection, [operator_id], [KeyKind.OPERATOR_LINK])

    def _find_step(
        self, connection: Connection, operator_id: str, code: str, *, lock: bool = False
    ) -> tuple[_Sealed, int] | None:
        _, sealed = self._load(connection, OPERATORS.c.id == operator_id, lock=lock)
        if sealed is None or sealed.totp is None:
            return None
        step = find_totp_step(sealed.totp, code, self._now(), after=sealed.step)
        return None if step is None else (sealed, step)

    def _load(
        self, connection: Connection, which: Any, *, lock: bool = False
    ) -> tuple[Row[Any] | None, _Sealed | None]:
        query = select(OPERATORS).where(_LIVING, which)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
        return row, (None if row is None else self._unseal(row))

    def _save(self, connection: Connection, operator_id: str, sealed: _Sealed) -> None:
        text = self._seal(operator_id, sealed)
        connection.execute(update(OPERATORS).where(OPERATORS.c.id == operator_id).values(sealed=text))

    def _seal(self, operator_id: str, sealed: _Sealed) -> str:
        return self._sealer.seal(json.dumps(asdict(sealed)), place_of(OPERATORS.c.sealed, operator_id))

    def _unseal(self, row: Row[Any]) -> _Sealed | None:
        """Return what is sealed of a row; None where the row is not one that we have sealed."""
        try:
            sealed = _Sealed(**json.loads(self._sealer.unseal(row.sealed, place_of(OPERATORS.c.sealed, row.id))))
        except OperatorFault:
            log.warning("operator can't be read", extra=fields(operator=row.id))
            return None
        return sealed if sealed.name == row.name else None


def _to_operator(row: Row[Any], sealed: _Sealed) -> Operator:
    factors = sealed.password is not None, sealed.totp is not None
    return Operator(row.id, row.name, row.created_at, row.signed_in_at, *factors)


def _hash(password: str, name: str) -> str:
    if fault := find_password_fault(password, name):
        raise OperatorRefused(PASSWORD_FAULTS[fault])
    with _CHECKS_AT_ONCE:
        return _HASHER.hash(password)


def _matches(password: str, hash_: str) -> bool:
    with _CHECKS_AT_ONCE:
        try:
            return _HASHER.verify(hash_, password)
        except (VerificationError, InvalidHashError):
            return False


@cache
def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_urlsafe())
