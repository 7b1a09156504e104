"""The bounds of `releve web` over sockets: bodies and forms (N2), odd requests (L9), threads that wait (M4)."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fastapi.routing import iter_route_contexts

from tests.support.api_service import ApiService, ApiServices
from tests.support.canned_server import SILENT, canned_server
from tests.support.connect_service import ConnectServers, open_connect_service
from tests.support.proxy_stack import ProxyStack
from tests.support.web_server import RunningServer, running_server, statuses
from worker.accounts.proxy_grants import MOST_AT_ONCE
from worker.web.asgi import LONGEST_FORM
from worker.web.file_uploads import LARGEST_IMPORT, LARGEST_LIST, LARGEST_PRICES, LARGEST_UPLOAD, UPLOADS

pytestmark = pytest.mark.sockets

HOST = b"Host: testserver\r\n"
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def api_settings() -> dict[str, str]:
    return {"operator_password": "correct horse battery staple"}


@pytest.fixture
def service(kept_apis: ApiServices) -> ApiService:
    return kept_apis.new()


@pytest.fixture
def web(service: ApiService) -> Iterator[RunningServer]:
    with running_server(service.app) as running:
        yield running


def request(method: str, path: str, length: int, content_type: str = URLENCODED) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n"
    return head.encode() + HOST + b"\r\n"


def posts(service: ApiService) -> list[str]:
    """Return an address of each route that takes a form."""
    routes = [route for route in iter_route_contexts(service.app.routes) if "POST" in (route.methods or ())]
    paths = {re.sub(r"\{[^}]*\}", "enedis" if "supplier" in route.path else "a1b2", route.path) for route in routes}
    return sorted(path for path in paths if not path.startswith("/api/"))


# -- N2


def test_n2_a_gigabyte_told_is_refused_without_reading(service: ApiService, web: RunningServer) -> None:
    for path in ("/operator/login", "/connect/reading", "/proxy/enedis/token", "/api/accounts", "/nowhere"):
        connection = web.send(request("POST", path, 1_000_000_000))
        assert statuses(connection.recv(65536)) == [413], path
        web.tick()
        assert web.tick(6) == 0, "what still comes is waited for five seconds"
        web.ahead_s = 0


UPLOAD_PATHS = [
    "/accounts/a1b2/import",
    "/accounts/a1b2/prices",
    "/operator/campaigns",
    "/operator/rights/a1b2/proofs",
]


def test_n2_forms_are_urlencoded_and_short_in_every_route(service: ApiService, web: RunningServer) -> None:
    uploads = [path for path in posts(service) if any(route.fullmatch(path) for route in UPLOADS)]
    assert len(posts(service)) > 12 and uploads == UPLOAD_PATHS
    for path in posts(service):
        if path not in uploads:
            for length, content_type, status in (
                (LONGEST_FORM + 1, URLENCODED, 413),
                (100, MULTIPART, 415),
                (100, "Multipart/mixed", 415),
            ):
                with web.send(request("POST", path, length, content_type)) as connection:
                    assert statuses(connection.recv(65536)) == [status], (path, length, content_type)
    web.wait_for_count(0)


def test_n2_an_upload_is_read_for_nobody_who_is_not_logged_in(web: RunningServer) -> None:
    """The answer comes although not a byte of the body has come."""
    path = "/operator/rights/a1b2/proofs"
    with web.send(request("POST", path, LARGEST_UPLOAD, MULTIPART)) as connection:
        assert statuses(connection.recv(65536)) == [403]
    with web.send(request("POST", path, LARGEST_UPLOAD + 1, MULTIPART)) as connection:
        assert statuses(connection.recv(65536)) == [413]
    for path, largest, status in (
        ("/accounts/a1b2/import", LARGEST_IMPORT, 404),
        ("/api/accounts/a1b2/import", LARGEST_IMPORT, 401),
        ("/accounts/a1b2/prices", LARGEST_PRICES, 404),
        ("/operator/campaigns", LARGEST_LIST, 403),
    ):
        with web.send(request("POST", path, largest, MULTIPART)) as connection:
            assert statuses(connection.recv(65536)) == [status], path
        with web.send(request("POST", path, largest + 1, MULTIPART)) as connection:
            assert statuses(connection.recv(65536)) == [413], path


def test_a_person_who_leaves_in_the_middle_of_a_form_is_no_fault(
    service: ApiService, web: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    for path in posts(service):
        web.send(request("POST", path, 100) + b"csrf=").shutdown(socket.SHUT_RDWR)
    web.wait_for_count(0)
    assert not [record for record in caplog.records if record.exc_info], caplog.text


# -- L9


def test_l9_a_request_hidden_behind_a_body_of_two_lengths_is_not_answered(web: RunningServer) -> None:
    hidden = b"GET /static/page.css HTTP/1.1\r\n" + HOST + b"\r\n"
    for path in (b"/operator/login", b"/api/accounts", b"/"):
        head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        answers, received = web.ask(head + b"0\r\n\r\n" + hidden)
        assert answers == [400] and b"css" not in received


def test_a_body_in_pieces_is_refused_and_what_comes_behind_it_is_a_request(web: RunningServer) -> None:
    head = b"POST /operator/login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\na=b&c\r\n0\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    assert web.ask(head + last)[0] == [411, 404]


# -- M4


@pytest.mark.rest
def test_m4_forty_calls_that_hang_at_the_supplier_leave_the_pages_free(servers: ConnectServers, tmp_path: Path) -> None:
    """Each would take one of the forty threads of the web until its time is over."""
    with (
        canned_server(*[SILENT] * 100) as supplier,
        open_connect_service(servers, tmp_path, "enedis-v4", enedis_url=supplier.url.rstrip("/")) as service,
    ):
        stack = ProxyStack.register(service)
        form = {**stack.credentials, "grant_type": "refresh_token", "refresh_token": "any"}
        body = urlencode(form).encode()
        with running_server(service.app) as web:
            calls = [web.send(request("POST", "/proxy/enedis/token", len(body)) + body) for _ in range(40)]
            for page in ("/", "/operator", "/proxy/enedis/auth"):
                answers, _ = web.ask(f"GET {page} HTTP/1.0\r\nConnection: close\r\n\r\n".encode())
                assert len(answers) == 1 and answers[0] < 500, page
            refused = [call for call in calls if is_answered(call)]
            for call in refused:
                answer = call.recv(65536)
                assert statuses(answer) == [503] and b"retry-after: 5" in answer.lower()
            supplier.closed.set()  # The calls end.
    assert len(calls) - len(refused) == MOST_AT_ONCE


def is_answered(connection: socket.socket) -> bool:
    connection.settimeout(2)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
