"""`releve simulate` and `releve drill`: the suppliers' interfaces for trials, and faults at random times.

The simulator is that of the interfaces of Enedis and GRDF, and of a gateway. The drill runs real processes, and
compares the whole store with the simulator's values.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from config.settings import PREFIX, ConfigError, Settings
from config.validation import is_suppliers
from simulator.application import DEFAULT_HOST, DEFAULT_PORT, serve
from worker.cli.command_audit import OWN_DATA, command
from worker.cli.parameters import PORT, SERIES_NAMES, json_option, print_json, refusing_taken_port
from worker.domain.series import USUAL_SERIES, Series
from worker.ops.logging_setup import configure_process, warn

if TYPE_CHECKING:
    from rich.console import Console

    from drill.run import DrillReport
    from simulator.electricity_recordings import RecordedFolder

_HOSTS: Final = ("enedis_url", "enedis_authorize_url", "grdf_url", "grdf_token_url", "grdf_authorize_url")
_ACCOUNTS: Final = 12
_PRESETS: Final = ("enedis-2026", "enedis-2026", "enedis-v4", "enedis-v4")


@command(audit=OWN_DATA)
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Port to listen on; 0: a free one.")
@click.option(
    "--data",
    "data_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with recorded series: <14 digits>.load_curve.csv[.gz], <14 digits>.daily.csv[.gz], exports of "
    "Enedis (Enedis_Conso_Heure_*, Enedis_Conso_Jour_*, Enedis_Prod_Jour_*, ENEDIS_R63*); for gas "
    "<PCE>.gas_daily.csv[.gz], <PCE>.gas_published.csv[.gz]. Other meters are then unknown.",
)
@click.option("--pretend-homes", is_flag=True, help="With --data: serve pretend homes for all other meter numbers.")
@click.option("--redirect-uri", help="Registered callback URL. Default: the consent page takes it from its query.")
@click.option(
    "--sandbox",
    is_flag=True,
    help="Act as the suppliers' sandboxes: the last digit of `state` picks one of Enedis' nine test customers. With "
    "--data, GRDF's test meters are known too.",
)
@click.option("--consent-page", is_flag=True, help="Show a consent page instead of consenting at once.")
@click.option("--per-second", type=click.IntRange(1), help="Calls a second of Enedis' quota. Default: no quota.")
@click.option("--per-hour", type=click.IntRange(1), help="Calls an hour of Enedis' quota. Default: no quota.")
@click.option("--client-id", help="Client id of the only known application. Default: any id and secret are accepted.")
@click.option("--client-secret", default="", help="That application's secret.")
@click.option(
    "--admin-token",
    help="Token for the control API under /__sim__/. Default: this machine needs no token; if --host is another "
    "address, a random token is printed.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the pretend homes.")
def simulate(host: str, port: int, admin_token: str | None, **options: Any) -> None:
    """Run a simulator of Enedis (v4, v5, 2026), GRDF (ADICT) and a gateway, with pretend homes or recordings.

    Every meter number is a pretend home, and every PCE is a pretend home with gas. The gateway gives tokens at
    /gateway/token.

    With --data it serves recordings. It prints each file that it serves or skips, and refuses other meters as the
    supplier does.

    Its clock starts at RELEVE_PRETEND_NOW, if set. /__sim__/ controls it while it runs.

    \b
    Example:
      releve simulate --port 8765 --data recordings/
      RELEVE_ENEDIS_URL=http://127.0.0.1:8765 releve accounts add --usage-point 12345678901234
    """
    from simulator.control_routes import is_loopback
    from simulator.recorded_files import BrokenRecording
    from simulator.switches import SimulatorOptions
    from worker.runtime.stores import announce_pretend_time

    _refuse_beside_production()
    # Any URL but the supplier's own: with those RELEVE_PRETEND_NOW is refused.
    settings = Settings.from_env(
        enedis_url="http://127.0.0.1", enedis_authorize_url=None, gateway_url="http://127.0.0.1"
    )
    configure_process(settings)
    announce_pretend_time(settings, warn)
    if admin_token is None and not is_loopback(host):
        admin_token = secrets.token_urlsafe(24)
        click.echo(f"/__sim__/ opens with: Authorization: Bearer {admin_token}")
    simulated = SimulatorOptions(pretend_now=settings.pretend_now, admin_token=admin_token, **options)
    with refusing_taken_port(host, port):
        try:
            serve(simulated, host, port, _tell_address, _tell)
        except BrokenRecording as error:
            raise click.ClickException(str(error)) from None


def _refuse_beside_production() -> None:
    """Raise ConfigError where the settings are those of an application that asks a supplier itself."""
    from worker.ops.startup import own_credentials

    settings = Settings.from_env(pretend_now=None, pretend_homes=False)
    own_host = next((f"{PREFIX}{name.upper()}" for name in _HOSTS if is_suppliers(getattr(settings, name))), "")
    if name := own_host or (settings.speaks_to_production and own_credentials(settings)):
        raise ConfigError(
            f"{name} is for the supplier itself and can't be combined with a simulator: unset it here, or set "
            "RELEVE_ENEDIS_URL to the simulator"
        )


def _tell_address(address: str) -> None:
    click.echo(f"simulating Enedis and GRDF at {address}")
    click.echo(f"simulating a gateway, with tokens from {address}/gateway/token")


def _tell(recordings: RecordedFolder) -> None:
    """Print a line for each file that is served and a warning for what is passed over."""
    for used in recordings.used:
        click.echo(f"serving {used}")
    for passed_over in recordings.passed_over:
        warn(f"skipped {passed_over}")


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
    from rich.console import Console

    from drill.faults import choose_kinds, possible_kinds
    from drill.run import DrillReport
    from drill.servers import find_couchdb_program

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
    from drill.faults import plan_faults
    from drill.fleet import DrillFleet, Households
    from drill.run import Drill
    from drill.servers import open_servers

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
    from rich.console import Console
    from rich.table import Table

    from drill.expected_documents import DIFFERENCES

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
