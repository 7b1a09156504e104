"""`releve metrics`: the fleet's metrics for Prometheus, at an endpoint or printed once."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress

import click
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from config.settings import get_settings
from worker.cli.common import PORT, refusing_taken_port
from worker.ops.fleet_metrics import FleetCollector, FleetSources
from worker.ops.logging_setup import configure_process, warn
from worker.runtime.sync_parts import announce_pretend_time

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9808


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Port to listen on.")
@click.option("--once", is_flag=True, help="Print the metrics and exit, with 1 if a part does not answer.")
def metrics(host: str, port: int, once: bool) -> int:
    """Serve metrics of the whole installation for Prometheus: accounts, freshness, queues, quota and workers.

    One process is enough. Each worker serves its own counters (RELEVE_METRICS_PORT). Each scrape asks registry, measure
    store, Redis and broker; a part that is down gives releve_up 0.

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
