"""The three generations of the Enedis API: hosts, paths, parameter names, consent page, quotas and series of each.

What one generation has and another has not is data here. Source: Enedis, guide d'implémentation Data Connect v4 and v5;
the swaggers of Data Connect 2026 (mesure_synchrone_auto v2, Services souscrits, Situation contractuelle, Synthèse
contractuelle, Situation comptage); the paths of customers' data of v4 are those of the public client
enedis-data-connect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from worker.clients.endpoints import Preset, StateCall
from worker.domain.series import Series

SUBSCRIBED_SERVICES: Final = "/subscribed_services/v1"
_CONSENT_HOST: Final = "https://mon-compte-particulier.enedis.fr"
_MEASURES_V4: Final = "/v4/metering_data"
_MEASURES_2026: Final = "/mesure_synchrone_auto/v2"
# The measures of 2026 by their names, and what some need besides. Gateways have the same.
MEASURES: Final[Mapping[Series, str]] = {
    Series.DAILY: "consommation_quotidienne",
    Series.LOAD_CURVE: "courbe_de_charge_consommation",
    Series.PRODUCTION_DAILY: "production_quotidienne",
    Series.PRODUCTION_LOAD_CURVE: "courbe_de_charge_production",
    Series.MAX_POWER: "puissance_conso_max_quotidienne",
    # The operator's guide spells it index_consumption; the swagger, which holds, does not.
    Series.REGISTERS: "index_consommation",
    Series.PRODUCTION_REGISTERS: "index_production",
}
MEASURE_PARAMETERS: Final[Mapping[Series, Mapping[str, str]]] = {
    Series.MAX_POWER: {"mesuresPas": "P1D", "grandeurPhysique": "PMA"}
}
_CONTRACTS: Final = "contracts"
_KEPT_OF_CONTRACTS: Final = {
    "customer": {
        "usage_points": {
            "usage_point": {"usage_point_id": None, "usage_point_status": None},
            "contracts": {
                "segment": None,
                "subscribed_power": None,
                "last_activation_date": None,
                "distribution_tariff": None,
                "offpeak_hours": None,
            },
        }
    }
}
_V5: Final = Preset(
    name="enedis-v5",
    base_url="https://gw.ext.prod.api.enedis.fr",
    sandbox_base_url="https://gw.ext.prod-sandbox.api.enedis.fr",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v1/oauth2/authorize",
    sandbox_authorize_url=None,
    token_path="/oauth2/v3/token",  # noqa: S106
    revoke_path=None,
    token_mode="application",  # noqa: S106
    paths={
        Series.DAILY: "/metering_data_dc/v5/daily_consumption",
        Series.LOAD_CURVE: "/metering_data_clc/v5/consumption_load_curve",
        Series.PRODUCTION_DAILY: "/metering_data_dp/v5/daily_production",
        Series.PRODUCTION_LOAD_CURVE: "/metering_data_plc/v5/production_load_curve",
        Series.MAX_POWER: "/metering_data_dcmp/v5/daily_consumption_max_power",
    },
    state_calls={
        Series.CONTRACT: (StateCall(_CONTRACTS, "/customers_upc/v5/usage_points/contracts", _KEPT_OF_CONTRACTS),)
    },
    usage_point_parameter="usage_point_id",
    start_parameter="start",
    end_parameter="end",
    domain="enedis.fr",
    sandbox_labels=frozenset({"hml", "prod-sandbox"}),
    consent_style="usage_point",
    consent_duration="P3Y",  # Enedis allows at most three years.
)
_V4: Final = replace(
    _V5,
    name="enedis-v4",
    base_url="https://gw.prd.api.enedis.fr",
    sandbox_base_url="https://gw.hml.api.enedis.fr",
    sandbox_authorize_url="https://gw.hml.api.enedis.fr/dataconnect/v1/oauth2/authorize",
    token_path="/v1/oauth2/token",  # noqa: S106
    # The token API has no other one. Nothing published says whether the host of v4 serves it.
    revoke_path="/oauth2/v3/revoke",
    token_mode="user",  # noqa: S106
    paths={
        Series.DAILY: f"{_MEASURES_V4}/daily_consumption",
        Series.LOAD_CURVE: f"{_MEASURES_V4}/consumption_load_curve",
        Series.PRODUCTION_DAILY: f"{_MEASURES_V4}/daily_production",
        Series.PRODUCTION_LOAD_CURVE: f"{_MEASURES_V4}/production_load_curve",
        Series.MAX_POWER: f"{_MEASURES_V4}/daily_consumption_max_power",
    },
    state_calls={Series.CONTRACT: (StateCall(_CONTRACTS, "/v3/customers/usage_points/contracts", _KEPT_OF_CONTRACTS),)},
)
_2026: Final = replace(
    _V5,
    name="enedis-2026",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v2/oauth2/authorize",
    paths={series: f"{_MEASURES_2026}/{name}" for series, name in MEASURES.items()},
    fixed_parameters=MEASURE_PARAMETERS,
    state_calls={
        Series.CONTRACT: (
            StateCall(
                "situation_contrat",
                "/situation_contrat_auto/v1/{meter}",
                {
                    "usage_point_id": None,
                    "segment": None,
                    "subscribed_power": {"unit": None, "value": None},
                    "distribution_tariff": None,
                },
            ),
            StateCall(
                "synth_contrat",
                "/synth_contrat_auto/v1/{meter}",
                {
                    "consumption_last_activation_date": None,
                    "generation_last_activation_date": None,
                    "services_level": None,
                },
                required=False,
            ),
            StateCall(
                "comptage", "/comptage_auto/v1/{meter}", {"relais": {"plageHeuresCreuses": None}}, required=False
            ),
        )
    },
    usage_point_parameter="pointId",
    start_parameter="dateDebut",
    end_parameter="dateFin",
    consent_style="autorisation",
    consent_duration="P1095D",  # In days, because its portal may show an error for whole years.
    calls_per_hour=1_000,
    quota_by_api=True,
)
PRESETS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in (_V4, _V5, _2026)}
# The series that a subscribed service (2026) is about, by its type of measure.
SERIES_OF_SERVICES: Final[Mapping[str, frozenset[Series]]] = {
    "ENERGIE": frozenset({Series.DAILY, Series.PRODUCTION_DAILY}),
    "CDC": frozenset({Series.LOAD_CURVE, Series.PRODUCTION_LOAD_CURVE}),
    "PMAX": frozenset({Series.MAX_POWER}),
    "IDX": frozenset({Series.REGISTERS, Series.PRODUCTION_REGISTERS}),
    "ITC": frozenset({Series.CONTRACT}),  # Technical and contractual information.
}
