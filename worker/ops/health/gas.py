"""Checks of GRDF, where there is gas: address and credentials, its token, and its quota against the homes with gas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from config.settings import Settings
from worker.clients.suppliers import GRDF
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, ok
from worker.ops.health.supplier import ask_for_token, check_night, check_pace
from worker.ops.startup import check_gas_credentials
from worker.runtime.supplier import build_endpoints

SUPPLIER: Final = GRDF.name


def has_gas(settings: Settings) -> bool:
    """Return whether gas is set up; without it nothing is checked or told of it."""
    return bool(settings.grdf_client_id)


def check_gas_access(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check GRDF's address and the application's credentials.  Raises ConfigError."""
    settings, endpoints = connections.settings, build_endpoints(connections.settings, SUPPLIER)
    check_gas_credentials(settings)
    host = urlsplit(endpoints.base_url).hostname
    where = "GRDF's own host" if endpoints.production else "a simulator"
    preset = endpoints.preset
    limits = [f"{preset.calls_per_second or 'no limit of'} calls a second"]
    limits.append(f"{preset.calls_per_day or 'no limit of'} calls a day")
    yield ok(f"{preset.name} at {host}, {where}, {', '.join(limits)}")


def check_gas_token(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that GRDF gives the application a token for its credentials.  Raises a WorkerError."""
    settings = connections.settings
    secret = settings.grdf_client_secret.get_secret_value()
    ask_for_token(connections, build_endpoints(settings, SUPPLIER), settings.grdf_client_id or "", secret)
    yield ok("gives the application a token")


def check_gas_quota_now(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check what is left of the quota of GRDF, and that a night fits it.  Raises StoreUnavailable."""
    yield from check_pace(connections, SUPPLIER)
    yield from check_gas_quota(connections)


def check_gas_quota(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that a night of all active accounts of gas fits the quota of GRDF.  Raises StoreUnavailable."""
    yield from check_night(connections, SUPPLIER)
