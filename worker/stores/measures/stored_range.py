"""A range of an account's documents, read page by page; each total comes with the number of its readings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from worker.domain.documents import Document, key_of, key_range, to_reading
from worker.domain.exports import csv_varies, find_tariff_periods
from worker.domain.series import Doctype
from worker.domain.totals import with_counts
from worker.domain.windows import DateWindow
from worker.stores.measures.measure_store import MeasureStore

MOST_DOCUMENTS: Final = 5000  # The most documents of one page, which is held in memory.


@dataclass
class StoredRange:
    """An account's documents with ``first <= key < end``. ``after``: the last key read; None before the first read."""

    measures: MeasureStore
    account_id: str
    doctype: Doctype
    first: str
    end: str
    after: str | None = None

    def read(self, limit: int | None = None) -> tuple[list[Document], bool]:
        """Return the next page of documents, and whether more pages follow.

        Totals come with the number of their readings.
        """
        limit = limit or MOST_DOCUMENTS
        start = max(self.first, self.after or "")
        # Two more documents than requested are read: one may be ``after`` itself, and one shows whether more follow.
        documents = self.measures.read(self.account_id, {self.doctype: (start, self.end)}, limit + 2)[self.doctype]
        unread = [document for document in documents if self.after is None or key_of(document) > self.after]
        page, more = unread[:limit], len(unread) > limit
        if page:
            self.after = key_of(page[-1])
            # The keys of a total's readings lie between its own key and that of the next total.
            end = key_of(unread[limit]) if more else self.end
            inputs = replace(self, doctype=self.doctype.series.inputs, first=key_of(page[0]), end=end, after=None)
            page = with_counts(page, inputs.iterate(), self.doctype)
        return page, more

    def iterate(self) -> Iterator[Document]:
        """Yield the documents that were not read yet, with one page in memory at a time."""
        more = True
        while more:
            documents, more = self.read()
            yield from documents

    def read_first_day(self) -> date | None:
        """Return the day of the first document in the whole range; None if there is no document."""
        documents, _ = replace(self, after=None).read(1)
        return to_reading(documents[0], self.doctype).start.date() if documents else None

    def read_tariff_periods(self) -> set[str]:
        """Return the tariff periods in the whole range; with them, every page of a CSV gets the same columns."""
        if not csv_varies(self.doctype):
            return set()
        return find_tariff_periods(replace(self, after=None).iterate(), self.doctype)


def find_stored_range(
    measures: MeasureStore, account_id: str, doctype: Doctype, days: DateWindow, after: str | None = None
) -> StoredRange:
    """Return the range of documents for these days.

    The periods in which the first and the last day lie are included as a whole.
    """
    return StoredRange(measures, account_id, doctype, *key_range(days, doctype), after)
