"""Listening sockets, bound before a server takes them over, so that a port in use is the caller's error; a question to
Redis without redis-py, which would double the memory of `releve up`'s supervisor.

A file of its own because the simulator may import this helper and no other module of the stores.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

_BACKLOG: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` (a name, an IPv4 or an IPv6 address); port 0 is any free port.

    Raises OSError where the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: without it asyncio leaves Nagle's algorithm on, which delays each answer by 40 ms.
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
    """Return ``http://host:port`` with the port that the system assigned."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ask_redis(url: str, command: str, timeout_s: float) -> str:
    """Return the answer to one command, a refusal too; empty where nobody answers, or the password is wrong."""
    parts, answers = urlsplit(url), b""
    with suppress(OSError), socket.create_connection((parts.hostname or "", parts.port or 0), timeout_s) as connection:
        connection.sendall(f"AUTH {parts.password}\r\n{command}\r\nQUIT\r\n".encode())
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))
    greeting, _, answer = answers.decode(errors="replace").removesuffix("+OK\r\n").partition("\r\n")
    return answer if greeting == "+OK" else ""
