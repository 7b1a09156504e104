"""`releve freshness`: the share of active accounts whose yesterday is complete, now and by hour of the day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, Final

import click

from worker.cli.common import json_option, open_runtime, print_json
from worker.cli.tables import print_table
from worker.domain.documents import format_percent, round_share
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, newest_wanted_day
from worker.stores.registry.outcomes import HourFreshness

_BARS: Final = "▁▂▃▄▅▆▇█"
_UNKNOWN: Final = "·"
Counts = tuple[int, int]  # Complete and active accounts; the latter are not 0.


@click.command()
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 400), help="Days to look back.")
@json_option
def freshness(days: int, as_json: bool) -> None:
    """Show the share of active accounts with all of yesterday's data: now, and by hour over the last days.

    Series that are asked for once a week, or come some days later, count with the newest day that should be there.

    \b
    Example:
      releve freshness --days 30
    """
    with open_runtime() as runtime:
        completeness, today = runtime.registry.completeness, runtime.history.today()
        now = [
            HourFreshness(
                runtime.now(), series, *completeness.count_complete_since(series, newest_wanted_day(today, series))
            )
            for series in runtime.registry.outcomes.list_in_use()
        ]
        hours = completeness.list_freshness_since(runtime.now() - timedelta(days=days))
    figures = {
        "yesterday": (today - ONE_DAY).isoformat(),
        "now": {row.series.value: _counts(row) for row in now},
        "by_hour_of_day": {
            series.value: {hour: complete / active for hour, (complete, active) in counts.items()}
            for series, counts in _counts_by_hour(hours).items()
        },
        "hours": [{"hour": row.hour.isoformat(), "series": row.series.value, **_counts(row)} for row in hours],
    }
    if as_json:
        print_json(figures)
    else:
        print_freshness(today, now, hours)


def _counts(row: HourFreshness) -> dict[str, Any]:
    return {"active": row.active, "complete": row.complete, "share": row.share}


def _counts_by_hour(hours: Sequence[HourFreshness]) -> dict[Series, dict[int, Counts]]:
    return {series: count_by_hour_of_day(row for row in hours if row.series is series) for series in _series_in(hours)}


def _series_in(hours: Sequence[HourFreshness]) -> list[Series]:
    found = {row.series for row in hours}
    return [series for series in Series if series in found]


def count_by_hour_of_day(hours: Iterable[HourFreshness]) -> dict[int, Counts]:
    """Return the fresh and the active accounts for each hour of the day in Paris, over all days together.

    An hour of the day without a row is left out.
    """
    active: Counter[int] = Counter()
    complete: Counter[int] = Counter()
    for row in hours:
        hour = row.hour.astimezone(PARIS).hour
        active[hour] += row.active
        complete[hour] += row.complete
    return {hour: (complete[hour], active[hour]) for hour in sorted(active) if active[hour]}


def sparkline(counts: Sequence[Counts | None]) -> str:
    """Draw one bar for each share of accounts, the highest only where it is all, and a dot where it is unknown."""
    steps = len(_BARS) - 1
    return "".join(_UNKNOWN if share is None else _BARS[round_share(*share, steps)] for share in counts)


def print_freshness(today: date, now: Sequence[HourFreshness], hours: Sequence[HourFreshness]) -> None:
    """Print the share of each series now, then those by hour of the day as a line of bars and as a table."""
    for row in now:
        share = format_percent(row.complete, row.active) if row.active else "no account yet"
        day, number = newest_wanted_day(today, row.series), f"{row.complete} of {row.active} active accounts"
        click.echo(f"{day} {row.series.value}: {share} ({number})")
    if not hours:
        click.echo("no hour is recorded yet: beat records one at five past each hour")
        return
    click.echo("hours 0 to 23, Europe/Paris:")
    by_hour = _counts_by_hour(hours)
    for series, counts in by_hour.items():
        click.echo(f"  {sparkline([counts.get(hour) for hour in range(24)])}  {series.value}")
    known = [hour for hour in range(24) if any(hour in counts for counts in by_hour.values())]
    cells = {
        series.value: {hour: format_percent(*share) for hour, share in counts.items()}
        for series, counts in by_hour.items()
    }
    print_table(
        [{"hour": f"{hour:02}", **{name: texts.get(hour, "") for name, texts in cells.items()}} for hour in known]
    )
