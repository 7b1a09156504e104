"""The supplier's addresses and quota from the settings."""

from __future__ import annotations

from redis import Redis

from config.settings import ConfigError, Settings
from worker.clients.enedis.presets import Endpoints
from worker.clients.suppliers import ENEDIS
from worker.domain.fleet.planning import HOURS_A_DAY, QuotaBudget
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
    preset, quota = endpoints.preset, quota_from(settings)
    per_day = preset.calls_per_day if settings.calls_per_day is None else settings.calls_per_day
    return QuotaLedger(
        redis,
        preset.name,
        per_second=quota.per_second,
        per_hour=quota.per_hour,
        per_day=per_day or None,
        shares=quota.shares,
    )


def quota_from(settings: Settings, preset: str | None = None, night_hours: int = HOURS_A_DAY) -> QuotaBudget:
    """Return the quota of the supplier's preset in the settings, or of another preset.

    The limits in the settings belong to the preset in the settings; another preset has its own.  0 means no limit.
    """
    chosen = ENEDIS.presets[preset or settings.preset]
    is_configured = chosen.name == settings.preset
    per_hour = settings.calls_per_hour if is_configured else None
    per_second = settings.calls_per_second if is_configured else None
    return QuotaBudget(
        (chosen.calls_per_hour if per_hour is None else per_hour) or None,
        (chosen.calls_per_second if per_second is None else per_second) or None,
        night_hours,
        settings.quota_shares(),
    )
