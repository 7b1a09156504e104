"""Campaigns of consents on the operator's pages.

A new campaign's list is an upload, so the sender is checked before the body is read. Addresses are shown only masked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from worker.accounts.campaigns import CampaignChoice, CampaignRefused
from worker.domain.account import OPEN_STATES, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.campaign import USUAL_PER_DAY
from worker.domain.exports import defuse
from worker.domain.windows import civil_date
from worker.texts import Message
from worker.web.dependencies import Visit, VisitDep
from worker.web.error_pages import HttpRefusal
from worker.web.file_formats import CSV_TYPE, stream_parts
from worker.web.file_uploads import LARGEST_LIST, read_upload
from worker.web.pages.operator_access import (
    PATH,
    AdminForm,
    OperatorDep,
    OperatorForm,
    OperatorVisit,
    require_form,
    titles_of_tenants,
)
from worker.web.pages.operator_accounts import ACCOUNTS_A_PART, write_csv
from worker.web.pages.operator_invitations import require_uploader
from worker.web.rendering import render, words_of
from worker.web.request_audit import note_refusal, note_subject

router = APIRouter(prefix=f"{PATH}/campaigns")
_USUAL: Final = {"days": "30", "state": "", "tenant": "", "per_day": str(USUAL_PER_DAY)}  # What a new form has.
_NUMBER: Final = re.compile("[0-9]{0,5}")
_COLUMNS: Final = ("account", "reference", "state", "mailed", "error")


@router.get("")
def show_campaigns(visit: OperatorDep) -> Response:
    return _list(visit)


@router.post("", name=AuditAction.CAMPAIGN_ADD, dependencies=[Depends(require_uploader)])
async def add(visit: VisitDep) -> Response:
    """Add a campaign, stopped, and show whom it would mail and why it left out accounts."""
    try:
        form = await read_upload(visit.request, LARGEST_LIST, most_files=1, most_fields=len(_USUAL) + 1)
    except MultiPartException as error:
        raise HttpRefusal(400, "invalid_request", str(error)) from None
    try:
        return await run_in_threadpool(_add, visit, form)
    finally:
        await form.close()


def _add(visit: Visit, form: FormData) -> Response:
    operator = require_form(visit, str(form.get("csrf", "")))
    typed = {name: str(form.get(name, "")).strip() for name in _USUAL}
    try:
        choice = _read_choice(typed, form.get("csv"), titles_of_tenants(visit.registry))
        campaign, chosen = visit.access.campaigns.add(choice, operator.operator.actor)
    except CampaignRefused as error:
        note_refusal(visit.request, "campaign_refused")
        return _list(operator, 422, typed=typed, fault=error.fault, lines=error.lines)
    note_subject(visit.request, campaign.id, tenant=choice.tenant)
    return _show(operator, campaign.id, chosen)


def _read_choice(typed: Mapping[str, str], file: object, tenants: Collection[str]) -> CampaignChoice:
    """Return what the form says. Raises CampaignRefused."""
    try:
        if not all(map(_NUMBER.fullmatch, (typed["days"], typed["per_day"]))) or typed["tenant"] not in ("", *tenants):
            raise ValueError
        return CampaignChoice(
            expiring=timedelta(days=int(typed["days"])) if typed["days"] else None,
            state=AccountState(typed["state"]) if typed["state"] else None,
            tenant=typed["tenant"] or None,
            csv=file.file.read().decode() if isinstance(file, UploadFile) and file.filename else None,
            per_day=int(typed["per_day"]),
        )
    except ValueError as error:
        fault = "encoding" if isinstance(error, UnicodeDecodeError) else "values"
        raise CampaignRefused(Message(f"operator.campaign.wrong.{fault}", {})) from None


def _list(visit: OperatorVisit, status: int = 200, **form: Any) -> Response:
    table = visit.registry.campaigns
    values: dict[str, Any] = {
        "typed": _USUAL,
        "fault": None,
        "lines": (),
        "states": OPEN_STATES,
        "tenants": titles_of_tenants(visit.registry),
        "rows": [(campaign, table.count_states(campaign.id)) for campaign in table.list_campaigns()],
        "now": visit.registry.now(),
    }
    return render(visit.request, "operator_campaigns.html", status, **visit.describe(), **(values | form))


@router.get("/{campaign_id}")
def show_campaign(visit: OperatorDep, campaign_id: str) -> Response:
    return _show(visit, campaign_id)


def _show(visit: OperatorVisit, campaign_id: str, chosen: Mapping[str, int] | None = None) -> Response:
    table = visit.registry.campaigns
    campaign, days = table.get(campaign_id), table.count_days(campaign_id)
    return render(
        visit.request,
        "operator_campaign.html",
        campaign=campaign,
        counts=table.count_states(campaign_id),
        chosen=chosen,
        rows=[] if days else visit.access.campaigns.first_rows(campaign_id),
        days=days,
        tenants=titles_of_tenants(visit.registry),
        now=visit.registry.now(),
        **visit.describe(),
    )


@router.post("/{campaign_id}/stop", name=AuditAction.CAMPAIGN_STOP)
def stop(visit: OperatorForm, campaign_id: str) -> Response:
    return _set_running(visit, campaign_id, running=False)


@router.post("/{campaign_id}/resume", name=AuditAction.CAMPAIGN_RESUME)
def resume(visit: AdminForm, campaign_id: str) -> Response:
    return _set_running(visit, campaign_id, running=True)


def _set_running(visit: OperatorVisit, campaign_id: str, *, running: bool) -> Response:
    visit.registry.campaigns.set_running(campaign_id, running=running)
    return RedirectResponse(f"{PATH}/campaigns/{campaign_id}", 303)


@router.post("/{campaign_id}/remove", name=AuditAction.CAMPAIGN_REMOVE)
def remove(visit: AdminForm, campaign_id: str, sure: Annotated[str, Form()]) -> Response:
    visit.registry.campaigns.remove(campaign_id)
    return RedirectResponse(f"{PATH}/campaigns", 303)


@router.post("/{campaign_id}/left.csv", name=AuditAction.CAMPAIGN_EXPORT)
def download_left(visit: AdminForm, campaign_id: str) -> Response:
    campaign = visit.registry.campaigns.get(campaign_id)
    parts = write_csv(visit, _COLUMNS, _read_left(visit, campaign.id))
    return stream_parts(parts, None, f"releve-campaign-{campaign.id}.csv", CSV_TYPE)


def _read_left(visit: OperatorVisit, campaign_id: str) -> Iterator[list[list[object]]]:
    left, t = visit.access.campaigns.left_rows(campaign_id), words_of(visit.request)
    while rows := list(islice(left, ACCOUNTS_A_PART)):
        yield [
            [
                row.account,
                defuse(row.reference or ""),
                t(f"campaign.state.{row.state}"),
                civil_date(row.mailed_at) if row.mailed_at else "",
                defuse(row.error),
            ]
            for row in rows
        ]
