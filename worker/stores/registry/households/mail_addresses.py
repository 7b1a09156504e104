"""Mail addresses of households, to which a link to sign in may be sent, and notices about their accounts.

A row is written when the household has confirmed the address by a link that was mailed there. The address is sealed at
its household's row, under a key that only the web application has, and found by a keyed hash. A person who can write
the table, but lacks this key, can add no address and move none to another household.

What is sealed is ``{"address": "anne@example.org", "notices": true}``. An address that was confirmed before there were
notices is sealed as it is: it was given for links alone, so it gets none until its household wants them.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update

from worker.domain.clock import Clock, real_clock
from worker.errors import OperatorFault
from worker.stores.database import Database, SqlTable, place_of
from worker.stores.encryption import KeyedHashes
from worker.stores.registry.tables import HOUSEHOLDS, MAIL_ADDRESSES
from worker.stores.sealing import Sealer

_PURPOSE: Final = "mail address"
_MOST_HOUSEHOLDS: Final = 20  # Of one address; the newest come first.


@dataclass(frozen=True, slots=True)
class MailAddress:
    """The confirmed address of a household. ``language``: of the mails that are sent there.

    ``notices``: whether notices about its accounts are sent there, too.
    """

    household_id: str
    address: str = field(repr=False)
    language: str
    confirmed_at: datetime
    notices: bool = False


class MailAddressTable(SqlTable):
    """The table of mail addresses; every method raises StoreUnavailable. A row that others have changed is none."""

    def __init__(self, database: Database, sealer: Sealer, hashes: KeyedHashes, now: Clock = real_clock) -> None:
        super().__init__(database)
        self._sealer, self._hashes, self._now = sealer, hashes, now

    def hash(self, address: str) -> str:
        """Return the keyed hash of an address; letters count the same whether they are large or small."""
        return self._hashes.hash(_PURPOSE, _normalize(address))

    def set(self, household_id: str, address: str, language: str) -> bool:
        """Set the household's address, in place of the one before; False where the household has ended."""
        with self._database.writing() as connection:
            query = select(HOUSEHOLDS.c.id).where(HOUSEHOLDS.c.id == household_id).with_for_update()
            if connection.execute(query).one_or_none() is None:
                return False
            connection.execute(delete(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id == household_id))
            sealed = self._seal(household_id, address, notices=True)
            row = {"household_id": household_id, "hash": self.hash(address), "sealed": sealed, "language": language}
            connection.execute(insert(MAIL_ADDRESSES).values(**row, confirmed_at=self._now()))
            return True

    def set_notices(self, household_id: str, *, wanted: bool) -> bool:
        """Set whether notices are sent to the household's address; False where it has none."""
        is_its = MAIL_ADDRESSES.c.household_id == household_id
        with self._database.writing() as connection:
            row = connection.execute(select(MAIL_ADDRESSES).where(is_its).with_for_update()).one_or_none()
            address = self._unseal(row) if row else None
            if address is None:
                return False
            sealed = self._seal(household_id, address.address, notices=wanted)
            connection.execute(update(MAIL_ADDRESSES).where(is_its).values(sealed=sealed))
            return True

    def load(self, household_id: str) -> MailAddress | None:
        """Return the household's address, or None."""
        rows = self._database.fetch(select(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id == household_id))
        return self._unseal(rows[0]) if rows else None

    def remove(self, household_id: str) -> None:
        """Remove the household's address; it is safe to repeat."""
        self._database.change(delete(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id == household_id))

    def find(self, address: str) -> list[MailAddress]:
        """Return the rows of an address, one for each household that has it, the newest first."""
        hashes = self._hashes.all_hashes(_PURPOSE, _normalize(address))
        newest_first = (MAIL_ADDRESSES.c.confirmed_at.desc(), MAIL_ADDRESSES.c.household_id)
        query = select(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.hash.in_(hashes)).order_by(*newest_first)
        rows = map(self._unseal, self._database.fetch(query.limit(_MOST_HOUSEHOLDS)))
        return [row for row in rows if row is not None and _normalize(row.address) == _normalize(address)]

    def _unseal(self, row: Row[Any]) -> MailAddress | None:
        try:
            text = self._sealer.unseal(row.sealed, place_of(MAIL_ADDRESSES.c.sealed, row.household_id))
        except OperatorFault:
            return None
        fields = json.loads(text) if text.startswith("{") else {"address": text}
        return MailAddress(row.household_id, **fields, language=row.language, confirmed_at=row.confirmed_at)

    def _seal(self, household_id: str, address: str, *, notices: bool) -> str:
        text = json.dumps({"address": address, "notices": notices}, ensure_ascii=False)
        return self._sealer.seal(text, place_of(MAIL_ADDRESSES.c.sealed, household_id))


def _normalize(address: str) -> str:
    return unicodedata.normalize("NFC", address.strip()).casefold()
