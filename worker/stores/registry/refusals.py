"""The table of pending refusals, and the suspension and reinstatement of accounts.

A refusal by the supplier may be the supplier's own mistake. It stays pending until it is confirmed later, which
suspends the account, or until a success clears it (``outcomes.record``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, or_, select, update

from worker.domain.account import Account, AccountState
from worker.domain.consents import Notice, PendingRefusal
from worker.domain.evidence import SUPPLIER
from worker.domain.series import of_supplier
from worker.domain.windows import civil_date
from worker.errors import ConsentEnded, ConsentStopped
from worker.stores.database import Database, SealedTable, build_insert
from worker.stores.registry import account_rows, consent_rows
from worker.stores.registry.account_rows import ACCOUNT_QUERY
from worker.stores.registry.evidence.chain import EvidenceChain
from worker.stores.registry.tables import ACCOUNTS, PENDING_REFUSALS, SERIES_OUTCOMES
from worker.stores.sealing import Sealer


class PendingRefusals(SealedTable):
    """The table of pending refusals.

    Every method raises StoreUnavailable; a method that writes for an account raises UnknownAccount.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        super().__init__(database, sealer)
        self._chain = EvidenceChain(sealer)

    def record_sighting(self, account_id: str, code: str, now: datetime) -> PendingRefusal:
        """Count a repeated refusal and return the row.

        The database adds up refusals that come at the same time. After ``reinstate`` has set the count to zero, the
        next refusal is a first one again.
        """
        statement = build_insert(self._database.dialect, PENDING_REFUSALS).values(
            account_id=account_id, code=code, first_seen=now, last_seen=now, times=1
        )
        old, new = PENDING_REFUSALS.c, statement.excluded
        merged = statement.on_conflict_do_update(
            index_elements=["account_id", "code"],
            set_={
                "first_seen": case((old.times == 0, new.first_seen), else_=old.first_seen),
                "last_seen": case((old.last_seen > new.last_seen, old.last_seen), else_=new.last_seen),
                "times": old.times + 1,
            },
        )
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            return PendingRefusal(*connection.execute(merged.returning(PENDING_REFUSALS)).one())

    def list_for_account(self, account_id: str) -> list[PendingRefusal]:
        """Return the account's pending refusals, by code."""
        query = (
            select(PENDING_REFUSALS)
            .where(PENDING_REFUSALS.c.account_id == account_id)
            .order_by(PENDING_REFUSALS.c.code)
        )
        return [PendingRefusal(*row) for row in self._database.fetch(query)]

    def count_newly_refused(self, code: str, since: datetime, *, certain: bool, supplier: str) -> int:
        """Return the number of a supplier's accounts refused with ``code`` for the first time since ``since``.

        Of a pending refusal the first one counts: repeated requests for the same accounts show nothing new. A
        ``certain`` refusal suspends its account at once, so the suspension counts.
        """
        if certain:
            suspended = (ACCOUNTS.c.state == AccountState.ACTION_NEEDED, ACCOUNTS.c.reason == code)
            newly = (*suspended, ACCOUNTS.c.state_since >= since, ACCOUNTS.c.supplier == supplier)
            query = select(func.count()).select_from(ACCOUNTS).where(*newly)
        else:
            first_seen = (
                PENDING_REFUSALS.c.code == code,
                PENDING_REFUSALS.c.first_seen >= since,
                PENDING_REFUSALS.c.times > 0,
                _is_of(supplier),
            )
            query = select(func.count()).select_from(PENDING_REFUSALS).where(*first_seen)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def count_accounts_asked(self, since: datetime, limit: int, supplier: str) -> int:
        """Return the number of a supplier's accounts with an outcome since ``since``.

        It is counted up to ``limit``, to bound the time.
        """
        asked = (SERIES_OUTCOMES.c.updated_at >= since, SERIES_OUTCOMES.c.series.in_(of_supplier(supplier)))
        query = select(SERIES_OUTCOMES.c.account_id).where(*asked).distinct().limit(limit)
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()

    def reinstate(self, code: str, since: datetime, now: datetime, supplier: str) -> list[str]:
        """Undo the refusals of a supplier with ``code`` since ``since``, because they were its fault.

        Sets their counts to zero, makes the accounts that they suspended active again and deletes the undelivered
        notices. Where they ended a consent, a new one with the same facts follows on record. A consent that has ended
        by its date meanwhile stays so. Returns the ids of these accounts.
        """
        pending = (
            PENDING_REFUSALS.c.code == code,
            PENDING_REFUSALS.c.last_seen >= since,
            PENDING_REFUSALS.c.times > 0,
            _is_of(supplier),
        )
        suspended = ACCOUNT_QUERY.where(
            ACCOUNTS.c.supplier == supplier,
            ACCOUNTS.c.state == AccountState.ACTION_NEEDED,
            ACCOUNTS.c.reason == code,
            ACCOUNTS.c.state_since >= since,
            or_(ACCOUNTS.c.consent_until.is_(None), ACCOUNTS.c.consent_until >= civil_date(now)),
        )
        with self._database.writing() as connection:
            accounts = [Account(**row._asdict()) for row in connection.execute(suspended.order_by(ACCOUNTS.c.id))]
            for account in accounts:
                account_rows.change_state(connection, account.id, AccountState.READY, "", now)
                consent_rows.delete_undelivered_notices(connection, account.id)
            # Late, because a success locks an outcome before it clears refusals, too.
            connection.execute(update(PENDING_REFUSALS).where(*pending).values(times=0))
            for account in accounts:
                self._chain.continue_ended(connection, account.id, code, since, now)
        return [account.id for account in accounts]

    def suspend(
        self,
        account_id: str,
        reason: str,
        now: datetime,
        *,
        consent_ended: bool,
        notices: Callable[[], Sequence[Notice]],
    ) -> bool:
        """Set the account to ``action_needed``, clear its pending refusals and insert its notices, in one transaction.

        With ``consent_ended`` its open proof ends, too. Returns False if the account was already suspended for the same
        reason, is closed or stopped by its holder, or is to be suspended as ended with a consent that has not; then
        nothing changes and no notice is sent again.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            before = account_rows.get(connection, account_id)
            if before.state is AccountState.CLOSED or before.reason == ConsentStopped.code:
                return False
            # A new consent may have come since the caller read the account.
            if reason == ConsentEnded.code and not before.consent_ended_by(civil_date(now)):
                return False
            if before.reason == reason and before.state in (AccountState.ACTION_NEEDED, AccountState.PAUSED):
                return False
            account_rows.change_state(connection, account_id, AccountState.ACTION_NEEDED, reason, now)
            consent_rows.delete_pending_refusals(connection, account_id)
            if before.state is not AccountState.ACTION_NEEDED:
                consent_rows.insert_notices(connection, notices())
            if consent_ended:
                self._chain.end(connection, account_id, reason, now, SUPPLIER)
        return True


def _is_of(supplier: str) -> ColumnElement[bool]:
    """Return whether a pending refusal is one of this supplier."""
    return PENDING_REFUSALS.c.account_id.in_(select(ACCOUNTS.c.id).where(ACCOUNTS.c.supplier == supplier))
