"""The three generations of the Enedis API: hosts, paths, parameter names, consent page and quota of each.

A *preset* is one generation as Enedis publishes it. *Endpoints* are a preset on real hosts: production, sandbox, or
another one such as our simulator. Source: Enedis, guide d'implémentation Data Connect v4 and v5; the swaggers of Data
Connect 2026 (mesure_synchrone_auto v2, Services souscrits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

from worker.domain.measures.series import Series

TokenMode = Literal["user", "application"]
ConsentStyle = Literal["usage_point", "autorisation"]

TOKEN_API: Final = "token"  # noqa: S105 - the name of a quota, not a secret
SHARED_QUOTA: Final = "data"  # Of all calls that have no quota of their own.
SUBSCRIBED_SERVICES: Final = "/subscribed_services/v1"


@dataclass(frozen=True, slots=True)
class Preset:
    """One generation of the API; ``quotas`` names the quota of each path that has one of its own."""

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
    quotas: Mapping[str, str] = field(default_factory=dict)

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

    @property
    def quota_names(self) -> tuple[str, ...]:
        """The names under which the calls for measures are counted."""
        return tuple(dict.fromkeys(self.quotas.get(path, SHARED_QUOTA) for path in self.paths.values()))


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
_MEASURES_2026: Final = "/mesure_synchrone_auto/v2"
_PATHS_2026: Final = {
    Series.DAILY: f"{_MEASURES_2026}/consommation_quotidienne",
    Series.LOAD_CURVE: f"{_MEASURES_2026}/courbe_de_charge_consommation",
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
        Series.DAILY: "/v4/metering_data/daily_consumption",
        Series.LOAD_CURVE: "/v4/metering_data/consumption_load_curve",
    },
)

_2026: Final = replace(
    _V5,
    name="enedis-2026",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v2/oauth2/authorize",
    paths=_PATHS_2026,
    usage_point_parameter="pointId",
    start_parameter="dateDebut",
    end_parameter="dateFin",
    consent_style="autorisation",
    consent_duration="P1095D",  # In days, because its portal may show an error for whole years.
    calls_per_hour=1_000,
    # Each API has its own quota; both series are one API.
    quotas={**dict.fromkeys(_PATHS_2026.values(), "mesure_synchrone_auto"), SUBSCRIBED_SERVICES: "subscribed_services"},
)

PRESETS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in (_V4, _V5, _2026)}
