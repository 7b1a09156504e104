"""`releve up`, `web` and `metrics`: a whole installation on one machine, the web service, and the fleet's metrics.

`up` refuses to call Enedis or GRDF with the simulator's credentials. `metrics` serves Prometheus, or prints the metrics
once. It doesn't load the web service.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from pydantic import SecretStr

from config.settings import UP_ADDRESS, ConfigError, Settings, get_settings
from worker.cli.command_audit import SERVES, command
from worker.cli.parameters import PORT, refusing_taken_port
from worker.ops import startup
from worker.ops.logging_setup import configure_process, warn
from worker.ops.supervisor import PartPlan, part_command, public_url
from worker.runtime.consent_parts import build_consent
from worker.runtime.stores import announce_pretend_time, open_stores
from worker.runtime.sync_parts import build_sync
from worker.runtime.web_access import build_web
from worker.stores.process_guard import GRACE_S
from worker.stores.redis.embedded import UP_LOCK, open_lock, shared_redis, try_flock, wait_for
from worker.stores.sockets import listen

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LOOPBACK: Final = "127.0.0.1"
WEB_PORT: Final = 8000
_METRICS_PORT: Final = 9808
_POLL_S: Final = 0.1


@command(audit=SERVES)
@click.option("--host", default=LOOPBACK, show_default=True, help="Address of the web service.")
@click.option("--port", type=PORT, default=WEB_PORT, show_default=True, help="Port of the web service.")
@click.option(
    "--flower-port",
    type=PORT,
    default=None,
    show_default=f"{startup.FLOWER_PORT}; none for a home",
    help=f"Port on {LOOPBACK} of Flower, which shows the tasks. 0: no Flower.",
)
@click.option("--no-log-files", is_flag=True, help="Log to standard error instead of RELEVE_DATA_DIR/logs.")
def up(host: str, port: int, flower_port: int | None, no_log_files: bool) -> None:
    """Run worker, beat, web and Flower until Ctrl-C, with an embedded Redis unless RELEVE_REDIS_URL is set.

    Commands in other terminals (`releve accounts add`, `releve status`) use the same data.

    \b
    Examples:
      RELEVE_ENEDIS_CLIENT_ID=… RELEVE_ENEDIS_CLIENT_SECRET=… releve up
      releve up   # for one home, after `releve home add`
    """
    from worker.cli.access import warn_without_operators
    from worker.web.client_addresses import trusted_proxies

    settings = get_settings()
    announce_pretend_time(settings, warn)
    startup.check_credentials(settings)
    startup.check_tracing()
    address = public_url(settings, host, port)
    if warning := startup.find_plain_http(settings, address, host):
        warn(warning)
    trusted_proxies(address)
    if flower_port is None:
        flower_port = 0 if settings.is_home else startup.FLOWER_PORT
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with open_lock(settings.data_dir / UP_LOCK) as lock:
        ports_free_by = _take_folder(lock, settings.data_dir)
        with refusing_taken_port(host, port):
            _check_port(host, port, ports_free_by)
        if flower_port:
            _check_flower(settings, flower_port, ports_free_by)
        with ExitStack() as opened:
            checked = settings
            if not settings.redis():
                url = opened.enter_context(shared_redis(settings.data_dir, for_up=True))
                checked = settings.model_copy(update={"redis_url": SecretStr(url)})
            # Opening the stores checks the settings, and that the registry's tables are those of this version.
            stores = opened.enter_context(open_stores(checked))
            build_sync(stores)
            warn_without_operators(checked, build_web(stores))
        (settings.data_dir / UP_ADDRESS).write_text(address, encoding="utf-8")
        # The supervisor is exec'd in this process and keeps the lock, so the descriptor must be inheritable.
        os.set_inheritable(lock, True)
        logs = "" if no_log_files else str(settings.data_dir / "logs")
        plan = _plan_parts(settings, address, host, port, flower_port, logs)
        plan.replace_process({"RELEVE_PUBLIC_URL": address})


def _take_folder(lock: int, data_dir: Path) -> float:
    """Lock the data folder; return the monotonic time by which all parts of a killed earlier run have ended.

    Raises ClickException if another process holds the lock. The system releases the lock when the holder ends, even if
    it crashes.
    """
    number = os.pread(lock, 20, 0).decode()
    # Wait a moment if the lock is taken: a command that checks whether `releve up` runs holds it only briefly.
    if not wait_for(lambda: try_flock(lock, fcntl.LOCK_EX), _POLL_S):
        raise click.ClickException(
            f"`releve up` already runs in {data_dir} (process {number}): stop it first, or set RELEVE_DATA_DIR to "
            "another folder"
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return time.monotonic() + (GRACE_S + 1 if number else 0)


def _check_port(host: str, port: int, free_by: float) -> None:
    """Wait until the port is free. Raises OSError if it is still in use at the monotonic time ``free_by``."""
    while True:
        try:
            listen(host, port).close()
            return
        except OSError:
            if time.monotonic() >= free_by:
                raise
            time.sleep(_POLL_S)


def _check_flower(settings: Settings, flower_port: int, port_free_by: float) -> None:
    """Raise ConfigError if Flower would end right after its start, because all other processes would end with it."""
    startup.flower_password(settings)
    try:
        _check_port(LOOPBACK, flower_port, port_free_by)
    except OSError as error:
        raise ConfigError(
            f"port {flower_port} for Flower: {error.strerror}; choose another with --flower-port, or give 0 for no "
            "Flower"
        ) from None


def _plan_parts(settings: Settings, address: str, host: str, port: int, flower_port: int, logs: str) -> PartPlan:
    """Return the processes to run. A home's worker runs beat in a thread; otherwise beat is a process of its own."""
    lines = []
    if settings.is_home:
        parts, running = {"worker": part_command("home-worker")}, "worker and web"
    else:
        parts, running = {"worker": part_command("worker"), "beat": part_command("beat")}, "worker, beat and web"
    parts["web"] = part_command("web", "--host", host, "--port", str(port))
    if flower_port:
        parts["flower"] = part_command("flower", f"--port={flower_port}")
        source = startup.flower_password_source(settings)
        lines.append(
            f"tasks in Flower at http://{LOOPBACK}:{flower_port}, user {startup.FLOWER_USER}, password {source}"
        )
    lines += [
        f"{running} are running; logs {f'in {logs}' if logs else 'on standard error'}; Ctrl-C ends them",
        f"pages and API at {address}, listening on {host}:{port}",
    ]
    redis_in = None if settings.redis() else str(settings.data_dir)
    return PartPlan(parts, logs, settings.supplier_timeout_s + 10, lines, redis_in)


@command(audit=SERVES)
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=WEB_PORT, show_default=True, help="Port to listen on; 0 picks a free one.")
def web(host: str, port: int) -> None:
    """Serve the pages where households connect meters and see their measures, and the API.

    Browsers must reach the service at RELEVE_PUBLIC_URL (default: the address where it listens). Register <that
    URL>/callback/enedis as callback of your application at the supplier. Workers fetch the data: run your own, or
    `releve up`.

    \b
    Example:
      RELEVE_PUBLIC_URL=https://releve.example.org releve web --port 8000
    """
    from worker.cli.access import warn_without_operators
    from worker.web.asgi import create_app
    from worker.web.client_addresses import trusted_proxies
    from worker.web.server import mailing_notices, serve

    settings = get_settings()
    configure_process(settings)
    startup.check_tracing()
    announce_pretend_time(settings, warn)
    address = public_url(settings, host, port)
    if warning := startup.find_plain_http(settings, address, host):
        warn(warning)
    proxies = trusted_proxies(address)
    with open_stores(settings.model_copy(update={"public_url": address})) as stores:
        sync = build_sync(stores)
        consent, access = build_consent(stores, sync), build_web(stores)
        warn_without_operators(stores.settings, access)
        app = create_app(stores, sync, consent, access)
        with refusing_taken_port(host, port), mailing_notices(stores, access, is_home=settings.is_home):
            serve(app, host, port, on_start=lambda where: click.echo(f"serving at {where}"), proxies=proxies)


@command(audit=SERVES)
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=_METRICS_PORT, show_default=True, help="Port to listen on.")
@click.option("--once", is_flag=True, help="Print the metrics and exit, with 1 if a part does not answer.")
def metrics(host: str, port: int, once: bool) -> int:
    """Serve metrics of the whole installation for Prometheus: accounts, freshness, queues, quota and workers.

    One process is enough. Each worker serves its own counters (RELEVE_METRICS_PORT). Each scrape asks registry, measure
    store, Redis and broker; a part that is down gives releve_up 0.

    \b
    Example:
      releve metrics --once
    """
    from prometheus_client import CollectorRegistry, generate_latest

    from worker.ops.fleet_metrics import FleetCollector, FleetSources

    settings = get_settings()
    configure_process(settings)
    announce_pretend_time(settings, warn)
    with ExitStack() as stack:
        collector = FleetCollector(FleetSources(settings, stack).parts())
        stack.callback(collector.close)
        registry = CollectorRegistry()
        registry.register(collector)
        if not once:
            _serve(registry, host, port)
            return 0
        click.echo(generate_latest(registry).decode(), nl=False)
    return 1 if collector.down else 0


def _serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve the metrics until Ctrl-C. Raises ClickException if the port is taken."""
    from prometheus_client import start_http_server

    with refusing_taken_port(host, port):
        server, _ = start_http_server(port, host, registry)
    click.echo(f"serving at http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics")
    with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
        threading.Event().wait()
    server.shutdown()
    server.server_close()
