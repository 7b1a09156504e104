"""A range of stored documents, read page by page: what a caller asks for, and the name of its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from worker.domain.documents import Document, key_of, key_range
from worker.domain.exports import csv_varies, find_tariff_periods
from worker.domain.series import Doctype, Period, Series, find_doctype, periods_of
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.web.errors import HttpRefusal

MOST_DOCUMENTS: Final = 5000  # Of one page; so much of a file is in memory.
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)  # Between these, keys sort by time.


@dataclass
class StoredRange:
    """A range of an account's documents: from the key ``first``, or behind the key ``after``, to ``end``, excluded."""

    measures: MeasureStore
    account_id: str
    doctype: Doctype
    first: str
    end: str
    after: str | None = None

    def read(self, limit: int | None = None) -> tuple[list[Document], bool]:
        """Return the next page of documents, and whether there are more."""
        limit = limit or MOST_DOCUMENTS
        start = max(self.first, self.after or "")
        # Two more than asked for: one may be ``after`` itself, one tells whether there are more.
        ranges = {self.doctype: (start, self.end)}
        documents = self.measures.read(self.account_id, ranges, limit + 2)[self.doctype]
        unread = [document for document in documents if self.after is None or key_of(document) > self.after]
        page = unread[:limit]
        if page:
            self.after = key_of(page[-1])
        return page, len(unread) > limit

    def read_tariff_periods(self) -> set[str]:
        """Return the tariff periods of the whole range, so that each of its pages has the same columns."""
        if not csv_varies(self.doctype):
            return set()
        pages, periods, more = replace(self, after=None), set[str](), True
        while more:
            documents, more = pages.read()
            periods |= find_tariff_periods(documents, self.doctype)
        return periods


def find_stored_range(
    measures: MeasureStore, account_id: str, doctype: Doctype, days: DateWindow, after: str | None = None
) -> StoredRange:
    """Return the documents of these days; the period that the first or the last day lies in counts as a whole."""
    return StoredRange(measures, account_id, doctype, *key_range(days, doctype), after)


def find_asked_doctype(series: Series, by: Period) -> Doctype:
    """Return the documents of a series by this period. Raises HttpRefusal 422 where it has none."""
    if (doctype := find_doctype(series, by)) is None:
        known = ", ".join(periods_of(series))
        raise HttpRefusal(422, "invalid_request", f"series {series} has no documents by {by}: ask by {known}")
    return doctype


def check_days(first: date | None, last: date | None, today: date) -> DateWindow:
    """Return the days from ``first`` to ``last``, included; without one, from the first there is, or to today.

    Raises HttpRefusal 422.
    """
    start, end = first or _FIRST_DAY, last or today
    if not _FIRST_DAY <= start <= end <= _LAST_DAY:
        raise HttpRefusal(
            422,
            "invalid_request",
            f"from {start} to {end}: the first day must not come after the last, "
            f"and both lie between {_FIRST_DAY} and {_LAST_DAY}",
        )
    return DateWindow(start, end + ONE_DAY)


def name_file(account_id: str, series: Series | None, by: Period, days: DateWindow) -> str:
    """Return the name of a file without its ending, such as ``releve-k9xgwnz9gvp2-daily-day-all-2024-07-25``."""
    first = "all" if days.start == _FIRST_DAY else days.start.isoformat()
    named = [series.value] if series else []
    return "-".join(["releve", account_id, *named, by.value, first, (days.end - ONE_DAY).isoformat()])
