"""Databases of measures in memory, which the contract suite checks like the real ones, and locks of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

from worker.domain.packing import PACKED_SERIES, UNPACKED_DOCTYPES
from worker.domain.series import Doctype, Series
from worker.stores.measures.couchdb import CouchStore
from worker.stores.measures.measure_store import Document, MeasureStore
from worker.stores.measures.packed import PackedStore

MOST_DOCUMENTS_A_REQUEST = 500


class MemoryStore:
    """A CouchDatabase in memory, safe with threads.

    ``requests`` counts like a CouchDB server. ``before_read`` and ``before_write`` are called before a read or write,
    outside the lock, so they may write to the store themselves (a race) or raise.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.requests = 0
        self.exists = False
        self.before_read: Callable[[str, str, str], None] | None = None
        self.before_write: Callable[[Sequence[Document]], None] | None = None
        self._revisions = 0
        self._lock = Lock()

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        if self.before_read is not None:
            self.before_read(account_id, first_key, end_key)
        with self._lock:
            self.requests += 1
            first, end = f"{account_id}:{first_key}", f"{account_id}:{end_key}"
            keys = sorted(key for key in self.documents if first <= key < end)[:limit]
            return [dict(self.documents[key]) for key in keys]

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        if self.before_read is not None:
            self.before_read(*ids[0].split(":"), "")
        with self._lock:
            self.requests += -(-len(ids) // MOST_DOCUMENTS_A_REQUEST)
            return [dict(self.documents[name]) for name in ids if name in self.documents]

    def write(self, documents: Sequence[Document]) -> list[Document]:
        if self.before_write is not None:
            self.before_write(documents)
        self.exists = True
        with self._lock:
            self.requests += -(-len(documents) // MOST_DOCUMENTS_A_REQUEST)
            return [document for document in documents if not self._put(document)]

    def erase(self, account_id: str) -> int:
        with self._lock:
            self.requests += 1
            keys = [key for key in self.documents if key.startswith(f"{account_id}:")]
            for key in keys:
                del self.documents[key]
            return len(keys)

    def create_if_missing(self) -> bool:
        existed, self.exists = self.exists, True
        return not existed

    def is_empty(self) -> bool:
        return not self.documents

    def _put(self, document: Document) -> bool:
        stored = self.documents.get(document["_id"], {})
        if stored.get("_rev") != document.get("_rev"):
            return False
        if document.get("_deleted"):
            del self.documents[document["_id"]]
            return True
        self._revisions += 1  # Counted over all documents, so that an erased and rewritten document has a new one.
        self.documents[document["_id"]] = {**document, "_rev": str(self._revisions)}
        return True


def interrupt(stores: Iterable[MemoryStore], number: int, rival: Callable[[], object]) -> Callable[[], int]:
    """Call ``rival`` just before the ``number``-th read or write of the stores; return a function that counts these."""
    count = 0

    def hook(*_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            rival()

    for store in stores:
        store.before_read = store.before_write = hook
    return lambda: count


def crash_at_write(stores: Iterable[MemoryStore], number: int, written_before: int, death: type[BaseException]) -> None:
    """Raise ``death`` at the ``number``-th write of the stores, after its first ``written_before`` documents."""
    count = 0

    def hook(store: MemoryStore, documents: Sequence[Document]) -> None:
        nonlocal count
        count += 1
        if count == number:
            store.before_write = None
            store.write(documents[:written_before])
            raise death

    for store in stores:
        store.before_write = partial(hook, store)


def clear_hooks(stores: Iterable[MemoryStore]) -> None:
    """Remove the hooks before reads and writes."""
    for store in stores:
        store.before_read = store.before_write = None


class DoctypeStores(dict[Doctype, Any], CouchStore):
    """The plain store over databases that a test can access by doctype: MemoryStores, or wrappers of them."""

    def __init__(self, databases: Mapping[Doctype, Any]) -> None:
        dict.__init__(self, databases)
        CouchStore.__init__(self, self)


def memory_measures() -> DoctypeStores:
    """Return the plain store with a MemoryStore for each doctype."""
    return DoctypeStores({period: MemoryStore() for period in Doctype})


def packed_memory_measures() -> PackedStore:
    """Return the packed store with a MemoryStore of packs for each series."""
    return pack_store({series: MemoryStore() for series in PACKED_SERIES})


def pack_store(databases: Mapping[Series, Any]) -> PackedStore:
    """Return the packed store over these databases of packs, with MemoryStores for unpacked documents."""
    return PackedStore(databases, DoctypeStores({doctype: MemoryStore() for doctype in UNPACKED_DOCTYPES}))


class NoLocks:
    """Locks for a process without concurrency; no name of a lock may contain ``secret``."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @contextmanager
    def lock(self, name: str, ttl_s: float, **bounds: float) -> Iterator[None]:
        assert self._secret not in name
        yield


class DoctypeView:
    """One doctype of a measure store."""

    def __init__(self, store: MeasureStore, period: Doctype) -> None:
        self._store, self._period = store, period

    def __repr__(self) -> str:
        return f"{self._period} of {self._store!r}"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        return self._store.read(account_id, {self._period: (first_key, end_key)}, limit)[self._period]

    def write(self, documents: Sequence[Document], removals: Sequence[Document] = ()) -> list[Document]:
        return self._store.write({self._period: documents}, {self._period: removals} if removals else {})[self._period]

    def erase(self, account_id: str) -> int:
        return self._store.erase(account_id)


class ByDoctype(dict[Doctype, DoctypeView]):
    """A measure store that also has a view of each doctype: ``measures[Doctype.DAY].read("home1", "0", "~")``."""

    def __init__(self, store: MeasureStore) -> None:
        super().__init__({period: DoctypeView(store, period) for period in Doctype})
        self.read, self.write, self.erase = store.read, store.write, store.erase
        self.prepare, self.close = store.prepare, store.close
