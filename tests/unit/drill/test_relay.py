"""The relay in front of a server: passes, refuses, cuts and stalls as it is told, and the server may come and go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from worker.drill.relay import Line, TcpRelay
from worker.stores.redis.child_processes import free_port


class Echo:
    """Sends back what it gets, connection by connection."""

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


def asks(connection: socket.socket, said: bytes) -> bytes:
    """What comes back; empty where the connection ends instead."""
    try:
        connection.sendall(said)
        return connection.recv(1024)
    except (ConnectionResetError, BrokenPipeError):
        return b""


def test_it_passes_on_what_comes(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay) as one, connect(relay) as other:
        assert asks(one, b"one") == b"one"
        assert asks(other, b"other") == b"other"


def test_cut_ends_what_is_open_and_lets_new_ones_pass(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay) as old:
        assert asks(old, b"before") == b"before"
        assert relay.cut() == 1
        assert asks(old, b"after") == b""
        with connect(relay) as new:
            assert asks(new, b"after") == b"after"


def test_while_it_refuses_nobody_is_served(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay) as old:
        assert asks(old, b"before") == b"before"
        relay.set_line(Line.REFUSE)
        assert asks(old, b"open") == b""
        with connect(relay) as new:
            assert asks(new, b"new") == b""
        relay.set_line(Line.PASS)
        with connect(relay) as late:
            assert asks(late, b"late") == b"late"


def test_what_is_said_while_it_stalls_arrives_afterwards(port: int) -> None:
    with TcpRelay(port) as relay, connect(relay, timeout_s=0.2) as connection:
        assert asks(connection, b"before") == b"before"
        relay.set_line(Line.STALL)
        with pytest.raises(TimeoutError):
            asks(connection, b"held")
        relay.set_line(Line.PASS)
        connection.settimeout(10)
        assert connection.recv(1024) == b"held"


def test_a_server_that_is_away_ends_the_connection_and_may_come_back() -> None:
    port = free_port()
    with TcpRelay(port) as relay:
        with connect(relay) as early:
            assert asks(early, b"early") == b""
        echo = Echo(port)
        with connect(relay) as late:
            assert asks(late, b"late") == b"late"
        echo.socket.close()
