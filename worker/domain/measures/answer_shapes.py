"""Expected shapes of an answer, and the deviations of an answer from them.

A supplier's expected answers are data that its client hands in (``worker/clients/enedis/answers.py``). A *deviation*
names its kind, its place and a short detail, all without values. The same deviation in another answer has the same
fingerprint. Deviations inform the operator early; they never stop a reading, because the parser decides what is
refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

from worker.domain.measures.answers import Json

MAX_DEVIATIONS: Final = 20  # Of one answer.
_MAX_DETAIL_LENGTH: Final = 60
_MAX_CACHED_LENGTH: Final = 32
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. /-]{0,30}", re.ASCII)


class DeviationKind(StrEnum):
    """Kinds of deviations."""

    EMPTY = "empty_answer"
    SHAPE = "unknown_shape"
    FIELD = "unknown_field"
    UNIT = "changed_unit"
    CODE = "unknown_code"


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


# -- Expected shapes


@dataclass(frozen=True, slots=True)
class ValueShape:
    """A single value of one of ``types``.

    ``pattern``: what its text must match. ``known_texts``: the only texts expected; another one is a deviation of
    the kind ``deviation_kind``. ``accepts``: a check that replaces both, for a value of any type.
    """

    types: tuple[type, ...] = (str, type(None))
    pattern: re.Pattern[str] | None = None
    known_texts: frozenset[str] | None = None
    deviation_kind: DeviationKind = DeviationKind.CODE
    accepts: Callable[[Json], bool] | None = None


@dataclass(frozen=True)  # Without slots, because what is derived from the fields is cached beside them.
class ListShape:
    """A list of objects. It may be null or absent unless it is ``needed``.

    ``may_be_single``: one object may stand there without its list. ``common``: a field that must have the same value
    in all objects, and the detail of the deviation where it has not.
    """

    fields: Mapping[str, Shape]
    needed: bool = False
    may_be_single: bool = False
    common: tuple[str, str] | None = None

    @cached_property
    def fields_with_pattern(self) -> tuple[tuple[str, Callable[[str], bool]], ...]:
        """Names of the fields with a ``pattern``, each with a check of a text against it."""
        values = [(name, shape) for name, shape in self.fields.items() if isinstance(shape, ValueShape)]
        return tuple((name, _cached_match(shape.pattern)) for name, shape in values if shape.pattern)

    @cached_property
    def fields_with_known_texts(self) -> tuple[str, ...]:
        """Names of the value fields without a ``pattern``: each has one of a few texts."""
        return tuple(name for name, shape in self.fields.items() if isinstance(shape, ValueShape) and not shape.pattern)

    @cached_property
    def has_nested_fields(self) -> bool:
        """Whether a field is an object or a list."""
        return not all(isinstance(shape, ValueShape) for shape in self.fields.values())


@dataclass(frozen=True, slots=True)
class ObjectShape:
    """An object. It may be null or absent unless it is ``needed``."""

    fields: Mapping[str, Shape]
    needed: bool = False


@dataclass(frozen=True, slots=True)
class UnreadShape:
    """A field that is expected and never looked into."""


Shape = ValueShape | ListShape | ObjectShape | UnreadShape


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """One expected form of a whole answer; an answer with any of the names in ``roots`` has this form."""

    roots: tuple[str, ...]
    fields: Mapping[str, Shape]


def _cached_match(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Return a full match with ``pattern``; results for short texts are cached, so memory has a bound.

    Meters share their labels, and their powers are the same few thousand texts.
    """
    cached = lru_cache(maxsize=16384)(lambda text: pattern.fullmatch(text) is not None)
    return lambda text: cached(text) if len(text) <= _MAX_CACHED_LENGTH else pattern.fullmatch(text) is not None


# -- Comparison of an answer with its expected shape


def find_deviations(payload: Json, shapes: Sequence[AnswerShape]) -> list[Deviation]:
    """Return what an answer of measures has that ``shapes`` does not expect: none twice, at most ``MAX_DEVIATIONS``.

    The first of ``shapes`` that has one of its roots in the answer applies.
    """
    distinct = dict.fromkeys(_compare_answer(payload, shapes))
    return [Deviation(*parts, payload) for parts in islice(distinct, MAX_DEVIATIONS)]


_Parts = tuple[DeviationKind, str, str]  # Kind, place and detail.


def _compare_answer(payload: Json, shapes: Sequence[AnswerShape]) -> Iterator[_Parts]:
    if payload is None or payload == {} or payload == []:
        yield DeviationKind.EMPTY, "answer", _type_name(payload)
        return
    if not isinstance(payload, dict):
        yield DeviationKind.SHAPE, "answer", _type_name(payload)
        return
    for shape in shapes:
        if any(name in payload for name in shape.roots):
            yield from _compare_object(payload, shape.fields, "")
            return
    yield DeviationKind.SHAPE, "answer", names_of(payload)


def _compare_object(value: Mapping[str, Json], fields: Mapping[str, Shape], path: str) -> Iterator[_Parts]:
    for name in value.keys() - fields.keys():
        yield DeviationKind.FIELD, _join(path, name), _type_name(value[name])
    for name, shape in fields.items():
        if name in value:
            yield from _compare_field(value[name], shape, _join(path, name))
        elif isinstance(shape, ListShape | ObjectShape) and shape.needed:
            yield DeviationKind.EMPTY, _join(path, name), "absent"


def _compare_field(value: Json, shape: Shape, path: str) -> Iterator[_Parts]:
    if isinstance(shape, ValueShape):
        yield from _compare_value(value, shape, path)
    elif isinstance(shape, ObjectShape):
        if isinstance(value, dict):
            yield from _compare_object(value, shape.fields, path)
        elif value is not None or shape.needed:
            yield (DeviationKind.SHAPE if value is not None else DeviationKind.EMPTY), path, _type_name(value)
    elif isinstance(shape, ListShape):
        yield from _compare_list(value, shape, path)


def _compare_list(value: Json, shape: ListShape, path: str) -> Iterator[_Parts]:
    if value is None:
        if shape.needed:
            yield DeviationKind.EMPTY, path, "null"
        return
    items = [value] if isinstance(value, dict) and shape.may_be_single else value
    if not isinstance(items, list):
        yield DeviationKind.SHAPE, path, _type_name(value)
        return
    if shape.common is not None:
        name, detail = shape.common
        if len({str(item.get(name)) for item in items if isinstance(item, dict)}) > 1:
            yield DeviationKind.SHAPE, f"{path}[].{name}", detail
    signatures: set[tuple[object, ...]] = set()
    for item in items:
        if not isinstance(item, dict):
            yield DeviationKind.SHAPE, f"{path}[]", _type_name(item)
        elif (signature := _signature(item, shape)) not in signatures:
            signatures.add(signature)
            yield from _compare_object(item, shape.fields, f"{path}[]")
        else:
            for name, has_form in shape.fields_with_pattern:
                if isinstance(text := item.get(name), str) and not has_form(text):
                    yield DeviationKind.SHAPE, _join(f"{path}[]", name), mask_text(text)


def _signature(item: Mapping[str, Json], shape: ListShape) -> tuple[object, ...]:
    """Return what is equal in two points that can only differ in their values; an answer has hundreds of those."""
    if shape.has_nested_fields:
        return (id(item),)
    signature = (*item, *map(type, item.values()), *map(item.get, shape.fields_with_known_texts))
    try:
        hash(signature)
    except TypeError:  # A list stands where a text should be.
        return (id(item),)
    return signature


def _compare_value(value: Json, shape: ValueShape, path: str) -> Iterator[_Parts]:
    if type(value) not in shape.types:
        kind = shape.deviation_kind if shape.deviation_kind is DeviationKind.UNIT else DeviationKind.SHAPE
        yield kind, path, _type_name(value)
    elif shape.accepts is not None:
        if not shape.accepts(value):
            yield DeviationKind.CODE, path, mask_unless_code(str(value))
    elif isinstance(value, str):
        if shape.known_texts is not None and value not in shape.known_texts:
            yield shape.deviation_kind, path, mask_unless_code(value)
        elif shape.pattern is not None and not shape.pattern.fullmatch(value):
            yield DeviationKind.SHAPE, path, mask_text(value)


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


def _join(path: str, name: str) -> str:
    return f"{path}.{clean_name(name)}" if path else clean_name(name)


_TYPE_NAMES: Final = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}


def _type_name(value: Json) -> str:
    return _TYPE_NAMES.get(type(value), "null")
