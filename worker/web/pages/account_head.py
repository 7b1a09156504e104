"""What every page of a meter begins with: its title, the state of its connection, its home's meters, its sections.

Each section is a page at its own address. A section with nothing to show isn't in the navigation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import MINYEAR, date, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Query, Response

from worker.accounts.account_days import AccountDays
from worker.accounts.explanations import Explainer
from worker.accounts.meter_names import load_names
from worker.accounts.status import AccountStatus, SeriesStatus, status_of
from worker.clients.grdf import GRDF
from worker.domain.access_right import REGISTERING
from worker.domain.account import Account, AccountState
from worker.domain.documents import ALL_KEYS
from worker.domain.reasons import Reason
from worker.domain.series import (
    Direction,
    Granularity,
    Series,
    dailies_of,
    daily_of,
    find_curve,
)
from worker.domain.windows import ONE_DAY
from worker.errors import ConsentStopped, FilesOnly
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_explainer
from worker.stores.measures.measure_store import MeasureStore
from worker.web.dependencies import Day, Visit, may_renew, needs_invitation, title_of_meter
from worker.web.pages.account_forms import Home, find_home
from worker.web.pages.chart_values import Against, Unit, View, first_day
from worker.web.rendering import render, words_of
from worker.web.texts import Words

# What each state means for the household: all is well, it must wait, or it must act.
KINDS: Final[dict[str, str]] = {
    AccountState.NEW: "wait",
    AccountState.READY: "good",
    AccountState.PAUSED: "wait",
    AccountState.ACTION_NEEDED: "act",
    AccountState.CLOSED: "wait",
    "files_only": "wait",
}
RATE_LIMITED: Final = "state.rate_limited"
RETRYING: Final = "state.retrying"
_TOLERANCE: Final = timedelta(days=2)  # For series whose values normally come some days late.
# The sections in the order of the navigation, each with its path after the account's.
_PATHS: Final = {
    "consumption": "",
    "usage": "/usage",
    "power": "/power",
    "contract": "/contract",
    "downloads": "/download",
    "connection": "/connection",
}
# What the series of a section are about; a section without a stored reading is left out.
OF_SECTIONS: Final[Mapping[str, set[Granularity]]] = {
    "power": {Granularity.INSTANT},
    "contract": {Granularity.REGISTER, Granularity.INTERVAL, Granularity.STATE},
}


@dataclass(frozen=True, slots=True)
class AskedSpan:
    """What a person asks to see: the length of the span, a day in it, what it is compared with, and the unit."""

    by: Annotated[View | None, Query()] = None
    at: Annotated[Day | None, Query()] = None
    compare: Annotated[Against, Query()] = Against.PREVIOUS
    unit: Annotated[Unit, Query()] = Unit.KWH

    @property
    def view(self) -> View:
        return self.by or View.MONTH

    @property
    def query(self) -> str:
        """The query that shows the same span on another page; empty if no span was requested."""
        chosen = {"by": self.by, "at": self.at, "compare": self.compare, "unit": self.unit}
        asked = urlencode({name: one for name, one in chosen.items() if one not in (None, Against.PREVIOUS, Unit.KWH)})
        return f"?{asked}" if asked else ""


Asked = Annotated[AskedSpan, Depends()]


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """The stored energy in one direction: a series of daily values (``daily``) and its load curve, if there is one.

    ``first`` and ``last``: the oldest and the newest day with a stored value of either series.
    """

    daily: Series
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class ShownMeter:
    """An account, with what several of its pages tell of it.

    ``known``: the series that are collected for the account or have readings. ``no_days``: why the meter has no daily
    values; ``why_late``: why the newest day is missing; both may be empty. ``kind`` and ``connection``: see
    ``connection_of``.
    """

    account: Account
    home: Home
    explainer: Explainer
    status: AccountStatus
    today: date
    known: Sequence[Series]
    flows: Sequence[StoredFlow]
    no_days: str
    why_late: str
    kind: str
    connection: str

    @property
    def first(self) -> date:
        """The first day with energy, or yesterday if none is stored."""
        return min((flow.first for flow in self.flows), default=self.today - ONE_DAY)

    @property
    def bars(self) -> dict[Series, SeriesStatus]:
        """The progress of the series that have days to load."""
        absent = daily_of(supplier=self.account.supplier) if self.no_days else None
        return {name: one for name, one in self.status.series.items() if one.total and name is not absent}

    @property
    def loading(self) -> bool:
        """Whether days of the history are still to be loaded."""
        return self.account.active and any(bar.done < bar.total for bar in self.bars.values())

    @property
    def newest(self) -> date:
        """The last day that pages show: yesterday or, for an inactive account, the last stored day."""
        last = self.newest_stored
        return max(last, self.today - ONE_DAY) if self.account.active else last

    @property
    def newest_stored(self) -> date:
        return max((flow.last for flow in self.flows), default=self.today - ONE_DAY)

    def choose_day(self, at: date | None) -> date:
        """Return the day to show if ``at`` is requested: the last stored day if none is, and none after the newest."""
        # Python's calendar begins with the year 1, so its first years have no earlier year to compare with.
        return self.first if at and at.year < MINYEAR + 2 else min(at or self.newest_stored, self.newest)


def load_meter(visit: Visit, account: Account) -> ShownMeter:
    stores, sync, words = visit.stores, visit.sync, words_of(visit.request)
    explainer, status, today = build_explainer(stores, sync), status_of(account, sync.history), sync.history.today()
    known = visit.registry.outcomes.known(account.id)
    flows = find_flows(stores, account, known)
    no_days = _explain_lack_of_days(stores.measures, sync, account, words)
    daily = flows[0].daily if flows else daily_of(supplier=account.supplier)
    due = sync.history.newest_due_day(daily) - (_TOLERANCE if daily.comes_late else timedelta())
    why_late = "" if no_days else explain_lateness(explainer, account, daily, status, due, words)
    kind, connection = connection_of(account, status, why_late)
    home = find_home(visit.registry, visit.session, account)
    return ShownMeter(account, home, explainer, status, today, known, flows, no_days, why_late, kind, connection)


def render_section(
    visit: Visit,
    meter: ShownMeter,
    section: str,
    template: str,
    span_query: str = "",
    *,
    status: int = 200,
    **values: Any,
) -> Response:
    """Render a section's page, whose template extends ``meter_page.html``.

    ``span_query``: the query that keeps the span that is shown when another section is opened.
    """
    account, words = meter.account, words_of(visit.request)
    directions = [flow.daily.description.direction for flow in meter.flows]
    return render(
        visit.request,
        template,
        status,
        account=account,
        title=title_of_meter(visit.registry, account, words, directions),
        supplier=words(f"supplier.{account.supplier}"),
        kind=meter.kind,
        connection=meter.connection,
        home=meter.home,
        names=load_names(visit.registry, [one.id for one in meter.home.accounts]),
        section=section,
        sections=list(_list_sections(visit.stores.measures, meter)),
        only_feeds=directions == [Direction.PRODUCTION],
        span_query=span_query,
        is_home=visit.settings.is_home,
        needs_invitation=needs_invitation(visit.sync, account.supplier),
        may_renew=may_renew(visit, account),
        may_declare=account.supplier in REGISTERING and account.supplier in visit.sync.suppliers,
        **values,
    )


def _list_sections(measures: MeasureStore, meter: ShownMeter) -> Iterator[tuple[str, str]]:
    """Yield each section that has something to show, with its path after the account's."""
    needed = set().union(*OF_SECTIONS.values())
    inputs = [series.inputs for series in meter.known if series.description.granularity in needed]
    stored = measures.read(meter.account.id, dict.fromkeys(inputs, ALL_KEYS), limit=1) if inputs else {}
    found = {doctype.series.description.granularity for doctype, documents in stored.items() if documents}
    for section, path in _PATHS.items():
        if section not in OF_SECTIONS or OF_SECTIONS[section] & found:
            yield section, path


def _explain_lack_of_days(measures: MeasureStore, sync: Sync, account: Account, words: Words) -> str:
    """Return why the meter has no daily values, if its newest contract says so; else an empty text."""
    frequency = AccountDays(account, sync.history).reading_frequency(measures)
    lacks_days = frequency in daily_of(supplier=GRDF.name).description.not_of_meters_read
    return words(f"gas.no_days.{frequency}", supplier=words(f"supplier.{account.supplier}")) if lacks_days else ""


def connection_of(account: Account, status: AccountStatus, why_late: str) -> tuple[str, str]:
    """Return the state of the connection (good, wait or act) and the key of its texts ``.headline`` and ``.advice``.

    ``why_late``: why the newest day is missing; empty if nothing is late.
    """
    if account.reason in (ConsentStopped.code, FilesOnly.code):
        return "wait", f"code.{account.reason}"  # The household stopped the consent or uses only files.
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


def find_flows(stores: Stores, account: Account, known: Sequence[Series]) -> list[StoredFlow]:
    """Return the directions with stored energy, consumption first.

    ``known``: the series that are collected for the account or have readings.
    """
    outcomes = stores.registry.outcomes.load(account.id)
    flows = []
    for daily in dailies_of(account.supplier):
        pair = [series for series in (daily, find_curve(daily)) if series is not None and series in known]
        first_days = [first_day(stores.measures, account.id, series.inputs) for series in pair]
        last_days = [day for series in pair if (outcome := outcomes.get(series)) and (day := outcome.last_day)]
        if any(first_days) and last_days:
            flows.append(StoredFlow(daily, min(filter(None, first_days)), max(last_days)))
    return flows


def explain_lateness(
    explainer: Explainer, account: Account, daily: Series, status: AccountStatus, due: date, words: Words
) -> str:
    """Return why ``due``, the newest day that should be stored by now, is missing.

    Empty if the day is stored or will be requested only tonight, or if no day of the series is stored.
    """
    series = status.series.get(daily)
    if series is None or series.last_day is None:
        return ""
    if series.last_day >= due:
        return ""
    explanation = explainer.explain_days(account, daily, [due])[due]
    waits_for_tonight = explanation.reason is Reason.NOT_ASKED_YET and series.last_day >= due - ONE_DAY
    return "" if waits_for_tonight or explanation.reason.is_complete else words.choose(explanation.sentences)
