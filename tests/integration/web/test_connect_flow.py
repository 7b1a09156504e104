"""A household connects its meter: to the simulator's page and back, in each generation."""

from __future__ import annotations

import re
from datetime import date

import pytest
from fastapi.testclient import TestClient

from tasks.nightly import resume_backfills
from tests.support.connect_service import (
    INVITED_PRESETS,
    METER,
    OTHER,
    ConnectService,
    ConnectServices,
    changed,
    query_of,
)
from tests.support.household_pages import csrf_of
from tests.support.parts import use_parts
from worker.app import app
from worker.domain.account import AccountState
from worker.domain.consents import ConsentKind, Proof
from worker.domain.evidence import HOUSEHOLD
from worker.domain.lanes import BROKER_PREFIX, QUEUES
from worker.domain.series import Series
from worker.errors import StoreUnavailable
from worker.runtime.consent_parts import erase, stop_consent
from worker.web.pages.consent import RENEWALS

KINDS = {
    "enedis-v4": ConsentKind.CODE,
    "enedis-v5": ConsentKind.USAGE_POINT,
    "enedis-2026": ConsentKind.AUTORISATION,
}


class Crash(Exception):
    """The process dies here."""


# The line whose answer proved the consent, and who told its dates.
ASKED = {
    "enedis-v4": ("enedis-v4 POST /v1/oauth2/token", "requested"),
    "enedis-v5": (None, "requested"),
    "enedis-2026": ("enedis-2026 POST /subscribed_services/v1", "supplier"),
}


@pytest.mark.generations
def test_a_consent_makes_an_account_a_session_and_one_backfill(service: ConnectService) -> None:
    browser = service.browser()
    done = service.connect(browser)
    (account,) = service.accounts()
    assert (done.status_code, done.headers["location"]) == (303, f"/accounts/{account.id}")
    assert (account.state, account.usage_point_id) == (AccountState.READY, METER)
    assert service.session(browser).accounts == {account.id: 1}
    assert service.queued() == 1
    assert account.consent_from == date(2024, 7, 25)
    assert account.consent_until in (date(2027, 7, 24), date(2027, 7, 23))  # P3Y, or P1095D over a leap day.
    (proof,) = service.parts.stores.registry.consents.list_proofs(account.id)
    assert proof.open and proof.kind is KINDS[service.parts.stores.settings.preset]
    assert proof.consent_until == account.consent_until
    assert proof.proof is (Proof.EXCHANGE if proof.kind is ConsentKind.CODE else Proof.INVITED)
    assert proof.vouched_by == (None if proof.kind is ConsentKind.CODE else "cli:test")
    (row,) = service.parts.stores.registry.evidence.export(account.id)
    assert (row["line"], row["dates_from"]) == ASKED[service.parts.stores.settings.preset]
    assert (row["answer_digest"] is None) == (row["line"] is None)
    assert (row["event"], row["meter"]) == ("given", METER)
    assert service.parts.stores.settings.preset != "enedis-2026" or row["reference"] == "900001"


@pytest.mark.generations
def test_the_page_is_asked_with_the_parameters_of_its_generation(service: ConnectService) -> None:
    page = service.browser().get(f"/connect/enedis?usage_point_id={METER}").headers["location"]
    query = query_of(page)
    duration = "P1095D" if service.parts.stores.settings.preset == "enedis-2026" else "P3Y"
    parameters = {
        "client_id": "releve-simulator",
        "response_type": "code",
        "duration": duration,
        "usage_point_id": METER,
    }
    assert query == {**parameters, "state": query["state"], "redirect_uri": "http://testserver/callback/enedis"}
    assert len(query["state"]) <= 100
    version = "v2" if service.parts.stores.settings.preset == "enedis-2026" else "v1"
    assert f"/dataconnect/{version}/oauth2/authorize?" in page


def test_l11_a_gateway_of_ones_own_is_told_nothing_that_only_a_simulator_needs(
    kept_services: ConnectServices,
) -> None:
    service = kept_services.empty(pretend_now=None)
    page = service.browser().get(f"/connect/enedis?usage_point_id={METER}").headers["location"]
    assert query_of(page).keys() == {"client_id", "response_type", "duration", "state"}
    assert METER not in page


def test_years_are_told_in_months_to_the_newest_page(kept_services: ConnectServices) -> None:
    a_year = kept_services.empty(consent_duration="P1Y")
    a_year.simulate("POST", "switches", {"whole_years_refused": True})
    a_year.connect(a_year.browser())
    assert a_year.accounts()[0].consent_until == date(2025, 7, 24)


@pytest.mark.generations
def test_the_portal_glues_parent_to_addresses_and_values(service: ConnectService) -> None:
    browser = service.browser()
    back = service.begin(browser)
    state = query_of(back)["state"]
    glued = changed(back.replace("/callback/enedis", "/callback/enedis_parent"), state=f"{state}_parent")
    assert service.come_back(browser, glued).status_code == 303
    assert len(service.accounts()) == 1


@pytest.mark.parametrize("separator", [";", ","])
def test_all_meters_that_the_supplier_confirms_are_connected_at_once(v4: ConnectService, separator: str) -> None:
    v4.simulate("POST", "switches", {"usage_point_separator": separator})
    browser = v4.browser()
    # The hint of our own page names one home; the person picks two on the supplier's page.
    page = browser.get("/connect/enedis").headers["location"]
    v4.come_back(browser, v4.agree(f"{page}&usage_point_id={METER},{OTHER}"))
    by_meter = {account.usage_point_id: account for account in v4.accounts()}
    assert set(by_meter) == {METER, OTHER}
    assert set(v4.session(browser).accounts) == {account.id for account in by_meter.values()}
    tokens = v4.parts.stores.registry.tokens
    assert tokens.find_token_id(by_meter[METER].id) == tokens.find_token_id(by_meter[OTHER].id)


@pytest.mark.generations
@pytest.mark.parametrize("service", INVITED_PRESETS, indirect=True)
@pytest.mark.parametrize("separator", [";", ","])
def test_an_invitation_proves_its_own_meter_alone(service: ConnectService, separator: str) -> None:
    service.simulate("POST", "switches", {"usage_point_separator": separator})
    browser = service.browser()
    page = service.open_invitation(browser, service.invite()).headers["location"]
    both = page.replace(f"usage_point_id={METER}", f"usage_point_id={OTHER},{METER}")
    assert service.come_back(browser, service.agree(both)).status_code == 303
    assert [account.usage_point_id for account in service.accounts()] == [METER]


@pytest.mark.generations
@pytest.mark.parametrize("service", INVITED_PRESETS, indirect=True)
def test_who_chooses_another_meter_than_the_invited_one_is_told_both_and_led_back(service: ConnectService) -> None:
    browser = service.browser()
    page = service.open_invitation(browser, service.invite()).headers["location"]
    wrong = service.agree(page.replace(f"usage_point_id={METER}", f"usage_point_id={OTHER}"))
    told = service.come_back(browser, wrong)
    assert told.status_code == 403 and not service.accounts()
    assert f"…{METER[-4:]}" in told.text and f"…{OTHER[-4:]}" in told.text
    assert METER not in told.text and OTHER not in told.text and "n’importe qui" not in told.text
    assert 'href="/invitation/again"' in told.text
    back = browser.get("/invitation/again")
    right = service.agree(back.headers["location"])
    assert service.come_back(browser, right).status_code == 303
    assert [account.usage_point_id for account in service.accounts()] == [METER]


def test_nobody_is_led_back_without_an_invitation_that_this_browser_has_opened(v2026: ConnectService) -> None:
    browser = v2026.browser()
    uninvited = browser.get(v2026.begin_uninvited(browser, OTHER))
    assert (uninvited.status_code, browser.get("/invitation/again").status_code) == (403, 410)
    v2026.open_invitation(browser, v2026.invite())
    assert browser.get("/invitation/again", headers={"Sec-Fetch-Dest": "image"}).status_code == 403


def test_accounts_of_one_consent_outlive_the_renewals_of_each_other(v4: ConnectService) -> None:
    v4.simulate("POST", "switches", {"token_life_s": 60})
    browser = v4.browser()
    page = browser.get("/connect/enedis").headers["location"]
    v4.come_back(browser, v4.agree(f"{page}&usage_point_id={METER},{OTHER}"))
    for _ in range(2):
        for account in v4.accounts():
            v4.parts.sync.suppliers.main.tokens_of(
                account
            ).current()  # Renewed each time, as it ends within five minutes.
    assert all(account.active for account in v4.accounts())


@pytest.mark.generations
def test_a_second_consent_for_the_meter_keeps_its_account_and_history(service: ConnectService) -> None:
    browser = service.browser()
    service.connect(browser)
    (before,) = service.accounts()
    service.parts.stores.registry.accounts.set_state(
        before.id, AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED", now=service.parts.stores.now()
    )
    assert service.connect(browser).headers["location"] == f"/accounts/{before.id}"
    (after,) = service.accounts()
    assert (after.id, after.state, after.reason) == (before.id, AccountState.READY, "")


def test_n5_an_invitation_for_an_account_opens_it_with_its_history_in_any_browser(service: ConnectService) -> None:
    service.connect(service.browser())
    (account,) = service.accounts()
    elsewhere = service.browser()
    sent = service.open_invitation(elsewhere, service.invite())
    assert service.session(elsewhere).accounts == {}  # The link opens no measure by itself.
    assert elsewhere.get(f"/accounts/{account.id}").status_code == 404
    done = service.come_back(elsewhere, service.agree(sent.headers["location"]))
    assert done.headers["location"] == f"/accounts/{account.id}"
    assert service.session(elsewhere).accounts == {account.id: 1}
    assert len(service.accounts()) == 1


@pytest.mark.generations
def test_an_invitation_that_ends_with_another_meter_opens_nothing(service: ConnectService) -> None:
    service.connect(service.browser())
    (former,) = service.accounts()
    elsewhere = service.browser()
    page = service.open_invitation(elsewhere, service.invite()).headers["location"]
    back = service.agree(page.replace(f"usage_point_id={METER}", f"usage_point_id={OTHER}"))
    done = service.come_back(elsewhere, back)
    if service.parts.sync.suppliers.main.account_tokens:  # The supplier itself confirms the other meter.
        (other,) = (account for account in service.accounts() if account.id != former.id)
        assert done.headers["location"] == f"/accounts/{other.id}"
    else:
        assert done.status_code == 403 and service.accounts() == [former]
    assert former.id not in service.session(elsewhere).accounts
    assert service.parts.stores.registry.accounts.get(former.id) == former


def test_an_invitation_that_is_forged_used_or_of_a_removed_account_says_so(service: ConnectService) -> None:
    used = service.invite()
    browser = service.browser()
    page = service.open_invitation(browser, used).headers["location"]
    service.come_back(browser, service.agree(page))
    of_removed = service.invite()
    erase(service.parts.stores, service.accounts()[0].id)
    for secret in (used, of_removed, "", "x", f"{used}x", "invite_aaaaaaaaaaaa_" + "A" * 43):
        answer = service.open_invitation(service.browser(), secret)
        assert answer.status_code == 410 and "location" not in answer.headers


@pytest.mark.generations
@pytest.mark.parametrize("switch", ["refused", "server_error", "bare_server_error"])
def test_each_failure_has_its_page_and_changes_nothing(service: ConnectService, switch: str) -> None:
    browser = service.browser()
    service.simulate("POST", "switches", {"callback": switch})
    back = service.begin(browser)
    answer, again = browser.get(back), browser.get(back)
    newest = service.parts.stores.settings.preset == "enedis-2026"
    assert answer.status_code == (400 if newest else {"refused": 403}.get(switch, 502))
    assert (again.status_code, again.text) == (answer.status_code, answer.text)
    assert service.accounts() == [] and service.queued() == 0
    assert not service.session(browser).accounts
    service.simulate("POST", "switches", {"callback": "success"})
    assert service.connect(browser).status_code == 303


def test_a_failure_without_state_has_its_page_too(service: ConnectService) -> None:
    answer = service.browser().get("/callback/enedis?code=server_error&error_description=server_error")
    assert answer.status_code == 502
    assert "Enedis a rencontré une erreur" in answer.text


def test_a_consent_without_a_meter_is_told(service: ConnectService) -> None:
    browser = service.browser()
    back = service.begin(browser)
    assert browser.get(changed(back, usage_point_id=None, autorisation_id=None)).status_code == 400
    assert service.accounts() == []


def test_a_consent_that_is_not_there_yet_comes_by_itself(v2026: ConnectService) -> None:
    browser = v2026.browser()
    v2026.simulate("POST", "switches", {"services_empty": 2})
    back = v2026.begin(browser)
    assert browser.get(back).headers["refresh"] == "2"
    for _ in range(2):
        v2026.work()  # Each step asks the supplier once.
        waiting = browser.get(back)
        assert waiting.status_code == 202 and int(waiting.headers["refresh"]) > 0
        assert "n’est pas encore arrivé" in waiting.text
    assert v2026.accounts() == []
    assert v2026.come_back(browser, back).status_code == 303
    assert len(v2026.accounts()) == 1


def test_d4_a_supplier_that_is_down_spoils_no_consent(v4: ConnectService) -> None:
    browser = v4.browser()
    back = v4.begin(browser)
    v4.simulate("POST", "faults", {"path": "/v1/oauth2/token", "status": 503, "body": "<html>", "count": 1})
    waiting = v4.come_back(browser, back)
    assert waiting.status_code == 202
    assert "Enedis ne répond pas" in waiting.text and "Prochaine tentative à" in waiting.text
    assert v4.come_back(browser, back).status_code == 303


def test_a_closed_gate_is_called_our_own_turn_and_spoils_no_consent(v4: ConnectService) -> None:
    browser = v4.browser()
    back = v4.begin(browser)
    v4.parts.sync.ledger.close_gate(60)
    waiting = v4.come_back(browser, back)
    assert waiting.status_code == 202 and "Demande en attente" in waiting.text
    english = browser.get(back, headers={"Accept-Language": "en"}).text
    assert re.search(r"Next attempt at \d\d:\d\d", english)
    assert v4.exchanges() == 0
    v4.parts.stores.redis.delete(*v4.parts.stores.redis.keys("releve:*gate*"))  # The gate opens.
    assert v4.come_back(browser, back).status_code == 303


def test_a_code_spent_in_a_lost_answer_leads_to_a_new_start(v4: ConnectService) -> None:
    browser = v4.browser()
    back = v4.begin(browser)
    v4.simulate("POST", "faults", {"path": "/v1/oauth2/token", "kind": "cut"})
    assert v4.come_back(browser, back).status_code == 202
    dead = v4.come_back(browser, back)
    assert dead.status_code == 400 and "/connect/enedis" in dead.text
    assert v4.accounts() == []
    assert v4.connect(browser).status_code == 303


def speak_to_broker_of(service: ConnectService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect the Celery app to the service's broker: this process has used the brokers of other tests."""
    app.set_current()
    monkeypatch.setattr(app, "_pool", None)
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    monkeypatch.setattr(app.conf, "broker_url", service.parts.stores.redis_url)
    monkeypatch.setattr(app.conf, "broker_write_url", service.parts.stores.redis_url)


def test_a_crash_before_the_backfill_was_enqueued_heals(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Crash

    monkeypatch.setattr("worker.web.dependencies.enqueue_backfill", die)
    browser = service.browser()
    back = service.begin(browser)
    with pytest.raises(Crash):
        service.come_back(browser, back)
    (account,) = service.accounts()
    assert account.active and service.queued() == 0
    use_parts(monkeypatch, service.parts)
    speak_to_broker_of(service, monkeypatch)
    resume_backfills()
    assert any(service.parts.stores.redis.llen(f"{BROKER_PREFIX}{queue}") for queue in QUEUES)


def test_a_broker_that_is_away_does_not_spoil_a_consent(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the broker can't be reached")

    monkeypatch.setattr("worker.web.dependencies.enqueue_backfill", away)
    assert service.connect(service.browser()).status_code == 303
    due = service.parts.stores.registry.due
    assert len(due.list_histories(Series.DAILY, service.parts.stores.now(), 10)) == 1


@pytest.mark.parametrize("path", ["/connect/grdf", "/connect/unknown", "/callback/grdf?code=x", "/callback/x_parent"])
def test_another_supplier_has_a_clear_page(service: ConnectService, path: str) -> None:
    answer = service.browser().get(path)
    assert answer.status_code == 404
    assert "Type de compteur inconnu" in answer.text
    assert "Unknown supplier" in service.browser().get(path, headers={"Accept-Language": "en"}).text


def test_a_sandbox_without_a_consent_page_says_so(v5: ConnectService) -> None:
    object.__setattr__(v5.parts.sync.suppliers.main.endpoints, "authorize_url", None)
    assert v5.browser().get("/connect/enedis").status_code == 503


# A household renews its own consent (2026)


def begin_renewal(service: ConnectService, browser: TestClient, account: str) -> str:
    """Press the button of the page; return the address of the supplier's page."""
    page = browser.get(f"/accounts/{account}/renew")
    assert "Supprimez d’abord l’ancien partage" in page.text
    assert service.supplier in page.headers["content-security-policy"]
    return browser.post(f"/accounts/{account}/renew", data={"csrf": csrf_of(page.text)}).headers["location"]


def test_a_signed_in_household_renews_a_consent_that_it_has_stopped(v2026: ConnectService) -> None:
    browser = v2026.browser()
    v2026.connect(browser)
    (before,) = v2026.accounts()
    stop_consent(v2026.parts.stores, before.id)
    assert f"/accounts/{before.id}/renew" in browser.get(f"/accounts/{before.id}/connection").text
    done = v2026.come_back(browser, v2026.agree(begin_renewal(v2026, browser, before.id)))
    assert done.headers["location"] == f"/accounts/{before.id}"
    newest, former = v2026.parts.stores.registry.consents.list_proofs(before.id)
    assert (newest.proof, newest.vouched_by, newest.open) == (Proof.INVITED, HOUSEHOLD, True)
    assert (former.end_reason, [one.state for one in v2026.accounts()]) == ("withdrawn", [AccountState.READY])


def test_a_renewal_with_another_meter_is_refused_and_led_back(v2026: ConnectService) -> None:
    browser = v2026.browser()
    v2026.connect(browser)
    before = v2026.accounts()
    page = begin_renewal(v2026, browser, before[0].id)
    told = v2026.come_back(browser, v2026.agree(page.replace(f"usage_point_id={METER}", f"usage_point_id={OTHER}")))
    assert told.status_code == 403 and v2026.accounts() == before
    assert f"…{METER[-4:]}" in told.text and f"…{OTHER[-4:]}" in told.text and "/invitation/again" in told.text


def test_a_renewal_that_the_supplier_breaks_off_is_led_back_to_it(v2026: ConnectService) -> None:
    browser = v2026.browser()
    v2026.connect(browser)
    (account,) = v2026.accounts()
    state = re.findall(r"[?&]state=([^&]+)", begin_renewal(v2026, browser, account.id))[0]
    broken = {"error": "invalid_request", "error_description": "demande_non_aboutie", "state": state}
    told = browser.get("/callback/enedis", params=broken)
    assert told.status_code == 400 and 'href="/invitation/again"' in told.text
    assert browser.get("/invitation/again").headers["location"].startswith(v2026.supplier)


def test_a_renewal_ends_with_the_session_that_began_it(v2026: ConnectService) -> None:
    browser = v2026.browser()
    v2026.connect(browser)
    (before,) = v2026.accounts()
    way_back = v2026.agree(begin_renewal(v2026, browser, before.id))
    v2026.parts.access.keys.end(v2026.session(browser).sid)
    assert v2026.come_back(browser, way_back).status_code == 403
    assert len(v2026.parts.stores.registry.consents.list_proofs(before.id)) == 1
    assert v2026.session(browser).accounts == {}


def test_renewals_are_limited(v2026: ConnectService) -> None:
    browser = v2026.browser()
    v2026.connect(browser)
    (account,) = v2026.accounts()
    form = {"csrf": csrf_of(browser.get(f"/accounts/{account.id}/renew").text)}
    answers = [browser.post(f"/accounts/{account.id}/renew", data=form).status_code for _ in range(RENEWALS.calls + 1)]
    assert answers == [303] * RENEWALS.calls + [429]


@pytest.mark.generations
@pytest.mark.parametrize("service", ["enedis-v4", "enedis-v5"], indirect=True)
def test_where_no_share_names_the_meter_nobody_renews_without_a_proof(service: ConnectService) -> None:
    browser = service.browser()
    service.connect(browser)
    (account,) = service.accounts()
    assert browser.get(f"/accounts/{account.id}/renew").headers["location"] == f"/accounts/{account.id}"
    assert "/renew" not in browser.get(f"/accounts/{account.id}/connection").text
