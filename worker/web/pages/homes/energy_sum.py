"""The energy of a home's accounts in one sum of kWh: only where somebody asks for it, and with what is added.

Only days that are known of all of them are added, or the sum would compare unequal times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from worker.domain.account import Account
from worker.domain.series import daily_of
from worker.domain.windows import DateWindow
from worker.runtime.sync_parts import Runtime
from worker.web.pages.measures import CALENDAR_VIEWS, Days, Span, View, read_days
from worker.web.pages.navigation import title_of
from worker.web.texts import Words


@dataclass(frozen=True, slots=True)
class SummedSpan:
    """A day, month or year in words. ``parts``: the keys of the energies' names, and what each is of the total.

    ``note``: over how many days, where these are not all.
    """

    title: str
    total: str
    parts: list[tuple[str, str]]
    note: str


def build_sum(runtime: Runtime, accounts: Sequence[Account], at: date | None, words: Words) -> list[SummedSpan]:
    """Return the sums of a day, its month and its year; empty while one of the accounts has no daily value.

    ``at``: the day; the last one that all have without it, or where it lies behind that. Raises StoreUnavailable.
    """
    series = [daily_of(supplier=account.supplier) for account in accounts]
    pairs = list(zip(accounts, series, strict=True))
    outcomes = [runtime.registry.outcomes.load(account.id).get(daily) for account, daily in pairs]
    last_days = [outcome.last_day for outcome in outcomes if outcome and outcome.last_day]
    if len(last_days) < len(accounts):
        return []
    day = min([*last_days, *([at] if at else [])])
    year = Span.containing(View.YEAR, day)
    window = DateWindow(year.start, year.end)
    days = {account.supplier: read_days(runtime.measures, account.id, window, daily) for account, daily in pairs}
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
