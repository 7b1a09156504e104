"""Answers from a supplier: the class of one reply, the raw answer for a window, and deviations from expected answers.

Raw answers are kept so that they can be parsed again. They are compressed text with one JSON line per answer:

    {"series": "daily", "at": "2024-07-25T06:00:00+00:00", "window": "2024-06-25/2024-07-25",
     "pieces": [["2024-06-25/2024-07-25", {"meter_reading": …}]], "floor": null}

Many lines are compressed together, because each night's answer repeats most of the previous one (measured: a month of
both series shrinks from 930 kB to 10 kB).

A *deviation* has a kind, a place and a short detail. None of them contains a reading. The same deviation in another
answer has the same fingerprint. Deviations inform the operator early. They cause no refusal: only the parser refuses
answers. A *sample* of the answer is kept. The sample belongs to no account, so an erasure wouldn't delete it; therefore
it contains no meter number. Of each list, it has one item of each form, because hundreds of points look alike.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import Any, Final

from worker.domain.series import Series
from worker.domain.windows import DateWindow

Json = Any  # A body as the supplier sent it, before it is parsed.
MAX_CHARACTERS: Final = 8_000
_LONGEST_TEXT: Final = 200
# LZMA compresses ten times faster with this preset than with the default (6); the result is a quarter larger.
_PRESET: Final = 1
_MAX_ITEMS: Final = 6
_MAX_FIELDS: Final = 40
_MAX_DEPTH: Final = 12
_MAX_TEXT_LENGTH: Final = 200
_METER_NUMBER: Final = re.compile(r"\d{14}|GI\d{6}")
_NO_METER_NUMBER: Final = "0" * 14
_MIN_LONG_NUMBER: Final = 10**12  # A number of this size may be a meter's number.
_MAX_DETAIL_LENGTH: Final = 60
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. /-]{0,30}", re.ASCII)


class AnswerKind(StrEnum):
    """Kinds of answers that aren't errors."""

    DATA = "data"
    NO_DATA = "no_data"  # Nothing was measured, the curve isn't switched on, or the holder objects to the curve.
    BEFORE_HISTORY = "before_history"  # The window starts before activation, consent or the supplier's history.
    TOO_LONG = "too_long"  # The window has more days than the supplier accepts.
    END_TOO_LATE = "end_too_late"  # The window must end one day earlier.


@dataclass(frozen=True, slots=True)
class Answer:
    """One classified answer. ``payload``: None unless the kind is DATA; no ``repr`` shows it."""

    kind: AnswerKind
    payload: Json = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """All bodies that a supplier sent for one window, unparsed.

    ``window``: the requested days, without last days that the supplier refused as too late. ``pieces``: the bodies,
    each with its days. The bodies contain the meter's number, so no ``repr`` shows them. ``floor``: the first day for
    which the supplier has data, if the window began before this day.
    """

    series: Series
    asked_at: datetime
    window: DateWindow
    pieces: Sequence[tuple[DateWindow, Json]] = field(repr=False)
    floor: date | None = None

    def clip_to(self, wanted: DateWindow) -> RawAnswer | None:
        """Return the part of this answer within ``wanted``; None if the answer's window has none of these days."""
        window = self.window.overlap(wanted)
        pieces = [(common, body) for piece, body in self.pieces if (common := piece.overlap(wanted))]
        return None if window is None else replace(self, window=window, pieces=pieces)


def pack_raw_answers(answers: Iterable[RawAnswer]) -> bytes:
    lines = (json.dumps(_to_json(answer), ensure_ascii=False, separators=(",", ":")) for answer in answers)
    return lzma.compress("\n".join(lines).encode("utf-8", "surrogatepass"), preset=_PRESET)


def unpack_raw_answers(packed: bytes) -> list[RawAnswer]:
    """Return the answers that ``pack_raw_answers`` has compressed."""
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


def size_of(body: Json) -> int:
    """Return the approximate size of a body in memory: for each value and name, 32 bytes and the length of its text."""
    inner = [*body, *body.values()] if isinstance(body, dict) else body
    return 32 + (sum(map(size_of, inner)) if isinstance(inner, list) else len(str(inner)))


def parse_text(raw: Json) -> str | None:
    """Return the text with normalized whitespace; None if it is blank, longer than 200 characters, or not a text."""
    text = " ".join(raw.split()) if isinstance(raw, str) and len(raw) <= _LONGEST_TEXT else ""
    return text or None


class DeviationKind(StrEnum):
    EMPTY = "empty_answer"
    SHAPE = "unknown_shape"
    FIELD = "unknown_field"
    UNIT = "changed_unit"
    CODE = "unknown_code"
    VALUE = "impossible_value"


@dataclass(frozen=True)  # The class has no slots, because the cached fingerprint needs an instance dictionary.
class Deviation:
    """One deviation of an answer from its expected shape.

    ``place``: a path like ``meter_reading.interval_reading[].quality``. ``sample``: the whole answer, not yet shortened
    by ``to_sample``.
    """

    kind: DeviationKind
    place: str
    detail: str = ""
    sample: Json = field(default=None, repr=False, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of a hash of kind, place and detail."""
        return hashlib.sha256(f"{self.kind}\n{self.place}\n{self.detail}".encode()).hexdigest()[:16]


def mask_text(text: str) -> str:
    """Return the start of a text with each digit replaced with 9 and each letter with ``a``."""
    start = text[:_MAX_DETAIL_LENGTH]
    return "".join("9" if letter.isdigit() else "a" if letter.isalpha() else letter for letter in start)


def mask_unless_code(text: str) -> str:
    """Return a code unchanged, and any other text masked.

    A text with eight digits in a row isn't a code: it may contain a meter's number.
    """
    is_code = _CODE.fullmatch(text) and not re.search(r"\d{8}", text)
    return text if is_code else mask_text(text)


def names_of(value: Mapping[str, Json]) -> str:
    """Return the names of the first 12 fields of an object, sorted and joined by commas."""
    return ",".join(sorted(clean_name(name) for name in islice(value, 12)))[:_MAX_DETAIL_LENGTH]


def clean_name(name: str) -> str:
    """Return a field's name with each number as 9, so that a field named after a day has the same name every day."""
    return re.sub(r"\d+", "9", name) if _NAME.fullmatch(name) else mask_text(name)


def to_sample(answer: Json) -> str:
    """Return JSON that has the answer's form and a few of its values, cut off after ``MAX_CHARACTERS``."""
    text = json.dumps(_prune(answer, _MAX_DEPTH), ensure_ascii=True, separators=(",", ":"))
    return text[:MAX_CHARACTERS]


def to_masked(sample: str) -> Json:
    """Return a sample's content with cleaned names (``clean_name``) and masked values (``mask_text``).

    A truncated sample isn't valid JSON, so it is masked as one text.
    """
    try:
        return _mask(json.loads(sample))
    except ValueError:
        return mask_text(sample)


def _prune(value: Json, depth: int) -> Json:
    if isinstance(value, dict | list) and depth == 0:
        return "…"
    if isinstance(value, dict):
        fields = islice(value.items(), _MAX_FIELDS)
        return {_without_meter_number(name): _prune(inner, depth - 1) for name, inner in fields}
    if isinstance(value, list):
        return [_prune(item, depth - 1) for item in _one_of_each_form(value)]
    if isinstance(value, str):
        return _without_meter_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= _MIN_LONG_NUMBER:
        return 0
    return value


def _one_of_each_form(items: Iterable[Json]) -> list[Json]:
    by_form: dict[str, Json] = {}
    for item in items:
        form = json.dumps(_mask(_prune(item, 1)), sort_keys=True) if _is_flat(item) else repr(type(item))
        by_form.setdefault(form, item)
        if len(by_form) == _MAX_ITEMS:
            break
    return list(by_form.values())


def _is_flat(item: Json) -> bool:
    values = item.values() if isinstance(item, dict) else ()
    return not isinstance(item, list) and not any(isinstance(value, dict | list) for value in values)


def _without_meter_number(text: str) -> str:
    return _METER_NUMBER.sub(_NO_METER_NUMBER, text[:_MAX_TEXT_LENGTH])


def _mask(value: Json) -> Json:
    if isinstance(value, dict):
        return {clean_name(name): _mask(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_mask(item) for item in value]
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"number {mask_text(repr(value))}"
    return value
