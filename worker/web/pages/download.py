"""The download page: links to files of each doctype, and a form for some days. The files come from the API."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from worker.domain.measures.series import Doctype
from worker.stores.measures.base import ALL_KEYS
from worker.web.context import RuntimeDep
from worker.web.pages.account import OwnAccount
from worker.web.pages.measures import first_day
from worker.web.render import render

router = APIRouter()


@router.get("/accounts/{account_id}/download")
def show_download(request: Request, runtime: RuntimeDep, account: OwnAccount) -> Response:
    measures = runtime.measures
    first = measures.read(account.id, dict.fromkeys(Doctype, ALL_KEYS), limit=1)
    return render(
        request,
        "download.html",
        account=account,
        doctypes=[doctype for doctype in Doctype if first[doctype]],
        first=first_day(measures, account.id, Doctype.DAY),
        today=runtime.history.today(),
    )
