"""M7: no answer of a supplier is read without an end, neither in bytes nor in time."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from tests.support.canned_server import CannedAnswer, canned_server
from worker.clients.http_calls import BoundedHttp, one_large_reader
from worker.clients.ndjson import StreamLimits
from worker.clients.supplier_session import Reply, Token, Transport
from worker.errors import AnswerTooLarge, MalformedAnswer, SupplierTooSlow, SupplierUnavailable

pytestmark = pytest.mark.sockets

TOKEN = Token("access-token-one")
MEGABYTE = 1024**2
_GZIP, _DEFLATE = 31, 15  # What zlib calls wbits.


def packed(content: bytes, encoding: str) -> CannedAnswer:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(content)}\r\n\r\n"
    return CannedAnswer(head.encode() + content)


def zeros(megabytes: int) -> Iterator[bytes]:
    """Yield the beginning of a JSON object with a long text."""
    yield b'{"a": "'
    for _ in range(megabytes):
        yield b"0" * MEGABYTE


def bomb_of(wbits: int) -> bytes:
    """Return 160 MB packed, piece by piece: the tests' process keeps the most that it ever took."""
    packer = zlib.compressobj(wbits=wbits)
    return b"".join([*map(packer.compress, zeros(160)), packer.flush()])


BOMBS = {
    "gzip": lambda: packed(bomb_of(_GZIP), "gzip"),
    "deflate": lambda: packed(bomb_of(_DEFLATE), "deflate"),
    "packed twice": lambda: packed(gzip.compress(bomb_of(_GZIP)), "gzip, gzip"),
    "not packed": lambda: packed(b"".join(zeros(9)), "identity"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("limits", [None, StreamLimits()], ids=["whole", "value by value"])
def test_m7_a_bomb_is_malformed_and_takes_little_memory(bomb: str, limits: StreamLimits | None) -> None:
    with canned_server(BOMBS[bomb]()) as server:
        transport = Transport(server.url.rstrip("/"))
        tracemalloc.start()
        try:
            if limits is None:
                with pytest.raises(MalformedAnswer):
                    transport.send("GET", server.url, TOKEN)
            else:
                streamed = transport.send("GET", server.url, TOKEN, limits).streamed
                assert streamed is not None and isinstance(streamed.fault, MalformedAnswer)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 20 * MEGABYTE


def test_a_large_answer_that_is_packed_as_any_text_is_read() -> None:
    words = b"".join(b"%d " % number for number in range(300_000))
    with canned_server(packed(gzip.compress(words), "gzip")) as server:
        assert Transport(server.url.rstrip("/")).send("GET", server.url, TOKEN).body == words


def test_an_answer_may_be_as_long_as_its_limit_and_no_byte_longer() -> None:
    with canned_server(*[packed(b"0123456789", "identity")] * 2) as server, requests.Session() as session:
        session.mount("http://", BoundedHttp(most_bytes=10))
        assert session.get(server.url).content == b"0123456789"
        session.mount("http://", BoundedHttp(most_bytes=9))
        with pytest.raises(AnswerTooLarge):
            session.get(server.url)


@contextmanager
def drip(head: bytes, drop: bytes) -> Iterator[str]:
    """Yield the address of a server that sends ``head``, then ``drop`` again and again, until its caller leaves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(head)
                    while not left.wait(0.02):
                        connection.sendall(drop)

        left = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            left.set()
            thread.join()


DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "status line": (b"HTTP/1.1", b" "),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("kind", DRIPS)
def test_an_answer_that_drips_ends_with_the_time_of_its_call(kind: str) -> None:
    with drip(*DRIPS[kind]) as url, requests.Session() as session:
        session.mount("http://", BoundedHttp(longest_s=0.3))
        with pytest.raises(SupplierUnavailable, match="did not finish"):
            session.get(url, timeout=(5, 5))


def test_the_time_of_one_call_is_not_that_of_the_next() -> None:
    answers, before = [packed(b"fine", "identity")] * 3, threading.active_count()
    with canned_server(*answers) as server, requests.Session() as session:
        session.mount("http://", BoundedHttp(longest_s=60))
        assert [session.get(server.url).content for _ in answers] == [b"fine"] * 3
        assert server.connections == 1 and threading.active_count() < before + 5  # The server's, and one that watches


@pytest.mark.parametrize("depth, is_read", [(32, True), (33, False), (5000, False)])
def test_an_answer_that_is_nested_too_deep_is_no_json(depth: int, is_read: bool) -> None:
    body = b"[" * depth + b'"[[{{ \\" [[["' + b"]" * depth
    assert (Reply(200, {}, body).json is not None) is is_read


@pytest.mark.parametrize(
    "text, is_read",
    [(b"9" * 1_000_000 + b'"', True), (b'\\"' * 500_000 + b'"', True), (b'\\"' * 500_000, False)],
    ids=["digits", "escaped quotes", "no end"],
)
def test_the_depth_of_a_long_text_takes_no_memory_by_its_length(text: bytes, is_read: bool) -> None:
    reply = Reply(200, {}, b'{"a":"' + text + b"}")
    tracemalloc.start()
    try:
        assert (reply.json is not None) is is_read
        assert tracemalloc.get_traced_memory()[1] < 8 * len(text)
    finally:
        tracemalloc.stop()


WIDE = b"[" + b"[]," * 100_000 + b"0]"


@pytest.mark.parametrize("limits", [None, StreamLimits(value_bytes=MEGABYTE)], ids=["whole", "value by value"])
def test_an_answer_of_too_many_values_is_too_large_and_a_refusal_keeps_its_status(limits: StreamLimits | None) -> None:
    head = f"HTTP/1.1 503 Away\r\nContent-Length: {len(WIDE)}\r\n\r\n".encode()
    with canned_server(CannedAnswer(head + WIDE), packed(WIDE, "identity")) as server:
        transport = Transport(server.url.rstrip("/"))
        refusal = transport.send("GET", server.url, TOKEN, limits)
        assert (refusal.status, len(refusal.body), refusal.json) == (503, 64 * 1024, None)
        if limits is None:
            with pytest.raises(AnswerTooLarge):
                transport.send("GET", server.url, TOKEN)
        else:
            streamed = transport.send("GET", server.url, TOKEN, limits).streamed
            assert streamed is not None and isinstance(streamed.fault, AnswerTooLarge)


def test_all_answers_of_one_reader_may_have_what_one_may_have() -> None:
    half = b"0" * (5 * MEGABYTE)
    with canned_server(*[packed(half, "identity")] * 3) as server:
        transport = Transport(server.url.rstrip("/"))
        with one_large_reader():
            assert transport.send("GET", server.url, TOKEN).body == half
            with pytest.raises(AnswerTooLarge):
                transport.send("GET", server.url, TOKEN)
        with one_large_reader():
            assert transport.send("GET", server.url, TOKEN).body == half


@pytest.mark.parametrize("large", [b"0" * 300_000, b"[0," * 6_000], ids=["long", "wide"])
def test_a_large_answer_waits_for_the_turn_of_another_and_a_small_one_does_not(large: bytes) -> None:
    kept, done = threading.Event(), threading.Event()
    bodies = [packed(large, "identity"), packed(b"small", "identity"), *[packed(large, "identity")] * 2]
    with canned_server(*bodies) as server:

        def keep() -> None:
            with one_large_reader():
                assert requests_of(server.url, 60).get(server.url).content == large
                kept.set()
                done.wait()

        holder = threading.Thread(target=keep)
        holder.start()
        kept.wait()
        try:
            with one_large_reader():
                assert requests_of(server.url, 60).get(server.url).content == b"small"
                with pytest.raises(SupplierTooSlow):
                    requests_of(server.url, 0.3).get(server.url)
        finally:
            done.set()
            holder.join()
        with one_large_reader():
            assert requests_of(server.url, 60).get(server.url).content == large


def requests_of(url: str, longest_s: float) -> requests.Session:
    session = requests.Session()
    session.mount(url, BoundedHttp(longest_s=longest_s))
    return session


def test_an_answer_with_a_malformed_header_puts_no_query_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    answer = CannedAnswer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon\r\n\r\n")
    with canned_server(answer) as server, requests.Session() as session, caplog.at_level(logging.DEBUG):
        session.mount("http://", BoundedHttp())
        assert session.get(f"{server.url}?usage_point_id=30001640000011").status_code == 200
    assert "30001640000011" not in caplog.text
