"""The packed layout: a day of load curve, or a year of daily values, is one document of the store below.

To whoever reads and writes, all is as in the plain layout: the seed's documents, a revision each, races told one by
one.  Below, a write reads the packs it changes and replaces each as a whole; who lost the race for a pack reads it
again and decides anew, value by value.  A pack is not read before a write that only brings new values: most often it
isn't there yet, and where it is, the store says so.
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
    unpack_shelf,
)
from worker.domain.measures.readings import Period, Series
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.base import ByPeriod, Document, KeyRange, LazyDocuments, MeasureStore, Wanted
from worker.stores.measures.pack_revisions import ValueWrite, decide, revision_of, without

MOST_RACES: Final = 20  # for one pack, before the store counts as unwell
_FEWEST_A_PACK: Final = {Series.LOAD_CURVE: 23, Series.DAILY: 12}  # values of a whole one, for reads with a limit
_ALL: Final = ("", "~")

PackId = tuple[str, str]  # account, pack key
Changes = dict[Period, list[ValueWrite]]


class PackStore(MeasureStore, Protocol):
    """Keeps packs.  A document with ``_deleted`` is removed by its writing."""

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        """Those of these documents that are there, of any accounts and in any order.  None named twice."""
        ...


class PackedSeries:
    """The documents of one series, readings and totals, in the packs of ``store``."""

    def __init__(self, store: PackStore, series: Series) -> None:
        self.store = store
        self.series = series

    def read(
        self, account_id: str, ranges: Mapping[Period, KeyRange], limit: int | None = None
    ) -> dict[Period, list[Document]]:
        """The documents of each range, as they were at one moment within a pack; one request without ``limit``."""
        found: dict[Period, list[Document]] = {period: [] for period in ranges}
        first, end = _bounds(ranges)
        if first >= end:
            return found
        most = None if limit is None else limit // _FEWEST_A_PACK[self.series] + 2
        while True:
            packs = self.store.read(account_id, first, end, most)
            for period, documents in self._unpacked(account_id, packs, ranges).items():
                found[period] += documents
            if most is None or len(packs) < most or all(len(rows) >= (limit or 0) for rows in found.values()):
                return {period: rows[:limit] for period, rows in found.items()}
            first = f"{key_of(packs[-1])} "  # the first text after it

    def read_at_once(self, wanted: Sequence[Wanted]) -> list[LazyDocuments]:
        """As ``read`` of each; one request for 500 packs, where the ranges tell which these are."""
        named = [packs_between(*_bounds(ranges), self.series) for _, ranges in wanted]
        asked = zip(wanted, named, strict=True)
        stored = self._stored((account_id, key) for (account_id, _), keys in asked for key in keys or ())
        found: list[LazyDocuments] = []
        for (account_id, ranges), keys in zip(wanted, named, strict=True):
            if keys is None:
                found.append(partial(self.read, account_id, ranges))
            else:
                packs = [stored[account_id, key] for key in keys if (account_id, key) in stored]
                found.append(partial(self._unpacked, account_id, packs, ranges))
        return found

    def write(self, documents: Mapping[Period, Sequence[Document]]) -> dict[Period, list[Document]]:
        """Write all in one request for 500 packs; give back, by doctype, those not written."""
        left = _by_pack(documents)
        stored = self._stored(pack for pack, changes in left.items() if _replaces(changes))
        lost: dict[Period, set[str]] = {period: set() for period in documents}
        for _ in range(MOST_RACES):
            beaten = self._write_once(left, stored, lost)
            if not beaten:
                return {
                    period: [document for document in given if document["_id"] in lost[period]]
                    for period, given in documents.items()
                }
            left = {pack: left[pack] for pack in beaten}
            stored = self._stored(beaten)
        raise StoreUnavailable(f"{self.store}: other writers keep changing the same documents, try again")

    def erase(self, account_id: str, period: Period) -> int:
        """Forget one doctype of the account; how many documents that was."""
        erased = 0
        for _ in range(MOST_RACES):
            changed: dict[str, Document] = {}
            sizes: dict[str, int] = {}
            for pack in self.store.read(account_id, *_ALL):
                if period.value in pack:
                    with _in_plain_words():
                        left, size = without(pack, key_of(pack), period, self.series)
                    gone = {"_id": pack["_id"], "_rev": pack["_rev"], "_deleted": True}
                    changed[pack["_id"]], sizes[pack["_id"]] = left or gone, size
            beaten = {document["_id"] for document in self.store.write(list(changed.values()))}
            erased += sum(size for name, size in sizes.items() if name not in beaten)
            if not beaten:
                return erased
        raise StoreUnavailable(f"{self.store}: documents keep changing while they are erased, try again")

    def _write_once(
        self, left: Mapping[PackId, Changes], stored: Mapping[PackId, Document], lost: Mapping[Period, set[str]]
    ) -> list[PackId]:
        """Packs that somebody else wrote first; what lost within the others is added to ``lost``."""
        with _in_plain_words():
            outcomes = {
                pack: decide(stored.get(pack), pack[1], changes, secrets.token_hex(4)) for pack, changes in left.items()
            }
        written = {
            pack: {**outcome.fields, "_id": ":".join(pack)}
            for pack, outcome in outcomes.items()
            if outcome.fields is not None
        }
        beaten = {document["_id"] for document in self.store.write(list(written.values()))} if written else set()
        for pack, outcome in outcomes.items():
            if ":".join(pack) not in beaten:
                for period, keys in outcome.lost.items():
                    lost[period] |= {f"{pack[0]}:{key}" for key in keys}
        return [pack for pack in written if ":".join(pack) in beaten]

    def _stored(self, packs: Iterable[PackId]) -> dict[PackId, Document]:
        """Those of these packs that are there, as they are now."""
        ids = dict.fromkeys(":".join(pack) for pack in packs)
        found = self.store.look_up(list(ids)) if ids else []
        return {(account_of(document), key_of(document)): document for document in found}

    def _unpacked(self, account_id: str, packs: Iterable[Document], ranges: Mapping[Period, KeyRange]) -> ByPeriod:
        """What packs in key order hold of each range."""
        found: ByPeriod = {period: [] for period in ranges}
        for pack in packs:
            for period, keys in ranges.items():
                found[period] += self._documents(account_id, pack, period, keys)
        return found

    def _documents(self, account_id: str, pack: Document, period: Period, keys: KeyRange) -> Iterator[Document]:
        with _in_plain_words():
            shelf = unpack_shelf(pack, key_of(pack), period)
        for key, value in shelf.items():
            if keys[0] <= key < keys[1]:
                document = from_value(account_id, key, period, value)
                document["_rev"] = revision_of(value, pack)
                yield document


class PackedStore:
    """One doctype of a packed series, as any other ConsumptionStore."""

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
        """The database or table that this doctype shares with the others of its series."""
        return self._packed.store.create_if_missing()


class PackedMeasures(Mapping[Period, MeasureStore]):
    """The five doctypes over two stores of packs; those of one series are read and written together."""

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

    def read_at_once(self, wanted: Sequence[Wanted]) -> list[LazyDocuments]:
        """As ``read_together`` of each; the two series have a store each."""
        found: dict[int, LazyDocuments] = {}
        for series, packed in self._packed.items():
            places = [place for place, (_, ranges) in enumerate(wanted) if _series_of(ranges) is series]
            found |= zip(places, packed.read_at_once([wanted[place] for place in places]), strict=True)
        return [found[place] for place in range(len(wanted))]

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> dict[Period, list[Document]]:
        return self._packed[_series_of(documents)].write(documents)


def _bounds(ranges: Mapping[Period, KeyRange]) -> KeyRange:
    """First and end key of the packs that hold these ranges; no pack lies between where they are empty."""
    bounds = [pack_range(*keys, period) for period, keys in ranges.items() if keys[0] < keys[1]]
    return min((first for first, _ in bounds), default=""), max((end for _, end in bounds), default="")


def _series_of(periods: Iterable[Period]) -> Series:
    [series] = {SERIES[period] for period in periods}
    return series


def _by_pack(documents: Mapping[Period, Sequence[Document]]) -> dict[PackId, Changes]:
    """What is to be written, by pack, each with its readings first.  Raises WriteRefused."""
    packs: dict[PackId, Changes] = {}
    for period, given in sorted(documents.items(), key=lambda item: PERIODS[SERIES[item[0]]].index(item[0])):
        for document in given:
            try:
                change = ValueWrite(key_of(document), document.get("_rev"), to_value(document, period))
                pack = account_of(document), place_of(change.key, period)[0]
            except (KeyError, TypeError, ValueError, OverflowError):
                raise WriteRefused(
                    f"a document of {period.value} is none of Relève's own and can't be packed: "
                    "keep it with RELEVE_LAYOUT=plain"
                ) from None
            packs.setdefault(pack, {}).setdefault(period, []).append(change)
    return packs


def _replaces(changes: Changes) -> bool:
    return any(change.revision is not None for of_period in changes.values() for change in of_period)


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """What the codec can't read is the store's trouble and no account's."""
    try:
        yield
    except UnknownPack as error:
        raise StoreUnavailable(str(error)) from None
