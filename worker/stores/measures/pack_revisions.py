"""Compare-and-set on values that share a document.

Each value has a revision of its own, ``<version>-<salt>``: the pack's version when the value was written, and a text
drawn when the pack was made.  A pack is replaced as a whole and only by who read its last state, so no two writings
make the same version; after an erasure the salt is another.  Who writes a value names the revision it replaces, as
everywhere else; whoever else changed other values of the same pack meanwhile does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.domain.measures.packing import (
    FORMAT,
    PERIODS,
    SERIES,
    Fields,
    Shelf,
    UnknownPack,
    Value,
    check_format,
    pack_shelf,
    unpack_shelf,
)
from worker.domain.measures.readings import Period, Series


class ValueWrite(NamedTuple):
    """One value to write; without ``revision`` it is created, with it that very revision is replaced."""

    key: str
    revision: str | None
    value: Value


@dataclass(frozen=True)
class PackDecision:
    """``fields``: the pack as it should be stored, None where nothing of it changes; ``lost``: keys, by doctype."""

    fields: dict[str, Any] | None
    lost: Mapping[Period, frozenset[str]]


def revision_of(value: Value, fields: Fields) -> str:
    return f"{value.version}-{fields['salt']}"


def decide(stored: Fields | None, pack: str, changes: Mapping[Period, Sequence[ValueWrite]], salt: str) -> PackDecision:
    """What becomes of a pack; ``salt`` is for one that is not there yet.

    Where a reading lost its race, no total of this pack is written: it was made of readings that are not what is
    stored (A5).  ``changes`` come in writing order, what the others are made of first.  Raises UnknownPack.
    """
    fields: dict[str, Any] = dict(stored) if stored is not None else {"format": FORMAT, "version": 0, "salt": salt}
    version = _version(fields) + 1
    lost: dict[Period, frozenset[str]] = {}
    won_any = False
    for period, wanted in changes.items():
        shelf = unpack_shelf(fields, pack, period)
        overtaken = lost.get(PERIODS[SERIES[period]][0])  # readings that lost their race
        won = [] if overtaken else [change for change in wanted if _fits(change, shelf, fields)]
        lost[period] = frozenset(change.key for change in wanted) - {change.key for change in won}
        if won:
            won_any = True
            shelf |= {change.key: change.value._replace(version=version) for change in won}
            fields[period.value] = pack_shelf(shelf, period)
    return PackDecision({**fields, "version": version} if won_any else None, lost)


def without(stored: Fields, pack: str, period: Period, series: Series) -> tuple[dict[str, Any] | None, int]:
    """The pack less one doctype (None where nothing else is in it), and how many values went.  Raises UnknownPack."""
    erased = len(unpack_shelf(stored, pack, period))
    left = {name: field for name, field in stored.items() if name != period.value}
    if not any(kind.value in left for kind in PERIODS[series]):
        return None, erased
    return {**left, "version": _version(stored) + 1}, erased


def _fits(change: ValueWrite, shelf: Shelf, fields: Fields) -> bool:
    known = shelf.get(change.key)
    return change.revision == (revision_of(known, fields) if known is not None else None)


def _version(fields: Fields) -> int:
    check_format(fields)
    try:
        return int(fields["version"])
    except (KeyError, TypeError, ValueError):
        raise UnknownPack("a packed document is damaged: bring it back from a backup, or delete it") from None
