"""The chain of evidence: rows that are appended and never changed, each with the hash of the row before it.

A row's hash covers all its other columns except the personal part. Of the personal part it covers only a keyed digest,
whose key is stored in the personal part. After the personal part was erased, the digest reveals nothing, and the chain
can still be verified.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final, Self

# The values of a row's ``actor`` if no named person has acted.
HOUSEHOLD: Final = "household"
SUPPLIER: Final = "supplier"
LAST_DAY: Final = "last day"  # The consent expired: nobody acted.
SUPPLIER_INCIDENT: Final = "supplier incident"
# A row's hash can't cover itself, and covers the personal part only by its digest.
UNHASHED: Final = frozenset({"hash", "sealed_personal"})
_NOTHING: Final = "0" * 64


class EvidenceEvent(StrEnum):
    GIVEN = "given"
    ENDED = "ended"


class DatesSource(StrEnum):
    """The source of the first and the last day of a consent."""

    SUPPLIER = "supplier"
    REQUESTED = "requested"  # At least one of the two days was computed from the requested duration.
    ASSERTED = "asserted"  # The person or program that vouched for the consent has given the days.
    UNKNOWN = "unknown"  # The consent was recorded by a version that didn't record the source.


class ChainEnd(StrEnum):
    ANCHOR = "anchor"  # The row before the chain's first row: the last dropped row; row 0 if none was dropped.
    HEAD = "head"  # The last row of the chain.


@dataclass(frozen=True, slots=True)
class ChainPoint:
    """A row of the chain by its number and its hash in hexadecimal."""

    sequence: int
    hash: str

    def to_text(self, end: ChainEnd) -> str:
        """Return the text that is sealed for this end of the chain."""
        return f"{end} {self.sequence} {self.hash}"

    @classmethod
    def from_text(cls, end: ChainEnd, text: str) -> Self:
        """Parse a text that ``to_text`` returned. Raises ValueError for the text of the other end."""
        name, sequence, row_hash = text.split(" ")
        if name != end:
            raise ValueError(f"this is the {name} of the chain")
        return cls(int(sequence), row_hash)


START: Final = ChainPoint(0, _NOTHING)


@dataclass(frozen=True, slots=True)
class PersonalPart:
    """The personal fields of a consent, and the random key of their digest, 64 hexadecimal digits.

    ``meter``: the meter's number. ``reference``: the number that the supplier, or the person who vouches, has given the
    consent. ``answer_digest``: the SHA-256 of the supplier's answer in hexadecimal; this digest is personal too,
    because the few facts of the answer could be guessed from it.
    """

    key: str = field(repr=False)
    meter: str | None = field(default=None, repr=False)
    reference: str | None = field(default=None, repr=False)
    answer_digest: str | None = field(default=None, repr=False)

    @property
    def fields(self) -> dict[str, str | None]:
        """The personal fields by name, without the key of their digest."""
        return {"meter": self.meter, "reference": self.reference, "answer_digest": self.answer_digest}

    @property
    def digest(self) -> str:
        """The HMAC-SHA256 of the fields, in hexadecimal."""
        return hmac.new(bytes.fromhex(self.key), _canonical(self.fields), hashlib.sha256).hexdigest()

    def to_text(self) -> str:
        """Return the part as JSON, to be sealed."""
        return json.dumps({"key": self.key, **self.fields})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse a text that ``to_text`` returned. Raises ValueError, which doesn't quote the text."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            # "from None": the library's error quotes the text.
            raise ValueError("this is not the personal part of a consent") from None


def hash_row(row: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of a row's columns as canonical JSON, without the columns in ``UNHASHED``."""
    return hashlib.sha256(_canonical({name: row[name] for name in row.keys() - UNHASHED})).hexdigest()


def link_row(before: ChainPoint, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with the columns that link it to ``before``: number, hash of the previous row, hash of the row."""
    linked = {**row, "sequence": before.sequence + 1, "previous_hash": before.hash}
    return {**linked, "hash": hash_row(linked)}


def begin_anew(before: ChainPoint) -> ChainPoint:
    """Return the point to which the next row is linked if the sealed head of the chain can't be decrypted.

    The next row then begins a new chain, and the rows before it can't be verified any more. ``check_chain`` reports
    this until the first row of the new chain is dropped.
    """
    return ChainPoint(before.sequence, _NOTHING)


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A stored row; ``fault``: what is wrong with the row itself, empty if nothing is."""

    point: ChainPoint
    previous_hash: str
    fault: str = ""


def check_chain(rows: Iterable[CheckedRow], anchor: ChainPoint | None, head: ChainPoint | None) -> Iterator[str]:
    """Yield the faults of a chain, one line each; ``rows``: in the order of their numbers.

    Each changed, missing or foreign row is named. An end of the chain (``anchor`` or ``head``) isn't checked if it is
    None. Only one row at a time is kept in memory.
    """
    before, is_named = anchor, False
    for row in rows:
        number = row.point.sequence
        if anchor is not None and number <= anchor.sequence:
            yield f"row {number} is foreign: the chain begins with row {anchor.sequence + 1}"
            continue
        if head is not None and number > head.sequence:
            yield f"row {number} is foreign: the chain ends with row {head.sequence}"
            continue
        if before is not None and number > before.sequence + 1:
            yield _missing(before.sequence + 1, number - 1)
        elif before is not None and not row.fault and not is_named and row.previous_hash != before.hash:
            yield _broken_link(before, row, is_first=before == anchor)
        if row.fault:
            yield f"row {number} {row.fault}"
        before, is_named = row.point, bool(row.fault)
    if head is None or before is None:
        return
    if before.sequence < head.sequence:
        yield _missing(before.sequence + 1, head.sequence)
    elif before.hash != head.hash and not is_named:
        yield f"row {head.sequence} was replaced: the encrypted head has another hash"


def _broken_link(before: ChainPoint, row: CheckedRow, *, is_first: bool) -> str:
    number = row.point.sequence
    if row.previous_hash == _NOTHING:
        return f"row {number} begins a new chain: when it was written, the head could not be decrypted"
    if is_first:
        return f"row {number} was replaced: it does not follow the encrypted anchor"
    return f"row {before.sequence} was replaced: row {number} has another hash for it"


def _missing(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"


def _canonical(values: Mapping[str, Any]) -> bytes:
    """Return JSON that is the same for the same values on every database: sorted keys, no spaces, moments in UTC."""
    plain = {name: _to_plain(value) for name, value in values.items()}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _to_plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value.isoformat() if isinstance(value, date) else value
