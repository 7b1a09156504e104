"""Checks whether a host that somebody else chose is public, or lies in a network that the operator allows."""

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

    A private name is accepted unless ``networks`` is empty; the name's address is checked when the host is called.
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

    Three kinds of addresses are allowed: those in ``networks``; this machine's, if ``host`` can only be this machine;
    and public ones, unless the call is plain, that is without TLS.
    """
    ip = _to_ip(address)
    if ip.is_loopback and not _is_in(ip, networks):
        return is_loopback_host(host)
    return _is_in(ip, networks) if is_plain else may_be_reached(address, networks)


def _to_ip(address: str) -> Address:
    """Return the address without its zone, or the IPv4 address that is part of an IPv6 one. Raises ValueError."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.sixtofour or ip.ipv4_mapped:
        return ip.sixtofour or ip.ipv4_mapped or ip
    # The last 32 bits are the IPv4 address in NAT64, and in old addresses such as ``::192.0.2.1``.
    is_wrapped = ip in _TRANSLATED or (ip in _COMPATIBLE and int(ip) > 1)
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if is_wrapped else ip


def _is_in(ip: Address, networks: Sequence[Network]) -> bool:
    return any(ip in network for network in networks)
