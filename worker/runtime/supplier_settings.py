"""The suppliers that are set up, with their addresses and quotas, and the series that the fleet collects from them.

This module opens no store, because metrics and the planner need it without any store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import SecretStr
from redis import Redis

from config.settings import ConfigError, Settings
from worker.clients.endpoints import Endpoints, Preset, host_of
from worker.clients.enedis import ENEDIS
from worker.clients.gateway import GATEWAY
from worker.clients.grdf import GRDF
from worker.clients.rte import RteApplication
from worker.clients.supplier import Supplier
from worker.clients.suppliers import SUPPLIERS
from worker.domain.lanes import EQUAL_SHARES, Shares
from worker.domain.planning import HOURS_A_DAY, QuotaBudget
from worker.domain.prices import Option
from worker.domain.series import Series, suppliers_of
from worker.quota.ledger import Limits, QuotaLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplierSettings:
    """The settings of a supplier that is set up.

    ``preset``: the chosen preset, with the limits of the settings. ``url`` and the other addresses replace the preset's
    own; see ``Preset.endpoints``. ``consent_duration``: an ISO 8601 duration; None for the preset's.
    """

    supplier: Supplier
    preset: Preset
    client_id: str
    client_secret: SecretStr
    url: str | None = None
    authorize_url: str | None = None
    token_url: str | None = None
    sandbox: bool = False
    consent_duration: str | None = None

    @property
    def name(self) -> str:
        return self.supplier.name

    def endpoints(self) -> Endpoints:
        """Return the addresses that are called. Raises ConfigError for an unusable address."""
        try:
            return self.preset.endpoints(self.url, self.authorize_url, sandbox=self.sandbox, token_url=self.token_url)
        except ValueError as error:
            raise ConfigError(f"RELEVE_{self.name.upper()}_URL: {error}") from None


def price_addresses(settings: Settings) -> dict[Option, str]:
    """Return the addresses of the regulator's files of prices."""
    return {option: getattr(settings, f"prices_{option}_url") for option in Option}


def rte_application(settings: Settings) -> RteApplication | None:
    """Return the application at RTE; None where id or secret is not set."""
    if not settings.rte_client_id or not settings.rte_client_secret:
        return None
    return RteApplication(settings.rte_url, settings.rte_client_id, settings.rte_client_secret.get_secret_value())


def configured_suppliers(settings: Settings) -> Mapping[str, SupplierSettings]:
    """Return the settings of each supplier that is set up, by name; the main supplier comes first."""
    suppliers = [_gateway(settings) if settings.is_home else _enedis(settings)]
    if settings.grdf_client_id:
        gas = GRDF.presets[settings.grdf_preset]
        gas = _limit(gas, settings.grdf_calls_per_second, None, settings.grdf_calls_per_day)
        suppliers.append(
            SupplierSettings(
                supplier=GRDF,
                preset=replace(gas, scope=settings.grdf_scope or gas.scope),
                client_id=settings.grdf_client_id,
                client_secret=settings.grdf_client_secret,
                url=settings.grdf_url,
                authorize_url=settings.grdf_authorize_url,
                token_url=settings.grdf_token_url,
            )
        )
    return {one.name: one for one in suppliers}


def main_supplier(settings: Settings) -> str:
    """Return the name of the electricity supplier, which is always set up: Enedis, or in a home the gateway."""
    return GATEWAY.name if settings.is_home else ENEDIS.name


def _enedis(settings: Settings) -> SupplierSettings:
    preset = ENEDIS.presets[settings.preset]
    return SupplierSettings(
        supplier=ENEDIS,
        preset=_limit(preset, settings.calls_per_second, settings.calls_per_hour, settings.calls_per_day),
        client_id=settings.enedis_client_id,
        client_secret=settings.enedis_client_secret,
        url=settings.enedis_url,
        authorize_url=settings.enedis_authorize_url,
        sandbox=settings.enedis_sandbox,
        consent_duration=settings.consent_duration,
    )


def _gateway(settings: Settings) -> SupplierSettings:
    preset = GATEWAY.presets["conso-api"]
    preset = replace(
        preset,
        calls_per_day=settings.gateway_calls_per_half_day,
        # Each gateway counts its own calls, so each has its own ledger, named after the gateway's host.
        ledger=host_of(settings.gateway_url or preset.base_url),
    )
    return SupplierSettings(
        supplier=GATEWAY, preset=preset, client_id="", client_secret=SecretStr(""), url=settings.gateway_url
    )


def chosen_presets(settings: Settings) -> Mapping[str, Preset]:
    """Return, by supplier, the preset of each supplier that is set up. It has the limits of the settings.

    A limit of 0 means no limit.
    """
    return {name: one.preset for name, one in configured_suppliers(settings).items()}


def _limit(preset: Preset, per_second: int | None, per_hour: int | None, per_day: int | None) -> Preset:
    """Return the preset with these limits; None keeps the preset's own."""
    return replace(
        preset,
        calls_per_second=preset.calls_per_second if per_second is None else per_second,
        calls_per_hour=preset.calls_per_hour if per_hour is None else per_hour,
        calls_per_day=preset.calls_per_day if per_day is None else per_day,
    )


def build_endpoints(settings: Settings, supplier: str | None = None) -> Endpoints:
    """Return the addresses of a supplier that is set up, by default the main supplier.

    Raises ConfigError for an unusable address.
    """
    return configured_suppliers(settings)[supplier or main_supplier(settings)].endpoints()


def ledger_of(preset: Preset, settings: Settings, redis: Redis) -> QuotaLedger:
    """Return a supplier's quota ledger with the preset's limits, where 0 means no limit."""
    return QuotaLedger(
        redis,
        preset.ledger or preset.name,
        Limits(
            preset.calls_per_second or None,
            preset.calls_per_hour or None,
            preset.calls_per_day or None,
            preset.quota_day_hours,
            _shares_of(preset, settings),
        ),
    )


def quota_from(
    settings: Settings, preset: str | None = None, night_hours: int = HOURS_A_DAY, supplier: str | None = None
) -> QuotaBudget:
    """Return the quota of ``preset``; None stands for the preset that the settings choose for ``supplier``.

    ``supplier``: by default the main supplier. A chosen preset has the limits of the settings; any other has its own. A
    limit of 0 means no limit. A limit for half a day counts as the limit of a night, because a night is shorter.
    """
    named = supplier_of_preset(preset) if preset else supplier or main_supplier(settings)
    chosen = chosen_presets(settings).get(named)
    if chosen is None or preset not in (None, chosen.name):
        chosen = SUPPLIERS[named].presets[str(preset)]
    return QuotaBudget(
        chosen.calls_per_hour or None,
        chosen.calls_per_second or None,
        night_hours,
        _shares_of(chosen, settings),
        chosen.calls_per_day or None,
    )


def _shares_of(preset: Preset, settings: Settings) -> Shares:
    # Only a gateway has the mode "bearer". It allows so few calls that a lane's share would be a call or two, so the
    # lanes get equal shares. Instead, ``worker.sync.due`` leaves enough calls for the night.
    return EQUAL_SHARES if preset.token_mode == "bearer" else settings.quota_shares()  # noqa: S105 - a mode


def supplier_of_preset(preset: str) -> str:
    """Return the supplier of a preset. Raises KeyError for an unknown preset."""
    for supplier in SUPPLIERS.values():
        if preset in supplier.presets:
            return supplier.name
    raise KeyError(preset)


def fleet_series(settings: Settings) -> tuple[Series, ...]:
    """Return the series that are collected from every meter by default, except those that no supplier here offers."""
    return tuple(series for series in settings.collected_series() if is_offered(settings, series))


def is_offered(settings: Settings, series: Series) -> bool:
    """Return whether the supplier of a series is set up and, in its chosen preset, offers this series."""
    presets = chosen_presets(settings)
    return any(presets[supplier].offers(series) for supplier in suppliers_of(series) if supplier in presets)


def missing_series(settings: Settings) -> list[Series]:
    """Return the series of RELEVE_SERIES that their supplier does not offer."""
    return [series for series in settings.named_series() if not is_offered(settings, series)]
