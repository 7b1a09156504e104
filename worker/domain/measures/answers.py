"""What a supplier told of one window, whole and as it came: what is read now, and may be read again later.

The text form is one JSON line each; many of them shrink well together, for each night tells most of the last one
again (measured: a month of both series, 930 kB as it came, takes 10 kB).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from worker.domain.measures.readings import DateWindow, Series

_PRESET: Final = 1  # ten times faster than the usual 6, and a quarter larger


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """``window``: what was asked for, as far as it could be; ``pieces``: bodies, with the days each is for."""

    series: Series
    asked_at: datetime
    window: DateWindow
    pieces: Sequence[tuple[DateWindow, Json]] = field(repr=False)  # hold the meter's number
    floor: date | None = None


def pack_raw_answer(told: Iterable[RawAnswer]) -> bytes:
    """Compressed, in the order given."""
    lines = (json.dumps(_to_json(each), ensure_ascii=False, separators=(",", ":")) for each in told)
    return lzma.compress("\n".join(lines).encode("utf-8", "surrogatepass"), preset=_PRESET)


def unpack_raw_answer(packed: bytes) -> list[RawAnswer]:
    """What ``pack_told`` packed."""
    text = lzma.decompress(packed).decode("utf-8", "surrogatepass")
    return [_from_json(json.loads(line)) for line in text.split("\n") if line]


def _to_json(told: RawAnswer) -> dict[str, Any]:
    return {
        "series": told.series.value,
        "at": told.asked_at.isoformat(),
        "window": str(told.window),
        "pieces": [[str(piece), body] for piece, body in told.pieces],
        "floor": told.floor.isoformat() if told.floor else None,
    }


def _from_json(line: dict[str, Any]) -> RawAnswer:
    return RawAnswer(
        Series(line["series"]),
        datetime.fromisoformat(line["at"]),
        DateWindow.parse(line["window"]),
        [(DateWindow.parse(piece), body) for piece, body in line["pieces"]],
        date.fromisoformat(line["floor"]) if line["floor"] else None,
    )


# What a supplier can say to one request that is no error.

Json = Any  # a body as it came, until it is parsed


class AnswerKind(StrEnum):
    DATA = "data"
    NO_DATA = "no_data"  # nothing measured, curve not collected or objected to: normal
    BEFORE_HISTORY = "before_history"  # the window starts before activation, consent or the supplier's history
    TOO_LONG = "too_long"  # the window has more days than the supplier takes
    END_TOO_LATE = "end_too_late"  # the end must lie one day earlier


@dataclass(frozen=True, slots=True)
class Answer:
    """One classified answer; ``payload`` is there with DATA alone and stays out of every text."""

    verdict: AnswerKind
    payload: Json = field(default=None, repr=False)
