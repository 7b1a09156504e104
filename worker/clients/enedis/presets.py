"""Where each generation of the Enedis API lives, and how it spells its questions.

A *preset* is what Enedis publishes; *endpoints* are a preset on real hosts: production, sandbox, or an
override such as our simulator.  Source: upstream-apis, 1.1 to 1.5, 1.8 and 1.12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import urlsplit

from worker.domain.measures.readings import Series

TokenMode = Literal["user", "application"]
ConsentStyle = Literal["usage_point", "autorisation"]

TOKEN_API: Final = "token"  # noqa: S105 - the name of a quota, not a secret
SUBSCRIBED_SERVICES: Final = "/subscribed_services/v1"


@dataclass(frozen=True, slots=True)
class Preset:
    """One generation; its quota counts for each API where ``quota_per_api``, else for all together."""

    name: str
    base_url: str
    sandbox_base_url: str
    authorize_url: str
    sandbox_authorize_url: str | None  # None: in that sandbox all have consented already
    token_path: str
    token_mode: TokenMode
    paths: Mapping[Series, str]
    usage_point_parameter: str
    start_parameter: str
    end_parameter: str
    consent_style: ConsentStyle
    consent_duration: str  # ISO 8601, at most three years
    calls_per_second: int = 5
    calls_per_hour: int = 10_000
    calls_per_day: int | None = None
    quota_per_api: bool = False

    def at(self, base_url: str | None = None, authorize_url: str | None = None, sandbox: bool = False) -> Endpoints:
        """This preset on its own hosts, or on those given.

        ``authorize_url`` may be a whole address or a host; with ``base_url`` alone the consent page is
        looked for there too, so that a pretend supplier never sends a person to the real page.  Raises
        ValueError with the reason.
        """
        own = self.sandbox_base_url if sandbox else self.base_url
        own_page = self.sandbox_authorize_url if sandbox else self.authorize_url
        page = authorize_url or base_url
        return Endpoints(
            preset=self,
            base_url=_checked(base_url or own),
            authorize_url=self._consent_page(_checked(page)) if page else own_page,
        )

    def _consent_page(self, address: str) -> str:
        if address.endswith("/authorize"):
            return address
        return address + urlsplit(self.authorize_url).path

    @property
    def apis(self) -> tuple[str, ...]:
        """The names under which measure calls are counted."""
        return tuple(dict.fromkeys(self.api(path) for path in self.paths.values()))

    def api(self, path: str) -> str:
        """The name under which calls of ``path`` are counted.

        One for all, or, from 2026 on, one for each API, as subscriptions are too: the first word of the
        path, so both series share ``mesure_synchrone_auto``.
        """
        return path.strip("/").split("/")[0] if self.quota_per_api else "data"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A preset on the hosts that we talk to; addresses carry no final slash."""

    preset: Preset
    base_url: str
    authorize_url: str | None

    @property
    def token_url(self) -> str:
        return self.base_url + self.preset.token_path

    @property
    def production(self) -> bool:
        """Whether real meters answer here: no pretend time, no play."""
        return any(_is_production(url) for url in (self.base_url, self.authorize_url) if url)


def _is_production(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    labels = host.split(".")
    return labels[-2:] == ["enedis", "fr"] and not {"hml", "prod-sandbox"} & set(labels)


def _checked(address: str) -> str:
    """The address without final slash.  Raises ValueError, and names no more than the host."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        raise ValueError("an Enedis address can't be read") from None  # the foreign text quotes it
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an Enedis address must begin with https:// or http:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"the Enedis address on {parts.hostname} must hold no user, password, query or fragment")
    if parts.scheme == "http" and not _may_be_plain(parts.hostname):
        raise ValueError(f"the Enedis address on {parts.hostname} must begin with https://: tokens travel on it")
    return address.strip().rstrip("/")


def _may_be_plain(host: str) -> bool:
    """Only a machine of our own: loopback, private addresses, and names inside a container network."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))
    return address.is_loopback or address.is_private


_CONSENT_HOST: Final = "https://mon-compte-particulier.enedis.fr"
_MEASURES_2026: Final = "/mesure_synchrone_auto/v2"

_V4: Final = Preset(
    name="enedis-v4",
    base_url="https://gw.prd.api.enedis.fr",
    sandbox_base_url="https://gw.hml.api.enedis.fr",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v1/oauth2/authorize",
    sandbox_authorize_url="https://gw.hml.api.enedis.fr/dataconnect/v1/oauth2/authorize",
    token_path="/v1/oauth2/token",  # noqa: S106
    token_mode="user",  # noqa: S106
    paths=MappingProxyType(
        {
            Series.DAILY: "/v4/metering_data/daily_consumption",
            Series.LOAD_CURVE: "/v4/metering_data/consumption_load_curve",
        }
    ),
    usage_point_parameter="usage_point_id",
    start_parameter="start",
    end_parameter="end",
    consent_style="usage_point",
    consent_duration="P3Y",
)

_V5: Final = Preset(
    name="enedis-v5",
    base_url="https://gw.ext.prod.api.enedis.fr",
    sandbox_base_url="https://gw.ext.prod-sandbox.api.enedis.fr",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v1/oauth2/authorize",
    sandbox_authorize_url=None,
    token_path="/oauth2/v3/token",  # noqa: S106
    token_mode="application",  # noqa: S106
    paths=MappingProxyType(
        {
            Series.DAILY: "/metering_data_dc/v5/daily_consumption",
            Series.LOAD_CURVE: "/metering_data_clc/v5/consumption_load_curve",
        }
    ),
    usage_point_parameter="usage_point_id",
    start_parameter="start",
    end_parameter="end",
    consent_style="usage_point",
    consent_duration="P3Y",
)

_2026: Final = Preset(
    name="enedis-2026",
    base_url="https://gw.ext.prod.api.enedis.fr",
    sandbox_base_url="https://gw.ext.prod-sandbox.api.enedis.fr",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v2/oauth2/authorize",
    sandbox_authorize_url=None,
    token_path="/oauth2/v3/token",  # noqa: S106
    token_mode="application",  # noqa: S106
    paths=MappingProxyType(
        {
            Series.DAILY: f"{_MEASURES_2026}/consommation_quotidienne",
            Series.LOAD_CURVE: f"{_MEASURES_2026}/courbe_de_charge_consommation",
        }
    ),
    usage_point_parameter="pointId",
    start_parameter="dateDebut",
    end_parameter="dateFin",
    consent_style="autorisation",
    consent_duration="P1095D",  # days: its portal may refuse whole years (1.12)
    calls_per_hour=1_000,
    quota_per_api=True,
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({preset.name: preset for preset in (_V4, _V5, _2026)})
