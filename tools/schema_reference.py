"""The JSON Schemas of all doctypes: ``python -m tools.schema_reference`` prints docs/reference/schemas.json."""

from __future__ import annotations

import json
import sys

from worker.domain.exports import document_schema
from worker.domain.series import Doctype


def to_json() -> str:
    """Return all schemas by the whole name of their doctype, as the API serves each."""
    schemas = {doctype.full_name: document_schema(doctype) for doctype in Doctype}
    return json.dumps(schemas, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(to_json())
