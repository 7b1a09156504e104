"""The account registry: who gave consent for which meter, with which token, and how it went last.

The truth about accounts, unlike Redis.  One transaction a call; a call repeated gives the same registry.
A removed account leaves its row as a tombstone without anything personal, so that a late task is refused
and not taken for a new account.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Self

from sqlalchemy import Connection, Select, delete, select, update
from sqlalchemy.exc import IntegrityError

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.completeness import Mark
from worker.domain.measures.readings import Series
from worker.errors import StoreUnavailable
from worker.stores.encryption import Sealer
from worker.stores.registry import account_rows, migrations
from worker.stores.registry.account_rows import EVERY_ACCOUNT, LIVING
from worker.stores.registry.completeness import CompletenessTable
from worker.stores.registry.database import Database, bring_up
from worker.stores.registry.outcomes import SeriesOutcome, merging, to_outcome, to_row
from worker.stores.registry.overview import Overview
from worker.stores.registry.policies import PolicyTable
from worker.stores.registry.tables import ACCOUNTS, PERSONAL, RAW_ANSWERS, SERIES_OUTCOMES, USAGE_POINTS
from worker.stores.registry.tokens import TokenTable, take_away

PAGE = 500


@dataclass(frozen=True, slots=True)
class Removal:
    """How many rows a removal took away; all zero where it was done before."""

    account_id: str
    usage_points: int
    tokens: int
    outcomes: int
    raw_answers: int = 0  # rows: single answers, and months of them


@dataclass(frozen=True, slots=True)
class NewConsent:
    """What a consent brings.  ``token_needed=False``: the application's own token serves."""

    consent_from: date | None = None
    consent_until: date | None = None  # the last day, included
    token: str | None = field(default=None, repr=False)
    token_expires_at: datetime | None = None
    token_needed: bool = True

    @property
    def dates(self) -> dict[str, date]:
        """Those that are told."""
        told = {"consent_from": self.consent_from, "consent_until": self.consent_until}
        return {name: day for name, day in told.items() if day is not None}

    @property
    def usable(self) -> bool:
        """Whether the accounts can be read from now on."""
        return self.token is not None or not self.token_needed


class AccountRegistry:
    """Accounts, usage points, tokens and outcomes in one SQL database.

    Every method raises StoreUnavailable; those that take an account id raise UnknownAccount for one that
    isn't there, and those that write to it also for one that was removed.  Moments are zone-aware UTC.
    """

    def __init__(self, url: str, sealer: Sealer) -> None:
        """``url``: sqlite:///FILE or postgresql://…; nothing is opened yet.  Raises ValueError."""
        self._database = Database(url)
        self.tokens = TokenTable(self._database, sealer)
        self.completeness = CompletenessTable(self._database)
        self.policies = PolicyTable(self._database)

    def __repr__(self) -> str:
        return f"AccountRegistry({self._database.address})"

    @property
    def database(self) -> Database:
        """For a store that keeps its table beside the accounts."""
        return self._database

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self._database.close()

    # The schema

    def migrate(self) -> None:
        """Create the tables or bring them up to this program; see ``schema.bring_up``."""
        bring_up(self._database)

    def schema_version(self) -> str | None:
        """The last migration applied; None before the first."""
        with self._database.reading() as connection:
            return migrations.current_step(connection)

    # Accounts

    def add(
        self,
        supplier: str,
        usage_point_id: str | None,
        now: datetime,
        *,
        consent_from: date | None = None,
        consent_until: date | None = None,
        token: str | None = None,
        token_needed: bool = True,
        direction: str = account_rows.CONSUMPTION,
    ) -> tuple[Account, bool]:
        """The account of this usage point, and whether it is new: ``add_all`` for one."""
        consent = NewConsent(consent_from, consent_until, token, token_needed=token_needed)
        return self.add_all(supplier, [usage_point_id], now, consent, direction=direction)[0]

    def add_all(
        self,
        supplier: str,
        usage_point_ids: Sequence[str | None],
        now: datetime,
        consent: NewConsent,
        *,
        direction: str = account_rows.CONSUMPTION,
        witness: Callable[[Connection, str], object] | None = None,
    ) -> list[tuple[Account, bool]]:
        """The accounts of one consent, each with whether it is new: all of them, or none.

        A usage point already kept gives its account, with token and consent renewed where given; that also
        ends ``new`` and ``action_needed``, but not the operator's ``paused``.  Several share the token.
        ``witness`` is called for each account inside the transaction.  The caller has checked the numbers' form.
        """
        for _ in range(3):
            # Another process may add the same usage point between our look and our insert.  What the
            # server then says quotes the number, so it is not passed on.
            with suppress(IntegrityError), self._database.writing() as connection:
                # by number, so that two consents for the same meters lock them in one order
                ordered = sorted(set(usage_point_ids), key=lambda number: number or "")
                found = {
                    number: account_rows.find_or_insert(connection, supplier, number, direction, now, consent.dates)
                    for number in ordered
                }
                ids = [account_id for account_id, _ in found.values()]
                if consent.token is not None:
                    self.tokens.give(connection, ids, consent.token, consent.token_expires_at)
                for account_id in ids:
                    if consent.usable:
                        account_rows.make_ready(connection, account_id, now)
                    if witness is not None:
                        witness(connection, account_id)
                wanted = [found[number] for number in dict.fromkeys(usage_point_ids)]
                return [(account_rows.get(connection, account_id), created) for account_id, created in wanted]
        raise StoreUnavailable("the account could not be added, others were added at the same time: try again")

    def get(self, account_id: str) -> Account:
        """The account, a removed one too (``deleted``, without usage point)."""
        with self._database.reading() as connection:
            return account_rows.get(connection, account_id)

    def find_by_usage_point(
        self, supplier: str, usage_point_id: str, direction: str = account_rows.CONSUMPTION
    ) -> Account | None:
        """The account that keeps this usage point, or None."""
        with self._database.reading() as connection:
            return account_rows.find(connection, supplier, usage_point_id, direction)

    def page_active(self, after: str | None = None, limit: int = PAGE, *, until: str | None = None) -> list[Account]:
        """The next ``ready`` accounts in the order of ids, those beyond ``after`` up to ``until``; empty at the end."""
        query = EVERY_ACCOUNT.where(ACCOUNTS.c.state == AccountState.READY.value, ACCOUNTS.c.id > (after or ""))
        if until is not None:
            query = query.where(ACCOUNTS.c.id <= until)
        return self._accounts(query.limit(limit))

    def page(self, after: str | None = None, limit: int = PAGE) -> list[Account]:
        """The next accounts but the removed ones in the order of ids, those beyond ``after``; empty at the end."""
        return self._accounts(EVERY_ACCOUNT.where(LIVING, ACCOUNTS.c.id > (after or "")).limit(limit))

    def some(self, account_ids: Collection[str]) -> dict[str, Account]:
        """Those of the ids that are accounts, by id; removed ones too."""
        found = self._accounts(EVERY_ACCOUNT.where(ACCOUNTS.c.id.in_(account_ids)))
        return {account.id: account for account in found}

    def count_by_state(self) -> dict[AccountState, int]:
        """How many accounts are in each state, removed ones too; every state is named."""
        return Overview(self._database).accounts_by_state()

    def set_state(self, account_id: str, state: AccountState, reason: str = "", *, now: datetime) -> None:
        """Put the account into ``state``; ``reason`` is a code of semantics 6.4.

        A paused account that needs its owner stays paused (the operator's wish), with the reason noted.
        Raises ValueError for ``new`` and ``deleted``, which only ``add`` and ``remove`` give, and for
        ``ready`` without a usage point.
        """
        if state in (AccountState.NEW, AccountState.DELETED):
            raise ValueError(f"an account can't be set to {state}")
        with self._database.writing() as connection:
            account_rows.change_state(connection, account_id, state, reason, now)

    def remove(self, account_id: str) -> Removal:
        """Take away everything personal and leave a tombstone.  Safe to repeat."""
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, removed_too=True)
            gone = {
                table: connection.execute(delete(table).where(table.c.account_id == account_id)).rowcount
                for table in PERSONAL
            }
            tokens = take_away(connection, account_id)
            nothing = {"reason": "", "consent_from": None, "consent_until": None}
            tombstone = {"state": AccountState.DELETED.value, "state_since": datetime.now(UTC), **nothing}
            connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account_id, LIVING).values(tombstone))
        return Removal(account_id, gone[USAGE_POINTS], tokens, gone[SERIES_OUTCOMES], gone[RAW_ANSWERS])

    # Tokens; ``tokens`` knows more about them

    def load_token(self, account_id: str) -> str | None:
        """The token text last saved, or None.  Raises OperatorFault where its key is gone."""
        return self.tokens.load(account_id)

    def save_token(self, account_id: str, token_text: str) -> None:
        """Keep the token, sealed, in place of the one before; it is on disk when this returns."""
        self.tokens.save(account_id, token_text)

    def rotate_tokens(self) -> int:
        """Seal every token anew under the first key; how many.  See TokenBook.rotate."""
        return self.tokens.rotate()

    # Outcomes

    def record_outcome(
        self,
        account_id: str,
        series: str,
        run_id: str,
        now: datetime,
        *,
        code: str | None,
        message: str,
        last_day: date | None,
        stored: bool,
        days: Mapping[date, Mark] | None = None,
    ) -> None:
        """Note how a run of a series went, and with it what is known of its ``days``; ``code`` None is a success.

        Run ids sort as time does: an older run than the one noted adds its facts (days stored, success),
        but leaves the verdict.  ``message`` is kept in the clear, so what looks like a secret is cut out.
        """
        success_at = None if code else now
        outcome = SeriesOutcome(account_id, Series(series), run_id, code, message, success_at, last_day, stored, now)
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            connection.execute(merging(self._database.dialect), to_row(outcome))
            self.completeness.note(connection, account_id, outcome.series, days or {})

    @contextmanager
    def together(self) -> Iterator[Self]:
        """What is recorded within the block is one transaction: all of it or nothing."""
        with self._database.writing() as connection:
            inside = copy(self)
            inside._database = self._database.within(connection)
            yield inside

    def outcomes(self, account_id: str) -> dict[Series, SeriesOutcome]:
        """The last outcome of each series that has one."""
        return self.outcomes_of([account_id])[account_id]

    def outcomes_of(self, account_ids: Iterable[str]) -> dict[str, dict[Series, SeriesOutcome]]:
        """The same for a page of accounts; each id asked for has its entry."""
        found: dict[str, dict[Series, SeriesOutcome]] = {account_id: {} for account_id in account_ids}
        query = select(SERIES_OUTCOMES).where(SERIES_OUTCOMES.c.account_id.in_(found))
        with self._database.reading() as connection:
            for outcome in map(to_outcome, connection.execute(query)):
                found[outcome.account_id][outcome.series] = outcome
        return found

    def _accounts(self, query: Select[Any]) -> list[Account]:
        with self._database.reading() as connection:
            return [account_rows.to_account(row) for row in connection.execute(query.order_by(ACCOUNTS.c.id))]

    # Stands last: below it, ``list`` in an annotation would mean this method.
    def list(self, states: Collection[AccountState] | None = None) -> list[Account]:
        """The accounts in these states, by default all but the removed ones, in the order of ids."""
        chosen = LIVING if states is None else ACCOUNTS.c.state.in_([state.value for state in states])
        return self._accounts(EVERY_ACCOUNT.where(chosen))
