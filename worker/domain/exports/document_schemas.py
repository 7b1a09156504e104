"""JSON Schemas of stored documents, one a doctype, made from its description in ``series``.

They describe documents as the measure store keeps them (docs/reference/documents.md), so a client can check what it
reads. A schema is strict: a field that it does not name is none of ours.
"""

from __future__ import annotations

from typing import Any, Final

from worker.domain.measures.documents import PLACE_HOLDERS
from worker.domain.measures.series import Detail, DetailType, Doctype, Granularity, Period

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ACCOUNT: Final = "[a-z][a-z0-9]{0,31}"
_DAY: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_KEYS: Final = {
    Period.MINUTE: f"{_DAY}T[0-9]{{2}}:[0-9]{{2}}Z",
    Period.HOUR: f"{_DAY}T[0-9]{{2}}:00Z",
    Period.DAY: _DAY,
    Period.MONTH: "[0-9]{4}-[0-9]{2}",
    Period.YEAR: "[0-9]{4}",
}
_RANGES: Final = {"year": (2000, 2099), "month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59)}
_UTC: Final = {"type": "string", "pattern": f"^{_DAY}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}\\+00:00$"}


def document_schema(doctype: Doctype) -> Schema:
    """Return the JSON Schema (draft 2020-12) of the stored documents of a doctype."""
    period, described = doctype.period, doctype.series.description
    properties: Schema = {
        "_id": {
            "type": "string",
            "pattern": f"^{_ACCOUNT}:{_KEYS[period]}$",
            "description": "The account and the key, joined by a colon; keys sort as time does.",
        },
        "_rev": {"type": "string", "description": "The store's revision; absent in copies without it."},
        "load": {"type": "number", "minimum": 0, "description": f"In {described.quantity.load_unit}."},
        **_civil_time(doctype),
        "created_at": _UTC,
        "updated_at": _UTC,
        "source_account": {"type": "string", "pattern": f"^{_ACCOUNT}$", "description": "The account's opaque id."},
    }
    optional = {"_rev"}
    if period in (Period.MINUTE, Period.HOUR):
        properties["fold"] = {"const": 1, "description": "The second pass of the hour that comes twice in October."}
        optional.add("fold")
    if period is Period.MINUTE:
        properties["step"] = {"type": "integer", "minimum": 1, "description": "Minutes of a step that isn't 30."}
        optional.add("step")
    properties |= {detail.name: detail_schema(detail) for detail in doctype.details}
    optional.update(doctype.detail_names)
    return {
        "$schema": DIALECT,
        "$id": f"/api/schemas/{doctype.full_name}",
        "title": doctype.full_name,
        "description": f"{described.label.title['en']}, by {period}",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def detail_schema(detail: Detail) -> Schema:
    """Return the schema of a further field, which is absent where the supplier tells nothing."""
    if detail.type is DetailType.ENERGIES:
        energies = {"type": "integer", "minimum": 0}
        return {"type": "object", "additionalProperties": energies, "description": _sentence(detail)}
    return {"type": "number" if detail.type is DetailType.NUMBER else "string", "description": _sentence(detail)}


def _civil_time(doctype: Doctype) -> Schema:
    """Return the schema of the local time (Europe/Paris) at which the period begins, or of the value's instant."""
    has_instant = doctype.series.description.granularity is Granularity.INSTANT
    fixed = {} if has_instant else PLACE_HOLDERS[doctype.period]
    return {
        name: {"const": fixed[name]} if name in fixed else {"type": "integer", "minimum": least, "maximum": most}
        for name, (least, most) in _RANGES.items()
    }


def _sentence(detail: Detail) -> str:
    return f"{detail.description[0].upper()}{detail.description[1:]}."
