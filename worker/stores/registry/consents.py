"""The book of consents: what proves each, when it ends, and what stays of it after the account is gone.

A proof outlives its account for as long as the operator's policy says (whoever reads a meter must be able to
show that its holder agreed), but without the meter's number: that is sealed while the account lives, and erased
with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, delete, func, or_, select, update

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.consent.consents import ConsentKind, ConsentProof, EndReason
from worker.domain.measures.readings import local_midnight
from worker.stores.encryption import Sealer, rotate_seals
from worker.stores.registry import account_rows, consent_rows
from worker.stores.registry.account_rows import EVERY_ACCOUNT, LIVING
from worker.stores.registry.database import Database
from worker.stores.registry.tables import ACCOUNTS, CONSENT_PROOFS, DOUBTS, NOTICES


@dataclass(frozen=True, slots=True)
class ErasedProofs:
    """What a removal did to the account's papers."""

    proofs_kept: int
    proofs_erased: int
    doubts: int
    notices: int


class ConsentTable:
    """Every method raises StoreUnavailable; those that take an account id raise UnknownAccount."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def record(
        self,
        account_id: str,
        kind: ConsentKind,
        now: datetime,
        *,
        consent_from: date | None = None,
        consent_until: date | None = None,
        reference: str | None = None,
    ) -> ConsentProof:
        """Keep that the holder consented; the account's dates follow, its doubts and untold notices go.

        The meter is the account's own.  A consent recorded again (a callback loaded twice, told by its reference,
        else by its dates) is the one that is there, and does not last longer; another one ends its predecessor as
        ``renewed``.
        """
        with self._database.writing() as connection:
            return self.record_in(
                connection,
                account_id,
                kind,
                now,
                consent_from=consent_from,
                consent_until=consent_until,
                reference=reference,
            )

    def record_in(
        self,
        connection: Connection,
        account_id: str,
        kind: ConsentKind,
        now: datetime,
        *,
        consent_from: date | None = None,
        consent_until: date | None = None,
        reference: str | None = None,
    ) -> ConsentProof:
        """``record`` inside a transaction of the registry's, so that no account is without its proof."""
        account_rows.lock(connection, account_id)
        account = account_rows.get(connection, account_id)
        consent_rows.clear_doubts(connection, account_id)
        consent_rows.drop_untold(connection, account_id)
        if (known := _known(connection, account_id, kind, reference, (consent_from, consent_until))) is not None:
            _follow(connection, known)
            return known
        consent_rows.end_proofs(connection, account_id, EndReason.RENEWED.value, now)
        proof = ConsentProof(
            id=consent_rows.new_id(),
            account_id=account_id,
            supplier=account.supplier,
            kind=kind,
            consented_at=now,
            consent_from=consent_from,
            consent_until=consent_until,
            reference=reference,
            names_meter=account.usage_point_id is not None,
        )
        self._insert(connection, proof, account.usage_point_id)
        _follow(connection, proof)
        return proof

    def ended(self, account_id: str, reason: str, now: datetime) -> int:
        """The open consent ended; how many there were (0 or 1).  Safe to repeat, the first reason stays."""
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, removed_too=True)
            return consent_rows.end_proofs(connection, account_id, reason, now)

    def of(self, account_id: str) -> list[ConsentProof]:
        """All proofs of an account, a removed one too, the newest first."""
        query = select(CONSENT_PROOFS).where(CONSENT_PROOFS.c.account_id == account_id)
        newest = query.order_by(CONSENT_PROOFS.c.consented_at.desc(), CONSENT_PROOFS.c.id)
        with self._database.reading() as connection:
            account_rows.get(connection, account_id)
            return [consent_rows.to_proof(row) for row in connection.execute(newest)]

    def usage_point_of(self, proof: ConsentProof) -> str | None:
        """The meter that a proof is about, while its account lives.  Raises OperatorFault where its key is gone."""
        query = select(CONSENT_PROOFS.c.sealed_usage_point).where(CONSENT_PROOFS.c.id == proof.id)
        with self._database.reading() as connection:
            sealed = connection.execute(query).scalar()
        return None if sealed is None else self._sealer.unseal(sealed)

    def calendar(self, until: date | None = None) -> list[Account]:
        """Living accounts by the end of their consent, up to ``until``; without it those without a date too, last."""
        query = EVERY_ACCOUNT.where(LIVING)
        if until is not None:
            query = query.where(ACCOUNTS.c.consent_until <= until)
        undated_last = (ACCOUNTS.c.consent_until.is_(None), ACCOUNTS.c.consent_until, ACCOUNTS.c.id)
        with self._database.reading() as connection:
            return [account_rows.to_account(row) for row in connection.execute(query.order_by(*undated_last))]

    # The end of accounts and of proofs

    def removed(self, account_id: str, now: datetime, keep_days: int) -> ErasedProofs:
        """The account is gone: nothing names its meter any more, and proofs stay as the policy says.

        Safe to repeat.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, removed_too=True)
            consent_rows.end_proofs(connection, account_id, EndReason.REMOVED.value, now)
            mine = CONSENT_PROOFS.c.account_id == account_id
            connection.execute(update(CONSENT_PROOFS).where(mine).values(sealed_usage_point=None))
            stale = (mine, CONSENT_PROOFS.c.ended_at <= now - timedelta(days=keep_days))
            erased = connection.execute(delete(CONSENT_PROOFS).where(*stale)).rowcount
            kept = connection.execute(select(func.count()).select_from(CONSENT_PROOFS).where(mine)).scalar_one()
            doubts = consent_rows.clear_doubts(connection, account_id)
            notices = connection.execute(delete(NOTICES).where(NOTICES.c.account_id == account_id)).rowcount
        return ErasedProofs(kept, erased, doubts, notices)

    def tidy(self, now: datetime, today: date, keep_days: int) -> tuple[int, int]:
        """End proofs whose time is over, erase those kept long enough: how many of each.  Safe to repeat.

        Also finishes removals that died half-way.
        """
        past = (CONSENT_PROOFS.c.ended_at.is_(None), CONSENT_PROOFS.c.consent_until < today)
        gone = select(ACCOUNTS.c.id).where(ACCOUNTS.c.state == AccountState.DELETED.value)
        orphans = CONSENT_PROOFS.c.account_id.in_(gone)
        unfinished = (
            orphans,
            or_(CONSENT_PROOFS.c.ended_at.is_(None), CONSENT_PROOFS.c.sealed_usage_point.is_not(None)),
        )
        with self._database.writing() as connection:
            rows = connection.execute(select(CONSENT_PROOFS.c.account_id).where(*unfinished).distinct()).scalars().all()
        for account_id in rows:
            self.removed(account_id, now, keep_days)
        with self._database.writing() as connection:
            expired = 0
            for proof_id, until in connection.execute(
                select(CONSENT_PROOFS.c.id, CONSENT_PROOFS.c.consent_until).where(*past)
            ).all():
                values = {"ended_at": local_midnight(until + timedelta(days=1)), "end_reason": EndReason.EXPIRED.value}
                connection.execute(update(CONSENT_PROOFS).where(CONSENT_PROOFS.c.id == proof_id).values(**values))
                expired += 1
            stale = CONSENT_PROOFS.c.ended_at <= now - timedelta(days=keep_days)
            erased = connection.execute(delete(CONSENT_PROOFS).where(stale)).rowcount
            connection.execute(delete(DOUBTS).where(DOUBTS.c.account_id.in_(gone)))
            connection.execute(delete(NOTICES).where(NOTICES.c.account_id.in_(gone)))
        return expired, erased

    # Keys

    def rotate_seals(self) -> int:
        """Seal every meter number anew under the first key; how many.  Safe to repeat and to run beside work.

        Raises OperatorFault at the end if some could not be read; the others are done.
        """
        column = CONSENT_PROOFS.c.sealed_usage_point
        return rotate_seals(self._database, self._sealer, CONSENT_PROOFS.c.id, column, "proofs of consent")

    def _insert(self, connection: Connection, proof: ConsentProof, usage_point_id: str | None) -> None:
        row = {
            "id": proof.id,
            "account_id": proof.account_id,
            "supplier": proof.supplier,
            "kind": proof.kind.value,
            "reference": proof.reference,
            "consented_at": proof.consented_at,
            "consent_from": proof.consent_from,
            "consent_until": proof.consent_until,
            "sealed_usage_point": None if usage_point_id is None else self._sealer.seal(usage_point_id),
            "ended_at": None,
            "end_reason": "",
        }
        connection.execute(CONSENT_PROOFS.insert().values(**row))


def _known(
    connection: Connection,
    account_id: str,
    kind: ConsentKind,
    reference: str | None,
    dates: tuple[date | None, date | None],
) -> ConsentProof | None:
    """The proof in force that this consent is, or that has taken its place since; None for a new consent.

    One that we held for ended, and that nothing has replaced, is in force again: the supplier confirms it.
    """
    in_force = consent_rows.open_proof(connection, account_id)
    proof = None if in_force is None else consent_rows.to_proof(in_force)
    if reference is None:
        same = proof is not None and (proof.kind, proof.reference) == (kind, None)
        return proof if same and proof and (proof.consent_from, proof.consent_until) == dates else None
    mine = (CONSENT_PROOFS.c.account_id == account_id, CONSENT_PROOFS.c.kind == kind.value)
    query = select(CONSENT_PROOFS).where(*mine, CONSENT_PROOFS.c.reference == reference)
    earlier = connection.execute(query.order_by(CONSENT_PROOFS.c.consented_at.desc()).limit(1)).one_or_none()
    if earlier is None or proof is not None:
        return None if earlier is None else proof
    again = update(CONSENT_PROOFS).where(CONSENT_PROOFS.c.id == earlier.id).values(ended_at=None, end_reason="")
    connection.execute(again)
    return replace(consent_rows.to_proof(earlier), ended_at=None, end_reason="")


def _follow(connection: Connection, proof: ConsentProof) -> None:
    """The account shows the dates of the proof in force."""
    told = {"consent_from": proof.consent_from, "consent_until": proof.consent_until}
    account_rows.update_account(connection, proof.account_id, {name: day for name, day in told.items() if day})
