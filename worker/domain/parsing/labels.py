"""Local end labels to instants: where hours get lost at clock changes, and must not.

Enedis stamps each step with its END in French civil time, without offset (upstream-apis, 1.7).  On the
autumn day the labels of one hour come twice and only their order tells them apart; in spring one hour of
labels is missing.  Rules T3 to T5 of the semantics, in this order:

1. a label is resolved by itself; an ambiguous one is the earlier instant, unless that is not after the
   previous reading's instant and the later one is (T4);
2. if the instants of a clock-change day then don't rise, but the day has as many readings as its true length
   asks for and its labels fall back at most once, instants are given by position (T5);
3. otherwise the answer is out of order: a label that comes a second time is the second pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from worker.domain.measures.readings import PARIS, day_length, local_midnight

_ONE_TICK = timedelta(microseconds=1)


class Label(NamedTuple):
    """``text`` as a date-time, naive local or with the offset the supplier gave; length of its step."""

    end: datetime
    length: timedelta


def to_starts(labels: Sequence[Label]) -> list[datetime]:
    """Start of each labelled step, zone-aware in the meter's zone, in the order of ``labels``."""
    if _newest_first(labels):
        return to_starts(labels[::-1])[::-1]
    ends: list[datetime] = [_UNSET] * len(labels)
    previous: datetime | None = None
    by_day: defaultdict[date, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        ends[index] = previous = _instant(label.end, previous)
        by_day[(label.end - _ONE_TICK).date()].append(index)
    for day, indexes in by_day.items():
        if day_length(day) != timedelta(hours=24):
            day_labels = [labels[index] for index in indexes]
            mended = _mend_clock_change_day(day, day_labels, [ends[index] for index in indexes])
            for index, end in zip(indexes, mended, strict=True):
                ends[index] = end
    return [_local(end - label.length) for end, label in zip(ends, labels, strict=True)]


_UNSET = datetime.min.replace(tzinfo=UTC)


def _instant(label: datetime, previous: datetime | None) -> datetime:
    """The label's instant by T4; a label with its own offset needs no guess."""
    if label.tzinfo is not None:
        return label.astimezone(UTC)
    earlier, later = _both_passes(label)
    return later if previous is not None and earlier <= previous < later else earlier


# The steps of a night have the same labels in all accounts.  Only naive labels and instants in UTC may be kept so:
# to Python the two passes of the autumn hour, told apart by ``fold`` alone, are one and the same.
@lru_cache(maxsize=8192)
def _both_passes(label: datetime) -> tuple[datetime, datetime]:
    """A label inside the spring gap resolves rightly with fold 0, so the later one never comes first."""
    passes = [label.replace(tzinfo=PARIS, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return (passes[0], max(passes)) if passes[0] < passes[1] else (passes[0], passes[0])


@lru_cache(maxsize=8192)
def _local(instant: datetime) -> datetime:
    """An instant in UTC as the meter's own zone has it."""
    return instant.astimezone(PARIS)


def _mend_clock_change_day(day: date, labels: Sequence[Label], ends: Sequence[datetime]) -> Sequence[datetime]:
    if any(label.end.tzinfo is not None for label in labels) or _rising(ends):
        return ends
    if _complete(day, labels) and _falls_back_once(labels):
        return _by_position(day, labels)
    return _by_occurrence(labels)


def _newest_first(labels: Sequence[Label]) -> bool:
    if len(labels) < 2 or any(label.end.tzinfo is not None for label in labels):
        return False
    return labels[0].end > labels[-1].end and labels[0].end.date() > labels[-1].end.date()


def _rising(instants: Sequence[datetime]) -> bool:
    return all(earlier < later for earlier, later in pairwise(instants))


def _complete(day: date, labels: Sequence[Label]) -> bool:
    return sum((label.length for label in labels), timedelta()) == day_length(day)


def _falls_back_once(labels: Sequence[Label]) -> bool:
    """In order but for the one hour that comes again; anything else is a shuffled answer."""
    falls = [earlier.end - later.end for earlier, later in pairwise(labels) if later.end <= earlier.end]
    return len(falls) <= 1 and all(fall <= timedelta(hours=1) for fall in falls)


def _by_position(day: date, labels: Sequence[Label]) -> list[datetime]:
    instant = local_midnight(day).astimezone(UTC)
    ends = []
    for label in labels:
        instant += label.length
        ends.append(instant)
    return ends


def _by_occurrence(labels: Sequence[Label]) -> list[datetime]:
    seen: Counter[datetime] = Counter()
    ends = []
    for label in labels:
        passes = _both_passes(label.end)
        ends.append(passes[min(seen[label.end], 1)])
        seen[label.end] += 1
    return ends
