"""The account registry: who gave consent for which meter, with which token, and how it went last.

The truth about accounts, unlike Redis.  One transaction a call; a call repeated gives the same registry.
A removed account leaves its row as a tombstone without anything personal, so that a late task is refused
and not taken for a new account.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from worker.domain.accounts import Account, AccountState
from worker.domain.readings import Series
from worker.errors import OperatorFault, StoreUnavailable
from worker.stores import account_rows, migrations
from worker.stores.account_rows import EVERY_ACCOUNT, LIVING
from worker.stores.database import Database
from worker.stores.outcomes import SeriesOutcome, insert, merging, to_outcome, to_row
from worker.stores.sealing import Sealer
from worker.stores.tables import ACCOUNTS, PERSONAL, SERIES_OUTCOMES, TOKENS

PAGE = 500
_MIGRATION_LOCK = 0x52656C6576  # "Relev": PostgreSQL's advisory locks are named by number


@dataclass(frozen=True, slots=True)
class Removal:
    """How many rows a removal took away; all zero where it was done before."""

    account_id: str
    usage_points: int
    tokens: int
    outcomes: int


class AccountRegistry:
    """Accounts, usage points, tokens and outcomes in one SQL database.

    Every method raises StoreUnavailable; those that take an account id raise UnknownAccount for one that
    isn't there, and those that write to it also for one that was removed.  Moments are zone-aware UTC.
    """

    def __init__(self, url: str, sealer: Sealer) -> None:
        """``url``: sqlite:///FILE or postgresql://…; nothing is opened yet.  Raises ValueError."""
        self._database = Database(url)
        self._sealer = sealer

    def __repr__(self) -> str:
        return f"AccountRegistry({self._database.address})"

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self._database.close()

    # The schema

    def migrate(self) -> None:
        """Create the tables or bring them up to this program; two processes at once take turns."""
        with self._database.writing() as connection:
            if self._database.dialect == "postgresql":
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # the other may take its time
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            migrations.upgrade(connection)

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
        """The account of this usage point, and whether it is new.

        A usage point already kept gives its account, with token and consent renewed where given; that also
        ends ``new`` and ``action_needed``, but not the operator's ``paused``.  ``token_needed=False``: the
        application's own token serves.  The caller has checked the number's form.
        """
        dates = {"consent_from": consent_from, "consent_until": consent_until}
        consent = {name: day for name, day in dates.items() if day is not None}
        usable = token is not None or not token_needed
        for _ in range(3):
            # Another process may add the same usage point between our look and our insert.  What the
            # server then says quotes the number, so it is not passed on.
            with suppress(IntegrityError), self._database.writing() as connection:
                known = account_rows.find(connection, supplier, usage_point_id, direction, lock=True)
                if known is None:
                    account_id = account_rows.insert_account(connection, supplier, now, consent)
                    if usage_point_id is not None:
                        account_rows.insert_usage_point(connection, account_id, supplier, usage_point_id, direction)
                else:
                    account_id = known.id
                    account_rows.update_account(connection, account_id, consent)
                if token is not None:
                    self._write_token(connection, account_id, token)
                if usable:
                    account_rows.make_ready(connection, account_id, now)
                return account_rows.get(connection, account_id), known is None
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

    def page_active(self, after: str | None = None, limit: int = PAGE) -> list[Account]:
        """The next ``ready`` accounts in the order of ids, those beyond ``after``; empty at the end."""
        query = EVERY_ACCOUNT.where(ACCOUNTS.c.state == AccountState.READY.value, ACCOUNTS.c.id > (after or ""))
        return self._accounts(query.limit(limit))

    def count_by_state(self) -> dict[AccountState, int]:
        """How many accounts are in each state, removed ones too; every state is named."""
        query = select(ACCOUNTS.c.state, func.count().label("number")).group_by(ACCOUNTS.c.state)
        with self._database.reading() as connection:
            counts = {row.state: row.number for row in connection.execute(query)}
        return {state: counts.get(state.value, 0) for state in AccountState}

    def set_state(self, account_id: str, state: AccountState, reason: str = "", *, now: datetime) -> None:
        """Put the account into ``state``; ``reason`` is a code of semantics 6.4.

        A paused account that needs its owner stays paused (the operator's wish), with the reason noted.
        Raises ValueError for ``new`` and ``deleted``, which only ``add`` and ``remove`` give, and for
        ``ready`` without a usage point.
        """
        if state in (AccountState.NEW, AccountState.DELETED):
            raise ValueError(f"an account can't be set to {state}")
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            account = account_rows.get(connection, account_id)
            if state is AccountState.READY and account.usage_point_id is None:
                raise ValueError("an account without a usage point can't be ready")
            if account.state is AccountState.PAUSED and state is AccountState.ACTION_NEEDED:
                state = AccountState.PAUSED
            changes = {"state": state.value, "reason": reason, "state_since": now}
            account_rows.update_account(connection, account_id, changes)

    def remove(self, account_id: str) -> Removal:
        """Take away everything personal and leave a tombstone.  Safe to repeat."""
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, removed_too=True)
            outcomes, tokens, usage_points = (
                connection.execute(delete(table).where(table.c.account_id == account_id)).rowcount for table in PERSONAL
            )
            nothing = {"reason": "", "consent_from": None, "consent_until": None}
            tombstone = {"state": AccountState.DELETED.value, "state_since": datetime.now(UTC), **nothing}
            connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account_id, LIVING).values(tombstone))
        return Removal(account_id, usage_points, tokens, outcomes)

    # Tokens

    def load_token(self, account_id: str) -> str | None:
        """The token text last saved, or None.  Raises OperatorFault where its key is gone."""
        query = select(TOKENS.c.sealed).where(TOKENS.c.account_id == account_id)
        with self._database.reading() as connection:
            sealed = connection.execute(query).scalar()
        return None if sealed is None else self._sealer.unseal(sealed)

    def save_token(self, account_id: str, token_text: str) -> None:
        """Keep the token, sealed, in place of the one before; it is on disk when this returns."""
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            self._write_token(connection, account_id, token_text)

    def rotate_tokens(self) -> int:
        """Seal every token anew under the first key; how many.  Safe to repeat, to stop and to run beside work.

        Raises OperatorFault at the end if some could not be read; the others are done.
        """
        done, unread, after = 0, 0, ""
        while page := self._rotate_page(after):
            after = page[-1][0]
            unread += sum(not readable for _, readable in page)
            done += sum(readable for _, readable in page)
        if unread:
            raise OperatorFault(
                f"{done} tokens are sealed under the first key, {unread} can't be read: put the key they were "
                "sealed under back into RELEVE_TOKEN_KEYS and rotate again"
            )
        return done

    def _rotate_page(self, after: str) -> list[tuple[str, bool]]:
        query = select(TOKENS.c.account_id, TOKENS.c.sealed).where(TOKENS.c.account_id > after)
        page = []
        with self._database.writing() as connection:
            locked = query.order_by(TOKENS.c.account_id).limit(PAGE).with_for_update()
            for account_id, sealed in connection.execute(locked).all():
                try:
                    rotated = self._sealer.rotate(sealed)
                except OperatorFault:  # counted; one lost key must not keep the rest from moving on
                    page.append((account_id, False))
                    continue
                connection.execute(update(TOKENS).where(TOKENS.c.account_id == account_id).values(sealed=rotated))
                page.append((account_id, True))
        return page

    def _write_token(self, connection: Connection, account_id: str, token_text: str) -> None:
        values = {"sealed": self._sealer.seal(token_text), "updated_at": datetime.now(UTC)}
        statement = insert(self._database.dialect, TOKENS).values(account_id=account_id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))

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
    ) -> None:
        """Note how a run of a series went; ``code`` None is a success.

        Run ids sort as time does: an older run than the one noted adds its facts (days stored, success),
        but leaves the verdict.  ``message`` is kept in the clear, so what looks like a secret is cut out.
        """
        success_at = None if code else now
        outcome = SeriesOutcome(account_id, Series(series), run_id, code, message, success_at, last_day, stored, now)
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            connection.execute(merging(self._database.dialect), to_row(outcome))

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
