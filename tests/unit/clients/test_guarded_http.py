"""L6: a call is refused at the moment its connection opens, so that no name can hide an address."""

from __future__ import annotations

import socket

import pytest
import requests

from tests.support.canned_server import answer, canned_server
from worker.clients.http_calls import AddressRefused, GuardedHttp
from worker.domain.networks import parse_networks

pytestmark = pytest.mark.sockets


def call(url: str, networks: str = "") -> int:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", GuardedHttp(parse_networks(networks)))
        return session.get(url, timeout=5).status_code


def test_a_name_that_leads_to_this_machine_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def lead_home(host: str, *others: object, **options: object) -> object:
        return resolve("127.0.0.1" if host == "hook.example" else host, *others, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lead_home)
    with canned_server(answer(200, "fine")) as server:
        port = server.url.rstrip("/").rpartition(":")[2]
        with pytest.raises(AddressRefused):
            call(f"http://hook.example:{port}/")
        assert server.requests == []
        assert call(f"http://hook.example:{port}/", "127.0.0.0/8") == 200


def test_this_machine_is_called_by_its_own_address() -> None:
    with canned_server(answer(200, "fine")) as server:
        assert call(server.url) == 200


def test_not_even_the_greeting_of_tls_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *others, **more: resolve("127.0.0.1", *others, **more))
    with socket.create_server(("127.0.0.1", 0)) as server, requests.Session() as session:
        server.settimeout(5)
        session.trust_env = False
        session.mount("https://", GuardedHttp())
        with pytest.raises(AddressRefused):
            session.get(f"https://hook.example:{server.getsockname()[1]}/", timeout=5)
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(5)
            assert accepted.recv(100) == b""
