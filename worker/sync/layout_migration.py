"""The migration of measures between layouts: documents are copied, checked, and only then erased in the old layout.

The migration goes account by account, and within an account by windows of whole days. The stores show how far the
migration got: an account without old documents is done, and a document already in the new layout is not written again.
A migration that was killed continues when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from worker.domain.completeness import civil_day
from worker.domain.documents import ALL_KEYS, key_of, key_range, to_amount, to_kwh
from worker.domain.packing import PACKED_SERIES
from worker.domain.series import Doctype, Series
from worker.domain.windows import DateWindow
from worker.errors import StoreUnavailable
from worker.stores.measures.measure_store import Document, DocumentsByDoctype, MeasureStore

# How many days of a load curve are read in one request and kept in memory.
_CURVE_DAYS: Final = 31
_OTHER_WRITER: Final = "another process writes to the store: stop workers, beat and web, and run it again"
# Recomputes the totals of an account, series and window, and returns the number of documents written.
RecomputeTotals = Callable[[str, Series, DateWindow], int]


@dataclass
class MigrationCounts:
    """The counts of a migration, in documents.

    ``documents``: all documents that the old layout held. ``written``: the documents that the new layout lacked or had
    in an older state. ``erased``: the documents erased in the old layout. ``recounted``: totals recomputed because both
    layouts had readings.
    """

    accounts: int = 0
    documents: int = 0
    written: int = 0
    erased: int = 0
    recounted: int = 0
    energy: dict[Doctype, int] = field(
        default_factory=lambda: {doctype: 0 for series in PACKED_SERIES for doctype in series.doctypes}
    )

    def as_json(self) -> dict[str, Any]:
        kwh = {doctype.value: to_kwh(energy) for doctype, energy in self.energy.items()}
        counts = {name: getattr(self, name) for name in ("accounts", "documents", "written", "erased", "recounted")}
        return {**counts, "kwh": kwh}


@dataclass(frozen=True)
class LayoutMigrator:
    """Migrates measures from the layout ``old`` to ``new``.

    ``recompute_totals`` computes totals in ``new`` from the readings there.
    """

    old: MeasureStore
    new: MeasureStore
    recompute_totals: RecomputeTotals

    def migrate_account(self, account_id: str, counts: MigrationCounts) -> None:
        """Migrate one account and add it to ``counts``.

        All documents are copied and checked before any is erased. Raises StoreUnavailable, also if another process has
        written to the store meanwhile.
        """
        documents = 0
        for series in PACKED_SERIES:
            for window in _windows(self.old, account_id, series):
                documents += self._copy_window(account_id, series, window, counts)
        if documents:
            # Readings are erased last: while one is left, the account counts as not migrated.
            erased = self.old.erase(account_id)
            counts.accounts, counts.erased = counts.accounts + 1, counts.erased + erased
            if erased != documents:
                raise StoreUnavailable(f"{documents} documents were copied and {erased} erased: {_OTHER_WRITER}")

    def _copy_window(self, account_id: str, series: Series, window: DateWindow, counts: MigrationCounts) -> int:
        """Copy and check one window, and return the number of its documents in the old layout."""
        ranges = {doctype: key_range(window, doctype) for doctype in series.doctypes}
        source = self.old.read(account_id, ranges)
        before = self.new.read(account_id, ranges)
        missing = {doctype: list(_documents_to_write(source[doctype], before[doctype])) for doctype in ranges}
        if any(self.new.write(missing).values()):
            raise StoreUnavailable(_OTHER_WRITER)
        self._check(source, self.new.read(account_id, ranges))
        if source[series.inputs]:
            counts.recounted += self.recompute_totals(account_id, series, window)
        for doctype in ranges:
            counts.documents += len(source[doctype])
            counts.written += len(missing[doctype])
            counts.energy[doctype] += sum(map(_energy, source[doctype]))
        return sum(map(len, source.values()))

    @staticmethod
    def _check(source: DocumentsByDoctype, stored: DocumentsByDoctype) -> None:
        """Raise StoreUnavailable if a copy differs from its source; a newer document counts as right."""
        for doctype, documents in source.items():
            stored_by_id = {document["_id"]: document for document in stored[doctype]}
            if any(_needs_copy(stored_by_id.get(document["_id"]), document) for document in documents):
                raise StoreUnavailable(f"{doctype.value}: the copies differ when read back: {_OTHER_WRITER}")


def _windows(measures: MeasureStore, account_id: str, series: Series) -> Iterator[DateWindow]:
    """Yield windows with all documents of a series and its totals, oldest first; long gaps are skipped."""
    ranges = dict.fromkeys(series.doctypes, ALL_KEYS)
    while days := [_day_of(page[0]) for page in measures.read(account_id, ranges, limit=1).values() if page]:
        day = min(days)
        window = (
            DateWindow(date(day.year, 1, 1), date(day.year + 1, 1, 1))
            if not series.has_steps
            else DateWindow(day, day + timedelta(days=_CURVE_DAYS))
        )
        yield window
        ranges = {doctype: (key_range(window, doctype)[1], ALL_KEYS[1]) for doctype in ranges}


def _day_of(document: Document) -> date:
    """Return the local day on which the document's period begins."""
    key = key_of(document)
    if "T" in key:
        return civil_day(key)
    year, month, day = (*map(int, key.split("-")), 1, 1)[:3]
    return date(year, month, day)


def _documents_to_write(source: list[Document], stored: list[Document]) -> Iterator[Document]:
    """Yield the documents to write: documents that are not stored, or are stored in an older state."""
    stored_by_id = {document["_id"]: document for document in stored}
    for document in source:
        known = stored_by_id.get(document["_id"])
        if _needs_copy(known, document):
            yield {**_without_revision(document), **({"_rev": known["_rev"]} if known else {})}


def _needs_copy(stored: Document | None, document: Document) -> bool:
    """Return whether ``stored`` is missing, or differs from the document without being newer."""
    if stored is None:
        return True
    is_younger = stored.get("updated_at", "") > document.get("updated_at", "")
    return not is_younger and _without_revision(stored) != _without_revision(document)


def _without_revision(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "_rev"}


def _energy(document: Document) -> int:
    return to_amount(document["load"])
