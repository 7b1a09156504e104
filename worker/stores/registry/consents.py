"""The recorded consents, their erasure, and the suppliers' refusals, which may suspend accounts and end consents.

An operator must be able to prove that the holder of a meter agreed, so the evidence outlives the account for the number
of days that the operator has set. The evidence is a chain of rows that are never changed (``evidence``); the meter's
number and the supplier's reference are sealed separately and erased with the account.

A refusal by the supplier may be the supplier's own mistake. So a refusal whose code is not certain first stays pending.
A later refusal confirms it and suspends the account, or a success deletes it (``outcomes.OutcomeTable.record``).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, func, or_, select, update

from worker.domain.account import TRANSITIONS, Account, AccountEvent, AccountState
from worker.domain.consents import ConsentKind, ConsentProof, EndReason, PendingRefusal, Proof
from worker.domain.evidence import HOUSEHOLD, LAST_DAY, SUPPLIER, DatesSource, PersonalPart
from worker.domain.notice import Notice
from worker.domain.series import of_supplier
from worker.domain.transitions import WrongState
from worker.domain.windows import civil_date, local_midnight
from worker.errors import ConsentStopped
from worker.stores.database import Database, SealedTable, build_insert, new_id
from worker.stores.encryption import KeyedHashes, Sealer
from worker.stores.registry import account_rows
from worker.stores.registry.account_rows import ACCOUNT_QUERY, NOT_REMOVED
from worker.stores.registry.campaigns import note_connected
from worker.stores.registry.evidence import CONSENT_QUERY, GIVEN, IN_FORCE, EvidenceChain
from worker.stores.registry.notices import insert_notices
from worker.stores.registry.rights import forget_rights, withdraw_rights
from worker.stores.registry.tables import (
    ACCOUNT_DETAILS,
    ACCOUNTS,
    CONSENT_EVIDENCE,
    NOTICES,
    PENDING_REFUSALS,
    SERIES_OUTCOMES,
    USAGE_POINTS,
    belongs_to,
)
from worker.stores.registry.user_tokens import detach_token

_BATCH: Final = 500  # The largest number of accounts in one query: servers limit the parameters.
_NUMBER: Final = CONSENT_EVIDENCE.c.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenConsent:
    """The facts of a consent that are recorded for each of its accounts.

    ``reference``: the number that the supplier, or the person who vouches for the consent, has given the consent.
    ``line`` and ``answer_digest``: the supplier's endpoint whose answer proved the consent, and the SHA-256 of that
    answer; None if no call to the supplier proved the consent.
    """

    kind: ConsentKind
    consent_from: date | None = None
    consent_until: date | None = None
    dates_from: DatesSource = DatesSource.REQUESTED
    reference: str | None = field(default=None, repr=False)
    proof: Proof = Proof.NONE
    vouched_by: str | None = None
    browser: str | None = field(default=None, repr=False)
    line: str | None = None
    answer_digest: str | None = None


class ConsentTable(SealedTable):
    """The table of recorded consents. A method that takes an account id raises UnknownAccount for a missing account."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        super().__init__(database, sealer)
        self._chain = EvidenceChain(sealer)

    def record(
        self, connection: Connection, account_ids: Sequence[str], consent: GivenConsent, now: datetime
    ) -> list[ConsentProof]:
        """Record a consent in the transaction that adds its accounts, and return each account's proof.

        The accounts get the dates of the consent; their pending refusals and undelivered notices are deleted, and
        campaigns count them as connected. If the consent was recorded before (a callback page was loaded twice), the
        proof in force is returned, as described in ``_find_existing``. Otherwise the consent in force ends as
        ``renewed``, and the new consent is recorded.
        """
        for account_id in sorted(account_ids):
            # If a callback page is loaded twice, the lock makes the second load wait and find the first one's proof.
            account_rows.lock(connection, account_id)
            account_rows.delete_pending_refusals(connection, account_id)
            account_rows.delete_undelivered_notices(connection, account_id)
        note_connected(connection, account_ids, now)
        return [self._record(connection, account_id, consent, now) for account_id in account_ids]

    def _record(self, connection: Connection, account_id: str, consent: GivenConsent, now: datetime) -> ConsentProof:
        if (existing := _find_existing(self._proofs_of(connection, account_id), consent)) is not None:
            _copy_dates_to_account(connection, existing)
            return existing
        self._chain.end(connection, account_id, EndReason.RENEWED.value, now, consent.vouched_by or HOUSEHOLD)
        self._insert(connection, account_rows.get(connection, account_id), consent, now)
        recorded = self._proofs_of(connection, account_id)[-1]
        _copy_dates_to_account(connection, recorded)
        return recorded

    def _insert(self, connection: Connection, account: Account, consent: GivenConsent, now: datetime) -> None:
        personal = PersonalPart(secrets.token_hex(32), account.usage_point_id, consent.reference, consent.answer_digest)
        names = ("kind", "consent_from", "consent_until", "proof", "browser", "line")
        row = {name: getattr(consent, name) for name in names}
        row |= {"consent_id": new_id(), "account_id": account.id, "tenant": account.tenant}
        row |= {"supplier": account.supplier, "actor": consent.vouched_by, "recorded_at": now}
        self._chain.append_given(connection, {**row, "dates_from": consent.dates_from}, personal)

    def browser_of(self, account_id: str) -> str | None:
        """Return the hashed name of the browser in which the consent in force was given; None if unknown."""
        query = CONSENT_QUERY.where(_of(account_id), IN_FORCE).order_by(_NUMBER.desc()).limit(1)
        newest = self._database.first(query)
        return None if newest is None else newest.browser

    def newest_proofs(self, account_ids: Sequence[str]) -> dict[str, ConsentProof]:
        """Return the newest proof of each account, by account id; accounts without a proof are left out."""
        newest: dict[str, ConsentProof] = {}
        for first in range(0, len(account_ids), _BATCH):
            of_batch = CONSENT_EVIDENCE.c.account_id.in_(account_ids[first : first + _BATCH])
            rows = self._database.fetch(CONSENT_QUERY.where(of_batch).order_by(_NUMBER))
            newest |= {row.account_id: self._to_proof(row._mapping) for row in rows}
        return newest

    def load_references(self, account_ids: Sequence[str]) -> dict[str, str]:
        """Return the operator's own references of these accounts, by account id; accounts without one are left out."""
        return {account_id: text for account_id, text in self._open_references(account_ids).items() if text}

    def _open_references(self, account_ids: Sequence[str]) -> dict[str, str | None]:
        """Return the newest reference of each account that somebody has vouched for; None if no key opens it."""
        columns = CONSENT_EVIDENCE.c
        query = select(columns.account_id, columns.consent_id, columns.sealed_personal).order_by(_NUMBER)
        asserted = columns.kind == ConsentKind.ASSERTED, columns.sealed_personal.is_not(None)
        texts: dict[str, str | None] = {}
        for row in self._database.fetch(query.where(columns.account_id.in_(account_ids), *asserted)):
            personal = self._chain.open_personal(row.sealed_personal, row.consent_id)
            text = None if personal is None else personal.reference or ""
            texts[row.account_id] = text or texts.get(row.account_id, text)
        return texts

    def count_unsearchable(self) -> int:
        """Return for how many accounts ``index_references`` has yet to look for a reference."""
        return int(self._database.scalar(select(func.count()).where(ACCOUNTS.c.reference.is_(None))))

    def index_references(self, hashes: KeyedHashes, most: int | None = None) -> int:
        """Let ``find_by_reference`` find the accounts of an older version; return how many accounts were looked at.

        An account whose reference no key opens is left for a later call. Each batch is one transaction, so that an
        interrupted call is continued by the next one. ``most``: about how many accounts one call looks at.
        """
        columns, done, after = ACCOUNTS.c, 0, ""
        missing = select(columns.id).where(columns.reference.is_(None)).order_by(columns.id).limit(_BATCH)
        statement = update(ACCOUNTS).where(columns.id == bindparam("account"), columns.reference.is_(None))
        while ids := [row.id for row in self._database.fetch(missing.where(columns.id > after))]:
            texts, after = self._open_references(ids), ids[-1]
            found = {id_: text for id_ in ids if (text := texts.get(id_, "")) is not None}
            rows = [
                {"account": id_, "hash": next(iter(account_rows.hash_reference(hashes, text)), "")}
                for id_, text in found.items()
            ]
            if rows:
                with self._database.writing() as connection:
                    connection.execute(statement.values(reference=bindparam("hash")), rows)
            done += len(rows)
            if most is not None and done >= most:
                break
        return done

    def list_proofs(self, account_id: str) -> list[ConsentProof]:
        """Return all proofs of an account, even of a removed account, the newest first."""
        with self._database.reading() as connection:
            account_rows.get(connection, account_id)
            return self._proofs_of(connection, account_id)[::-1]

    def _proofs_of(self, connection: Connection, account_id: str) -> list[ConsentProof]:
        """Return the proofs of an account, the oldest first."""
        query = CONSENT_QUERY.where(_of(account_id)).order_by(_NUMBER)
        return [self._to_proof(row) for row in connection.execute(query).mappings()]

    def _to_proof(self, row: Mapping[Any, Any]) -> ConsentProof:
        names = ("account_id", "supplier", "kind", "consent_from", "consent_until", "proof", "browser", "ended_at")
        personal = self._chain.open_personal(row["sealed_personal"], row["consent_id"])
        return ConsentProof(
            id=row["consent_id"],
            consented_at=row["recorded_at"],
            vouched_by=row["actor"],
            end_reason=row["ended_because"] or "",
            reference=personal.reference if personal else None,
            names_meter=row["sealed_personal"] is not None and (personal is None or personal.meter is not None),
            **{name: row[name] for name in names},
        )

    def list_accounts_by_consent_end(
        self,
        until: date | None = None,
        *,
        state: AccountState | None = None,
        limit: int | None = None,
        tenant: str | None = None,
    ) -> list[Account]:
        """Return the accounts, except removed ones, in the order in which their consents end.

        With ``until``, only accounts whose consent ends by this day are returned; otherwise accounts without an end
        date come last. ``state`` selects the accounts in this state, ``tenant`` those of this tenant. ``limit`` is the
        largest number of accounts.
        """
        query = ACCOUNT_QUERY.where(NOT_REMOVED if state is None else ACCOUNTS.c.state == state)
        if until is not None:
            query = query.where(ACCOUNTS.c.consent_until <= until)
        query = query.where(*belongs_to(ACCOUNTS, tenant))
        sort_keys = (ACCOUNTS.c.consent_until.is_(None), ACCOUNTS.c.consent_until, ACCOUNTS.c.id)
        return [Account(**row._asdict()) for row in self._database.fetch(query.order_by(*sort_keys).limit(limit))]

    def withdraw(
        self,
        account_id: str,
        now: datetime,
        actor: str = HOUSEHOLD,
        *,
        on_stop: Callable[[Connection, Account], object] = lambda connection, account: None,
        at_end: Callable[[Connection], object] = lambda connection: None,
    ) -> None:
        """End the account's consent at the household's request. The account's readings stay.

        The account loses its token and waits for a new consent. Its rights are marked for withdrawal at the supplier.
        Pending refusals and undelivered notices are deleted, and the household gets no notice about what it did itself.
        ``on_stop`` is called inside the transaction, and ``at_end`` just before the commit. If the consent was already
        stopped, nothing happens, and these two aren't called. Raises ValueError for a closed account.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            account = account_rows.get(connection, account_id)
            if account.reason == ConsentStopped.code:
                return
            account_rows.apply(connection, account_id, AccountEvent.STOPPED, now, ConsentStopped.code)
            detach_token(connection, account_id)
            withdraw_rights(connection, account_id)
            on_stop(connection, account)
            self._chain.end(connection, account_id, EndReason.WITHDRAWN.value, now, actor)
            at_end(connection)

    def close(self, connection: Connection, account_id: str, now: datetime) -> None:
        """Close a locked account, because another person has proved that they hold the account's meter.

        The account keeps its history, but loses its meter, its details, its token and its sessions. Its consent doesn't
        end yet: the caller ends it with ``end_closed``, after all accounts that the transaction changes are locked.
        """
        account_rows.apply(connection, account_id, AccountEvent.CLOSED, now)
        raised = {"session_number": ACCOUNTS.c.session_number + 1}
        account_rows.update_account(connection, account_id, raised)
        for table in (USAGE_POINTS, ACCOUNT_DETAILS):
            connection.execute(delete(table).where(table.c.account_id == account_id))
        detach_token(connection, account_id)
        # The rights are not withdrawn at the supplier: a right of the new holder may have the same number there.
        forget_rights(connection, [account_id])

    def end_closed(self, connection: Connection, account_id: str, now: datetime, actor: str | None) -> None:
        """End the consent of an account that this transaction has closed.

        ``actor``: the person who has proved that they hold the meter.
        """
        self._chain.end(connection, account_id, EndReason.HOLDER_CHANGED.value, now, actor)

    # Erasure of proofs.

    def erase_after_removal(
        self, account_id: str, now: datetime, keep_days: int, actor: str | None = None
    ) -> dict[str, int]:
        """End the proofs of a removed account, erase their personal parts, and delete proofs that needn't be kept.

        A row is kept for ``keep_days`` days after the end of its consent, and longer if an older row of the chain is
        kept. Returns how many of the account's rows of each kind were deleted, and how many proofs stay. The call is
        safe to repeat.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, include_removed=True)
            pending_refusals = account_rows.delete_pending_refusals(connection, account_id)
            notices = connection.execute(delete(NOTICES).where(NOTICES.c.account_id == account_id)).rowcount
            self._chain.end(connection, account_id, EndReason.REMOVED.value, now, actor)
            self._chain.erase_personal(connection, account_id)
            dropped = self._chain.drop_ended_before(connection, now - timedelta(days=keep_days))
            remaining = select(func.count()).select_from(CONSENT_EVIDENCE).where(GIVEN, _of(account_id))
            proofs_kept = connection.execute(remaining).scalar_one()
        return {
            "pending_refusals": pending_refusals,
            "notices": notices,
            "consent_proofs_erased": dropped[account_id],
            "consent_proofs_kept": proofs_kept,
        }

    def expire_and_erase(self, now: datetime, today: date, keep_days: int) -> tuple[int, int]:
        """End the expired proofs, and erase proofs that were kept long enough; return both numbers.

        Removals that were interrupted are finished first. The call is safe to repeat.
        """
        is_removed = ACCOUNTS.c.state == AccountState.DELETED
        unfinished = and_(is_removed, or_(IN_FORCE, CONSENT_EVIDENCE.c.sealed_personal.is_not(None)))
        for account_id in self._list_accounts(unfinished):
            self.erase_after_removal(account_id, now, keep_days)
        expired = and_(IN_FORCE, CONSENT_EVIDENCE.c.consent_until < today)
        ended = sum(self._expire(account_id, today) for account_id in self._list_accounts(expired))
        removed_ids = select(ACCOUNTS.c.id).where(is_removed)
        over = (AccountState.CLOSED, AccountState.DELETED)
        over_ids = select(ACCOUNTS.c.id).where(ACCOUNTS.c.state.in_(over))
        with self._database.writing() as connection:
            connection.execute(delete(PENDING_REFUSALS).where(PENDING_REFUSALS.c.account_id.in_(removed_ids)))
            connection.execute(delete(NOTICES).where(NOTICES.c.account_id.in_(removed_ids)))
            # A process of 0.2.0 ends an account without them.
            connection.execute(delete(ACCOUNT_DETAILS).where(ACCOUNT_DETAILS.c.account_id.in_(over_ids)))
            dropped = self._chain.drop_ended_before(connection, now - timedelta(days=keep_days))
            personal = select(_NUMBER).where(
                CONSENT_EVIDENCE.c.account_id == ACCOUNTS.c.id, CONSENT_EVIDENCE.c.sealed_personal.is_not(None)
            )
            without = (ACCOUNTS.c.state.in_(over), ACCOUNTS.c.reference != "", ~personal.exists())
            connection.execute(update(ACCOUNTS).where(*without).values(reference=""))
        return ended, dropped.total()

    def _list_accounts(self, condition: ColumnElement[bool]) -> list[str]:
        """Return the ids of the accounts that have a consent for which the condition is true."""
        account_id = CONSENT_EVIDENCE.c.account_id
        of_consents = CONSENT_QUERY.join(ACCOUNTS, ACCOUNTS.c.id == account_id).where(condition)
        ids = of_consents.with_only_columns(account_id, maintain_column_froms=True).distinct().order_by(account_id)
        return [row.account_id for row in self._database.fetch(ids)]

    def _expire(self, account_id: str, today: date) -> int:
        """End the account's consents whose last day is over, as of the end of that day, and return their number."""
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, include_removed=True)
            expired = CONSENT_QUERY.where(_of(account_id), IN_FORCE, CONSENT_EVIDENCE.c.consent_until < today)
            rows = connection.execute(expired.order_by(_NUMBER)).mappings().all()
            for row in rows:
                ended_at = local_midnight(row["consent_until"] + timedelta(days=1))
                self._chain.append_end(connection, row, EndReason.EXPIRED.value, ended_at, LAST_DAY)
        return len(rows)


def _of(account_id: str) -> ColumnElement[bool]:
    return CONSENT_EVIDENCE.c.account_id == account_id


def _find_existing(proofs: Sequence[ConsentProof], consent: GivenConsent) -> ConsentProof | None:
    """Return the account's proof in force if this consent was recorded before; None for a new consent.

    ``proofs``: the account's proofs, the oldest first. A consent was recorded before if one of them has the same kind,
    reference and dates. The reference alone isn't enough, because a holder who consents again gets the same reference.
    A proof in force without a browser opens nothing, so the same consent from a browser is recorded as well.
    Without a reference, only the proof in force is compared. The returned proof may be newer than the proof that
    matches. If no proof is in force, the consent counts as new, because an ended proof is never reopened.
    """
    in_force = next((proof for proof in reversed(proofs) if proof.open), None)
    if in_force is None:
        return None
    dates = (consent.consent_from, consent.consent_until)
    same = [
        proof
        for proof in (proofs if consent.reference is not None else [in_force])
        if (proof.kind, proof.reference) == (consent.kind, consent.reference)
        and (proof.consent_from, proof.consent_until) == dates
    ]
    is_opened_now = in_force in same and in_force.browser is None and consent.browser is not None
    return in_force if same and not is_opened_now else None


def _copy_dates_to_account(connection: Connection, proof: ConsentProof) -> None:
    """Copy the dates of the proof to its account; a date that the proof doesn't have stays as it is in the account."""
    dates = {"consent_from": proof.consent_from, "consent_until": proof.consent_until}
    account_rows.update_account(connection, proof.account_id, {name: day for name, day in dates.items() if day})


class PendingRefusals(SealedTable):
    """The table of pending refusals. A method that writes for one account raises UnknownAccount if there is none."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        super().__init__(database, sealer)
        self._chain = EvidenceChain(sealer)

    def record_sighting(self, account_id: str, code: str, now: datetime) -> PendingRefusal:
        """Count a refusal with this code, and return the account's row for the code.

        The database adds up simultaneous refusals. After ``reinstate`` has set the count to zero, the next refusal
        counts as the first one again.
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
        """Return the account's pending refusals, sorted by code."""
        query = (
            select(PENDING_REFUSALS)
            .where(PENDING_REFUSALS.c.account_id == account_id)
            .order_by(PENDING_REFUSALS.c.code)
        )
        return [PendingRefusal(*row) for row in self._database.fetch(query)]

    def count_newly_refused(self, code: str, since: datetime, *, certain: bool, supplier: str) -> int:
        """Return how many of a supplier's accounts were first refused with ``code`` at or after ``since``.

        A refusal with a ``certain`` code suspends its account at once, so the accounts suspended since then are
        counted. With another code, the pending refusals first seen since then are counted. A repeated refusal of the
        same account isn't counted, because it shows nothing new.
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
        return int(self._database.scalar(query))

    def count_accounts_asked(self, since: datetime, limit: int, supplier: str) -> int:
        """Return the number of a supplier's accounts for which a run has reported an outcome since ``since``.

        The count stops at ``limit``, so that the query doesn't take long.
        """
        asked = (SERIES_OUTCOMES.c.updated_at >= since, SERIES_OUTCOMES.c.series.in_(of_supplier(supplier)))
        query = select(SERIES_OUTCOMES.c.account_id).where(*asked).distinct().limit(limit)
        return int(self._database.scalar(select(func.count()).select_from(query.subquery())))

    def reinstate(self, code: str, since: datetime, now: datetime, supplier: str) -> list[str]:
        """Undo a supplier's refusals with ``code`` at or after ``since``, because they were the supplier's fault.

        The counts of the pending refusals are set to zero. The accounts that the refusals have suspended become active
        again, or stay paused, and their undelivered notices are deleted. If a refusal ended the consent of such an
        account, a new consent with the same facts is recorded. Accounts whose consent has expired meanwhile stay
        suspended. Returns the ids of the reinstated accounts.
        """
        pending = (
            PENDING_REFUSALS.c.code == code,
            PENDING_REFUSALS.c.last_seen >= since,
            PENDING_REFUSALS.c.times > 0,
            _is_of(supplier),
        )
        suspended = select(ACCOUNTS.c.id).where(
            ACCOUNTS.c.supplier == supplier,
            ACCOUNTS.c.state.in_(TRANSITIONS.states_before(AccountEvent.REINSTATED)),
            ACCOUNTS.c.reason == code,
            ACCOUNTS.c.state_since >= since,
            or_(ACCOUNTS.c.consent_until.is_(None), ACCOUNTS.c.consent_until >= civil_date(now)),
        )
        with self._database.writing() as connection:
            reinstated = []
            for account_id in connection.execute(suspended.order_by(ACCOUNTS.c.id)).scalars().all():
                with suppress(WrongState):  # The account was stopped by its household or reactivated meanwhile.
                    account_rows.apply(connection, account_id, AccountEvent.REINSTATED, now, code)
                    reinstated.append(account_id)
            # The refusals are changed after the rows of ``series_outcomes``. A success locks both in the same order, so
            # the transactions don't deadlock.
            connection.execute(update(PENDING_REFUSALS).where(*pending).values(times=0))
            for account_id in reinstated:
                self._chain.continue_ended(connection, account_id, code, since, now)
        return reinstated

    def suspend(
        self,
        account_id: str,
        reason: str,
        now: datetime,
        *,
        consent_ended: bool,
        notices: Callable[[], Sequence[Notice]],
    ) -> bool:
        """Suspend the account for ``reason``, and delete its pending refusals, in one transaction.

        The account becomes ``action_needed``; a paused account stays paused and gets the reason. ``notices`` are
        inserted unless the account was ``action_needed`` before. With ``consent_ended``, its consents in force end,
        too. Returns whether the account was suspended. Nothing changes if it already waits under this reason, if it is
        closed, if its household has stopped the consent, or if ``reason`` is the code of ConsentEnded but the last day
        of the consent isn't over.
        """
        with suppress(WrongState), self._database.writing() as connection:
            _, step = account_rows.apply(connection, account_id, AccountEvent.REFUSED, now, reason)
            if step.tells:
                insert_notices(connection, notices())
            if consent_ended:
                self._chain.end(connection, account_id, reason, now, SUPPLIER)
            return True
        return False

    def end_proof(self, account_id: str, reason: str, now: datetime) -> None:
        """End the account's consents in force if the account is suspended for this reason; otherwise do nothing.

        While the supplier still checks whether a right has ended, the account is suspended without ``consent_ended``.
        If the right has ended, this method then ends the consent.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            if account_rows.get(connection, account_id).reason == reason:
                self._chain.end(connection, account_id, reason, now, SUPPLIER)


def _is_of(supplier: str) -> ColumnElement[bool]:
    """Return the SQL condition for pending refusals by this supplier."""
    return PENDING_REFUSALS.c.account_id.in_(select(ACCOUNTS.c.id).where(ACCOUNTS.c.supplier == supplier))
