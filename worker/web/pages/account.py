"""The page of an account: progress of the first sync, charts, and the state of the connection with what to do.

``OwnAccount`` is the dependency that lets a browser see its own accounts alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from worker.accounts.explanations import AccountCoverage, coverage_of
from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED
from worker.accounts.status import AccountStatus, status_of
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.holes import Hole
from worker.domain.measures.readings import ONE_DAY, DateWindow, Series
from worker.errors import UnknownAccount
from worker.runtime.process import Runtime
from worker.web.context import ContextDep, SessionDep
from worker.web.pages.charts import build_chart, describe_change, span_title, total_text
from worker.web.pages.measures import Span, View, measures_by_day, read_days
from worker.web.render import render, words_of
from worker.web.texts import Words

router = APIRouter()

_LATE_AFTER: Final = timedelta(days=3)  # The supplier itself may be a day or two late.
_GAP_REACH: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class HistoryBar:
    """Progress bar of the first sync: days done of one series, whose name is ``name``."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Connection:
    """State of the connection: ``kind`` is good, wait or act; ``headline`` and ``advice`` are keys of texts."""

    kind: str
    headline: str
    advice: str
    reconnect: bool


@dataclass(frozen=True, slots=True)
class Gaps:
    """Numbers of days in the last month: without a total yet, and with a total but without a transmitted curve."""

    unpublished: int
    curve: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A sum at the top of the page; ``href`` leads to its chart."""

    title: str
    energy: str
    comparison: str
    trend: str
    href: str


@router.get("/accounts/{account_id}")
def show_account(
    request: Request,
    context: ContextDep,
    account: OwnAccount,
    by: Annotated[View | None, Query()] = None,
    at: Annotated[date | None, Query()] = None,
) -> Response:
    runtime, words = context.runtime, words_of(request)
    status = status_of(account, registry=runtime.registry, history=runtime.history)
    today = runtime.claims.today()
    bars = [HistoryBar(name, series.done, series.total) for name, series in status.series.items()]
    bars = [bar for bar in bars if bar.total]
    return render(
        request,
        "account.html",
        account=account,
        digits=digits_of(account),
        bars=bars,
        loading=account.active and any(bar.done < bar.total for bar in bars),
        chart=build_chart(runtime, account.id, words, by, at),
        figures=build_figures(runtime, account.id, status.series[Series.DAILY].last_day, words),
        connection=connection_of(account, status, today),
        last_day=status.last_day,
        curve_missing=status.hint == CURVE_NOT_ACTIVATED,
        gaps=gaps_of(coverage_of(account.id, completeness=runtime.registry.completeness, today=today), today),
    )


def connection_of(account: Account, status: AccountStatus, today: date) -> Connection:
    """Return the state of the connection in words, and whether its owner must do something."""
    match account.state:
        case AccountState.NEW:
            return _connection("act", "state.new")
        case AccountState.ACTION_NEEDED:
            return _connection("act", f"code.{account.reason}")
        case AccountState.PAUSED:
            return _connection("wait", "state.paused")
        case AccountState.READY | AccountState.DELETED:
            return _connection_of_reading(status, today)


def _connection_of_reading(status: AccountStatus, today: date) -> Connection:
    """Return the state of an account that is read."""
    last = status.last_day
    if any(series.error for series in status.series.values()):
        return _connection("wait", "state.retrying")
    if last is None:
        return _connection("wait", "state.first")
    return _connection("wait", "state.late") if last < today - _LATE_AFTER else _connection("good", "state.good")


def _connection(kind: str, key: str) -> Connection:
    return Connection(kind, f"{key}.headline", f"{key}.advice", reconnect=kind == "act")


def build_figures(runtime: Runtime, account_id: str, last: date | None, words: Words) -> list[Figure]:
    """Return the sums of the last day, its month and its year, each compared to the one before."""
    if last is None:
        return []
    window = DateWindow(date(last.year - 1, 1, 1), last + ONE_DAY)
    days = read_days(runtime.measures, account_id, window)
    return [_build_figure(Span.containing(view, last), days, words) for view in View]


def _build_figure(span: Span, days: Any, words: Words) -> Figure:
    measures = measures_by_day(span, days, span.end)
    comparison, trend = describe_change(measures, words)
    return Figure(
        title=span_title(span, words),
        energy=total_text(measures, words) or words("chart.unknown"),
        comparison=comparison,
        trend=trend,
        href=f"?by={span.view}&at={span.start}#chart",
    )


def gaps_of(covered: AccountCoverage, today: date) -> Gaps:
    coverage, _ = covered
    first = today - _GAP_REACH
    daily, curve = (coverage[name].open_days for name in (Series.DAILY, Series.LOAD_CURVE))
    # Yesterday's total may come any moment, so it isn't counted.
    unpublished = sum(first <= gap.day < today - ONE_DAY for gap in daily)
    return Gaps(unpublished, sum(gap.hole is Hole.TRANSMISSION and gap.day >= first for gap in curve))


def load_own_account(account_id: str, context: ContextDep, session: SessionDep) -> Account:
    """Return the account of the address, where the browser's session holds it.

    Raises UnknownAccount, in the same words for an account that doesn't exist and for one of another household.
    """
    if account_id in session.accounts:
        account = context.runtime.registry.get(account_id)
        if account.state is not AccountState.DELETED:
            return account
    raise UnknownAccount("no such account in this browser's session")


def digits_of(account: Account) -> str:
    """Return the last four digits of the meter's number, all that its own household sees of it."""
    return account.last_digits or "…"


OwnAccount = Annotated[Account, Depends(load_own_account)]
