"""A measure store with metrics: each request is timed, failures are counted, and the layout is checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from worker.errors import StoreUnavailable, WriteRefused
from worker.metrics import STORE_ERRORS, STORE_SECONDS
from worker.stores.measures.base import NO_ROWS, DocumentsByDoctype, Layout, MeasureStore, Ranges, Rows, wrong_layout

if TYPE_CHECKING:
    from worker.stores.measures.couchdb import CouchDatabase


RECHECK_S: Final = 60.0


class InstrumentedStore:
    """A measure store whose results and errors are those of ``store``.

    ``others``: where the other layout would have its readings.  With ``layout``, it refuses to work where there are
    some: it looks before its first request, and again after an empty read, at most once a minute, because another
    process may have migrated the measures meanwhile.
    """

    def __init__(
        self,
        store: MeasureStore,
        others: Sequence[CouchDatabase] = (),
        layout: Layout | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._others, self._layout, self._clock = store, others, layout, clock
        # The time from which the layout is checked again; negative before the first check.
        self._recheck_at = float("inf") if layout is None else -1.0

    def __repr__(self) -> str:
        return repr(self._store)

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> DocumentsByDoctype:
        with self._request("read"):
            documents = self._store.read(account_id, ranges, limit)
        if not any(documents.values()):
            self._check_layout()
        return documents

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> DocumentsByDoctype:
        with self._request("write"):
            return self._store.write(documents, removals)

    def erase(self, account_id: str) -> int:
        with self._request("erase"):
            return self._store.erase(account_id)

    def prepare(self) -> dict[str, bool]:
        with self._request("create"):
            return self._store.prepare()

    def close(self) -> None:
        self._store.close()

    def has_other_layout(self) -> bool:
        """Return whether there are readings in the other layout; they are not read, and would be fetched again."""
        return not all(database.is_empty() for database in self._others)

    @contextmanager
    def _request(self, operation: str) -> Iterator[None]:
        """Time a request and count its failure; the first one is preceded by a check of the layout."""
        if self._recheck_at < 0:
            self._check_layout()
        errors = STORE_ERRORS.labels("measures").count_exceptions((StoreUnavailable, WriteRefused))
        with errors, STORE_SECONDS.labels(operation).time():
            yield

    def _check_layout(self) -> None:
        """Raise StoreUnavailable, in one line that says what to do, where the other layout holds readings."""
        now = self._clock()
        if self._layout is None or now < self._recheck_at:
            return
        if self.has_other_layout():
            raise StoreUnavailable(wrong_layout(self._layout))
        self._recheck_at = now + RECHECK_S
