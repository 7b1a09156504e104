"""Measure stores with metrics: each request is timed, failures are counted, and the layout is checked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from worker.domain.measures.readings import Period
from worker.errors import StoreUnavailable, WriteRefused
from worker.metrics import STORE_ERRORS, STORE_SECONDS
from worker.stores.measures.base import (
    ByPeriod,
    Document,
    KeyRange,
    LayoutGuard,
    LazyDocuments,
    MeasureStore,
    ReadRequest,
)
from worker.stores.measures.packed import PackedMeasures
from worker.stores.measures.sql_measures import SqlMeasures


class InstrumentedStore:
    """A store of one doctype with metrics; its results and errors are those of ``store``."""

    def __init__(self, store: MeasureStore, guard: LayoutGuard | None = None) -> None:
        self._store = store
        self._guard = guard

    def __repr__(self) -> str:
        return repr(self._store)

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        with _measured("read", self._guard):
            documents = self._store.read(account_id, first_key, end_key, limit)
        if not documents:
            _recheck_layout(self._guard)
        return documents

    def write(self, documents: Sequence[Document]) -> list[Document]:
        with _measured("write", self._guard):
            return self._store.write(documents)

    def erase(self, account_id: str) -> int:
        with _measured("erase", self._guard):
            return self._store.erase(account_id)

    def create_if_missing(self) -> bool:
        with _measured("create"):
            return self._store.create_if_missing()


class InstrumentedPacks(Mapping[Period, MeasureStore]):
    """Stores of the five doctypes with metrics, for requests to single doctypes and to several together."""

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
        with _measured("read", self._guard):
            documents = self._measures.read_together(account_id, ranges)
        return self._checked(lambda: documents)

    def read_at_once(self, requests: Sequence[ReadRequest]) -> list[LazyDocuments]:
        with _measured("read", self._guard):
            results = self._measures.read_at_once(requests)
        return [partial(self._checked, result) for result in results]

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> dict[Period, list[Document]]:
        with _measured("write", self._guard):
            return self._measures.write_together(documents)

    def _checked(self, lazy_documents: LazyDocuments) -> ByPeriod:
        documents = lazy_documents()
        if not any(documents.values()):
            _recheck_layout(self._guard)
        return documents


def _recheck_layout(guard: LayoutGuard | None) -> None:
    if guard is not None:
        guard.recheck_after_empty_read()


@contextmanager
def _measured(operation: str, guard: LayoutGuard | None = None) -> Iterator[None]:
    if guard is not None:
        guard.check_before_use()
    started_at = time.perf_counter()
    try:
        yield
    except (StoreUnavailable, WriteRefused):
        STORE_ERRORS.labels("measures").inc()
        raise
    finally:
        STORE_SECONDS.labels(operation).observe(time.perf_counter() - started_at)
