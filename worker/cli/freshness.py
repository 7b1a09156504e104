"""`releve freshness`: the share of active accounts whose yesterday is complete, now and by hour of the day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

import click

from worker.cli.common import json_option, open_runtime, print_json, print_table
from worker.domain.measures.readings import ONE_DAY, PARIS, Series
from worker.stores.registry.completeness import HourFreshness

_BARS: Final = "▁▂▃▄▅▆▇█"
_UNKNOWN: Final = "·"


@click.command()
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 400), help="How far to look back.")
@json_option
def freshness(days: int, as_json: bool) -> None:
    """Show the share of active accounts whose yesterday is whole: now, and by hour of the day over the last days.

    \b
    Example:
      releve freshness --days 30
    """
    with open_runtime() as runtime:
        completeness, yesterday = runtime.registry.completeness, runtime.history.today() - ONE_DAY
        now = [
            HourFreshness(runtime.now(), series, *completeness.count_complete_since(series, yesterday))
            for series in Series
        ]
        hours = completeness.list_freshness_since(runtime.now() - timedelta(days=days))
    figures = {
        "yesterday": yesterday.isoformat(),
        "now": {row.series.value: _counts(row) for row in now},
        "by_hour_of_day": {
            series.value: share_by_hour_of_day(row for row in hours if row.series is series) for series in Series
        },
        "hours": [{"hour": row.hour.isoformat(), "series": row.series.value, **_counts(row)} for row in hours],
    }
    if as_json:
        print_json(figures)
    else:
        _print(figures)


def _counts(row: HourFreshness) -> dict[str, Any]:
    return {"active": row.active, "complete": row.complete, "share": row.share}


def share_by_hour_of_day(hours: Iterable[HourFreshness]) -> dict[int, float]:
    """Return the share of fresh accounts for each hour of the day in Paris, over all days together.

    An hour of the day without a row is left out.
    """
    active: Counter[int] = Counter()
    complete: Counter[int] = Counter()
    for row in hours:
        hour = row.hour.astimezone(PARIS).hour
        active[hour] += row.active
        complete[hour] += row.complete
    return {hour: complete[hour] / active[hour] for hour in sorted(active) if active[hour]}


def sparkline(shares: Sequence[float | None]) -> str:
    """Draw one bar a share, from none to all accounts, and a dot where the share is unknown."""
    return "".join(_UNKNOWN if share is None else _BARS[round(share * (len(_BARS) - 1))] for share in shares)


def _print(figures: dict[str, Any]) -> None:
    for name, now in figures["now"].items():
        share = "nobody yet" if now["share"] is None else f"{now['share']:.1%}"
        click.echo(f"{figures['yesterday']} {name}: {share} ({now['complete']} of {now['active']} active accounts)")
    by_hour = figures["by_hour_of_day"]
    if not figures["hours"]:
        click.echo("no hour was kept yet: beat counts them, at five past")
        return
    click.echo("hours 0 to 23, Europe/Paris:")
    for name, shares in by_hour.items():
        click.echo(f"  {sparkline([shares.get(hour) for hour in range(24)])}  {name}")
    known = [hour for hour in range(24) if any(hour in shares for shares in by_hour.values())]
    cells = {name: {hour: f"{share:.1%}" for hour, share in shares.items()} for name, shares in by_hour.items()}
    print_table(
        [{"hour": f"{hour:02}", **{name: texts.get(hour, "") for name, texts in cells.items()}} for hour in known]
    )
