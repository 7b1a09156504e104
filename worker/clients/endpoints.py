"""Presets of suppliers, the addresses to call, and a consent page's callback, in the same form for all suppliers.

A *preset* describes one published generation of a supplier's API as data. *Endpoints* are a preset together with the
hosts to call: those of production, of the sandbox, or others such as our simulator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from worker.domain.series import Series

TokenMode = Literal["user", "application", "bearer"]
TOKEN_API: Final = "token"  # noqa: S105 - the name of a quota, not a secret
SHARED_QUOTA: Final = "data"  # The name of the quota for all calls that have no quota of their own.
# The most characters of a state. Enedis truncates or drops a longer state.
LONGEST_STATE: Final = 100
# A failure is shown and logged, so only words are accepted, not ids.
_FAILURE: Final = re.compile(r"[a-z_-]{2,40}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StateCall:
    """A call for the current state of a meter, such as its contract, so no days are sent.

    ``name``: the key under which the call's answer stands in the payload of the series. ``path``: may contain
    ``{meter}``; otherwise the meter is sent as a parameter. ``kept``: the fields of the answer that leave the client,
    as ``keep_fields`` takes them; names, addresses and all other fields don't leave it. ``required``: if True and this
    call has no answer, the whole series has none.
    """

    name: str
    path: str
    kept: Mapping[str, Any]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Preset:
    """One generation of a supplier's API.

    ``title``: the supplier's name in messages to the operator and, in capitals, in its settings. ``paths``: the path of
    each series that is requested by meter and days; if the path doesn't contain ``{meter}``, the meter is sent as the
    parameter ``usage_point_parameter``. ``fixed_parameters``: further parameters that some series need. ``data_path``:
    precedes the paths if the base URL has no path. ``token_base_url``: the host of the token endpoint, if it isn't the
    data host. ``scope``: the scope that is requested with the application's token. ``form_credentials``: whether
    credentials are sent in the form instead of a header. ``state_calls``: the calls for each series that is a current
    state; their answers are combined. ``calls_per_day``: the most calls within any period of ``quota_day_hours`` hours.
    ``ledger``: the name under which calls are counted, if it isn't the preset's name. ``quota_by_api``: whether each
    API has its own quota; otherwise all calls for data share one. ``domain``: the domain of the hosts that serve real
    meters; a host of this domain with one of ``sandbox_labels`` in its name serves none.
    """

    name: str
    base_url: str
    sandbox_base_url: str
    authorize_url: str
    token_path: str
    token_mode: TokenMode
    paths: Mapping[Series, str]
    usage_point_parameter: str
    start_parameter: str
    end_parameter: str
    domain: str
    consent_style: Literal["usage_point", "autorisation", "right"]
    consent_duration: str  # An ISO 8601 duration.
    title: str = "Enedis"
    sandbox_authorize_url: str | None = None  # None: the sandbox's customers have consented already.
    revoke_path: str | None = None  # The path that revokes users' tokens; None if the API has no such path.
    data_path: str = ""
    token_base_url: str | None = None
    scope: str | None = None
    form_credentials: bool = False
    calls_per_second: int = 5
    calls_per_hour: int = 10_000
    calls_per_day: int | None = None
    quota_day_hours: int = 24
    ledger: str = ""
    fixed_parameters: Mapping[Series, Mapping[str, str]] = field(default_factory=dict)
    state_calls: Mapping[Series, tuple[StateCall, ...]] = field(default_factory=dict)
    quota_by_api: bool = False
    sandbox_labels: frozenset[str] = frozenset()

    def endpoints(
        self,
        base_url: str | None = None,
        authorize_url: str | None = None,
        sandbox: bool = False,
        token_url: str | None = None,
    ) -> Endpoints:
        """Return the endpoints of this preset on its own hosts, or on the given ones.

        ``authorize_url`` may be a whole address or a host. If only ``base_url`` is given, the consent page and the
        tokens are on its host, too, so a simulated supplier never sends a person to the real page. There is one
        exception: if the preset has a ``token_base_url`` and ``base_url`` is on the supplier's own host, the preset's
        own page and token host are used. Raises ValueError if an address may not be used; its text says why.
        """
        own = self.sandbox_base_url if sandbox else self.base_url
        own_page = self.sandbox_authorize_url if sandbox else self.authorize_url
        base, other_host = checked_address(base_url or own), None
        parts = urlsplit(base)
        if base_url and (self.token_base_url is None or not self.owns(base)):
            other_host = f"{parts.scheme}://{parts.netloc}" if self.data_path else base
        page = checked_address(authorize_url) if authorize_url else other_host
        if page and not page.endswith("/authorize"):
            page += urlsplit(self.authorize_url).path
        token_host = other_host or self.token_base_url or own
        return Endpoints(
            preset=self,
            base_url=base if parts.path else base + self.data_path,
            authorize_url=page or own_page,
            token_url=checked_address(token_url) if token_url else token_host + self.token_path,
        )

    def owns(self, url: str) -> bool:
        """Return whether an address is on one of the supplier's own hosts."""
        return is_in_domain(url, self.domain)

    def offers(self, series: Series) -> bool:
        """Return whether this generation of the API has the series."""
        return series in self.paths or series in self.state_calls

    def quota_of(self, path: str) -> str:
        """Return the name under which a call of this path is counted for the quota."""
        return path.split("/")[1] if self.quota_by_api else SHARED_QUOTA

    @property
    def quota_names(self) -> tuple[str, ...]:
        """The names under which calls for data are counted for the quota."""
        paths = [*self.paths.values(), *(call.path for calls in self.state_calls.values() for call in calls)]
        return tuple(dict.fromkeys(map(self.quota_of, paths)))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A preset with the hosts that are called. The addresses don't end with a slash."""

    preset: Preset
    base_url: str
    authorize_url: str | None
    token_url: str

    @property
    def revoke_url(self) -> str | None:
        """The address that revokes users' tokens; None if the API has no such path."""
        return None if self.preset.revoke_path is None else self.base_url + self.preset.revoke_path

    @property
    def production(self) -> bool:
        """Whether the API or the consent page is on a host that serves real meters."""
        return any(
            self.preset.owns(url) and self.preset.sandbox_labels.isdisjoint(host_of(url).split("."))
            for url in (self.base_url, self.authorize_url)
            if url
        )


def host_of(url: str) -> str:
    """Return the host of an address as DNS looks it up: in lower case, with plain dots, but no dot at its end."""
    host = urlsplit(url).hostname or ""
    with suppress(UnicodeError):
        # Some writing systems have their own full stop; HTTP clients treat it as a dot, and so does this codec.
        host = host.encode("idna").decode("ascii")
    return host.rstrip(".").lower()


def is_in_domain(url: str, domain: str) -> bool:
    """Return whether an address is on a host of this domain or its subdomains."""
    return f".{host_of(url)}".endswith(f".{domain}")


def checked_address(address: str) -> str:
    """Return the address without a final slash. Raises ValueError if the address may not be used.

    The error quotes nothing but the host.
    """
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        # "from None", because the text of the original error quotes the address, which may contain a password.
        raise ValueError("a supplier's address is invalid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a supplier's address must begin with https:// or http:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            f"the supplier's address on {parts.hostname} must not contain a user, password, query or fragment"
        )
    if parts.scheme == "http" and not _allows_plain_http(parts.hostname):
        raise ValueError(
            f"the supplier's address on {parts.hostname} must begin with https://, because tokens are sent there"
        )
    return address.strip().rstrip("/")


def _allows_plain_http(host: str) -> bool:
    """Return whether the host may be called without TLS.

    This is true for loopback, a private address, and a name inside a container network.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))
    return address.is_loopback or address.is_private


@dataclass(frozen=True, slots=True)
class Callback:
    """The callback of the consent page; ``failure`` is empty after a success, else a short word to show.

    ``code``: exchanged for tokens in v4 of Enedis, and for the meters at GRDF; ignored in v5 of Enedis.
    """

    state: str = field(repr=False)
    failure: str = ""
    usage_points: tuple[str, ...] = field(default=(), repr=False)
    autorisation_id: int | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)


def choose_failure(words: Iterable[str]) -> str:
    """Return the first of a supplier's words that may be shown; ``refused`` if there is none."""
    return next((word for word in words if _FAILURE.fullmatch(word)), "refused")
