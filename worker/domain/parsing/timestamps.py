"""The times of steps: how lengths are parsed, and how local end labels become instants without losing an hour.

Enedis labels each step with its END in French local time, without an offset. On the autumn day the labels of one hour
occur twice and only their order distinguishes them; in spring the labels of one hour are missing. These rules apply in
this order:

1. Each label is resolved by itself. An ambiguous label means the earlier instant, unless only the later instant comes
   after the previous reading's instant.
2. This rule is for a clock-change day for which rule 1 gives instants that don't rise. The instants follow from the
   positions of the labels if the steps add up to the true length of the day, and the clock change alone explains the
   disorder. In spring it explains labels of the skipped hour, if no other labels are out of order. In autumn it
   explains one backward jump of the labels, between 01:30 and 03:30.
3. Otherwise the rows are out of order: each row keeps the time of its own label, and when a label of the repeated hour
   occurs twice, the second occurrence means the later instant.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from worker.domain.answers import Json
from worker.domain.windows import PARIS, day_length, local_midnight

_ONE_TICK = timedelta(microseconds=1)
_USUAL_STEP_MINUTES: Final = 30  # The length of a step if its point has none.
_CLOCK_CHANGE_HOUR: Final = 2  # French clocks skip or repeat the hour from 02:00 to 03:00.
# The label before the backward jump in autumn and the label after it both lie between these times. They are the ends of
# steps, so they may be as late as 03:30. Some files repeat labels half an hour too early, as early as 01:30.
_FALL_FROM, _FALL_UNTIL = time(1, 30), time(3, 30)
_MINUTES_PER_DAY: Final = 24 * 60
_LONGEST_STEP: Final = len("PT99H9999M")
# A day is labelled by its date alone or by its midnight. A label with another time of day belongs to a maximum power.
_DAY: Final = re.compile(r"(20\d\d)-(\d\d)-(\d\d)(?:[T ]00:00(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
# Only whole minutes are accepted, because keys have no seconds: with seconds, two steps could get the same key.
_LABEL: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_DURATION = re.compile(r"PT(?:(\d{1,2})H)?(?:(\d{1,4})M)?", re.ASCII)


class Label(NamedTuple):
    """The end of a step, in naive local time or with the supplier's offset, and the length of the step."""

    end: datetime
    length: timedelta


def parse_day(raw: Json) -> date | None:
    """Parse the label of a local day; the date is read as text, without a time zone. None for anything else."""
    match = _DAY.fullmatch(raw.strip()) if isinstance(raw, str) else None
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:  # For example the 31st of February.
        return None


def parse_label(raw: Json) -> datetime | None:
    """Parse the end label of a step as written, naive or with its offset; None for anything else."""
    text = raw.strip() if isinstance(raw, str) else ""
    return _read_label(text) if _LABEL.fullmatch(text) else None


@lru_cache(maxsize=8192)  # All accounts have the same labels in one night.
def _read_label(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # For example the 25th hour.
        return None


def parse_step_minutes(raw: Json) -> int | None:
    """Parse the length of a step: ``PT30M``, ``PT1H`` or seconds as in the oldest answers ("1800"); absent means 30.

    None for anything else, for a length above an hour, and for a length that doesn't divide a day evenly.
    """
    if raw is None or raw == "":
        return _USUAL_STEP_MINUTES
    if not isinstance(raw, str | int) or isinstance(raw, bool):
        return None
    text = str(raw).strip() if isinstance(raw, str) or 0 <= raw <= 86_400 else ""
    return _read_step_minutes(text) if len(text) <= _LONGEST_STEP else None


@lru_cache(maxsize=64)  # Most points of an answer have the same length.
def _read_step_minutes(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 5:
        seconds = int(text)
        minutes = seconds // 60 if seconds % 60 == 0 else 0
    else:
        match = _DURATION.fullmatch(text)
        minutes = int(match[1] or 0) * 60 + int(match[2] or 0) if match else 0
    return minutes if 0 < minutes <= 60 and _MINUTES_PER_DAY % minutes == 0 else None


def to_starts(labels: Sequence[Label]) -> list[datetime]:
    """Return the start of each labelled step, zone-aware in the meter's zone, in the order of ``labels``."""
    if is_newest_first([label.end for label in labels]):
        return to_starts(labels[::-1])[::-1]
    ends = to_instants([label.end for label in labels])
    by_day: defaultdict[date, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        by_day[(label.end - _ONE_TICK).date()].append(index)
    for day, indexes in by_day.items():
        if day_length(day) != timedelta(hours=24):
            day_labels = [labels[index] for index in indexes]
            day_ends = _resolve_clock_change_day(day, day_labels, [ends[index] for index in indexes])
            for index, end in zip(indexes, day_ends, strict=True):
                ends[index] = end
    return [(end - label.length).astimezone(PARIS) for end, label in zip(ends, labels, strict=True)]


def is_newest_first(ends: Sequence[datetime]) -> bool:
    """Return whether most naive end labels are earlier than their predecessors; False if a label has an offset.

    Comparing only the first and the last label isn't enough, because people concatenate files, and the newer file may
    come first. A single backward jump within a day isn't enough either, because labels also jump back between the two
    passes of the autumn hour.
    """
    if len(ends) < 2 or any(end.tzinfo is not None for end in ends):
        return False
    falls = sum(later < earlier for earlier, later in pairwise(ends))
    return 2 * falls > len(ends) - 1 and (falls > 1 or ends[0].date() > ends[-1].date())


def to_instants(ends: Sequence[datetime]) -> list[datetime]:
    """Return the instants of end labels in UTC by rule 1 alone, for steps whose length isn't known yet."""
    instants: list[datetime] = []
    previous: datetime | None = None
    for end in ends:
        previous = _instant(end, previous)
        instants.append(previous)
    return instants


def _instant(label: datetime, previous: datetime | None) -> datetime:
    """Return the label's instant by rule 1; a label with its own offset is not ambiguous."""
    if label.tzinfo is not None:
        return label.astimezone(UTC)
    earlier, later = _both_passes(label)
    return later if previous is not None and earlier <= previous < later else earlier


# All accounts have the same labels in one night. The cache may hold only naive labels and instants in UTC: it would
# confuse the two passes of the autumn hour in local time. They differ only in ``fold``, so to Python they are equal.
@lru_cache(maxsize=8192)
def _both_passes(label: datetime) -> tuple[datetime, datetime]:
    """Return the earlier and the later instant of a label; they are equal unless the label is ambiguous.

    For a label in the skipped spring hour, fold 0 gives the right instant. Fold 1 gives an earlier one, which is
    ignored.
    """
    passes = [label.replace(tzinfo=PARIS, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return (passes[0], max(passes)) if passes[0] < passes[1] else (passes[0], passes[0])


def _resolve_clock_change_day(day: date, labels: Sequence[Label], ends: Sequence[datetime]) -> Sequence[datetime]:
    if any(label.end.tzinfo is not None for label in labels) or _is_rising(ends):
        return ends
    is_complete = sum((label.length for label in labels), timedelta()) == day_length(day)
    if is_complete and _is_explained_by_clock_change(day, [label.end for label in labels]):
        return _by_position(day, labels)
    return _by_occurrence(labels)


def _is_rising(instants: Sequence[datetime]) -> bool:
    return all(earlier < later for earlier, later in pairwise(instants))


def _is_explained_by_clock_change(day: date, ends: Sequence[datetime]) -> bool:
    """Return whether the clock change alone explains the disorder of these labels; else the rows are out of order."""
    if day_length(day) < timedelta(hours=24):
        skipped = [end for end in ends if end.hour == _CLOCK_CHANGE_HOUR]
        others = [end for end in ends if end.hour != _CLOCK_CHANGE_HOUR]
        return bool(skipped) and _is_rising(skipped) and _is_rising(others)
    falls = [(earlier.time(), later.time()) for earlier, later in pairwise(ends) if later <= earlier]
    return len(falls) == 1 and all(_FALL_FROM <= at <= _FALL_UNTIL for at in falls[0])


def _by_position(day: date, labels: Sequence[Label]) -> list[datetime]:
    instant = local_midnight(day).astimezone(UTC)
    ends = []
    for label in labels:
        instant += label.length
        ends.append(instant)
    return ends


def _by_occurrence(labels: Sequence[Label]) -> list[datetime]:
    counts: Counter[datetime] = Counter()
    ends = []
    for label in labels:
        passes = _both_passes(label.end)
        ends.append(passes[min(counts[label.end], 1)])
        counts[label.end] += 1
    return ends
