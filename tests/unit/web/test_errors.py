"""Error pages: a failure is a page in the reader's language, with all headers and without inner words."""

from __future__ import annotations

import ast

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH
from tests.support.pages import ROOT
from worker.errors import MeterElsewhere, RateLimited, StoreUnavailable
from worker.texts import load_texts
from worker.web import error_pages


def test_every_code_that_the_api_answers_has_a_title() -> None:
    folder = ROOT / "worker" / "web"
    files = [file for file in folder.rglob("*.py") if file.name != "oauth_proxy.py"]
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    named = [call.args[1] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "HttpRefusal"]
    codes = {node.value for node in named if isinstance(node, ast.Constant)} | {MeterElsewhere.code, "refused"}
    codes |= set(error_pages._HTTP_CODES.values())
    assert codes == {key.removeprefix("problem.") for key in load_texts() if key.startswith("problem.")}


def test_an_unknown_page_is_a_page(service: ApiService) -> None:
    page = service.stranger().get("/nowhere", headers=FRENCH)
    assert page.status_code == 404 and "Page introuvable" in page.text
    assert service.stranger().put("/").status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/", "HEAD, GET"),
        ("PUT", "/accounts/abc/import", "HEAD, GET, POST"),
        ("PUT", "/api/accounts", "GET, POST"),
        ("POST", "/api/accounts/abc", "GET, DELETE"),
        ("GET", "/access/code", "POST"),
        ("HEAD", "/callback/enedis", "GET"),
        ("DELETE", "/static/page.css", "HEAD, GET"),
    ],
)
def test_a_refused_method_names_all_methods_of_the_path(
    service: ApiService, method: str, path: str, allowed: str
) -> None:
    refused = service.stranger().request(method, path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


def test_head_is_answered_as_get_is_without_a_body(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    for path in ("/", f"/accounts/{account}", "/sign-in", "/nowhere"):
        head, get = browser.head(path), browser.get(path)
        assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
        assert head.content == b""


@pytest.mark.parametrize("path", ["/sign-in/", "/accounts/abc/", "/operator/link/?a=1"])
def test_s7_no_redirect_leads_to_a_host_that_a_request_names(service: ApiService, path: str) -> None:
    answer = service.stranger().get(path, headers={"Host": "evil.example"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, path.replace("/?", "?").rstrip("/"))


def test_a_store_that_does_not_answer_is_a_page_and_no_traceback(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("redis://secret-host:6379 is down")

    monkeypatch.setattr(type(service.parts.stores.measures), "read", broken)
    page = service.browser(account).get(f"/accounts/{account}", headers=FRENCH)
    assert page.status_code == 503 and int(page.headers["retry-after"]) > 0
    assert "Un instant" in page.text and "secret-host" not in page.text


def test_our_own_pacing_is_a_page_of_its_own(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paced(*_: object, **__: object) -> None:
        raise RateLimited("rate limit of enedis-2026 in time", retry_after_s=3290)

    monkeypatch.setattr(type(service.parts.stores.measures), "read", paced)
    page = service.browser(account).get(f"/accounts/{account}", headers=FRENCH)
    assert (page.status_code, page.headers["retry-after"]) == (503, "3290")
    assert "Trop de demandes" in page.text and "ne répond pas" not in page.text
    answer = service.client().get(f"/api/accounts/{account}/measures?by=day")
    assert (answer.status_code, answer.json()["error"]) == (503, "rate_limited")


def test_a_bug_of_ours_is_a_page_with_all_headers(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(type(service.parts.stores.measures), "read", broken)
    browser = TestClient(service.app, raise_server_exceptions=False, cookies=service.browser(account).cookies)
    page = browser.get(f"/accounts/{account}", headers=FRENCH)
    assert page.status_code == 500 and "Une erreur est survenue" in page.text and "inner words" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
