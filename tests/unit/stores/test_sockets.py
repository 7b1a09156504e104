"""The address of a listening socket, as a URL."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest

from worker.stores.sockets import address_of


class Listener:
    """What ``address_of`` asks a socket of: an IPv6 address has four parts, and not every machine has one."""

    def __init__(self, *name: Any) -> None:
        self._name = name

    def getsockname(self) -> tuple[Any, ...]:
        return self._name


@pytest.mark.parametrize(
    ("name", "url"), [(("127.0.0.1", 8000), "http://127.0.0.1:8000"), (("::1", 8000, 0, 0), "http://[::1]:8000")]
)
def test_the_address_of_a_socket_is_a_url(name: tuple[Any, ...], url: str) -> None:
    assert address_of(cast(socket.socket, Listener(*name))) == url
