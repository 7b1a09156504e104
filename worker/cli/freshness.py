"""releve freshness: how much of the fleet has its yesterday, now and through the day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from worker.cli.common import json_option, open_runtime, print_json
from worker.domain.fleet.freshness import by_hour_of_day, share_of, spark
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
        kept = runtime.registry.completeness.freshness_since(runtime.now() - timedelta(days=days))
        told = {
            "yesterday": (runtime.dispatcher.today() - ONE_DAY).isoformat(),
            "now": {series.value: _now(runtime, series) for series in Series},
            "by_hour_of_day": {series.value: by_hour_of_day(_of(kept, series)) for series in Series},
            "hours": [_hour(each) for each in kept],
        }
    if as_json:
        print_json(told)
    else:
        _print(told)


def _now(runtime: Runtime, series: Series) -> dict[str, Any]:
    yesterday = runtime.dispatcher.today() - ONE_DAY
    active, complete = runtime.registry.completeness.complete_since(series, yesterday)
    return {"active": active, "complete": complete, "share": share_of(complete, active)}


def _hour(each: HourFreshness) -> dict[str, Any]:
    counts = {"active": each.active, "complete": each.complete, "share": share_of(each.complete, each.active)}
    return {"hour": each.hour.isoformat(), "series": each.series.value, **counts}


def _of(kept: list[HourFreshness], series: Series) -> list[tuple[Any, int, int]]:
    return [(each.hour, each.active, each.complete) for each in kept if each.series is series]


def _print(told: dict[str, Any]) -> None:
    for name, now in told["now"].items():
        share = "nobody yet" if now["share"] is None else f"{now['share']:.1%}"
        click.echo(f"{told['yesterday']} {name}: {share} ({now['complete']} of {now['active']} active accounts)")
    by_hour = told["by_hour_of_day"]
    if not told["hours"]:
        click.echo("no hour was kept yet: beat counts them, at five past")
        return
    click.echo("hours 0 to 23, Europe/Paris:")
    for name, shares in by_hour.items():
        click.echo(f"  {spark([shares.get(hour) for hour in range(24)])}  {name}")
    table = Table("hour", *by_hour, box=None)
    for hour in range(24):
        if any(hour in shares for shares in by_hour.values()):
            table.add_row(
                f"{hour:02}", *(f"{shares[hour]:.1%}" if hour in shares else "" for shares in by_hour.values())
            )
    Console().print(table)
