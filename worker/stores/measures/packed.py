"""The packed layout: a local day of load curve, or a year of daily values, is one document (a pack).

Callers see the documents of the plain layout, each with its own revision and conflicts. A write reads the packs that it
changes and replaces each as a whole; if another writer has replaced a pack first, it reads the pack again and decides
again, value by value. If all values to write are new, no pack is read first: usually the pack doesn't exist yet, and if
it does, the store reports a conflict.

The revision of a value, such as ``3-9f2c04ab``, consists of the version that the pack got when the value was written,
and a random salt drawn when the pack was created. A writer can replace a pack only if it has read the pack's last
state, so two writes never make the same version. A pack created after an erasure has another salt. A writer names the
revision of the value that it replaces, so changes of other values in the same pack don't conflict with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worker.domain import packing
from worker.domain.documents import account_of, key_of, packed_doctype
from worker.domain.series import Doctype, Series
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.measure_store import NO_ROWS, Document, DocumentsByDoctype, MeasureStore, Ranges, Rows

if TYPE_CHECKING:
    from worker.stores.measures.couchdb import CouchDatabase, CouchStore

MOST_RACES: Final = 20  # After so many lost races for one pack, the store counts as unavailable.
# A complete pack has at least this many values of each doctype: hours of a day, or months of a year. A read with a
# limit divides the limit by this number to find out how many packs to request.
_FEWEST_HOURS, _FEWEST_MONTHS = 23, 12
_ALL_PACKS: Final = ("", "~")
PackId = tuple[str, str]  # The account id and the pack's key, such as ("k9x4w", "2024-07-25").


class ValueWrite(NamedTuple):
    """One value to write or, if ``value`` is None, to remove.

    Without ``revision`` the value is created; otherwise exactly that revision is replaced or removed.
    """

    key: str
    revision: str | None
    value: packing.PackedValue | None


Changes = dict[Doctype, list[ValueWrite]]


@dataclass(frozen=True)
class PackDecision:
    """The result of applying changes to one pack.

    ``fields``: the pack to store, with ``_deleted`` if no value is left; None if nothing changes. ``conflicting``: the
    keys whose stored values another writer changed first.
    """

    fields: dict[str, Any] | None
    conflicting: Mapping[Doctype, frozenset[str]]


class PackedStore(MeasureStore):
    """The measure store in the packed layout, with one database of packs for each series.

    ``unpacked`` stores the doctypes that are never packed.
    """

    def __init__(self, databases: Mapping[Series, CouchDatabase], unpacked: CouchStore) -> None:
        self._databases, self._unpacked = databases, unpacked

    def __repr__(self) -> str:
        return f"PackedStore({', '.join(map(repr, self._databases.values()))})"

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> DocumentsByDoctype:
        """Read all doctypes of a series from the same packs; without a ``limit``, one request per series is enough."""
        documents: DocumentsByDoctype = {doctype: [] for doctype in ranges}
        for series in dict.fromkeys(doctype.series for doctype in ranges):
            if not series.packs:
                keys = {doctype: ranges[doctype] for doctype in series.doctypes if doctype in ranges}
                documents |= self._unpacked.read(account_id, keys, limit)
                continue
            ranges_here = {doctype: keys for doctype, keys in ranges.items() if doctype.series is series}
            for pack in self._read_packs_of(account_id, series, ranges_here, limit, documents):
                for doctype, (first_key, end_key) in ranges_here.items():
                    with _codec_errors():
                        values = packing.unpack_values(pack, key_of(pack), doctype)
                    for key, value in values.items():
                        if first_key <= key < end_key:
                            document = packing.from_value(account_id, key, doctype, value)
                            document["_rev"] = revision_of(value, pack)
                            documents[doctype].append(document)
        return {doctype: rows[:limit] for doctype, rows in documents.items()}

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> DocumentsByDoctype:
        """Write each series with one request per 500 packs; the readings and totals of a pack are written together."""
        lost: dict[Doctype, set[str]] = {doctype: set() for doctype in (*documents, *removals)}
        for series in dict.fromkeys(doctype.series for doctype in lost):
            if series.packs:
                self._write_series(series, documents, removals, lost)
                continue
            rows, gone = ({key: some[key] for key in series.doctypes if key in some} for some in (documents, removals))
            for doctype, losers in self._unpacked.write(rows, gone).items():
                lost[doctype].update(document["_id"] for document in losers)
        return {
            doctype: [row for row in (*documents.get(doctype, ()), *removals.get(doctype, ())) if row["_id"] in ids]
            for doctype, ids in lost.items()
        }

    def erase(self, account_id: str) -> int:
        packed = sum(self._erase_series(account_id, series) for series in self._databases)
        return packed + self._unpacked.erase(account_id)

    def prepare(self) -> dict[str, bool]:
        packs = {packed_doctype(series): database.create_if_missing() for series, database in self._databases.items()}
        return packs | self._unpacked.prepare()

    def _read_packs_of(
        self, account_id: str, series: Series, ranges: Ranges, limit: int | None, documents: DocumentsByDoctype
    ) -> Iterator[Document]:
        """Yield the packs of these ranges. The caller adds the documents of each pack to ``documents``.

        As soon as each doctype in ``documents`` has ``limit`` documents, no more packs are read.
        """
        bounds = [packing.pack_range(*keys, doctype) for doctype, keys in ranges.items() if keys[0] < keys[1]]
        first, end = min((start for start, _ in bounds), default=""), max((stop for _, stop in bounds), default="")
        most = None if limit is None else limit // (_FEWEST_HOURS if series.has_steps else _FEWEST_MONTHS) + 2
        while first < end:
            packs = self._databases[series].read(account_id, first, end, most)
            yield from packs
            if limit is None or len(packs) < (most or 0) or all(len(documents[doctype]) >= limit for doctype in ranges):
                return
            first = f"{key_of(packs[-1])} "  # This text sorts directly after the key of the last pack.

    def _write_series(self, series: Series, documents: Rows, removals: Rows, lost: Mapping[Doctype, set[str]]) -> None:
        """Write the rows of one series; add the ids of rows that lost a race to ``lost``."""
        database = self._databases[series]
        pending = _group_by_pack(series, documents, removals)
        stored = _look_up(database, [pack for pack, changes in pending.items() if _replaces(changes)])
        for _ in range(MOST_RACES):
            in_conflict = _write_once(database, pending, stored, lost)
            if not in_conflict:
                return
            pending = {pack: pending[pack] for pack in in_conflict}
            stored = _look_up(database, in_conflict)
        raise StoreUnavailable(f"{database}: other writers keep changing the same documents, try again")

    def _erase_series(self, account_id: str, series: Series) -> int:
        """Delete packs until none is left, because deleting a replicated pack may reveal an older revision of it."""
        database, erased = self._databases[series], 0
        for _ in range(MOST_RACES):
            packs = database.read(account_id, *_ALL_PACKS)
            if not packs:
                return erased
            sizes: dict[str, int] = {}
            stubs: list[Document] = []
            for pack in packs:
                with _codec_errors():
                    sizes[pack["_id"]] = sum(
                        len(packing.unpack_values(pack, key_of(pack), doctype)) for doctype in series.doctypes
                    )
                stubs.append({"_id": pack["_id"], "_rev": pack["_rev"], "_deleted": True})
            conflicts = {document["_id"] for document in database.write(stubs)}
            erased += sum(size for name, size in sizes.items() if name not in conflicts)
        raise StoreUnavailable(f"{database}: documents keep changing while they are erased, try again")


def _write_once(
    database: CouchDatabase,
    pending: Mapping[PackId, Changes],
    stored: Mapping[PackId, Document],
    lost: Mapping[Doctype, set[str]],
) -> list[PackId]:
    """Write the packs once. Return the packs that must be tried again, because another writer replaced them first.

    For all other packs, the ids of the rows that another writer changed first are added to ``lost``.
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
    conflicts = {document["_id"] for document in database.write(list(documents.values()))} if documents else set()
    for pack, decision in decisions.items():
        if ":".join(pack) not in conflicts:
            for doctype, keys in decision.conflicting.items():
                lost[doctype].update(f"{pack[0]}:{key}" for key in keys)
    return [pack for pack in documents if ":".join(pack) in conflicts]


def _look_up(database: CouchDatabase, packs: Sequence[PackId]) -> dict[PackId, Document]:
    """Return the current state of the given packs, without those that don't exist."""
    documents = database.look_up([":".join(pack) for pack in packs]) if packs else []
    return {(account_of(document), key_of(document)): document for document in documents}


def _group_by_pack(series: Series, documents: Rows, removals: Rows) -> dict[PackId, Changes]:
    """Return the values to write and to remove, grouped by pack, with readings before totals.

    Raises WriteRefused for a document that can't be packed.
    """
    packs: dict[PackId, Changes] = {}
    for doctype in series.doctypes:
        rows: Iterable[tuple[Document, bool]] = (
            *((document, False) for document in documents.get(doctype, ())),
            *((document, True) for document in removals.get(doctype, ())),
        )
        for document, is_removal in rows:
            try:
                write = (
                    ValueWrite(key_of(document), document["_rev"], None)
                    if is_removal
                    else ValueWrite(key_of(document), document.get("_rev"), packing.to_value(document, doctype))
                )
                pack = account_of(document), packing.place_of(write.key, doctype)[0]
            except (KeyError, TypeError, ValueError, OverflowError):
                raise WriteRefused(
                    f"a document of {doctype.value} is not from Relève and can't be packed: keep RELEVE_LAYOUT=plain"
                ) from None
            packs.setdefault(pack, {}).setdefault(doctype, []).append(write)
    return packs


def _replaces(changes: Changes) -> bool:
    """Return whether any of the changes replaces or removes a stored value."""
    return any(write.revision is not None for writes in changes.values() for write in writes)


@contextmanager
def _codec_errors() -> Iterator[None]:
    """Turn UnknownPack into StoreUnavailable: the store is at fault, not the account."""
    try:
        yield
    except packing.UnknownPack as error:
        raise StoreUnavailable(str(error)) from None


def revision_of(value: packing.PackedValue, fields: packing.Fields) -> str:
    return f"{value.version}-{fields['salt']}"


def decide_writes(
    stored: packing.Fields | None, pack: str, changes: Mapping[Doctype, Sequence[ValueWrite]], salt: str
) -> PackDecision:
    """Decide which of the changes are written to a pack; ``salt`` is used if the pack is new.

    If a reading lost its race, no total of this pack is written, because the totals were computed from a reading other
    than the stored one. ``changes`` must have readings before totals. Raises UnknownPack.
    """
    fields: dict[str, Any] = dict(stored or {"format": packing.FORMAT, "version": 0, "salt": salt})
    version = _version(fields) + 1
    lost: dict[Doctype, frozenset[str]] = {}
    won_any = False
    for doctype, writes in changes.items():
        values = packing.unpack_values(fields, pack, doctype)
        lost_readings = lost.get(doctype.series.inputs)
        won = [] if lost_readings else [write for write in writes if _fits(write, values, fields)]
        lost[doctype] = frozenset(write.key for write in writes) - {write.key for write in won}
        if won:
            won_any = True
            for write in won:
                if write.value is None:
                    del values[write.key]
                else:
                    values[write.key] = write.value._replace(version=version)
            fields.pop(doctype.value, None)
            if values:
                fields[doctype.value] = packing.pack_values(values, doctype)
    if won_any and not any(doctype.value in fields for doctype in Doctype):
        return PackDecision({"_rev": fields["_rev"], "_deleted": True}, lost)
    return PackDecision({**fields, "version": version} if won_any else None, lost)


def _fits(write: ValueWrite, values: packing.ValuesByKey, fields: packing.Fields) -> bool:
    """Return whether the write names the stored revision of its value, or no revision if no value is stored."""
    stored = values.get(write.key)
    return write.revision == (revision_of(stored, fields) if stored is not None else None)


def _version(fields: packing.Fields) -> int:
    packing.check_format(fields)
    try:
        return int(fields["version"])
    except (KeyError, TypeError, ValueError):
        raise packing.UnknownPack("a packed document is damaged: restore it from a backup, or delete it") from None
