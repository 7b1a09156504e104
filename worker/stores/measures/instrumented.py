"""Any measure store, timed and its failures counted, and guarded against the wrong layout; what it does stays."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from worker.domain.measures.readings import Period
from worker.errors import StoreUnavailable, WriteRefused
from worker.metrics import STORE_ERRORS, STORE_SECONDS
from worker.stores.measures.base import ByPeriod, Document, KeyRange, LayoutGuard, LazyDocuments, MeasureStore, Wanted
from worker.stores.measures.packed import PackedMeasures
from worker.stores.measures.sql_measures import SqlMeasures


class InstrumentedStore:
    """The documents of one doctype, in ``store``."""

    def __init__(self, store: MeasureStore, guard: LayoutGuard | None = None) -> None:
        self._store = store
        self._guard = guard

    def __repr__(self) -> str:
        return repr(self._store)

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        with _counted("read", self._guard):
            found = self._store.read(account_id, first_key, end_key, limit)
        _look_again(self._guard, found)
        return found

    def write(self, documents: Sequence[Document]) -> list[Document]:
        with _counted("write", self._guard):
            return self._store.write(documents)

    def erase(self, account_id: str) -> int:
        with _counted("erase", self._guard):
            return self._store.erase(account_id)

    def create_if_missing(self) -> bool:
        with _counted("create"):
            return self._store.create_if_missing()


class InstrumentedPacks(Mapping[Period, MeasureStore]):
    """The five doctypes of ``measures``, one by one and together."""

    def __init__(self, measures: PackedMeasures | SqlMeasures, guard: LayoutGuard | None = None) -> None:
        self._measures, self._guard = measures, guard
        self._stores = {period: InstrumentedStore(store, guard) for period, store in measures.items()}

    def __getitem__(self, period: Period) -> MeasureStore:
        return self._stores[period]

    def __iter__(self) -> Iterator[Period]:
        return iter(self._stores)

    def __len__(self) -> int:
        return len(self._stores)

    def read_together(self, account_id: str, ranges: Mapping[Period, KeyRange]) -> dict[Period, list[Document]]:
        with _counted("read", self._guard):
            found = self._measures.read_together(account_id, ranges)
        return self._looked_at(lambda: found)

    def read_at_once(self, wanted: Sequence[Wanted]) -> list[LazyDocuments]:
        with _counted("read", self._guard):
            found = self._measures.read_at_once(wanted)
        return [partial(self._looked_at, of_one) for of_one in found]

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> dict[Period, list[Document]]:
        with _counted("write", self._guard):
            return self._measures.write_together(documents)

    def _looked_at(self, found: LazyDocuments) -> ByPeriod:
        documents = found()
        _look_again(self._guard, [each for of_period in documents.values() for each in of_period[:1]])
        return documents


def _look_again(guard: LayoutGuard | None, found: Sequence[Document]) -> None:
    if guard is not None and not found:
        guard.found_nothing()


@contextmanager
def _counted(operation: str, guard: LayoutGuard | None = None) -> Iterator[None]:
    if guard is not None:
        guard.before()
    began = time.perf_counter()
    try:
        yield
    except (StoreUnavailable, WriteRefused):
        STORE_ERRORS.labels("measures").inc()
        raise
    finally:
        STORE_SECONDS.labels(operation).observe(time.perf_counter() - began)
