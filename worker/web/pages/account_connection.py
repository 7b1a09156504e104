"""A meter's connection and data: its state with advice, who reads the data, files, prices, access and removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from fastapi import APIRouter, Response

from worker.accounts.notice_channels import CURVE_NOT_ACTIVATED
from worker.accounts.status import coverage_of
from worker.clients.grdf import GRDF
from worker.domain.account import Account
from worker.domain.completeness import Hole
from worker.domain.series import daily_of, find_curve
from worker.domain.windows import ONE_DAY, civil_date
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.sync.history import History
from worker.web.dependencies import OwnAccount, VisitDep, name_service
from worker.web.pages.account_forms import describe_grants
from worker.web.pages.account_head import RATE_LIMITED, RETRYING, load_meter, render_section
from worker.web.rendering import words_of
from worker.web.texts import Words

router = APIRouter()
_GAP_REACH: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Reader:
    """The service that reads the account's data, from the day ``since`` to the day ``until``.

    Both days are included; ``until`` is None if unknown.
    """

    service: str
    since: date
    until: date | None


@router.get("/accounts/{account_id}/connection")
def show_connection(visit: VisitDep, account: OwnAccount) -> Response:
    stores, sync, words, meter = visit.stores, visit.sync, words_of(visit.request), load_meter(visit, account)
    home, status, state = meter.home, meter.status, meter.connection
    return render_section(
        visit,
        meter,
        "connection",
        "connection.html",
        may_add_gas=_may_add_gas(sync, account, [one.supplier for one in (*home.accounts, *home.joinable)]),
        why_late=meter.why_late,
        cause=words.cause(status.failure, account.supplier) if state == RETRYING else "",
        next_try=status.next_try if state == RATE_LIMITED else None,
        last_day=status.last_day,
        reader=_find_reader(stores, account, meter.today, words),
        curve_missing=status.hint == CURVE_NOT_ACTIVATED,
        **_count_gaps(sync.history, account, meter.today),
        **describe_grants(stores, sync, account),
    )


def _find_reader(stores: Stores, account: Account, today: date, words: Words) -> Reader | None:
    """Return who may read the data under the consent in force; None if nobody may any more."""
    if account.refusal_on(today) is not None:
        return None
    proof = stores.registry.consents.newest_proofs([account.id]).get(account.id)
    if proof is not None and not proof.open:
        return None
    began = account.created_at if proof is None else proof.consented_at
    since = (proof.consent_from if proof else None) or account.consent_from or civil_date(began)
    return Reader(name_service(stores, account.tenant, words), since, account.consent_until)


def _may_add_gas(sync: Sync, account: Account, suppliers: Sequence[str]) -> bool:
    """Return whether the page offers to connect a gas meter too.

    True if gas is set up, the home has no gas account, the household has no gas account that may join the home, and the
    household may still choose the account's series.
    """
    return GRDF.name in sync.suppliers and GRDF.name not in suppliers and account.may_choose_series


def _count_gaps(history: History, account: Account, today: date) -> dict[str, Any]:
    """Return how many days of the last month lack the daily value, and how many lack only the curve."""
    coverage = coverage_of(account.id, history)
    first, series = today - _GAP_REACH, daily_of(supplier=account.supplier)
    daily, curves = coverage.get(series), find_curve(series)
    curve = coverage.get(curves) if curves else None
    # The newest daily value may come at any moment, so it isn't counted.
    due = today - series.description.published_after_days * ONE_DAY
    return {
        "unpublished_days": sum(first <= gap.day < due for gap in (daily.open_days if daily else ())),
        "curve_gaps": sum(
            gap.hole is Hole.TRANSMISSION and gap.day >= first for gap in (curve.open_days if curve else ())
        ),
    }
