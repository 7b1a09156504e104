"""`releve web`: serve the households' pages and the API."""

from __future__ import annotations

import click

from config.settings import get_settings
from worker.cli.common import PORT, refusing_taken_port
from worker.cli.operators import warn_without_operators
from worker.ops.logging_setup import configure_process, warn
from worker.ops.startup import find_plain_http
from worker.ops.supervisor import public_url
from worker.runtime.sync_parts import Runtime, announce_pretend_time
from worker.web.asgi import create_app
from worker.web.client_addresses import trusted_proxies
from worker.web.server import DEFAULT_HOST, DEFAULT_PORT, mailing_notices, serve


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Port to listen on; 0 picks a free one."
)
def web(host: str, port: int) -> None:
    """Serve the pages where households connect meters and see their measures, and the API.

    Browsers must reach it at RELEVE_PUBLIC_URL (default: where it listens). Register <that URL>/callback/enedis as
    callback of your application at the supplier. Workers fetch the data: run your own, or `releve up`.

    \b
    Example:
      RELEVE_PUBLIC_URL=https://releve.example.org releve web --port 8000
    """
    settings = get_settings()
    configure_process(settings)
    announce_pretend_time(settings, warn)
    address = public_url(settings, host, port)
    if warning := find_plain_http(settings, address, host):
        warn(warning)
    proxies = trusted_proxies(address)
    with Runtime(settings.model_copy(update={"public_url": address}), guarded=True) as runtime:
        warn_without_operators(runtime)
        app = create_app(runtime)
        with refusing_taken_port(host, port), mailing_notices(runtime):
            serve(app, host, port, on_start=lambda where: click.echo(f"serving at {where}"), proxies=proxies)
