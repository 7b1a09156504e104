"""The packed layout: a local day of load curve, or a year of daily values, is one document (a pack).

Callers see the documents of the plain layout, each with its own revision and its own conflicts.  A write reads the
packs that it changes and replaces each one as a whole; where another writer replaced a pack first, it reads the pack
again and decides again, value by value.  Before a write of only new values no pack is read: usually there is none yet,
and where there is, the store reports a conflict.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from worker.domain.measures.documents import account_of, key_of
from worker.domain.measures.packing import (
    PERIODS,
    SERIES,
    UnknownPack,
    from_value,
    pack_range,
    packs_between,
    place_of,
    to_value,
    unpack_values,
)
from worker.domain.measures.readings import Period, Series
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.base import ByPeriod, Document, KeyRange, LazyDocuments, MeasureStore, ReadRequest
from worker.stores.measures.pack_revisions import ValueWrite, decide_writes, remove_doctype, revision_of

MOST_RACES: Final = 20  # Races for one pack, before the store counts as unavailable.
_FEWEST_A_PACK: Final = {Series.LOAD_CURVE: 23, Series.DAILY: 12}  # Values of a complete pack, for reads with a limit.
_ALL: Final = ("", "~")

PackId = tuple[str, str]  # The account id and the pack's key, such as ("k9x4w", "2024-07-25").
Changes = dict[Period, list[ValueWrite]]


class PackStore(MeasureStore, Protocol):
    """A store of packs; writing a document with ``_deleted`` deletes it."""

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with these ids that exist, of any accounts, in any order; the ids are different."""
        ...


class PackedSeries:
    """The documents of one series, readings and totals, in the packs of ``store``."""

    def __init__(self, store: PackStore, series: Series) -> None:
        self.store = store
        self.series = series

    def read(
        self, account_id: str, ranges: Mapping[Period, KeyRange], limit: int | None = None
    ) -> dict[Period, list[Document]]:
        """Return the documents of each range; those of one pack are from the same moment.

        One request without ``limit``.
        """
        documents: dict[Period, list[Document]] = {period: [] for period in ranges}
        first, end = _bounds(ranges)
        if first >= end:
            return documents
        most = None if limit is None else limit // _FEWEST_A_PACK[self.series] + 2
        while True:
            packs = self.store.read(account_id, first, end, most)
            for period, rows in self._unpack(account_id, packs, ranges).items():
                documents[period] += rows
            if most is None or len(packs) < most or all(len(rows) >= (limit or 0) for rows in documents.values()):
                return {period: rows[:limit] for period, rows in documents.items()}
            first = f"{key_of(packs[-1])} "  # The first text after this key.

    def read_at_once(self, requests: Sequence[ReadRequest]) -> list[LazyDocuments]:
        """Do ``read`` for each request, in one request to the store for 500 packs.

        Ranges whose packs can't be named beforehand are read when their result is called.
        """
        pack_keys = [packs_between(*_bounds(ranges), self.series) for _, ranges in requests]
        stored = self._read_packs(
            (account_id, key) for (account_id, _), keys in zip(requests, pack_keys, strict=True) for key in keys or ()
        )
        results: list[LazyDocuments] = []
        for (account_id, ranges), keys in zip(requests, pack_keys, strict=True):
            if keys is None:
                results.append(partial(self.read, account_id, ranges))
            else:
                packs = [stored[account_id, key] for key in keys if (account_id, key) in stored]
                results.append(partial(self._unpack, account_id, packs, ranges))
        return results

    def write(self, documents: Mapping[Period, Sequence[Document]]) -> dict[Period, list[Document]]:
        """Write all in one request for 500 packs and return the documents not written, by doctype."""
        pending = _group_by_pack(documents)
        stored = self._read_packs(pack for pack, changes in pending.items() if _replaces(changes))
        lost: dict[Period, set[str]] = {period: set() for period in documents}
        for _ in range(MOST_RACES):
            in_conflict = self._write_once(pending, stored, lost)
            if not in_conflict:
                return {
                    period: [document for document in rows if document["_id"] in lost[period]]
                    for period, rows in documents.items()
                }
            pending = {pack: pending[pack] for pack in in_conflict}
            stored = self._read_packs(in_conflict)
        raise StoreUnavailable(f"{self.store}: other writers keep changing the same documents, try again")

    def erase(self, account_id: str, period: Period) -> int:
        """Delete one doctype of the account and return the number of its documents."""
        erased = 0
        for _ in range(MOST_RACES):
            changed: dict[str, Document] = {}
            sizes: dict[str, int] = {}
            for pack in self.store.read(account_id, *_ALL):
                if period.value in pack:
                    with _codec_errors():
                        rest, size = remove_doctype(pack, key_of(pack), period, self.series)
                    deletion = {"_id": pack["_id"], "_rev": pack["_rev"], "_deleted": True}
                    changed[pack["_id"]], sizes[pack["_id"]] = rest or deletion, size
            conflicts = {document["_id"] for document in self.store.write(list(changed.values()))}
            erased += sum(size for name, size in sizes.items() if name not in conflicts)
            if not conflicts:
                return erased
        raise StoreUnavailable(f"{self.store}: documents keep changing while they are erased, try again")

    def _write_once(
        self, pending: Mapping[PackId, Changes], stored: Mapping[PackId, Document], lost: Mapping[Period, set[str]]
    ) -> list[PackId]:
        """Write the packs once and return those that another writer replaced first.

        Ids of documents that lost their race in the other packs are added to ``lost``.
        """
        with _codec_errors():
            decisions = {
                pack: decide_writes(stored.get(pack), pack[1], changes, secrets.token_hex(4))
                for pack, changes in pending.items()
            }
        documents = {
            pack: {**decision.fields, "_id": ":".join(pack)}
            for pack, decision in decisions.items()
            if decision.fields is not None
        }
        conflicts = {document["_id"] for document in self.store.write(list(documents.values()))} if documents else set()
        for pack, decision in decisions.items():
            if ":".join(pack) not in conflicts:
                for period, keys in decision.conflicting.items():
                    lost[period] |= {f"{pack[0]}:{key}" for key in keys}
        return [pack for pack in documents if ":".join(pack) in conflicts]

    def _read_packs(self, packs: Iterable[PackId]) -> dict[PackId, Document]:
        """Return those of the packs that exist, as they are now."""
        ids = dict.fromkeys(":".join(pack) for pack in packs)
        documents = self.store.look_up(list(ids)) if ids else []
        return {(account_of(document), key_of(document)): document for document in documents}

    def _unpack(self, account_id: str, packs: Iterable[Document], ranges: Mapping[Period, KeyRange]) -> ByPeriod:
        """Return the documents of each range in the packs, which are in key order."""
        documents: ByPeriod = {period: [] for period in ranges}
        for pack in packs:
            for period, keys in ranges.items():
                documents[period] += self._documents(account_id, pack, period, keys)
        return documents

    def _documents(self, account_id: str, pack: Document, period: Period, keys: KeyRange) -> Iterator[Document]:
        with _codec_errors():
            values = unpack_values(pack, key_of(pack), period)
        for key, value in values.items():
            if keys[0] <= key < keys[1]:
                document = from_value(account_id, key, period, value)
                document["_rev"] = revision_of(value, pack)
                yield document


class PackedStore:
    """The documents of one doctype of a packed series; a MeasureStore."""

    def __init__(self, packed: PackedSeries, period: Period) -> None:
        self._packed, self._period = packed, period

    def __repr__(self) -> str:
        return f"PackedStore({self._period.value} in {self._packed.store})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        return self._packed.read(account_id, {self._period: (first_key, end_key)}, limit)[self._period]

    def write(self, documents: Sequence[Document]) -> list[Document]:
        return self._packed.write({self._period: documents})[self._period]

    def erase(self, account_id: str) -> int:
        return self._packed.erase(account_id, self._period)

    def create_if_missing(self) -> bool:
        """Create the database or table that this doctype shares with the others of its series."""
        return self._packed.store.create_if_missing()


class PackedMeasures(Mapping[Period, MeasureStore]):
    """The five doctypes in two stores of packs; those of one series are read and written together."""

    def __init__(self, stores: Mapping[Series, PackStore]) -> None:
        self._packed = {series: PackedSeries(store, series) for series, store in stores.items()}
        self._views = {period: PackedStore(self._packed[SERIES[period]], period) for period in Period}

    def __getitem__(self, period: Period) -> MeasureStore:
        return self._views[period]

    def __iter__(self) -> Iterator[Period]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def read_together(self, account_id: str, ranges: Mapping[Period, KeyRange]) -> dict[Period, list[Document]]:
        return self._packed[_series_of(ranges)].read(account_id, ranges)

    def read_at_once(self, requests: Sequence[ReadRequest]) -> list[LazyDocuments]:
        """Do ``read_together`` for each request, in their order; each series has a store of its own."""
        results: dict[int, LazyDocuments] = {}
        for series, packed in self._packed.items():
            places = [place for place, (_, ranges) in enumerate(requests) if _series_of(ranges) is series]
            results |= zip(places, packed.read_at_once([requests[place] for place in places]), strict=True)
        return [results[place] for place in range(len(requests))]

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> dict[Period, list[Document]]:
        return self._packed[_series_of(documents)].write(documents)


def _bounds(ranges: Mapping[Period, KeyRange]) -> KeyRange:
    """Return the first and end key of the packs with these ranges; the same key twice where all are empty."""
    bounds = [pack_range(*keys, period) for period, keys in ranges.items() if keys[0] < keys[1]]
    return min((first for first, _ in bounds), default=""), max((end for _, end in bounds), default="")


def _series_of(periods: Iterable[Period]) -> Series:
    [series] = {SERIES[period] for period in periods}
    return series


def _group_by_pack(documents: Mapping[Period, Sequence[Document]]) -> dict[PackId, Changes]:
    """Return the values to write by pack, readings before totals.

    Raises WriteRefused for a document that can't be packed.
    """
    packs: dict[PackId, Changes] = {}
    for period, rows in sorted(documents.items(), key=lambda item: PERIODS[SERIES[item[0]]].index(item[0])):
        for document in rows:
            try:
                write = ValueWrite(key_of(document), document.get("_rev"), to_value(document, period))
                pack = account_of(document), place_of(write.key, period)[0]
            except (KeyError, TypeError, ValueError, OverflowError):
                raise WriteRefused(
                    f"a document of {period.value} is none of Relève's own and can't be packed: "
                    "keep it with RELEVE_LAYOUT=plain"
                ) from None
            packs.setdefault(pack, {}).setdefault(period, []).append(write)
    return packs


def _replaces(changes: Changes) -> bool:
    """Return whether any of the writes replaces a stored value."""
    return any(write.revision is not None for writes in changes.values() for write in writes)


@contextmanager
def _codec_errors() -> Iterator[None]:
    """Turn UnknownPack into StoreUnavailable: the store is at fault, not one account."""
    try:
        yield
    except UnknownPack as error:
        raise StoreUnavailable(str(error)) from None
