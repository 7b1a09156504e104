"""Lists and ends of access keys, which need no key: a process that can make no session can still end any of them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, or_, select

from worker.domain.sessions import KEY_LIVES, AccessKey, KeyKind
from worker.stores.database import ClockedTable
from worker.stores.registry.tables import ACCESS_KEYS, HOUSEHOLD_ACCOUNTS

SESSIONS: Final = frozenset({KeyKind.HOUSEHOLD_SESSION, KeyKind.OPERATOR_SESSION})


class SessionTable(ClockedTable):
    """The table of access keys, for lists and ends; every method raises StoreUnavailable.

    ``now`` is the real time even if the fleet runs at a simulated one.
    """

    def end(self, key_id: str, *, owners: Collection[str] | None = None) -> bool:
        """End the key of this id, with ``owners`` only where it is one of theirs; return whether there was one."""
        mine = () if owners is None else (ACCESS_KEYS.c.owner.in_(owners),)
        return self._database.change(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id, *mine)) > 0

    def end_of(self, owners: Collection[str], kinds: Collection[KeyKind] = SESSIONS, *, but: str = "") -> int:
        """End the owners' keys of these kinds, but the one with the id ``but``; return how many were ended."""
        with self._database.writing() as connection:
            return end_keys_of(connection, owners, kinds, but=but)

    def end_all(self, kinds: Collection[KeyKind]) -> int:
        """End all keys of these kinds, of all owners; return how many were ended."""
        return self._database.change(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.kind.in_(kinds)))

    def households_of(self, account_ids: Collection[str]) -> list[str]:
        """Return the ids of the households that show one of the accounts."""
        mine = HOUSEHOLD_ACCOUNTS.c.account_id.in_(account_ids)
        query = select(HOUSEHOLD_ACCOUNTS.c.household_id).where(mine).distinct()
        return [row.household_id for row in self._database.fetch(query.order_by(HOUSEHOLD_ACCOUNTS.c.household_id))]

    def delete_over(self) -> int:
        """Delete the keys whose time is over, and return their number."""
        return self._database.change(delete(ACCESS_KEYS).where(_is_over(self._now())))

    # This method is the last one: below it, ``list`` in an annotation would mean the method.
    def list(self, owners: Collection[str] | None = None, kinds: Collection[KeyKind] = SESSIONS) -> list[AccessKey]:
        """Return the keys that are not over, without details, of these owners or of all, the last seen first."""
        mine = () if owners is None else (ACCESS_KEYS.c.owner.in_(owners),)
        query = select(ACCESS_KEYS).where(ACCESS_KEYS.c.kind.in_(kinds), ~_is_over(self._now()), *mine)
        rows = self._database.fetch(query.order_by(ACCESS_KEYS.c.last_seen_at.desc(), ACCESS_KEYS.c.id))
        return [_to_key(row) for row in rows]


def end_keys_of(
    connection: Connection, owners: Collection[str], kinds: Collection[KeyKind] = tuple(KeyKind), *, but: str = ""
) -> int:
    """End the owners' keys of these kinds, but the one with the id ``but``; return how many were ended."""
    mine = (ACCESS_KEYS.c.owner.in_(owners), ACCESS_KEYS.c.kind.in_(kinds), ACCESS_KEYS.c.id != but)
    return connection.execute(delete(ACCESS_KEYS).where(*mine)).rowcount


def _is_over(now: datetime) -> ColumnElement[bool]:
    """Return the condition of the keys whose time is over."""
    idle = [
        (ACCESS_KEYS.c.kind == kind) & (ACCESS_KEYS.c.last_seen_at <= now - life.idle)
        for kind, life in KEY_LIVES.items()
        if life.idle is not None
    ]
    return or_(ACCESS_KEYS.c.expires_at.is_not(None) & (ACCESS_KEYS.c.expires_at <= now), *idle)


def _to_key(row: Row[Any]) -> AccessKey:
    return AccessKey(row.id, KeyKind(row.kind), row.owner, row.created_at, row.last_seen_at, row.expires_at, row.device)
