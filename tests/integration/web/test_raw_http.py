"""Raw and broken HTTP at every route of the real application: no failure of ours, and nothing is left of it."""

from __future__ import annotations

import logging
import random
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from tests.support.api_service import ApiService, open_api_service
from tests.support.web_server import running_server, statuses
from worker.stores.redis.locks import Rate
from worker.web.api import callers as auth

pytestmark = [pytest.mark.sockets, pytest.mark.slow, pytest.mark.rest]

METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"G\xe9T")
TARGETS = (
    b"*",
    b"//evil.example/",
    b"http://evil.example/",
    b"evil.example:443",
    b"/%00",
    b"/%ff%fe",
    b"/../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/static/%2e%2e/app.py",
    b"/static/",
    b"/static//etc/passwd",
    b"/?" + b"a=b&" * 2000,
    b"/" + b"a/" * 4000,
    b"/?lang=%00",
    b"/?lang=\xc3\xa9",
    b"/#fragment",
    b"",
)
HEADERS = (
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 16384",
    b"Content-Length: -5",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip",
    b"Content-Type: application/x-www-form-urlencoded",
    b"Content-Type: application/json",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: multipart/form-data",
    b"Content-Type: \xff\xfe",
    b"Content-Type: application/x-www-form-urlencoded; charset=utf-7",
    b"Cookie: releve_session=" + b"a" * 3000,
    b"Cookie: releve_session=\xff; releve_connect==;;=",
    b"Authorization: Bearer \xff",
    b"Authorization: Basic !!!!",
    b"Authorization: Basic " + b"Og==" * 100,
    b"Authorization:",
    b"Accept-Language: \xff;q=x,,,;;fr-" + b"x" * 500,
    b"Accept: */*;q=nan",
    b"Range: bytes=0-,-1,5-2",
    b"If-Modified-Since: yesterday",
    b"If-None-Match: *",
    b"Last-Event-ID: \xff",
    b"Upgrade: websocket\r\nConnection: Upgrade",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings",
    b"Expect: 100-continue",
    b"Expect: everything",
    b"X-Forwarded-For: 1.2.3.4, \xff, ::1%lo",
    b"X-Forwarded-Proto: gopher",
    b"Host: b",
    b"X: " + b"a" * 20_000,
    b"Folded: a\r\n b",
    b"Bare: a\nInjected: b",
    b"No colon",
    b"Connection: close, keep-alive, \x01",
)
BODIES = (
    b"",
    b"a=b&c",
    b"5\r\na=b&c\r\n0\r\n\r\n",
    b"zz\r\n",
    b"--x\r\n\r\n--x--",
    b'{"a": ' + b"[" * 5000,
    b"\xff" * 16384,
)
BATCHES = 40  # Of forty requests each.


@pytest.fixture
def service(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiService]:
    monkeypatch.setattr(auth, "BAD_TOKENS", Rate("bad-token", calls=1_000_000))
    monkeypatch.setattr(auth, "ANONYMOUS_CALLS", Rate("stranger", calls=1_000_000))
    with open_api_service(redis_url, tmp_path, operator_password="correct horse battery staple") as built:
        yield built


def targets(service: ApiService) -> list[bytes]:
    paths = [route.path for route in iter_route_contexts(service.app.routes)]
    filled = [re.sub(r"\{supplier\}", "enedis", path) for path in paths]
    return [re.sub(r"\{[^}]*\}", "a1b2c3d4e5f6", path).encode() for path in filled] + list(TARGETS)


def draw(choose: random.Random, known: list[bytes]) -> bytes:
    version = choose.choices((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""), (20, 3, 1, 1, 1))[0]
    method = choose.choices(METHODS, (10, 10, *[1] * (len(METHODS) - 2)))[0]
    lines = [method + b" " + choose.choice(known) + b" " + version]
    lines += choose.choices((b"Host: testserver", b"Host: evil.example", b"X-No: host"), (8, 2, 1))
    lines += choose.sample(HEADERS, choose.choices((0, 1, 2, 3), (3, 4, 2, 1))[0])
    content = b"\r\n".join(lines) + b"\r\n\r\n" + choose.choice(BODIES)
    if choose.random() < 0.2:
        content = content[: choose.randrange(len(content) + 1)]
    if choose.random() < 0.1:
        place = choose.randrange(len(content) + 1)
        content = content[:place] + choose.randbytes(choose.randrange(1, 8)) + content[place:]
    return content


def test_broken_http_finds_no_failure_of_ours_and_leaves_nothing_open(
    service: ApiService, caplog: pytest.LogCaptureFixture
) -> None:
    choose, seen = random.Random(19), set()
    with running_server(service.app) as web, caplog.at_level(logging.WARNING):
        known = targets(service)
        for batch in range(BATCHES):
            if batch == 5:
                before = open_files(), resident_bytes()
            sent = [(content, web.send(content)) for content in (draw(choose, known) for _ in range(40))]
            for content, connection in sent:
                status = read_status(connection)
                assert status is None or status < 500, content[:300]
                seen.add(status)
            web.close_all()
        # Each of the web's forty threads may keep a connection of its own to Redis and to the registry.
        assert open_files() <= before[0] + 80
        assert resident_bytes() <= before[1] + 30 * 1024**2
        assert web.ask(b"GET / HTTP/1.0\r\n\r\n")[0] == [200]
    assert {None, 200, 400, 403, 404, 405} <= seen
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert not tracebacks, caplog.text[-3000:]


def read_status(connection: socket.socket) -> int | None:
    """Return the status of the first answer; None where there is none, as for half a request."""
    connection.settimeout(0.05)
    try:
        received = connection.recv(4096)
    except (TimeoutError, ConnectionResetError):
        return None
    return statuses(received)[0] if received else None


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
