"""The address that limits count a request under."""

from __future__ import annotations

import ipaddress
from typing import Final

from fastapi import Request

# One home or server has a whole /64 of IPv6 addresses, so a count of single addresses limits nobody.
_IPV6_SITE_BITS: Final = 64


def client_address(request: Request) -> str:
    """Return the address that limits count a request under: an IPv4 address or an IPv6 network.

    Behind a reverse proxy uvicorn must trust the proxy (FORWARDED_ALLOW_IPS), or all clients share its address.
    """
    return network_of(request.client.host if request.client else "local")


def network_of(host: str) -> str:
    """Return an IPv4 address as it is, and of an IPv6 address its network; another text is returned as it is."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host  # A Unix socket or a test client has no IP address.
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))
