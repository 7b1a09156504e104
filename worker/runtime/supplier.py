"""The suppliers' addresses and quotas from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from redis import Redis

from config.settings import ConfigError, Settings
from worker.clients.endpoints import Endpoints, Preset
from worker.clients.suppliers import ENEDIS, GRDF, SUPPLIERS
from worker.domain.fleet.planning import HOURS_A_DAY, QuotaBudget
from worker.quota.ledger import QuotaLedger


def chosen_presets(settings: Settings) -> Mapping[str, Preset]:
    """Return the preset of each supplier that is set up, with the limits of the settings, by supplier.

    A limit of 0 is none.
    """
    enedis = ENEDIS.presets[settings.preset]
    presets = {ENEDIS.name: _limit(enedis, settings.calls_per_second, settings.calls_per_hour, settings.calls_per_day)}
    if settings.grdf_client_id:
        gas = GRDF.presets[settings.grdf_preset]
        gas = _limit(gas, settings.grdf_calls_per_second, None, settings.grdf_calls_per_day)
        presets[GRDF.name] = replace(gas, scope=settings.grdf_scope or gas.scope)
    return presets


def _limit(preset: Preset, per_second: int | None, per_hour: int | None, per_day: int | None) -> Preset:
    """Return a preset with these limits, where one is set."""
    return replace(
        preset,
        calls_per_second=preset.calls_per_second if per_second is None else per_second,
        calls_per_hour=preset.calls_per_hour if per_hour is None else per_hour,
        calls_per_day=preset.calls_per_day if per_day is None else per_day,
    )


def build_endpoints(settings: Settings, supplier: str = ENEDIS.name) -> Endpoints:
    """Return the addresses of a supplier that is set up.  Raises ConfigError where one can't be used."""
    preset = chosen_presets(settings)[supplier]
    try:
        if supplier == ENEDIS.name:
            return preset.endpoints(settings.enedis_url, settings.enedis_authorize_url, sandbox=settings.enedis_sandbox)
        return preset.endpoints(settings.grdf_url, settings.grdf_authorize_url, token_url=settings.grdf_token_url)
    except ValueError as error:
        raise ConfigError(f"RELEVE_{supplier.upper()}_URL: {error}") from None


def build_ledger(settings: Settings, redis: Redis, endpoints: Endpoints) -> QuotaLedger:
    """Return the quota's ledger of a supplier, whose addresses these are."""
    return ledger_of(endpoints.preset, settings, redis)


def ledger_of(preset: Preset, settings: Settings, redis: Redis) -> QuotaLedger:
    """Return the quota's ledger of a supplier with the preset's limits, where 0 means no limit."""
    return QuotaLedger(
        redis,
        preset.name,
        per_second=preset.calls_per_second or None,
        per_hour=preset.calls_per_hour or None,
        per_day=preset.calls_per_day or None,
        shares=settings.quota_shares(),
    )


def quota_from(
    settings: Settings, preset: str | None = None, night_hours: int = HOURS_A_DAY, supplier: str = ENEDIS.name
) -> QuotaBudget:
    """Return the quota of a supplier's preset in the settings, or of another preset, of any supplier.

    The limits in the settings belong to the preset in the settings; another preset has its own.  0 means no limit.
    """
    named = supplier_of_preset(preset) if preset else supplier
    chosen = chosen_presets(settings).get(named)
    if chosen is None or preset not in (None, chosen.name):
        chosen = SUPPLIERS[named].presets[str(preset)]
    return QuotaBudget(
        chosen.calls_per_hour or None,
        chosen.calls_per_second or None,
        night_hours,
        settings.quota_shares(),
        chosen.calls_per_day or None,
    )


def supplier_of_preset(preset: str) -> str:
    """Return the supplier of a preset. Raises KeyError for a name that is none."""
    for supplier in SUPPLIERS.values():
        if preset in supplier.presets:
            return supplier.name
    raise KeyError(preset)
