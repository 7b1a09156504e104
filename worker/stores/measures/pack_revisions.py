"""Compare-and-set for single values that share a pack.

Each value has a revision of its own, such as ``3-9f2c04ab``: the version of the pack when the value was written, and a
salt drawn when the pack was created.  A pack is replaced as a whole, and only by a writer that read its last state, so
no two writes make the same version; after an erasure the salt is another.  A writer names the revision of the value
that it replaces.  Changes of other values in the same pack do not disturb it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.domain.packing import (
    FORMAT,
    Fields,
    PackedValue,
    UnknownPack,
    ValuesByKey,
    check_format,
    pack_values,
    unpack_values,
)
from worker.domain.series import Doctype


class ValueWrite(NamedTuple):
    """One value to write, or None to remove it.

    Without ``revision`` the value is created, with it exactly that revision is replaced or removed.
    """

    key: str
    revision: str | None
    value: PackedValue | None


@dataclass(frozen=True)
class PackDecision:
    """The outcome for one pack.

    ``fields``: the pack to store, ``_deleted`` where no value is left, None where nothing changes.
    ``conflicting``: the keys that lost a race.
    """

    fields: dict[str, Any] | None
    conflicting: Mapping[Doctype, frozenset[str]]


def revision_of(value: PackedValue, fields: Fields) -> str:
    return f"{value.version}-{fields['salt']}"


def decide_writes(
    stored: Fields | None, pack: str, changes: Mapping[Doctype, Sequence[ValueWrite]], salt: str
) -> PackDecision:
    """Decide which of the changes are written to a pack; ``salt`` is for a pack that is created.

    Where a reading lost its race, no total of this pack is written: it was computed from a reading that is not the
    stored one.  ``changes`` has readings before totals.  Raises UnknownPack.
    """
    fields: dict[str, Any] = dict(stored) if stored is not None else {"format": FORMAT, "version": 0, "salt": salt}
    version = _version(fields) + 1
    lost: dict[Doctype, frozenset[str]] = {}
    won_any = False
    for doctype, writes in changes.items():
        values = unpack_values(fields, pack, doctype)
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
                fields[doctype.value] = pack_values(values, doctype)
    if won_any and not any(doctype.value in fields for doctype in Doctype):
        return PackDecision({"_rev": fields["_rev"], "_deleted": True}, lost)
    return PackDecision({**fields, "version": version} if won_any else None, lost)


def _fits(write: ValueWrite, values: ValuesByKey, fields: Fields) -> bool:
    """Return whether the write names the stored revision of its value."""
    stored = values.get(write.key)
    return write.revision == (revision_of(stored, fields) if stored is not None else None)


def _version(fields: Fields) -> int:
    check_format(fields)
    try:
        return int(fields["version"])
    except (KeyError, TypeError, ValueError):
        raise UnknownPack("a packed document is damaged: restore it from a backup, or delete it") from None
