"""The supplier's addresses and quota from the settings."""

from __future__ import annotations

from dataclasses import replace

from redis import Redis

from config.settings import ConfigError, Settings
from worker.clients.endpoints import Endpoints, Preset
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
    limited = replace(
        preset, calls_per_second=quota.per_second or 0, calls_per_hour=quota.per_hour or 0, calls_per_day=per_day
    )
    return ledger_of(limited, settings, redis)


def ledger_of(preset: Preset, settings: Settings, redis: Redis) -> QuotaLedger:
    """Return the quota's ledger with the preset's own limits, where 0 means no limit."""
    return QuotaLedger(
        redis,
        preset.name,
        per_second=preset.calls_per_second or None,
        per_hour=preset.calls_per_hour or None,
        per_day=preset.calls_per_day or None,
        shares=settings.quota_shares(),
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
