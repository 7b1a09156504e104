"""A connection is refused at the moment it opens, before a byte is sent, so that no name can hide an address."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from worker.clients.http_calls import AddressRefused, connect_guarded
from worker.domain.networks import HOME_NETWORKS, Network, parse_networks

pytestmark = pytest.mark.sockets


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


@pytest.fixture(autouse=True)
def a_name_that_leads_home(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def lead_home(host: str, *others: object, **options: object) -> object:
        return resolve("127.0.0.1" if host == "hub.example" else host, *others, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lead_home)


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_name_that_hides_this_machine_is_refused_and_nothing_is_sent(listener: socket.socket, is_plain: bool) -> None:
    with pytest.raises(AddressRefused):
        connect_guarded("hub.example", listener.getsockname()[1], (), is_plain=is_plain, timeout_s=5)

    accepted, _ = listener.accept()
    with accepted:
        accepted.settimeout(5)
        assert accepted.recv(100) == b"", "the connection was closed with nothing said"


@pytest.mark.parametrize("networks", [parse_networks("127.0.0.0/8"), HOME_NETWORKS])
def test_a_named_network_and_a_home_may_be_reached(listener: socket.socket, networks: list[Network]) -> None:
    connect_guarded("hub.example", listener.getsockname()[1], networks, is_plain=True, timeout_s=5).close()
