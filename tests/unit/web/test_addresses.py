"""Addresses: who is on this machine, which proxies are believed (M6 d), and plain http beyond this machine (L5)."""

from __future__ import annotations

from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request

from config.settings import ConfigError
from worker.ops.startup import check_plain_http
from worker.web.client_addresses import client_address, is_on_this_machine, trusted_proxies
from worker.web.server import serve

HERE = "http://127.0.0.1:8000"


def request_from(address: str | None, host: str = "127.0.0.1:8000") -> Request:
    client = None if address is None else (address, 50_000)
    headers = [(b"host", host.encode())]
    scope = {"type": "http", "scheme": "http", "path": "/", "query_string": b"", "client": client, "headers": headers}
    return Request(scope)


@pytest.mark.parametrize(
    "public_url",
    [
        "https://releve.example.org",
        "http://releve.example.org:8000",
        "https://8.8.8.8",
        "https://[2606:4700::1111]",
        "https://RELEVE.EXAMPLE.ORG.",
    ],
)
def test_m6_a_public_address_without_a_named_proxy_is_refused(monkeypatch: pytest.MonkeyPatch, public_url: str) -> None:
    for unset in ("", " "):
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", unset)
        with pytest.raises(ConfigError) as refusal:
            trusted_proxies(public_url)
        line = str(refusal.value)
        assert "\n" not in line and "127.0.0.1 on this host" in line and "none if there is no proxy" in line
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "172.18.0.1")
    assert trusted_proxies(public_url) == "172.18.0.1"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "None")
    assert trusted_proxies(public_url) is None


@pytest.mark.parametrize(
    "public_url",
    [
        HERE,
        "http://localhost:8000",
        "http://[::1]:8000",
        "http://192.168.1.20",
        "http://10.1.2.3:8000",
        "http://169.254.3.4",
        "http://[fe80::1]",
        "http://[fd00::1]",
        "https://nas",
        "https://nas.local",
        "https://releve.corp.internal",
    ],
)
def test_an_address_of_a_private_network_needs_no_named_proxy(monkeypatch: pytest.MonkeyPatch, public_url: str) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert trusted_proxies(public_url) == "127.0.0.1"


def test_without_a_trusted_proxy_no_forwarded_address_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    async def start(server: uvicorn.Server, **_: object) -> None:
        started.append(server.config)

    monkeypatch.setattr(uvicorn.Server, "serve", start)
    monkeypatch.setattr("worker.web.server.listen", _Listener)
    monkeypatch.setattr("worker.web.server.address_of", str)
    for proxies in (None, "172.18.0.1"):
        serve(FastAPI(), "127.0.0.1", 0, on_start=lambda _: None, proxies=proxies)
    assert [config.proxy_headers for config in started] == [False, True]
    assert started[1].forwarded_allow_ips == "172.18.0.1"


@pytest.mark.parametrize(
    "public_url",
    [
        "http://releve.example.org",
        "http://192.168.1.20:8000",
        "http://nas",
        "http://[fd00::1]:8000",
        "HTTP://nas.local",
    ],
)
def test_l5_plain_http_beyond_this_machine_is_refused_unless_it_is_wanted(public_url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        check_plain_http(public_url, wanted=False)
    line = str(refusal.value)
    assert "\n" not in line and "https://" in line and "RELEVE_PLAIN_HTTP=true" in line
    warning = check_plain_http(public_url, wanted=True)
    assert warning is not None and "\n" not in warning and "RELEVE_PLAIN_HTTP" in warning


@pytest.mark.parametrize(
    "public_url",
    [HERE, "http://localhost:8000", "http://[::1]:8000", "https://releve.example.org", "https://192.168.1.20"],
)
def test_l5_https_and_this_machine_need_no_word(public_url: str) -> None:
    for wanted in (False, True):
        assert check_plain_http(public_url, wanted=wanted) is None


class _Listener:
    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("public_url", "address", "host", "is_here"),
    [
        (HERE, "127.0.0.1", "127.0.0.1:8000", True),
        (HERE, "::1", "localhost:8000", True),
        (HERE, "::ffff:127.0.0.1", "[::1]:8000", True),
        (HERE, "192.168.1.20", "127.0.0.1:8000", False),
        (HERE, None, "127.0.0.1:8000", False),
        (HERE, "127.0.0.1", "evil.example", False),
        (HERE, "127.0.0.1", "localhost.evil.example", False),
        ("https://releve.example.org", "127.0.0.1", "127.0.0.1:8000", False),
        ("http://192.168.1.20", "127.0.0.1", "127.0.0.1", False),
    ],
)
def test_the_service_the_browser_and_what_it_asked_for_are_all_on_this_machine(
    public_url: str, address: str | None, host: str, is_here: bool
) -> None:
    assert is_on_this_machine(request_from(address, host), public_url) is is_here


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_limits_count_an_address_or_a_network_of_ipv6(address: str, counted: str) -> None:
    assert client_address(request_from(address)) == counted
