"""The page of an account: progress of the first sync, charts, and the state of the connection with what to do.

``OwnAccount`` is the dependency that lets a browser see its own accounts alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query, Request, Response

from worker.accounts.explanations import coverage_of
from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED
from worker.accounts.status import AccountStatus, status_of
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.holes import Hole
from worker.domain.measures.readings import ONE_DAY, DateWindow, civil_date
from worker.domain.measures.series import Series
from worker.errors import ConsentStopped, UnknownAccount
from worker.runtime.process import Runtime
from worker.web.context import RuntimeDep, SessionDep
from worker.web.pages.charts import Summary, build_chart, summarize
from worker.web.pages.measures import Span, View, measures_by_day, read_days
from worker.web.render import render, words_of
from worker.web.texts import Words

router = APIRouter()

# Whether all is well, the household waits or it has to act.
KINDS: Final = {
    AccountState.NEW: "wait",
    AccountState.READY: "good",
    AccountState.PAUSED: "wait",
    AccountState.ACTION_NEEDED: "act",
    AccountState.CLOSED: "wait",
}
RATE_LIMITED: Final = "state.rate_limited"
_LATE_AFTER: Final = timedelta(days=3)  # The supplier itself may be a day or two late.
_GAP_REACH: Final = timedelta(days=30)


@router.get("/accounts/{account_id}")
def show_account(
    request: Request,
    runtime: RuntimeDep,
    account: OwnAccount,
    by: Annotated[View | None, Query()] = None,
    at: Annotated[date | None, Query()] = None,
) -> Response:
    words = words_of(request)
    status = status_of(account, runtime.history)
    today = runtime.history.today()
    bars = {name: series for name, series in status.series.items() if series.total}
    kind, connection = connection_of(account, status, today)
    return render(
        request,
        "account.html",
        account=account,
        bars=bars,
        loading=account.active and any(bar.done < bar.total for bar in bars.values()),
        chart=build_chart(runtime, account.id, words, by, at),
        figures=build_figures(runtime, account.id, status.series[Series.DAILY].last_day, words),
        kind=kind,
        connection=connection,
        needs_invitation=not runtime.clients.account_tokens,
        next_try=status.next_try if connection == RATE_LIMITED else None,
        last_day=status.last_day,
        may_stop=account.may_be_stopped,
        reader=_find_reader(runtime, account, today, words),
        may_renew=account.state is not AccountState.CLOSED,
        curve_missing=status.hint == CURVE_NOT_ACTIVATED,
        **_count_gaps(runtime, account.id, today),
    )


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the account's data, since when and until when, both days included; None where that isn't known."""

    service: str
    since: date
    until: date | None


def _find_reader(runtime: Runtime, account: Account, today: date, words: Words) -> Reader | None:
    """Return who may read the data by the consent in force; None where nobody does any more."""
    if account.refusal_on(today) is not None:
        return None
    proof = runtime.consents.newest_proofs([account.id]).get(account.id)
    if proof is not None and not proof.open:
        return None
    began = account.created_at if proof is None else proof.consented_at
    since = (proof.consent_from if proof else None) or account.consent_from or civil_date(began)
    return Reader(_service_name(runtime, account, words), since, account.consent_until)


def _service_name(runtime: Runtime, account: Account, words: Words) -> str:
    """Return the service's title; without one, the host of its address, where that is a name."""
    if title := runtime.tenants.title_of(account.tenant):
        return title
    host = urlsplit(runtime.settings.public_url).hostname or ""
    is_name = "." in host and not host.replace(".", "").isdigit()
    return host if is_name else words("account.reader.this_service")


def connection_of(account: Account, status: AccountStatus, today: date) -> tuple[str, str]:
    """Return the state of the connection: good, wait or act, and the key of its texts ``.headline`` and ``.advice``."""
    if account.reason == ConsentStopped.code:
        return "wait", f"code.{account.reason}"  # The household knows: it did so itself.
    if account.state is AccountState.ACTION_NEEDED:
        return KINDS[account.state], f"code.{account.reason}"
    if account.state is AccountState.NEW:
        return ("wait", "state.unconfirmed") if account.unconfirmed else ("act", "state.new")
    if account.state is not AccountState.READY:
        return KINDS[account.state], f"state.{account.state}"
    last = status.last_day
    if status.waits_for_turn:
        return "wait", RATE_LIMITED
    if any(series.error for series in status.series.values()):
        return "wait", "state.retrying"
    if last is None:
        return "wait", "state.first"
    return ("wait", "state.late") if last < today - _LATE_AFTER else ("good", "state.good")


def build_figures(runtime: Runtime, account_id: str, last: date | None, words: Words) -> list[Summary]:
    """Return the sums of the last day, its month and its year, each compared to the one before."""
    if last is None:
        return []
    window = DateWindow(date(last.year - 1, 1, 1), last + ONE_DAY)
    days = read_days(runtime.measures, account_id, window)
    spans = [Span.containing(view, last) for view in View]
    return [summarize(measures_by_day(span, days, span.end), words) for span in spans]


def _count_gaps(runtime: Runtime, account_id: str, today: date) -> dict[str, int]:
    """Return how many days of the last month have no total yet, and how many a total but no transmitted curve."""
    coverage, _ = coverage_of(account_id, runtime.history)
    first = today - _GAP_REACH
    daily, curve = (coverage[name].open_days for name in (Series.DAILY, Series.LOAD_CURVE))
    return {
        # Yesterday's total may come any moment, so it isn't counted.
        "unpublished_days": sum(first <= gap.day < today - ONE_DAY for gap in daily),
        "curve_gaps": sum(gap.hole is Hole.TRANSMISSION and gap.day >= first for gap in curve),
    }


def load_own_account(account_id: str, runtime: RuntimeDep, session: SessionDep) -> Account:
    """Return the account of the address, where the browser's session shows it.

    Raises UnknownAccount, in the same words for an account that doesn't exist and for one of another household.
    """
    if account_id in session.accounts:
        account = runtime.registry.get_existing(account_id)
        if session.shows(account):
            return account
    raise UnknownAccount("no such account in this browser's session")


OwnAccount = Annotated[Account, Depends(load_own_account)]
