"""API route that takes files of measures."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException

from worker.accounts.status import EXAMPLE_ID
from worker.domain.files.cells import FileFault
from worker.domain.series import Series
from worker.sync.file_import import FileComparison
from worker.web.api.auth import MayImport
from worker.web.api.schemas import AccountId, error_responses
from worker.web.context import RuntimeDep
from worker.web.errors import HttpRefusal
from worker.web.files.imports import FIELD, import_files, read_files

router = APIRouter(tags=["accounts"])
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}


class ImportedSeries(BaseModel):
    """As a line of `releve import --json`."""

    file: str = Field(description="File name, with meter numbers shortened to their last digits.")
    format: str = Field(examples=["enedis-hour"])
    usage_point: str | None = Field(description="The last digits of the meter's number.", examples=["…0011"])
    series: Series
    first: date | None
    last: date | None
    days_new: int
    days_same: int
    days_different: int
    wh: float | None = Field(description="Energy in Wh; for registers, that of the days between two readings.")

    @classmethod
    def of(cls, found: FileComparison, digits: str | None) -> ImportedSeries:
        """Return what was found in a file."""
        return cls(
            file=found.file.file,
            format=found.file.format,
            usage_point=digits,
            series=found.file.series,
            first=found.first,
            last=found.last,
            days_new=found.days_new,
            days_same=found.days_same,
            days_different=found.days_different,
            wh=found.watt_hours,
        )


class RefusedFile(BaseModel):
    file: str = Field(description="File name, and the wrong row if there is one.")
    why: FileFault
    message: str = Field(description="Text for people, one line.")


class ImportAnswer(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    dry_run: bool
    files: list[ImportedSeries] = Field(description="One for each series of a file, as found before it was stored.")
    refused: list[RefusedFile]


@router.post(
    "/accounts/{account_id}/import",
    summary="Import files of measures",
    responses=error_responses(404, 411, 413, 422),
    openapi_extra=_BODY,
)
async def import_measures(
    account_id: AccountId,
    request: Request,
    runtime: RuntimeDep,
    caller: MayImport,
    dry_run: Annotated[bool, Query(description="Only show what is new in the files; store nothing.")] = False,
) -> ImportAnswer:
    """Store the readings of files that people download, 32 MB at most; each is recognised by its content.

    Send one part `file` for each file, or a ZIP. Answers that were asked for after a file was made stay, nothing is
    deleted, and a second import changes nothing. A file of another meter is refused, and stops no other one. Where all
    are refused, the answer is 422 `file_refused`. Of a household's session the page's CSRF value is needed.
    """
    account = await run_in_threadpool(caller.load_account, runtime, account_id)
    try:
        form = await read_files(request)
    except MultiPartException as error:
        raise HttpRefusal(422, "invalid_request", f"send the files as parts `{FIELD}`: {error.message}") from None
    try:
        report = await run_in_threadpool(import_files, request, runtime, account, form, dry_run=dry_run)
    finally:
        await form.close()
    if not report.series:
        lines = "; ".join(f"{one.name}: {one.line}" for one in report.refused)
        raise HttpRefusal(422, "file_refused", lines or f"send at least one file, as a part `{FIELD}`")
    return ImportAnswer(
        account=account.id,
        dry_run=dry_run,
        files=[ImportedSeries.of(found, account.last_digits) for found in report.series],
        refused=[RefusedFile(file=one.name, why=one.why, message=one.line) for one in report.refused],
    )
