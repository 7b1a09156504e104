"""A strict parser of the line protocol, written only from its specification; some servers accept more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_ESCAPED = re.compile(r"\\([,= ])")
_FLOAT = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")


@dataclass(frozen=True)
class Point:
    """A point; ``time`` in seconds."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, float]
    time: int

    @property
    def key(self) -> tuple[object, ...]:
        """The key by which a later point replaces this one."""
        return (self.measurement, tuple(sorted(self.tags.items())), self.time)


def parse_lines(body: bytes) -> list[Point]:
    """Return the points of a body. Raises ValueError for a body that violates the specification."""
    text = body.decode("utf-8")
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    return [_parse(line) for line in text.split("\n")[:-1] if not line.startswith("#")]


@lru_cache(maxsize=20_000)  # Each server of a test receives the same lines.
def _parse(line: str) -> Point:
    parts = _split(line, " ")
    if len(parts) != 3 or any(ord(letter) < 32 for letter in line):
        raise ValueError(f"not three parts: {line!r}")
    series, fields, time = parts
    measurement, *tags = _split(series, ",")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", measurement) or measurement.startswith("_"):
        raise ValueError(f"not a measurement: {measurement!r}")
    if not re.fullmatch(r"-?\d+", time):
        raise ValueError(f"not a time: {time!r}")
    numbers = {}
    for name, value in _pairs(_split(fields, ",")).items():
        if not _FLOAT.fullmatch(value):
            raise ValueError(f"not a number: {value!r}")
        numbers[name] = float(value)
    return Point(measurement, _pairs(tags), numbers, int(time))


def _pairs(parts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in parts:
        sides = _split(part, "=")
        if len(sides) != 2 or not all(sides) or sides[1].endswith("\\"):
            raise ValueError(f"not NAME=VALUE: {part!r}")
        name, value = (_ESCAPED.sub(r"\1", side) for side in sides)
        if name in pairs:
            raise ValueError(f"{name} comes twice")
        pairs[name] = value
    return pairs


def _split(text: str, sign: str) -> list[str]:
    """Split at the sign, unless a backslash precedes it."""
    return re.split(rf"(?<!\\){re.escape(sign)}", text)
