"""The transport on real sockets, with threads and forks, against a stub server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from worker.clients.tokens import Token
from worker.clients.transport import Transport
from worker.errors import StoreUnavailable, SupplierUnavailable
from worker.stores.redis.child_processes import free_port

pytestmark = pytest.mark.sockets

TOKEN = Token("access-token-one")


class Stub(ThreadingHTTPServer):
    daemon_threads = True
    connections = 0
    release = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        if self.path.startswith("/silent"):
            self.server.release.wait(10)
            return
        body = self.headers["Authorization"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 10 * self.path.startswith("/cut")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path.startswith("/cut")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def send(stub: Stub) -> Iterator[Callable[[str], bytes]]:
    base_url = f"http://127.0.0.1:{stub.server_port}"
    transport = Transport(base_url, timeouts=(1, 0.2))
    yield lambda path: transport.send("GET", base_url + path, TOKEN, params={"usage_point_id": "9" * 14}).body
    transport.close()


def test_a_pretend_supplier_is_reached_in_plain_without_loosening_the_process(
    send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert send("/") == b"Bearer access-token-one"
    assert "OAUTHLIB_INSECURE_TRANSPORT" not in os.environ


@pytest.mark.parametrize("path", ["/silent", "/cut"])
def test_silence_and_a_cut_answer_are_outages_that_do_not_name_the_meter(
    send: Callable[[str], bytes], path: str
) -> None:
    with pytest.raises(SupplierUnavailable) as caught:
        send(path)
    assert "99999999999999" not in str(caught.value)


def test_a_connection_refused_is_an_outage() -> None:
    transport = Transport("http://127.0.0.1:1")
    with pytest.raises(SupplierUnavailable, match="ConnectionError"):
        transport.send("GET", "http://127.0.0.1:1/x", TOKEN)
    transport.close()


def test_a_thread_keeps_its_own_connection_open(send: Callable[[str], bytes], stub: Stub) -> None:
    assert [send("/") for _ in range(3)] == [b"Bearer access-token-one"] * 3
    assert stub.connections == 1
    barrier = threading.Barrier(2)

    def other(_: int) -> bytes:
        barrier.wait()
        return send("/")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(other, range(2))) == [b"Bearer access-token-one"] * 2
    assert stub.connections == 3


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(send: Callable[[str], bytes], stub: Stub) -> None:
    send("/")
    child = os.fork()
    if child == 0:
        os._exit(0 if send("/") == b"Bearer access-token-one" else 1)
    assert os.waitpid(child, 0)[1] == 0
    send("/")
    assert stub.connections == 2


def test_a_request_that_no_server_took_is_told_as_never_sent() -> None:
    url, unsent = f"http://127.0.0.1:{free_port()}", []
    transport = Transport(url)
    with pytest.raises(SupplierUnavailable):
        transport.send("GET", f"{url}/echo", TOKEN, on_unsent=lambda: unsent.append("unsent"))
    assert unsent == ["unsent"]

    def fail() -> None:
        raise StoreUnavailable("Redis is away")

    with pytest.raises(SupplierUnavailable):  # The first failure counts.
        transport.send("GET", f"{url}/echo", TOKEN, on_unsent=fail)
    transport.close()


def test_a_request_that_was_cut_off_may_have_been_counted(stub: Stub) -> None:
    url, unsent = f"http://127.0.0.1:{stub.server_address[1]}", []
    transport = Transport(url)
    with pytest.raises(SupplierUnavailable):
        transport.send("GET", f"{url}/cut", TOKEN, on_unsent=lambda: unsent.append("unsent"))
    assert unsent == []
    transport.close()
