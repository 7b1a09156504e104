"""`releve drill`: faults at random times in real processes, then all that is stored against the simulator's values."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from drill.expected_documents import DIFFERENCES
from drill.faults import choose_kinds, plan_faults, possible_kinds
from drill.fleet import DrillFleet, Households
from drill.run import Drill, DrillReport
from drill.servers import find_couchdb_program, open_servers
from worker.cli.command_audit import OWN_DATA, command
from worker.cli.parameters import SERIES_NAMES, json_option, print_json
from worker.domain.series import USUAL_SERIES, Series
from worker.ops.logging_setup import warn

_ACCOUNTS: Final = 12
_PRESETS: Final = ("enedis-2026", "enedis-2026", "enedis-v4", "enedis-v4")


@command(audit=OWN_DATA)
@click.option(
    "--minutes",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    help="Minutes during which faults happen.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Seed of the random faults.")
@click.option(
    "--store",
    type=click.Choice(["sqlite", "couchdb", "couchdb-packed", "postgresql"]),
    help="Measure store; postgresql is the registry too. By default the seed decides: even seeds use CouchDB; of "
    "these, 4, 6, 12, 14, … use packed documents.",
)
@click.option("--only", help="Faults to cause, like messages_lost,kill_worker: names of the JSON report.")
@click.option(
    "--preset",
    type=click.Choice(["enedis-v4", "enedis-2026"]),
    help="API of the simulator. By default the seed decides: seeds 2, 3, 6, 7, … use v4, with rotating tokens.",
)
@click.option("--series", type=SERIES_NAMES, default=USUAL_SERIES, help="Series to collect, like daily,max_power.")
@click.option("--measures-url", help="URL of a CouchDB server, couchdb+http://…. Default: the drill starts its own.")
@click.option(
    "--accounts", default=_ACCOUNTS, show_default=True, type=click.IntRange(1, 200), help="Number of pretend homes."
)
@click.option("--keep", is_flag=True, help="Keep logs and databases. After a failure they are kept anyway.")
@json_option
def drill(
    minutes: float,
    seed: int,
    store: str | None,
    only: str | None,
    preset: str | None,
    series: tuple[Series, ...],
    measures_url: str | None,
    accounts: int,
    keep: bool,
    as_json: bool,
) -> int:
    """Test fault tolerance: start servers and workers, kill and disconnect them, then compare what is stored.

    It uses its own data only. The exit code is 1 if a reading is lost, duplicated or wrong, a total is wrong, a missing
    value became zero, an account is stuck, or an output lacks stored data. The same seed plans the same faults.

    \b
    Examples:
      releve drill --minutes 10 --seed 4
      releve drill --store couchdb --measures-url couchdb+http://admin:secret@127.0.0.1:5984/ --json
    """
    if measures_url and store in ("sqlite", "postgresql"):
        raise click.UsageError("--measures-url is for --store couchdb")
    possible = measures_url is not None or find_couchdb_program() is not None
    if store is None:
        couchdb = possible and (seed % 2 == 0 or measures_url is not None)
        store = ("couchdb-packed" if seed // 4 % 2 else "couchdb") if couchdb else "sqlite"
    planned = DrillReport(seed, minutes, store, preset or _PRESETS[seed % 4])
    planned.possible = possible_kinds(store, own_couchdb=measures_url is None)
    planned.asked_for = choose_kinds(planned.possible, only)
    console = Console(stderr=True, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="releve-drill-"))
    report = None
    try:
        _run(folder, planned, accounts, series, measures_url, console)
        report = planned
    finally:
        if keep or report is None or not report.ok:
            warn(f"logs and databases are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(report.as_json())
    else:
        _print_report(report)
    if not report.ok:
        options = {"minutes": f"{minutes:g}", "seed": seed, "store": report.store, "preset": report.preset}
        further = {"series": ",".join(series) if series != USUAL_SERIES else "", "only": only}
        further["measures-url"] = "…" if measures_url else ""
        words = {**options, "accounts": accounts, **{name: value for name, value in further.items() if value}}
        command = " ".join(["releve drill", *(f"--{name} {value}" for name, value in words.items())])
        warn(f"this drill failed; run it again with: {command}")
    return 0 if report.ok else 1


def _run(
    folder: Path,
    report: DrillReport,
    accounts: int,
    series: tuple[Series, ...],
    measures_url: str | None,
    console: Console,
) -> None:
    seed, seconds = report.seed, report.minutes * 60
    planned = plan_faults(seed, seconds, report.asked_for)
    with open_servers(
        folder, preset=report.preset, store=report.store, series=series, measures_url=measures_url
    ) as servers:
        with Households(servers.web) as households:
            fleet = DrillFleet(servers, households, seed, accounts, seconds)
            console.print(f"drill of {report.minutes:g} minutes, seed {seed}, {report.preset}, {report.store}")
            console.print(f"logs in {folder / 'logs'}")
            Drill(servers, fleet, report, planned, console.print).run()
        if measures_url:
            fleet.remove_accounts()


def _print_report(report: DrillReport) -> None:
    console = Console(highlight=False)
    table = Table("fault", "times", "median s", "longest s", "with later faults s", box=None)
    for kind, figures in report.summarize_faults().items():
        seconds = [_seconds(figures[name]) for name in ("median_s", "longest_s", "longest_in_all_s")]
        table.add_row(kind.replace("_", " "), str(figures["count"]), *seconds)
    console.print(table)
    values = report.as_json()
    console.print(f"left out: {report.left_out}", soft_wrap=True)
    for names in (("accounts", "documents", "kills"), (*DIFFERENCES, "stuck", "not_sent")):
        console.print(", ".join(f"{name.replace('_', ' ')} {values[name]}" for name in names))
    console.print("repeated: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in values["repeated"].items()))
    last, first = (_seconds(values[name]) for name in ("longest_s", "longest_in_all_s"))
    console.print(
        f"longest recovery: {last} s after the last fault that touched its accounts, {first} s after the first"
    )
    console.print("[green]nothing lost, nothing duplicated[/]" if report.ok else "[red]FAILED[/]")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
