"""Bodies with files: read in pieces, within bounds, to private temporary files that nobody else can open.

Only a route that has looked at who sends a body reads it; see ``worker.web.errors.UPLOADS``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from worker.web.errors import HttpRefusal

_LONGEST_FIELD: Final = 1024


async def read_upload(request: Request, most_bytes: int, *, most_files: int, most_fields: int) -> FormData:
    """Return the fields and files of a multipart body; the caller closes them.

    A file beyond a megabyte is in a temporary file without a name. Raises MultiPartException for another body, and
    HttpRefusal 413 where it gets longer than ``most_bytes``.
    """
    if not request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        raise MultiPartException("the body is not multipart/form-data")
    parser = MultiPartParser(
        request.headers,
        _count_bytes(request, most_bytes),
        max_files=most_files,
        max_fields=most_fields,
        max_part_size=_LONGEST_FIELD,
    )
    try:
        return await parser.parse()
    except KeyError:  # There is no boundary in the header.
        raise MultiPartException("the body has no boundary") from None


async def _count_bytes(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body, and refuse it where it gets longer than an upload may be."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise HttpRefusal(413, "too_large", f"an upload may have at most {most_bytes} bytes")
        yield chunk
