"""The OAuth proxy: a Cozy stack goes through its code flow, and what the proxy refuses on the way to the code."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from tests.support.connect_service import INVITED_PRESETS, METER, OTHER, ConnectService, changed, query_of
from tests.support.proxy_stack import STACK, STATE, ProxyStack
from worker.domain.invitation import InvitationPurpose
from worker.domain.oauth_proxy import challenge_of
from worker.stores.registry.tables import ACCOUNTS, INVITATIONS

VERIFIER = "v" * 50
NEEDS_INVITATION = pytest.mark.parametrize("service", INVITED_PRESETS, indirect=True)


@pytest.fixture
def stack(service: ConnectService) -> ProxyStack:
    return ProxyStack.register(service, STACK, "https://stack.example:8443/back?slug=enedis")


@pytest.fixture
def v4_stack(v4: ConnectService) -> ProxyStack:
    return ProxyStack.register(v4)


@pytest.mark.generations
def test_the_walk_of_a_stack_from_page_to_renewal(service: ConnectService, stack: ProxyStack) -> None:
    query = stack.walk()
    assert query["state"] == STATE
    assert ("autorisation_id" if service.parts.stores.settings.preset == "enedis-2026" else "usage_point_id") in query
    first = stack.exchange(query["code"])
    assert first["token_type"] == "Bearer" and type(first["expires_in"]) is int and first["expires_in"] > 0
    assert (first["usage_point_id"], first["usage_points_id"]) == (METER, METER)
    second = stack.renew(first["refresh_token"])
    third = stack.renew(second["refresh_token"])
    assert len({first["access_token"], second["access_token"], third["access_token"]}) == 3
    assert service.accounts() == []  # The stack has accounts of its own.


@pytest.mark.generations
def test_a_new_clients_answers_name_their_issuer_and_no_numbers(service: ConnectService) -> None:
    stack = ProxyStack.register(service, pkce=True, numbers_in_redirect=False)
    challenge = {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256"}
    issuer = f"{service.parts.stores.settings.public_url}/proxy/enedis"
    query = stack.walk(**challenge)
    assert {**query, "code": "…"} == {"state": STATE, "code": "…", "iss": issuer}
    answer = stack.exchange(query["code"], code_verifier=VERIFIER)
    assert answer["usage_point_id"] == METER  # The token answer has it.
    refused = stack.show(service.browser())  # It has no challenge.
    assert query_of(refused.headers["location"])["iss"] == issuer
    service.simulate("POST", "switches", {"callback": "refused"})
    failed = stack.walk(**challenge)
    assert failed["iss"] == issuer and "error" in failed


@pytest.mark.generations
def test_an_old_clients_answers_are_as_they_were(service: ConnectService) -> None:
    query = ProxyStack.register_old(service).walk()
    assert "iss" not in query and {"autorisation_id", "usage_point_id"} & query.keys()


@pytest.mark.generations
def test_the_page_names_who_asks_and_the_button_names_the_browser(service: ConnectService, stack: ProxyStack) -> None:
    browser = service.browser()
    page = stack.show(browser)
    assert page.status_code == 200 and "releve_connect" not in browser.cookies
    assert "My Cozy" in page.text and "oauthcallback.cozy.example" in page.text
    assert ('name="invitation"' in page.text) is not service.parts.sync.suppliers.main.account_tokens
    policy = page.headers["content-security-policy"]
    assert f"form-action 'self' {service.supplier} https://oauthcallback.cozy.example;" in policy
    assert service.parts.stores.redis.keys("releve:consent_flow:*") == []  # The button begins it.
    assert 'name="scope"' not in page.text and f'name="usage_point_id" value="{METER}"' in page.text


def test_a_form_of_another_site_begins_nothing(service: ConnectService, stack: ProxyStack) -> None:
    browser = service.browser()
    page = stack.show(browser)
    assert stack.press(browser, page, csrf="0" * 64).status_code == 403
    assert stack.press(service.browser(), page).status_code == 403
    assert service.parts.stores.redis.keys("releve:consent_flow:*") == []


def test_both_addresses_serve_both_kinds_for_the_supplier_knows_only_one(
    service: ConnectService, stack: ProxyStack
) -> None:
    browser = service.browser()
    elsewhere = stack.begin(browser).replace("/proxy/enedis/redirect", "/callback/enedis_parent")
    assert service.come_back(browser, elsewhere).headers["location"].startswith(f"{STACK}?")
    household = service.browser()
    back = service.begin(household).replace("/callback/enedis", "/proxy/enedis/redirect_parent")
    assert service.come_back(household, back).headers["location"] == f"/accounts/{service.accounts()[0].id}"


def test_a_callback_loaded_twice_goes_to_the_same_place(service: ConnectService, stack: ProxyStack) -> None:
    browser = service.browser()
    back = stack.begin(browser)
    first, second = service.come_back(browser, back), browser.get(back)
    assert first.headers["location"] == second.headers["location"]
    other = browser.get(changed(back, usage_point_id=OTHER, autorisation_id="7", code="mine"))
    assert other.headers["location"] == first.headers["location"]
    stranger = service.browser().get(back)
    assert stranger.status_code == 400 and "location" not in stranger.headers


def test_m1_a_browser_that_did_not_begin_gets_no_code_and_the_state_stays(
    service: ConnectService, stack: ProxyStack
) -> None:
    eve, victim, marked = service.browser(), service.browser(), service.browser()
    back = stack.begin(eve)
    marked.get("/connect/enedis")  # A name of another flow is not this flow's.
    for browser in (victim, marked):
        answer = browser.get(back)
        assert answer.status_code == 403 and "location" not in answer.headers and "code=" not in answer.text
    assert "code" in query_of(service.come_back(eve, back).headers["location"])


@pytest.mark.generations
def test_a_failure_is_handed_on(service: ConnectService, stack: ProxyStack) -> None:
    service.simulate("POST", "switches", {"callback": "refused"})
    query = stack.walk()
    assert query["state"] == STATE and query["error"] in ("access_denied", "invalid_request")
    assert "code" not in query and "usage_point_id" not in query


@pytest.mark.generations
def test_h5_without_a_proof_there_is_no_code_but_the_one_page(service: ConnectService, stack: ProxyStack) -> None:
    if service.parts.sync.suppliers.main.account_tokens:
        browser = service.browser()
        query = query_of(service.come_back(browser, changed(stack.begin(browser), code="typed")).headers["location"])
        form = {"grant_type": "authorization_code", "code": query["code"], "redirect_uri": STACK}
        assert stack.token(form).json()["error"] == "invalid_grant"
        return
    service.connect(service.browser(), OTHER)
    for other, consent in ((OTHER, "900001"), (OTHER, None), ("30009999999999", None)):
        browser = service.browser()
        typed = changed(stack.begin(browser), usage_point_id=other, autorisation_id=consent, code="typed")
        answer = service.come_back(browser, typed)
        assert answer.status_code == 403 and "Il manque une invitation" in answer.text
        assert "location" not in answer.headers
    assert service.parts.stores.redis.keys("releve:proxy_code:*") == []


@NEEDS_INVITATION
def test_an_invitation_is_needed_and_used_up(service: ConnectService, stack: ProxyStack) -> None:
    browser, secret = service.browser(), service.invite()
    assert stack.press(browser, stack.show(browser)).status_code == 410
    assert stack.press(browser, stack.show(browser), "invite_x").status_code == 410
    link = f"http://testserver/invitation#{secret}"
    answer = stack.press(browser, stack.show(browser), link)
    assert answer.status_code == 303
    thief = service.browser()
    assert stack.press(thief, stack.show(thief), secret).status_code == 410
    assert service.come_back(browser, service.agree(answer.headers["location"])).status_code == 302
    assert stack.press(browser, stack.show(browser), secret).status_code == 410
    assert service.open_invitation(browser, secret).status_code == 410


@NEEDS_INVITATION
def test_an_invitation_that_this_browser_has_opened_need_not_be_pasted(
    service: ConnectService, stack: ProxyStack
) -> None:
    browser = service.browser()
    assert service.open_invitation(browser, service.invite()).status_code == 303
    page = stack.show(browser)
    assert "que vous avez ouverte dans ce navigateur" in page.text
    answer = stack.press(browser, page)
    assert service.come_back(browser, service.agree(answer.headers["location"])).status_code == 302


@NEEDS_INVITATION
def test_an_invitation_of_another_tenant_is_none_and_stays_unopened(service: ConnectService, stack: ProxyStack) -> None:
    browser, secret = service.browser(), service.invite()
    theirs = ProxyStack.register(service, tenant="other")
    assert theirs.press(browser, theirs.show(browser), secret).status_code == 410
    (row,) = service.parts.stores.registry.database.fetch(INVITATIONS.select())
    assert row.opened_at is None
    assert stack.press(browser, stack.show(browser), secret).status_code == 303
    assert "que vous avez ouverte" not in theirs.show(browser).text


@NEEDS_INVITATION
def test_an_invitation_that_is_revoked_on_the_way_gives_no_code(service: ConnectService, stack: ProxyStack) -> None:
    browser = service.browser()
    back = stack.begin(browser)
    for invitation in service.parts.stores.registry.invitations.list_invitations():
        service.parts.stores.registry.invitations.revoke(invitation.id)
    answer = service.come_back(browser, back)
    assert answer.status_code == 403 and "location" not in answer.headers


@NEEDS_INVITATION
def test_a_new_holders_invitation_closes_the_account_and_ends_grants_of_the_one_before(
    service: ConnectService, stack: ProxyStack
) -> None:
    holder = service.browser()
    service.connect(holder)
    old = stack.exchange(stack.walk(holder)["code"])
    tokens = stack.hand_over_to_new_holder()
    (account,) = service.accounts()
    (told,) = service.parts.stores.registry.notices.list_for_account(account.id)
    assert (account.state.value, told.kind.value) == ("closed", "account_closed")
    assert stack.read(old["access_token"]).status_code == 401
    assert stack.refresh(old["refresh_token"]).json()["error"] == "invalid_grant"
    today = service.parts.sync.history.today()
    before = stack.read(tokens["access_token"])
    assert (before.status_code, before.json()["error"]) == (400, "invalid_request")
    assert str(today) in before.json()["error_description"]
    preset = service.parts.sync.suppliers.main.endpoints.preset
    later = {preset.start_parameter: str(today), preset.end_parameter: str(today + timedelta(days=1))}
    assert "another person" not in stack.read(tokens["access_token"], **later).text


@NEEDS_INVITATION
def test_an_invitation_that_a_client_has_used_makes_no_account_as_well(
    service: ConnectService, stack: ProxyStack
) -> None:
    browser, secret = service.browser(), service.invite()
    first = service.agree(service.open_invitation(browser, secret).headers["location"])
    answer = stack.press(browser, stack.show(browser), secret)
    assert service.come_back(browser, service.agree(answer.headers["location"])).status_code == 302
    assert service.come_back(browser, first).status_code == 410
    assert service.accounts() == []


@NEEDS_INVITATION
def test_an_account_after_a_change_of_holder_in_the_proxy_begins_on_that_day(
    service: ConnectService, stack: ProxyStack
) -> None:
    service.connect(service.browser())
    stack.hand_over_to_new_holder()
    assert service.connect(service.browser()).status_code == 303
    (account,) = [account for account in service.accounts() if account.usage_point_id]
    assert account.data_from == service.parts.sync.history.today()


@NEEDS_INVITATION
@pytest.mark.parametrize("same_browser", [True, False])
def test_a_new_account_ends_the_grants_that_another_browser_gave(
    service: ConnectService, stack: ProxyStack, same_browser: bool
) -> None:
    browser = service.browser()
    tokens = stack.exchange(stack.walk(browser)["code"])
    service.connect(browser if same_browser else service.browser())
    assert stack.read(tokens["access_token"]).status_code == (200 if same_browser else 401)


@NEEDS_INVITATION
def test_a_meter_that_another_tenant_reads_meanwhile_gives_no_code(service: ConnectService, stack: ProxyStack) -> None:
    browser = service.browser()
    back = stack.begin(browser)
    account, _ = service.parts.stores.registry.accounts.add(
        "enedis", METER, service.parts.stores.now(), token_needed=False
    )
    with service.parts.stores.registry.database.writing() as connection:
        connection.execute(ACCOUNTS.update().where(ACCOUNTS.c.id == account.id).values(tenant="other"))
    answer = service.come_back(browser, back)
    assert answer.status_code == 403 and "Il manque une invitation" in answer.text


@NEEDS_INVITATION
def test_a_closed_accounts_invitation_shares_nothing(service: ConnectService, stack: ProxyStack) -> None:
    service.connect(service.browser())
    (account,) = service.accounts()
    service.connect(service.browser())  # The same person again: the account stays.
    with service.parts.stores.registry.database.writing() as connection:
        service.parts.stores.registry.consents.close(connection, account.id, service.parts.stores.now())
    secret = service.parts.stores.registry.invitations.create(
        InvitationPurpose.ACCOUNT, "enedis", "cli:test", account_id=account.id
    )[1]
    browser = service.browser()
    assert stack.press(browser, stack.show(browser), secret).status_code == 410


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": None},
        {"redirect_uri": ""},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": f"{STACK}/"},
        {"redirect_uri": f"{STACK}?a=b"},
        {"redirect_uri": STACK.upper()},
        {"redirect_uri": STACK.replace("https", "http")},
        {"redirect_uri": STACK.replace("/accounts", "/./accounts")},
        {"client_id": None},
        {"client_id": "k3q7d0fr2mxx"},
        {"client_id": "releve-simulator"},
    ],
)
def test_an_unknown_client_or_address_is_refused_and_never_followed(
    v4: ConnectService, v4_stack: ProxyStack, changes: dict[str, Any]
) -> None:
    answer = v4_stack.show(v4.browser(), **changes)
    assert answer.status_code == 400 and "<h1>" in answer.text and "location" not in answer.headers
    assert 'href="https://evil.example' not in answer.text
    browser = v4.browser()
    page = v4_stack.show(browser)
    wrong = {name: value or "" for name, value in changes.items()}
    pressed = v4_stack.press(browser, page, **wrong)
    assert pressed.status_code == 400 and "location" not in pressed.headers


def test_a_revoked_client_is_unknown(v4: ConnectService, v4_stack: ProxyStack) -> None:
    v4.parts.stores.registry.proxy_clients.revoke(v4_stack.client_id)
    assert v4_stack.show(v4.browser()).status_code == 400
    assert v4_stack.refresh("x").status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"state": None}, "invalid_request"),
        ({"state": "s" * 513}, "invalid_request"),
        ({"code_challenge": "a" * 43}, "invalid_request"),
        ({"code_challenge": "a" * 43, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "a" * 42, "code_challenge_method": "S256"}, "invalid_request"),
        ({"code_challenge_method": "S256"}, "invalid_request"),
    ],
)
def test_what_else_is_wrong_is_told_to_the_client(
    v4: ConnectService, v4_stack: ProxyStack, changes: dict[str, Any], error: str
) -> None:
    answer = v4_stack.show(v4.browser(), **changes)
    assert answer.status_code == 302 and answer.headers["location"].startswith(f"{STACK}?")
    assert query_of(answer.headers["location"])["error"] == error


def test_a_parameter_told_twice_is_refused(v4: ConnectService, v4_stack: ProxyStack) -> None:
    for name in ("redirect_uri", "state"):
        pairs = [*v4_stack.parameters().items(), (name, "https://bob.cozy.example/")]
        assert v4.browser().get("/proxy/enedis/auth", params=pairs).status_code == 400


def test_each_address_of_a_client_is_its_own_and_keeps_its_query(v4: ConnectService) -> None:
    target = "https://stack.example:8443/back?slug=enedis"
    stack = ProxyStack.register(v4, STACK, target)
    browser = v4.browser()
    location = v4.come_back(browser, stack.begin(browser, redirect_uri=target)).headers["location"]
    assert location.startswith(f"{target}&state=")


def test_a_client_that_is_marked_needs_a_challenge(v4: ConnectService) -> None:
    stack = ProxyStack.register(v4, pkce=True)
    refused = stack.show(v4.browser())
    assert query_of(refused.headers["location"])["error"] == "invalid_request"
    challenge = {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256"}
    assert stack.exchange(stack.walk(**challenge)["code"], code_verifier=VERIFIER)["access_token"]


@pytest.mark.parametrize("path", ["/proxy/grdf/auth", "/proxy/enedis_parent/auth", "/proxy/x/redirect"])
def test_another_supplier_is_refused(v4: ConnectService, v4_stack: ProxyStack, path: str) -> None:
    assert v4.browser().get(path, params=v4_stack.parameters()).status_code == 404


def test_starts_and_tries_are_counted(v2026: ConnectService) -> None:
    stack, browser = ProxyStack.register(v2026), v2026.browser()
    page = stack.show(browser)
    statuses = {stack.press(browser, page, "invite_x").status_code for _ in range(20)}
    assert statuses == {410} and stack.press(browser, page, "invite_x").status_code == 429


def test_a_language_can_be_chosen_on_the_page(service: ConnectService, stack: ProxyStack) -> None:
    page = stack.show(service.browser(), lang="en", state="short")
    assert "Share your consumption with My Cozy?" in page.text
    assert "/proxy/enedis/auth?client_id=" in page.text  # The other language's link stays on this page.


@pytest.mark.generations
def test_nothing_personal_stays_in_redis_or_logs_in_the_clear(
    service: ConnectService, stack: ProxyStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="releve")
    query = stack.walk()
    redis = service.parts.stores.redis
    content = " ".join(f"{key} {redis.get(key)}" for key in redis.scan_iter("releve:*") if redis.type(key) == "string")
    answer = stack.exchange(query["code"])
    stack.renew(answer["refresh_token"])
    stack.refresh(answer["refresh_token"])
    secrets = (METER, query["code"], stack.secret, answer["access_token"], answer["refresh_token"])
    assert not [secret for secret in secrets if secret in content + caplog.text]
