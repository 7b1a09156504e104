"""An account's own page: how far the first sync is, the charts, how the connection stands and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from worker.accounts.explanations import Covered, coverage_of
from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED
from worker.accounts.status import standing
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.holes import Hole
from worker.domain.measures.readings import ONE_DAY, DateWindow, Series
from worker.errors import UnknownAccount
from worker.runtime.process import Runtime
from worker.web.context import ContextDep, SessionDep
from worker.web.pages.charts import build_chart, compare, span_title, total_words
from worker.web.pages.consumption import Span, View, of_days, read_days
from worker.web.render import render, words_of
from worker.web.texts import Words

router = APIRouter()

_LATE_AFTER: Final = timedelta(days=3)  # the supplier itself may be a day or two late
_LATELY: Final = timedelta(days=30)
_NEEDS_OWNER: Final = frozenset({AccountState.NEW, AccountState.ACTION_NEEDED})


@dataclass(frozen=True, slots=True)
class Part:
    """One bar of the first sync: ``name`` is the series."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Connection:
    """``kind`` is good, wait or act; ``headline`` and ``advice`` are keys of texts."""

    kind: str
    headline: str
    advice: str
    reconnect: bool


@dataclass(frozen=True, slots=True)
class Gaps:
    """Days of the last month: those without a total yet, and those with a total whose curve was not transmitted."""

    waited_for: int
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
    house: ContextDep,
    account: OwnAccount,
    by: Annotated[View | None, Query()] = None,
    at: Annotated[date | None, Query()] = None,
) -> Response:
    runtime, words = house.runtime, words_of(request)
    stands = standing(runtime, account)
    parts = [Part(name, told["done"], told["total"]) for name, told in stands["series"].items() if told["total"]]
    return render(
        request,
        "account.html",
        account=account,
        digits=digits_of(account),
        parts=parts,
        loading=account.active and any(part.done < part.total for part in parts),
        chart=build_chart(runtime, account.id, words, by, at),
        figures=figures(runtime, account.id, stands, words),
        connection=connection_of(account, stands, runtime.dispatcher.today()),
        last_day=last_day(stands),
        curve_missing=stands["hint"] == CURVE_NOT_ACTIVATED,
        gaps=gaps_of(coverage_of(runtime, account.id), runtime.dispatcher.today()),
    )


def connection_of(account: Account, stands: dict[str, Any], today: date) -> Connection:
    """How it stands in words, and whether its owner must do something (semantics, 6.3 and 6.4)."""
    if account.state in _NEEDS_OWNER:
        reason = account.reason if account.reason in _REASONS else "USER_ACTION_NEEDED"
        key = "state.new" if account.state is AccountState.NEW else f"state.{reason}"
        return Connection("act", f"{key}.headline", f"{key}.advice", reconnect=True)
    if account.state is AccountState.PAUSED:
        return Connection("wait", "state.paused.headline", "state.paused.advice", reconnect=False)
    errors = {told["error"] for told in stands["series"].values() if told["error"]}
    last = last_day(stands)
    if errors:
        return Connection("wait", "state.retrying.headline", "state.retrying.advice", reconnect=False)
    if last is None:
        return Connection("wait", "state.first.headline", "state.first.advice", reconnect=False)
    if last < today - _LATE_AFTER:
        return Connection("wait", "state.late.headline", "state.late.advice", reconnect=False)
    return Connection("good", "state.good.headline", "state.good.advice", reconnect=False)


_REASONS: Final = frozenset(
    {
        "USER_ACTION_NEEDED.OAUTH_OUTDATED",
        "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST",
        "USER_ACTION_NEEDED.ACCOUNT_REMOVED",
        "USER_ACTION_NEEDED",
        "LOGIN_FAILED",
    }
)


def last_day(stands: dict[str, Any]) -> date | None:
    days = [date.fromisoformat(told["last_day"]) for told in stands["series"].values() if told["last_day"]]
    return max(days, default=None)


def figures(runtime: Runtime, account_id: str, stands: dict[str, Any], words: Words) -> list[Figure]:
    """The last day, its month and its year, each beside the one before."""
    told = stands["series"][Series.DAILY.value]["last_day"]
    if told is None:
        return []
    last = date.fromisoformat(told)
    window = DateWindow(date(last.year - 1, 1, 1), last + ONE_DAY)
    days = read_days(runtime.measures, account_id, window)
    return [_figure(Span.holding(view, last), days, words) for view in View]


def _figure(span: Span, days: Any, words: Words) -> Figure:
    consumption = of_days(span, days, span.end)
    comparison, trend = compare(consumption, words)
    return Figure(
        title=span_title(span, words),
        energy=total_words(consumption, words) or words("chart.unknown"),
        comparison=comparison,
        trend=trend,
        href=f"?by={span.view}&at={span.start}#chart",
    )


def gaps_of(covered: Covered, today: date) -> Gaps:
    coverage, _ = covered
    lately = today - _LATELY
    daily, curve = (coverage[name].open_days for name in (Series.DAILY, Series.LOAD_CURVE))
    waited = sum(lately <= each.day < today - ONE_DAY for each in daily)  # yesterday may come in a moment
    return Gaps(waited, sum(each.hole is Hole.TRANSMISSION and each.day >= lately for each in curve))


# The account of an address, if it is the browser's own.


def own_account(account_id: str, house: ContextDep, session: SessionDep) -> Account:
    """Raises UnknownAccount in the same words for one that isn't there and for one of another household."""
    if account_id in session.accounts:
        account = house.runtime.registry.get(account_id)
        if account.state is not AccountState.DELETED:
            return account
    raise UnknownAccount("no such account in this browser's session")


def digits_of(account: Account) -> str:
    """The meter as its own household may see it: by its last four digits."""
    return f"…{account.usage_point_id[-4:]}" if account.usage_point_id else "…"


OwnAccount = Annotated[Account, Depends(own_account)]
