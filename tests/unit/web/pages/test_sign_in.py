"""Sign-in of operators: password and code, limits that lock out nobody, links, the end of sessions (L4, M5, M6)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.api_service import ApiService
from tests.support.household_pages import csrf_of
from tests.support.operators import (
    ELSEWHERE,
    NAME,
    PASSWORD,
    TestOperator,
    add_operator,
    browser_at,
    is_in,
    set_clock,
    sign_in,
    signed_in,
)
from tests.support.passwords import set_hasher
from worker.cli.access import new_operator_link
from worker.domain.audit_entry import AuditAction, AuditFilter
from worker.domain.clock import real_clock
from worker.domain.sessions import KeyKind, Role
from worker.stores.registry import access_keys as operator_table
from worker.web.dependencies import OPERATOR_COOKIE, Visit
from worker.web.pages.operator_access import refuse_try

LOOPBACK = "127.0.0.1"
NEW_PASSWORD = "girafe lundi moquette 7"
THIRTY_SECONDS = timedelta(seconds=30)


@dataclass
class Door:
    """A service with an operator, at a time that stands still until it is moved."""

    service: ApiService
    operator: TestOperator
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __post_init__(self) -> None:
        set_clock(self.service.parts, lambda: self.now)

    def browser(self, address: str = ELSEWHERE) -> TestClient:
        return browser_at(self.service.app, address)

    def code(self) -> str:
        """Return a code that was not used yet."""
        self.now += THIRTY_SECONDS
        return self.operator.code(self.now)

    def let_in(self, address: str = ELSEWHERE) -> TestClient:
        browser = self.browser(address)
        assert sign_in(browser, PASSWORD, self.code()).status_code == 303
        assert is_in(browser)
        return browser

    def link(self) -> str:
        parts = self.service.parts
        operator = parts.access.operators.find(self.operator.name)
        return new_operator_link(parts.access, operator, parts.stores.settings.public_url)


@pytest.fixture
def door(service: ApiService) -> Door:
    return Door(service, add_operator(service.parts))


def hashings(patch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each password that is hashed to be compared."""
    calls: list[str] = []
    matches = operator_table._matches
    patch.setattr(operator_table, "_matches", lambda *words: calls.append("one") or matches(*words))
    return calls


# Who gets in


def test_without_an_operator_the_page_is_closed_and_says_which_command_makes_the_first(service: ApiService) -> None:
    page = browser_at(service.app).get("/operator")
    assert page.status_code == 404 and "releve access add-operator NAME" in page.text


def test_name_password_and_code_let_in_and_none_of_them_alone(door: Door) -> None:
    wrong = [("bob", PASSWORD, door.code()), (NAME, NEW_PASSWORD, door.code()), (NAME, PASSWORD, "000000")]
    pages = []
    for name, password, code in wrong:
        browser = door.browser()
        refused = sign_in(browser, password, code, name)
        assert refused.status_code == 403 and not is_in(browser)
        pages.append(re.sub(r'value="[^"]*"', "", refused.text))
    assert len({page.replace(" autofocus", "") for page in pages}) == 1, "the same answer, whatever was wrong"
    assert "Wrong name" in unescape(pages[0])
    door.let_in()


def test_a_code_works_once(door: Door) -> None:
    code = door.code()
    assert sign_in(door.browser(), PASSWORD, code).status_code == 303
    assert sign_in(door.browser(), PASSWORD, code).status_code == 403
    assert sign_in(door.browser(), PASSWORD, door.code()).status_code == 303


def test_a_right_code_beside_a_wrong_password_is_not_used_up_and_looks_like_a_wrong_one(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, calls = door.code(), hashings(monkeypatch)
    refused = sign_in(door.browser("192.0.2.1"), "a guess at it", code)
    assert len(calls) == 1
    wrong = sign_in(door.browser("192.0.2.2"), "a guess at it", "000000")
    assert len(calls) == 2, "the time does not tell either"
    assert (refused.status_code, unescape(refused.text).count("Wrong name, password or code")) == (403, 1)
    assert (wrong.status_code, unescape(wrong.text).count("Wrong name, password or code")) == (403, 1)
    assert sign_in(door.browser(), PASSWORD, code).status_code == 303


def test_on_loopback_the_password_is_enough_and_elsewhere_a_second_factor_is_needed(door: Door) -> None:
    add_operator(door.service.parts, "bob", second_factor=False)
    here, elsewhere = door.browser(LOOPBACK), door.browser()
    assert 'name="code"' not in here.get("/operator").text
    assert sign_in(here, PASSWORD, name="bob").status_code == 303
    page = elsewhere.get("/operator").text
    assert 'name="code"' in page and "you can sign in only on the machine that runs this service" in page
    for code in ("", "000000"):
        refused = sign_in(elsewhere, PASSWORD, code, name="bob")
        assert (
            refused.status_code == 403 and "you can sign in only on the machine that runs this service" in refused.text
        )


@pytest.mark.parametrize("host", ["evil.example", "releve.example.org"])
def test_another_name_of_this_machine_is_not_loopback(door: Door, host: str) -> None:
    browser = TestClient(door.service.app, f"http://{host}", client=(LOOPBACK, 50_000))
    assert 'name="code"' in browser.get("/operator").text


def test_a_form_of_another_site_is_not_looked_at(door: Door) -> None:
    browser = door.browser()
    browser.get("/operator")
    form = {"name": NAME, "password": PASSWORD, "code": door.code()}
    assert browser.post("/operator/login", data=form).status_code == 403
    assert not is_in(browser)


def test_odd_words_are_wrong_words(door: Door) -> None:
    for name, code in (("\0", "1"), ("x" * 5000, "é" * 6), ("", ""), (NAME, "١٢٣٤٥٦")):
        assert sign_in(door.browser(), PASSWORD, code, name).status_code in (403, 429)


# Limits (M6 a)


def test_m6_guesses_from_ten_addresses_lock_nobody_out(door: Door) -> None:
    for number in range(10):
        guesser = door.browser(f"203.0.113.{number}")
        form = {"csrf": csrf_of(guesser.get("/operator").text), "name": NAME, "code": "000000"}
        tries = [guesser.post("/operator/login", data={**form, "password": f"guess {rank}"}) for rank in range(7)]
        statuses = [answer.status_code for answer in tries]
        assert statuses == [403] * 5 + [429] * 2
    door.let_in("192.0.2.1")
    assert int(sign_in(door.browser("203.0.113.1"), "guess", "000000").headers["Retry-After"]) > 0
    wait(door, "operator-login-late")
    door.let_in("203.0.113.1")  # From the guesser's own address too.


def wait(door: Door, limit: str) -> None:
    """Let the time of a limit's window go by."""
    redis = door.service.parts.stores.redis
    assert all(redis.delete(key) for key in list(redis.scan_iter(f"releve:limit:{limit}:*")))


@pytest.mark.parametrize("address", [LOOPBACK, ELSEWHERE])
@pytest.mark.parametrize("name", [NAME, "nobody"])
def test_m6_one_late_try_in_ten_seconds_is_looked_at(
    door: Door, monkeypatch: pytest.MonkeyPatch, address: str, name: str
) -> None:
    statuses = [sign_in(door.browser(address), f"guess {rank}", "0", name).status_code for rank in range(5)]
    calls = hashings(monkeypatch)
    statuses += [sign_in(door.browser(address), f"late guess {rank}", "0", name).status_code for rank in range(4)]
    assert statuses == [403] * 5 + [429] * 4 and len(calls) == 1
    late = sign_in(door.browser(address), PASSWORD, door.code(), name)
    assert late.status_code == 429 and 0 < int(late.headers["Retry-After"]) <= 10
    wait(door, "operator-login-late")
    assert sign_in(door.browser(address), PASSWORD, door.code(), name).status_code == (303 if name == NAME else 429)


# Codes beside a right password (S2)


def guess_codes(door: Door, number: int, password: str = PASSWORD) -> list[int]:
    """Try wrong codes, each from an address of its own."""
    addresses = [f"203.0.113.{rank + 1}" for rank in range(number)]
    return [sign_in(door.browser(address), password, "000000").status_code for address in addresses]


def test_s2_beyond_twenty_codes_with_the_right_password_one_a_step_is_looked_at(door: Door) -> None:
    assert guess_codes(door, 20) == [403] * 20
    assert guess_codes(door, 3) == [403, 429, 429]
    late = sign_in(door.browser(), PASSWORD, door.code())
    assert late.status_code == 429 and 0 < int(late.headers["Retry-After"]) <= 30
    assert "releve access link" in late.text
    wait(door, "operator-codes-late")
    door.let_in()


def test_s2_codes_with_a_wrong_password_slow_no_operator(door: Door) -> None:
    assert guess_codes(door, 40, "a guess at it") == [403] * 40
    door.let_in()


def test_s2_a_link_lets_in_an_operator_whose_sign_in_is_slow(door: Door) -> None:
    guess_codes(door, 22)
    assert use_link(door.browser(), door.link(), door.code()) == 303


def test_s2_a_stolen_link_is_worth_twenty_codes_and_one_a_step(door: Door) -> None:
    link = door.link()
    browsers = [door.browser(f"203.0.113.{rank + 1}") for rank in range(22)]
    assert [use_link(browser, link, "000000") for browser in browsers] == [403] * 21 + [429]
    assert use_link(door.browser(), link, door.code()) == 429, "a right one isn't looked at either"
    assert use_link(door.browser(), door.link(), door.code()) == 303, "a new link has its own"


def test_s2_the_second_check_before_an_erasure_takes_no_more_guesses(door: Door) -> None:
    account_id, browser = door.service.add(11), door.let_in()
    copies = [copy_of(browser, f"203.0.113.{rank + 1}") for rank in range(22)]

    def erase(copy: TestClient, code: str) -> int:
        form = {"csrf": csrf_of(copy.get("/operator").text), "sure": "yes", "password": PASSWORD, "code": code}
        return copy.post(f"/operator/accounts/{account_id}/erase", data=form).status_code

    assert [erase(copy, "000000") for copy in copies] == [403] * 21 + [429]
    assert erase(browser, door.code()) == 429
    assert door.let_in(), "the sign-in isn't slowed by a session"
    wait(door, "operator-codes-late")
    assert erase(browser, door.code()) == 200


def test_s2_the_audit_trail_names_the_operator_whose_codes_are_guessed(door: Door) -> None:
    guess_codes(door, 23)
    told = door.service.parts.stores.registry.audit.page(AuditFilter(actor=NAME), 100)
    assert {(entry.action, entry.outcome) for entry in told} == {(AuditAction.SESSION_OPEN, "operator.codes")}
    assert len(told) == 3
    assert (
        door.service.parts.stores.registry.audit.count_since(datetime.now(UTC) - timedelta(hours=1), "operator.codes")
        == 3
    )


def test_tries_that_wait_for_a_password_check_take_no_more_than_their_places(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_table, "_CHECKS_WAITING", threading.BoundedSemaphore(1))
    operator_table._CHECKS_WAITING.acquire()
    assert sign_in(door.browser(), PASSWORD, door.code()).status_code == 503
    operator_table._CHECKS_WAITING.release()
    door.let_in()


def test_m6_two_passwords_are_hashed_at_once_and_no_more(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, two_run = set[int](), [0], threading.Event()

    class Hasher:
        def verify(self, *_: str) -> bool:
            running.add(threading.get_ident())
            most[0] = max(most[0], len(running))
            if len(running) == 2:
                two_run.set()
            two_run.wait(10)
            running.discard(threading.get_ident())
            return False

    set_hasher(monkeypatch, Hasher())
    monkeypatch.setattr(operator_table, "_nobodys_hash", lambda: "")
    check = door.service.parts.access.operators.check
    threads = [threading.Thread(target=check, args=("nobody", "x")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [2]


def test_one_address_makes_redis_keep_a_bounded_number_of_counts(door: Door) -> None:
    path = {"path": "/operator/login", "query_string": b""}
    scope = {"type": "http", "client": (ELSEWHERE, 50_000), "headers": [(b"host", b"testserver")], **path}
    visit = Visit(Request({**scope, "app": door.service.app}))
    for rank in range(300):
        assert refuse_try(visit, f"name{rank}").status in (403, 429)
    assert len(list(door.service.parts.stores.redis.scan_iter("releve:limit:operator-login:*"))) == 16


# Sessions (M5)


def copy_of(browser: TestClient, address: str = ELSEWHERE) -> TestClient:
    """Return another browser with the same cookies."""
    copy = TestClient(browser.app, client=(address, 50_001), headers={"Accept-Language": "en"})
    for cookie in browser.cookies.jar:
        copy.cookies.set(cookie.name, cookie.value or "")
    assert is_in(copy)
    return copy


def log_out(door: Door, browser: TestClient) -> None:
    browser.post("/operator/logout", data={"csrf": csrf_of(browser.get("/operator").text)})


def change_password(door: Door, browser: TestClient) -> None:
    form = {"csrf": csrf_of(browser.get("/operator").text), "password": PASSWORD, "code": door.code()}
    answer = browser.post("/operator/password", data={**form, "new": NEW_PASSWORD, "again": NEW_PASSWORD})
    assert answer.status_code == 200 and is_in(browser), "this browser goes on with a new session"


def change_password_by_hand(door: Door, browser: TestClient) -> None:
    door.service.parts.access.operators.set_password(door.operator.id, NEW_PASSWORD)


def end_operator(door: Door, browser: TestClient) -> None:
    door.service.parts.access.operators.end(door.operator.id)


def end_others(door: Door, browser: TestClient) -> None:
    other = door.let_in()
    page = other.get("/operator/access").text
    assert page.count("since") >= 2
    other.post("/operator/sessions/end-others", data={"csrf": csrf_of(page)})
    assert is_in(other)


def leave_idle(door: Door, browser: TestClient) -> None:
    door.now += timedelta(minutes=30)


def come_until_the_longest_life(door: Door, browser: TestClient) -> None:
    begun = door.now
    while door.now < begun + timedelta(hours=12) - timedelta(minutes=29):
        door.now += timedelta(minutes=29)
        assert is_in(browser), f"visits keep it, {door.now - begun} later"
    door.now = begun + timedelta(hours=12)


WAYS: list[Callable[[Door, TestClient], None]] = [
    log_out,
    change_password,
    change_password_by_hand,
    end_operator,
    end_others,
    leave_idle,
    come_until_the_longest_life,
]


@pytest.mark.parametrize("end", WAYS, ids=lambda way: way.__name__)
def test_m5_a_copied_cookie_is_refused_at_the_next_request(door: Door, end: Callable[[Door, TestClient], None]) -> None:
    add_operator(door.service.parts, "bob")  # The page stays open, whoever ends.
    browser = door.let_in()
    copy = copy_of(browser)
    csrf = csrf_of(copy.get("/operator").text)
    end(door, browser)
    assert not is_in(copy)
    assert copy.post("/operator/invitations", data={"csrf": csrf, "whom": "30001640000022"}).status_code == 403
    assert door.service.parts.stores.registry.invitations.list_invitations() == []


def test_m5_a_new_sign_in_in_the_same_browser_ends_the_session_before(door: Door) -> None:
    browser = door.let_in()
    copy = copy_of(browser)
    fresh = door.browser()
    csrf = csrf_of(fresh.get("/operator").text)
    fresh.cookies.set(OPERATOR_COOKIE, browser.cookies[OPERATOR_COOKIE])
    form = {"csrf": csrf, "name": NAME, "password": PASSWORD, "code": door.code()}
    assert fresh.post("/operator/login", data=form, follow_redirects=False).status_code == 303
    assert not is_in(copy)


def test_m5_lost_rows_let_nobody_in(door: Door) -> None:
    browser = door.let_in()
    with door.service.parts.stores.registry.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM access_keys")
    assert not is_in(browser)


def test_the_cookie_is_of_the_session_alone(door: Door) -> None:
    entered = sign_in(door.browser(), PASSWORD, door.code())
    cookie = next(line for line in entered.headers.get_list("set-cookie") if line.startswith(OPERATOR_COOKIE))
    assert "HttpOnly" in cookie and "Path=/" in cookie and "samesite=lax" in cookie.lower()
    assert "Max-Age=43200" in cookie


def test_a_households_session_is_no_operators(door: Door) -> None:
    browser = door.service.browser(door.service.add(11))
    browser.cookies.set(OPERATOR_COOKIE, browser.cookies["releve_session"])
    assert not is_in(browser)


def test_logging_out_needs_our_form(door: Door) -> None:
    browser = door.let_in()
    assert browser.post("/operator/logout").status_code == 403
    assert is_in(browser)


# Links


def use_link(browser: TestClient, link: str, code: str = "") -> int:
    csrf = csrf_of(browser.get("/operator/link").text)
    form = {"csrf": csrf, "link": link, "code": code}
    return browser.post("/operator/link", data=form, follow_redirects=False).status_code


def test_a_link_lets_in_once_on_loopback(door: Door) -> None:
    link, browser = door.link(), door.browser(LOOPBACK)
    assert link.startswith(f"{door.service.parts.stores.settings.public_url}/operator/link#operator_link_")
    assert browser.get(link).status_code == 200 and not is_in(browser), "loading the page uses nothing up"
    assert use_link(browser, link) == 303 and is_in(browser)
    assert use_link(door.browser(LOOPBACK), link) == 404


def test_elsewhere_a_link_asks_for_the_code_and_a_wrong_one_leaves_it(door: Door) -> None:
    link, browser = door.link(), door.browser()
    assert use_link(browser, link) == 403
    assert use_link(browser, link, "000000") == 403
    assert use_link(browser, link, door.code()) == 303 and is_in(browser)


def test_an_operator_without_a_second_factor_has_no_use_of_a_link_elsewhere(door: Door) -> None:
    access = door.service.parts.access
    link = new_operator_link(access, access.operators.add("demo"), "http://127.0.0.1:8000")
    assert use_link(door.browser(), link, "000000") == 403
    assert use_link(door.browser(LOOPBACK), link) == 303


def test_a_link_ends_by_time_by_a_newer_one_and_with_its_operator(door: Door) -> None:
    first, second = door.link(), door.link()
    assert use_link(door.browser(LOOPBACK), first) == 404
    door.now += timedelta(minutes=15)
    assert use_link(door.browser(LOOPBACK), second) == 404
    third = door.link()
    add_operator(door.service.parts, "bob")
    door.service.parts.access.operators.end(door.operator.id)
    assert use_link(door.browser(LOOPBACK), third) == 404
    assert use_link(door.browser(LOOPBACK), "operator_link_nonsense") == 404


def test_a_link_without_our_form_is_not_used_up(door: Door) -> None:
    link = door.link()
    assert door.browser(LOOPBACK).post("/operator/link", data={"link": link}).status_code == 403
    assert use_link(door.browser(LOOPBACK), link) == 303


# Asked again


def test_an_account_is_erased_after_password_and_code_alone(door: Door) -> None:
    parts = door.service.parts
    account_id, browser = door.service.add(11), door.let_in()

    def erase(password: str, code: str, **changes: str) -> Response:
        form = {"csrf": csrf_of(browser.get("/operator").text), "sure": "yes", "password": password, "code": code}
        return browser.post(f"/operator/accounts/{account_id}/erase", data=form | changes)

    assert erase(PASSWORD, door.code(), csrf="x").status_code == 403
    assert erase("wrong one, it is", door.code()).status_code == 403
    assert erase(PASSWORD, "000000").status_code == 403
    unsure = erase(PASSWORD, door.code(), sure="")
    assert unsure.status_code == 422 and "Tick the box to confirm" in unsure.text
    assert parts.stores.registry.accounts.get(account_id).state != "deleted"
    page = erase(PASSWORD, door.code())
    assert page.status_code == 200 and "The account is erased" in page.text and account_id in page.text
    assert parts.stores.registry.accounts.get(account_id).state == "deleted"
    assert erase(PASSWORD, door.code()).status_code == 404


def test_an_hour_after_the_sign_in_an_invitation_asks_again(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, later = door.let_in(), door.now + timedelta(minutes=61)
    door.now += timedelta(minutes=29)
    assert is_in(browser)
    door.now += timedelta(minutes=29)
    assert is_in(browser)
    door.now = later
    monkeypatch.setattr("worker.web.pages.operator_access.real_clock", lambda: door.now)
    page = browser.get("/operator/invitations").text
    assert "you are asked again after an hour" in page

    def invite(**words: str) -> int:
        csrf = csrf_of(browser.get("/operator").text)
        return browser.post("/operator/invitations", data={"csrf": csrf, "whom": "30001640000022", **words}).status_code

    assert invite() == 403 and door.service.parts.stores.registry.invitations.list_invitations() == []
    assert invite(password=PASSWORD, code=door.code()) == 200
    assert invite() == 200, "for another hour"
    assert {
        invitation.created_by for invitation in door.service.parts.stores.registry.invitations.list_invitations()
    } == {"operator alice"}


@pytest.mark.parametrize(
    ("new", "again", "said"),
    [
        ("a", "a", "too short"),
        ("password1234!", "password1234!", "easy to guess"),
        ("alice marmotte tuile", "alice marmotte tuile", "contains your name"),
        ("x" * 201, "x" * 201, "too long"),
        (NEW_PASSWORD, f"{NEW_PASSWORD}8", "differ"),
    ],
)
def test_l4_a_weak_password_is_refused_on_the_page(door: Door, new: str, again: str, said: str) -> None:
    browser = door.let_in()
    form = {"csrf": csrf_of(browser.get("/operator").text), "password": PASSWORD, "code": door.code()}
    refused = browser.post("/operator/password", data={**form, "new": new, "again": again})
    assert refused.status_code == 422 and said in refused.text
    assert sign_in(door.browser(), PASSWORD, door.code()).status_code == 303, "the old one is still right"


def test_the_password_is_changed_by_the_old_one_and_a_code(door: Door) -> None:
    browser = door.let_in()
    form = {"csrf": csrf_of(browser.get("/operator").text), "new": NEW_PASSWORD, "again": NEW_PASSWORD}
    for password, code in (("not this one", door.code()), (PASSWORD, "000000")):
        assert browser.post("/operator/password", data={**form, "password": password, "code": code}).status_code == 403
    change_password(door, browser)
    assert sign_in(door.browser(), PASSWORD, door.code()).status_code == 403
    assert sign_in(door.browser(), NEW_PASSWORD, door.code()).status_code == 303


def test_a_role_is_read_at_each_request(door: Door) -> None:
    browser, operators = door.let_in(), door.service.parts.access.operators
    path, form = "/operator/accounts/nobody/erase", {"csrf": csrf_of(browser.get("/operator").text)}
    add_operator(door.service.parts, "bob")
    operators.set_role(door.operator.id, Role.SUPPORT)
    refused = browser.post(path, data=form)
    assert refused.status_code == 403 and "For administrators only" in refused.text and is_in(browser)
    noted = door.service.parts.stores.registry.audit.page(AuditFilter(actor=NAME), 1)
    assert [(one.action, one.outcome) for one in noted] == [(AuditAction.ACCOUNT_ERASE, "operator.admins_only")]
    operators.set_role(door.operator.id, Role.ADMIN)
    assert browser.post(path, data=form).status_code == 404


def test_a_session_made_beside_the_page_is_one(door: Door) -> None:
    """The tests' own short way in is the same as the long one."""
    set_clock(door.service.parts, real_clock)
    assert is_in(signed_in(door.service.app, door.service.parts))
    assert len(door.service.parts.access.keys.list_keys([door.operator.id], {KeyKind.OPERATOR_SESSION})) == 1
