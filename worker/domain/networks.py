"""Which addresses may be called where somebody else has typed the name: public ones, and those that are allowed."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

_PRIVATE_ENDINGS: Final = (".local", ".internal", ".localhost")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> list[Network]:
    """Return the networks in a text such as ``10.1.0.0/16, fd00::/8``. Raises ValueError."""
    return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]


def is_loopback_host(host: str) -> bool:
    """Return whether a host name or address can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")


def is_public_host(host: str) -> bool:
    """Return whether a host is reached from everywhere; a name without a dot is one of a private network."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith(_PRIVATE_ENDINGS)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_global


def may_be_called(address: str, host: str, networks: Sequence[Network], *, is_plain: bool) -> bool:
    """Return whether the address that the name ``host`` has led to may be called.

    This machine may, by a name that can be nothing else; a public address, unless ``is_plain`` (without TLS); and each
    of ``networks``.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if any(ip in network for network in networks):
        return True
    if ip.is_loopback:
        return is_loopback_host(host)
    return ip.is_global and not ip.is_multicast and not is_plain
