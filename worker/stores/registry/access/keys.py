"""The table of access keys (``domain.consent.access_keys``): made, opened by their text, ended.

A key's text is ``<kind>_<id>_<secret>`` such as ``household_k3q7d0fr2mxx_Zr0…`` (``SecretTexts``); a recovery code is
one that a person can write down (``RecoveryTexts``). What counts of a row is sealed at its place, under a key that only
the web application has: a person who can write the table, but lacks this key, can end sessions and make none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from worker.domain.clock import Clock, real_clock
from worker.domain.sessions import KEY_LIVES, AccessKey, KeyKind
from worker.errors import OperatorFault
from worker.logs import fields
from worker.stores.database import Database, place_of
from worker.stores.encryption import SecretTexts
from worker.stores.registry.access.recovery_texts import RecoveryTexts
from worker.stores.registry.access.sessions import SessionTable
from worker.stores.registry.tables import ACCESS_KEYS
from worker.stores.sealing import Sealer

log = logging.getLogger("releve.access")
# A visit is recorded once in this time: SQLite has one writer.
_VISIT_RECORDED_EVERY: Final = timedelta(minutes=1)

_TEXTS: Final[Mapping[KeyKind, SecretTexts | RecoveryTexts]] = {
    kind: RecoveryTexts() if kind is KeyKind.RECOVERY_CODE else SecretTexts(kind.value) for kind in KeyKind
}


class AccessKeyTable(SessionTable):
    """The table of access keys, for those who can make and open them; every method raises StoreUnavailable."""

    def __init__(self, database: Database, sealer: Sealer, now: Clock = real_clock) -> None:
        super().__init__(database, now)
        self._sealer = sealer

    def create(
        self, kind: KeyKind, owner: str, *, device: str = "", details: Mapping[str, str] | None = None
    ) -> tuple[AccessKey, str]:
        """Create a key and return it with its text, which can't be read again later."""
        key_id, secret_hash, text = _TEXTS[kind].create()
        now, longest = self._now().replace(microsecond=0), KEY_LIVES[kind].longest
        expires_at = now + longest if longest else None
        key = AccessKey(key_id, kind, owner, now, now, expires_at, device[:100], dict(details or {}))
        row = {"id": key_id, "kind": kind, "owner": owner, "device": key.device, "expires_at": expires_at}
        sealed = self._seal(key, secret_hash)
        self._database.change(insert(ACCESS_KEYS).values(**row, sealed=sealed, created_at=now, last_seen_at=now))
        return key, text

    def find(self, kind: KeyKind, text: str | None) -> AccessKey | None:
        """Return the valid key of this kind with this text, and record the visit; None for any other text."""
        with self._database.reading() as connection:
            key = self._open(connection, kind, text)
        if key is not None and key.last_seen_at <= self._now() - _VISIT_RECORDED_EVERY:
            visit = update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(last_seen_at=self._now())
            self._database.change(visit)
        return key

    def use(self, kind: KeyKind, text: str | None) -> AccessKey | None:
        """Return the valid key of this kind with this text, and end it: it opens once. None for any other text."""
        with self._database.reading() as connection:  # A wrong text must not cost the registry a write.
            if self._open(connection, kind, text) is None:
                return None
        with self._database.writing() as connection:
            key = self._open(connection, kind, text)
            if key is None or connection.execute(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id)).rowcount != 1:
                return None
            return key

    def is_open(self, key: AccessKey) -> bool:
        """Return whether a key that was found earlier is still valid; records no visit."""
        with self._database.reading() as connection:
            row = _get_row(connection, key.id)
        return row is not None and replace(key, last_seen_at=row.last_seen_at).is_valid(self._now())

    def set_details(self, key: AccessKey, details: Mapping[str, str]) -> None:
        """Replace the details of a key; nothing happens where it has ended."""
        with self._database.writing() as connection:
            row = _get_row(connection, key.id, lock=True)
            opened = None if row is None else self._unseal(row)
            if opened is not None:
                _, secret_hash = opened
                sealed = self._seal(replace(key, details=dict(details)), secret_hash)
                connection.execute(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(sealed=sealed))

    def list_opened(self, owner: str, kind: KeyKind) -> list[AccessKey]:
        """Return the owner's valid keys of this kind with their details, the newest first; records no visit."""
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
        # The secret is hashed even where there is no row, so that the time doesn't tell whether the id exists.
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
        """Return the key of a row with the hash of its secret; None where the row is not one that we have sealed."""
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
