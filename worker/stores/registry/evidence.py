"""The chain of evidence in SQL: appending rows, erasing personal parts, dropping old rows, and checking the chain.

Every method of ``EvidenceChain`` works inside its caller's transaction. An append locks the chain's head until the
transaction ends. To avoid deadlocks, a transaction takes all its other locks before its first append, except the lock
on the end of the erasure ledger. ``EvidenceCheck`` checks the chain, and exports the rows that an operator hands out in
a dispute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from worker.domain.account import AccountState
from worker.domain.evidence import (
    START,
    SUPPLIER_INCIDENT,
    ChainEnd,
    ChainPoint,
    CheckedRow,
    EvidenceEvent,
    PersonalPart,
    begin_anew,
    check_chain,
    hash_row,
    link_row,
)
from worker.errors import OperatorFault
from worker.stores.database import Database, SealedTable, build_insert, new_id, place_of
from worker.stores.encryption import Sealer
from worker.stores.registry import account_rows
from worker.stores.registry.tables import ACCOUNTS, CONSENT_CHAIN, CONSENT_EVIDENCE

GIVEN: Final = CONSENT_EVIDENCE.c.event == EvidenceEvent.GIVEN
_END: Final = CONSENT_EVIDENCE.alias("ending")
_ITS_END: Final = and_(_END.c.consent_id == CONSENT_EVIDENCE.c.consent_id, _END.c.event == EvidenceEvent.ENDED)
# A consent in force has no row ``ended``.
ENDED_AT, IN_FORCE = _END.c.recorded_at, _END.c.sequence.is_(None)
# Each consent, joined with the row of its end, if it has ended.
CONSENT_QUERY: Final = (
    select(CONSENT_EVIDENCE, ENDED_AT.label("ended_at"), _END.c.end_reason.label("ended_because"))
    .select_from(CONSENT_EVIDENCE.outerjoin(_END, _ITS_END))
    .where(GIVEN)
)
# Three lists of columns: those that the row of an end shares with its consent, those that only a consent has, and those
# that a continued consent copies.
_SHARED: Final = ("consent_id", "account_id", "tenant", "supplier", "kind", "proof")
_OF_GIVEN_ALONE: Final = ("browser", "consent_from", "consent_until", "dates_from", "line")
_FACTS: Final = (*_SHARED[1:], *_OF_GIVEN_ALONE)
_PAGE_SIZE: Final = 500
_COLUMNS: Final = tuple(column.name for column in CONSENT_EVIDENCE.columns)


class EvidenceChain:
    """The rows of evidence, and the two sealed ends of their chain."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def append_given(self, connection: Connection, row: Mapping[str, Any], personal: PersonalPart) -> None:
        """Append a consent. ``row``: the consent's columns, without those of the chain and of the personal part."""
        sealed = self._sealer.seal(personal.to_text(), _place_of_personal(row["consent_id"]))
        columns = {"event": EvidenceEvent.GIVEN, "end_reason": "", "personal_digest": personal.digest}
        self._append(connection, {**row, **columns}, sealed)

    def end(self, connection: Connection, account_id: str, reason: str, now: datetime, actor: str | None = None) -> int:
        """End the account's consents in force by appending a row for each, and return their number.

        The caller has locked the account.
        """
        in_force = CONSENT_QUERY.where(CONSENT_EVIDENCE.c.account_id == account_id, IN_FORCE)
        rows = connection.execute(in_force.order_by(CONSENT_EVIDENCE.c.sequence)).mappings().all()
        for row in rows:
            self.append_end(connection, row, reason, now, actor)
        return len(rows)

    def append_end(
        self, connection: Connection, given: Mapping[Any, Any], reason: str, ended_at: datetime, actor: str | None
    ) -> None:
        """Append the row that ends a consent; ``given`` is the row of this consent."""
        empty = dict.fromkeys(_OF_GIVEN_ALONE)
        columns = {"event": EvidenceEvent.ENDED, "end_reason": reason, "recorded_at": ended_at, "actor": actor}
        shared = {name: given[name] for name in _SHARED}
        self._append(connection, {**shared, **empty, **columns, "personal_digest": ""}, None)

    def continue_ended(
        self, connection: Connection, account_id: str, reason: str, since: datetime, now: datetime
    ) -> None:
        """Append a consent that continues the account's newest one, if it ended for ``reason`` at or after ``since``.

        The end was the supplier's mistake. But an ended consent is never reopened, so a new consent with the same facts
        is appended.
        """
        newest = CONSENT_QUERY.where(CONSENT_EVIDENCE.c.account_id == account_id)
        row = connection.execute(newest.order_by(CONSENT_EVIDENCE.c.sequence.desc()).limit(1)).mappings().one_or_none()
        if row is None or row["ended_at"] is None or row["ended_at"] < since or row["ended_because"] != reason:
            return
        consent_id = new_id()
        columns = {"event": EvidenceEvent.GIVEN, "end_reason": "", "consent_id": consent_id, "recorded_at": now}
        same = {name: row[name] for name in (*_FACTS, "personal_digest")}
        # The personal part contains the key of its digest, so the copy has the same digest. An erasure deletes the
        # personal parts of both consents.
        personal = self.open_personal(row["sealed_personal"], row["consent_id"])
        # If no key opens the personal part, its sealed text is copied as it is. The copy can never be unsealed, because
        # a text is sealed for one row.
        sealed = personal and self._sealer.seal(personal.to_text(), _place_of_personal(consent_id))
        self._append(connection, {**same, **columns, "actor": SUPPLIER_INCIDENT}, sealed or row["sealed_personal"])

    def erase_personal(self, connection: Connection, account_id: str) -> None:
        """Delete the personal parts of an account's consents; the chain can still be verified."""
        of_account = CONSENT_EVIDENCE.c.account_id == account_id
        connection.execute(update(CONSENT_EVIDENCE).where(of_account).values(sealed_personal=None))

    def drop_ended_before(self, connection: Connection, moment: datetime) -> Counter[str]:
        """Delete the rows at the chain's beginning whose consents ended by ``moment``.

        The last deleted row becomes the chain's anchor. If a row must be kept, all rows after it stay, too. Returns the
        number of deleted consents by account id.
        """
        must_stay = or_(ENDED_AT.is_(None), moment < ENDED_AT)
        first_kept = (
            select(CONSENT_EVIDENCE.c.sequence)
            .select_from(CONSENT_EVIDENCE.outerjoin(_END, _ITS_END))
            .where(must_stay)
            .order_by(CONSENT_EVIDENCE.c.sequence)
            .limit(1)
        )
        oldest = connection.execute(select(CONSENT_EVIDENCE.c.sequence).order_by(CONSENT_EVIDENCE.c.sequence).limit(1))
        if (first := oldest.scalar()) is None or connection.execute(first_kept).scalar() == first:
            return Counter()
        head = self._lock_head(connection)
        end = connection.execute(first_kept).scalar() or head.sequence + 1
        dropped = CONSENT_EVIDENCE.c.sequence < end
        columns = CONSENT_EVIDENCE.c.sequence, CONSENT_EVIDENCE.c.hash
        last = connection.execute(select(*columns).where(dropped).order_by(columns[0].desc()).limit(1)).one_or_none()
        if last is None:  # Another process has dropped these rows meanwhile.
            return Counter()
        self._save(connection, ChainEnd.ANCHOR, ChainPoint(*last))
        gone = connection.execute(
            delete(CONSENT_EVIDENCE).where(dropped).returning(CONSENT_EVIDENCE.c.event, CONSENT_EVIDENCE.c.account_id)
        )
        return Counter(account_id for event, account_id in gone if event is EvidenceEvent.GIVEN)

    def open_end(self, end: ChainEnd, sealed: str) -> ChainPoint | None:
        """Return the row that a sealed end of the chain names; None if the text can't be unsealed or is malformed."""
        try:
            return ChainPoint.from_text(end, self._sealer.unseal(sealed, place_of(CONSENT_CHAIN.c.sealed, end.value)))
        except (OperatorFault, ValueError):
            return None

    def open_personal(self, sealed: str | None, consent_id: str) -> PersonalPart | None:
        """Return the personal part of a consent; None if it was erased or no key opens it."""
        try:
            text = self._sealer.unseal(sealed, _place_of_personal(consent_id)) if sealed else None
            return None if text is None else PersonalPart.from_text(text)
        except (OperatorFault, ValueError):
            return None

    def _append(self, connection: Connection, row: Mapping[str, Any], sealed_personal: str | None) -> None:
        linked = link_row(self._lock_head(connection), row)
        connection.execute(insert(CONSENT_EVIDENCE).values(**linked, sealed_personal=sealed_personal))
        self._save(connection, ChainEnd.HEAD, ChainPoint(linked["sequence"], linked["hash"]))

    def _lock_head(self, connection: Connection) -> ChainPoint:
        """Lock the chain's head until the transaction ends, and return the chain's last row.

        The head's sealed text names this row. Anyone who can write to the database can change the head's other columns,
        so they are used only if the text can't be unsealed, to begin a new chain.
        """
        query = select(CONSENT_CHAIN).where(CONSENT_CHAIN.c.name == ChainEnd.HEAD.value).with_for_update()
        head = connection.execute(query).one_or_none()
        if head is None:
            both = [self._to_row(end, START) for end in ChainEnd]
            new = build_insert(connection.dialect.name, CONSENT_CHAIN).values(both)
            connection.execute(new.on_conflict_do_nothing(index_elements=["name"]))
            head = connection.execute(query).one()
        return self.open_end(ChainEnd.HEAD, head.sealed) or begin_anew(ChainPoint(head.sequence, head.hash))

    def _save(self, connection: Connection, end: ChainEnd, point: ChainPoint) -> None:
        statement = update(CONSENT_CHAIN).where(CONSENT_CHAIN.c.name == end.value)
        connection.execute(statement.values(**self._to_row(end, point)))

    def _to_row(self, end: ChainEnd, point: ChainPoint) -> dict[str, Any]:
        return {
            "name": end.value,
            "sequence": point.sequence,
            "hash": point.hash,
            "sealed": self._sealer.seal(point.to_text(end), place_of(CONSENT_CHAIN.c.sealed, end.value)),
        }


def _place_of_personal(consent_id: str) -> str:
    return place_of(CONSENT_EVIDENCE.c.sealed_personal, consent_id)


@dataclass(frozen=True, slots=True)
class ChainSummary:
    """The result of a check: the number of rows, the last row that the sealed head names, and the number of faults."""

    rows: int
    head: ChainPoint
    faults: int


class EvidenceCheck(SealedTable):
    """Checks and exports a snapshot of the chain, even while other processes append to it."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        super().__init__(database, sealer)
        self._chain = EvidenceChain(sealer)

    def verify(self, report: Callable[[str], object]) -> ChainSummary:
        """Check the whole chain page by page; pass each fault to ``report`` as a line without a meter's number."""
        with self._database.snapshot() as connection:
            rows, faults = connection.execute(select(func.count()).select_from(CONSENT_EVIDENCE)).scalar_one(), 0
            (anchor, of_anchor), (head, of_head) = (self._open_end(connection, end) for end in ChainEnd)
            of_ends = [of_anchor, of_head] if rows or anchor or head else []
            in_rows = check_chain(self._checked_rows(connection), anchor, head)
            for fault in chain(filter(None, of_ends), in_rows):
                report(fault)
                faults += 1
        return ChainSummary(rows, head or START, faults)

    def export(self, account_id: str) -> list[dict[str, Any]]:
        """Return the rows of an account, even a removed one, in order and as values that JSON can represent.

        ``personal`` says whether meter and reference are ``kept``, ``erased`` or ``unreadable`` (changed, or sealed
        with a key that is lost). Rows that can't be read at all are left out; ``verify`` reports them. Raises
        UnknownAccount.
        """
        with self._database.snapshot() as connection:
            account_rows.get(connection, account_id)
            of_account = CONSENT_EVIDENCE.c.account_id == account_id
            return [self._to_export(row) for _, row in _pages(connection, of_account) if row is not None]

    def _checked_rows(self, connection: Connection) -> Iterator[CheckedRow]:
        for sequence, row in _pages(connection):
            if row is None:
                yield CheckedRow(ChainPoint(sequence, ""), "", "was changed: it can't be read")
            else:
                yield CheckedRow(ChainPoint(sequence, row["hash"]), row["previous_hash"], self._fault_of(row))

    def _fault_of(self, row: Mapping[Any, Any]) -> str:
        """Return a text on what is wrong with a single row; empty if nothing is."""
        if hash_row({name: row[name] for name in _COLUMNS}) != row["hash"]:
            return "was changed: it does not match its hash"
        sealed = row["sealed_personal"]
        if row["event"] is EvidenceEvent.ENDED:
            return "was changed: the end of a consent has no personal part" if sealed else ""
        if sealed is None:
            is_removed = row["account_state"] is AccountState.DELETED
            return "" if is_removed else "was changed: its personal part is missing, but its account was not removed"
        personal = self._chain.open_personal(sealed, row["consent_id"])
        if personal is None:
            return "has a personal part that can't be decrypted: it was changed, or its key is missing"
        return "" if personal.digest == row["personal_digest"] else "was changed: it has another personal part"

    def _open_end(self, connection: Connection, end: ChainEnd) -> tuple[ChainPoint | None, str]:
        """Return the row that an end of the chain names, and a text on what is wrong with that end.

        The row is None if the end is missing; the text is empty if nothing is wrong.
        """
        query = select(CONSENT_CHAIN.c.sequence, CONSENT_CHAIN.c.hash, CONSENT_CHAIN.c.sealed)
        row = connection.execute(query.where(CONSENT_CHAIN.c.name == end.value)).one_or_none()
        if row is None:
            return None, f"the {end} is missing"
        stored, sealed = ChainPoint(row.sequence, row.hash), self._chain.open_end(end, row.sealed)
        if sealed is None:
            return stored, f"the {end} can't be decrypted: it was changed, or its key is missing"
        return sealed, "" if sealed == stored else f"the {end} was changed: it does not match its encrypted copy"

    def _to_export(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        personal = self._chain.open_personal(row["sealed_personal"], row["consent_id"])
        exported = {name: _to_json(row[name]) for name in _COLUMNS if name != "sealed_personal"}
        if row["event"] is EvidenceEvent.ENDED:
            return exported
        state = "erased" if row["sealed_personal"] is None else "kept" if personal else "unreadable"
        return {**exported, "personal": state, **(personal or PersonalPart("")).fields}


def _pages(connection: Connection, *conditions: ColumnElement[bool]) -> Iterator[tuple[int, Mapping[Any, Any] | None]]:
    """Yield the number and the columns of each row, in order, with the state of its account.

    If a row can't be read, None stands for its columns. Only one page is in memory at a time.
    """
    joined = CONSENT_EVIDENCE.outerjoin(ACCOUNTS, ACCOUNTS.c.id == CONSENT_EVIDENCE.c.account_id)
    query = select(CONSENT_EVIDENCE, ACCOUNTS.c.state.label("account_state")).select_from(joined).where(*conditions)
    number = CONSENT_EVIDENCE.c.sequence
    numbers, after = select(number).where(*conditions).order_by(number).limit(_PAGE_SIZE), None
    while page := connection.execute(numbers if after is None else numbers.where(number > after)).scalars().all():
        after = page[-1]
        try:
            rows = connection.execute(query.where(number.between(page[0], after)).order_by(number)).mappings().all()
            yield from zip(page, rows, strict=True)
        except (LookupError, TypeError, ValueError):  # A row has a value that is not allowed in its column.
            yield from ((sequence, _read_row(connection, query.where(number == sequence))) for sequence in page)


def _read_row(connection: Connection, query: Any) -> Mapping[Any, Any] | None:
    try:
        row: Mapping[Any, Any] = connection.execute(query).mappings().one()
    except (LookupError, TypeError, ValueError):
        return None
    return row


def _to_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
