"""Measure stores in memory for tests; the contract suite checks that they behave like the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Lock

from worker.domain.measures.readings import Period, Series
from worker.stores.measures.base import Document
from worker.stores.measures.packed import PackedMeasures

MOST_DOCUMENTS_A_REQUEST = 500


class MemoryStore:
    """A MeasureStore in memory, safe with threads.

    ``requests`` counts as a CouchDB server would.  ``before_read`` and ``before_write`` are called before a read or
    write, outside the lock, so they may write to the store themselves (a race) or raise.
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


def clear_hooks(stores: Iterable[MemoryStore]) -> None:
    """Remove the hooks before reads and writes."""
    for store in stores:
        store.before_read = store.before_write = None


def memory_measures() -> dict[Period, MemoryStore]:
    """Return a store for each doctype."""
    return {period: MemoryStore() for period in Period}


def packed_memory_measures() -> PackedMeasures:
    """Return the same in the packed layout, over a MemoryStore of packs for each series."""
    return PackedMeasures({series: MemoryStore() for series in Series})
