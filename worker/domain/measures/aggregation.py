"""Which readings are new or changed, and the totals by hour, month and year of stored readings.

Totals are always computed again from what is stored, for every doctype that a window touches. So a repeated run
repairs a wrong total, and no reading is counted twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from worker.domain.measures.documents import Entry, round_as_stored
from worker.domain.measures.series import Doctype, Period

# How many characters of an input's key name its total: "2024-10-27T01" is an hour, "2024-10" a month.
_INPUT_KEY_LENGTH: Final = {Period.HOUR: 13, Period.MONTH: 7, Period.YEAR: 4}


def keep_changed(entries: Iterable[Entry], stored: Mapping[str, Entry]) -> Iterator[Entry]:
    """Yield the new entries, and the changed entries with the revision that they replace.

    Values are compared and not only keys, because a value that the supplier corrected must be stored.
    """
    for entry in entries:
        known = stored.get(entry.key)
        if known is None:
            yield entry
        elif not entry.has_value_of(known):
            yield entry._replace(revision=known.revision, created_at=known.created_at, replaced_amount=known.amount)


def total_entries(inputs: Iterable[Entry], doctype: Doctype) -> dict[str, int]:
    """Add stored entries up by key alone: minutes into hours, days into months and years, in milliwatt-hours."""
    length = _INPUT_KEY_LENGTH[doctype.period]
    sums: defaultdict[str, int] = defaultdict(int)
    for key, energy, *_ in inputs:
        sums[key[:length]] += energy
    return {total_key(start, doctype): energy for start, energy in sums.items()}


def total_key(input_key: str, doctype: Doctype) -> str:
    """Return the key of the total that an input with this key belongs to."""
    start = input_key[: _INPUT_KEY_LENGTH[doctype.period]]
    return f"{start}:00Z" if doctype.period is Period.HOUR else start


def keep_different(
    totals: Mapping[str, int], stored: Mapping[str, Entry], doctype: Doctype, touched: Container[str] = ()
) -> list[Entry]:
    """Return the totals that the store lacks or has with another value, rounded as stored, in key order.

    A total in ``touched`` is returned even where its value stays the same. Its new revision makes a concurrent run,
    which computed the total from older inputs, fail its write and compute the total again.
    """
    different = []
    for key in sorted(totals):
        energy = round_as_stored(totals[key], doctype)
        known = stored.get(key)
        if known is None:
            different.append(Entry(key, energy))
        elif known.amount != energy or key in touched:
            different.append(Entry(key, energy, None, known.revision, known.created_at))
    return different
