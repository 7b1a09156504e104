"""`releve up`: worker, beat, web and Flower on one machine, with real credentials."""

from __future__ import annotations

import click

from config.settings import ConfigError, Settings, get_settings
from worker.cli.common import PORT, warn
from worker.cli.operators import warn_without_operators
from worker.cli.supervise import public_url, start_part
from worker.ops.flower import DEFAULT_PORT as FLOWER_PORT
from worker.ops.flower import USER, password, password_source
from worker.ops.plain_connections import check_plain_http
from worker.ops.startup import check_credentials
from worker.runtime.process import Runtime, announce_pretend_time
from worker.stores.redis.child_processes import Supervisor
from worker.stores.redis.sockets import listen
from worker.web.addresses import trusted_proxies
from worker.web.server import DEFAULT_HOST, DEFAULT_PORT

_LOOPBACK = "127.0.0.1"


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address that the web service listens on.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Its port.")
@click.option(
    "--flower-port",
    type=PORT,
    default=FLOWER_PORT,
    show_default=True,
    help=f"Port on {_LOOPBACK} of Flower, which shows the tasks; 0 goes without.",
)
def up(host: str, port: int, flower_port: int) -> int:
    """Run worker, beat, web and Flower here until Ctrl-C, with an embedded Redis unless RELEVE_REDIS_URL names one.

    What other terminals do meanwhile (`releve accounts add`, `releve status`) works on the same data.

    \b
    Example:
      RELEVE_ENEDIS_CLIENT_ID=… RELEVE_ENEDIS_CLIENT_SECRET=… releve up
    """
    settings = get_settings()
    announce_pretend_time(settings, warn)
    check_credentials(settings)
    address = public_url(settings, host, port)
    if warning := check_plain_http(address, wanted=settings.plain_http):
        warn(warning)
    trusted_proxies(address)
    if flower_port:
        _check_flower(settings, flower_port)
    with Runtime(settings) as runtime:  # Opening it migrates the registry and checks the settings.
        warn_without_operators(runtime)
        env = {} if settings.redis_url else {"RELEVE_REDIS_URL": runtime.redis_url}
        env["RELEVE_PUBLIC_URL"] = address
        return _run(settings, env, host, port, flower_port)


def _check_flower(settings: Settings, flower_port: int) -> None:
    """Raise ConfigError for what would end Flower right after its start, and the other processes with it."""
    password(settings)
    try:
        listen(_LOOPBACK, flower_port).close()
    except OSError as error:
        raise ConfigError(
            f"port {flower_port} for Flower: {error.strerror}; choose another with --flower-port, or 0 to go without"
        ) from None


def _run(settings: Settings, env: dict[str, str], host: str, port: int, flower_port: int) -> int:
    logs = settings.data_dir / "logs"
    with Supervisor(grace_s=settings.supplier_timeout_s + 10) as supervisor:
        start_part(supervisor, "worker", env=env, logs=logs)
        start_part(supervisor, "beat", env=env, logs=logs)
        start_part(supervisor, "web", "--host", host, "--port", str(port), env=env, logs=logs)
        if flower_port:
            start_part(supervisor, "flower", f"--port={flower_port}", env=env, logs=logs)
            source = password_source(settings)
            click.echo(f"tasks in Flower at http://{_LOOPBACK}:{flower_port}, user {USER}, password {source}")
        click.echo(f"worker, beat and web are running; logs in {logs}; Ctrl-C ends them")
        click.echo(f"pages and API at {env['RELEVE_PUBLIC_URL']}, listening on {host}:{port}")
        try:
            exits = supervisor.wait()
        except KeyboardInterrupt:  # Ctrl-C is the usual end.
            return 0
        for child_exit in exits:
            warn(str(child_exit))
    return 1
