"""Forms of an account's page: choose its series, name its meter, stop its consent, remove it, join it with another.

A home has one account per supplier. These pages name only accounts that this browser's session shows. The sum of a
home's energies (kWh) is made only on request, and says what it adds up. It covers only the days that are known for all
accounts of the home, so that each energy is summed over the same days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.meter_names import save_name
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.consents import EndReason
from worker.domain.evidence import HOUSEHOLD
from worker.domain.series import Series, SeriesSwitch, daily_of
from worker.domain.windows import DateWindow
from worker.errors import UnknownAccount
from worker.runtime.consent_parts import build_series_chooser, erase, meters_of, stop_consent
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.stores.redis.locks import Rate
from worker.stores.registry import Registry
from worker.web.dependencies import (
    OwnAccount,
    RegistryDep,
    Session,
    SessionDep,
    SettingsDep,
    StoresDep,
    SyncDep,
    VisitDep,
    account_form,
    has_shares,
    load_accounts,
    needs_invitation,
    own_account,
    publish_revocation,
    switch_series,
)
from worker.web.pages.chart_values import CALENDAR_VIEWS, Days, Span, View, read_days
from worker.web.pages.charts import title_of
from worker.web.rendering import render, render_message
from worker.web.texts import Words

router = APIRouter()
# A series that is switched on is requested at once, which takes calls from the quota that all households share.
_CHANGES: Final = Rate("series-choice", calls=10, window_s=3600)
_NAMES: Final = Rate("meter-name", calls=10, window_s=3600)  # Outputs get all rows again with a name.
# The other counts of an erasure concern only our internal data.
_RECEIPT_LINES: Final = ("documents", "usage_points", "tokens", "consent_proofs_kept")


@dataclass(frozen=True, slots=True)
class Box:
    """The tick box of a series. ``state``: ``on``, ``off`` or ``ended``, as in the keys of its texts.

    ``kept``: True for a collected series of daily values. It can't be switched off here, because the page's totals come
    from it.
    """

    series: Series
    state: str
    kept: bool

    @property
    def ticked(self) -> bool:
        return self.state == "on"


@dataclass(frozen=True, slots=True)
class Home:
    """The joined accounts of one home, as far as this session may see them.

    ``accounts``: sorted by supplier; only one if nothing is joined. ``joinable``: the session's other accounts that may
    be joined.
    """

    accounts: list[Account]
    joinable: list[Account]

    @property
    def is_joined(self) -> bool:
        return len(self.accounts) > 1


@dataclass(frozen=True, slots=True)
class SummedSpan:
    """The sum of a home's energies over a day, month or year, as texts for the page.

    ``parts``: for each energy, the key of its name, and its share in the total. ``note``: how many days are summed;
    empty if all are.
    """

    title: str
    total: str
    parts: list[tuple[str, str]]
    note: str


# An account that another person has taken over has neither form, and an account without a consent can't be stopped: the
# account's page is shown instead of the form.
Choosable = Annotated[Account, Depends(own_account(lambda account: account.may_choose_series))]
Stoppable = Annotated[Account, Depends(own_account(lambda account: account.may_be_stopped, "/connection"))]


@router.get("/accounts/{account_id}/series")
def show_series_form(
    request: Request, stores: StoresDep, account: Choosable, saved: Annotated[str, Query()] = ""
) -> Response:
    return render(request, "series.html", account=account, boxes=_load_boxes(stores, account), saved=bool(saved))


@router.post("/accounts/{account_id}/series", name=AuditAction.ACCOUNT_SERIES, dependencies=[account_form("/series")])
def save_series(
    visit: VisitDep,
    account: Choosable,
    series: Annotated[list[str] | None, Form()] = None,
    before: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Switch each series whose box was changed. ``before``: the series that the form showed as ticked.

    Any other series keeps its switch; if it has none, it continues to follow the service's setting.
    """
    page, ticked = f"/accounts/{account.id}/series", set(series or ())
    changed = ticked ^ set(before or ())
    switches = {
        box.series: SeriesSwitch.ON if box.series in ticked else SeriesSwitch.OFF
        for box in _load_boxes(visit.stores, account)
        if box.series in changed and not box.kept
    }
    if switches:
        if wait_s := visit.count_call(_CHANGES, account.id):
            return render_message(visit.request, "choose.too_many", 429, (page, "message.again"), wait_s=wait_s)
        switch_series(visit.stores, account.id, switches)
    return RedirectResponse(f"{page}?saved=yes", 303)


def _load_boxes(stores: Stores, account: Account) -> list[Box]:
    """Return a box for each series that the supplier's API offers."""
    return [
        Box(
            series,
            _name_state(shown.switch, shown.collected),
            kept=shown.collected and series is daily_of(supplier=account.supplier),
        )
        for series, shown in build_series_chooser(stores).load(account.id).series.items()
        if shown.offered
    ]


def _name_state(switch: SeriesSwitch, collected: bool) -> str:
    if switch is SeriesSwitch.ENDED:
        return "ended"
    return "on" if collected else "off"


@router.post("/accounts/{account_id}/name", name=AuditAction.ACCOUNT_NAME, dependencies=[account_form("/connection")])
def name_meter(visit: VisitDep, account: Choosable, name: Annotated[str, Form(max_length=200)] = "") -> Response:
    page = f"/accounts/{account.id}/connection"
    if wait_s := visit.count_call(_NAMES, account.id):
        return render_message(visit.request, "choose.too_many", 429, (page, "message.again"), wait_s=wait_s)
    try:
        save_name(visit.registry, account, name)
    except ValueError:
        return render_message(visit.request, "meter_name.refused", 422, (page, "message.again"))
    return RedirectResponse(page, 303)


@router.get("/accounts/{account_id}/stop")
def show_stop_form(request: Request, stores: StoresDep, sync: SyncDep, account: Stoppable) -> Response:
    return render(request, "stop.html", account=account, **describe_grants(stores, sync, account))


@router.post("/accounts/{account_id}/stop", name=AuditAction.ACCOUNT_STOP, dependencies=[account_form("/stop")])
def stop_account(stores: StoresDep, sync: SyncDep, account: Stoppable) -> Response:
    stop_consent(stores, account.id)
    publish_revocation(stores, sync)
    return RedirectResponse(f"/accounts/{account.id}/connection", 303)


def describe_grants(stores: Stores, sync: Sync, account: Account) -> dict[str, Any]:
    """Return values for the template: the grants of proxy clients for the account's meter, with the clients' names."""
    today, meters = sync.history.today(), meters_of(stores.registry, account)
    grants = stores.registry.proxy_grants.list_grants(meter_digests=meters)
    names = {client.id: client.name for client in stores.registry.proxy_clients.list_clients()} if grants else {}
    in_force = [(names[grant.client_id], grant) for grant in grants if not grant.is_over(today)]
    return {"grants": in_force, "token_lives_on": sync.suppliers.main.account_tokens}


@router.post(
    "/accounts/{account_id}/grants/{grant_id}/end",
    name=AuditAction.GRANT_END,
    dependencies=[account_form("/connection#grants")],
)
def end_grant(stores: StoresDep, account: OwnAccount, grant_id: str) -> Response:
    if not stores.registry.proxy_grants.end(grant_id, EndReason.WITHDRAWN, meters_of(stores.registry, account)):
        raise UnknownAccount("no grant for the meter of this account")
    return RedirectResponse(f"/accounts/{account.id}/connection#grants", 303)


@router.get("/accounts/{account_id}/remove")
def show_remove_form(request: Request, settings: SettingsDep, account: OwnAccount) -> Response:
    return render(request, "remove.html", account=account, is_home=settings.is_home)


@router.post("/accounts/{account_id}/remove", name=AuditAction.ACCOUNT_ERASE, dependencies=[account_form("/remove")])
def remove_account(request: Request, stores: StoresDep, sync: SyncDep, account: OwnAccount) -> Response:
    erased = erase(stores, account.id, HOUSEHOLD)
    publish_revocation(stores, sync)
    return render(
        request,
        "removed.html",
        account=account,
        account_id=account.id,
        is_home=stores.settings.is_home,
        invited=needs_invitation(sync, account.supplier),
        delete_share=has_shares(sync, account.supplier),
        receipt=receipt_of(erased),
        moment=stores.now(),
        access_notice=None,  # Without the account, there may be no household any more whose access could end.
    )


def receipt_of(erased: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the counts that the receipt of an erasure shows."""
    return [(name, erased[name]) for name in _RECEIPT_LINES if name in erased]


def find_home(registry: Registry, session: Session, account: Account) -> Home:
    existing = [one for one in load_accounts(registry, session) if one.state is not AccountState.DELETED]
    partners = _share_home(account, existing)
    suppliers = {account.supplier, *(partner.supplier for partner in partners)}
    joinable = [
        other
        for other in existing
        if other.supplier not in suppliers
        and other.state is not AccountState.CLOSED
        and not _share_home(other, existing)
    ]
    may_join = account.state is not AccountState.CLOSED
    return Home(sorted([account, *partners], key=lambda one: one.supplier), joinable if may_join else [])


def _share_home(account: Account, others: Iterable[Account]) -> list[Account]:
    """Return the accounts in ``others`` that are joined with this account."""
    return [other for other in others if account.home and other.home == account.home and other.id != account.id]


@router.post("/accounts/{account_id}/home", name=AuditAction.ACCOUNT_JOIN, dependencies=[account_form()])
def join_accounts(
    registry: RegistryDep, session: SessionDep, account: OwnAccount, other: Annotated[str, Form(max_length=32)] = ""
) -> Response:
    home = find_home(registry, session, account)
    if other not in {one.id for one in home.joinable}:
        raise UnknownAccount("no account that can be joined in this browser's session")
    registry.homes.join([*(one.id for one in home.accounts), other])
    return RedirectResponse(f"/accounts/{account.id}", 303)


@router.post("/accounts/{account_id}/home/part", name=AuditAction.ACCOUNT_PART, dependencies=[account_form()])
def part_accounts(registry: RegistryDep, session: SessionDep, account: OwnAccount) -> Response:
    """Separate the accounts of this home again; nothing else changes."""
    registry.homes.part([one.id for one in find_home(registry, session, account).accounts])
    return RedirectResponse(f"/accounts/{account.id}", 303)


def build_sum(stores: Stores, accounts: Sequence[Account], at: date | None, words: Words) -> list[SummedSpan]:
    """Return the sums of a day, its month and its year; empty while one of the accounts has no daily value.

    ``at``: the day. If it is None, or later than the last day that is known for all accounts, that last day is taken.
    """
    series = [daily_of(supplier=account.supplier) for account in accounts]
    pairs = list(zip(accounts, series, strict=True))
    outcomes = [stores.registry.outcomes.load(account.id).get(daily) for account, daily in pairs]
    last_days = [outcome.last_day for outcome in outcomes if outcome and outcome.last_day]
    if len(last_days) < len(accounts):
        return []
    day = min([*last_days, *([at] if at else [])])
    year = Span.containing(View.YEAR, day)
    window = DateWindow(year.start, year.end)
    days = {account.supplier: read_days(stores.measures, account.id, window, daily) for account, daily in pairs}
    return [_sum_up(Span.containing(view, day), days, words) for view in CALENDAR_VIEWS]


def _sum_up(span: Span, days: dict[str, Days], words: Words) -> SummedSpan:
    common = [day for day in span.days() if all(day in known for known in days.values())]
    if not common:
        return SummedSpan(title_of(span, words), words("chart.unknown"), [], "")
    sums = {supplier: sum(known[day] for day in common) for supplier, known in days.items()}
    places = 2 if span.view is View.DAY else None
    return SummedSpan(
        title_of(span, words),
        words.energy(sum(sums.values()), places),
        [(f"supplier.{supplier}.energy", words.energy(energy, places)) for supplier, energy in sums.items()],
        "" if len(common) == len(span.days()) else words.count("sum.days", len(common)),
    )
