"""`releve simulate`: serves the interfaces of Enedis and GRDF, and a gateway, for trials."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from config.settings import PREFIX, ConfigError, Settings
from config.validation import is_gas_production, is_gateway_production, is_production, is_suppliers
from simulator.application import DEFAULT_HOST, DEFAULT_PORT, serve
from simulator.enedis_authorization import USUAL_CALLBACK
from worker.cli.command_audit import OWN_DATA, command
from worker.cli.parameters import PORT, refusing_taken_port
from worker.ops.logging_setup import configure_process, warn

if TYPE_CHECKING:
    from simulator.electricity_recordings import RecordedFolder

_HOSTS: Final = ("enedis_url", "enedis_authorize_url", "grdf_url", "grdf_token_url", "grdf_authorize_url")


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
@click.option("--redirect-uri", help=f"Registered callback URL. Default: the one in the query, else {USUAL_CALLBACK}.")
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

    The simulator's clock starts at RELEVE_PRETEND_NOW, if set. Requests to /__sim__/ control the running simulator.

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
    # These URLs are not called. They replace the supplier's own URLs, with which RELEVE_PRETEND_NOW would be refused.
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
    """Raise ConfigError if the settings belong to an application that calls the real suppliers."""
    settings = Settings.from_env(pretend_now=None, pretend_homes=False)
    own_host = next((f"{PREFIX}{name.upper()}" for name in _HOSTS if is_suppliers(getattr(settings, name))), "")
    if name := own_host or (_speaks_to_production(settings) and _own_credentials(settings)):
        raise ConfigError(
            f"{name} is for the supplier itself and can't be combined with a simulator: unset it here, or set "
            "RELEVE_ENEDIS_URL to the simulator"
        )


def _speaks_to_production(settings: Settings) -> bool:
    """Return whether the settings name hosts of a supplier, or of the public gateway, that serve real meters."""
    if is_gas_production(settings.grdf_url, settings.grdf_client_id):
        return True
    if settings.is_home:
        return is_gateway_production(settings.gateway_url)
    return is_production(settings.enedis_url, settings.enedis_sandbox)


def _own_credentials(settings: Settings) -> str:
    """Return the name of the setting that has the application's id at a real supplier.

    The name is empty if only the simulator's id, or none, is set.
    """
    from worker.ops.startup import SIMULATOR_CREDENTIALS

    known = {SIMULATOR_CREDENTIALS["enedis_client_id"], None, ""}
    names = ("enedis_client_id", "grdf_client_id")
    return next((f"{PREFIX}{name.upper()}" for name in names if getattr(settings, name) not in known), "")


def _tell_address(address: str) -> None:
    click.echo(f"simulating Enedis and GRDF at {address}")
    click.echo(f"simulating a gateway, with tokens from {address}/gateway/token")


def _tell(recordings: RecordedFolder) -> None:
    """Print a line for each file that is served, and a warning for each file that is skipped."""
    for used in recordings.used:
        click.echo(f"serving {used}")
    for passed_over in recordings.passed_over:
        warn(f"skipped {passed_over}")
