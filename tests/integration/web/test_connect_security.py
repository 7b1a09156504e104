"""What a stranger can't do with the connect service."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.connect_service import METER, OTHER, ConnectHouse, Stage, changed, connect_house, query_of
from worker.stores.redis.consent_flows import ConsentFlows
from worker.web.context import COOKIE
from worker.web.sessions import SESSION_COOKIE, Session


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.web.consent.callback._PATIENCE_S", 5.0)


def test_a_stolen_state_is_nothing_in_another_browser_and_stays_good_in_its_own(house: ConnectHouse) -> None:
    victim, thief = house.browser(), house.browser()
    back = house.begin(victim)
    house.begin(thief)  # so that it has a cookie of its own
    for stranger in (house.browser(), thief):
        refused = stranger.get(back)
        assert refused.status_code == 403 and house.session(stranger).accounts == ()
    assert house.accounts() == [] and house.queued() == 0
    assert victim.get(back).status_code == 303


def test_what_came_of_a_consent_is_for_its_own_browser_alone(house: ConnectHouse) -> None:
    victim, thief = house.browser(), house.browser()
    back = house.begin(victim)
    victim.get(back)
    house.begin(thief)
    replayed = thief.get(back)
    assert replayed.status_code == 400 and house.session(thief).accounts == ()


def test_a_state_works_once(house: ConnectHouse) -> None:
    browser = house.browser()
    back = house.begin(browser)
    browser.get(back)
    # The same state with another answer: what came of it the first time, and nothing new.
    other = changed(back, usage_point_id=OTHER, autorisation_id="900002", code="another-code")
    assert browser.get(other).status_code == 303
    assert [account.usage_point_id for account in house.accounts()] == [METER]


def test_ten_callbacks_at_once_are_one(house: ConnectHouse) -> None:
    browser = house.browser()
    back = house.begin(browser)
    cookie = {COOKIE: browser.cookies[COOKIE]}
    browsers = [house.browser() for _ in range(10)]
    with ThreadPoolExecutor(10) as threads:
        answers = list(
            threads.map(lambda each: each.get(back, headers={"Cookie": f"{COOKIE}={cookie[COOKIE]}"}), browsers)
        )
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == len(house.accounts()) == house.queued() == 1
    assert house.exchanges() == (1 if house.runtime.account_tokens else 0)


@pytest.mark.parametrize(
    "state",
    ["", "unknown", "A" * 43, "A" * 101, "a" * 5000, "%00" * 30, "../../x" * 5, "*" * 43, "é" * 43, "A" * 42 + "\n"],
)
def test_a_state_that_is_not_ours_is_told_so(house: ConnectHouse, state: str) -> None:
    browser = house.browser()
    back = house.begin(browser)
    before = set(house.runtime.redis.scan_iter("releve:*"))
    answer = browser.get(changed(back, state=state))
    assert answer.status_code == 400
    assert house.accounts() == [] and set(house.runtime.redis.scan_iter("releve:*")) == before
    assert browser.get(back).status_code == 303


def test_a_state_of_one_house_is_forgotten_after_a_quarter_of_an_hour(house: ConnectHouse) -> None:
    browser = house.browser()
    state = query_of(browser.get("/connect/enedis").headers["location"])["state"]
    assert 0 < house.runtime.redis.ttl(f"releve:handshake:{state}") <= 900
    cookie = next(line for line in browser.get("/connect/enedis").headers.get_list("set-cookie") if COOKIE in line)
    assert "Max-Age=900" in cookie and "HttpOnly" in cookie and "SameSite=lax" in cookie


def test_cookies_insist_on_https_where_browsers_come_so(stage: Stage, tmp_path: Path) -> None:
    with connect_house(stage, tmp_path, "enedis-v5") as house:
        secure = house.runtime.settings.model_copy(update={"public_url": "https://releve.example"})
        house.runtime.settings = secure
        assert "Secure" in house.browser().get("/connect/enedis").headers["set-cookie"]


def test_a_forged_browser_cookie_is_nobodys(house: ConnectHouse) -> None:
    browser, thief = house.browser(), house.browser()
    back = house.begin(browser)
    name = ConsentFlows(house.runtime.redis).look(query_of(back)["state"]).browser  # type: ignore[union-attr]
    for forged in (name, house.app.state.house.signer.sign("session", {"name": name}, timedelta(hours=1)), "x.y.z"):
        thief.cookies.set(COOKIE, forged)
        assert thief.get(back).status_code == 403


def test_a_session_planted_before_gives_way_to_a_new_one(house: ConnectHouse) -> None:
    planted = Session()
    browser = house.browser()
    browser.cookies.set(
        SESSION_COOKIE, house.app.state.house.signer.cookie(planted), domain="testserver.local", path="/"
    )
    house.connect(browser)
    stored = [cookie.value for cookie in browser.cookies.jar if cookie.name == SESSION_COOKIE]
    session = house.app.state.house.signer.session(stored[-1])
    assert session.sid != planted.sid and len(session.accounts) == 1


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
@pytest.mark.parametrize("name", ["redirect_uri", "next", "url", "return_to", "redirect_URI"])
def test_nothing_in_an_address_leads_elsewhere(v4: ConnectHouse, name: str, target: str) -> None:
    browser = v4.browser()
    begun = browser.get("/connect/enedis", params={name: target})
    assert begun.headers["location"].startswith(f"{v4.supplier}/dataconnect/")
    assert "evil" not in begun.headers["location"]
    done = browser.get(v4.agree(begun.headers["location"]), params=None)
    assert done.headers["location"].startswith("/accounts/")


def test_a_hint_that_is_no_meter_is_dropped_and_a_real_supplier_gets_none(v4: ConnectHouse) -> None:
    browser = v4.browser()
    for hint in ("1", f"{METER}&state=x", f"{METER},{OTHER}", "é" * 14):
        page = browser.get("/connect/enedis", params={"usage_point_id": hint}).headers["location"]
        assert set(query_of(page)) == {"client_id", "response_type", "state", "duration", "redirect_uri"}
    real = {"enedis_url": "https://gw.prd.api.enedis.fr"}
    v4.runtime.settings = v4.runtime.settings.model_copy(update=real)
    page = browser.get("/connect/enedis", params={"usage_point_id": METER}).headers["location"]
    assert set(query_of(page)) == {"client_id", "response_type", "state", "duration"}


def test_whoever_writes_anothers_meter_into_a_callback_sees_nothing_of_it(house: ConnectHouse) -> None:
    victim, thief = house.browser(), house.browser()
    at_victim = house.begin(victim)
    victim.get(at_victim)
    (account,) = house.accounts()
    at_thief = house.begin(thief, f"/connect/enedis?usage_point_id={OTHER}")
    told = query_of(at_victim)
    stolen = {name: told[name] for name in ("usage_point_id", "autorisation_id") if name in told}
    answer = thief.get(changed(at_thief, **stolen))
    assert answer.status_code in (400, 403)
    assert house.session(thief).accounts == ()
    assert house.runtime.registry.get(account.id).active


def test_codes_meters_and_tokens_stay_out_of_addresses_pages_and_logs(
    house: ConnectHouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="releve")
    browser = house.browser()
    back = house.begin(browser)
    told = query_of(back)
    done = browser.get(back)
    (account,) = house.accounts()
    token = house.runtime.registry.load_token(account.id)
    secrets = [METER, told["state"], *(told[name] for name in ("code",) if name in told)]
    secrets += json.loads(token).values() if token else []
    shown = f"{done.headers} {done.text} {caplog.text}"
    assert not [secret for secret in secrets if isinstance(secret, str) and secret in shown]
    assert done.headers["referrer-policy"] == "no-referrer" and done.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in done.headers["content-security-policy"]


def test_redis_holds_no_meter_and_no_token_after_a_consent(house: ConnectHouse) -> None:
    browser = house.browser()
    back = house.begin(browser)
    browser.get(back)
    redis = house.runtime.redis
    kept = " ".join(
        f"{key} {redis.get(key)}" for key in redis.scan_iter("releve:*") if redis.type(key) == "string"
    ) + str(redis.lrange("releve:celery:control", 0, -1))
    assert METER not in kept and query_of(back).get("code", METER) not in kept


def test_too_many_starts_from_one_address_are_slowed_down(v4: ConnectHouse) -> None:
    browser = v4.browser()
    answers = [browser.get("/connect/enedis") for _ in range(61)]
    assert {answer.status_code for answer in answers[:60]} == {303}
    assert answers[60].status_code == 429 and int(answers[60].headers["retry-after"]) > 0


def test_only_plain_visits_begin_or_end_a_consent(v4: ConnectHouse) -> None:
    browser = v4.browser()
    back = v4.begin(browser)
    assert browser.head(back).status_code == 405  # a preview must not use the state up
    assert browser.post(back).status_code == 405
    assert browser.get(back).status_code == 303
