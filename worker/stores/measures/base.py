"""The protocol of the measure stores, and the two layouts of documents in them.

A store holds the documents of one doctype.  ``_id`` is ``<account id>:<period key>``, such as ``k9x4w:2024-07-25``, so
a reading written twice is a conflict, never a second document.  ``_rev`` is the revision, a text of the store's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

from worker.domain.measures.documents import doctype, packed_doctype
from worker.domain.measures.readings import Period, Series
from worker.errors import StoreUnavailable

Document = dict[str, Any]
KeyRange = tuple[str, str]  # The first key, and the first key after the range.
ReadRequest = tuple[str, Mapping[Period, KeyRange]]  # An account, and the ranges in the doctypes of one series.
ByPeriod = dict[Period, list[Document]]
LazyDocuments = Callable[[], ByPeriod]  # To be called once.


class MeasureStore(Protocol):
    """The documents of one doctype.  All methods raise StoreUnavailable, ``write`` also WriteRefused."""

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """Return the account's documents with ``first_key <= key < end_key``, in key order, with ``_id`` and ``_rev``.

        ``limit`` (1 or more) is the most that are read and returned.  A doctype without a database or table yet has no
        documents, which is no error.
        """
        ...

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write documents and return those that lost a race, so that the caller can read and decide again.

        Without ``_rev`` a document is created; with it, exactly that revision is replaced.  The documents have
        different ids.  At most 500 go into one request, and the answer for each document is checked.
        """
        ...

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account and return their number; safe to repeat."""
        ...

    def create_if_missing(self) -> bool:
        """Create the doctype's database or table and return whether it was missing; safe to repeat.

        For the set-up of a system; without it, the first write creates it.
        """
        ...


Measures = Mapping[Period, MeasureStore]


@runtime_checkable
class Together(Protocol):
    """Stores that read and write all doctypes of one series in one transaction."""

    def read_together(self, account_id: str, ranges: Mapping[Period, KeyRange]) -> ByPeriod:
        """Read the doctypes of one series; a total and the readings it is made of are from the same moment."""
        ...

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> ByPeriod:
        """Write doctypes of one series, of any accounts, and return the documents not written, by doctype.

        A total and its readings are written both or neither: where a reading lost its race, the totals of the same day
        or year are lost with it.
        """
        ...


@runtime_checkable
class AtOnce(Together, Protocol):
    """Stores that read many accounts in one request."""

    def read_at_once(self, requests: Sequence[ReadRequest]) -> list[LazyDocuments]:
        """Do ``read_together`` for each request, in their order, in as few requests to the store as possible.

        The store answers now.  Each result builds its documents only when it is called, to save memory; it may then
        raise StoreUnavailable for its own account.
        """
        ...


RECHECK_S: Final = 60.0


class Layout(StrEnum):
    """The two layouts of documents in a measure store."""

    PLAIN = "plain"  # One document for each value, as in the original konnector.
    PACKED = "packed"  # One document for a local day of load curve, and one for a year of daily values.

    @property
    def other(self) -> Layout:
        return Layout.PACKED if self is Layout.PLAIN else Layout.PLAIN


def doctypes_of(layout: Layout) -> list[str]:
    """Return the doctypes of a layout."""
    return [packed_doctype(series) for series in Series] if layout is Layout.PACKED else list(map(doctype, Period))


def readings_of(layout: Layout) -> list[str]:
    """Return the doctypes of a layout that hold readings; where these are empty, the layout is not in use."""
    return doctypes_of(layout) if layout is Layout.PACKED else [doctype(series.inputs) for series in Series]


class LayoutGuard:
    """A check that the store's measures are not in the other layout.

    ``other_in_use`` asks the store.  All methods raise StoreUnavailable, in one line that says what to do.
    """

    def __init__(
        self, layout: Layout, other_in_use: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._layout, self._other_in_use, self._clock = layout, other_in_use, clock
        self._checked_at: float | None = None

    def check_before_use(self) -> None:
        """Check before the first use of the store; later calls do nothing."""
        if self._checked_at is None:
            self._check()

    def recheck_after_empty_read(self) -> None:
        """Check again, at most once a minute: another process may have migrated the measures meanwhile."""
        if self._checked_at is None or self._clock() - self._checked_at >= RECHECK_S:
            self._check()

    def _check(self) -> None:
        now = self._clock()
        if self._other_in_use():
            raise StoreUnavailable(wrong_layout(self._layout))
        self._checked_at = now


def wrong_layout(layout: Layout) -> str:
    """Return the error text that says what to do where the other layout holds measures."""
    return (
        f"the store holds measures in the {layout.other.value} layout, and RELEVE_LAYOUT is {layout.value}: run "
        f"`releve migrate-layout --to {layout.value}`, or set RELEVE_LAYOUT={layout.other.value}"
    )
