"""A socket that listens, for a server to take over: bound first, so that a taken port is an error of the caller's."""

from __future__ import annotations

import socket
from typing import Final

_BACKLOG: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """Listening on ``host``, a name or an IPv4 or IPv6 address; any free port where ``port`` is 0.

    Raises OSError where the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol by name: without it asyncio leaves Nagle on, and each answer waits 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """``http://host:port`` with the port that it really has."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
