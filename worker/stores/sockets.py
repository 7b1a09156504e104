"""Listening sockets that a server takes over. The caller binds them, so it gets the error if a port is in use.

The module has a small Redis client for the supervisor of `releve up`: redis-py would double the supervisor's
memory. The sockets have their own module, because the simulator may import no other module of the stores.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit

_BACKLOG: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` (a name, an IPv4 or an IPv6 address); port 0 means any free port.

    Raises OSError if the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol number, asyncio leaves Nagle's algorithm on, which delays each answer by 40 ms.
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
    """Return the address of a listening socket as a URL, with the port that the system assigned."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ask_redis(url: str, commands: str, timeout_s: float) -> str:
    """Return a Redis server's answers to commands, refusals included; empty if nobody answers or the login is wrong."""
    parts, answers = urlsplit(url), b""
    login = " ".join(json.dumps(unquote(word)) for word in (parts.username, parts.password) if word)
    first = f"AUTH {login}" if login else "ECHO +OK"
    address = (parts.hostname or "", parts.port or 6379)
    with suppress(OSError), socket.create_connection(address, timeout_s) as connection:
        connection.sendall(f"{first}\r\n{commands}\r\nQUIT\r\n".encode())
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))
    greeting, _, answer = answers.decode(errors="replace").removesuffix("+OK\r\n").partition("+OK\r\n")
    return answer if greeting in ("", "$3\r\n") else ""


def redis_is_up(url: str, timeout_s: float) -> bool:
    """Return whether a Redis server runs and has loaded its file.

    A server that refuses the command, such as one with a full disk (MISCONF), counts as running.
    """
    return ask_redis(url, "PING", timeout_s)[:8] not in ("", "-LOADING")
