"""The two layouts that measures can be kept in, and the guard that lets nobody take one for the other.

Each has databases or tables of its own, so a process that is told the wrong one would find nothing, ask the supplier
for everything again and show a household an empty page.  So before its first touch of the store, and again where it
finds nothing, it looks whether the other layout holds anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from worker.domain.measures.documents import doctype, packed_doctype
from worker.domain.measures.readings import Period, Series
from worker.errors import StoreUnavailable

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
