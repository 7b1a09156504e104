"""Addresses of clients, for limits and to recognize this machine; the trusted proxies; names of devices.

A device's name is what its owner would call it, found in the browser's User-Agent.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from config.settings import ConfigError
from worker.domain.networks import is_public_host

PROXIES: Final = "FORWARDED_ALLOW_IPS"  # The environment variable that uvicorn itself reads.
NO_PROXY: Final = "none"
# One home or server has a whole /64 of IPv6 addresses, so limits on single addresses would be useless.
_IPV6_SITE_BITS: Final = 64
_LOOPBACK_NAME: Final = "localhost"
# The first match counts, because most browsers also name the browsers that they descend from.
_BROWSERS: Final = (
    ("Firefox", r"Firefox/|FxiOS/"),
    ("Edge", r"Edg(e|A|iOS)?/"),
    ("Opera", r"OPR/|Opera"),
    ("Samsung Internet", r"SamsungBrowser/"),
    ("Chrome", r"Chrome/|CriOS/"),
    ("Safari", r"Safari/"),
)
_SYSTEMS: Final = (
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Android", r"Android"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("ChromeOS", r"CrOS"),
    ("Linux", r"Linux"),
)


def client_address(request: Request) -> str:
    """Return the address under which limits count a request: an IPv4 address or an IPv6 network.

    Behind a reverse proxy, uvicorn must trust the proxy (FORWARDED_ALLOW_IPS), or all clients count under the proxy's
    address.
    """
    return network_of(request.client.host if request.client else "local")


def network_of(host: str) -> str:
    """Return the network of an IPv6 address; an IPv4 address, and any other text, is returned as it is."""
    address = _parse_address(host)
    if address is None:
        return host  # A Unix socket or a test client has no IP address.
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))


def is_on_this_machine(request: Request, public_url: str) -> bool:
    """Return whether the service has a loopback address and the request comes from a browser on this machine.

    The requested host must also be a loopback name or address, because another site's name may lead to this machine.
    """
    hosts = urlsplit(public_url).hostname, request.url.hostname, request.client.host if request.client else None
    return all(host is not None and _is_loopback(host) for host in hosts)


def trusted_proxies(public_url: str) -> str | None:
    """Return the addresses whose X-Forwarded-For is believed, in uvicorn's form; None if no proxy is trusted.

    Raises ConfigError if ``public_url`` is public and FORWARDED_ALLOW_IPS is not set: all browsers would share the
    address of the reverse proxy, and one of them could use up everybody's limits.
    """
    setting = os.environ.get(PROXIES, "").strip()
    if setting:
        return None if setting.lower() == NO_PROXY else setting
    if is_public_host(urlsplit(public_url).hostname or ""):
        raise ConfigError(
            f"RELEVE_PUBLIC_URL is a public address, but {PROXIES} is not set: set it to the reverse proxy's address "
            f"as this process sees it (127.0.0.1 on this host), or to {NO_PROXY} if there is no proxy"
        )
    return "127.0.0.1"


def _is_loopback(host: str) -> bool:
    address = _parse_address(host)
    return host.lower() == _LOOPBACK_NAME if address is None else address.is_loopback


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def name_device(user_agent: str) -> str:
    """Return a name such as ``Firefox, Windows``; an empty text if nothing is recognized."""
    names = (_first(_BROWSERS, user_agent[:500]), _first(_SYSTEMS, user_agent[:500]))
    return ", ".join(name for name in names if name)


def _first(names: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for name, pattern in names if re.search(pattern, text)), "")
