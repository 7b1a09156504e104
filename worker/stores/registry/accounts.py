"""The table of accounts with their usage points. Each call is one transaction and is safe to repeat.

The row of a removed account stays as a tombstone without personal data, so that a late task is refused and doesn't
create the account again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Select, delete, or_, select
from sqlalchemy.exc import IntegrityError

from worker.domain.account import DEFAULT_TENANT, OPEN_STATES, Account, AccountEvent, AccountState
from worker.domain.invitation import Invitation
from worker.domain.series import Series
from worker.domain.transitions import WrongState
from worker.domain.windows import civil_date
from worker.errors import ConsentEnded, ConsentStopped, StoreUnavailable, UnknownAccount
from worker.stores.database import Database, SqlTable
from worker.stores.registry import account_rows, series_switches
from worker.stores.registry.account_rows import ACCOUNT_QUERY, IS_ACTIVE, NOT_REMOVED
from worker.stores.registry.rights import withdraw_rights
from worker.stores.registry.tables import (
    ACCOUNT_DETAILS,
    ACCOUNTS,
    PERSONAL,
    RAW_ANSWERS,
    SERIES_OUTCOMES,
    USAGE_POINTS,
    belongs_to,
)
from worker.stores.registry.user_tokens import TokenTable, detach_token

if TYPE_CHECKING:
    from worker.stores.encryption import RegistryKeys
    from worker.stores.registry.invitations import InvitationTable

PAGE = 500
_SET_BY = {
    AccountState.READY: AccountEvent.RESUMED,
    AccountState.PAUSED: AccountEvent.PAUSED,
    AccountState.ACTION_NEEDED: AccountEvent.REFUSED,
}
Inserted = TypeVar("Inserted")


@dataclass(frozen=True, slots=True)
class NewConsent:
    """The dates and the token of a consent. Without ``token_needed``, the application's own token is used.

    ``data_from``: for a new account, the first day whose data may be read. ``offered``: by usage point, the series that
    the consent covers; the usage point's other series are not requested. ``offered`` lacks the usage points whose
    covered series are unknown. ``reference``: the operator's own, by which ``find_by_reference`` finds a new account.
    """

    consent_from: date | None = None
    consent_until: date | None = None  # The last day is included.
    token: str | None = field(default=None, repr=False)
    token_expires_at: datetime | None = None
    token_needed: bool = True
    data_from: date | None = None
    offered: Mapping[str, Collection[Series]] = field(default_factory=dict)
    reference: str | None = field(default=None, repr=False)

    @property
    def dates(self) -> dict[str, date]:
        """The dates that are not None, by column name."""
        columns = {"consent_from": self.consent_from, "consent_until": self.consent_until}
        return {name: day for name, day in columns.items() if day is not None}

    @property
    def usable(self) -> bool:
        """Whether the accounts' data can be requested from now on, because a token is there or not needed."""
        return self.token is not None or not self.token_needed


class AccountTable(SqlTable):
    """The table of accounts and of their usage points.

    A method that takes an account id raises UnknownAccount for a missing account. A method that writes to an account
    also raises it for a removed account, except ``remove``. Moments are zone-aware, in UTC.
    """

    def __init__(
        self,
        database: Database,
        tokens: TokenTable,
        invitations: InvitationTable,
        fleet: Sequence[Series],
        keys: RegistryKeys,
    ) -> None:
        """``fleet``: the series that are collected for every account by default.

        ``keys``: their hashes are read only for an account with a reference.
        """
        super().__init__(database)
        self._tokens, self._invitations, self._fleet, self._keys = tokens, invitations, fleet, keys

    def add(
        self, supplier: str, usage_point_id: str | None, now: datetime, *, tenant: str = DEFAULT_TENANT, **consent: Any
    ) -> tuple[Account, bool]:
        """Return the account of one usage point, and whether the account is new; see ``add_all`` and ``NewConsent``."""
        return self.add_all(supplier, [usage_point_id], now, NewConsent(**consent), tenant=tenant)[0]

    def add_all(
        self,
        supplier: str,
        usage_point_ids: Sequence[str | None],
        now: datetime,
        consent: NewConsent,
        *,
        on_accounts: Callable[[Connection, Sequence[str]], object] | None = None,
        before: Callable[[Connection], object] | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> list[tuple[Account, bool]]:
        """Add the accounts of one consent, all or none; return each account, and whether it is new.

        The result has the order of ``usage_point_ids``, whose form the caller has checked. All accounts share the
        token. If a usage point already has an account, this account gets the token and the dates of the consent, and
        keeps its tenant; if it is ``new`` or ``action_needed``, it becomes ``ready``; if it is paused, it stays paused.
        New accounts belong to ``tenant``. ``before`` is called at the beginning of the transaction, and ``on_accounts``
        at its end, with the accounts' ids.
        """

        def insert(connection: Connection) -> list[tuple[Account, bool]]:
            if before is not None:
                before(connection)
            # Two consents for the same meters must lock the accounts in the same order, or they deadlock.
            sorted_numbers = sorted(set(usage_point_ids), key=lambda number: number or "")
            rows = {
                number: account_rows.find_or_insert(
                    connection, supplier, number, now, consent.dates, tenant, self._fleet
                )
                for number in sorted_numbers
            }
            ids = [account_id for account_id, _ in rows.values()]
            for account_id, created in rows.values():
                if created and consent.data_from is not None:
                    account_rows.update_account(connection, account_id, {"data_from": consent.data_from})
            if consent.token is not None:
                self._tokens.assign_new(connection, ids, consent.token, consent.token_expires_at)
            for account_id in ids:
                if consent.usable:
                    with suppress(WrongState):  # The account has no meter, or the consent's last day is over.
                        account_rows.apply(connection, account_id, AccountEvent.CONSENTED, now)
            for number, series in consent.offered.items():
                series_switches.follow_consent(connection, rows[number][0], series, self._fleet, now)
            if on_accounts is not None:
                on_accounts(connection, ids)
            ordered = [rows[number] for number in dict.fromkeys(usage_point_ids)]
            return [(account_rows.get(connection, account_id), created) for account_id, created in ordered]

        return self._insert(insert)

    def add_asserted(
        self,
        supplier: str,
        usage_point_id: str,
        now: datetime,
        consent: NewConsent,
        *,
        on_new: Callable[[Connection, Sequence[str]], object],
        tenant: str = DEFAULT_TENANT,
        waits_under: str | None = None,
    ) -> tuple[Account, bool]:
        """Add the account of a usage point that somebody vouches for; return the account, and whether it is new.

        An existing account stays as it is, whatever its tenant. A new account belongs to ``tenant``. It is ``ready`` if
        the day of its holder's consent is given, otherwise ``new`` until the supplier's first answer; in both cases its
        series are due at once. With an error code in ``waits_under``, a new account is ``action_needed`` under this
        code instead, and nothing is due. ``on_new`` is called in the transaction with the new account's id in a list.
        """

        def insert(connection: Connection) -> tuple[Account, bool]:
            account_id, created = account_rows.find_or_insert(
                connection, supplier, usage_point_id, now, {}, tenant, self._fleet
            )
            if created:
                if consent.token is not None:
                    self._tokens.assign_new(connection, [account_id], consent.token, None)
                on_new(connection, [account_id])
                if hashes := self._hash_reference(consent.reference):
                    account_rows.update_account(connection, account_id, {"reference": hashes[0]})
                event = AccountEvent.CONSENTED if consent.consent_from else AccountEvent.VOUCHED
                account_rows.apply(
                    connection, account_id, AccountEvent.REFUSED if waits_under else event, now, waits_under or ""
                )
            return account_rows.get(connection, account_id), created

        return self._insert(insert)

    def _insert(self, insert: Callable[[Connection], Inserted]) -> Inserted:
        """Run a transaction that may insert accounts; repeat it if another process has inserted the same account."""
        for _ in range(3):
            # Another process may insert the same usage point between our query and our insert. The server's error
            # message quotes the meter's number, so the error isn't passed on.
            with suppress(IntegrityError), self._database.writing() as connection:
                return insert(connection)
        raise StoreUnavailable("the account could not be added, because others were added at the same time: try again")

    def get(self, account_id: str) -> Account:
        """Return the account. An account that was removed is ``deleted`` and has no usage point."""
        with self._database.reading() as connection:
            return account_rows.get(connection, account_id)

    def get_existing(self, account_id: str) -> Account:
        """Return the account. Raises UnknownAccount, also if the account was removed."""
        account = self.get(account_id)
        if account.state is AccountState.DELETED:
            raise UnknownAccount(f"account {account_id} was removed: `releve accounts list` shows the accounts")
        return account

    def find_existing(self, account_id: str) -> Account | None:
        """Return the account; None if there is none with this id, or if it was removed."""
        with suppress(UnknownAccount):
            return self.get_existing(account_id)
        return None

    def find(self, supplier: str, usage_point_id: str) -> Account | None:
        """Return the account that reads this usage point, or None. Closed and removed accounts read no usage point."""
        accounts = self._accounts(ACCOUNT_QUERY.where(*account_rows.reads(supplier, usage_point_id)))
        return accounts[0] if accounts else None

    def find_by_meter(self, usage_point_id: str, *, tenant: str | None = None) -> Sequence[Account]:
        """Return the accounts of any supplier that read a meter with this number.

        With ``tenant``, only this tenant's accounts are returned.
        """
        query = ACCOUNT_QUERY.where(NOT_REMOVED, USAGE_POINTS.c.usage_point_id == usage_point_id)
        return self._accounts(query.where(*belongs_to(ACCOUNTS, tenant)))

    def find_by_reference(self, reference: str, *, tenant: str | None = None) -> Sequence[Account]:
        """Return the accounts that were added with the operator's own reference; ``tenant``: only this tenant's.

        Upper and lower case are the same.
        """
        query = ACCOUNT_QUERY.where(NOT_REMOVED, ACCOUNTS.c.reference.in_(self._hash_reference(reference)))
        return self._accounts(query.where(*belongs_to(ACCOUNTS, tenant)))

    def _hash_reference(self, reference: str | None) -> list[str]:
        return account_rows.hash_reference(self._keys.hashes, reference) if reference else []

    def page_active(
        self, after: str | None = None, limit: int = PAGE, *, today: date | None = None, supplier: str | None = None
    ) -> list[Account]:
        """Return the next page of active accounts by id, starting after the id ``after``; empty after the last page.

        With ``today``, the date in Europe/Paris, only accounts with an unexpired consent are returned; with
        ``supplier``, only that supplier's accounts.
        """
        query = ACCOUNT_QUERY.where(IS_ACTIVE, ACCOUNTS.c.id > (after or ""))
        if supplier is not None:
            query = query.where(ACCOUNTS.c.supplier == supplier)
        if today is not None:
            query = query.where(or_(ACCOUNTS.c.consent_until.is_(None), ACCOUNTS.c.consent_until >= today))
        return self._accounts(query.limit(limit))

    def page(
        self,
        after: str | None = None,
        limit: int = PAGE,
        *,
        tenant: str | None = None,
        state: AccountState | None = None,
        code: str | None = None,
    ) -> list[Account]:
        """Return the next page of accounts by id, starting after the id ``after``; empty after the last page.

        Removed accounts are left out. ``tenant`` selects the accounts of this tenant, ``state`` those in this state.
        ``code`` selects the accounts that wait under this error code or a narrower code, or that have a series whose
        last run ended with such a code.
        """
        query = ACCOUNT_QUERY.where(NOT_REMOVED, *belongs_to(ACCOUNTS, tenant), ACCOUNTS.c.id > (after or ""))
        if state is not None:
            query = query.where(ACCOUNTS.c.state == state)
        if code is not None:
            query = query.where(account_rows.fails_with(code))
        return self._accounts(query.limit(limit))

    def iterate(
        self,
        after: str | None = None,
        *,
        tenant: str | None = None,
        state: AccountState | None = None,
        code: str | None = None,
    ) -> Iterator[Account]:
        """Yield all accounts after the id ``after`` that ``page`` returns, page by page."""
        while page := self.page(after, tenant=tenant, state=state, code=code):
            yield from page
            after = page[-1].id

    def page_ended(self, today: date, after: str | None = None, limit: int = PAGE) -> list[Account]:
        """Return the next page, by id, of accounts whose consent has ended and that don't wait for a new one yet."""
        over = (ACCOUNTS.c.consent_until < today, ACCOUNTS.c.reason.not_in((ConsentEnded.code, ConsentStopped.code)))
        query = ACCOUNT_QUERY.where(ACCOUNTS.c.state.in_(OPEN_STATES), *over, ACCOUNTS.c.id > (after or ""))
        return self._accounts(query.limit(limit))

    def state_since(self, account_id: str) -> datetime:
        """Return since when the account has had its present reason or, if it has no reason, its present state."""
        query = select(ACCOUNTS.c.state_since).where(ACCOUNTS.c.id == account_id)
        since: datetime | None = self._database.scalar(query)
        if since is None:
            raise UnknownAccount(f"there is no account {account_id}")
        return since

    def get_many(self, account_ids: Collection[str]) -> dict[str, Account]:
        """Return the accounts with these ids, by id; removed accounts are included, unknown ids are left out."""
        accounts = self._accounts(ACCOUNT_QUERY.where(ACCOUNTS.c.id.in_(account_ids)))
        return {account.id: account for account in accounts}

    def account_of(self, invitation: Invitation) -> Account | None:
        """Return the account of an invitation; None if the invitation is for a meter, or if the account was removed."""
        return None if invitation.account_id is None else self.find_existing(invitation.account_id)

    def meter_of(self, invitation: Invitation) -> str | None:
        """Return the number of an invitation's meter, or of its account's meter; None if the number was deleted."""
        if invitation.account_id is None:
            return invitation.usage_point_id
        account = self.account_of(invitation)
        return account.usage_point_id if account else None

    def set_state(
        self, account_id: str, state: AccountState, reason: str = "", *, now: datetime, until: date | None = None
    ) -> None:
        """Set the account's state; ``reason`` is the code that led to the state, empty if all is well.

        ``until``: the day on which a pause ends by itself (``end_pauses``).

        A pause keeps the account's reason. If a paused account with a reason is set to ``ready``, it becomes
        ``action_needed`` under this reason. A paused account that is set to ``action_needed`` stays paused and only
        takes the new reason. An account that was never confirmed becomes ``new`` again instead of ``ready``. Raises
        ValueError for the states ``new``, ``closed`` and ``deleted``, which other methods set, and for a change that
        ``Account.after`` refuses, such as ``ready`` after the consent has ended.
        """
        if state not in _SET_BY:
            raise ValueError(f"an account can't be set to {state}")
        with self._database.writing() as connection:
            account_rows.apply(connection, account_id, _SET_BY[state], now, reason, until=until)

    def end_pauses(self, now: datetime) -> int:
        """Resume the paused accounts whose pause ends by itself by today, and return their number.

        If the consent has ended meanwhile, the account stays paused until a call after a new consent.
        """
        today, resumed, after = civil_date(now), 0, ""
        query = select(ACCOUNTS.c.id).where(ACCOUNTS.c.state == AccountState.PAUSED, ACCOUNTS.c.paused_until <= today)
        page = query.order_by(ACCOUNTS.c.id).limit(PAGE)
        while rows := self._database.fetch(page.where(ACCOUNTS.c.id > after)):
            for (after,) in rows:
                with suppress(UnknownAccount, WrongState), self._database.writing() as connection:
                    account_rows.lock(connection, after)
                    # Meanwhile, an operator may have resumed the account, or paused it for longer.
                    if connection.execute(query.where(ACCOUNTS.c.id == after)).first():
                        account_rows.apply(connection, after, AccountEvent.RESUMED, now)
                        resumed += 1
        return resumed

    def remove(
        self,
        account_id: str,
        now: datetime,
        on_removal: Callable[[Connection], object] | None = None,
        at_end: Callable[[Connection], object] | None = None,
    ) -> dict[str, int]:
        """Delete the account's personal data, and leave its row as a tombstone.

        Returns the number of deleted rows by table. For ``raw_answers`` this isn't the number of answers, because a row
        holds one answer or a packed month of answers. Inside the transaction, ``on_removal`` is called if the account
        has a meter, and ``at_end`` is always called. The removal is safe to repeat.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, include_removed=True)
            usage_point_id = account_rows.get(connection, account_id).usage_point_id
            if on_removal is not None and usage_point_id is not None:
                on_removal(connection)
            # No invitation may connect this meter again after its holder has requested the erasure.
            self._invitations.end_for(connection, account_id, usage_point_id)
            counts = {
                table: connection.execute(delete(table).where(table.c.account_id == account_id)).rowcount
                for table in PERSONAL
            }
            if at_end is not None:
                at_end(connection)
            tokens = detach_token(connection, account_id)
            withdraw_rights(connection, account_id)
            empty = {"consent_from": None, "consent_until": None, "home": None, "reference": ""}
            account_rows.update_account(connection, account_id, empty)
            account_rows.apply(connection, account_id, AccountEvent.ERASED, now)
        return {
            "usage_points": counts[USAGE_POINTS],
            "tokens": tokens,
            "outcomes": counts[SERIES_OUTCOMES],
            "raw_answers": counts[RAW_ANSWERS],
            "account_details": counts[ACCOUNT_DETAILS],
        }

    def _accounts(self, query: Select[Any]) -> list[Account]:
        return [Account(**row._asdict()) for row in self._database.fetch(query.order_by(ACCOUNTS.c.id))]

    def list_accounts(self, states: Collection[AccountState] | None = None) -> list[Account]:
        """Return the accounts in these states (None: all except removed ones), by id."""
        condition = NOT_REMOVED if states is None else ACCOUNTS.c.state.in_(states)
        return self._accounts(ACCOUNT_QUERY.where(condition))
