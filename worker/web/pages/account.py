"""The page of an account: progress of the first sync, charts, and the state of the connection with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from worker.accounts.notice_webhook import CURVE_NOT_ACTIVATED
from worker.accounts.status import AccountStatus, coverage_of, status_of
from worker.clients.suppliers import GRDF
from worker.domain.account import Account, AccountState
from worker.domain.completeness import Hole
from worker.domain.series import Direction, Quantity, daily_of, find_curve, is_gateway, of_supplier
from worker.domain.windows import ONE_DAY, civil_date
from worker.errors import ConsentStopped, FilesOnly
from worker.runtime.sync_parts import Runtime
from worker.web.context import RuntimeDep, SessionDep, name_service, needs_invitation
from worker.web.pages.cards import build_cards
from worker.web.pages.flows import build_chart, build_figures, find_flows
from worker.web.pages.gas.contract import explain_lack_of_days
from worker.web.pages.homes.energy_sum import build_sum
from worker.web.pages.homes.joined import find_home
from worker.web.pages.measures import Against, Span, View, read_entries
from worker.web.pages.missing_days import explain_lateness
from worker.web.pages.own_account import OwnAccount
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
RETRYING: Final = "state.retrying"
_GAP_REACH: Final = timedelta(days=30)


@router.get("/accounts/{account_id}")
def show_account(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    account: OwnAccount,
    by: Annotated[View | None, Query()] = None,
    at: Annotated[date | None, Query()] = None,
    compare: Annotated[Against, Query()] = Against.PREVIOUS,
    with_sum: Annotated[bool, Query(alias="sum")] = False,
) -> Response:
    """Show the page; ``?sum=1`` asks for the sum of a home's energies, which is never shown unasked."""
    words = words_of(request)
    status = status_of(account, runtime.history)
    today = runtime.history.today()
    supplier, daily = words(f"supplier.{account.supplier}"), daily_of(supplier=account.supplier)
    no_days = _explain_lack_of_days(runtime, account, words, supplier)
    bars = {name: one for name, one in status.series.items() if one.total and not (no_days and name is daily)}
    known = runtime.registry.outcomes.known(account.id)
    flows = find_flows(runtime, account, known)
    shown_daily = flows[0].daily if flows else daily
    why_late = "" if no_days else explain_lateness(runtime, account, shown_daily, status, words)
    kind, connection = connection_of(account, status, why_late)
    chart = build_chart(runtime, account, words, flows, view=by, at=at, against=compare)
    shown = chart.span if chart else Span.containing(by or View.MONTH, at or today - ONE_DAY)
    home = find_home(runtime, session, account)
    return render(
        request,
        "account.html",
        home=home,
        with_sum=with_sum,
        sums=build_sum(runtime, home.accounts, at, words) if with_sum and home.is_joined else [],
        span_query=_span_query(by, at, compare),
        may_add_gas=_may_add_gas(runtime, account, [one.supplier for one in (*home.accounts, *home.joinable)]),
        account=account,
        title=_title(account, [flow.direction for flow in flows]),
        supplier=supplier,
        sync_text=_sync_text(account),
        files_first=is_gateway(account.supplier),
        no_days=no_days,
        bars=bars,
        loading=account.active and any(bar.done < bar.total for bar in bars.values()),
        chart=chart,
        figures=build_figures(runtime, account.id, flows, words),
        cards=build_cards(runtime, account.id, known, shown, words),
        kind=kind,
        connection=connection,
        why_late=why_late,
        is_home=runtime.settings.is_home,
        needs_invitation=needs_invitation(runtime, account.supplier),
        may_declare=account.supplier in runtime.rights.suppliers and account.supplier in runtime.suppliers,
        cause=words.cause(status.failure, account.supplier) if connection == RETRYING else "",
        next_try=status.next_try if connection == RATE_LIMITED else None,
        last_day=status.last_day,
        may_stop=account.may_be_stopped,
        may_choose=account.may_choose_series,
        reader=_find_reader(runtime, account, today, words),
        may_renew=account.state is not AccountState.CLOSED,
        curve_missing=status.hint == CURVE_NOT_ACTIVATED,
        **_count_gaps(runtime, account, today),
    )


def _span_query(by: View | None, at: date | None, compare: Against) -> str:
    """Return the query that shows the same span on another page; empty where none was asked for."""
    chosen = {"by": by, "at": at, "compare": None if compare is Against.PREVIOUS else compare}
    asked = urlencode({name: value for name, value in chosen.items() if value is not None})
    return f"?{asked}" if asked else ""


def _may_add_gas(runtime: Runtime, account: Account, suppliers: Sequence[str]) -> bool:
    """Return whether the page offers to connect a gas meter too: there is gas here, and none in this home yet."""
    return GRDF.name in runtime.suppliers and GRDF.name not in suppliers and account.may_choose_series


def _title(account: Account, directions: Sequence[Direction]) -> str:
    """Return the key of the page's title, by what is measured and the directions of which energy is stored."""
    if daily_of(supplier=account.supplier).description.quantity is Quantity.GAS:
        return "account.title.gas"
    if len(directions) > 1:
        return "account.title.both"
    return "account.title.production" if Direction.PRODUCTION in directions else "account.title"


def _sync_text(account: Account) -> str:
    """Return the key of what a first sync says: which values come first."""
    if is_gateway(account.supplier):
        return "sync.text.gateway"
    return "sync.text" if find_curve(daily_of(supplier=account.supplier)) else "sync.text.days"


def _explain_lack_of_days(runtime: Runtime, account: Account, words: Words, supplier: str) -> str:
    """Return why the meter has no daily values, where its contract tells; else an empty text."""
    contracts = [series for series in of_supplier(account.supplier) if series.is_state]
    entries = [entry for series in contracts for entry in read_entries(runtime.measures, account.id, series)]
    return explain_lack_of_days(entries, words, supplier)


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
    return Reader(name_service(runtime, account.tenant, words), since, account.consent_until)


def connection_of(account: Account, status: AccountStatus, why_late: str) -> tuple[str, str]:
    """Return the state of the connection: good, wait or act, and the key of its texts ``.headline`` and ``.advice``.

    ``why_late``: why the newest day is not there, empty where nothing is late.
    """
    if account.reason in (ConsentStopped.code, FilesOnly.code):
        return "wait", f"code.{account.reason}"  # The household knows: it did so itself.
    if account.state is AccountState.ACTION_NEEDED:
        return KINDS[account.state], f"code.{account.reason}"
    if account.state is AccountState.NEW:
        return ("wait", "state.unconfirmed") if account.unconfirmed else ("act", "state.new")
    if account.state is not AccountState.READY:
        return KINDS[account.state], f"state.{account.state}"
    if status.waits_for_turn:
        return "wait", RATE_LIMITED
    if any(series.error for series in status.series.values()):
        return "wait", RETRYING
    if status.last_day is None:
        return "wait", "state.first"
    if why_late:
        return "wait", "state.late"
    return "good", "state.good" if daily_of(supplier=account.supplier).catches_up else "state.as_published"


def _count_gaps(runtime: Runtime, account: Account, today: date) -> dict[str, int]:
    """Return how many days of the last month have no total yet, and how many a total but no transmitted curve."""
    coverage, _ = coverage_of(account.id, runtime.history)
    first, series = today - _GAP_REACH, daily_of(supplier=account.supplier)
    daily, curves = coverage.get(series), find_curve(series)
    curve = coverage.get(curves) if curves else None
    # The newest total may come any moment, so it isn't counted.
    due = today - series.description.published_after_days * ONE_DAY
    return {
        "unpublished_days": sum(first <= gap.day < due for gap in (daily.open_days if daily else ())),
        "curve_gaps": sum(
            gap.hole is Hole.TRANSMISSION and gap.day >= first for gap in (curve.open_days if curve else ())
        ),
    }
