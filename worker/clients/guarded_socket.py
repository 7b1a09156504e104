"""Connections to addresses that somebody has typed: never into a private network that the operator has not named.

What counts is the address that the connection has reached, looked at before anything is sent, so that no name can hide
another one. A connection without TLS is for this machine and for the networks that are named.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from worker.domain.networks import Network, may_be_called


class AddressRefused(Exception):
    """The error for a connection to an address that may not be called; it does not name the address."""


def check_peer(sock: socket.socket, host: str, networks: Sequence[Network], *, is_plain: bool) -> socket.socket:
    """Return the socket of a connection to which nothing was sent yet.

    Raises AddressRefused, and closes it, if the name ``host`` has led to an address that may not be called.
    """
    try:
        address = sock.getpeername()[0]
    except OSError:  # The other side has closed it already.
        sock.close()
        raise
    if not may_be_called(address, host, networks, is_plain=is_plain):
        sock.close()
        raise AddressRefused("an address in a private network, or without TLS")
    return sock


def connect_guarded(
    host: str, port: int, networks: Sequence[Network], *, is_plain: bool, timeout_s: float
) -> socket.socket:
    """Return a connected TCP socket, nothing sent yet; with ``is_plain`` no TLS will follow on it.

    Raises AddressRefused, or OSError where nothing answers within ``timeout_s``.
    """
    sock = socket.create_connection((host, port), timeout_s)
    return check_peer(sock, host, networks, is_plain=is_plain)
