"""The TCP relay forwards, refuses, cuts and stalls, and its server may stop and start again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from worker.drill.relay import RelayMode, TcpRelay
from worker.stores.redis.child_processes import free_port

pytestmark = pytest.mark.sockets


class Echo:
    """Server that sends back what it receives."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1024):
                    connection.sendall(data)
            except OSError:
                return


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    echo = Echo(port)
    yield port
    echo.socket.close()


def connect(relay: TcpRelay, timeout_s: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout_s)


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Send data and return the answer; empty where the connection ends instead."""
    try:
        connection.sendall(data)
        return connection.recv(1024)
    except (ConnectionResetError, BrokenPipeError):
        return b""


def test_it_passes_on_what_comes(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay) as one, connect(relay) as other:
        assert exchange(one, b"one") == b"one"
        assert exchange(other, b"other") == b"other"


def test_cut_ends_what_is_open_and_lets_new_ones_pass(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay) as old:
        assert exchange(old, b"before") == b"before"
        assert relay.cut() == 1
        assert exchange(old, b"after") == b""
        with connect(relay) as new:
            assert exchange(new, b"after") == b"after"


def test_while_it_refuses_nobody_is_served(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay) as old:
        assert exchange(old, b"before") == b"before"
        relay.set_mode(RelayMode.REFUSE)
        assert exchange(old, b"open") == b""
        with connect(relay) as new:
            assert exchange(new, b"new") == b""
        relay.set_mode(RelayMode.PASS)
        with connect(relay) as late:
            assert exchange(late, b"late") == b"late"


def test_what_is_said_while_it_stalls_arrives_afterwards(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay, timeout_s=0.2) as connection:
        assert exchange(connection, b"before") == b"before"
        relay.set_mode(RelayMode.STALL)
        with pytest.raises(TimeoutError):
            exchange(connection, b"held")
        relay.set_mode(RelayMode.PASS)
        connection.settimeout(10)
        assert connection.recv(1024) == b"held"


def test_a_server_that_is_away_ends_the_connection_and_may_come_back() -> None:
    port = free_port()
    with TcpRelay(port) as relay:
        with connect(relay) as early:
            assert exchange(early, b"early") == b""
        echo = Echo(port)
        with connect(relay) as late:
            assert exchange(late, b"late") == b"late"
        echo.socket.close()
