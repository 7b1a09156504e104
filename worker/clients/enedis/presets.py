"""The three generations of the Enedis API: hosts, paths, parameter names, consent page, quotas and series of each.

A *preset* is one generation as Enedis publishes it. *Endpoints* are a preset on real hosts: production, sandbox, or
another one such as our simulator. What one generation has and another has not is data here. Source: Enedis, guide
d'implémentation Data Connect v4 and v5; the swaggers of Data Connect 2026 (mesure_synchrone_auto v2, Services
souscrits, Situation contractuelle, Synthèse contractuelle, Situation comptage); the paths of customers' data of v4 are
those of the public client enedis-data-connect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from worker.domain.measures.series import Series

TokenMode = Literal["user", "application"]
ConsentStyle = Literal["usage_point", "autorisation"]

TOKEN_API: Final = "token"  # noqa: S105 - the name of a quota, not a secret
SHARED_QUOTA: Final = "data"  # Of all calls that have no quota of their own.
SUBSCRIBED_SERVICES: Final = "/subscribed_services/v1"


@dataclass(frozen=True, slots=True)
class StateCall:
    """A call that asks what holds now, such as the contract: for a meter, without days.

    ``name``: that of its answer among those of the series. ``path``: ``{meter}`` in it stands for the meter, which
    otherwise is a parameter. ``kept``: the fields of the answer that leave the client, as an object of objects whose
    leaves are None; names, addresses and all the rest do not. ``required``: whether there is no answer without it.
    """

    name: str
    path: str
    kept: Mapping[str, Any]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Preset:
    """One generation of the API.

    ``paths``: of each series that is asked for by meter and days. ``fixed_parameters``: what some of them need besides.
    ``state_calls``: of each series that tells what holds now; the answers of several calls belong together.
    ``quota_by_api``: whether each API has a quota of its own, or all calls for data share one.
    """

    name: str
    base_url: str
    sandbox_base_url: str
    authorize_url: str
    sandbox_authorize_url: str | None  # None if the customers of that sandbox have consented already.
    token_path: str
    revoke_path: str | None  # Where users' tokens are revoked; None where they have none.
    token_mode: TokenMode
    paths: Mapping[Series, str]
    usage_point_parameter: str
    start_parameter: str
    end_parameter: str
    consent_style: ConsentStyle
    consent_duration: str  # In ISO 8601; Enedis allows at most three years.
    calls_per_second: int = 5
    calls_per_hour: int = 10_000
    calls_per_day: int | None = None
    fixed_parameters: Mapping[Series, Mapping[str, str]] = field(default_factory=dict)
    state_calls: Mapping[Series, tuple[StateCall, ...]] = field(default_factory=dict)
    quota_by_api: bool = False

    def endpoints(
        self, base_url: str | None = None, authorize_url: str | None = None, sandbox: bool = False
    ) -> Endpoints:
        """Return this preset on its own hosts, or on other ones.

        ``authorize_url`` may be a whole address or a host. With ``base_url`` alone the consent page is on that host
        too, so a simulated supplier never sends a person to the real page. Raises ValueError with the reason.
        """
        own = self.sandbox_base_url if sandbox else self.base_url
        own_page = self.sandbox_authorize_url if sandbox else self.authorize_url
        page = authorize_url or base_url
        return Endpoints(
            preset=self,
            base_url=_checked_address(base_url or own),
            authorize_url=self._consent_page(_checked_address(page)) if page else own_page,
        )

    def _consent_page(self, address: str) -> str:
        if address.endswith("/authorize"):
            return address
        return address + urlsplit(self.authorize_url).path

    def offers(self, series: Series) -> bool:
        """Return whether this generation has the series."""
        return series in self.paths or series in self.state_calls

    def quota_of(self, path: str) -> str:
        """Return the name under which a call of this path is counted."""
        return path.split("/")[1] if self.quota_by_api else SHARED_QUOTA

    @property
    def quota_names(self) -> tuple[str, ...]:
        """The names under which the calls for data are counted."""
        paths = [*self.paths.values(), *(call.path for calls in self.state_calls.values() for call in calls)]
        return tuple(dict.fromkeys(map(self.quota_of, paths)))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A preset on the hosts that are called; addresses have no final slash."""

    preset: Preset
    base_url: str
    authorize_url: str | None

    @property
    def token_url(self) -> str:
        """The address of the token endpoint."""
        return self.base_url + self.preset.token_path

    @property
    def revoke_url(self) -> str | None:
        """The address where users' tokens are revoked, or None."""
        return None if self.preset.revoke_path is None else self.base_url + self.preset.revoke_path

    @property
    def production(self) -> bool:
        """Whether these are hosts of real meters, where no simulated time is allowed."""
        return any(_is_production(url) for url in (self.base_url, self.authorize_url) if url)


def _is_production(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    labels = host.split(".")
    return labels[-2:] == ["enedis", "fr"] and not {"hml", "prod-sandbox"} & set(labels)


def _checked_address(address: str) -> str:
    """Return the address without a final slash; raises ValueError with no more of it than the host."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        # "from None": the foreign text quotes the address, which may hold a password.
        raise ValueError("an Enedis address can't be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an Enedis address must begin with https:// or http:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"the Enedis address on {parts.hostname} must hold no user, password, query or fragment")
    if parts.scheme == "http" and not _allows_plain_http(parts.hostname):
        raise ValueError(f"the Enedis address on {parts.hostname} must begin with https://: tokens travel on it")
    return address.strip().rstrip("/")


def _allows_plain_http(host: str) -> bool:
    """Return whether the host is ours: loopback, a private address, or a name inside a container network."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))
    return address.is_loopback or address.is_private


_CONSENT_HOST: Final = "https://mon-compte-particulier.enedis.fr"
_MEASURES_V4: Final = "/v4/metering_data"
_MEASURES_2026: Final = "/mesure_synchrone_auto/v2"

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
    consent_style="usage_point",
    consent_duration="P3Y",
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
    paths={
        Series.DAILY: f"{_MEASURES_2026}/consommation_quotidienne",
        Series.LOAD_CURVE: f"{_MEASURES_2026}/courbe_de_charge_consommation",
        Series.PRODUCTION_DAILY: f"{_MEASURES_2026}/production_quotidienne",
        Series.PRODUCTION_LOAD_CURVE: f"{_MEASURES_2026}/courbe_de_charge_production",
        Series.MAX_POWER: f"{_MEASURES_2026}/puissance_conso_max_quotidienne",
        # The operator's guide spells it index_consumption; the swagger, which holds, does not.
        Series.REGISTERS: f"{_MEASURES_2026}/index_consommation",
        Series.PRODUCTION_REGISTERS: f"{_MEASURES_2026}/index_production",
    },
    fixed_parameters={Series.MAX_POWER: {"mesuresPas": "P1D", "grandeurPhysique": "PMA"}},
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
