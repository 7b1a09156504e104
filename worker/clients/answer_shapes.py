"""The expected shapes of suppliers' answers, deviations from these shapes, and the reduction to needed fields.

The expected answers of each supplier are pydantic models in its ``presets.py``. Only the needed fields of an answer
leave a client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from worker.domain.answers import Deviation, DeviationKind, Json, clean_name, mask_text, mask_unless_code, names_of

MAX_DEVIATIONS: Final = 20  # The most deviations that are reported for one answer.
# A key among the names of an object's fields, for ``keep_fields``. It means: if the supplier sends a text or number in
# place of the object, keep the text or number.
ITSELF: Final = ""
_Parts = tuple[DeviationKind, str, str]  # Kind, place and detail.
# The kind of deviation for each error type of pydantic; any other type counts as an unexpected shape.
_KINDS: Final[Mapping[str, DeviationKind]] = {
    "extra_forbidden": DeviationKind.FIELD,
    "literal_error": DeviationKind.CODE,
    "missing": DeviationKind.EMPTY,
    **{kind.value: kind for kind in DeviationKind},
}
_TYPE_NAMES: Final = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}


class AnswerPart(BaseModel):
    """The base class for models of the objects in an answer. A field with a default may be absent."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """One expected form of a whole answer. An answer that has any of the names in ``roots`` has this form."""

    roots: tuple[str, ...]
    model: type[AnswerPart]


def check_scalar(accepts: Callable[[Json], bool], odd: DeviationKind = DeviationKind.SHAPE) -> AfterValidator:
    """Return a validator for a text, number or null, to use in ``Annotated[Any, …]``.

    ``odd``: the kind of deviation if ``accepts`` returns False. This is not a pydantic union, because a union would
    report a wrong value once for each of its types.
    """

    def check(value: Any) -> Any:
        if (value is not None and type(value) not in (str, int, float)) or not accepts(value):
            raise PydanticCustomError(odd.value, "unexpected")
        return value

    return AfterValidator(check)


def find_deviations(payload: Json, shapes: Sequence[AnswerShape]) -> list[Deviation]:
    """Return how an answer deviates from its shape: each deviation once, at most ``MAX_DEVIATIONS``.

    The answer is compared with the first of ``shapes`` that has one of its roots in the answer.
    """
    distinct = dict.fromkeys(_compare_answer(payload, shapes))
    return [Deviation(*parts, payload) for parts in islice(distinct, MAX_DEVIATIONS)]


def _compare_answer(payload: Json, shapes: Sequence[AnswerShape]) -> list[_Parts]:
    if payload is None or payload == {} or payload == []:
        return [(DeviationKind.EMPTY, "answer", _type_name(payload))]
    if not isinstance(payload, dict):
        return [(DeviationKind.SHAPE, "answer", _type_name(payload))]
    model = next((shape.model for shape in shapes if any(name in payload for name in shape.roots)), None)
    if model is None:
        return [(DeviationKind.SHAPE, "answer", names_of(payload))]
    try:
        model.model_validate(payload)
    except ValidationError as error:
        return [_to_parts(fault) for fault in error.errors(include_url=False)]
    return []


def _to_parts(error: ErrorDetails) -> _Parts:
    value, place = error["input"], _place_of(error["loc"])
    kind = _KINDS.get(error["type"], DeviationKind.SHAPE)
    if error["type"] == "missing":
        return kind, place, "absent"
    if value is None and kind is DeviationKind.SHAPE:
        return DeviationKind.EMPTY, place, "null"
    if isinstance(value, str) and kind in (DeviationKind.CODE, DeviationKind.UNIT):
        return kind, place, mask_unless_code(value)
    if isinstance(value, str) and error["type"] in ("string_pattern_mismatch", DeviationKind.SHAPE):
        return kind, place, mask_text(value)
    return (DeviationKind.SHAPE if kind is DeviationKind.CODE else kind), place, _type_name(value)


def _place_of(location: tuple[str | int, ...]) -> str:
    names = ("[]" if isinstance(part, int) else f".{clean_name(part)}" for part in location)
    return "".join(names).removeprefix(".")


def _type_name(value: Json) -> str:
    return _TYPE_NAMES.get(type(value), "null")


def fields_of(model: type[AnswerPart]) -> dict[str, Json]:
    """Return the names of a model's fields and of its nested objects' fields, as ``keep_fields`` takes them."""
    return {
        name: next(map(fields_of, _models_in(field.annotation)), None) for name, field in model.model_fields.items()
    }


def _models_in(annotation: Any) -> Iterator[type[AnswerPart]]:
    if isinstance(annotation, type) and issubclass(annotation, AnswerPart):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def keep_fields(body: Json, kept: Mapping[str, Json] | None) -> Json:
    """Return a body with only the fields in ``kept``; each item of a list is reduced in the same way.

    The value of a name in ``kept`` is None or an object of further names. For None, the body's value is kept, but a
    list or object becomes null, because it might contain unknown data. For an object of names, a text or number in the
    body becomes null, unless the key ITSELF is among the names.
    """
    if kept is None:
        return None if isinstance(body, dict | list) else body
    if isinstance(body, list):
        return [keep_fields(item, kept) for item in body]
    if not isinstance(body, dict):
        return body if ITSELF in kept else None
    return {name: keep_fields(body[name], inner) for name, inner in kept.items() if name in body}


def keep_meter(body: Json, field: str, meter: str) -> Json:
    """Return a body without the list items that name only other meters; items that name no meter stay.

    ``field``: the key of meter numbers.
    """
    if isinstance(body, dict):
        return {name: keep_meter(value, field, meter) for name, value in body.items()}
    if not isinstance(body, list):
        return body
    named = [(item, set(find_values(item, field))) for item in body]
    return [keep_meter(item, field, meter) for item, names in named if meter in names or not names]


def find_values(body: Json, field: str) -> Iterator[str]:
    """Yield each text that stands under the key ``field``, at any depth."""
    if isinstance(body, dict):
        if isinstance(value := body.get(field), str):
            yield value
        for inner in body.values():
            yield from find_values(inner, field)
    elif isinstance(body, list):
        for item in body:
            yield from find_values(item, field)
