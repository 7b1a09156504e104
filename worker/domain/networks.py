"""Addresses that may be called if somebody else chose the host: public addresses, and all in allowed networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

_PRIVATE_ENDINGS: Final = (".local", ".lan", ".home.arpa", ".internal", ".localhost")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.ip_network("::/96")


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
    """Return whether a host is public; a name without a dot belongs to a private network."""
    try:
        return _to_ip(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith(_PRIVATE_ENDINGS)


def may_be_named(host: str, networks: Sequence[Network]) -> bool:
    """Return whether a setting may name this host, because it is public or in ``networks``.

    If there are networks, any private name is accepted; its address is checked when the host is called.
    """
    if is_public_host(host):
        return True
    try:
        return _is_in(_to_ip(host), networks)
    except ValueError:
        return bool(networks)


def may_be_reached(address: str, networks: Sequence[Network]) -> bool:
    """Return whether the address of a setting's host may be called, because it is public or in ``networks``."""
    ip = _to_ip(address)
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return _is_in(ip, networks) or (ip.is_global and not ip.is_multicast and not is_site_local)


def may_be_called(address: str, host: str, networks: Sequence[Network], *, is_plain: bool) -> bool:
    """Return whether the address to which ``host`` has resolved may be called.

    Three kinds of addresses are allowed: this machine, if ``host`` can't mean any other; addresses in ``networks``; and
    public addresses, unless the call ``is_plain`` (without TLS).
    """
    ip = _to_ip(address)
    if ip.is_loopback and not _is_in(ip, networks):
        return is_loopback_host(host)
    return _is_in(ip, networks) if is_plain else may_be_reached(address, networks)


def _to_ip(address: str) -> Address:
    """Return an address without its zone; an IPv4 address embedded in IPv6 is extracted. Raises ValueError."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.sixtofour or ip.ipv4_mapped:
        return ip.sixtofour or ip.ipv4_mapped or ip
    # A NAT64 gateway, and an old notation, put the IPv4 address into the last 32 bits.
    is_wrapped = ip in _TRANSLATED or (ip in _COMPATIBLE and int(ip) > 1)
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if is_wrapped else ip


def _is_in(ip: Address, networks: Sequence[Network]) -> bool:
    return any(ip in network for network in networks)
