"""A measure store with metrics: each request is timed, failures are counted, and the layout is checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from worker.errors import StoreUnavailable, WriteRefused
from worker.metrics import STORE_ERRORS, STORE_SECONDS
from worker.stores.measures.base import NO_ROWS, ByPeriod, Layout, MeasureStore, Ranges, Rows, wrong_layout

RECHECK_S: Final = 60.0
_FAILURES: Final = (StoreUnavailable, WriteRefused)


class InstrumentedStore:
    """A measure store whose results and errors are those of ``store``.

    With ``layout``, it refuses to work where the other layout holds readings: it looks before its first request, and
    again after an empty read, at most once a minute, because another process may have migrated the measures meanwhile.
    """

    def __init__(
        self, store: MeasureStore, layout: Layout | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._layout, self._clock = store, layout, clock
        # The time from which the layout is checked again; negative before the first check.
        self._recheck_at = float("inf") if layout is None else -1.0
        self._errors = STORE_ERRORS.labels("measures")

    def __repr__(self) -> str:
        return repr(self._store)

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> ByPeriod:
        if self._recheck_at < 0:
            self._check_layout()
        with self._errors.count_exceptions(_FAILURES), STORE_SECONDS.labels("read").time():
            documents = self._store.read(account_id, ranges, limit)
        if not any(documents.values()):
            self._check_layout()
        return documents

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> ByPeriod:
        if self._recheck_at < 0:
            self._check_layout()
        with self._errors.count_exceptions(_FAILURES), STORE_SECONDS.labels("write").time():
            return self._store.write(documents, removals)

    def erase(self, account_id: str) -> int:
        if self._recheck_at < 0:
            self._check_layout()
        with self._errors.count_exceptions(_FAILURES), STORE_SECONDS.labels("erase").time():
            return self._store.erase(account_id)

    def prepare(self) -> dict[str, bool]:
        with self._errors.count_exceptions(_FAILURES), STORE_SECONDS.labels("create").time():
            return self._store.prepare()

    def has_other_layout(self) -> bool:
        return self._store.has_other_layout()

    def close(self) -> None:
        self._store.close()

    def _check_layout(self) -> None:
        """Raise StoreUnavailable, in one line that says what to do, where the other layout holds readings."""
        now = self._clock()
        if self._layout is None or now < self._recheck_at:
            return
        if self._store.has_other_layout():
            raise StoreUnavailable(wrong_layout(self._layout))
        self._recheck_at = now + RECHECK_S
