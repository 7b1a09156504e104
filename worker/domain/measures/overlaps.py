"""Which of the steps that overlap in time are stored (rules K5 and K6): stored steps of a meter never overlap.

Steps of different bounds that overlap, directly or through others, are one *cluster*, which is taken as a whole. If the
steps of the later answer cover all the time of the earlier ones, they replace them; if they cover less, the earlier
ones stay. Readings of the same bounds are no cluster: the later value holds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from worker.domain.measures.documents import USUAL_STEP_MINUTES, Document, Entry, entry_of, key_of, to_entry
from worker.domain.measures.readings import IntervalReading, find_uncovered
from worker.domain.measures.series import curve_of, daily_of

# What a removed reading became in the journal of corrections: nothing.  The energy of a step is in other steps.
REMOVED: Final = -1
_STEPS: Final = curve_of(daily_of()).inputs


class Interval(NamedTuple):
    """Minutes since 1970, ``end`` excluded."""

    start: int
    end: int


@dataclass
class Cluster:
    """The steps of a time in which some overlap, in time order."""

    newcomers: list[Entry] = field(default_factory=list)
    stored: list[Entry] = field(default_factory=list)
    end: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it overlaps but a newcomer and the stored step of the same bounds."""
        bounds = {interval_of(entry) for entry in (*self.newcomers, *self.stored)}
        return len(bounds) == 1


@dataclass(frozen=True, slots=True)
class Settlement:
    """What of an answer may be stored.

    ``entries``: the newcomers that hold. ``replaced``: the stored steps that go. ``reshaped``: the keys of newcomers
    that take the place of steps of other bounds. ``left_out``: how many newcomers don't hold. ``late``: those of them
    that a later answer kept out.
    """

    entries: list[Entry]
    replaced: list[Entry]
    reshaped: set[str]
    left_out: int
    late: list[Entry] = field(default_factory=list)


def interval_of(entry: Entry) -> Interval:
    """Return the time of a minute document, or of a period of days."""
    start = _minute_of(entry.key)
    return Interval(start, start + length_of(entry))


@lru_cache(maxsize=8192)  # All accounts have the same keys in one night.
def _minute_of(key: str) -> int:
    moment = datetime.fromisoformat(key)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) // 60


def length_of(entry: Entry) -> int:
    """Return the minutes of a minute document's step; of a period of days those of days that all have 24 hours."""
    if ends_on := (entry.details or {}).get("ends_on"):
        return _minute_of(ends_on) - _minute_of(entry.key)
    return entry.step or USUAL_STEP_MINUTES


def keep_last(readings: Sequence[IntervalReading]) -> list[IntervalReading]:
    """Return the readings of one answer in time order without overlaps; ``readings`` in the order of the answer.

    The steps of one grid count as told where the last of them stands, and replace earlier ones as those of a later
    answer do. A zero never wins over a measured value.
    """
    in_time_order = sorted(readings, key=lambda reading: reading.start.astimezone(UTC))
    if not any(first.start.astimezone(UTC) + first.length > second.start for first, second in pairwise(in_time_order)):
        return in_time_order
    by_entry = {entry_of(reading, _STEPS)[:3]: reading for reading in readings}
    entries = [Entry(*fields) for fields in by_entry]
    measured, zeros = (
        _settle_in_order([entry for entry in entries if bool(entry.amount) is wanted]) for wanted in (True, False)
    )
    taken = list(map(interval_of, measured))
    free = [zero for zero in zeros if find_uncovered(*interval_of(zero), taken) == [interval_of(zero)]]
    return [by_entry[entry[:3]] for entry in sorted([*measured, *free])]


def _settle_in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Return those that hold of entries in the order of their answer, the steps of one grid as an answer of its own."""
    last_place = {_grid_of(entry): place for place, entry in enumerate(entries)}
    kept: list[Entry] = []
    for grid in sorted(last_place, key=lambda grid: last_place[grid]):
        settlement = settle(sorted(entry for entry in entries if _grid_of(entry) == grid), kept)
        gone = {entry.key for entry in (*settlement.replaced, *settlement.entries)}
        kept = sorted([entry for entry in kept if entry.key not in gone] + settlement.entries)
    return kept


def _grid_of(entry: Entry) -> tuple[int, int]:
    """Return length and offset of a step: steps that have both in common don't overlap."""
    return length_of(entry), interval_of(entry).start % length_of(entry)


def keep_latest_periods(readings: Sequence[IntervalReading]) -> list[IntervalReading]:
    """Return periods of one answer in time order without overlaps; ``readings`` in the order of the answer.

    Of periods that overlap, the one that ends last holds, and of those that end together the last one.
    """
    kept: list[tuple[datetime, datetime, IntervalReading]] = []
    spans = [(start := reading.start.astimezone(UTC), start + reading.length, reading) for reading in readings]
    by_end = sorted(spans, key=lambda span: span[1])
    for start, end, reading in reversed(by_end):
        if not kept or end <= kept[-1][0]:
            kept.append((start, end, reading))
    return [reading for _, _, reading in reversed(kept)]


def settle(newcomers: Sequence[Entry], stored: Sequence[Entry], later_keys: Container[str] = ()) -> Settlement:
    """Decide which steps of an answer are stored, and which of the stored ones go.

    Neither the newcomers nor, in a store in order, the stored steps overlap among themselves. ``later_keys``: of the
    stored steps that come from an answer that was asked for later than the newcomers.
    """
    entries: list[Entry] = []
    replaced: list[Entry] = []
    reshaped: set[str] = set()
    late: list[Entry] = []
    for cluster in find_clusters(newcomers, stored):
        earlier = [entry for entry in cluster.stored if entry.key not in later_keys]
        later = [entry for entry in cluster.stored if entry.key in later_keys]
        if cluster.is_settled and (not later or _same_values(later, cluster.newcomers)):
            entries += cluster.newcomers
        elif (
            not cluster.is_settled
            and cluster.newcomers
            and covers(cluster.newcomers, earlier)
            and not covers(later, cluster.newcomers)
        ):
            entries += cluster.newcomers
            keys = {entry.key for entry in cluster.newcomers}
            replaced += [entry for entry in cluster.stored if entry.key not in keys]
            reshaped |= keys
        elif later:
            late += cluster.newcomers
    return Settlement(entries, replaced, reshaped, len(newcomers) - len(entries), late)


def _same_values(some: Sequence[Entry], others: Sequence[Entry]) -> bool:
    return [(entry.amount, entry.details) for entry in some] == [(entry.amount, entry.details) for entry in others]


def find_replaced(documents: Sequence[Document]) -> list[Entry]:
    """Return the stored steps that have to go because later ones overlap them; none where the store is in order.

    A worker killed between the writing of newcomers and the removal of what they replace leaves such steps, and so did
    versions that knew steps by their start alone. The answers are taken in their order, by ``updated_at``.
    """
    times = {key_of(document): document["updated_at"] for document in documents}
    replaced: list[Entry] = []
    for cluster in find_clusters((), map(to_entry, documents)):
        if len(cluster.stored) > 1:
            kept: list[Entry] = []
            in_order = sorted(cluster.stored, key=lambda entry: times[entry.key])
            for _, of_one_answer in groupby(in_order, key=lambda entry: times[entry.key]):
                longest_last = sorted(of_one_answer, key=length_of)
                settlement = settle(_settle_in_order(longest_last), kept)
                gone = {entry.key for entry in settlement.replaced}
                kept = sorted([entry for entry in kept if entry.key not in gone] + settlement.entries)
            kept_keys = {entry.key for entry in kept}
            replaced += [entry for entry in cluster.stored if entry.key not in kept_keys]
    return replaced


def find_clusters(newcomers: Iterable[Entry], stored: Iterable[Entry]) -> Iterator[Cluster]:
    """Yield the steps in groups of those that overlap, in time order; a step that overlaps no other is one, too."""
    steps = [
        (interval_of(entry), is_stored, entry)
        for is_stored, entries in enumerate((newcomers, stored))
        for entry in entries
    ]
    cluster = Cluster()
    for interval, is_stored, entry in sorted(steps, key=lambda step: step[:2]):
        if interval.start >= cluster.end and (cluster.newcomers or cluster.stored):
            yield cluster
            cluster = Cluster()
        (cluster.stored if is_stored else cluster.newcomers).append(entry)
        cluster.end = max(cluster.end, interval.end)
    if cluster.newcomers or cluster.stored:
        yield cluster


def covers(steps: Sequence[Entry], others: Iterable[Entry]) -> bool:
    """Return whether the steps cover all the time of the others; no steps cover only no time."""
    return not any(find_uncovered(*interval_of(other), map(interval_of, steps)) for other in others)
