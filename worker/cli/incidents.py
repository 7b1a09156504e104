"""releve incidents: what went wrong at the supplier for many accounts at once, what it cost, and the switch by hand."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from worker.cli.common import json_option, open_runtime, print_json
from worker.domain.fleet.incidents import Incident, to_json
from worker.runtime.process import Runtime
from worker.sync.probes import Probing

_SHOWN = 20


@click.command()
@click.option("--open", "opening", is_flag=True, help="Ask the supplier nothing from now on, for a day at most.")
@click.option("--close", "closing", is_flag=True, help="End those that are open; of their kinds none opens for a day.")
@json_option
def incidents(opening: bool, closing: bool, as_json: bool) -> None:
    """Show incidents: those open, then those over, newest first, with what they cost.

    An incident opens by itself when many accounts fail alike, and closes by itself when a few that are asked now and
    then are answered.  Open one by hand for an announced maintenance; close one by hand where it is a mistake.

    \b
    Examples:
      releve incidents
      releve incidents --open
      releve incidents --close --json
    """
    if opening and closing:
        raise click.UsageError("--open and --close exclude each other")
    with open_runtime() as runtime:
        if opening:
            _open(runtime)
        if closing:
            _close(runtime)
        found = [*runtime.incidents.current(), *runtime.incidents.past()]
    if as_json:
        print_json([to_json(incident) for incident in found])
    elif not found:
        click.echo("no incident is open, and none is remembered")
    else:
        _print(found)


def _open(runtime: Runtime) -> None:
    if not runtime.incidents.open_by_hand():
        raise click.ClickException("an incident is open already: `releve incidents` shows it")


def _close(runtime: Runtime) -> None:
    """What was missed is asked for by beat, a few seconds later."""
    found = runtime.incidents.current()
    if not found:
        raise click.ClickException("no incident is open")
    probing = Probing.of(runtime)
    for incident in found:
        probing.close(incident, "by_hand")


def _print(found: list[Incident]) -> None:
    table = Table(box=None)
    for name in ("began", "kind", "series", "ended", "calls in vain", "failed", "held", "accounts", "rounds"):
        table.add_column(name)
    for each in found[:_SHOWN]:
        ended = "open" if each.ended_at is None else f"{each.ended_at:%Y-%m-%d %H:%M} ({each.how})"
        counts = (each.failed_calls, each.windows_failed, each.windows_held, each.accounts, each.rounds)
        series = " ".join(each.series)
        table.add_row(f"{each.began_at:%Y-%m-%d %H:%M}", each.kind, series, ended, *map(str, counts))
    Console().print(table)
