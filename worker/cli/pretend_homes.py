"""releve pretend-homes: connects homes of the simulator through the web pages, as their people would."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlsplit

import click
import requests

from config.settings import ConfigError, Settings, get_settings
from worker.cli.common import json_option, print_json
from worker.cli.demo_homes import HOMES, DemoHome, connect_home
from worker.cli.supervise import public_url
from worker.errors import SupplierUnavailable
from worker.web.server import DEFAULT_HOST, DEFAULT_PORT

_AGAIN_S: Final = 1.0


@click.command("pretend-homes")
@click.option("--web", help="Where we reach the connect service; by default its public URL.")
@click.option(
    "--patience", default=120, show_default=True, type=click.IntRange(0), help="Seconds to wait for it to answer."
)
@json_option
def pretend_homes(web: str | None, patience: int, as_json: bool) -> None:
    """Connect three pretend homes of the simulator; the workers then fetch their history.

    Goes through the pages and the consent like a browser, so it needs web and simulator running. Where browsers know
    them by other addresses than we do (RELEVE_PUBLIC_URL, RELEVE_ENEDIS_AUTHORIZE_URL), it goes to ours instead. A
    home that is connected already renews its consent.

    \b
    Example:
      RELEVE_ENEDIS_URL=http://simulator:8765 releve pretend-homes --web http://web:8000
    """
    settings = get_settings()
    if settings.enedis_url is None or settings.speaks_to_production:
        raise ConfigError("pretend homes are for the simulator: set RELEVE_ENEDIS_URL to its address")
    public = public_url(settings, DEFAULT_HOST, DEFAULT_PORT)
    entrance = (web or public).rstrip("/")
    give_up = time.monotonic() + patience
    ways = _ways(settings, public, entrance)
    accounts = {home.name: _connect(entrance, home, ways, give_up) for home in HOMES}
    if as_json:
        print_json(accounts)
        return
    for name, account_id in accounts.items():
        click.echo(f"{name} is connected as account {account_id}")


def _connect(web: str, home: DemoHome, ways: dict[str, str], give_up: float) -> str:
    while True:
        try:
            return connect_home(web, home, ways)
        except (requests.RequestException, SupplierUnavailable) as error:  # not up yet, one or the other
            if time.monotonic() > give_up:
                told = error if isinstance(error, SupplierUnavailable) else f"no answer ({type(error).__name__})"
                raise SupplierUnavailable(f"{web}: {told}; check web and simulator") from error
            time.sleep(_AGAIN_S)


def _ways(settings: Settings, public: str, entrance: str) -> dict[str, str]:
    """From where a browser would be sent to where the same stands for us."""
    ways = {_origin(public): entrance}
    if settings.enedis_authorize_url and settings.enedis_url:
        ways[_origin(settings.enedis_authorize_url)] = _origin(settings.enedis_url)
    return ways


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
