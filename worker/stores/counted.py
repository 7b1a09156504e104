"""Any measure store, timed and its failures counted; what it does stays as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from worker.errors import StoreUnavailable, WriteRefused
from worker.metrics.work import STORE_ERRORS, STORE_SECONDS
from worker.stores.consumption import ConsumptionStore, Document


class CountedStore:
    """The documents of one doctype, in ``store``."""

    def __init__(self, store: ConsumptionStore) -> None:
        self._store = store

    def __repr__(self) -> str:
        return repr(self._store)

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        with _counted("read"):
            return self._store.read(account_id, first_key, end_key, limit)

    def write(self, documents: Sequence[Document]) -> list[Document]:
        with _counted("write"):
            return self._store.write(documents)

    def erase(self, account_id: str) -> int:
        with _counted("erase"):
            return self._store.erase(account_id)

    def create_if_missing(self) -> bool:
        with _counted("create"):
            return self._store.create_if_missing()


@contextmanager
def _counted(operation: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    except (StoreUnavailable, WriteRefused):
        STORE_ERRORS.labels("measures").inc()
        raise
    finally:
        STORE_SECONDS.labels(operation).observe(time.perf_counter() - began)
