"""`releve metrics`: the fleet's metrics for Prometheus, at an endpoint or printed once."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress

import click
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from config.settings import get_settings
from worker.cli.common import PORT, refusing_taken_port, warn
from worker.ops.fleet_metrics import FleetCollector
from worker.ops.fleet_sources import FleetSources
from worker.ops.logging_setup import configure_process
from worker.runtime.process import announce_pretend_time

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9808


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Its port.")
@click.option("--once", is_flag=True, help="Print the metrics and end; exit code 1 where a part can't be asked.")
def metrics(host: str, port: int, once: bool) -> int:
    """Tell Prometheus of the whole fleet: accounts, freshness, queues, quota, beat and workers.

    One for all; what each worker counts is at its own endpoint (RELEVE_METRICS_PORT). Registry, measure store, Redis
    and broker are asked when somebody asks here; one that is down is told as releve_up 0.

    \b
    Example:
      releve metrics --once
    """
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
    """Serve until interrupted.  Raises ClickException where the port is taken."""
    with refusing_taken_port(host, port):
        server, _ = start_http_server(port, host, registry)
    click.echo(f"serving at http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics")
    with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
        threading.Event().wait()
    server.shutdown()
    server.server_close()
