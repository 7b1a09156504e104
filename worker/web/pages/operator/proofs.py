"""Proofs of consents on the operator's page: those that the supplier awaits, and their upload.

The upload is a route of its own, because its body is large: who sends it is checked before it is read, and its size
while it is. It goes to private temporary files, and from there, sealed, to the worker that sends it on.
"""

from __future__ import annotations

import logging
import re
from pathlib import PurePath
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from worker.app import enqueue_proofs
from worker.clients.grdf.consent import LARGEST_PROOF, MOST_PROOFS
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.pending_consents import ProofFile
from worker.web.context import RuntimeDep
from worker.web.errors import LARGEST_UPLOAD
from worker.web.files.uploads import read_upload
from worker.web.pages.operator.sessions import PATH, is_logged_in, may_change
from worker.web.render import refuse_form, render_message

log = logging.getLogger("releve.web")
router = APIRouter(prefix="/operator/rights")
_BACK: Final = "/operator#proofs"
_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_FIELDS: Final = 2


@router.post("/{right_id}/proofs")
async def upload(request: Request, right_id: str, runtime: RuntimeDep) -> Response:
    """Take one to three files of a proof."""
    if not await run_in_threadpool(is_logged_in, request, runtime):
        return await run_in_threadpool(refuse_form, request, PATH)
    try:
        form = await read_upload(request, LARGEST_UPLOAD, most_files=MOST_PROOFS, most_fields=_MOST_FIELDS)
    except MultiPartException:
        return await run_in_threadpool(_refuse, request, "too_many")
    try:
        return await run_in_threadpool(_take, request, runtime, right_id, form)
    finally:
        await form.close()


def _take(request: Request, runtime: Runtime, right_id: str, form: FormData) -> Response:
    if not may_change(request, runtime, str(form.get("csrf", ""))):
        return refuse_form(request, PATH)
    if right_id not in {awaited.right_id for awaited in runtime.proof_uploads.list_awaited()}:
        return _refuse(request, "not_awaited", 404)
    uploads = [part for part in form.getlist("proof") if isinstance(part, UploadFile) and part.filename]
    if not uploads:
        return _refuse(request, "none")
    if any(not 0 < (part.size or 0) <= LARGEST_PROOF for part in uploads):
        return _refuse(request, "size")
    files: list[ProofFile] = [(_plain_name(part.filename or ""), part.file.read()) for part in uploads]
    runtime.proof_uploads.files.put(right_id, files)
    log.info("proof taken", extra=fields(right=right_id, files=len(files)))
    try:
        enqueue_proofs(broker_url=runtime.broker_url)
    except StoreUnavailable as error:  # Beat's task sends it a little later.
        log.warning("proof not published", extra=fields(right=right_id, reason=str(error)))
    return RedirectResponse(_BACK, 303)


def _plain_name(name: str) -> str:
    """Return a file's name without folders and unusual characters: it goes to the supplier, and may name a person."""
    suffix = _NAME.sub("", PurePath(name).suffix)[:8]
    return f"proof{suffix}"


def _refuse(request: Request, fault: str, status: int = 422) -> Response:
    return render_message(request, f"operator.proofs.{fault}", status, (_BACK, "operator.proofs.back"))
