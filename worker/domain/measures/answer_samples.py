"""Small samples of a supplier's answer, and samples with every value masked.

A sample holds no meter number: it is stored without an account, so the erasure of an account would not delete it.
Of a list, one item of each form is kept, because hundreds of points look alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from worker.domain.measures.answer_shapes import clean_name, mask_text
from worker.domain.measures.answers import Json

MAX_CHARACTERS: Final = 8_000
_MAX_ITEMS: Final = 6
_MAX_FIELDS: Final = 40
_MAX_DEPTH: Final = 12
_MAX_TEXT_LENGTH: Final = 200
_METER_NUMBER: Final = re.compile(r"\d{14}")
_NO_METER_NUMBER: Final = "0" * 14
_MIN_LONG_NUMBER: Final = 10**12  # A number this long may be a meter's.


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
