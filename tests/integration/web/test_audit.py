"""The audit trail of pages and API: who did what to which account, with what outcome, refused tries too (L3)."""

from __future__ import annotations

import html
import logging
import re
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.routing import Mount

from tests.golden.test_outside_names import pretend_app
from tests.support.api_service import ApiService, ApiServices
from tests.support.cast import OPERATOR, OTHER_TENANT, Cast
from tests.support.connect_service import METER, ConnectService
from tests.support.operators import NAME, add_operator, browser_at, sign_in
from tests.support.parts import Parts
from tests.support.proxy_stack import ProxyStack
from tests.support.ways_back import enter_code, keep_code, press
from worker.domain.audit_entry import DONE, Actor, ActorKind, AuditAction, AuditEntry, AuditFilter, new_entry
from worker.domain.clock import real_clock
from worker.domain.sessions import Scope
from worker.errors import StoreUnavailable
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry.audit import AuditTable
from worker.web import request_audit as audit
from worker.web.api.callers import CSRF_HEADER
from worker.web.dependencies import SESSION_COOKIE, load_session
from worker.web.pages import operator_audit

NEW_METER = "30001640000099"


@pytest.fixture
def service(kept_apis: ApiServices) -> ApiService:
    return kept_apis.new()


def entries(parts: Parts) -> list[AuditEntry]:
    """Return the whole trail, the oldest entry first."""
    return list(reversed(parts.stores.registry.audit.page(AuditFilter(), 1000)))


def told(parts: Parts) -> list[tuple[str, str | None, str]]:
    """Return action, account and outcome of each entry."""
    return [(entry.action, entry.account_id, entry.outcome) for entry in entries(parts)]


def session_of(parts: Parts, browser: TestClient) -> str:
    return load_session(parts.access, browser.cookies[SESSION_COOKIE]).sid


# Every route


def test_every_route_that_changes_something_is_recorded_or_says_why_not(service: ApiService) -> None:
    unrecorded = {
        f"{method} {route.path}"
        for app in (service.app, pretend_app(is_home=True))
        for route in iter_route_contexts(app.routes)
        if not isinstance(route.original_route, Mount) and not isinstance(route.name, AuditAction)
        for method in route.methods or ()
        if method not in ("GET", "HEAD", "OPTIONS")
    }
    assert unrecorded == {
        "POST /connect/join",  # What it opens has entries of its own.
        "POST /connect/reading/outcome",
        "POST /connect/right/state",
        "POST /access/kept",  # It hides a code that its household has written down.
        "POST /access/later",  # It puts a notice off, and changes no access.
        # They only read, and a meter's number must not be in an address.
        "POST /api/accounts/search",
        "POST /accounts/{account_id}/download/enedis",
    }, "give the route an AuditAction as its name"


# The API


def test_l3_what_a_program_does_names_its_token(service: ApiService) -> None:
    parts, program = service.parts, service.client()
    (token,) = parts.stores.registry.api_tokens.list_tokens()
    account = program.post("/api/accounts", json={"usage_point": NEW_METER}).json()["account"]
    program.post(f"/api/accounts/{account}/pause")
    program.post(f"/api/accounts/{account}/resume")
    program.patch(f"/api/accounts/{account}/series", json={"series": {"max_power": "on"}})
    invitation = program.post("/api/invitations", json={"account": account}).json()["invitation"]
    program.delete(f"/api/invitations/{invitation}")
    program.post(f"/api/accounts/{account}/stop")
    program.delete(f"/api/accounts/{account}")
    assert told(parts) == [
        ("account.add", account, "ok"),
        ("account.pause", account, "ok"),
        ("account.resume", account, "ok"),
        ("account.series", account, "ok"),
        ("invitation.create", account, "ok"),
        ("invitation.revoke", None, "ok"),
        ("account.stop", account, "ok"),
        ("account.erase", account, "ok"),
    ]
    for entry in entries(parts):
        assert (entry.actor_kind, entry.actor, entry.tenant) == ("token", token.id, "default")
        assert entry.address == "testclient"
        assert entry.subject == (invitation if entry.action.startswith("invitation") else None)
    assert NEW_METER not in str(entries(parts))


def test_l3_a_refused_try_is_recorded_with_its_code(service: ApiService) -> None:
    parts, account = service.parts, service.add()
    reader, foreign = service.client(Scope.READ_ACCOUNTS), service.client(tenant=OTHER_TENANT)
    ids = [token.id for token in parts.stores.registry.api_tokens.list_tokens()]
    assert reader.delete(f"/api/accounts/{account}").status_code == 403
    assert foreign.delete(f"/api/accounts/{account}").status_code == 404
    assert service.stranger().delete(f"/api/accounts/{account}").status_code == 401
    bad = {"Authorization": f"Bearer releve_{ids[0]}_{'a' * 43}"}
    assert service.stranger().delete(f"/api/accounts/{account}", headers=bad).status_code == 401
    assert foreign.post("/api/accounts", json={"usage_point": "30001640000011"}).status_code == 409
    assert foreign.post(f"/api/accounts/{METER}/pause").status_code == 422
    assert [
        (entry.actor_kind, entry.actor, entry.tenant, entry.account_id, entry.outcome) for entry in entries(parts)
    ] == [
        ("token", ids[0], "default", account, "scope_needed"),
        # A program's tries stay with its own service, as if the account did not exist.
        ("token", ids[1], OTHER_TENANT, account, "unknown_account"),
        ("visitor", "", "default", account, "unauthorized"),
        # A token's id is no proof of who comes: a bad one names nobody.
        ("visitor", "", "default", account, "unauthorized"),
        ("token", ids[1], OTHER_TENANT, None, "METER_ELSEWHERE"),
        ("token", ids[1], OTHER_TENANT, None, "invalid_request"),
    ]


def test_l3_an_erasure_by_its_household_names_the_session(service: ApiService) -> None:
    parts = service.parts
    account, other = service.add(11), service.add(12)
    browser = service.browser(account, other)
    session = session_of(parts, browser)
    forged = TestClient(service.app, cookies=dict(browser.cookies))
    assert forged.post(f"/accounts/{account}/remove", data={"csrf": "x"}).status_code == 403
    assert service.stranger().post(f"/accounts/{account}/remove", data={"csrf": "x"}).status_code == 404
    csrf = browser.headers[CSRF_HEADER]
    browser.post(f"/accounts/{account}/remove", data={"csrf": csrf, "confirmed": "yes"})
    browser.delete(f"/api/accounts/{other}")
    found = [(entry.actor_kind, entry.actor, entry.account_id, entry.outcome) for entry in entries(parts)]
    assert found == [
        ("household", session, account, "csrf"),
        ("visitor", "", account, "unknown_account"),
        ("household", session, account, "ok"),
        ("household", session, other, "ok"),
    ]
    assert {entry.action for entry in entries(parts)} == {"account.erase"}
    assert {entry.tenant for entry in entries(parts)} == {"default"}


def test_l3_what_an_operator_does_names_the_operator(service: ApiService) -> None:
    parts, cast = service.parts, Cast(service, 21)
    browser = cast.client(OPERATOR)
    csrf = browser.headers[CSRF_HEADER]
    revoke = f"/operator/invitations/{cast.neighbours_invitation_id}/revoke"
    assert service.stranger().post(revoke, data={"csrf": csrf}).status_code == 403
    browser.post(revoke, data={"csrf": csrf})
    browser.post("/operator/invitations", data={"csrf": csrf, "whom": cast.home.id})
    browser.post("/operator/invitations", data={"csrf": csrf, "whom": "nobody"})
    browser.post("/operator/logout", data={"csrf": csrf})
    assert [(entry.actor_kind, entry.action, entry.account_id, entry.outcome) for entry in entries(parts)] == [
        ("visitor", "invitation.revoke", None, "csrf"),
        ("operator", "invitation.revoke", cast.neighbours_home.id, "ok"),
        ("operator", "invitation.create", cast.home.id, "ok"),
        ("operator", "invitation.create", None, "operator.invite.unknown"),
        ("operator", "session.end", None, "ok"),
    ]
    assert entries(parts)[1].tenant == OTHER_TENANT and entries(parts)[1].actor == NAME


def test_l3_a_wrong_password_is_recorded_as_nobodys(service: ApiService) -> None:
    operator, browser = add_operator(service.parts), browser_at(service.app)
    sign_in(browser, "wrong", operator.code(datetime.now(UTC)))
    sign_in(browser, operator.password, operator.code(datetime.now(UTC) + timedelta(seconds=30)))
    found = [(entry.actor_kind, entry.actor, entry.action, entry.outcome) for entry in entries(service.parts)]
    assert found == [("visitor", "", "session.open", "operator.wrong"), ("operator", NAME, "session.open", "ok")]


def test_l3_a_household_that_signs_in_by_its_code_and_ends_a_session_is_named(service: ApiService) -> None:
    old = service.browser(service.add())
    code, browser = keep_code(old), service.stranger()
    assert enter_code(browser, code).status_code == 303
    sid, other = (load_session(service.parts.access, one.cookies[SESSION_COOKIE]).sid for one in (browser, old))
    press(browser, "/access/sessions", f"/access/sessions/{other}/end")
    found = [(one.actor_kind, one.actor, one.action, one.subject, one.outcome) for one in entries(service.parts)]
    assert found[-2:] == [
        ("household", sid, "session.open", None, "ok"),
        ("household", sid, "session.end", other, "ok"),
    ]
    assert code not in str(entries(service.parts))


# Households that connect


def test_l3_a_callback_that_opens_an_account_names_the_new_session(v4: ConnectService) -> None:
    browser = v4.browser()
    assert v4.connect(browser).status_code == 303
    (account,) = v4.accounts()
    found = entries(v4.parts)
    assert [(entry.action, entry.account_id) for entry in found] == [
        ("session.open", None),
        ("consent.connect", account.id),
    ]
    assert {(entry.actor_kind, entry.actor) for entry in found} == {("household", v4.session(browser).sid)}
    browser.get(f"/accounts/{account.id}")  # Reading is not recorded.
    assert len(entries(v4.parts)) == 2


def test_l3_a_callback_that_anybody_types_leaves_no_entry(v4: ConnectService) -> None:
    v4.browser().get("/callback/enedis", params={"state": "s" * 43, "code": "x", "usage_point_id": METER})
    assert entries(v4.parts) == []


def test_l3_a_consent_for_a_client_names_the_invitation_that_it_needs(v2026: ConnectService) -> None:
    stack, browser, secret = ProxyStack.register(v2026), v2026.browser(), v2026.invite()
    assert stack.press(browser, stack.show(browser), secret).status_code == 303
    (invitation,) = v2026.parts.stores.registry.invitations.list_invitations()
    begun = [(entry.action, entry.subject, entry.outcome) for entry in entries(v2026.parts)]
    assert ("consent.begin", invitation.id, "ok") in begun


def test_l3_an_invitation_is_opened_by_a_visitor(v2026: ConnectService) -> None:
    browser = v2026.browser()
    assert v2026.connect(browser).status_code == 303
    (account,) = v2026.accounts()
    found = [(entry.actor_kind, entry.action, entry.account_id) for entry in entries(v2026.parts)]
    assert found == [
        ("visitor", "invitation.open", None),
        ("household", "session.open", None),
        ("household", "consent.connect", account.id),
    ]
    assert entries(v2026.parts)[0].tenant == "default"
    assert METER not in str(entries(v2026.parts))


# Bounds and failures


def test_refused_tries_do_not_fill_the_registry(service: ApiService) -> None:
    account = service.add()
    for _ in range(audit.TRIES.calls + 10):
        service.stranger().post(f"/accounts/{account}/remove")
    assert len(entries(service.parts)) == audit.TRIES.calls
    # A program that has been refused as often as that is still recorded where it does something.
    reader = service.client(Scope.READ_ACCOUNTS, Scope.WRITE_ACCOUNTS)
    for _ in range(audit.TRIES.calls + 10):
        reader.delete(f"/api/accounts/{account}")
    assert len(entries(service.parts)) == 2 * audit.TRIES.calls
    assert reader.post(f"/api/accounts/{account}/pause").status_code == 200
    assert told(service.parts)[-1] == ("account.pause", account, "ok")


def test_refused_visitors_of_many_addresses_are_bounded_together(
    service: ApiService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "REFUSED_VISITORS", Rate("audit-visitors", calls=3))
    account = service.add()
    for number in range(6):
        visitor = TestClient(service.app, client=(f"192.0.2.{number}", 4711))
        visitor.delete(f"/api/accounts/{account}")
    assert [entry.address for entry in entries(service.parts)] == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]


def test_without_redis_what_is_done_is_recorded_and_of_refused_tries_so_many_of_a_process(
    service: ApiService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("Redis is away")

    monkeypatch.setattr(RateLimiter, "count_call", away)
    monkeypatch.setattr(audit, "_WITHOUT_REDIS", deque(maxlen=3))
    begin = real_clock()
    tries = [
        (0, "first", "unavailable"),
        (1, "second", "unavailable"),
        (2, "third", "unavailable"),
        (3, "one too many", "unavailable"),
        (4, "", DONE),
        (audit.TRIES.window_s - 1, "still within the hour of the first", "unavailable"),
        (audit.TRIES.window_s, "an hour after the first", "unavailable"),
    ]
    for after_s, actor, outcome in tries:
        at = begin + timedelta(seconds=after_s)
        entry = new_entry(at, Actor(ActorKind.VISITOR, actor), AuditAction.INVITATION_OPEN, outcome)
        audit._write(service.parts.stores, [entry])
    assert [(entry.actor, entry.outcome) for entry in entries(service.parts)] == [
        ("first", "unavailable"),
        ("second", "unavailable"),
        ("third", "unavailable"),
        ("", DONE),
        ("an hour after the first", "unavailable"),
    ]


def test_an_entry_that_can_not_be_written_is_in_the_log(
    service: ApiService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("the registry is away")

    monkeypatch.setattr(AuditTable, "append", away)
    account = service.add()
    with caplog.at_level(logging.ERROR, "releve.audit"):
        assert service.client().post(f"/api/accounts/{account}/pause").status_code == 200
    (record,) = caplog.records
    assert record.message == "audit entry not written"
    assert record.fields["action"] == "account.pause" and record.fields["account_id"] == account  # type: ignore[attr-defined]
    assert METER not in caplog.text


# Who reads the trail


def test_l3_a_program_reads_the_trail_of_its_own_service_page_by_page(service: ApiService) -> None:
    ours, theirs = service.add(11), service.add(12, OTHER_TENANT)
    program, foreign = service.client(), service.client(tenant=OTHER_TENANT)
    for _ in range(2):
        program.post(f"/api/accounts/{ours}/pause")
        program.post(f"/api/accounts/{ours}/resume")
    foreign.post(f"/api/accounts/{theirs}/pause")
    foreign.delete(f"/api/accounts/{ours}")
    browser = service.browser(theirs)
    browser.post(f"/accounts/{theirs}/stop", data={"csrf": browser.headers[CSRF_HEADER]})
    reader = service.client(Scope.READ_AUDIT)
    found, path = [], "/api/audit?action=account.pause&limit=1"
    while path:
        page = reader.get(path).json()
        found += page["entries"]
        path = page["next"]
    assert [(entry["action"], entry["account"]) for entry in found] == [("account.pause", ours)] * 2
    assert found[0]["at"] > found[1]["at"]
    assert len(reader.get("/api/audit").json()["entries"]) == 4
    assert theirs not in reader.get("/api/audit").text
    told = foreign.get("/api/audit").json()["entries"]
    assert [(entry["actor_kind"], entry["action"], entry["account"], entry["outcome"]) for entry in told] == [
        ("household", "account.stop", theirs, "ok"),
        ("token", "account.erase", ours, "unknown_account"),
        ("token", "account.pause", theirs, "ok"),
    ]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("actor=token", 2),
        ("actor=nobody", 0),
        ("since=2026-01-01", 2),
        ("until=2026-01-01", 0),
        ("since=0001-01-01&until=9999-12-31", 2),
        ("account=a1", 0),
    ],
)
def test_the_api_filters_the_trail(service: ApiService, query: str, number: int) -> None:
    account, program = service.add(), service.client()
    program.post(f"/api/accounts/{account}/pause")
    program.post(f"/api/accounts/{account}/resume")
    assert len(program.get(f"/api/audit?{query}").json()["entries"]) == number


def test_an_operator_reads_the_trail_with_filters_and_pages(service: ApiService) -> None:
    cast = Cast(service, 31)
    browser = cast.client(OPERATOR)
    program = service.client()
    browser.post("/operator/invitations", data={"csrf": browser.headers[CSRF_HEADER], "whom": cast.home.id})
    for _ in range(operator_audit.ENTRIES_A_PAGE // 2):
        program.post(f"/api/accounts/{cast.home.id}/pause")
        program.post(f"/api/accounts/{cast.home.id}/resume")
    first = browser.get("/operator/audit")
    assert (first.status_code, first.text.count('<th scope="row">')) == (200, operator_audit.ENTRIES_A_PAGE)
    assert "Older" in first.text and "Newest" not in first.text
    link = re.search(r'href="(/operator/audit\?[^"]*before=[^"]*)"', first.text)
    assert link is not None
    older = browser.get(html.unescape(link[1]))
    assert "invitation.create</code></td>" in older.text and "Newest" in older.text
    one = browser.get("/operator/audit", params={"action": "account.pause", "account": cast.home.id, "actor": "token"})
    assert one.text.count('<th scope="row">') == operator_audit.ENTRIES_A_PAGE // 2
    for query in ({"account": cast.other_home.id}, {"actor": "x\x00"}, {"until": "2026-01-01"}):
        assert "No entry matches" in browser.get("/operator/audit", params=query).text
    odd = {"action": "fly", "since": "yesterday", "until": "9999-12-31", "before": "zzz\x00", "actor": ""}
    assert browser.get("/operator/audit", params=odd).status_code == 200
    french = browser.get("/operator/audit?lang=fr").text
    assert "Journal d’audit" in french and "programme" in french


def test_the_trail_is_for_operators_alone(service: ApiService) -> None:
    browser = service.browser(service.add())
    answer = browser.get("/operator/audit", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/operator")
