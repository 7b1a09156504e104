"""What a client of the proxy gets for its code: tokens of its own, for one meter, and never the application's (H5)."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.connect_service import CREDENTIALS, INVITED_PRESETS, METER, OTHER, ConnectService, query_of
from tests.support.proxy_stack import STACK, ProxyStack
from worker.accounts.proxy_grants import MOST_AT_ONCE, InvalidGrant
from worker.clients.oauth import Grant
from worker.clients.supplier_session import Token
from worker.domain.consents import EndReason
from worker.domain.oauth_proxy import ProxyGrant, challenge_of
from worker.runtime.consent_parts import erase, stop_consent
from worker.stores.registry.proxy import ProxyGrantTable
from worker.stores.registry.tables import PROXY_GRANTS, PROXY_REFRESH_TOKENS
from worker.stores.token_store import ApplicationTokenStore

VERIFIER = "v" * 50
CHALLENGE = {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256"}
OWN_TOKENS = pytest.mark.parametrize("service", INVITED_PRESETS, indirect=True)  # v4 hands on the holder's.


@pytest.fixture
def stack(service: ConnectService) -> ProxyStack:
    return ProxyStack.register(service)


def forget_limits(service: ConnectService) -> None:
    for key in service.parts.stores.redis.scan_iter("releve:limit:*"):
        service.parts.stores.redis.delete(key)


# -- The client, and its code


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "unknown"}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "anything at all"}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "client_secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "client_id": "é"}, 401, "invalid_client"),
        # The application's own id and secret at the supplier open nothing here.
        ({"grant_type": "refresh_token", "refresh_token": "x", **CREDENTIALS}, 401, "invalid_client"),
    ],
)
def test_errors_come_in_oauths_form(
    service: ConnectService, stack: ProxyStack, form: dict[str, str], status: int, error: str
) -> None:
    answer = stack.token(form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store" and answer.headers["pragma"] == "no-cache"


def test_credentials_may_come_by_header_but_never_by_address(service: ConnectService, stack: ProxyStack) -> None:
    code = stack.walk()["code"]
    basic = base64.b64encode(f"{stack.client_id}:{stack.secret}".encode()).decode()
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": STACK}
    browser = service.browser()
    assert browser.post("/proxy/enedis/token", params=stack.credentials, data=form).status_code == 401
    broken = browser.post("/proxy/enedis/token", data=form, headers={"Authorization": "Basic %%%"})
    assert broken.status_code == 401 and "www-authenticate" in broken.headers
    done = browser.post("/proxy/enedis/token", data=form, headers={"Authorization": f"Basic {basic}"})
    assert done.status_code == 200


def test_h5_wrong_secrets_are_counted_and_the_right_one_is_heard(v5: ConnectService) -> None:
    stack = ProxyStack.register(v5)
    wrong = {"client_secret": stack.secret[:-1] + ("a" if stack.secret[-1] != "a" else "b")}
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    answers = [stack.token(form, **wrong) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert stack.token(form).json()["error"] == "invalid_grant"
    # From many addresses the client's own count fills.
    for key in v5.parts.stores.redis.scan_iter("releve:limit:proxy-client:*"):
        v5.parts.stores.redis.set(key, 51, keepttl=True)
    for key in v5.parts.stores.redis.scan_iter("releve:limit:proxy-address:*"):
        v5.parts.stores.redis.delete(key)
    assert stack.token(form, **wrong).status_code == 429
    assert stack.token(form, **wrong, client_id="k3q7d0fr2mxx").status_code == 401


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"grant_type": "refresh_token"}', "application/json"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded"),
        (b"a=" + b"b" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(100)), "application/x-www-form-urlencoded"),
    ],
)
def test_a_form_that_is_none_is_refused(v4: ConnectService, content: bytes, content_type: str) -> None:
    answer = v4.browser().post("/proxy/enedis/token", content=content, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["error"]) in ((400, "invalid_request"), (413, "too_large"))


@pytest.mark.generations
def test_a_code_works_once_and_for_its_client_address_and_challenge_alone(
    service: ConnectService, stack: ProxyStack
) -> None:
    other = ProxyStack.register(service, STACK, "https://other.example/back")
    form = {"grant_type": "authorization_code", "redirect_uri": STACK, "code_verifier": VERIFIER}
    wrong: list[tuple[ProxyStack, dict[str, str]]] = [
        (other, {}),
        (stack, {"redirect_uri": "https://other.example/back"}),
        (stack, {"code_verifier": "w" * 50}),
        (stack, {"code_verifier": ""}),
    ]
    code = stack.walk(**CHALLENGE)["code"]
    for client, changes in wrong:
        assert client.token({**form, "code": code}, **changes).json()["error"] == "invalid_grant"
    # Nobody else has spent it.
    stack.exchange(code, code_verifier=VERIFIER)
    assert stack.token({**form, "code": code}).json()["error"] == "invalid_grant"
    forget_limits(service)
    unbound = stack.walk()["code"]
    assert stack.token({**form, "code": unbound}).json()["error"] == "invalid_grant"  # A verifier without a challenge.


def is_in_force(service: ConnectService, stack: ProxyStack, tokens: Any) -> bool:
    """Return whether the client's tokens still open something; with v4 we have a say in their renewal alone."""
    if service.parts.sync.suppliers.main.account_tokens:
        return stack.refresh(tokens["refresh_token"]).status_code == 200
    return stack.read(tokens["access_token"]).status_code == 200


@pytest.mark.generations
@pytest.mark.parametrize("is_replay", [True, False])
def test_a_code_that_its_own_client_sends_again_ends_what_it_got_for_it(
    service: ConnectService, stack: ProxyStack, is_replay: bool
) -> None:
    other = ProxyStack.register(service)
    form = {"grant_type": "authorization_code", "redirect_uri": STACK, "code_verifier": VERIFIER}
    code = stack.walk(**CHALLENGE)["code"]
    tokens = stack.exchange(code, code_verifier=VERIFIER)
    stays = stack.exchange(stack.walk()["code"])
    # Neither another client, nor whoever lacks the verifier, nor a wrong secret.
    for client, changes in (
        (other, {}),
        (stack, {"code_verifier": "w" * 50}),
        (stack, {"code_verifier": ""}),
        (stack, {"client_secret": other.secret}),
    ):
        assert client.token({**form, "code": code}, **changes).status_code in (400, 401)
    if is_replay:
        assert stack.token({**form, "code": code}).json()["error"] == "invalid_grant"
        ends = [grant.end_reason for grant in service.parts.stores.registry.proxy_grants.list_grants(stack.client_id)]
        assert sorted(ends) == ["", EndReason.CODE_REUSED]
    assert is_in_force(service, stack, tokens) is not is_replay
    assert is_in_force(service, stack, stays)


def test_a_new_client_names_its_address_again_and_an_old_one_need_not(service: ConnectService) -> None:
    new, old = ProxyStack.register(service), ProxyStack.register_old(service)
    code = new.walk()["code"]
    bare = {"grant_type": "authorization_code", "code": code}
    assert new.token(bare).json()["error"] == new.token(bare, redirect_uri="").json()["error"] == "invalid_grant"
    assert new.exchange(code)["access_token"]
    code = old.walk()["code"]
    wrong = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://other.example/"}
    assert old.token(wrong).json()["error"] == "invalid_grant"
    assert old.token({"grant_type": "authorization_code", "code": code}).status_code == 200


@pytest.mark.parametrize("is_new", [True, False])
def test_credentials_in_header_and_form_at_once_are_refused(service: ConnectService, is_new: bool) -> None:
    stack = (ProxyStack.register if is_new else ProxyStack.register_old)(service)
    basic = base64.b64encode(f"{stack.client_id}:{stack.secret}".encode()).decode()
    form = {"grant_type": "authorization_code", "code": stack.walk()["code"], "redirect_uri": STACK}
    headers = {"Authorization": f"Basic {basic}"}
    both = service.browser().post("/proxy/enedis/token", data={**form, **stack.credentials}, headers=headers)
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    named = {**form, "client_id": stack.client_id}
    assert service.browser().post("/proxy/enedis/token", data=named, headers=headers).status_code == 200


# -- v4: the holder's own tokens


def test_v4_a_dead_refresh_token_is_an_invalid_grant_for_the_stack(v4: ConnectService) -> None:
    stack = ProxyStack.register(v4)
    first = stack.exchange(stack.walk()["code"])
    stack.renew(first["refresh_token"])
    answer = stack.refresh(first["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_v4_a_token_without_a_meter_is_not_handed_on(v4: ConnectService) -> None:
    stack = ProxyStack.register(v4)
    code = stack.walk()["code"]
    v4.simulate("POST", "switches", {"token_without_meter": True})
    answer = stack.token({"grant_type": "authorization_code", "code": code, "redirect_uri": STACK})
    assert answer.json() == {
        "error": "invalid_grant",
        "error_description": "the supplier refuses the code or refresh token: consent again",
    }


def test_v4_the_supplier_down_is_a_try_again_and_costs_no_code(v4: ConnectService) -> None:
    stack = ProxyStack.register(v4)
    code = stack.walk()["code"]
    v4.simulate("POST", "faults", {"path": "/v1/oauth2/token", "status": 503, "body": "<html>", "count": 1})
    answer = stack.token({"grant_type": "authorization_code", "code": code, "redirect_uri": STACK})
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert stack.exchange(code)["usage_points_id"] == METER


def test_v4_has_no_data_route_for_the_token_is_the_holders_own(v4: ConnectService) -> None:
    stack = ProxyStack.register(v4)
    answer = stack.read(stack.exchange(stack.walk()["code"])["access_token"])
    assert answer.status_code == 404 and "use it there directly" in answer.json()["error_description"]


def grants_of(service: ConnectService, stack: ProxyStack) -> list[ProxyGrant]:
    return service.parts.stores.registry.proxy_grants.list_grants(stack.client_id)


def forget_tokens(service: ConnectService) -> None:
    """Forget which client has which token of v4, as before an upgrade."""
    for table in (PROXY_REFRESH_TOKENS, PROXY_GRANTS):
        service.parts.stores.registry.database.change(table.delete())


def test_v4_a_refresh_token_works_for_the_client_that_got_it_alone(v4: ConnectService) -> None:
    stack, other = ProxyStack.register(v4), ProxyStack.register(v4)
    tokens = stack.exchange(stack.walk()["code"])
    asked = v4.simulate("GET", "report")["tokens"].get("refresh_token", 0)
    for _ in range(3):
        stolen = other.refresh(tokens["refresh_token"])
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
        # Each token that follows is bound, too; the one before stays so.
        assert v4.simulate("GET", "report")["tokens"].get("refresh_token", 0) == asked
        used, tokens = tokens, stack.renew(tokens["refresh_token"])
        asked += 1
        assert other.refresh(used["refresh_token"]).json()["error"] == "invalid_grant"
    assert other.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    (grant,) = grants_of(v4, stack)
    assert grant.last_used_on == v4.parts.sync.history.today() and grants_of(v4, other) == []
    rows = v4.parts.stores.registry.database.fetch(PROXY_REFRESH_TOKENS.select())
    assert len(rows) == 4 and tokens["refresh_token"] not in str(rows)


def test_v4_a_token_of_before_the_upgrade_is_bound_to_the_first_client_that_renews_it(v4: ConnectService) -> None:
    stack, other = ProxyStack.register_old(v4), ProxyStack.register(v4)
    first = stack.exchange(stack.walk()["code"])
    forget_tokens(v4)
    second = stack.renew(first["refresh_token"])
    for token in (first, second):
        assert other.refresh(token["refresh_token"]).json()["error"] == "invalid_grant"
    third = stack.renew(second["refresh_token"])
    v4.parts.stores.registry.proxy_clients.revoke(stack.client_id)
    assert other.refresh(third["refresh_token"]).json()["error"] == "invalid_grant"


def test_v4_a_made_up_token_binds_nothing(v4: ConnectService) -> None:
    stack = ProxyStack.register(v4)
    assert stack.refresh("made up").json()["error"] == "invalid_grant"
    v4.simulate("POST", "faults", {"path": "/v1/oauth2/token", "status": 503, "body": "<html>", "count": 1})
    assert stack.refresh("made up").status_code == 503
    assert grants_of(v4, stack) == []


def test_v4_a_revoked_clients_tokens_are_renewed_for_nobody(v4: ConnectService) -> None:
    stack, other = ProxyStack.register(v4), ProxyStack.register(v4)
    tokens = stack.exchange(stack.walk()["code"])
    v4.parts.stores.registry.proxy_clients.revoke(stack.client_id)
    assert other.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert [grant.end_reason for grant in grants_of(v4, stack)] == [EndReason.CLIENT_REVOKED]


@pytest.mark.parametrize("is_known", [True, False])
def test_v4_after_a_stop_a_token_of_before_is_renewed_for_nobody(v4: ConnectService, is_known: bool) -> None:
    v4.connect(v4.browser())
    stack = ProxyStack.register(v4)
    tokens = stack.exchange(stack.walk()["code"])
    if not is_known:
        forget_tokens(v4)
    stop_consent(v4.parts.stores, v4.accounts()[0].id)
    assert stack.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert stack.renew(stack.exchange(stack.walk()["code"])["refresh_token"])  # A new consent is a new one.


@pytest.mark.parametrize("is_known", [True, False])
def test_v4_after_an_erasure_a_token_of_before_is_renewed_for_nobody(v4: ConnectService, is_known: bool) -> None:
    v4.connect(v4.browser())
    stack = ProxyStack.register(v4)
    tokens = stack.exchange(stack.walk()["code"])
    if not is_known:
        forget_tokens(v4)
    erase(v4.parts.stores, v4.accounts()[0].id)
    assert stack.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert stack.renew(stack.exchange(stack.walk()["code"])["refresh_token"])  # A new consent is a new one.


def test_v4_a_grant_that_ends_while_the_supplier_is_asked_hands_nothing_on(v4: ConnectService) -> None:
    stack = ProxyStack.register(v4)
    tokens, parts = stack.exchange(stack.walk()["code"]), v4.parts
    (grant,) = grants_of(v4, stack)

    def refresh(token: str) -> Grant:
        parts.stores.registry.proxy_grants.end(grant.id, EndReason.WITHDRAWN)
        return parts.sync.suppliers.main.oauth.refresh(token)

    client = parts.stores.registry.proxy_clients.find(stack.client_id)
    assert client is not None
    with pytest.raises(InvalidGrant):
        replace(parts.consent.proxy_grants, refresh_token=refresh).refresh(client, tokens["refresh_token"])
    assert stack.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_v4_a_token_of_several_meters_ends_with_the_grant_of_one(v4: ConnectService) -> None:
    stack, browser = ProxyStack.register(v4), v4.browser()
    page = stack.press(browser, stack.show(browser)).headers["location"]
    back = v4.agree(page.replace(METER, f"{METER},{OTHER}"))
    tokens = stack.exchange(query_of(v4.come_back(browser, back).headers["location"])["code"])
    assert tokens["usage_points_id"] == f"{METER},{OTHER}"
    one, other = grants_of(v4, stack)
    assert one.meter != other.meter
    v4.parts.stores.registry.proxy_grants.end(other.id, EndReason.WITHDRAWN)
    assert [grant.end_reason for grant in grants_of(v4, stack)] == [EndReason.WITHDRAWN] * 2
    assert stack.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


# -- v5 and 2026: tokens of our own, for one meter


@pytest.mark.generations
@OWN_TOKENS
def test_h5_a_token_reads_its_own_meter_and_counts_in_the_quota(service: ConnectService, stack: ProxyStack) -> None:
    token = stack.exchange(stack.walk()["code"])["access_token"]
    before = service.simulate("GET", "report")["by_usage_point"].get(METER, 0)
    answer = stack.read(token)
    assert answer.status_code == 200 and answer.json(), answer.text
    assert METER in answer.text and answer.headers["cache-control"] == "no-store"
    assert service.simulate("GET", "report")["by_usage_point"][METER] == before + 1


@OWN_TOKENS
def test_h5_a_token_asks_for_another_meter_and_hears_the_same_for_each(
    service: ConnectService, stack: ProxyStack
) -> None:
    token = stack.exchange(stack.walk()["code"])["access_token"]
    service.connect(service.browser(), OTHER)  # A customer of ours.
    service.simulate("DELETE", "report")
    answers = [stack.read(token, meter) for meter in (OTHER, "30009999999999")]
    assert {(answer.status_code, answer.content, tuple(answer.headers.items())) for answer in answers} == {
        (403, answers[0].content, tuple(answers[0].headers.items()))
    }
    assert service.simulate("GET", "report")["calls"] == 0


@pytest.mark.generations
@OWN_TOKENS
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"extra": "1"}, 400),
        ({"start": "yesterday", "dateDebut": "yesterday"}, 400),
        ({"end": "2024-07-20", "dateFin": "2024-07-20"}, 400),
        ({"end": "2034-07-20", "dateFin": "2034-07-20"}, 400),
        ({"usage_point_id": "1", "pointId": "1"}, 400),
    ],
)
def test_a_question_is_checked_before_it_is_asked(
    service: ConnectService, stack: ProxyStack, changes: dict[str, str], status: int
) -> None:
    token = stack.exchange(stack.walk()["code"])["access_token"]
    preset = service.parts.sync.suppliers.main.endpoints.preset
    known = {preset.usage_point_parameter, preset.start_parameter, preset.end_parameter, "extra"}
    service.simulate("DELETE", "report")
    answer = stack.read(token, **{name: text for name, text in changes.items() if name in known})
    assert (answer.status_code, answer.json()["error"]) == (status, "invalid_request")
    assert service.simulate("GET", "report")["calls"] == 0


@pytest.mark.generations
@OWN_TOKENS
def test_paths_that_no_series_has_are_not_asked(service: ConnectService, stack: ProxyStack) -> None:
    headers = {"Authorization": f"Bearer {stack.exchange(stack.walk()['code'])['access_token']}"}
    service.simulate("DELETE", "report")
    contract = [
        call.path[1:]
        for calls in service.parts.sync.suppliers.main.endpoints.preset.state_calls.values()
        for call in calls
    ]
    for path in ("subscribed_services/v1", "customers_i/v5/identity", *contract, "../token", "", "%2e%2e/x"):
        assert service.browser().get(f"/proxy/enedis/data/{path}", headers=headers).status_code in (404, 405)
    assert service.simulate("GET", "report")["calls"] == 0


@OWN_TOKENS
def test_without_a_token_in_force_nothing_is_read(service: ConnectService, stack: ProxyStack) -> None:
    first = stack.exchange(stack.walk()["code"])
    second = stack.renew(first["refresh_token"])
    service.simulate("DELETE", "report")
    for token in (first["access_token"], second["refresh_token"], stack.secret, "x", f"{second['access_token']}x"):
        answer = stack.read(token)
        assert answer.status_code == 401 and answer.json()["error"] == "invalid_token"
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    bare = service.browser().get("/proxy/enedis/data/x")
    assert bare.status_code == 401 and bare.headers["www-authenticate"] == 'Bearer realm="releve"'
    assert service.simulate("GET", "report")["calls"] == 0
    assert stack.read(second["access_token"]).status_code == 200


@OWN_TOKENS
def test_an_access_token_lives_an_hour(service: ConnectService, stack: ProxyStack) -> None:
    first = stack.exchange(stack.walk()["code"])
    assert first["expires_in"] == 3600
    parts = service.parts

    def status_after(minutes: int) -> bool:
        later = datetime.now(UTC) + timedelta(minutes=minutes)
        table = ProxyGrantTable(parts.stores.registry.database, now=lambda: later)
        registry: Any = SimpleNamespace(proxy_grants=table)
        return replace(parts.consent.proxy_grants, registry=registry).find_grant(first["access_token"]) is not None

    assert status_after(59) and not status_after(61)


@OWN_TOKENS
def test_a_grant_ends_with_the_last_day_of_the_consent(service: ConnectService, stack: ProxyStack) -> None:
    first = stack.exchange(stack.walk()["code"])
    (grant,) = service.parts.stores.registry.proxy_grants.list_grants(stack.client_id)
    assert grant.consent_until is not None and grant.proof.value == "invited" and grant.vouched_by == "cli:test"
    over = service.parts.stores.now() - timedelta(days=1)
    with service.parts.stores.registry.database.writing() as connection:
        connection.execute(PROXY_GRANTS.update().values(consent_until=over.date()))
    assert stack.read(first["access_token"]).status_code == 401
    assert stack.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"


@OWN_TOKENS
def test_h5_a_used_refresh_token_ends_the_family(
    service: ConnectService, stack: ProxyStack, caplog: pytest.LogCaptureFixture
) -> None:
    first = stack.exchange(stack.walk()["code"])
    second = stack.renew(first["refresh_token"])
    other = stack.exchange(stack.walk()["code"])
    assert stack.read(second["access_token"]).status_code == 200
    reused = stack.refresh(first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert stack.read(second["access_token"]).status_code == 401
    assert stack.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"
    assert stack.read(other["access_token"]).status_code == 200  # Another consent's tokens live on.
    ends = {grant.end_reason for grant in service.parts.stores.registry.proxy_grants.list_grants(stack.client_id)}
    assert ends == {"", EndReason.TOKEN_REUSED}
    (line,) = [record for record in caplog.records if "used twice" in record.getMessage()]
    assert first["refresh_token"] not in f"{line.getMessage()} {line.__dict__}"


@OWN_TOKENS
def test_h5_an_invented_refresh_token_and_another_clients_are_invalid_grants(
    service: ConnectService, stack: ProxyStack
) -> None:
    first = stack.exchange(stack.walk()["code"])
    grant_id = first["refresh_token"].split("_")[1]
    other = ProxyStack.register(service)
    for client, token in (
        (stack, "anything at all"),
        (stack, f"proxyrefresh_{grant_id}_{'a' * 43}"),
        (stack, first["access_token"]),
        (other, first["refresh_token"]),
    ):
        answer = client.refresh(token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert stack.renew(first["refresh_token"])["access_token"]  # Nobody else has spoilt it.


@OWN_TOKENS
def test_a_revoked_client_ends_its_grants(service: ConnectService, stack: ProxyStack) -> None:
    first = stack.exchange(stack.walk()["code"])
    service.parts.stores.registry.proxy_clients.revoke(stack.client_id)
    assert stack.read(first["access_token"]).status_code == 401
    assert stack.refresh(first["refresh_token"]).json()["error"] == "invalid_client"


@OWN_TOKENS
def test_an_erasure_ends_grants_codes_and_flows_of_its_meter(service: ConnectService, stack: ProxyStack) -> None:
    service.connect(service.browser())
    (account,) = service.accounts()
    first, code = stack.exchange(stack.walk()["code"]), stack.walk()["code"]
    second_tab = service.browser()
    back = stack.begin(second_tab)
    parts = service.parts
    erase(parts.stores, account.id)
    with parts.stores.registry.database.writing() as connection:
        meter = parts.stores.registry.erasures.digests("enedis", METER)[0]
        parts.stores.registry.erasures.remember(
            connection, meter, datetime.now(UTC), parts.stores.now().date() + timedelta(days=30)
        )
    assert stack.read(first["access_token"]).status_code == 401
    assert stack.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": STACK}
    assert stack.token(form).json()["error"] == "invalid_grant"
    answer = service.come_back(second_tab, back)
    assert answer.status_code in (403, 410) and "location" not in answer.headers
    forget_limits(service)
    assert stack.read(stack.exchange(stack.walk()["code"])["access_token"]).status_code == 200  # A new consent.


@OWN_TOKENS
def test_h5_what_the_supplier_says_is_told_in_our_words(service: ConnectService, stack: ProxyStack) -> None:
    token = stack.exchange(stack.walk()["code"])["access_token"]
    (path,) = [
        path
        for series, path in service.parts.sync.suppliers.main.endpoints.preset.paths.items()
        if series.value == "daily"
    ]
    faults: list[tuple[dict[str, Any], int, str]] = [
        ({"status": 503, "body": "<html>internal host 10.0.0.1"}, 503, "temporarily_unavailable"),
        ({"status": 429, "body": "{}"}, 429, "temporarily_unavailable"),
        ({"status": 200, "body": "no json"}, 503, "temporarily_unavailable"),
    ]
    for fault, status, error in faults:
        service.simulate("POST", "faults", {"path": path, "count": 1, **fault})
        answer = stack.read(token)
        assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
        assert int(answer.headers["retry-after"]) >= 1 and "10.0.0.1" not in answer.text
        for key in service.parts.stores.redis.scan_iter("releve:gate:*"):
            service.parts.stores.redis.delete(key)
    assert stack.read(token).status_code == 200


@OWN_TOKENS
def test_so_many_at_once_and_so_many_a_minute(service: ConnectService, stack: ProxyStack) -> None:
    token = stack.exchange(stack.walk()["code"])["access_token"]
    with ExitStack() as others:
        for _ in range(MOST_AT_ONCE):
            others.enter_context(service.parts.consent.proxy_grants.calls.take())
        full = stack.read(token)
        assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
    assert stack.read(token).status_code == 200


@OWN_TOKENS
def test_h5_the_applications_token_is_in_no_answer(
    service: ConnectService, stack: ProxyStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each token that the workers ever have is looked for in each answer of a walk, and the secret behind them too."""
    parts, saved = service.parts, ["canary-" + "c" * 40]
    save = ApplicationTokenStore.save

    def save_and_note(store: ApplicationTokenStore, token: str, expires_at: int | None) -> None:
        saved.append(Token.from_text(token).access)
        save(store, token, expires_at)

    monkeypatch.setattr(ApplicationTokenStore, "save", save_and_note)
    parts.sync.suppliers.main.application_token.save(Token(saved[0]).to_text(), None)
    query = stack.walk()
    first = stack.exchange(query["code"])
    second = stack.renew(first["refresh_token"])
    data = stack.read(second["access_token"])
    assert data.status_code == 200 and len(saved) > 2  # The canary was refused, and replaced by a token that works.
    answers = repr([query, first, second, data.text, dict(data.headers), stack.refresh("anything at all").text])
    secret = parts.stores.settings.enedis_client_secret.get_secret_value()
    assert not [token for token in (*saved, secret) if token in answers]
