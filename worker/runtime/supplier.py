"""The supplier's addresses and quota from the settings."""

from __future__ import annotations

from redis import Redis

from config.settings import ConfigError, Settings
from worker.clients.enedis.presets import Endpoints
from worker.clients.suppliers import ENEDIS
from worker.quota.ledger import QuotaLedger


def build_endpoints(settings: Settings) -> Endpoints:
    """Return the supplier's addresses.  Raises ConfigError where one can't be used."""
    try:
        return ENEDIS.presets[settings.preset].endpoints(
            settings.enedis_url, settings.enedis_authorize_url, sandbox=settings.enedis_sandbox
        )
    except ValueError as error:
        raise ConfigError(f"RELEVE_ENEDIS_URL: {error}") from None


def build_ledger(settings: Settings, redis: Redis, endpoints: Endpoints) -> QuotaLedger:
    """Return the quota's ledger with the preset's limits, or with those of the settings, where 0 means no limit."""
    preset = endpoints.preset
    per_second = preset.calls_per_second if settings.calls_per_second is None else settings.calls_per_second
    per_day = preset.calls_per_day if settings.calls_per_day is None else settings.calls_per_day
    return QuotaLedger(
        redis,
        preset.name,
        per_second=per_second or None,
        per_hour=calls_per_hour(settings, endpoints),
        per_day=per_day or None,
        shares=settings.quota_shares(),
    )


def calls_per_hour(settings: Settings, endpoints: Endpoints) -> int | None:
    """Return the quota of an hour, None for no limit."""
    limit = settings.calls_per_hour
    return (endpoints.preset.calls_per_hour if limit is None else limit) or None
