"""A download that fails on its way is seen to fail (D5): no part of a file looks like the whole."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.support.api_service import TODAY, ApiService, ApiServices, sign_in
from tests.support.waiting import DEADLINE_S
from tests.support.web_server import RunningServer, running_server
from worker.domain.sessions import KeyKind, Scope
from worker.errors import StoreUnavailable
from worker.runtime.consent_parts import erase
from worker.stores.registry.households import find_households
from worker.web.dependencies import SESSION_COOKIE
from worker.web.pages import everything

pytestmark = pytest.mark.sockets

FILES = ["download/file?format=json", "download/file?format=csv", "download/file?columns=fields", "everything"]
Interruption = Callable[[ApiService, str], None]


@pytest.fixture
def service(kept_apis: ApiServices, monkeypatch: pytest.MonkeyPatch) -> ApiService:
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 100)
    return kept_apis.new()


@pytest.fixture
def account(service: ApiService) -> str:
    account_id = service.add()
    service.store_days(account_id, TODAY - timedelta(days=350), [1000] * 350)
    return account_id


@pytest.fixture
def web(service: ApiService) -> Iterator[RunningServer]:
    with running_server(service.app) as running:
        yield running


def fetch(web: RunningServer, path: str, headers: dict[str, str]) -> bytes:
    """Return the body. Raises IncompleteRead where the connection ended before it."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Transfer-Encoding"]) == (200, "chunked")
        return answer.read()
    finally:
        connection.close()


def end_all_sessions(service: ApiService, account: str) -> None:
    with service.parts.stores.registry.database.writing() as connection:
        households = find_households(connection, account)
    service.parts.access.keys.end_of(households, [KeyKind.HOUSEHOLD_SESSION])


def erase_meanwhile(service: ApiService, account: str) -> None:
    erase(service.parts.stores, account)


def close_the_store(service: ApiService, account: str) -> None:
    raise StoreUnavailable("db.internal does not serve")


def interrupt_second_page(
    service: ApiService, account: str, interruption: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, pages = service.parts.stores.measures.read, []

    def read_once(*args: Any, **limits: Any) -> Any:
        pages.append(args)
        if len(pages) == 2:
            interruption(service, account)
        return read(*args, **limits)

    monkeypatch.setattr(service.parts.stores.measures, "read", read_once)


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("interruption", [end_all_sessions, erase_meanwhile, close_the_store])
def test_d5_a_file_that_ends_in_the_middle_is_cut_and_one_line_says_why(
    service: ApiService,
    web: RunningServer,
    account: str,
    path: str,
    interruption: Interruption,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cookie, _ = sign_in(service.parts, account)
    headers = {"Cookie": f"{SESSION_COOKIE}={cookie}"}
    # The members of a ZIP file have the time of the download.
    write_zip, now = everything.write_zip, service.parts.stores.now()
    monkeypatch.setattr(everything, "write_zip", lambda members, _: write_zip(members, now))
    whole = fetch(web, f"/accounts/{account}/{path}", headers)
    interrupt_second_page(service, account, interruption, monkeypatch)
    with caplog.at_level(logging.WARNING), pytest.raises(http.client.IncompleteRead) as cut:
        fetch(web, f"/accounts/{account}/{path}", headers)
    assert whole.startswith(cut.value.partial) and len(cut.value.partial) < len(whole)
    web.wait_for_count(0)
    assert [record.message for record in caplog.records] == ["download aborted"]
    assert "Traceback" not in caplog.text


def test_d5_a_program_whose_token_is_revoked_gets_no_whole_file(
    service: ApiService, web: RunningServer, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = service.token(Scope.READ_MEASURES)

    def revoke(service: ApiService, _: str) -> None:
        service.parts.stores.registry.api_tokens.revoke(service.parts.stores.registry.api_tokens.list_tokens()[0].id)

    interrupt_second_page(service, account, revoke, monkeypatch)
    with pytest.raises(http.client.IncompleteRead):
        fetch(web, f"/api/accounts/{account}/measures?format=csv", {"Authorization": f"Bearer {token}"})
