"""`releve pretend-homes`: connect homes of the simulator through the web pages, as their holders would."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlsplit

import click
import requests

from config.settings import ConfigError, Settings, get_settings
from worker.cli.common import json_option, print_result
from worker.cli.demo_homes import HOMES, connect_home
from worker.cli.supervise import public_url
from worker.errors import PageNotReady
from worker.web.server import DEFAULT_HOST, DEFAULT_PORT

_RETRY_S: Final = 1.0


@click.command("pretend-homes")
@click.option("--web", help="URL of the web service. Default: RELEVE_PUBLIC_URL.")
@click.option(
    "--patience", default=120, show_default=True, type=click.IntRange(0), help="Seconds to wait for the web service."
)
@json_option
def pretend_homes(web: str | None, patience: int, as_json: bool) -> None:
    """Connect three pretend homes through the pages; workers then fetch their history.

    It needs a running web service and simulator, and RELEVE_PRETEND_HOMES. It reaches the
    pages at --web and the simulator at RELEVE_ENEDIS_URL, even if browsers use other addresses (RELEVE_PUBLIC_URL,
    RELEVE_ENEDIS_AUTHORIZE_URL). For a home that is already connected, it renews the consent.

    \b
    Example:
      RELEVE_ENEDIS_URL=http://simulator:8765 releve pretend-homes --web http://web:8000
    """
    settings = get_settings()
    if not settings.speaks_to_simulator:
        raise ConfigError(
            "pretend homes need the simulator: set RELEVE_ENEDIS_URL to its address, and RELEVE_PRETEND_HOMES=true"
        )
    public = public_url(settings, DEFAULT_HOST, DEFAULT_PORT)
    web_url = (web or public).rstrip("/")
    deadline = time.monotonic() + patience
    origins = _origins(settings, public, web_url)
    accounts = {home: _connect(web_url, home, origins, deadline) for home in HOMES}
    lines = [f"{name} is connected as account {account_id}" for name, account_id in accounts.items()]
    print_result(accounts, *lines, as_json=as_json)


def _connect(web_url: str, home: str, origins: dict[str, str], deadline: float) -> str:
    while True:
        try:
            return connect_home(web_url, home, origins)
        except (requests.RequestException, PageNotReady) as error:  # Web or simulator may still be starting.
            if time.monotonic() > deadline:
                reason = error if isinstance(error, PageNotReady) else f"no answer ({type(error).__name__})"
                raise PageNotReady(f"{web_url}: {reason}; check web and simulator") from error
            time.sleep(_RETRY_S)


def _origins(settings: Settings, public: str, web_url: str) -> dict[str, str]:
    """Return, for each origin that a browser would be sent to, the one at which we reach it."""
    origins = {_origin(public): web_url}
    if settings.enedis_authorize_url and settings.enedis_url:
        origins[_origin(settings.enedis_authorize_url)] = _origin(settings.enedis_url)
    return origins


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
