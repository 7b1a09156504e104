"""One whole file as an answer, sent page by page.

Where the store fails in the middle, or the reader's session or token ends, the connection is closed before the body's
end: a browser and a client then tell a failed download, and nobody takes a part for the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from fastapi import Response
from fastapi.responses import StreamingResponse

from worker.errors import WorkerError
from worker.logs import fields
from worker.web.errors import AbortedAnswer, HttpRefusal
from worker.web.files.formats import FileFormat
from worker.web.files.stored_range import StoredRange

log = logging.getLogger("releve.web")


def stream_file(
    stored: StoredRange, file_format: FileFormat, name: str, check_still_sees: Callable[[], object]
) -> Response:
    """Return the answer with all documents of the range, which has one page of them in memory at a time.

    ``check_still_sees`` raises where the caller may no longer read; it is asked after each page, before the page is
    sent. The first page is read at once, so its failure is an answer with its own status.
    """
    documents, more = stored.read()
    check_still_sees()

    def write_parts() -> Iterator[str]:
        yield file_format.head() + file_format.rows(documents)
        has_more = more
        while has_more:
            try:
                page, has_more = stored.read()
                check_still_sees()
            except (WorkerError, HttpRefusal) as error:
                log.warning("download aborted", extra=fields(account_id=stored.account_id, reason=str(error)))
                raise AbortedAnswer from None
            yield file_format.rows(page)
        yield file_format.tail()

    return StreamingResponse(
        write_parts(), headers=attachment_header(name + file_format.ending), media_type=file_format.content_type
    )


def attachment_header(name: str) -> dict[str, str]:
    """Return the header by which a browser saves an answer as a file."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}
