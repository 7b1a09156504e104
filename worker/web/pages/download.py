"""The download page: links to files of each period, and a form for some days. The files come from the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request, Response

from worker.domain.measures.readings import Period
from worker.stores.measures.base import ALL_KEYS
from worker.web.context import ContextDep
from worker.web.pages.account import OwnAccount, digits_of
from worker.web.pages.measures import first_day
from worker.web.render import render

router = APIRouter()

_FORMATS: Final = ("csv", "json")


@dataclass(frozen=True, slots=True)
class Choice:
    """A period with stored documents. ``files`` are pairs of format and address."""

    period: Period
    files: list[tuple[str, str]]


@router.get("/accounts/{account_id}/download")
def show_download(request: Request, context: ContextDep, account: OwnAccount) -> Response:
    measures = context.runtime.measures
    first = measures.read(account.id, dict.fromkeys(Period, ALL_KEYS), limit=1)
    stored = [period for period in Period if first[period]]
    return render(
        request,
        "download.html",
        account=account,
        digits=digits_of(account),
        choices=[Choice(period, _files(account.id, period)) for period in stored],
        first=first_day(measures, account.id, Period.DAY),
        today=context.runtime.claims.today(),
    )


def _files(account_id: str, period: Period) -> list[tuple[str, str]]:
    base = f"/api/accounts/{account_id}/measures?by={period}"
    return [(form, f"{base}&format={form}") for form in _FORMATS]
