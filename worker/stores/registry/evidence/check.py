"""The check of the chain of evidence, and what an operator hands out of it in a dispute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select

from worker.domain.account import AccountState
from worker.domain.evidence import (
    START,
    ChainEnd,
    ChainPoint,
    CheckedRow,
    EvidenceEvent,
    PersonalPart,
    check_chain,
    hash_row,
)
from worker.stores.database import Database, SealedTable
from worker.stores.registry import account_rows
from worker.stores.registry.dump import open_snapshot
from worker.stores.registry.evidence.chain import EvidenceChain
from worker.stores.registry.tables import ACCOUNTS, CONSENT_CHAIN, CONSENT_EVIDENCE, CONSENT_PROOFS
from worker.stores.sealing import Sealer

_PAGE_SIZE: Final = 500
_COLUMNS: Final = tuple(column.name for column in CONSENT_EVIDENCE.columns)


@dataclass(frozen=True, slots=True)
class ChainSummary:
    """What a check has seen: the number of rows, the last one as the sealed head names it, and how many faults."""

    rows: int
    head: ChainPoint
    faults: int


class EvidenceCheck(SealedTable):
    """The chain as it stands at one moment, even while others append. Every method raises StoreUnavailable."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        super().__init__(database, sealer)
        self._chain = EvidenceChain(sealer)

    def verify(self, report: Callable[[str], object]) -> ChainSummary:
        """Check the whole chain page by page, and pass each fault to ``report`` as a line, which holds no meter."""
        with open_snapshot(self._database) as connection:
            rows, faults = connection.execute(select(func.count()).select_from(CONSENT_EVIDENCE)).scalar_one(), 0
            (anchor, of_anchor), (head, of_head) = (self._open_end(connection, end) for end in ChainEnd)
            of_ends = [of_anchor, of_head] if rows or anchor or head else []
            in_rows = check_chain(self._checked_rows(connection), anchor, head)
            for fault in chain(filter(None, of_ends), _left_behind(connection), in_rows):
                report(fault)
                faults += 1
        return ChainSummary(rows, head or START, faults)

    def export(self, account_id: str) -> list[dict[str, Any]]:
        """Return an account's rows by number as JSON-able values, even of a removed one.

        ``personal`` says whether meter and reference are ``kept``, ``erased`` or ``unreadable``: sealed under a key
        that is gone, or changed. Rows that can't be read at all are left out; ``verify`` names them. Raises
        UnknownAccount.
        """
        with open_snapshot(self._database) as connection:
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
        """Return what is wrong with a row by itself; empty where nothing is."""
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
        """Return the row that an end of the chain names, None if it is missing, and what is wrong with that end."""
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
    """Yield the rows by number with the state of their accounts, page by page; None for a row that can't be read."""
    joined = CONSENT_EVIDENCE.outerjoin(ACCOUNTS, ACCOUNTS.c.id == CONSENT_EVIDENCE.c.account_id)
    query = select(CONSENT_EVIDENCE, ACCOUNTS.c.state.label("account_state")).select_from(joined).where(*conditions)
    number = CONSENT_EVIDENCE.c.sequence
    numbers, after = select(number).where(*conditions).order_by(number).limit(_PAGE_SIZE), None
    while page := connection.execute(numbers if after is None else numbers.where(number > after)).scalars().all():
        after = page[-1]
        try:
            rows = connection.execute(query.where(number.between(page[0], after)).order_by(number)).mappings().all()
            yield from zip(page, rows, strict=True)
        except (LookupError, TypeError, ValueError):  # A value that is none of its column's.
            yield from ((sequence, _read_row(connection, query.where(number == sequence))) for sequence in page)


def _read_row(connection: Connection, query: Any) -> Mapping[Any, Any] | None:
    try:
        row: Mapping[Any, Any] = connection.execute(query).mappings().one()
    except (LookupError, TypeError, ValueError):
        return None
    return row


def _left_behind(connection: Connection) -> Iterator[str]:
    """Yield a line where the table of before has rows: they were moved when the chain began, and it was closed."""
    if number := connection.execute(select(func.count()).select_from(CONSENT_PROOFS)).scalar_one():
        yield f"{number} rows of consent_proofs are foreign: Relève does not write to this table any more"


def _to_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
