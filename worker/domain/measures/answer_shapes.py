"""What a known answer looks like, and what in an answer is not in that picture.

Nothing here stops a reading: which units and shapes are refused is the parser's decision.  This tells the operator
what the supplier has begun to send, before anybody misses it.  A *surprise* names the kind, the place and a short
detail, all three without values; the same surprise in another answer has the same fingerprint.

Source of what is known: upstream-apis 1.2, 1.6 and 1.12, and the recorded answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import Series
from worker.domain.parsing.values import parse_step_minutes

MOST_SURPRISES: Final = 20  # of one answer
_LONGEST_DETAIL: Final = 60
_LONGEST_REMEMBERED: Final = 32
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. /-]{0,30}", re.ASCII)


class DeviationKind(StrEnum):
    EMPTY = "empty_answer"
    SHAPE = "unknown_shape"
    FIELD = "unknown_field"
    UNIT = "changed_unit"
    CODE = "unknown_code"


@dataclass(frozen=True)  # no slots: the fingerprint is kept beside the fields
class Deviation:
    """``place``: a path like ``meter_reading.interval_reading[].quality``; ``sample``: the answer, as it came."""

    kind: DeviationKind
    place: str
    detail: str = ""
    sample: Json = field(default=None, repr=False, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.kind}\n{self.place}\n{self.detail}".encode()).hexdigest()[:16]


# -- the picture


@dataclass(frozen=True, slots=True)
class Leaf:
    """``form``: what its text looks like; ``known``: its words, each other one being of the kind ``odd``."""

    types: tuple[type, ...] = (str, type(None))
    form: re.Pattern[str] | None = None
    known: frozenset[str] | None = None
    odd: DeviationKind = DeviationKind.CODE


@dataclass(frozen=True)  # no slots: what is worked out of the fields is kept beside them
class Many:
    """A list of objects; null and absent are empty, unless it is ``needed``."""

    fields: Mapping[str, Node]
    needed: bool = False

    @cached_property
    def formed(self) -> tuple[tuple[str, Callable[[str], bool]], ...]:
        """Fields whose text must have a form, and whether one has it."""
        leaves = [(name, node) for name, node in self.fields.items() if isinstance(node, Leaf)]
        return tuple((name, _remembering(leaf.form)) for name, leaf in leaves if leaf.form)

    @cached_property
    def worded(self) -> tuple[str, ...]:
        """Fields that hold one of a few words."""
        return tuple(name for name, node in self.fields.items() if isinstance(node, Leaf) and not node.form)

    @cached_property
    def nested(self) -> bool:
        return not all(isinstance(node, Leaf) for node in self.fields.values())


@dataclass(frozen=True, slots=True)
class One:
    """An object, or null unless it is ``needed``."""

    fields: Mapping[str, Node]
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Anything:
    """Known to be there, and not read."""


Node = Leaf | Many | One | Anything


def _remembering(form: re.Pattern[str]) -> Callable[[str], bool]:
    """Homes have the same labels and draw the same few thousand powers; what is remembered is short."""
    short = lru_cache(maxsize=16384)(lambda text: form.fullmatch(text) is not None)
    return lambda text: short(text) if len(text) <= _LONGEST_REMEMBERED else form.fullmatch(text) is not None


def _words(*known: str, odd: DeviationKind = DeviationKind.CODE) -> Leaf:
    return Leaf(known=frozenset(known), odd=odd)


_TEXT_OR_NUMBER: Final = (str, int, float, type(None))
_DAY: Final = r"20\d\d-\d\d-\d\d"
_DATE: Final = Leaf(form=re.compile(rf"\s*{_DAY}(?:[T ]\d\d:\d\d.{{0,16}})?\s*", re.ASCII))
_VALUE: Final = Leaf(_TEXT_OR_NUMBER, re.compile(r"\s*(?:-?\d{1,12}(?:\.\d{0,12})?|null|)\s*", re.ASCII))
_STEP: Final = Leaf(_TEXT_OR_NUMBER)
_A_DAY: Final = _words("", "P1D", "86400")
_NATURES: Final = _words(*"BRHECKPSTFGD")  # of 2026 only B was ever seen; the others are those of sibling flows


def _reading(series: Series) -> dict[str, Node]:
    daily = series is Series.DAILY
    step = _A_DAY if daily else _STEP
    return {
        "usage_point_id": Leaf(),
        "start": _DATE,
        "end": _DATE,
        "quality": _words("BRUT"),
        "reading_type": One(
            {
                "unit": _words("Wh" if daily else "W", odd=DeviationKind.UNIT),
                "measurement_kind": _words("energy" if daily else "power", odd=DeviationKind.UNIT),
                "aggregate": _words("sum" if daily else "average", odd=DeviationKind.UNIT),
                "measuring_period": _words("P1D"),
                "interval_length": step,
            }
        ),
        "interval_reading": Many(
            {
                "value": _VALUE,
                "date": _DATE,
                "interval_length": step,
                "measure_type": _words("B"),
                "rank": Leaf(_TEXT_OR_NUMBER),
            },
            needed=True,
        ),
    }


def _answer_2026(series: Series) -> dict[str, Node]:
    daily = series is Series.DAILY
    points = Many(
        {
            "v": _VALUE,
            "d": _DATE,
            "p": _A_DAY if daily else _STEP,
            "n": _NATURES,
            "iv": Leaf(_TEXT_OR_NUMBER),
            "ec": Leaf(_TEXT_OR_NUMBER),
        }
    )
    return {
        "idPrm": Leaf(),
        "etapeMetier": _words("BRUT", "BEST"),
        "periode": One({"dateDebut": _DATE, "dateFin": _DATE}),
        "typeValeur": _words("GLOBALE"),
        "modeCalcul": _words("MESURE", "DIFF.INDEX", "INTEG.COURBE"),
        "pas": _words("P1D", "PT5M", "PT10M", "PT15M", "PT30M", "PT60M"),
        "contexte": Anything(),
        "grandeur": Many(
            {
                "grandeurMetier": _words("CONS", "PROD"),
                "grandeurPhysique": _words("EA" if daily else "PA", odd=DeviationKind.UNIT),
                "unite": _words("Wh" if daily else "W", odd=DeviationKind.UNIT),
                "calendrier": Anything(),
                "points": points,
            }
        ),
    }


_READING: Final = {series: _reading(series) for series in Series}
_ROOTS: Final = {
    series: (  # in the parser's own order: the first name that is there tells the shape
        (("grandeur", "idPrm", "periode"), _answer_2026(series)),
        (("meter_reading",), {"meter_reading": One(_READING[series], needed=True)}),
        (("interval_reading",), _READING[series]),
        (
            ("usage_point",),
            {"usage_point": Many({"usage_point_id": Leaf(), "meter_reading": One(_READING[series], needed=True)})},
        ),
    )
    for series in Series
}


# -- looking


def look_at(payload: Json, series: Series) -> list[Deviation]:
    """What an answer of measures holds that nobody has told us of; none twice, at most ``MOST_SURPRISES``."""
    found = dict.fromkeys(Deviation(kind, place, detail) for kind, place, detail in _look(payload, series))
    return [Deviation(each.kind, each.place, each.detail, payload) for each in islice(found, MOST_SURPRISES)]


Found = tuple[DeviationKind, str, str]


def _look(payload: Json, series: Series) -> Iterator[Found]:
    if payload is None or payload == {} or payload == []:
        yield DeviationKind.EMPTY, "answer", _type(payload)
        return
    if not isinstance(payload, dict):
        yield DeviationKind.SHAPE, "answer", _type(payload)
        return
    for names, fields in _ROOTS[series]:
        if any(name in payload for name in names):
            yield from _object(payload, fields, "")
            return
    yield DeviationKind.SHAPE, "answer", names_of(payload)


def _object(value: Mapping[str, Json], fields: Mapping[str, Node], path: str) -> Iterator[Found]:
    for name in value.keys() - fields.keys():
        yield DeviationKind.FIELD, _join(path, name), _type(value[name])
    for name, node in fields.items():
        if name in value:
            yield from _node(value[name], node, _join(path, name))
        elif isinstance(node, Many | One) and node.needed:
            yield DeviationKind.EMPTY, _join(path, name), "absent"


def _node(value: Json, node: Node, path: str) -> Iterator[Found]:
    if isinstance(node, Leaf):
        yield from _leaf(value, node, path)
    elif isinstance(node, One):
        if isinstance(value, dict):
            yield from _object(value, node.fields, path)
        elif value is not None or node.needed:
            yield (DeviationKind.SHAPE if value is not None else DeviationKind.EMPTY), path, _type(value)
    elif isinstance(node, Many):
        yield from _list(value, node, path)


def _list(value: Json, node: Many, path: str) -> Iterator[Found]:
    if value is None:
        if node.needed:
            yield DeviationKind.EMPTY, path, "null"
        return
    # the oldest answers have a single usage point without its list
    items = [value] if isinstance(value, dict) and path == "usage_point" else value
    if not isinstance(items, list):
        yield DeviationKind.SHAPE, path, _type(value)
        return
    meters = {str(item.get("usage_point_id")) for item in items if isinstance(item, dict)}
    if path == "usage_point" and len(meters) > 1:
        yield DeviationKind.SHAPE, f"{path}[].usage_point_id", "several meters"
    known: set[tuple[object, ...]] = set()
    for item in items:
        if not isinstance(item, dict):
            yield DeviationKind.SHAPE, f"{path}[]", _type(item)
        elif (alike := _signature(item, node)) not in known:
            known.add(alike)
            yield from _object(item, node.fields, f"{path}[]")
        else:
            for name, has_form in node.formed:
                if isinstance(text := item.get(name), str) and not has_form(text):
                    yield DeviationKind.SHAPE, _join(f"{path}[]", name), form_of(text)


def _signature(item: Mapping[str, Json], node: Many) -> tuple[object, ...]:
    """What two points must share so that only their values can surprise: an answer has hundreds alike."""
    if node.nested:
        return (id(item),)
    alike = (*item, *map(type, item.values()), *map(item.get, node.worded))
    try:
        hash(alike)
    except TypeError:  # a list where a word should be
        return (id(item),)
    return alike


def _leaf(value: Json, leaf: Leaf, path: str) -> Iterator[Found]:
    if type(value) not in leaf.types:
        yield (leaf.odd if leaf.odd is DeviationKind.UNIT else DeviationKind.SHAPE), path, _type(value)
    elif leaf is _STEP:
        if parse_step_minutes(value) is None:
            yield DeviationKind.CODE, path, word_of(str(value))
    elif isinstance(value, str):
        if leaf.known is not None and value not in leaf.known:
            yield leaf.odd, path, word_of(value)
        elif leaf.form is not None and not leaf.form.fullmatch(value):
            yield DeviationKind.SHAPE, path, form_of(value)


# -- words without values


def form_of(text: str) -> str:
    """The form of a text: every digit a 9, every letter an a."""
    return "".join("9" if letter.isdigit() else "a" if letter.isalpha() else letter for letter in text)[
        :_LONGEST_DETAIL
    ]


def word_of(text: str) -> str:
    """A code as it is, if it looks like one; else its form.  Long numbers are no codes: one may be a meter's."""
    looks_like_one = _CODE.fullmatch(text) and not re.search(r"\d{8}", text)
    return text if looks_like_one else form_of(text)


def names_of(value: Mapping[str, Json]) -> str:
    """The names in an object, in one order."""
    return ",".join(sorted(clean_name(name) for name in islice(value, 12)))[:_LONGEST_DETAIL]


def clean_name(name: str) -> str:
    """A field's name; numbers in it count as one, for a field named after a day is one field and not many."""
    return re.sub(r"\d+", "9", name) if _NAME.fullmatch(name) else form_of(name)


def _join(path: str, name: str) -> str:
    return f"{path}.{clean_name(name)}" if path else clean_name(name)


_TYPES: Final = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}


def _type(value: Json) -> str:
    return _TYPES.get(type(value), "null")
