"""Deviations of answers from what is expected, and what is kept of such an answer: texts without values, a sample.

A *deviation* names its kind, its place and a short detail, all without values. The same deviation in another answer has
the same fingerprint. Deviations inform the operator early; they never stop a reading, because the parser decides what
is refused. A sample holds no meter number: it is stored without an account, so the erasure of an account would not
delete it. Of a list, one item of each form is kept, because hundreds of points look alike.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import Final

from worker.domain.measures.answers import Json

MAX_CHARACTERS: Final = 8_000
_MAX_ITEMS: Final = 6
_MAX_FIELDS: Final = 40
_MAX_DEPTH: Final = 12
_MAX_TEXT_LENGTH: Final = 200
_METER_NUMBER: Final = re.compile(r"\d{14}|GI\d{6}")
_NO_METER_NUMBER: Final = "0" * 14
_MIN_LONG_NUMBER: Final = 10**12  # A number this long may be a meter's.
_MAX_DETAIL_LENGTH: Final = 60
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. /-]{0,30}", re.ASCII)


class DeviationKind(StrEnum):
    """Kinds of deviations."""

    EMPTY = "empty_answer"
    SHAPE = "unknown_shape"
    FIELD = "unknown_field"
    UNIT = "changed_unit"
    CODE = "unknown_code"
    VALUE = "impossible_value"


@dataclass(frozen=True)  # Without slots, because the fingerprint is cached beside the fields.
class Deviation:
    """One deviation of an answer from its expected shape.

    ``place``: a path like ``meter_reading.interval_reading[].quality``. ``sample``: the answer as it came.
    """

    kind: DeviationKind
    place: str
    detail: str = ""
    sample: Json = field(default=None, repr=False, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of kind, place and detail."""
        return hashlib.sha256(f"{self.kind}\n{self.place}\n{self.detail}".encode()).hexdigest()[:16]


# -- Texts without values


def mask_text(text: str) -> str:
    """Return the start of a text with each digit as 9 and each letter as ``a``."""
    return "".join("9" if letter.isdigit() else "a" if letter.isalpha() else letter for letter in text)[
        :_MAX_DETAIL_LENGTH
    ]


def mask_unless_code(text: str) -> str:
    """Return a code as it is and any other text masked. A long number is no code, because it may be a meter's."""
    is_code = _CODE.fullmatch(text) and not re.search(r"\d{8}", text)
    return text if is_code else mask_text(text)


def names_of(value: Mapping[str, Json]) -> str:
    """Return the first names in an object, sorted and joined by commas."""
    return ",".join(sorted(clean_name(name) for name in islice(value, 12)))[:_MAX_DETAIL_LENGTH]


def clean_name(name: str) -> str:
    """Return a field's name with each number as 9, so that a field named after a day is the same field every day."""
    return re.sub(r"\d+", "9", name) if _NAME.fullmatch(name) else mask_text(name)


# -- Samples


def to_sample(answer: Json) -> str:
    """Return JSON with the answer's form and a few of its values, cut at ``MAX_CHARACTERS``."""
    text = json.dumps(_prune(answer, _MAX_DEPTH), ensure_ascii=True, separators=(",", ":"))
    return text[:MAX_CHARACTERS]


def to_masked(sample: str) -> Json:
    """Return a sample with its names as they are, each digit as 9 and each letter as ``a``.

    A sample that was cut is no JSON, so it is masked as one text.
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
        form = json.dumps(_mask(item), sort_keys=True) if _is_flat(item) else repr(type(item))
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
