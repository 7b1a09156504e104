"""Homes, households, and the mail addresses of households.

A home consists of accounts that a household has joined, so that they appear on the same page. These accounts have the
same text in the column ``home``. A home gives no access: of its accounts, a page shows only those that the browser's
session may see even without the home.

A household defines which accounts its browsers may see, whichever browser connected them. The list is sealed in the
household's row, with a key that only the web application has. An account is shown only if it also has a row in
``household_accounts``, so any process can remove the account from the household by deleting that row, for example for
an erasure.

A household's mail address gets sign-in links, and notices about the household's accounts if the household wants them.
The row of an address is written when the household has confirmed the address with a mailed link. The address is sealed
with the same key, and found by a keyed hash. So a person who can write to the table but doesn't have this key can't add
an address, or move one to another household. The sealed text is ``{"address": "anne@example.org", "notices": true}``.
If the address was confirmed before notices existed, the sealed text is just the address. Such an address gets no
notices until its household asks for them.

The consent to months by mail is sealed apart, because 0.2.0 reads no other names in the text above. The sealed text is
``2026-11-20T18:00:00+00:00 anne@example.org``, so the consent ends with the address for which it was given.
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from worker.domain.clock import Clock, real_clock
from worker.errors import OperatorFault
from worker.stores.database import Database, SealedTable, SqlTable, place_of
from worker.stores.encryption import KeyedHashes, Sealer
from worker.stores.registry import account_rows
from worker.stores.registry.access_keys import end_keys_of
from worker.stores.registry.tables import ACCOUNTS, HOUSEHOLD_ACCOUNTS, HOUSEHOLDS, MAIL_ADDRESSES

MOST_ACCOUNTS: Final = 50  # If a household has more accounts, the oldest are dropped.
_PURPOSE: Final = "mail address"
_MOST_HOUSEHOLDS: Final = 20  # If a mail address has more rows, only the newest are used.


class HomeTable(SqlTable):
    """The homes of accounts. Every method is safe to repeat."""

    def join(self, account_ids: Collection[str]) -> None:
        """Join these accounts in a new home; each account leaves its former home. Raises UnknownAccount."""
        self._set(account_ids, secrets.token_hex(8))

    def part(self, account_ids: Collection[str]) -> None:
        """Remove each of these accounts from its home. Raises UnknownAccount."""
        self._set(account_ids, None)

    def _set(self, account_ids: Collection[str], home: str | None) -> None:
        with self._database.writing() as connection:
            for account_id in sorted(account_ids):  # The order is fixed, because otherwise two joins could deadlock.
                account_rows.lock(connection, account_id)
            connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id.in_(account_ids)).values(home=home))


@dataclass(frozen=True, slots=True)
class Household:
    """A household. ``accounts``: account ids in the order of addition, each with its session number as last stored."""

    id: str
    created_at: datetime
    accounts: Mapping[str, int] = field(default_factory=dict)


class HouseholdTable(SealedTable):
    """The table of households. A row that was not sealed with our key counts as missing."""

    def create(self, accounts: Mapping[str, int]) -> Household:
        """Create a household. ``accounts``: the ids of its accounts, each with the account's session number."""
        household = Household(secrets.token_hex(8), self._now(), {})
        with self._database.writing() as connection:
            sealed = self._seal(household.id, {})
            row = {"id": household.id, "sealed": sealed, "created_at": household.created_at}
            connection.execute(insert(HOUSEHOLDS).values(**row))
            return self._set(connection, household, accounts)

    def load(self, household_id: str) -> Household | None:
        """Return the household with its present accounts; None if there is none with this id."""
        with self._database.reading() as connection:
            return self._load(connection, household_id)

    def find_first(self) -> Household | None:
        """Return the oldest household, which in a home installation is the only one; None if there is none."""
        query = select(HOUSEHOLDS.c.id).order_by(HOUSEHOLDS.c.created_at, HOUSEHOLDS.c.id).limit(1)
        first = self._database.scalar(query)
        return None if first is None else self.load(first)

    def add(self, household_id: str, accounts: Mapping[str, int]) -> Household | None:
        """Add accounts to a household, or update their session numbers. Returns None if the household doesn't exist."""
        with self._database.writing() as connection:
            household = self._load(connection, household_id, lock=True)
            return household and self._set(connection, household, {**household.accounts, **accounts})

    def remove_from_others(self, account_ids: Collection[str], household_id: str) -> int:
        """Remove the accounts from all other households; return how many households had any of them.

        A household without accounts is deleted, with its sessions, codes and mail addresses.
        """
        theirs = (HOUSEHOLD_ACCOUNTS.c.account_id.in_(account_ids), HOUSEHOLD_ACCOUNTS.c.household_id != household_id)
        with self._database.writing() as connection:
            found = set(connection.execute(select(HOUSEHOLD_ACCOUNTS.c.household_id).where(*theirs)).scalars())
            connection.execute(delete(HOUSEHOLD_ACCOUNTS).where(*theirs))
            end_empty(connection, found)
            return len(found)

    def find_seeing(self, numbers: Mapping[str, int]) -> dict[str, list[str]]:
        """Return the ids of the households that still see each account. ``numbers``: the accounts' session numbers.

        A household that holds a smaller number no longer sees the account.
        """
        columns = HOUSEHOLD_ACCOUNTS.c.account_id, HOUSEHOLDS.c.id, HOUSEHOLDS.c.sealed
        query = select(*columns).join(HOUSEHOLDS, HOUSEHOLDS.c.id == HOUSEHOLD_ACCOUNTS.c.household_id)
        found: dict[str, list[str]] = {}
        for row in self._database.fetch(query.where(columns[0].in_(numbers)).order_by(HOUSEHOLDS.c.id)):
            if (self._read_numbers(row) or {}).get(row.account_id, -1) >= numbers[row.account_id]:
                found.setdefault(row.account_id, []).append(row.id)
        return found

    def _read_numbers(self, row: Row[Any]) -> dict[str, int] | None:
        """Return the session numbers that a household stores, by account; None if no key unseals them."""
        with suppress(OperatorFault):
            numbers: dict[str, int] = json.loads(self._sealer.unseal(row.sealed, place_of(HOUSEHOLDS.c.sealed, row.id)))
            return numbers
        return None

    def _load(self, connection: Connection, household_id: str, *, lock: bool = False) -> Household | None:
        query = select(HOUSEHOLDS).where(HOUSEHOLDS.c.id == household_id)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
        numbers = None if row is None else self._read_numbers(row)
        if row is None or numbers is None:
            return None
        mine = select(HOUSEHOLD_ACCOUNTS.c.account_id).where(HOUSEHOLD_ACCOUNTS.c.household_id == household_id)
        present = set(connection.execute(mine).scalars())
        accounts = {account_id: number for account_id, number in numbers.items() if account_id in present}
        return Household(row.id, row.created_at, accounts)

    def _set(self, connection: Connection, household: Household, accounts: Mapping[str, int]) -> Household:
        kept = dict(list(accounts.items())[-MOST_ACCOUNTS:])
        sealed = self._seal(household.id, kept)
        connection.execute(update(HOUSEHOLDS).where(HOUSEHOLDS.c.id == household.id).values(sealed=sealed))
        is_mine = HOUSEHOLD_ACCOUNTS.c.household_id == household.id
        connection.execute(delete(HOUSEHOLD_ACCOUNTS).where(is_mine))
        rows = [{"household_id": household.id, "account_id": account_id} for account_id in kept]
        if rows:
            connection.execute(insert(HOUSEHOLD_ACCOUNTS), rows)
        return Household(household.id, household.created_at, kept)

    def _seal(self, household_id: str, accounts: Mapping[str, int]) -> str:
        return self._sealer.seal(json.dumps(accounts), place_of(HOUSEHOLDS.c.sealed, household_id))


def find_households(connection: Connection, account_id: str) -> list[str]:
    query = select(HOUSEHOLD_ACCOUNTS.c.household_id).where(HOUSEHOLD_ACCOUNTS.c.account_id == account_id)
    return list(connection.execute(query.order_by(HOUSEHOLD_ACCOUNTS.c.household_id)).scalars())


def forget_account(connection: Connection, account_id: str) -> None:
    """Remove the account from every household, inside the transaction that erases the account."""
    households = find_households(connection, account_id)
    connection.execute(delete(HOUSEHOLD_ACCOUNTS).where(HOUSEHOLD_ACCOUNTS.c.account_id == account_id))
    end_empty(connection, households)


def end_empty(connection: Connection, household_ids: Collection[str]) -> None:
    """Delete the households among these that have no account left, and their sessions, codes and mail addresses."""
    if not household_ids:
        return
    query = select(HOUSEHOLD_ACCOUNTS.c.household_id).where(HOUSEHOLD_ACCOUNTS.c.household_id.in_(household_ids))
    empty = set(household_ids) - set(connection.execute(query).scalars())
    end_keys_of(connection, empty)
    connection.execute(delete(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id.in_(empty)))
    connection.execute(delete(HOUSEHOLDS).where(HOUSEHOLDS.c.id.in_(empty)))


@dataclass(frozen=True, slots=True)
class MailAddress:
    """The confirmed mail address of a household. ``language``: the language of the mails to this address.

    ``notices``: whether the address also gets notices about the household's accounts. ``month_since``: since when it
    gets the figures of each month; None if it doesn't.
    """

    household_id: str
    address: str = field(repr=False)
    language: str
    confirmed_at: datetime
    notices: bool = False
    month_since: datetime | None = None


class MailAddressTable(SealedTable):
    """The table of mail addresses. A row that was not sealed with our key counts as missing."""

    def __init__(self, database: Database, sealer: Sealer, hashes: KeyedHashes, now: Clock = real_clock) -> None:
        super().__init__(database, sealer, now)
        self._hashes = hashes

    def hash(self, address: str) -> str:
        """Return the keyed hash of an address; upper and lower case give the same hash."""
        return self._hashes.hash(_PURPOSE, _normalize(address))

    def set(self, household_id: str, address: str, language: str) -> bool:
        """Set or replace the household's address. Returns False if the household doesn't exist any more."""
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
        """Set whether notices are sent to the household's address. Returns False if the household has no address."""
        is_its = MAIL_ADDRESSES.c.household_id == household_id
        with self._database.writing() as connection:
            row = connection.execute(select(MAIL_ADDRESSES).where(is_its).with_for_update()).one_or_none()
            address = self._unseal(row) if row else None
            if address is None:
                return False
            sealed = self._seal(household_id, address.address, notices=wanted)
            connection.execute(update(MAIL_ADDRESSES).where(is_its).values(sealed=sealed))
            return True

    def set_month(self, household_id: str, since: datetime | None) -> None:
        """Set since when the figures of months are mailed to the household's address; None for not any more."""
        if since is None:
            sealed = None
        elif (address := self.load(household_id)) is None or address.month_since:
            return
        else:
            place = place_of(MAIL_ADDRESSES.c.sealed_month, household_id)
            sealed = self._sealer.seal(f"{since.isoformat()} {address.address}", place)
        change = update(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id == household_id)
        self._database.change(change.values(sealed_month=sealed))

    def iterate_months(self, page_size: int = 500) -> Iterator[MailAddress]:
        """Yield the addresses to which the figures of months are mailed, in the order of the households' ids."""
        query = select(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.sealed_month.is_not(None))
        after, in_order = "", query.order_by(MAIL_ADDRESSES.c.household_id).limit(page_size)
        while page := self._database.fetch(in_order.where(MAIL_ADDRESSES.c.household_id > after)):
            after = page[-1].household_id
            yield from (address for row in page if (address := self._unseal(row)) and address.month_since)

    def load(self, household_id: str) -> MailAddress | None:
        """Return the household's address; None if it has none."""
        return self.load_many([household_id]).get(household_id)

    def load_many(self, household_ids: Collection[str]) -> dict[str, MailAddress]:
        """Return the addresses of these households, by household; those without an address are left out."""
        rows = self._database.fetch(select(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id.in_(household_ids)))
        return {row.household_id: address for row in rows if (address := self._unseal(row))}

    def remove(self, household_id: str) -> None:
        """Remove the household's address. The call is safe to repeat."""
        self._database.change(delete(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id == household_id))

    def find(self, address: str) -> list[MailAddress]:
        """Return the rows of an address, one for each household that uses it, the newest first."""
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
        return MailAddress(
            row.household_id,
            **fields,
            language=row.language,
            confirmed_at=row.confirmed_at,
            month_since=self._read_month(row, fields["address"]),
        )

    def _read_month(self, row: Row[Any], address: str) -> datetime | None:
        with suppress(OperatorFault):
            place = place_of(MAIL_ADDRESSES.c.sealed_month, row.household_id)
            since, _, given_for = self._sealer.unseal(row.sealed_month or "", place).partition(" ")
            return datetime.fromisoformat(since) if given_for == address else None
        return None

    def _seal(self, household_id: str, address: str, *, notices: bool) -> str:
        text = json.dumps({"address": address, "notices": notices}, ensure_ascii=False)
        return self._sealer.seal(text, place_of(MAIL_ADDRESSES.c.sealed, household_id))


def _normalize(address: str) -> str:
    return unicodedata.normalize("NFC", address.strip()).casefold()
