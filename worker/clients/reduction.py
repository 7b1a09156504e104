"""The reduction of an answer to the fields that are needed: nothing else leaves the client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from worker.domain.answers import Json

# The name for the value itself, where an object may come as a single text or number.
ITSELF: Final = ""


def keep_fields(body: Json, kept: Mapping[str, Json] | None) -> Json:
    """Return a body with the fields in ``kept`` alone; of a list, each item so.

    ``kept``: an object of objects whose leaves are None. A leaf is a text, a number or null; anything else there, which
    might hold more than is known, becomes null. So does a text or number in the place of an object, but for one that
    also has the name ITSELF.
    """
    if kept is None:
        return None if isinstance(body, dict | list) else body
    if isinstance(body, list):
        return [keep_fields(item, kept) for item in body]
    if not isinstance(body, dict):
        return body if ITSELF in kept else None
    return {name: keep_fields(body[name], inner) for name, inner in kept.items() if name in body}


def keep_meter(body: Json, field: str, meter: str) -> Json:
    """Return a body without the items of its lists that are another meter's; ``field`` names the meter in them."""
    if isinstance(body, dict):
        return {name: keep_meter(value, field, meter) for name, value in body.items()}
    if not isinstance(body, list):
        return body
    named = [(item, set(find_values(item, field))) for item in body]
    return [keep_meter(item, field, meter) for item, names in named if meter in names or not names]


def find_values(body: Json, field: str) -> Iterator[str]:
    """Yield each text under this name, at any depth."""
    if isinstance(body, dict):
        if isinstance(value := body.get(field), str):
            yield value
        for inner in body.values():
            yield from find_values(inner, field)
    elif isinstance(body, list):
        for item in body:
            yield from find_values(item, field)
