"""The transport on real sockets, with threads and forks, against a stub server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.canned_server import (
    CUT,
    SILENT,
    CannedAnswer,
    CannedServer,
    answer,
    canned_server,
    chunked,
    cut_short,
)
from worker.clients.ndjson import StreamLimits
from worker.clients.supplier_session import Token, Transport
from worker.errors import (
    AnswerBrokenOff,
    MalformedAnswer,
    StoreUnavailable,
    SupplierTooSlow,
    SupplierUnavailable,
    SupplierUnreachable,
)
from worker.stores.child_processes import free_port

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


PAUSED = CannedAnswer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1,", silent=True)
DAMAGED = CannedAnswer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone")


@pytest.mark.parametrize(
    "failure, cause",
    [
        (SILENT, SupplierTooSlow),
        (PAUSED, SupplierTooSlow),
        (cut_short(200, "fine"), AnswerBrokenOff),
        (CUT, AnswerBrokenOff),
        (DAMAGED, AnswerBrokenOff),
    ],
    ids=["silent", "paused", "cut short", "cut", "damaged"],
)
@pytest.mark.parametrize("limits", [None, StreamLimits()], ids=["whole", "value by value"])
def test_d4_each_failure_of_a_call_has_its_cause(
    server: CannedServer, failure: CannedAnswer, cause: type[Exception], limits: StreamLimits | None
) -> None:
    server.script[:] = [failure]
    with pytest.raises(SupplierUnavailable) as caught:
        Transport(server.url.rstrip("/"), timeouts=(1, 0.2)).send("GET", server.url, TOKEN, limits)
    assert type(caught.value) is cause


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_d4_where_nobody_listens_the_supplier_is_out_of_reach(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with pytest.raises(SupplierUnreachable):
        Transport(url).send("GET", f"{url}/", TOKEN)


def test_d4_without_common_encryption_the_supplier_is_out_of_reach(server: CannedServer) -> None:
    url = server.url.replace("http://", "https://")
    with pytest.raises(SupplierUnreachable):
        Transport(url.rstrip("/")).send("GET", url, TOKEN)


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


LINES = '{"a": 1}\n{"a": 2}\n'


def test_a_stream_is_read_value_by_value_and_its_connection_serves_again(server: CannedServer) -> None:
    server.script[:] = [answer(200, LINES), chunked(200, LINES), answer(404, '{"error": "x"}'), WHOLE]
    transport = Transport(server.url.rstrip("/"))
    replies = [transport.send("GET", server.url, TOKEN, StreamLimits()) for _ in range(3)]
    assert [reply.streamed and reply.streamed.values for reply in replies] == [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 2}),
        ({"error": "x"},),
    ]
    assert [reply.body for reply in replies] == [b"", b"", b'{"error": "x"}']
    assert transport.send("GET", server.url, TOKEN).body == b"fine"
    assert server.connections == 1


def test_an_answer_that_is_too_long_is_cut_with_its_connection(server: CannedServer) -> None:
    long = '{"a": "' + "x" * 10**6 + '"}'
    server.script[:] = [answer(200, long), answer(503, long), WHOLE]
    transport = Transport(server.url.rstrip("/"))
    reply = transport.send("GET", server.url, TOKEN, StreamLimits())
    assert reply.streamed is not None and isinstance(reply.streamed.fault, MalformedAnswer)
    refusal = transport.send("GET", server.url, TOKEN, StreamLimits())
    assert (len(refusal.body), refusal.json) == (64 * 1024, None)
    assert transport.send("GET", server.url, TOKEN).body == b"fine"
    assert server.connections == 3


@pytest.mark.parametrize("failure", [SILENT, cut_short(200, "fine")])
def test_a_stream_that_the_network_cuts_is_an_outage(server: CannedServer, failure: CannedAnswer) -> None:
    server.script[:] = [failure]
    transport, unsent = Transport(server.url.rstrip("/"), timeouts=(1, 0.2)), list[str]()
    with pytest.raises(SupplierUnavailable, match=r"did not answer|broke off"):
        transport.send("GET", server.url, TOKEN, StreamLimits(), on_unsent=lambda: unsent.append("unsent"))
    assert unsent == []
