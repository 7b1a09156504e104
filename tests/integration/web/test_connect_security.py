"""The consent flow against strangers: stolen states, forged cookies, planted sessions, meters of others."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.connect_service import METER, OTHER, ConnectService, changed, query_of
from worker.stores.redis.pending_consents import ConsentFlows
from worker.web.dependencies import SESSION_COOKIE, Session, load_session, open_session
from worker.web.pages.consent_callback import BROWSER_COOKIE


def test_a_stolen_state_is_nothing_in_another_browser_and_stays_good_in_its_own(service: ConnectService) -> None:
    victim, thief = service.browser(), service.browser()
    back = service.begin(victim)
    service.begin(thief, OTHER)  # So that it has a cookie of its own.
    for stranger in (service.browser(), thief):
        refused = stranger.get(back)
        assert refused.status_code == 403 and not service.session(stranger).accounts
    assert service.accounts() == [] and service.queued() == 0
    assert service.come_back(victim, back).status_code == 303


def test_what_came_of_a_consent_is_for_its_own_browser_alone(service: ConnectService) -> None:
    victim, thief = service.browser(), service.browser()
    back = service.begin(victim)
    service.come_back(victim, back)
    service.begin(thief, OTHER)
    replayed = thief.get(back)
    assert replayed.status_code == 400 and not service.session(thief).accounts


def test_a_state_works_once(service: ConnectService) -> None:
    browser = service.browser()
    back = service.begin(browser)
    service.come_back(browser, back)
    # The same state with another answer gives the outcome of the first time.
    other = changed(back, usage_point_id=OTHER, autorisation_id="900002", code="another-code")
    assert browser.get(other).status_code == 303
    assert [account.usage_point_id for account in service.accounts()] == [METER]


@pytest.mark.generations
def test_ten_callbacks_at_once_are_one(service: ConnectService) -> None:
    browser = service.browser()
    back = service.begin(browser)
    name, browsers = browser.cookies[BROWSER_COOKIE], [service.browser() for _ in range(10)]
    for client in browsers:
        client.cookies.set(BROWSER_COOKIE, name, domain="testserver.local", path="/")
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda client: client.get(back), browsers))
    assert {answer.status_code for answer in answers} == {202}
    service.work()
    # One of the answers has named the browser anew, and what comes of the request is for that name.
    (named,) = (client for client in browsers if client.cookies[BROWSER_COOKIE] != name)
    assert service.come_back(named, back).headers["location"] == f"/accounts/{service.accounts()[0].id}"
    assert [client.get(back).status_code for client in browsers if client is not named] == [403] * 9
    assert len(service.accounts()) == 1
    assert service.exchanges() == (1 if service.parts.sync.suppliers.main.account_tokens else 0)


@pytest.mark.parametrize(
    "state",
    ["", "unknown", "A" * 43, "A" * 101, "a" * 5000, "%00" * 30, "../../x" * 5, "*" * 43, "é" * 43, "A" * 42 + "\n"],
)
def test_a_state_that_is_not_ours_is_told_so(service: ConnectService, state: str) -> None:
    browser = service.browser()
    back = service.begin(browser)
    before = set(service.parts.stores.redis.scan_iter("releve:*"))
    answer = browser.get(changed(back, state=state))
    assert answer.status_code == 400
    assert service.accounts() == [] and set(service.parts.stores.redis.scan_iter("releve:*")) == before
    assert service.come_back(browser, back).status_code == 303


def test_a_state_of_one_house_is_forgotten_after_a_quarter_of_an_hour(service: ConnectService) -> None:
    browser = service.browser()
    state = query_of(browser.get("/connect/enedis").headers["location"])["state"]
    assert 0 < service.parts.stores.redis.ttl(f"releve:consent_flow:{state}") <= 900
    cookie = next(
        line for line in browser.get("/connect/enedis").headers.get_list("set-cookie") if BROWSER_COOKIE in line
    )
    assert "Max-Age=604800" in cookie and "HttpOnly" in cookie and "SameSite=lax" in cookie


def test_cookies_insist_on_https_where_browsers_come_so(v5: ConnectService) -> None:
    v5.parts.change_settings(public_url="https://releve.example")
    assert "Secure" in v5.browser().get("/connect/enedis").headers["set-cookie"]


def test_a_forged_browser_cookie_is_nobodys(service: ConnectService) -> None:
    browser, thief = service.browser(), service.browser()
    back = service.begin(browser)
    name = ConsentFlows(service.parts.stores.redis).read(query_of(back)["state"]).browser  # type: ignore[union-attr]
    for forged in (name, name[:40], "x.y.z"):
        thief.cookies.set(BROWSER_COOKIE, forged)
        assert thief.get(back).status_code == 403


def test_a_session_planted_before_gives_way_to_a_new_one(service: ConnectService) -> None:
    planted, text = open_session(service.parts.access, Session(), [], "")
    browser = service.browser()
    browser.cookies.set(SESSION_COOKIE, text, domain="testserver.local", path="/")
    service.connect(browser)
    stored = [cookie.value for cookie in browser.cookies.jar if cookie.name == SESSION_COOKIE]
    session = load_session(service.parts.access, stored[-1])
    assert session.sid != planted.sid and len(session.accounts) == 1


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
@pytest.mark.parametrize("name", ["redirect_uri", "next", "url", "return_to", "redirect_URI"])
def test_nothing_in_an_address_leads_elsewhere(v4: ConnectService, name: str, target: str) -> None:
    browser = v4.browser()
    begun = browser.get("/connect/enedis", params={name: target})
    assert begun.headers["location"].startswith(f"{v4.supplier}/dataconnect/")
    assert "evil" not in begun.headers["location"]
    done = v4.come_back(browser, v4.agree(begun.headers["location"]))
    assert done.headers["location"].startswith("/accounts/")


def test_a_hint_that_is_no_meter_is_dropped_and_a_real_supplier_gets_none(v4: ConnectService) -> None:
    browser = v4.browser()
    for hint in ("1", f"{METER}&state=x", f"{METER},{OTHER}", "é" * 14):
        page = browser.get("/connect/enedis", params={"usage_point_id": hint}).headers["location"]
        assert set(query_of(page)) == {"client_id", "response_type", "state", "duration", "redirect_uri"}
    v4.parts.change_settings(enedis_url="https://gw.prd.api.enedis.fr")
    page = browser.get("/connect/enedis", params={"usage_point_id": METER}).headers["location"]
    assert set(query_of(page)) == {"client_id", "response_type", "state", "duration"}


@pytest.mark.generations
def test_h1_whoever_writes_anothers_meter_into_a_callback_sees_nothing_of_it(service: ConnectService) -> None:
    victim, thief = service.browser(), service.browser()
    at_victim = service.begin(victim)
    service.come_back(victim, at_victim)
    (account,) = service.accounts()
    query = query_of(at_victim)
    stolen = {name: query[name] for name in ("usage_point_id", "autorisation_id") if name in query}
    for begin in (service.begin, service.begin_uninvited):
        for named in (stolen, {**stolen, "usage_point_id": "30001640000033"}):  # A customer's meter, and nobody's.
            answer = service.come_back(thief, changed(begin(thief, OTHER), **named))
            assert answer.status_code in (400, 403)
            assert not service.session(thief).accounts
    assert service.parts.stores.registry.accounts.get(account.id) == account


@pytest.mark.generations
def test_codes_meters_and_tokens_stay_out_of_addresses_pages_and_logs(
    service: ConnectService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="releve")
    browser = service.browser()
    back = service.begin(browser)
    query = query_of(back)
    done = service.come_back(browser, back)
    (account,) = service.accounts()
    token = service.parts.stores.registry.tokens.load(account.id)
    secrets = [METER, query["state"], *(query[name] for name in ("code",) if name in query)]
    secrets += json.loads(token).values() if token else []
    shown = f"{done.headers} {done.text} {caplog.text}"
    assert not [secret for secret in secrets if isinstance(secret, str) and secret in shown]
    assert done.headers["referrer-policy"] == "no-referrer" and done.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in done.headers["content-security-policy"]


@pytest.mark.generations
def test_redis_holds_no_meter_and_no_token_after_a_consent(service: ConnectService) -> None:
    browser = service.browser()
    back = service.begin(browser)
    service.come_back(browser, back)
    redis = service.parts.stores.redis
    content = " ".join(
        f"{key} {redis.get(key)}" for key in redis.scan_iter("releve:*") if redis.type(key) == "string"
    ) + str(redis.lrange("releve:celery:control", 0, -1))
    assert METER not in content and query_of(back).get("code", METER) not in content


def test_too_many_starts_from_one_address_are_slowed_down(v4: ConnectService) -> None:
    browser = v4.browser()
    answers = [browser.get("/connect/enedis") for _ in range(61)]
    assert {answer.status_code for answer in answers[:60]} == {303}
    assert answers[60].status_code == 429 and int(answers[60].headers["retry-after"]) > 0


def test_only_plain_visits_begin_or_end_a_consent(v4: ConnectService) -> None:
    browser = v4.browser()
    back = v4.begin(browser)
    assert browser.head(back).status_code == 405  # A preview must not use the state up.
    assert browser.post(back).status_code == 405
    assert v4.come_back(browser, back).status_code == 303
