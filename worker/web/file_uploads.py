"""Uploaded files: read in pieces and within limits, and imported into an account, for the account's page and the API.

A large file is kept in a private temporary file that nobody else can open. A body is read only by routes that have
checked its sender (``UPLOADS``).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from threading import Lock
from typing import Final

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from worker.clients.grdf.consent import LARGEST_PROOF, MOST_PROOFS
from worker.domain.account import Account
from worker.domain.files import read_file
from worker.domain.files.cells import FileFault, FileRefused
from worker.runtime.consent_parts import build_file_accounts
from worker.runtime.sync_parts import build_importer
from worker.stores.redis.locks import Rate
from worker.sync.file_import import FileComparison, describe_counts
from worker.web.dependencies import Session, Visit
from worker.web.error_pages import HttpRefusal
from worker.web.request_audit import leave_out, note_refusal, note_subject

# For three files from a signed-in operator, and the multipart text between them.
LARGEST_UPLOAD: Final = MOST_PROOFS * LARGEST_PROOF + 64 * 1024
# For files of measures from a household or its program: all files of an import together.
LARGEST_IMPORT: Final = 32 * 1024 * 1024
LARGEST_PRICES: Final = 256 * 1024
# For a campaign's list of addresses, from a signed-in operator.
LARGEST_LIST: Final = 16 * 1024 * 1024
# The routes that take files or long forms, each with the most bytes of its body. A route listed here checks the sender
# before it reads the body. ``asgi`` refuses multipart bodies for all other pages.
UPLOADS: Final = {
    re.compile(r"/operator/rights/[0-9a-z]{1,40}/proofs"): LARGEST_UPLOAD,
    re.compile(r"/operator/campaigns"): LARGEST_LIST,
    re.compile(r"(/api)?/accounts/[a-z0-9]{1,32}/import"): LARGEST_IMPORT,
    re.compile(r"/accounts/[a-z0-9]{1,32}/prices"): LARGEST_PRICES,
}
FIELD: Final = "file"  # The name of each multipart part that has a file.
MOST_FILES: Final = 200  # Enough for two years of weekly exports.
_LONGEST_FIELD: Final = 1024
_MOST_FIELDS: Final = 4
# An import takes some seconds of processor time, and memory for the largest file.
IMPORTS: Final = Rate("import", calls=60, window_s=3600)  # Counted by account.
_MOST_AT_ONCE: Final = 2  # Imports at once in one process, which also serves pages.
_AGAIN_S: Final = 10
_holders: set[str] = set()  # The ids of the households and accounts that are importing now.
_lock = Lock()


async def read_upload(request: Request, most_bytes: int, *, most_files: int, most_fields: int) -> FormData:
    """Return the form (fields and files) of a multipart body; the caller must close the form.

    A file beyond a megabyte is kept in a temporary file without a name. Raises MultiPartException if the body isn't
    valid multipart, and HttpRefusal 413 if the body is longer than ``most_bytes``.
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
    except KeyError:  # The header has no boundary.
        raise MultiPartException("the body has no boundary") from None


async def _count_bytes(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body; raise HttpRefusal once it is longer than ``most_bytes``."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise HttpRefusal(413, "too_large", f"an upload may have at most {most_bytes} bytes")
        yield chunk


@dataclass(frozen=True, slots=True)
class RefusedUpload:
    """A file that is not imported: its name (with the wrong row, if any), the reason, and an explanation in English."""

    name: str
    why: FileFault
    line: str

    @classmethod
    def of(cls, error: FileRefused) -> RefusedUpload:
        name, _, line = str(error).partition(": ")
        return cls(name, error.why, line)


@dataclass
class ImportReport:
    series: list[FileComparison] = field(default_factory=list)
    refused: list[RefusedUpload] = field(default_factory=list)


async def read_files(request: Request) -> FormData:
    """Return the form with its files; the caller must close the form. Raises MultiPartException and HttpRefusal."""
    return await read_upload(request, LARGEST_IMPORT, most_files=MOST_FILES, most_fields=_MOST_FIELDS)


def import_files(
    visit: Visit, account: Account, form: FormData, *, holder: Session | None, dry_run: bool
) -> ImportReport:
    """Compare the files of a form with what is stored and, unless it is a dry run, store them.

    ``holder``: the session of the household that sends the files; None if a client does. A refused file doesn't stop
    the others. The numbers of new, equal and different days are noted for the audit trail. Raises HttpRefusal 429 after
    too many imports. In one process at most two imports run at once: only one of a household, and only one of clients
    into the same account. HttpRefusal 503 refuses any more. After StoreUnavailable the same import can be repeated.
    """
    if wait_s := visit.count_call(IMPORTS, account.id):
        raise HttpRefusal(429, "too_many_requests", f"too many imports: try again in {wait_s} s", wait_s=wait_s)
    report, importer = ImportReport(), build_importer(visit.stores, visit.sync)
    check = build_file_accounts(visit.stores).check
    with _slot(holder.household.id if holder and holder.household else account.id):
        for part in form.getlist(FIELD):
            if not isinstance(part, UploadFile) or not part.filename:
                continue
            try:
                for file in read_file(PurePath(part.filename).name, part.file):
                    try:
                        check(file, account)
                    except FileRefused as error:  # Another series of the same file may belong to this meter.
                        report.refused.append(RefusedUpload.of(error))
                        continue
                    report.series.append(importer.compare(file, account.id, account.data_from))
                    if not dry_run:
                        importer.store(file, account.id, account.data_from)
            except FileRefused as error:
                report.refused.append(RefusedUpload.of(error))
    if dry_run:
        leave_out(visit.request)
    elif not report.series:
        note_refusal(visit.request, "file_refused")
    new, same, different = (
        sum(getattr(found, name) for found in report.series) for name in ("days_new", "days_same", "days_different")
    )
    note_subject(visit.request, describe_counts(new, same, different), account_id=account.id)
    return report


@contextmanager
def _slot(holder: str) -> Iterator[None]:
    with _lock:
        if holder in _holders or len(_holders) >= _MOST_AT_ONCE:
            raise HttpRefusal(503, "busy", "other files are being imported: try again later", wait_s=_AGAIN_S)
        _holders.add(holder)
    try:
        yield
    finally:
        _holders.discard(holder)
