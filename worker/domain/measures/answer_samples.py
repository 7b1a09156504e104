"""A small sample of an answer, and the same with every value masked.

No meter number is in a sample: it is kept without an account, so no removal would take it away.  Of a list, one item
of each form is kept, for hundreds of points look alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from worker.domain.measures.answer_shapes import clean_name, form_of
from worker.domain.measures.answers import Json

MOST_CHARACTERS: Final = 8_000
_MOST_ITEMS: Final = 6
_MOST_FIELDS: Final = 40
_DEEPEST: Final = 12
_LONGEST_TEXT: Final = 200
_METER: Final = re.compile(r"\d{14}")
_NO_METER: Final = "0" * 14


def to_sample(answer: Json) -> str:
    """JSON of the answer's form and of some of its values; cut where even that is too long."""
    text = json.dumps(_prune(answer, _DEEPEST), ensure_ascii=True, separators=(",", ":"))
    return text[:MOST_CHARACTERS]


def to_masked(sample: str) -> Json:
    """A sample's form: names as they are, digits as 9, letters as a; of one that was cut, nothing but its form."""
    try:
        return _map(json.loads(sample))
    except ValueError:
        return form_of(sample)


def _prune(value: Json, depth: int) -> Json:
    if isinstance(value, dict | list) and depth == 0:
        return "…"
    if isinstance(value, dict):
        fields = islice(value.items(), _MOST_FIELDS)
        return {_without_meter(name): _prune(inner, depth - 1) for name, inner in fields}
    if isinstance(value, list):
        return [_prune(item, depth - 1) for item in _one_of_each(value)]
    if isinstance(value, str):
        return _without_meter(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= 10**12:
        return 0  # a number this long may be a meter's
    return value


def _one_of_each(items: Iterable[Json]) -> list[Json]:
    found: dict[str, Json] = {}
    for item in items:
        found.setdefault(json.dumps(_map(item), sort_keys=True) if _is_flat(item) else repr(type(item)), item)
        if len(found) == _MOST_ITEMS:
            break
    return list(found.values())


def _is_flat(item: Json) -> bool:
    inner = item.values() if isinstance(item, dict) else ()
    return not isinstance(item, list) and not any(isinstance(value, dict | list) for value in inner)


def _without_meter(text: str) -> str:
    return _METER.sub(_NO_METER, text[:_LONGEST_TEXT])


def _map(value: Json) -> Json:
    if isinstance(value, dict):
        return {clean_name(name): _map(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_map(item) for item in value]
    if isinstance(value, str):
        return form_of(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"number {form_of(repr(value))}"
    return value
