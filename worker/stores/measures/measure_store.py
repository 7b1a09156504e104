"""The protocol of the measure stores, and the two layouts of documents in CouchDB.

A store holds the documents of all doctypes. ``_id`` is ``<account id>:<key>``, such as ``k9x4w:2024-07-25``, so writing
a reading twice gives a conflict, never a second document. ``_rev`` is the revision, a text in the store's own form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

from worker.domain.documents import KeyRange, packed_doctype
from worker.domain.packing import PACKED_SERIES, UNPACKED_DOCTYPES
from worker.domain.series import Doctype, Series

Document = dict[str, Any]
Ranges = Mapping[Doctype, KeyRange]
DocumentsByDoctype = dict[Doctype, list[Document]]
Rows = Mapping[Doctype, Sequence[Document]]
NO_ROWS: Final[Rows] = {}


class MeasureStore(Protocol):
    """The documents of all accounts. All methods raise StoreUnavailable; ``write`` raises WriteRefused, too."""

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> DocumentsByDoctype:
        """Return the account's documents with ``first <= key < end`` in each range; they include ``_id`` and ``_rev``.

        Doctypes are read in the order of ``ranges``. For each, at most ``limit`` (1 or more) documents are returned, in
        key order. A doctype whose database or table doesn't exist yet has no documents; that isn't an error.
        """
        ...

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> DocumentsByDoctype:
        """Write and remove documents, and return those that lost a race; all others were written or removed.

        Without ``_rev`` a document is created; with ``_rev``, exactly that revision is replaced or removed. A document
        loses a race if another writer has changed the stored revision first. The ids within a doctype must be
        different.

        Doctypes are written in the given order; the caller must give readings before totals. If a reading loses its
        race, totals of its series lose theirs too, because they were computed from a reading other than the stored
        one.
        """
        ...

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account, totals first, and return their number. It is safe to repeat."""
        ...

    def empty_log(self) -> None:
        """Empty the log of a SQLite file, because the log still contains erased documents.

        Nothing happens if another connection uses the log. ``erase`` empties the log, too. Other stores have no log.
        """
        return

    def prepare(self) -> dict[str, bool]:
        """Create each doctype's database or table; return for each whether it was missing. It is safe to repeat.

        The set-up of a system calls this method; otherwise the first write creates the databases or tables.
        """
        ...

    def close(self) -> None:
        """Close the idle connections to a SQL database; the next use opens new ones. Other stores do nothing."""
        return


class Layout(StrEnum):
    """The two layouts of documents in CouchDB. In a SQL database there is only one layout, rows."""

    PLAIN = "plain"  # One document for each value, as in the original konnector.
    PACKED = "packed"  # One document for each local day of a curve, and for each year of daily values.

    @property
    def other(self) -> Layout:
        return Layout.PACKED if self is Layout.PLAIN else Layout.PLAIN


def doctypes_of(layout: Layout) -> dict[str, Series]:
    """Return the doctypes of a layout, each with the series whose readings or totals it contains."""
    if layout is Layout.PLAIN:
        return {doctype.full_name: doctype.series for doctype in Doctype}
    unpacked = {doctype.full_name: doctype.series for doctype in UNPACKED_DOCTYPES}
    return {packed_doctype(series): series for series in PACKED_SERIES} | unpacked


def readings_of(layout: Layout) -> list[str]:
    """Return the doctypes that contain readings only in this layout. If one isn't empty, the layout is in use."""
    packed = layout is Layout.PACKED
    return [packed_doctype(series) if packed else series.inputs.full_name for series in PACKED_SERIES]


def nightly_doctypes(layout: Layout) -> list[str]:
    """Return the doctypes of a layout whose documents are rewritten every night."""
    with_long_totals = [series for series in PACKED_SERIES if not series.has_steps]
    if layout is Layout.PACKED:
        return [packed_doctype(series) for series in with_long_totals]
    return [doctype.full_name for series in with_long_totals for doctype in series.totals]


def database_name(doctype: str) -> str:
    """Return the name of a doctype's CouchDB database, with dashes for dots, which CouchDB doesn't allow."""
    return doctype.replace(".", "-")


def wrong_layout(layout: Layout) -> str:
    """Return the error text that says what to do if the other layout has measures."""
    return (
        f"the store has measures in the {layout.other.value} layout, but RELEVE_LAYOUT is {layout.value}: run "
        f"`releve migrate --layout {layout.value}`, or set RELEVE_LAYOUT={layout.other.value}"
    )
