"""Measures moved from one layout into the other: copied, checked, and only then erased where they were.

Account by account, and within one by windows of whole days.  What is done is read from the stores themselves: an
account whose old documents are gone is done, a document that is in the new layout already is not written again.  So
a move that was killed anywhere is run again and goes on, and twice is once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from worker.domain.measures.documents import key_of, key_range, to_milliwatt_hours
from worker.domain.measures.packing import PERIODS
from worker.domain.measures.readings import PARIS, DateWindow, Period, Series
from worker.errors import StoreUnavailable
from worker.stores.measures.at_once import read_one
from worker.stores.measures.base import Document, Measures, Together

_CURVE_DAYS: Final = 31  # in memory, and in a request
_SOMEBODY_WRITES: Final = "somebody else writes to the store: stop workers, beat and web, and run it again"

Documents = dict[Period, list[Document]]
Recount = Callable[[str, Series, DateWindow], int]  # account, series, window: totals made anew


@dataclass
class Moved:
    """Counted in documents: what the old layout held, what of it was written to the new one, and what was erased.

    The rest was there already, as young or younger.  ``recounted``: totals made anew where both layouts had readings.
    """

    accounts: int = 0
    documents: int = 0
    written: int = 0
    erased: int = 0
    recounted: int = 0
    milliwatt_hours: dict[Period, int] = field(default_factory=lambda: dict.fromkeys(Period, 0))

    def as_json(self) -> dict[str, Any]:
        kwh = {period.value: energy / 1_000_000 for period, energy in self.milliwatt_hours.items()}
        counts = {name: getattr(self, name) for name in ("accounts", "documents", "written", "erased", "recounted")}
        return {**counts, "kwh": kwh}


@dataclass(frozen=True)
class Move:
    """From ``old`` to ``new``; ``recount`` makes a window's totals in ``new`` anew of its readings there."""

    old: Measures
    new: Measures
    recount: Recount

    def account(self, account_id: str, moved: Moved) -> None:
        """Raises StoreUnavailable; then nothing of the account was erased that is not in the new layout."""
        documents = 0
        for series in Series:
            for window in _windows(self.old, account_id, series):
                documents += self._window(account_id, series, window, moved)
        if documents:
            erased = self._erase(account_id)
            moved.accounts, moved.erased = moved.accounts + 1, moved.erased + erased
            if erased != documents:
                raise StoreUnavailable(f"{documents} documents were copied and {erased} erased: {_SOMEBODY_WRITES}")

    def _window(self, account_id: str, series: Series, window: DateWindow, moved: Moved) -> int:
        wanted = {period: key_range(window, period) for period in PERIODS[series]}
        source = read_one(self.old, account_id, wanted)
        before = read_one(self.new, account_id, wanted)
        missing = {period: list(_missing(source[period], before[period])) for period in wanted}
        if any(_write(self.new, missing).values()):
            raise StoreUnavailable(_SOMEBODY_WRITES)
        self._check(source, read_one(self.new, account_id, wanted))
        moved.recounted += self.recount(account_id, series, window)
        for period in wanted:
            moved.documents += len(source[period])
            moved.written += len(missing[period])
            moved.milliwatt_hours[period] += sum(map(_energy, source[period]))
        return sum(map(len, source.values()))

    @staticmethod
    def _check(source: Documents, stored: Documents) -> None:
        """Each doctype's count and sum over the keys that were copied, and each document itself, younger ones aside."""
        for period, documents in source.items():
            found = {document["_id"]: document for document in stored[period]}
            younger = {_id(wanted) for wanted in documents if _is_younger(found.get(_id(wanted)), wanted)}
            wanted = [document for document in documents if _id(document) not in younger]
            copies = [found[_id(document)] for document in wanted if _id(document) in found]
            same = len(copies) == len(wanted) and sum(map(_energy, copies)) == sum(map(_energy, wanted))
            if not same or list(map(_content, copies)) != list(map(_content, wanted)):
                raise StoreUnavailable(f"{period.value}: what was copied does not read back alike: {_SOMEBODY_WRITES}")

    def _erase(self, account_id: str) -> int:
        """Readings last: as long as there is one, the account counts as not moved."""
        order = [period for series in Series for period in reversed(PERIODS[series])]
        return sum(self.old[period].erase(account_id) for period in order)


def _windows(measures: Measures, account_id: str, series: Series) -> Iterator[DateWindow]:
    """Windows that hold all documents of a series, totals too, oldest first; nothing is skipped but what is empty."""
    first_keys = dict.fromkeys(PERIODS[series], "0")
    while days := [
        _day_of(found[0])
        for period, first in first_keys.items()
        if (found := measures[period].read(account_id, first, "~", limit=1))
    ]:
        day = min(days)
        window = (
            DateWindow(date(day.year, 1, 1), date(day.year + 1, 1, 1))
            if series is Series.DAILY
            else DateWindow(day, day + timedelta(days=_CURVE_DAYS))
        )
        yield window
        first_keys = {period: key_range(window, period)[1] for period in first_keys}


def _day_of(document: Document) -> date:
    """The local day that a document's period begins on."""
    key = key_of(document)
    if "T" in key:
        return datetime.fromisoformat(key).astimezone(PARIS).date()
    year, month, day = (*map(int, key.split("-")), 1, 1)[:3]
    return date(year, month, day)


def _write(measures: Measures, documents: Documents) -> Documents:
    if isinstance(measures, Together):
        return measures.write_together(documents)
    return {period: measures[period].write(some) for period, some in documents.items()}


def _missing(source: list[Document], stored: list[Document]) -> Iterator[Document]:
    """What is not there, or in an older state, ready to be written."""
    known = {document["_id"]: document for document in stored}
    for document in source:
        found = known.get(document["_id"])
        if found is None:
            yield _content(document)
        elif _content(found) != _content(document) and not _is_younger(found, document):
            yield {**document, "_rev": found["_rev"]}


def _is_younger(found: Document | None, document: Document) -> bool:
    return found is not None and found.get("updated_at", "") > document.get("updated_at", "")


def _content(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "_rev"}


def _id(document: Document) -> str:
    return str(document["_id"])


def _energy(document: Document) -> int:
    return to_milliwatt_hours(document["load"])
