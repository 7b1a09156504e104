"""`releve freshness`: the share of active accounts whose yesterday is complete, now and by hour of the day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from worker.cli.common import json_option, open_runtime, print_json, print_table
from worker.domain.fleet.freshness import share_by_hour_of_day, share_of, sparkline
from worker.domain.measures.readings import ONE_DAY, Series
from worker.runtime.process import Runtime
from worker.stores.registry.completeness import HourFreshness


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
        hours = runtime.registry.completeness.list_freshness_since(runtime.now() - timedelta(days=days))
        figures = {
            "yesterday": (runtime.claims.today() - ONE_DAY).isoformat(),
            "now": {series.value: _now(runtime, series) for series in Series},
            "by_hour_of_day": {series.value: share_by_hour_of_day(_counts_of(hours, series)) for series in Series},
            "hours": [_to_row(hour) for hour in hours],
        }
    if as_json:
        print_json(figures)
    else:
        _print(figures)


def _now(runtime: Runtime, series: Series) -> dict[str, Any]:
    yesterday = runtime.claims.today() - ONE_DAY
    return _counts(*runtime.registry.completeness.count_complete_since(series, yesterday))


def _to_row(hour: HourFreshness) -> dict[str, Any]:
    return {"hour": hour.hour.isoformat(), "series": hour.series.value, **_counts(hour.active, hour.complete)}


def _counts(active: int, complete: int) -> dict[str, Any]:
    return {"active": active, "complete": complete, "share": share_of(complete, active)}


def _counts_of(hours: list[HourFreshness], series: Series) -> list[tuple[Any, int, int]]:
    return [(hour.hour, hour.active, hour.complete) for hour in hours if hour.series is series]


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
