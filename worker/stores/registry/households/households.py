"""Households: which accounts the browsers of one household may see, whichever of them connected them.

What counts is sealed at the household's row, under a key that only the web application has. A row of
``household_accounts`` makes an account findable: without it the account is not shown either, so a deletion of the row
(an erasure, by any process) takes it away.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from worker.domain.clock import Clock, real_clock
from worker.stores.database import Database, SqlTable, place_of
from worker.stores.registry.access.sessions import end_keys_of
from worker.stores.registry.tables import HOUSEHOLD_ACCOUNTS, HOUSEHOLDS, MAIL_ADDRESSES
from worker.stores.sealing import Sealer

MOST_ACCOUNTS: Final = 50  # The accounts that came first give way.


@dataclass(frozen=True, slots=True)
class Household:
    """A household: its accounts with the session number that each had when it came, in the order in which they came."""

    id: str
    created_at: datetime
    accounts: Mapping[str, int] = field(default_factory=dict)


class HouseholdTable(SqlTable):
    """The table of households; every method raises StoreUnavailable. A household that was changed by others is None."""

    def __init__(self, database: Database, sealer: Sealer, now: Clock = real_clock) -> None:
        super().__init__(database)
        self._sealer, self._now = sealer, now

    def create(self, accounts: Mapping[str, int]) -> Household:
        """Create a household with these accounts, each with its session number."""
        household = Household(secrets.token_hex(8), self._now(), {})
        with self._database.writing() as connection:
            sealed = self._seal(household.id, {})
            row = {"id": household.id, "sealed": sealed, "created_at": household.created_at}
            connection.execute(insert(HOUSEHOLDS).values(**row))
            return self._set(connection, household, accounts)

    def load(self, household_id: str) -> Household | None:
        """Return the household with the accounts that it has now; None where there is none."""
        with self._database.reading() as connection:
            return self._load(connection, household_id)

    def find_first(self) -> Household | None:
        """Return the household that was made first, which is a home's own; None where there is none."""
        query = select(HOUSEHOLDS.c.id).order_by(HOUSEHOLDS.c.created_at, HOUSEHOLDS.c.id).limit(1)
        with self._database.reading() as connection:
            first = connection.execute(query).scalar()
            return None if first is None else self._load(connection, first)

    def add(self, household_id: str, accounts: Mapping[str, int]) -> Household | None:
        """Add accounts to a household, or set their newer session numbers; None where there is none."""
        with self._database.writing() as connection:
            household = self._load(connection, household_id, lock=True)
            return household and self._set(connection, household, {**household.accounts, **accounts})

    def remove_from_others(self, account_ids: Collection[str], household_id: str) -> int:
        """Take the accounts away from all other households, and return from how many.

        A household that has no account left ends, with everything that leads to it.
        """
        theirs = (HOUSEHOLD_ACCOUNTS.c.account_id.in_(account_ids), HOUSEHOLD_ACCOUNTS.c.household_id != household_id)
        with self._database.writing() as connection:
            found = set(connection.execute(select(HOUSEHOLD_ACCOUNTS.c.household_id).where(*theirs)).scalars())
            connection.execute(delete(HOUSEHOLD_ACCOUNTS).where(*theirs))
            end_empty(connection, found)
            return len(found)

    def list_showing(self, account_id: str) -> list[Household]:
        """Return the households that have the account, each with the session number that it knows."""
        with self._database.reading() as connection:
            rows = [self._load(connection, one) for one in find_households(connection, account_id)]
        return [household for household in rows if household is not None and account_id in household.accounts]

    def _load(self, connection: Connection, household_id: str, *, lock: bool = False) -> Household | None:
        query = select(HOUSEHOLDS).where(HOUSEHOLDS.c.id == household_id)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
        place = place_of(HOUSEHOLDS.c.sealed, household_id)
        if row is None or not self._sealer.can_unseal(row.sealed, place):
            return None
        mine = select(HOUSEHOLD_ACCOUNTS.c.account_id).where(HOUSEHOLD_ACCOUNTS.c.household_id == household_id)
        present = set(connection.execute(mine).scalars())
        numbers: dict[str, int] = json.loads(self._sealer.unseal(row.sealed, place))
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
    """Return the ids of the households that show the account."""
    query = select(HOUSEHOLD_ACCOUNTS.c.household_id).where(HOUSEHOLD_ACCOUNTS.c.account_id == account_id)
    return list(connection.execute(query.order_by(HOUSEHOLD_ACCOUNTS.c.household_id)).scalars())


def forget_account(connection: Connection, account_id: str) -> None:
    """Take the account away from every household, inside the transaction of its erasure. Needs no key."""
    households = find_households(connection, account_id)
    connection.execute(delete(HOUSEHOLD_ACCOUNTS).where(HOUSEHOLD_ACCOUNTS.c.account_id == account_id))
    end_empty(connection, households)


def end_empty(connection: Connection, household_ids: Collection[str]) -> None:
    """Delete those of the households that have no account left, with their sessions, codes and mail addresses."""
    if not household_ids:
        return
    query = select(HOUSEHOLD_ACCOUNTS.c.household_id).where(HOUSEHOLD_ACCOUNTS.c.household_id.in_(household_ids))
    empty = set(household_ids) - set(connection.execute(query).scalars())
    end_keys_of(connection, empty)
    connection.execute(delete(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id.in_(empty)))
    connection.execute(delete(HOUSEHOLDS).where(HOUSEHOLDS.c.id.in_(empty)))
