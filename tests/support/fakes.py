"""Stand-ins that keep what a test wants to see in memory; the contract suite holds them to the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import Lock

from worker.domain.measures.readings import Period, Series
from worker.stores.measures.base import Document
from worker.stores.measures.packed import PackedMeasures

MOST_DOCUMENTS_A_REQUEST = 500


class MemoryStore:
    """A ConsumptionStore in memory, safe with threads.

    ``requests`` counts as a CouchDB server would.  ``before_read`` and ``before_write`` are called before the
    store is looked at or touched, outside its lock, so they may write to it themselves (a race) or raise.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.requests = 0
        self.there = False
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
        self.there = True
        with self._lock:
            self.requests += -(-len(documents) // MOST_DOCUMENTS_A_REQUEST)
            return [document for document in documents if not self._put(document)]

    def erase(self, account_id: str) -> int:
        with self._lock:
            self.requests += 1
            gone = [key for key in self.documents if key.startswith(f"{account_id}:")]
            for key in gone:
                del self.documents[key]
            return len(gone)

    def create_if_missing(self) -> bool:
        there, self.there = self.there, True
        return not there

    def _put(self, document: Document) -> bool:
        stored = self.documents.get(document["_id"], {})
        if stored.get("_rev") != document.get("_rev"):
            return False
        if document.get("_deleted"):
            del self.documents[document["_id"]]
            return True
        self._revisions += 1  # over all documents, so that what was erased and written again has a new one
        self.documents[document["_id"]] = {**document, "_rev": str(self._revisions)}
        return True


def interrupt(stores: Iterable[MemoryStore], number: int, rival: Callable[[], object]) -> Callable[[], int]:
    """Let ``rival`` run just before the stores are touched for the ``number``-th time; how often they were touched."""
    count = 0

    def touched(*_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            rival()

    for store in stores:
        store.before_read = store.before_write = touched
    return lambda: count


def die_at(stores: Iterable[MemoryStore], number: int, written_before: int, death: type[BaseException]) -> None:
    """Die of the ``number``-th writing, after its first documents."""
    count = 0

    def touched(store: MemoryStore, documents: Sequence[Document]) -> None:
        nonlocal count
        count += 1
        if count == number:
            store.before_write = None
            store.write(documents[:written_before])
            raise death

    for store in stores:
        store.before_write = partial(touched, store)


def let_be(stores: Iterable[MemoryStore]) -> None:
    """From now on nothing happens before a touch."""
    for store in stores:
        store.before_read = store.before_write = None


def memory_measures() -> dict[Period, MemoryStore]:
    """A store a doctype."""
    return {period: MemoryStore() for period in Period}


def packed_memory_measures() -> PackedMeasures:
    """The same in the packed layout; its ``stores`` are MemoryStores of packs, by series."""
    return PackedMeasures({series: MemoryStore() for series in Series})
