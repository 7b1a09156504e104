"""The table of consent proofs: recording a consent, its end, and its erasure after the account is removed.

An operator must be able to prove that the holder of a meter agreed, so a proof is kept after its account is removed,
for the number of days that the operator has set. The meter's number is sealed in the proof and erased with the account.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, func, or_, select, update

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.consent.consents import ConsentKind, ConsentProof, EndReason, Proof
from worker.domain.measures.readings import local_midnight
from worker.errors import ConsentStopped
from worker.stores.database import SealedTable
from worker.stores.registry import account_rows, consent_rows
from worker.stores.registry.account_rows import ACCOUNT_QUERY, NOT_REMOVED
from worker.stores.registry.consent_rows import PROOF_QUERY
from worker.stores.registry.tables import ACCOUNTS, CONSENT_PROOFS, NOTICES, PENDING_REFUSALS
from worker.stores.registry.tokens import detach_token

_BATCH: Final = 500  # Accounts in one query: servers limit the number of parameters.


class ConsentTable(SealedTable):
    """The table of consent proofs.

    Every method raises StoreUnavailable; a method that takes an account id raises UnknownAccount.
    """

    def record(
        self,
        connection: Connection,
        account_id: str,
        kind: ConsentKind,
        now: datetime,
        *,
        consent_from: date | None = None,
        consent_until: date | None = None,
        reference: str | None = None,
        proof: Proof = Proof.NONE,
        vouched_by: str | None = None,
        browser: str | None = None,
    ) -> ConsentProof:
        """Record a consent in the transaction that adds its account, and return the row.

        The account takes the dates of the consent; its pending refusals and undelivered notices are deleted. A consent
        that is in force already (a callback page loaded twice, recognised by its dates and its reference) gives the
        existing row. A new consent ends the previous one as ``renewed``.
        """
        # The lock makes a callback page that is loaded twice wait, so that the second finds the first one's proof.
        account_rows.lock(connection, account_id)
        account = account_rows.get(connection, account_id)
        consent_rows.delete_pending_refusals(connection, account_id)
        consent_rows.delete_undelivered_notices(connection, account_id)
        dates = (consent_from, consent_until)
        if (existing := _find_existing(connection, account_id, kind, reference, dates)) is not None:
            _copy_dates_to_account(connection, existing)
            return existing
        consent_rows.end_proofs(connection, account_id, EndReason.RENEWED.value, now)
        recorded = ConsentProof(
            id=consent_rows.new_id(),
            account_id=account_id,
            supplier=account.supplier,
            kind=kind,
            consented_at=now,
            consent_from=consent_from,
            consent_until=consent_until,
            reference=reference,
            proof=proof,
            vouched_by=vouched_by,
            browser=browser,
            names_meter=account.usage_point_id is not None,
        )
        self._insert(connection, recorded, account.usage_point_id)
        _copy_dates_to_account(connection, recorded)
        return recorded

    def browser_of(self, account_id: str) -> str | None:
        """Return the browser, by its hash, that brought the consent in force; None where none did."""
        in_force = CONSENT_PROOFS.c.account_id == account_id, CONSENT_PROOFS.c.ended_at.is_(None)
        query = select(CONSENT_PROOFS.c.browser).where(*in_force).order_by(CONSENT_PROOFS.c.consented_at.desc())
        with self._database.reading() as connection:
            return connection.execute(query.limit(1)).scalar()

    def newest_proofs(self, account_ids: Sequence[str]) -> dict[str, ConsentProof]:
        """Return the newest proof of each of these accounts that has one, by account id."""
        oldest_first = PROOF_QUERY.order_by(CONSENT_PROOFS.c.consented_at, CONSENT_PROOFS.c.id.desc())
        newest: dict[str, ConsentProof] = {}
        for first in range(0, len(account_ids), _BATCH):
            of_batch = CONSENT_PROOFS.c.account_id.in_(account_ids[first : first + _BATCH])
            rows = self._database.fetch(oldest_first.where(of_batch))
            newest |= {row.account_id: ConsentProof(**row._asdict()) for row in rows}
        return newest

    def list_proofs(self, account_id: str) -> list[ConsentProof]:
        """Return all proofs of an account, even of a removed one, the newest first."""
        query = PROOF_QUERY.where(CONSENT_PROOFS.c.account_id == account_id)
        newest_first = query.order_by(CONSENT_PROOFS.c.consented_at.desc(), CONSENT_PROOFS.c.id)
        with self._database.reading() as connection:
            account_rows.get(connection, account_id)
            return [ConsentProof(**row._asdict()) for row in connection.execute(newest_first)]

    def unseal_usage_point(self, proof: ConsentProof) -> str | None:
        """Return the meter number of a proof; None once the account is removed.

        Raises OperatorFault if the encryption key is missing.
        """
        query = select(CONSENT_PROOFS.c.sealed_usage_point).where(CONSENT_PROOFS.c.id == proof.id)
        with self._database.reading() as connection:
            sealed = connection.execute(query).scalar()
        return None if sealed is None else self._sealer.unseal(sealed)

    def list_accounts_by_consent_end(self, until: date | None = None) -> list[Account]:
        """Return the accounts by the end of their consent, up to ``until``, without removed ones.

        Without ``until``, accounts without an end date come last.
        """
        query = ACCOUNT_QUERY.where(NOT_REMOVED)
        if until is not None:
            query = query.where(ACCOUNTS.c.consent_until <= until)
        sort_keys = (ACCOUNTS.c.consent_until.is_(None), ACCOUNTS.c.consent_until, ACCOUNTS.c.id)
        return [Account(**row._asdict()) for row in self._database.fetch(query.order_by(*sort_keys))]

    def withdraw(self, account_id: str, now: datetime, at_end: Callable[[], object] = lambda: None) -> None:
        """End the account's consent as its household asks: the proofs end, its own token goes, the readings stay.

        The account waits for a new consent. Pending refusals and notices that were not delivered are deleted, and the
        household gets none of what it did itself. Safe to repeat. ``at_end`` is called before the commit where a
        consent ends. Raises ValueError for a closed account.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            if account_rows.get(connection, account_id).reason == ConsentStopped.code:
                return
            account_rows.change_state(connection, account_id, AccountState.ACTION_NEEDED, ConsentStopped.code, now)
            _end_consent(connection, account_id, EndReason.WITHDRAWN, now)
            at_end()

    def close(self, connection: Connection, account_id: str, now: datetime) -> None:
        """Close an account because another person has proved to hold its meter; the caller has locked it."""
        account_rows.close(connection, account_id, now)
        _end_consent(connection, account_id, EndReason.HOLDER_CHANGED, now)

    # Erasure of proofs.

    def erase_after_removal(self, account_id: str, now: datetime, keep_days: int) -> dict[str, int]:
        """End the proofs of a removed account, erase its meter number, and delete what needn't be kept.

        Proofs stay for ``keep_days`` days after their end. Returns the numbers of rows. Safe to repeat.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, include_removed=True)
            consent_rows.end_proofs(connection, account_id, EndReason.REMOVED.value, now)
            of_account = CONSENT_PROOFS.c.account_id == account_id
            connection.execute(update(CONSENT_PROOFS).where(of_account).values(sealed_usage_point=None))
            kept_long_enough = (of_account, CONSENT_PROOFS.c.ended_at <= now - timedelta(days=keep_days))
            erased = connection.execute(delete(CONSENT_PROOFS).where(*kept_long_enough)).rowcount
            remaining = select(func.count()).select_from(CONSENT_PROOFS).where(of_account)
            proofs_kept = connection.execute(remaining).scalar_one()
            pending_refusals = consent_rows.delete_pending_refusals(connection, account_id)
            notices = connection.execute(delete(NOTICES).where(NOTICES.c.account_id == account_id)).rowcount
        return {
            "pending_refusals": pending_refusals,
            "notices": notices,
            "consent_proofs_erased": erased,
            "consent_proofs_kept": proofs_kept,
        }

    def expire_and_erase(self, now: datetime, today: date, keep_days: int) -> tuple[int, int]:
        """End the expired proofs and erase those that were kept long enough; return the number of each.

        Also finishes removals that were interrupted. Safe to repeat.
        """
        expired = (CONSENT_PROOFS.c.ended_at.is_(None), CONSENT_PROOFS.c.consent_until < today)
        removed_ids = select(ACCOUNTS.c.id).where(ACCOUNTS.c.state == AccountState.DELETED)
        unfinished = (
            CONSENT_PROOFS.c.account_id.in_(removed_ids),
            or_(CONSENT_PROOFS.c.ended_at.is_(None), CONSENT_PROOFS.c.sealed_usage_point.is_not(None)),
        )
        # An interrupted removal has deleted the account but left its proofs open, or its meter number sealed in them.
        with self._database.writing() as connection:
            query = select(CONSENT_PROOFS.c.account_id).where(*unfinished).distinct()
            account_ids = connection.execute(query).scalars().all()
        for account_id in account_ids:
            self.erase_after_removal(account_id, now, keep_days)
        with self._database.writing() as connection:
            expired_count = 0
            for proof_id, until in connection.execute(
                select(CONSENT_PROOFS.c.id, CONSENT_PROOFS.c.consent_until).where(*expired)
            ).all():
                values = {"ended_at": local_midnight(until + timedelta(days=1)), "end_reason": EndReason.EXPIRED.value}
                connection.execute(update(CONSENT_PROOFS).where(CONSENT_PROOFS.c.id == proof_id).values(**values))
                expired_count += 1
            kept_long_enough = CONSENT_PROOFS.c.ended_at <= now - timedelta(days=keep_days)
            erased = connection.execute(delete(CONSENT_PROOFS).where(kept_long_enough)).rowcount
            connection.execute(delete(PENDING_REFUSALS).where(PENDING_REFUSALS.c.account_id.in_(removed_ids)))
            connection.execute(delete(NOTICES).where(NOTICES.c.account_id.in_(removed_ids)))
        return expired_count, erased

    def _insert(self, connection: Connection, proof: ConsentProof, usage_point_id: str | None) -> None:
        row = asdict(proof)
        del row["names_meter"]
        sealed = None if usage_point_id is None else self._sealer.seal(usage_point_id)
        connection.execute(CONSENT_PROOFS.insert().values(**row, sealed_usage_point=sealed))


def _end_consent(connection: Connection, account_id: str, reason: EndReason, now: datetime) -> None:
    """End the account's proofs and delete its token, its pending refusals and its undelivered notices."""
    consent_rows.end_proofs(connection, account_id, reason.value, now)
    detach_token(connection, account_id)
    consent_rows.delete_pending_refusals(connection, account_id)
    consent_rows.delete_undelivered_notices(connection, account_id)


def _find_existing(
    connection: Connection,
    account_id: str,
    kind: ConsentKind,
    reference: str | None,
    dates: tuple[date | None, date | None],
) -> ConsentProof | None:
    """Return the proof in force if this consent was recorded before; None for a new consent.

    A consent is recognised by its dates and its reference: the supplier gives the same reference again to a holder who
    consents anew. The proof in force may also be a newer one that has replaced this consent. If this consent has ended
    and nothing has replaced it, its proof is reopened: the supplier has just confirmed it. One that the household
    stopped stays ended.
    """
    newest_first = PROOF_QUERY.where(CONSENT_PROOFS.c.account_id == account_id).order_by(
        CONSENT_PROOFS.c.consented_at.desc()
    )
    open_row = connection.execute(newest_first.where(CONSENT_PROOFS.c.ended_at.is_(None)).limit(1)).one_or_none()
    proof = None if open_row is None else ConsentProof(**open_row._asdict())
    if reference is None:
        same = proof is not None and (proof.kind, proof.reference) == (kind, None)
        return proof if same and proof and (proof.consent_from, proof.consent_until) == dates else None
    named = CONSENT_PROOFS.c.kind == kind, CONSENT_PROOFS.c.reference == reference
    of_dates = CONSENT_PROOFS.c.consent_from == dates[0], CONSENT_PROOFS.c.consent_until == dates[1]
    earlier = connection.execute(newest_first.where(*named, *of_dates).limit(1)).one_or_none()
    if earlier is None or proof is not None:
        return None if earlier is None else proof
    if earlier.end_reason == EndReason.WITHDRAWN.value:
        return None  # The household stopped that one, and consents anew: both stay on record.
    reopen = update(CONSENT_PROOFS).where(CONSENT_PROOFS.c.id == earlier.id).values(ended_at=None, end_reason="")
    connection.execute(reopen)
    return replace(ConsentProof(**earlier._asdict()), ended_at=None, end_reason="")


def _copy_dates_to_account(connection: Connection, proof: ConsentProof) -> None:
    """Copy the dates of the proof to its account; a date that is not set leaves the account's as it is."""
    dates = {"consent_from": proof.consent_from, "consent_until": proof.consent_until}
    account_rows.update_account(connection, proof.account_id, {name: day for name, day in dates.items() if day})
