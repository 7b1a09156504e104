"""The transport on real sockets, with threads and forks, against a stub server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.canned_server import SILENT, CannedAnswer, CannedServer, answer, canned_server, cut_short
from worker.clients.session import Transport
from worker.clients.tokens import Token
from worker.errors import StoreUnavailable, SupplierUnavailable
from worker.stores.redis.child_processes import free_port

pytestmark = pytest.mark.sockets

TOKEN = Token("access-token-one")
WHOLE = answer(200, "fine")


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server(*[WHOLE] * 5) as server:
        yield server


@pytest.fixture
def send(server: CannedServer) -> Callable[[], bytes]:
    transport = Transport(server.url.rstrip("/"), timeouts=(1, 0.2))
    return lambda: transport.send("GET", server.url, TOKEN, params={"usage_point_id": "9" * 14}).body


def test_a_pretend_supplier_is_reached_in_plain_without_loosening_the_process(
    server: CannedServer, send: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert send() == b"fine"
    assert server.headers[0]["authorization"] == "Bearer access-token-one"
    assert "OAUTHLIB_INSECURE_TRANSPORT" not in os.environ


@pytest.mark.parametrize("failure", [SILENT, cut_short(200, "fine")])
def test_silence_and_a_cut_answer_are_outages_that_do_not_name_the_meter(
    server: CannedServer, send: Callable[[], bytes], failure: CannedAnswer
) -> None:
    server.script[:] = [failure]
    with pytest.raises(SupplierUnavailable) as caught:
        send()
    assert "99999999999999" not in str(caught.value)


def test_a_thread_keeps_its_own_connection_open(server: CannedServer, send: Callable[[], bytes]) -> None:
    assert [send() for _ in range(3)] == [b"fine"] * 3
    assert server.connections == 1
    barrier = threading.Barrier(2)

    def other(_: int) -> bytes:
        barrier.wait()
        return send()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(other, range(2))) == [b"fine"] * 2
    assert server.connections == 3


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(server: CannedServer, send: Callable[[], bytes]) -> None:
    send()
    child = os.fork()
    if child == 0:
        os._exit(0 if send() == b"fine" else 1)
    assert os.waitpid(child, 0)[1] == 0
    send()
    assert server.connections == 2


def test_a_request_that_no_server_took_is_told_as_never_sent() -> None:
    url, unsent = f"http://127.0.0.1:{free_port()}", []
    transport = Transport(url)
    with pytest.raises(SupplierUnavailable, match="ConnectionError"):
        transport.send("GET", f"{url}/echo", TOKEN, on_unsent=lambda: unsent.append("unsent"))
    assert unsent == ["unsent"]

    def fail() -> None:
        raise StoreUnavailable("Redis is away")

    with pytest.raises(SupplierUnavailable):  # The first failure counts.
        transport.send("GET", f"{url}/echo", TOKEN, on_unsent=fail)


def test_a_request_that_was_cut_off_may_have_been_counted(server: CannedServer) -> None:
    server.script[:] = [cut_short(200, "fine")]
    transport, unsent = Transport(server.url.rstrip("/")), []
    with pytest.raises(SupplierUnavailable):
        transport.send("GET", server.url, TOKEN, on_unsent=lambda: unsent.append("unsent"))
    assert unsent == []
