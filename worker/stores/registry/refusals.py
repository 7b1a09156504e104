"""The desk's own notes: refusals that may be mistakes, and accounts set aside when they are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import case, func, select, update

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.consent.consents import Notice, PendingRefusal
from worker.stores.registry import account_rows, consent_rows
from worker.stores.registry.account_rows import EVERY_ACCOUNT
from worker.stores.registry.database import Database
from worker.stores.registry.outcomes import insert
from worker.stores.registry.tables import ACCOUNTS, DOUBTS, SERIES_OUTCOMES


class PendingRefusals:
    """Every method raises StoreUnavailable; those that write to an account also UnknownAccount."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def account(self, account_id: str) -> Account:
        with self._database.reading() as connection:
            return account_rows.get(connection, account_id)

    def note(self, account_id: str, code: str, now: datetime) -> PendingRefusal:
        """One more sighting, right also when two come at once; a sighting after a storm is a first one."""
        statement = insert(self._database.dialect, DOUBTS).values(
            account_id=account_id, code=code, first_seen=now, last_seen=now, times=1
        )
        old, new = DOUBTS.c, statement.excluded
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
            return consent_rows.to_doubt(connection.execute(merged.returning(DOUBTS)).one())

    def clear(self, account_id: str) -> int:
        """A success: the account's refusals were mistakes.  Reads where there is nothing to forget."""
        mine = select(DOUBTS.c.code).where(DOUBTS.c.account_id == account_id).limit(1)
        with self._database.reading() as connection:
            if connection.execute(mine).first() is None:
                return 0
        with self._database.writing() as connection:
            return consent_rows.clear_doubts(connection, account_id)

    def of(self, account_id: str) -> list[PendingRefusal]:
        query = select(DOUBTS).where(DOUBTS.c.account_id == account_id).order_by(DOUBTS.c.code)
        with self._database.reading() as connection:
            return [consent_rows.to_doubt(row) for row in connection.execute(query)]

    def newly_refused(self, code: str, since: datetime, *, certain: bool) -> int:
        """Accounts refused with ``code`` for the first time since then.

        Of a doubt the sighting counts: those that only wait to be settled are asked again together, and tell nothing
        new.  Of a refusal that is ``certain``, that it set its account aside.
        """
        if certain:
            aside = (ACCOUNTS.c.state == AccountState.ACTION_NEEDED.value, ACCOUNTS.c.reason == code)
            query = select(func.count()).select_from(ACCOUNTS).where(*aside, ACCOUNTS.c.state_since >= since)
        else:
            fresh = (DOUBTS.c.code == code, DOUBTS.c.first_seen >= since, DOUBTS.c.times > 0)
            query = select(func.count()).select_from(DOUBTS).where(*fresh)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def tried(self, since: datetime, most: int) -> int:
        """Accounts asked for since then; counted up to ``most``, for a large fleet's would take a while."""
        asked = select(SERIES_OUTCOMES.c.account_id).where(SERIES_OUTCOMES.c.updated_at >= since).distinct().limit(most)
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).select_from(asked.subquery())).scalar_one()

    def absolve(self, code: str, since: datetime, now: datetime) -> list[str]:
        """These refusals were the supplier's fault: none counts, and whom they set aside runs again; who that is."""
        counting = (DOUBTS.c.code == code, DOUBTS.c.last_seen >= since, DOUBTS.c.times > 0)
        wronged = EVERY_ACCOUNT.where(
            ACCOUNTS.c.state == AccountState.ACTION_NEEDED.value,
            ACCOUNTS.c.reason == code,
            ACCOUNTS.c.state_since >= since,
        )
        with self._database.writing() as connection:
            connection.execute(update(DOUBTS).where(*counting).values(times=0))
            accounts = [account_rows.to_account(row) for row in connection.execute(wronged.order_by(ACCOUNTS.c.id))]
            for account in accounts:
                account_rows.change_state(connection, account.id, AccountState.READY, "", now)
                consent_rows.drop_untold(connection, account.id)
                consent_rows.reopen_proofs(connection, account.id, code, since)
        return [account.id for account in accounts]

    def set_aside(
        self,
        account_id: str,
        reason: str,
        now: datetime,
        *,
        consent_ended: bool,
        notices: Callable[[], Sequence[Notice]],
    ) -> bool:
        """The account waits for its owner, its doubts are settled, its notices are kept, all at once.

        False where it was waiting for the same reason already: then nobody is told again.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            before = account_rows.get(connection, account_id)
            if before.reason == reason and before.state in (AccountState.ACTION_NEEDED, AccountState.PAUSED):
                return False
            account_rows.change_state(connection, account_id, AccountState.ACTION_NEEDED, reason, now)
            consent_rows.clear_doubts(connection, account_id)
            if consent_ended:
                consent_rows.end_proofs(connection, account_id, reason, now)
            if before.state is not AccountState.ACTION_NEEDED:
                consent_rows.insert_notices(connection, notices())
        return True
