"""API routes of the JSON Schemas of stored documents, one a doctype; they hold nothing of any account."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse

from worker.domain.exports import document_schema
from worker.domain.series import Doctype, suppliers_of
from worker.runtime.sync_parts import Runtime
from worker.web.api.schemas import SchemaList, error_responses
from worker.web.context import RuntimeDep
from worker.web.errors import HttpRefusal

router = APIRouter(tags=["schemas"])
_MEDIA_TYPE = "application/schema+json"


@router.get("/schemas", summary="List the doctypes", response_model=SchemaList, responses=error_responses())
def list_schemas(runtime: RuntimeDep) -> dict[str, Any]:
    """List the doctypes of stored documents, each with its series, its period and the path of its JSON Schema."""
    return {
        "schemas": [
            {
                "doctype": name,
                "series": doctype.series,
                "by": doctype.period,
                "unit": doctype.series.description.quantity.load_unit,
                "path": f"/api/schemas/{name}",
            }
            for name, doctype in _doctypes(runtime).items()
        ]
    }


@router.get(
    "/schemas/{doctype}",
    summary="Read the JSON Schema of a doctype",
    responses={
        200: {"description": "A JSON Schema, draft 2020-12.", "content": {_MEDIA_TYPE: {"schema": {"type": "object"}}}},
        **error_responses(404, 422),
    },
)
def read_schema(
    doctype: Annotated[
        str,
        Path(description="A full name, as in the list.", examples=["com.grandlyon.enedis.day"], max_length=80),
    ],
    runtime: RuntimeDep,
) -> JSONResponse:
    """Return the JSON Schema of the documents of a doctype, as the measure store keeps them."""
    known = _doctypes(runtime)
    if doctype not in known:
        raise HttpRefusal(404, "unknown_doctype", "no such doctype: GET /api/schemas lists them")
    return JSONResponse(document_schema(known[doctype]), media_type=_MEDIA_TYPE)


def _doctypes(runtime: Runtime) -> dict[str, Doctype]:
    """Return the doctypes of the suppliers that are set up, by name."""
    return {one.full_name: one for one in Doctype if not runtime.suppliers.keys().isdisjoint(suppliers_of(one.series))}
