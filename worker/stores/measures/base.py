"""Where documents are kept: one small protocol, several stores, one contract suite.

A store serves one doctype.  ``_id`` is ``<account id>:<period key>``, so the same reading written
twice is a conflict that can be read, never two documents; ``_rev`` is the store's own text.
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
KeyRange = tuple[str, str]  # first key, and the first key after it
Wanted = tuple[str, Mapping[Period, KeyRange]]  # an account, and what is asked of the doctypes of one series
ByPeriod = dict[Period, list[Document]]
LazyDocuments = Callable[[], ByPeriod]  # called once, it gives the documents


class MeasureStore(Protocol):
    """The documents of one doctype.  All methods raise StoreUnavailable, ``write`` also WriteRefused."""

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """The account's documents with ``first_key <= key < end_key`` in key order, with ``_id`` and ``_rev``.

        With ``limit`` (1 or more) only the first so many, and no more than these are read.
        A doctype nobody has written to yet has no documents: no error.
        """
        ...

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write; give back those that lost a race, to be decided anew.

        Without ``_rev`` a document is created, with it that very revision is replaced.  At most 500 go into
        one request (W1); every row's answer is checked (W2).  None twice with the same ``_id``.
        """
        ...

    def erase(self, account_id: str) -> int:
        """Forget all documents of the account; how many there were.  Safe to repeat."""
        ...

    def create_if_missing(self) -> bool:
        """Make the doctype's database or table ahead of the first writing; whether it was not there yet.

        For whoever sets a system up.  Without it the first writing does so.  Safe to repeat.
        """
        ...


Measures = Mapping[Period, MeasureStore]


@runtime_checkable
class Together(Protocol):
    """What Measures can do as well where a series' readings and totals are kept in the same documents."""

    def read_together(self, account_id: str, ranges: Mapping[Period, KeyRange]) -> ByPeriod:
        """As ``read`` of each doctype of one series, with a total and all it is made of from the same moment."""
        ...

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> ByPeriod:
        """As ``write`` of each doctype of one series, of any accounts; gives back those not written, by doctype.

        A total and what it is made of are written both or neither: where a reading lost its race, the totals of
        the same day or year count as lost with it.
        """
        ...


@runtime_checkable
class AtOnce(Together, Protocol):
    """What Measures can do as well where one question may be asked for many accounts."""

    def read_at_once(self, wanted: Sequence[Wanted]) -> list[LazyDocuments]:
        """As ``read_together`` of each, in their order, in as few requests as the store can do with (W1).

        All are asked for now; documents are made of the answer when each is called, for those of many accounts
        would weigh on the memory.  It may raise StoreUnavailable then, for itself alone.
        """
        ...


# The two layouts that measures can be kept in, and the guard that lets nobody take one for the other.

LOOK_AGAIN_S: Final = 60.0


class Layout(StrEnum):
    PLAIN = "plain"  # the seed's: a document a value
    PACKED = "packed"  # a document a local day of load curve, and a year of daily values

    @property
    def other(self) -> Layout:
        return Layout.PACKED if self is Layout.PLAIN else Layout.PLAIN


def doctypes_of(layout: Layout) -> list[str]:
    """What its documents are kept as."""
    return [packed_doctype(series) for series in Series] if layout is Layout.PACKED else list(map(doctype, Period))


def readings_of(layout: Layout) -> list[str]:
    """Those of them that hold readings: where these are empty, so is the layout."""
    return doctypes_of(layout) if layout is Layout.PACKED else [doctype(series.inputs) for series in Series]


class LayoutGuard:
    """``other_holds_any`` asks the store; all methods raise StoreUnavailable, in one line that says what to do."""

    def __init__(
        self, layout: Layout, other_holds_any: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._layout, self._other_holds_any, self._clock = layout, other_holds_any, clock
        self._looked_at: float | None = None

    def before(self) -> None:
        """To be called before each touch; asks once."""
        if self._looked_at is None:
            self._look()

    def found_nothing(self) -> None:
        """The measures may have been migrated under our feet; asks once a minute."""
        if self._looked_at is None or self._clock() - self._looked_at >= LOOK_AGAIN_S:
            self._look()

    def _look(self) -> None:
        now = self._clock()
        if self._other_holds_any():
            raise StoreUnavailable(wrong_layout(self._layout))
        self._looked_at = now


def wrong_layout(layout: Layout) -> str:
    """What to do where the other layout holds measures."""
    return (
        f"the store holds measures in the {layout.other.value} layout, and RELEVE_LAYOUT is {layout.value}: run "
        f"`releve migrate-layout --to {layout.value}`, or set RELEVE_LAYOUT={layout.other.value}"
    )
