"""`releve simulate`: run the simulator of the interfaces of Enedis and GRDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from config.settings import Settings
from worker.cli.common import PORT, refusing_taken_port, warn
from worker.ops.logging_setup import configure_process
from worker.runtime.process import announce_pretend_time
from worker.simulator.homes.recording_formats import BrokenRecording
from worker.simulator.homes.recordings import RecordedFolder
from worker.simulator.options import SimulatorOptions
from worker.simulator.server import DEFAULT_HOST, DEFAULT_PORT, serve


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Port to listen on; 0 takes a free one."
)
@click.option(
    "--data",
    "data_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of recorded series: <14 digits>.load_curve.csv[.gz], <14 digits>.daily.csv[.gz], Enedis' own exports "
    "(Enedis_Conso_Heure_*, Enedis_Conso_Jour_*, Enedis_Prod_Jour_*, ENEDIS_R63*); of gas <PCE>.gas_daily.csv[.gz], "
    "<PCE>.gas_published.csv[.gz]. Other meters are then unknown.",
)
@click.option("--pretend-homes", is_flag=True, help="Beside --data, any other meter number is a pretend home.")
@click.option("--redirect-uri", help="The registered callback; without it the consent page takes one from its query.")
@click.option(
    "--sandbox",
    is_flag=True,
    help="The last digit of `state` picks one of the nine test customers; beside --data, GRDF's test meters are known.",
)
@click.option("--consent-page", is_flag=True, help="Ask in the browser instead of agreeing at once.")
@click.option("--per-second", type=click.IntRange(1), help="Quota of Enedis; none without it.")
@click.option("--per-hour", type=click.IntRange(1), help="Quota of Enedis; none without it.")
@click.option("--client-id", help="The one application it knows; without it any id and secret will do.")
@click.option("--client-secret", default="", help="That application's secret.")
@click.option("--seed", default=1, show_default=True, help="Grows other pretend homes.")
def simulate(host: str, port: int, **options: Any) -> None:
    """Behave like Enedis (v4, v5 and 2026) and GRDF (ADICT) on one port, with pretend homes or recorded meters.

    Any meter number is a pretend home, and any PCE one with gas. With --data it names each file it serves and each it
    passes over, and refuses meters without a recording as the supplier refuses one it does not know.

    Its clock starts at RELEVE_PRETEND_NOW where that is set; what it is switched to while it runs stands under
    /__sim__/.

    \b
    Example:
      releve simulate --port 8765 --data recordings/
      RELEVE_ENEDIS_URL=http://127.0.0.1:8765 releve accounts add --usage-point 12345678901234
    """
    # Any URL but the supplier's own: with those RELEVE_PRETEND_NOW is refused.
    settings = Settings.from_env(enedis_url="http://127.0.0.1")
    configure_process(settings)
    announce_pretend_time(settings, warn)
    simulated = SimulatorOptions(pretend_now=settings.pretend_now, **options)
    with refusing_taken_port(host, port):
        try:
            serve(simulated, host, port, lambda address: click.echo(f"simulating Enedis and GRDF at {address}"), _tell)
        except BrokenRecording as error:
            raise click.ClickException(str(error)) from None


def _tell(recordings: RecordedFolder) -> None:
    """Print a line for each file that is served and a warning for what is passed over."""
    for used in recordings.used:
        click.echo(f"serving {used}")
    for passed_over in recordings.passed_over:
        warn(f"passed over {passed_over}")
