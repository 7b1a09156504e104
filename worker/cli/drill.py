"""releve drill: everything that can go wrong, at random times, and then the whole store against the truth."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from worker.cli.common import json_option, print_json, warn

_ACCOUNTS: Final = 12


@click.command()
@click.option(
    "--minutes", default=2.0, show_default=True, type=click.FloatRange(0.1, 600), help="How long faults go on."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Another seed, other faults.")
@click.option("--store", type=click.Choice(["sqlite", "couchdb"]), help="Without it by the seed: even is couchdb.")
@click.option("--measures-url", help="A CouchDB server to drill, couchdb+http://…, in place of one of our own.")
@click.option("--accounts", default=_ACCOUNTS, show_default=True, type=click.IntRange(1, 200), help="Pretend homes.")
@click.option("--keep", is_flag=True, help="Keep the folder with logs and databases; one that failed is kept anyway.")
@json_option
def drill(
    minutes: float, seed: int, store: str | None, measures_url: str | None, accounts: int, keep: bool, as_json: bool
) -> int:
    """Start servers and workers, kill them, cut them off, lose and double messages; compare the store with the truth.

    Nothing of yours is touched. The exit code is 1 where a reading is lost, doubled or wrong, a total is wrong, a
    zero invented, or an account stuck; the same seed plans the same faults again.

    \b
    Examples:
      releve drill --minutes 10 --seed 4
      releve drill --store couchdb --measures-url couchdb+http://admin:secret@127.0.0.1:5984/ --json
    """
    from worker.drill.servers import find_couch_program

    possible = measures_url is not None or find_couch_program() is not None
    couchdb = store == "couchdb" or (store is None and possible and (seed % 2 == 0 or measures_url is not None))
    console = Console(stderr=True, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="releve-drill-"))
    outcome = None
    try:
        outcome = _run(folder, minutes, seed, accounts, couchdb, measures_url, console)
    finally:
        if keep or outcome is None or not outcome.ok:
            warn(f"logs and databases are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(outcome.as_json())
    else:
        _show(outcome)
    if not outcome.ok:
        again = f"releve drill --minutes {minutes:g} --seed {seed} --store {outcome.store} --accounts {accounts}"
        warn(f"this drill failed; run it again with: {again}")
    return 0 if outcome.ok else 1


def _run(
    folder: Path, minutes: float, seed: int, accounts: int, couchdb: bool, measures_url: str | None, console: Console
) -> Any:
    from worker.drill.fleet import Fleet
    from worker.drill.house import open_house
    from worker.drill.run import Drill, Outcome
    from worker.drill.schedule import plan

    outcome = Outcome(seed, minutes, "couchdb" if couchdb else "sqlite")
    ends: list[Drill] = []

    def say_dead(name: str, pid: int, code: int) -> None:
        for each in ends:
            each.died(name, pid, code)

    with open_house(folder, couchdb=couchdb, measures_url=measures_url, say=warn, say_dead=say_dead) as house:
        fleet = Fleet(house.runtime, house.simulator, seed, accounts, minutes * 60)
        ends.append(Drill(house, fleet, outcome, plan(seed, minutes * 60, couchdb=couchdb), console.print))
        console.print(f"drill of {minutes:g} minutes, seed {seed}, store {outcome.store}; logs in {folder / 'logs'}")
        ends[0].run()
    return outcome


def _show(outcome: Any) -> None:
    console = Console(highlight=False)
    table = Table("fault", "times", "median s", "longest s", "with later faults s", box=None)
    for kind, found in outcome.by_kind().items():
        seconds = [_seconds(found[name]) for name in ("median_s", "longest_s", "longest_in_all_s")]
        table.add_row(kind.replace("_", " "), str(found["count"]), *seconds)
    console.print(table)
    told = outcome.as_json()
    for names in (("accounts", "documents", "kills"), (*outcome.differences.as_json(), "stuck")):
        console.print(", ".join(f"{name.replace('_', ' ')} {told[name]}" for name in names))
    console.print("repeated: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in told["repeated"].items()))
    console.print("[green]nothing lost, nothing doubled[/]" if outcome.ok else "[red]FAILED[/]")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
