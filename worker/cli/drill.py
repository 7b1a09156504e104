"""`releve drill`: real processes, faults at random times, and the whole store compared with the simulator's values."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from drill.expected_documents import DIFFERENCES
from drill.faults import plan_faults
from drill.fleet import DrillFleet
from drill.run import Drill, DrillReport
from drill.servers import find_couchdb_program, open_servers
from worker.cli.common import SeriesNames, json_option, print_json
from worker.domain.series import USUAL_SERIES, Series
from worker.ops.logging_setup import warn

_ACCOUNTS: Final = 12
_PRESETS: Final = ("enedis-2026", "enedis-2026", "enedis-v4", "enedis-v4")


@click.command()
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
    type=click.Choice(["sqlite", "couchdb", "couchdb-packed"]),
    help="Measure store. By default the seed decides: even seeds use CouchDB; of these, 4, 6, 12, 14, … use packed "
    "documents.",
)
@click.option(
    "--preset",
    type=click.Choice(["enedis-v4", "enedis-2026"]),
    help="API of the simulator. By default the seed decides: seeds 2, 3, 6, 7, … use v4, with rotating tokens.",
)
@click.option("--series", type=SeriesNames(), default=USUAL_SERIES, help="Series to collect, like daily,max_power.")
@click.option(
    "--measures-url", help="URL of a CouchDB server to use, couchdb+http://…. Default: the drill starts its own."
)
@click.option(
    "--accounts", default=_ACCOUNTS, show_default=True, type=click.IntRange(1, 200), help="Number of pretend homes."
)
@click.option("--keep", is_flag=True, help="Keep logs and databases. After a failure they are kept anyway.")
@json_option
def drill(
    minutes: float,
    seed: int,
    store: str | None,
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
    if store == "sqlite" and measures_url:
        raise click.UsageError("--measures-url is for --store couchdb")
    possible = measures_url is not None or find_couchdb_program() is not None
    if store is None:
        couchdb = possible and (seed % 2 == 0 or measures_url is not None)
        store = ("couchdb-packed" if seed // 4 % 2 else "couchdb") if couchdb else "sqlite"
    console = Console(stderr=True, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="releve-drill-"))
    report = None
    try:
        planned = DrillReport(seed, minutes, store, preset or _PRESETS[seed % 4])
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
        words = " ".join(f"--{name} {value}" for name, value in {**options, "accounts": accounts}.items())
        command = f"releve drill {words}"
        command += f" --series {','.join(series)}" if series != USUAL_SERIES else ""
        command += " --measures-url …" if measures_url else ""
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
    seed, seconds, couchdb = report.seed, report.minutes * 60, report.store != "sqlite"
    planned = plan_faults(seed, seconds, couchdb=couchdb)
    with open_servers(
        folder, preset=report.preset, store=report.store, series=series, measures_url=measures_url
    ) as servers:
        fleet = DrillFleet(servers.runtime, servers.simulator, seed, accounts, seconds)
        console.print(
            f"drill of {report.minutes:g} minutes, seed {seed}, {report.preset}, {report.store}; "
            f"logs in {folder / 'logs'}"
        )
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
    for names in (("accounts", "documents", "kills"), (*DIFFERENCES, "stuck", "not_sent")):
        console.print(", ".join(f"{name.replace('_', ' ')} {values[name]}" for name in names))
    console.print("repeated: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in values["repeated"].items()))
    console.print("[green]nothing lost, nothing duplicated[/]" if report.ok else "[red]FAILED[/]")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
