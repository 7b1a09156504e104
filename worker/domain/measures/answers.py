"""Answers of a supplier: the class of one reply, and the raw answer of a window as it is kept to be read again.

Raw answers are stored as compressed text with one JSON line per answer:

    {"series": "daily", "at": "2024-07-25T06:00:00+00:00", "window": "2024-06-25/2024-07-25",
     "pieces": [["2024-06-25/2024-07-25", {"meter_reading": …}]], "floor": null}

Many lines are compressed together, because each night's answer repeats most of the night before (measured: a month
of both series shrinks from 930 kB to 10 kB).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Series

_PRESET: Final = 1  # Ten times faster than the default of 6, for a quarter more bytes.
Json = Any  # A body as the supplier sent it, before it is parsed.


class AnswerKind(StrEnum):
    """Kinds of answers that are no error."""

    DATA = "data"
    NO_DATA = "no_data"  # Nothing was measured, or the curve is not collected or objected to. All are normal.
    BEFORE_HISTORY = "before_history"  # The window starts before activation, consent or the supplier's history.
    TOO_LONG = "too_long"  # The window has more days than the supplier accepts.
    END_TOO_LATE = "end_too_late"  # The window must end one day earlier.


@dataclass(frozen=True, slots=True)
class Answer:
    """One classified answer. Only DATA has a ``payload``, which no ``repr`` shows."""

    kind: AnswerKind
    payload: Json = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """All bodies that a supplier sent for one window, unparsed.

    ``window``: the days that could be asked for. ``pieces``: the bodies, each with the days that it is for. They hold
    the meter's number, so no ``repr`` shows them. ``floor``: the first day the supplier answers for, if it was found.
    """

    series: Series
    asked_at: datetime
    window: DateWindow
    pieces: Sequence[tuple[DateWindow, Json]] = field(repr=False)
    floor: date | None = None

    def clip_to(self, wanted: DateWindow) -> RawAnswer | None:
        """Return the same answer for the days that ``wanted`` has, too; None where it has none of them."""
        window = self.window.overlap(wanted)
        pieces = [(common, body) for piece, body in self.pieces if (common := piece.overlap(wanted))]
        return None if window is None else replace(self, window=window, pieces=pieces)


def pack_raw_answers(answers: Iterable[RawAnswer]) -> bytes:
    """Compress raw answers in their order."""
    lines = (json.dumps(_to_json(answer), ensure_ascii=False, separators=(",", ":")) for answer in answers)
    return lzma.compress("\n".join(lines).encode("utf-8", "surrogatepass"), preset=_PRESET)


def unpack_raw_answers(packed: bytes) -> list[RawAnswer]:
    """Return what ``pack_raw_answers`` compressed."""
    text = lzma.decompress(packed).decode("utf-8", "surrogatepass")
    return [_from_json(json.loads(line)) for line in text.split("\n") if line]


def _to_json(answer: RawAnswer) -> dict[str, Any]:
    return {
        "series": answer.series.value,
        "at": answer.asked_at.isoformat(),
        "window": str(answer.window),
        "pieces": [[str(window), body] for window, body in answer.pieces],
        "floor": answer.floor.isoformat() if answer.floor else None,
    }


def _from_json(line: dict[str, Any]) -> RawAnswer:
    return RawAnswer(
        Series(line["series"]),
        datetime.fromisoformat(line["at"]),
        DateWindow.parse(line["window"]),
        [(DateWindow.parse(window), body) for window, body in line["pieces"]],
        date.fromisoformat(line["floor"]) if line["floor"] else None,
    )
