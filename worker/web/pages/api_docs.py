"""The page that shows the API from its OpenAPI description: calls, types and codes of errors, without a script.

The description itself is in English only; what stands around it is in the reader's language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from worker.texts import load_texts
from worker.web.error_pages import API_DOCS, PROBLEM_KEY
from worker.web.rendering import render

router = APIRouter()
_BOUNDS: Final = {"minimum": "from", "maximum": "to"}
_OR_NULL: Final = " or null"
_EVERYWHERE: Final = ("401", "403", "429", "503")  # Every call may be refused so.

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field or parameter. ``kind``: its type, as of ``_kind``."""

    name: str
    kind: tuple[str, str, str]
    required: bool
    place: str
    about: str
    default: Any
    example: Any


@router.get(API_DOCS)
def show_api(request: Request) -> Response:
    described = request.app.openapi()
    operations = [_describe(*one) for one in _list_operations(described)]
    by_tag = groupby(sorted(operations, key=lambda one: str(one["tag"])), key=lambda one: str(one["tag"]))
    return render(
        request,
        "api_docs.html",
        about_api=described["info"]["description"],
        version=described["info"]["version"],
        schemes=described["components"]["securitySchemes"],
        tags=[(tag, list(calls)) for tag, calls in by_tag],
        types=[_describe_type(name, schema) for name, schema in described["components"]["schemas"].items()],
        codes=sorted(key.removeprefix(PROBLEM_KEY) for key in load_texts() if key.startswith(PROBLEM_KEY)),
    )


def _list_operations(described: Json) -> Iterator[tuple[str, str, Json]]:
    for path, operations in described["paths"].items():
        yield from ((method.upper(), path, operation) for method, operation in operations.items())


def _describe(method: str, path: str, operation: Json) -> dict[str, Any]:
    answers = operation["responses"]
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "id": operation["operationId"],
        "tag": operation["tags"][0],
        "method": method,
        "path": path,
        "summary": operation["summary"],
        "about": operation["description"],
        "security": [list(one) for one in operation["security"]],
        "parameters": [
            _field(one["name"], {**one["schema"], **one}, one["in"]) for one in operation.get("parameters", ())
        ],
        "bodies": [_content(*one) for one in body.items()],
        "answers": [
            (status, answer["description"], [_content(*one) for one in answer.get("content", {}).items()])
            for status, answer in sorted(answers.items())
            if status < "400"
        ],
        "refusals": [
            (status, answer["description"])
            for status, answer in sorted(answers.items())
            if status >= "400" and status not in _EVERYWHERE
        ],
    }


def _content(media_type: str, content: Json) -> tuple[str, Field]:
    return media_type, _field("", content["schema"])


def _describe_type(name: str, schema: Json) -> dict[str, Any]:
    required = schema.get("required", ())
    fields = [
        _field(field, {**one, "required": field in required}) for field, one in schema.get("properties", {}).items()
    ]
    return {"name": name, "about": schema.get("description", ""), "fields": fields, "words": schema.get("enum", ())}


def _field(name: str, schema: Json, place: str = "") -> Field:
    before, type_, after = _kind(schema)
    after = after.removesuffix(_OR_NULL) if place else after  # Nobody sends null in an address.
    example = next(iter(schema.get("examples", ())), None)
    about, default = schema.get("description", ""), schema.get("default")
    return Field(name, (before, type_, after), schema.get("required") is True, place, about, default, example)


def _kind(schema: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the words before the name of a type that the page explains, this name or nothing, and the words after."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if choices:
        before, type_, after = _kind(choices[0])
        return before, type_, f"{after}{_OR_NULL}"
    if "$ref" in schema:
        return "", schema["$ref"].rpartition("/")[2], ""
    if "items" in schema:
        before, type_, after = _kind(schema["items"])
        return f"list of {before}", type_, after
    if isinstance(schema.get("additionalProperties"), dict):
        before, type_, after = _kind(schema["additionalProperties"])
        return f"by name: {before}", type_, after
    if "enum" in schema:
        return ", ".join(schema["enum"]), "", ""
    bounds = [f"{words} {schema[name]}" for name, words in _BOUNDS.items() if name in schema]
    return " ".join([schema.get("format", schema.get("type", "")), *bounds]), "", ""
