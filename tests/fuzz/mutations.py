"""Small mutations of real answers and files, such as suppliers, gateways and people make."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

from hypothesis import strategies as st

from tests.support.strategies import bad_values, json_values, scalars

_UNITS: Final = ["W", "Wh", "kW", "kWh", "VA", "w", "", None, 1]
_CELLS: Final = [
    *("", "0", "-1", "1e309", "nan", "12,5", "²", "99999999999999", "Periode", "PT30M", "PA", "W", '"', "é"),
    *("2024-10-27T02:30:00+02:00", "9999-12-31", "0001-01-01T00:00:00+23:00", "2024-02-30"),
]
Place = tuple[Any, Any]


@st.composite
def mutated(draw: st.DrawFn, bodies: list[Any]) -> Any:
    """Draw a body with one to four mutations."""
    body = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 4))):
        if spots := list(places(body)):
            draw(st.sampled_from(_MUTATIONS))(draw, draw(st.sampled_from(spots)))
    return body


def places(node: Any) -> Iterator[Place]:
    """Yield every container with each of its keys."""
    if isinstance(node, dict | list):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from places(node[key])


def _drop(draw: st.DrawFn, place: Place) -> None:
    del place[0][place[1]]


def _replace(draw: st.DrawFn, place: Place) -> None:
    place[0][place[1]] = draw(st.one_of(json_values, bad_values, scalars))


def _rename(draw: st.DrawFn, place: Place) -> None:
    container, key = place
    if isinstance(container, dict):
        container[draw(st.sampled_from([key.upper(), key + "s", f" {key}", "x", "value", "date", "v"]))] = (
            container.pop(key)
        )


def _duplicate(draw: st.DrawFn, place: Place) -> None:
    container, key = place
    if isinstance(container, list) and len(container) < 60:
        container.insert(draw(st.integers(0, len(container))), copy.deepcopy(container[key]))
    elif isinstance(container, dict):
        container[f"{key}_2"] = copy.deepcopy(container[key])


def _retype(draw: st.DrawFn, place: Place) -> None:
    container, key = place
    changes: list[Callable[[Any], Any]] = [str, repr, lambda value: [value], lambda value: {"value": value}, bool]
    container[key] = draw(st.sampled_from(changes))(container[key])


def _to_number(draw: st.DrawFn, place: Place) -> None:
    container, key = place
    if isinstance(container[key], str) and container[key].isdigit():
        container[key] = draw(st.sampled_from([int, float]))(container[key])


def _swap(draw: st.DrawFn, place: Place) -> None:
    container, key = place
    other = draw(st.sampled_from(list(container) if isinstance(container, dict) else range(len(container))))
    container[key], container[other] = container[other], container[key]


def _shuffle(draw: st.DrawFn, place: Place) -> None:
    value = place[0][place[1]]
    if isinstance(value, list):
        value[:] = draw(st.permutations(value))


def _unit(draw: st.DrawFn, place: Place) -> None:
    container, key = place
    if key in ("unit", "unite", "aggregate", "grandeurPhysique", "measurement_kind", "interval_length", "p"):
        container[key] = draw(st.sampled_from([*_UNITS, "EA", "PA", "PT5M", "PT60M", "P1D", "1800"]))


def _cut_text(draw: st.DrawFn, place: Place) -> None:
    container, key = place
    if isinstance(container[key], str):
        container[key] = container[key][: draw(st.integers(0, len(container[key])))]


_MUTATIONS: Final = [
    _drop, _replace, _rename, _duplicate, _retype, _to_number, _swap, _shuffle, _unit, _unit, _cut_text
]  # fmt: skip


@st.composite
def mutated_bytes(draw: st.DrawFn, texts: list[bytes]) -> bytes:
    """Draw a text that is cut, has changed bytes or a repeated piece."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 3))):
        first, last = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        piece = draw(st.sampled_from([b"", text[first:last], b"\xff", b'"', b"}", b"]", b"[" * 50, b"null", b"1e999"]))
        text = text[:first] + piece + text[draw(st.sampled_from([first, last])) :]
    return text[:20_000]


@st.composite
def mutated_file(draw: st.DrawFn, files: list[tuple[str, str]]) -> tuple[str, bytes]:
    """Draw a file with dropped, repeated or swapped lines, changed cells, other separators, encodings or line ends."""
    name, text = draw(st.sampled_from(files))
    separator = ";" if ";" in text else ","
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        cells = lines[at].split(separator)
        cell = draw(st.integers(0, len(cells) - 1))
        change = draw(st.sampled_from(["drop", "double", "swap", "cell", "cell", "cells", "cut", "text"]))
        if change == "drop":
            del lines[at]
        elif change == "double":
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif change == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif change == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        elif change == "text":
            lines[at] = draw(st.text(max_size=12))
        else:
            cells[cell : cell + (change == "cell")] = [draw(st.sampled_from(_CELLS))]
            lines[at] = separator.join(cells)
    joined = draw(st.sampled_from(["\n", "\r\n", "\r", "\x0b", "\n\n"])).join(lines)
    joined = joined.replace(separator, draw(st.sampled_from([separator] * 18 + [",", "\t"])))
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "cp1252", "utf-16"]))
    return name, joined.encode(encoding, "replace")
