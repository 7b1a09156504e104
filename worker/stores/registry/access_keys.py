"""Access to the web: the tables of access keys (sessions, links, recovery codes) and of operators.

A key's text is ``<kind>_<id>_<secret>`` such as ``household_k3q7d0fr2mxx_Zr0…`` (``SecretTexts``). The text of a
recovery code, such as ``K7QD-0FR2-MXH4-T8Q2-WZ5P-9N3C-7HYD`` (``RecoveryTexts``), is one that a person can write down.
Its letters are Crockford's base 32, which has no I, L, O and U; a typed I, L or O is read as the similar digit. All 28
letters are random (140 bits), so nobody can guess a code, and one round of SHA-256 is enough to store it safely. The
row of a code is found by another hash of the letters. Source: https://www.crockford.com/base32.html

Only the web application has the encryption key of these tables. This key seals the content of each access key, each
operator's role and argon2id password hash, and each operator's second factor (its secret, and the time step of the last
used code).
A person who can write to the tables, but doesn't have this encryption key, can end sessions but can't create a session
or an operator, or promote one. An earlier row that was copied can be put back, with its role and password. Listing and
ending access keys needs no encryption key, so a process that can't create sessions can still end any session.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from worker.domain.clock import Clock, real_clock
from worker.domain.sessions import (
    KEY_LIVES,
    LONGEST_NAME,
    PASSWORD_FAULTS,
    AccessKey,
    KeyKind,
    Operator,
    Role,
    find_password_fault,
    find_totp_step,
    is_name,
    plain_name,
)
from worker.errors import DataError, OperatorFault, SignInBusy
from worker.logs import fields
from worker.stores.database import ClockedTable, Database, SealedTable, place_of
from worker.stores.encryption import Sealer, SecretTexts
from worker.stores.registry.tables import ACCESS_KEYS, HOUSEHOLD_ACCOUNTS, OPERATORS

SESSIONS: Final = frozenset({KeyKind.HOUSEHOLD_SESSION, KeyKind.OPERATOR_SESSION})
log = logging.getLogger("releve.access")
# A visit is recorded at most once in this time, because SQLite has only one writer at a time.
_VISIT_RECORDED_EVERY: Final = timedelta(minutes=1)
_CODE_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH: Final = 28
_CODE_GROUP: Final = 4
_CODE_ID_LENGTH: Final = 16
_LOOK_ALIKE: Final = str.maketrans("ILO", "110")
_HASHER: Final = PasswordHasher()  # argon2id (RFC 9106) with the library's parameters.
# Checking a password takes 64 MiB and a tenth of a second of all cores; sign-in attempts must not use up memory and
# threads.
_CHECKS_AT_ONCE: Final = threading.BoundedSemaphore(2)
_CHECKS_WAITING: Final = threading.BoundedSemaphore(8)
_LIVING: Final = OPERATORS.c.ended_at.is_(None)


class SessionTable(ClockedTable):
    """The table of access keys, with methods that only list or end keys, so that no encryption key is needed."""

    def end(self, key_id: str, *, owners: Collection[str] | None = None) -> bool:
        """End the key with this id, if its owner is one of ``owners`` (None: any); return whether it was ended."""
        mine = () if owners is None else (ACCESS_KEYS.c.owner.in_(owners),)
        return self._database.change(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id, *mine)) > 0

    def end_of(self, owners: Collection[str], kinds: Collection[KeyKind] = SESSIONS, *, but: str = "") -> int:
        """End the owners' keys of these kinds, except the key with the id ``but``; return the number of ended keys."""
        with self._database.writing() as connection:
            return end_keys_of(connection, owners, kinds, but=but)

    def end_all(self, kinds: Collection[KeyKind]) -> int:
        """End all keys of these kinds, of all owners; return the number of ended keys."""
        return self._database.change(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.kind.in_(kinds)))

    def households_of(self, account_ids: Collection[str]) -> list[str]:
        """Return the ids of the households that include at least one of these accounts."""
        mine = HOUSEHOLD_ACCOUNTS.c.account_id.in_(account_ids)
        query = select(HOUSEHOLD_ACCOUNTS.c.household_id).where(mine).distinct()
        return [row.household_id for row in self._database.fetch(query.order_by(HOUSEHOLD_ACCOUNTS.c.household_id))]

    def delete_over(self) -> int:
        """Delete the expired keys, and return their number."""
        return self._database.change(delete(ACCESS_KEYS).where(_is_over(self._now())))

    def list_keys(
        self, owners: Collection[str] | None = None, kinds: Collection[KeyKind] = SESSIONS
    ) -> list[AccessKey]:
        """Return the unexpired keys of these owners (None: of all), without details, the last used first."""
        mine = () if owners is None else (ACCESS_KEYS.c.owner.in_(owners),)
        query = select(ACCESS_KEYS).where(ACCESS_KEYS.c.kind.in_(kinds), ~_is_over(self._now()), *mine)
        rows = self._database.fetch(query.order_by(ACCESS_KEYS.c.last_seen_at.desc(), ACCESS_KEYS.c.id))
        return [_to_key(row) for row in rows]


def end_keys_of(
    connection: Connection, owners: Collection[str], kinds: Collection[KeyKind] = tuple(KeyKind), *, but: str = ""
) -> int:
    """End the owners' keys of these kinds, except the key with the id ``but``; return the number of ended keys."""
    mine = (ACCESS_KEYS.c.owner.in_(owners), ACCESS_KEYS.c.kind.in_(kinds), ACCESS_KEYS.c.id != but)
    return connection.execute(delete(ACCESS_KEYS).where(*mine)).rowcount


def _is_over(now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition for expired keys."""
    idle = [
        (ACCESS_KEYS.c.kind == kind) & (ACCESS_KEYS.c.last_seen_at <= now - life.idle)
        for kind, life in KEY_LIVES.items()
        if life.idle is not None
    ]
    return or_(ACCESS_KEYS.c.expires_at.is_not(None) & (ACCESS_KEYS.c.expires_at <= now), *idle)


def _to_key(row: Row[Any]) -> AccessKey:
    return AccessKey(row.id, KeyKind(row.kind), row.owner, row.created_at, row.last_seen_at, row.expires_at, row.device)


class AccessKeyTable(SessionTable):
    """The table of access keys, for processes that can also create keys and read their details."""

    def __init__(self, database: Database, sealer: Sealer, now: Clock = real_clock) -> None:
        super().__init__(database, now)
        self._sealer = sealer

    def create(
        self, kind: KeyKind, owner: str, *, device: str = "", details: Mapping[str, str] | None = None
    ) -> tuple[AccessKey, str]:
        """Create a key; return it with its secret text, which can't be read again later."""
        key_id, secret_hash, text = _TEXTS[kind].create()
        now, longest = self._now().replace(microsecond=0), KEY_LIVES[kind].longest
        expires_at = now + longest if longest else None
        key = AccessKey(key_id, kind, owner, now, now, expires_at, device[:100], dict(details or {}))
        row = {"id": key_id, "kind": kind, "owner": owner, "device": key.device, "expires_at": expires_at}
        sealed = self._seal(key, secret_hash)
        self._database.change(insert(ACCESS_KEYS).values(**row, sealed=sealed, created_at=now, last_seen_at=now))
        return key, text

    def find(self, kind: KeyKind, text: str | None) -> AccessKey | None:
        """Return the valid key of this kind that has this text; None if there is none."""
        with self._database.reading() as connection:
            return self._open(connection, kind, text)

    def record_visit(self, key: AccessKey) -> None:
        """Record that a key was just used; this writes at most once a minute."""
        if key.last_seen_at <= self._now() - _VISIT_RECORDED_EVERY:
            visit = update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(last_seen_at=self._now())
            self._database.change(visit)

    def use(self, kind: KeyKind, text: str | None) -> AccessKey | None:
        """Return the valid key of this kind with this text, and end the key, so that it works only once.

        Returns None if no valid key has this text.
        """
        with self._database.reading() as connection:  # A wrong text must not cost the registry a write.
            if self._open(connection, kind, text) is None:
                return None
        with self._database.writing() as connection:
            key = self._open(connection, kind, text)
            if key is None or connection.execute(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id)).rowcount != 1:
                return None
            return key

    def is_open(self, key: AccessKey) -> bool:
        """Return whether a key that was found earlier is still valid."""
        with self._database.reading() as connection:
            row = _get_row(connection, key.id)
        return row is not None and replace(key, last_seen_at=row.last_seen_at).is_valid(self._now())

    def set_details(self, key: AccessKey, details: Mapping[str, str]) -> None:
        """Replace the details of a key. Nothing happens if the key has ended."""
        with self._database.writing() as connection:
            row = _get_row(connection, key.id, lock=True)
            opened = None if row is None else self._unseal(row)
            if opened is not None:
                _, secret_hash = opened
                sealed = self._seal(replace(key, details=dict(details)), secret_hash)
                connection.execute(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(sealed=sealed))

    def list_opened(self, owner: str, kind: KeyKind) -> list[AccessKey]:
        """Return the owner's valid keys of this kind with their details, the newest first."""
        query = select(ACCESS_KEYS).where(ACCESS_KEYS.c.owner == owner, ACCESS_KEYS.c.kind == kind)
        unsealed = [self._unseal(row) for row in self._database.fetch(query)]
        keys = [opened[0] for opened in unsealed if opened is not None]
        mine = [key for key in keys if key.owner == owner and key.kind is kind and key.is_valid(self._now())]
        return sorted(mine, key=lambda key: (key.created_at, key.id), reverse=True)

    def _open(self, connection: Connection, kind: KeyKind, text: str | None) -> AccessKey | None:
        texts = _TEXTS[kind]
        key_id = texts.read_id(text) if text else None
        row = _get_row(connection, key_id) if key_id else None
        key, secret_hash = (None, None) if row is None else self._unseal(row) or (None, None)
        # The secret is hashed even without a row, so that the time doesn't reveal whether the id exists.
        is_right = texts.matches(text or "", secret_hash)
        return key if is_right and key is not None and key.kind is kind and key.is_valid(self._now()) else None

    def _seal(self, key: AccessKey, secret_hash: str) -> str:
        content = {
            "hash": secret_hash,
            "kind": key.kind.value,
            "owner": key.owner,
            "created_at": int(key.created_at.timestamp()),
            "expires_at": int(key.expires_at.timestamp()) if key.expires_at else None,
            "details": dict(key.details),
        }
        return self._sealer.seal(json.dumps(content), place_of(ACCESS_KEYS.c.sealed, key.id))

    def _unseal(self, row: Row[Any]) -> tuple[AccessKey, str] | None:
        """Return the key in a row, with the hash of its secret; None if the row was not sealed with our key."""
        try:
            content = json.loads(self._sealer.unseal(row.sealed, place_of(ACCESS_KEYS.c.sealed, row.id)))
        except OperatorFault:
            log.warning("access key can't be read", extra=fields(key=row.id))
            return None
        key = AccessKey(
            row.id,
            KeyKind(content["kind"]),
            content["owner"],
            datetime.fromtimestamp(content["created_at"], UTC),
            row.last_seen_at,
            datetime.fromtimestamp(content["expires_at"], UTC) if content["expires_at"] else None,
            row.device,
            content["details"],
        )
        return key, content["hash"]


def _get_row(connection: Connection, key_id: str, *, lock: bool = False) -> Row[Any] | None:
    query = select(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


class RecoveryTexts:
    """The texts of recovery codes, which people can write down; the class stands in for ``SecretTexts``."""

    def create(self) -> tuple[str, str, str]:
        """Return the new id of a code, the hash to store, and the text to show."""
        letters = "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))
        groups = (letters[at : at + _CODE_GROUP] for at in range(0, _CODE_LENGTH, _CODE_GROUP))
        return _id_of(letters), _hash_letters("secret", letters), "-".join(groups)

    def read_id(self, text: str) -> str | None:
        """Return the id of a code; None for any other text. Spaces, dashes and lower case don't matter."""
        letters = _to_letters(text)
        return _id_of(letters) if letters else None

    def matches(self, text: str, stored_hash: str | None) -> bool:
        """Return whether the stored hash is that of the code's secret; the comparison takes constant time."""
        letters = _to_letters(text)
        return letters is not None and hmac.compare_digest(stored_hash or "", _hash_letters("secret", letters))


def _to_letters(text: str) -> str | None:
    letters = re.sub(r"[\s–-]", "", text[:100]).upper().translate(_LOOK_ALIKE)
    return letters if len(letters) == _CODE_LENGTH and all(letter in _CODE_LETTERS for letter in letters) else None


def _id_of(letters: str) -> str:
    return _hash_letters("id", letters)[:_CODE_ID_LENGTH]


def _hash_letters(purpose: str, letters: str) -> str:
    return hashlib.sha256(f"{purpose}:{letters}".encode()).hexdigest()


_TEXTS: Final[Mapping[KeyKind, SecretTexts | RecoveryTexts]] = {
    kind: RecoveryTexts() if kind is KeyKind.RECOVERY_CODE else SecretTexts(kind.value) for kind in KeyKind
}


class OperatorRefused(DataError):
    """An operator's name, password or role isn't allowed. The error's text says what to do."""


class UnknownOperator(DataError):
    """The error for an operator who doesn't exist or whose row can't be unsealed."""


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The sealed fields of an operator.

    ``step`` is the time step of the last used code of the second factor. ``role`` is a text, so that a role that only a
    later version of Relève knows isn't lost when another field is saved.
    """

    name: str
    password: str | None = field(default=None, repr=False)
    totp: str | None = field(default=None, repr=False)
    step: int = 0
    role: str = Role.ADMIN


_UNREADABLE: Final = "this operator can't be read, because the session key has changed: remove it and add it again"


class OperatorTable(SealedTable):
    """The table of operators. An operator that was ended counts as missing.

    ``now`` is the real time even if the fleet's time is simulated, because authenticator apps use the real time.
    """

    def add(
        self, name: str, password: str | None = None, totp_key: str | None = None, *, role: Role = Role.ADMIN
    ) -> Operator:
        """Add an operator. Raises OperatorRefused for an unsuitable name or password.

        Without a password, the operator can sign in only with a link; without a second factor, only on the loopback
        interface.
        """
        name = plain_name(name)
        if not is_name(name):
            raise OperatorRefused(f"a name must have 1 to {LONGEST_NAME} letters, digits, dots, dashes or underscores")
        hash_ = None if password is None else _hash_password(password, name)
        operator_id, now = secrets.token_hex(8), self._now().replace(microsecond=0)
        sealed = self._seal(operator_id, _Sealed(name, hash_, totp_key, role=role))
        row = {"id": operator_id, "name": name, "sealed": sealed, "created_at": now}
        try:
            self._database.change(insert(OPERATORS).values(**row))
        except IntegrityError:
            raise OperatorRefused(
                f"there is an operator {name} already: `releve access password {name}` sets a new password"
            ) from None
        return Operator(operator_id, name, now, None, hash_ is not None, totp_key is not None, role)

    def has_any(self) -> bool:
        return bool(self._database.fetch(select(OPERATORS.c.id).where(_LIVING).limit(1)))

    def list_operators(self) -> list[Operator]:
        """Return all operators by name.

        An operator whose row can't be unsealed is returned without a password, a second factor and a role.
        """
        rows = self._database.fetch(select(OPERATORS).where(_LIVING).order_by(OPERATORS.c.name))
        return [_to_operator(row, self._unseal(row)) for row in rows]

    def get(self, operator_id: str) -> Operator | None:
        """Return the operator with this id; None if there is none, or if the row can't be unsealed."""
        with self._database.reading() as connection:
            row, sealed = self._load(connection, OPERATORS.c.id == operator_id)
        return _to_operator(row, sealed) if row is not None and sealed is not None else None

    def find(self, name: str) -> Operator:
        """Return the operator of this name. Raises UnknownOperator."""
        name = plain_name(name)
        rows = self._database.fetch(select(OPERATORS).where(_LIVING, OPERATORS.c.name == name))
        if not rows:
            raise UnknownOperator("no operator has this name: `releve access list --kind operator` shows the operators")
        return _to_operator(rows[0], self._unseal(rows[0]))

    def check(self, name: str, password: str) -> Operator | None:
        """Return the operator with this name and password; None if there is none.

        Raises SignInBusy if too many passwords are being checked at the moment.
        """
        name = plain_name(name)
        with self._database.reading() as connection:
            row, sealed = self._load(connection, OPERATORS.c.name == (name if is_name(name) else ""))
        # A password is hashed even for an unknown name, so that the time doesn't reveal which names exist.
        is_right = _matches(password, (sealed and sealed.password) or _nobodys_hash())
        if row is None or sealed is None or sealed.password is None or not is_right:
            return None
        return _to_operator(row, sealed)

    def use_code(self, operator_id: str, code: str) -> bool:
        """Return whether a code of the operator's second factor is right.

        A right code is used up, because each code works only once.
        """
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
            raise UnknownOperator(_UNREADABLE)
        hash_ = _hash_password(password, operator.name)  # Hashing takes long, so it happens outside the transaction.
        with self._database.writing() as connection:
            _, sealed = self._load(connection, OPERATORS.c.id == operator_id, lock=True)
            if sealed is not None:
                self._save(connection, operator_id, replace(sealed, password=hash_))
            end_keys_of(connection, [operator_id])

    def record_sign_in(self, operator_id: str) -> None:
        self._database.change(update(OPERATORS).where(OPERATORS.c.id == operator_id).values(signed_in_at=self._now()))

    def set_role(self, operator_id: str, role: Role) -> None:
        """Give an operator another role; it counts from the operator's next request on.

        Raises OperatorRefused for the last administrator, and UnknownOperator.
        """
        with self._database.writing() as connection:
            if role is Role.ADMIN:
                _, sealed = self._load(connection, OPERATORS.c.id == operator_id, lock=True)
            else:
                _, sealed = self._load_unless_last(connection, operator_id)
            if sealed is None:
                raise UnknownOperator(_UNREADABLE)
            self._save(connection, operator_id, replace(sealed, role=role))

    def end(self, operator_id: str) -> int:
        """End an operator, erase the operator's secrets, and return how many sessions and links were ended.

        Raises OperatorRefused for the last administrator. An operator whose row can't be unsealed can always be ended.
        """
        with self._database.writing() as connection:
            row, _ = self._load_unless_last(connection, operator_id)
            if row is not None:
                ended = {"ended_at": self._now(), "sealed": self._seal(operator_id, _Sealed(row.name))}
                connection.execute(update(OPERATORS).where(OPERATORS.c.id == operator_id).values(**ended))
            return end_keys_of(connection, [operator_id])

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

    def _load_unless_last(self, connection: Connection, operator_id: str) -> tuple[Row[Any] | None, _Sealed | None]:
        """Return an operator's row and sealed fields. Raises OperatorRefused for the last administrator.

        All operators are locked, in one order, so that two administrators can't end or demote each other at once.
        """
        query = select(OPERATORS).where(_LIVING).order_by(OPERATORS.c.id).with_for_update()
        found = {row.id: (row, self._unseal(row)) for row in connection.execute(query)}
        admins = [id_ for id_, (_, sealed) in found.items() if sealed is not None and sealed.role == Role.ADMIN]
        if admins == [operator_id]:
            raise OperatorRefused(
                f"{found[operator_id][0].name} is the last administrator: add one (`releve access add-operator NAME`) "
                "or promote an operator (`releve access role NAME admin`) first"
            )
        return found.get(operator_id, (None, None))

    def _save(self, connection: Connection, operator_id: str, sealed: _Sealed) -> None:
        text = self._seal(operator_id, sealed)
        connection.execute(update(OPERATORS).where(OPERATORS.c.id == operator_id).values(sealed=text))

    def _seal(self, operator_id: str, sealed: _Sealed) -> str:
        content = asdict(sealed)
        if sealed.role == Role.ADMIN:
            del content["role"]  # Version 0.2.0, whose operators are all administrators, refuses unknown fields.
        return self._sealer.seal(json.dumps(content), place_of(OPERATORS.c.sealed, operator_id))

    def _unseal(self, row: Row[Any]) -> _Sealed | None:
        """Return the sealed fields of an operator's row; None if the row was not sealed with our key."""
        try:
            content = json.loads(self._sealer.unseal(row.sealed, place_of(OPERATORS.c.sealed, row.id)))
        except OperatorFault:
            log.warning("operator can't be read", extra=fields(operator=row.id))
            return None
        sealed = _Sealed(**{name: content[name] for name in _Sealed.__dataclass_fields__ if name in content})
        return sealed if sealed.name == row.name else None


def _to_operator(row: Row[Any], sealed: _Sealed | None) -> Operator:
    if sealed is None:
        return Operator(row.id, row.name, row.created_at, row.signed_in_at, False, False, None)
    role = Role.ADMIN if sealed.role == Role.ADMIN else Role.SUPPORT  # A role that isn't known has the fewest rights.
    factors = sealed.password is not None, sealed.totp is not None
    return Operator(row.id, row.name, row.created_at, row.signed_in_at, *factors, role)


def _hash_password(password: str, name: str) -> str:
    if fault := find_password_fault(password, name):
        raise OperatorRefused(PASSWORD_FAULTS[fault])
    with _CHECKS_AT_ONCE:
        return _HASHER.hash(password)


def _matches(password: str, hash_: str) -> bool:
    if not _CHECKS_WAITING.acquire(blocking=False):
        raise SignInBusy("too many passwords wait for their check", retry_after_s=5)
    try:
        with _CHECKS_AT_ONCE:
            return _HASHER.verify(hash_, password)
    except (VerificationError, InvalidHashError):
        return False
    finally:
        _CHECKS_WAITING.release()


@cache
def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_urlsafe())
