"""Off-peak hours: every form that suppliers send, one text form, and their time ranges.

    sent        HC (22H00-6H00)    HC (2H00-7H00;12h30-14h00)    HC (23h00-7h30)    hc(22H-6H)
    text form   HC (22H00-6H00)    HC (2H00-7H00;12H30-14H00)    HC (23H00-7H30)    HC (22H00-6H00)

A range may pass midnight. Source: Enedis, swagger customers_upc v5, and answers of v5 and SGE seen in public.
"""

from __future__ import annotations

import re
from datetime import time
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.parsing.values import parse_text

TimeRange = tuple[time, time]  # From, and until; a range whose end comes before its start passes midnight.
_WHOLE: Final = re.compile(r"(?:HC)? ?\(?([^()]*)\)?", re.IGNORECASE | re.ASCII)
_RANGE: Final = re.compile(r"(\d{1,2})[H:](\d{2})? ?- ?(\d{1,2})[H:](\d{2})?", re.IGNORECASE | re.ASCII)


def parse_off_peak_hours(raw: Json) -> tuple[TimeRange, ...]:
    """Return the ranges of local time in order of their start; none where the text can't be read as a whole."""
    text = parse_text(raw)
    whole = _WHOLE.fullmatch(text) if text else None
    if whole is None:
        return ()
    ranges = [_parse_range(part.strip()) for part in re.split(r"[;,]", whole[1])]
    return tuple(sorted({found for found in ranges if found})) if all(ranges) else ()


def format_off_peak_hours(ranges: tuple[TimeRange, ...]) -> str | None:
    """Return the text form of the ranges, such as ``HC (2H00-7H00;12H30-14H00)``; None without a range."""
    parts = (f"{_format_time(start)}-{_format_time(end)}" for start, end in ranges)
    return f"HC ({';'.join(parts)})" if ranges else None


def _parse_range(text: str) -> TimeRange | None:
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    start, end = _parse_time(match[1], match[2]), _parse_time(match[3], match[4])
    return (start, end) if start is not None and end is not None and start != end else None


def _parse_time(hours: str, minutes: str | None) -> time | None:
    hour, minute = int(hours), int(minutes or 0)
    if (hour, minute) == (24, 0):
        return time()
    return time(hour, minute) if hour < 24 and minute < 60 else None


def _format_time(moment: time) -> str:
    return f"{moment.hour}H{moment.minute:02}"
