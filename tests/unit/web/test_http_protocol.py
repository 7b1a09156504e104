"""M8 and L9 on real sockets: what is cut, what is refused, and that nothing is left of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.web_server import RunningServer, echo, read_answer, read_to_end, running_server, statuses
from worker.web.server import LONGEST_HEAD, ConnectionLimits

pytestmark = pytest.mark.sockets

HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET / HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LIMITS = ConnectionLimits(connections=8, of_address=4)
STRANGER, OTHERS = "127.0.0.2", ("127.0.0.3", "127.0.0.4")


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningServer]:
    with running_server(echo, LIMITS) as running:
        yield running


@pytest.fixture
def server(shared: RunningServer) -> RunningServer:
    """Return the server of this file without connections. 127.0.0.1 is a proxy's address, and no other is."""
    shared.close_all()
    return shared


def post(head: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + head + b"\r\n" + body


# -- M8: time

HALVES = {
    "nothing": (b"", 10),
    "half a head": (b"GET / HTTP/1.1\r\nHo", 10),
    "half a body": (post(b"Content-Length: 100\r\n", b"half"), 30),
    "half a chunk": (post(CHUNKED, b"5\r\nab"), 30),
    "half a second head": (GET + b"GET / HT", 10),
}


@pytest.mark.parametrize("half", HALVES)
def test_m8_a_request_that_does_not_end_is_cut(server: RunningServer, half: str) -> None:
    content, longest = HALVES[half]
    connection = server.send(content)
    if half == "half a second head":
        assert read_answer(connection) == 200
    server.wait_for_count(1)
    wait_until_taken(server)
    server.tick()
    assert server.tick(longest - 1) == 1
    assert server.tick(2) == 0
    assert read_to_end(connection) == b""


def wait_until_taken(server: RunningServer) -> None:
    """Let the event loop read what was sent: a further request is answered after it."""
    with server.send(GET) as second:
        assert read_answer(second) == 200
    server.wait_for_count(1)


def test_m8_a_head_that_drips_is_cut_as_well(server: RunningServer) -> None:
    connection = server.send(b"GET / HTTP/1.1\r\n")
    server.wait_for_count(1)
    server.tick()
    for _ in range(9):
        connection.sendall(b"a")
        assert server.tick(1) == 1
    assert server.tick(2) == 0


def test_m8_an_answer_that_nobody_takes_is_cut(server: RunningServer) -> None:
    connection = server.send(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")
    connection.recv(1)
    server.tick()
    assert server.tick(29) == 1
    assert server.tick(2) == 0


def test_m8_a_body_that_is_not_read_ends_its_connection_soon(server: RunningServer) -> None:
    head = b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n"
    patient = server.send(head)
    assert read_answer(patient) == 200
    server.tick()
    assert server.tick(4) == 1
    assert server.tick(2) == 0
    # Nor is much of it taken from one who goes on to send.
    eager, sent = server.send(head), 0
    with pytest.raises(OSError):
        while sent < 100_000_000:
            sent += eager.send(b"x" * 65536)
    assert sent < 20_000_000  # The buffers of both sockets.
    server.wait_for_count(0)


def test_a_body_that_is_too_long_by_little_is_read_to_its_end_so_that_its_answer_is_seen(server: RunningServer) -> None:
    length = 33_000_000
    head = b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length
    with server.send(head) as connection:
        for _ in range(length // 1_000_000):
            connection.sendall(b"x" * 1_000_000)
        assert read_answer(connection) == 200
        connection.sendall(GET)
        assert read_answer(connection) == 200, "the connection goes on"


def test_a_connection_that_is_kept_alive_serves_one_request_after_another(server: RunningServer) -> None:
    with server.connect() as connection:
        for _ in range(10):
            connection.sendall(post(b"Content-Length: 3\r\n", b"abc"))
            assert read_answer(connection) == 200
            assert server.tick(9) == 1


# -- M8: number


def test_m8_an_address_has_its_number_of_connections_and_the_next_is_told_so(server: RunningServer) -> None:
    for _ in range(LIMITS.of_address):
        server.connect(STRANGER)
    server.wait_for_count(4)
    refused = read_to_end(server.connect(STRANGER))
    assert statuses(refused) == [503] and b"Retry-After: 10" in refused and b"Connection: close" in refused
    with server.send(GET, OTHERS[0]) as other:
        assert read_answer(other) == 200
    server.opened[1].close()
    server.wait_for_count(3)
    with server.send(GET, STRANGER) as again:
        assert read_answer(again) == 200


def test_m8_the_process_has_its_number_for_a_proxy_too(server: RunningServer) -> None:
    for _ in range(LIMITS.connections):
        server.connect()
    server.wait_for_count(8)
    assert statuses(read_to_end(server.connect())) == [503]
    assert statuses(read_to_end(server.connect(STRANGER))) == [503]
    assert server.tick(9) == 8 and server.tick(2) == 0
    with server.send(GET) as free:
        assert read_answer(free) == 200


# -- L9

SMUGGLED = b"0\r\n\r\nGET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"
ODD = {
    "length and coding": post(b"Content-Length: 5\r\n" + CHUNKED, SMUGGLED),
    "coding and length": post(CHUNKED + b"Content-Length: 5\r\n", SMUGGLED),
    "coding of HTTP/1.0": b"POST / HTTP/1.0\r\n" + CHUNKED + b"\r\n" + SMUGGLED,
    "two lengths": post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"),
    "a list of lengths": post(b"Content-Length: 1, 2\r\n", b"ab"),
    "a signed length": post(b"Content-Length: +1\r\n", b"a"),
    "a negative length": post(b"Content-Length: -1\r\n", b"a"),
    "a length in words": post(b"Content-Length: one\r\n", b"a"),
    "a huge length": post(b"Content-Length: " + b"9" * 30 + b"\r\n", b"a"),
    "another coding": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "a hidden coding": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "two codings": post(CHUNKED + CHUNKED, b"0\r\n\r\n"),
    "a bad chunk size": post(CHUNKED, b"zz\r\nab\r\n0\r\n\r\n"),
    "a signed chunk size": post(CHUNKED, b"+2\r\nab\r\n0\r\n\r\n"),
    "a chunk size of a mile": post(CHUNKED, b"f" * 30 + b"\r\nab"),
    "a chunk longer than told": post(CHUNKED, b"1\r\nabc\r\n0\r\n\r\n"),
    "a chunk line with LF alone": post(CHUNKED, b"1\na\r\n0\r\n\r\n"),
    "LF alone in all lines": b"GET / HTTP/1.1\nHost: a\n\n",
    "LF alone after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "LF alone in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
    "LF alone at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "CR alone": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "obs-fold of the first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a head of a mile": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * LONGEST_HEAD + b"\r\n\r\n",
    "a path of a mile": b"GET /" + b"a" * LONGEST_HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a thousand headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: aaaaaaaaaaaaaa\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("odd", ODD)
def test_l9_an_odd_request_is_refused_and_ends_its_connection(server: RunningServer, odd: str) -> None:
    answers, received = server.ask(ODD[odd])
    assert answers == [400], received
    assert b"connection: close" in received.lower() and b"hidden" not in received
    server.wait_for_count(0)


@pytest.mark.parametrize("odd", ["length and coding", "LF alone in a header", "two hosts", "a head of a mile"])
def test_l9_a_second_request_is_looked_at_as_the_first(server: RunningServer, odd: str) -> None:
    """Behind a body, behind one that was not read, and in pieces."""
    for before in (post(b"Content-Length: 3\r\n", b"a\nb"), GET, post(CHUNKED, b"3\r\na\nb\r\n0\r\n\r\n")):
        answers, received = server.ask(before + ODD[odd])
        assert answers == [200, 400], received
    early = b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n"
    connection = server.send(early)
    assert read_answer(connection) == 200
    connection.sendall(b"a\nb" + ODD[odd])
    assert statuses(read_to_end(connection)) == [400]


def test_what_is_allowed_is_served(server: RunningServer) -> None:
    for content, expected in (
        (GET * 3 + LAST, [200] * 4),
        (post(CHUNKED, b"3;name=value\r\na\nb\r\n0\r\nTrailer: x\r\n\r\n") + LAST, [200, 200]),
        (post(b"Content-Length: 4\r\n", b"\n\r\n ") + LAST, [200, 200]),
        (b"GET / HTTP/1.0\r\n\r\n", [200]),
        (b"GET / HTTP/1.1\r\nHost:\r\nX:a\tb \xe9\r\n\r\n" + LAST, [200, 200]),
    ):
        answers, received = server.ask(content)
        assert answers == expected, received


def test_m8_odd_requests_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with running_server(echo, LIMITS) as server, caplog.at_level(logging.WARNING):
        for odd in ODD.values():
            server.ask(odd)
    assert len(caplog.records) <= 1, caplog.text  # None where the server of this file has written one just now.


def test_an_answer_that_is_under_way_is_not_answered_twice(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad chunk after an early answer: there is no place for a second one, and no traceback."""
    connection = server.send(b"POST /early HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n")
    assert read_answer(connection) == 200
    connection.sendall(b"zz\r\n")
    assert read_to_end(connection) == b""
    server.wait_for_count(0)
    assert "Traceback" not in caplog.text and all(record.exc_info is None for record in caplog.records)
