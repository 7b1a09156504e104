"""The declaration of a right: who sees the form, what it says of each fault, and the page of each state.

GRDF is a fake that is put in the place of the supplier's calls.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService, ApiServices, open_api_service
from tests.support.gas_homes import GAS, GAS_SETTINGS, OTHER_PCE, PCE
from tests.support.household_pages import csrf_of, open_as_asked
from worker.clients.grdf import GRDF
from worker.domain.access_right import DeclaredRight, ProofState, RightDeclaration, RightRecord, RightState
from worker.domain.invitation import InvitationPurpose
from worker.errors import (
    RightContractEnded,
    RightEmailWrong,
    RightNameWrong,
    RightPostcodeWrong,
    RightRevoked,
    RightScopeWrong,
    SupplierUnavailable,
    UnknownUsagePoint,
)
from worker.web.dependencies import SESSION_COOKIE, load_session
from worker.web.pages.consent_callback import BROWSER_COOKIE
from worker.web.pages.rights import DECLARATIONS

FORM = {"name": "Martin", "postcode": "44000", "email": "person@example.org", "consent": "yes"}
PERSONAL = ("Martin", "44000", "person@example.org")


@dataclass
class FakeRights:
    """What GRDF has registered: each declaration, and what it answers."""

    declared: list[RightDeclaration] = field(default_factory=list)
    refusal: Exception | None = None
    state: RightState = RightState.PENDING
    proof: ProofState | None = None

    def declare(self, _: Any, declaration: RightDeclaration) -> DeclaredRight:
        if self.refusal is not None:
            raise self.refusal
        self.declared.append(declaration)
        return DeclaredRight(id=f"right-{len(self.declared)}", state=RightState.PENDING, line="PUT", digest="0" * 64)

    def list_rights(self, _: Any, meters: Sequence[str]) -> list[RightRecord]:
        return [
            RightRecord(
                id=f"right-{number}",
                meter=one.meter,
                state=self.state,
                first_day=one.first_day,
                last_day=one.last_day,
                proof=self.proof,
                proof_until=date(2024, 8, 2) if self.proof else None,
            )
            for number, one in enumerate(self.declared, 1)
            if one.meter in meters
        ]


@dataclass
class GasService:
    """A service with gas, its pretend GRDF, and what a worker does for it."""

    api: ApiService
    grdf: FakeRights = field(default_factory=FakeRights)
    hours: int = 0

    def __post_init__(self) -> None:
        assert GRDF.rights is not None
        calls = replace(GRDF.rights, declare=self.grdf.declare, list_rights=self.grdf.list_rights)
        self.parts = self.api.parts
        clients = self.parts.sync.suppliers[GAS]
        object.__setattr__(clients, "supplier", replace(clients.supplier, rights=calls))

    def browser(self) -> TestClient:
        return TestClient(self.api.app, follow_redirects=False, headers={"Accept-Language": "en"})

    def invited(self, meter: str = PCE, by: str = "cli:test") -> tuple[TestClient, str]:
        """Return a browser that has opened an invitation, and where that leads."""
        secret = self.parts.stores.registry.invitations.create(InvitationPurpose.METER, GAS, by, usage_point_id=meter)[
            1
        ]
        browser = self.browser()
        csrf = csrf_of(browser.get("/invitation").text)
        answer = browser.post("/invitation", data={"invitation": secret, "csrf": csrf})
        assert answer.status_code == 303, answer.text
        return browser, answer.headers["location"]

    def declare(self, browser: TestClient, path: str, **form: str) -> Any:
        csrf = csrf_of(browser.get(path).text)
        return browser.post(path, data={**FORM, "csrf": csrf, **form})

    def work(self) -> None:
        """Do what the worker's tasks do for requests and rights."""
        self.hours += 1
        later = datetime.now(UTC) + timedelta(hours=self.hours)
        connector = replace(self.parts.consent.connector, real_now=lambda: later)
        for request_id in self.parts.consent.requests.list_due(later, 100):
            connector.conclude(request_id)

    def sweep(self) -> None:
        self.parts.consent.right_sweep.run(pending_only=True)

    def state(self, browser: TestClient) -> Any:
        return browser.get("/connect/right/state")


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture
def service(services: ApiServices) -> GasService:
    return GasService(services.new())


def faults_of(page: str) -> list[str]:
    return re.findall(r'<p class="fault" id="([a-z]+)-fault">', page)


def test_an_invitation_for_a_gas_meter_leads_to_the_form_of_that_meter(service: GasService) -> None:
    browser, path = service.invited()
    page = browser.get(path)
    assert page.status_code == 200 and page.headers["Cache-Control"] == "no-store"
    assert "…0123" in page.text and PCE not in page.text and 'name="pce"' not in page.text


def test_the_form_of_a_listed_invitation_shows_nothing_of_its_meter(service: GasService) -> None:
    """The campaign's mail may be another household's, so the person types the number."""
    browser, path = service.invited(by="campaign:c1:list")
    page = browser.get(path)
    assert page.status_code == 200 and "…0123" not in page.text and 'name="pce"' in page.text
    answer = service.declare(browser, path, pce=OTHER_PCE)
    assert answer.status_code == 303 and "has to be confirmed" in service.state(browser).text
    (held,) = service.parts.consent.requests.list_held()
    assert held.declaration is not None and held.declaration.meter == OTHER_PCE


def test_the_form_says_who_reads_what_for_how_long(service: GasService) -> None:
    browser, path = service.invited()
    page = html.unescape(browser.get(path).text)
    consent = page.partition('name="consent"')[2].partition("</label>")[0]
    for words in (
        "this service reads from GRDF",
        "my daily gas consumption, up to 3 years back",
        "up to 5 years back",
        "3 years",
    ):
        assert words in consent, words
    assert "don’t keep them" in page


def test_a_declaration_becomes_a_request_that_a_task_makes(service: GasService) -> None:
    browser, path = service.invited()
    answer = service.declare(browser, path, pce=OTHER_PCE)  # The meter is the invitation's, whatever is sent.
    assert (answer.status_code, answer.headers["location"]) == (303, "/connect/right/state")
    assert service.grdf.declared == [], "no request thread waits for GRDF"
    waiting = service.state(browser)
    assert waiting.status_code == 202 and "Refresh" in waiting.headers
    service.work()
    (declared,) = service.grdf.declared
    assert (declared.meter, declared.name, declared.company) == (PCE, "Martin", None)
    assert (declared.postcode, declared.email) == ("44000", "person@example.org")
    pending = service.state(browser)
    assert pending.status_code == 202 and "within 15 minutes" in pending.text and "…0123" in pending.text
    assert pending.headers["Refresh"] == "60"


def test_nothing_that_was_typed_is_kept_once_it_is_declared(service: GasService) -> None:
    browser, path = service.invited()
    service.declare(browser, path)
    service.work()
    redis = service.parts.stores.redis
    keys = [str(key) for key in redis.scan_iter("releve:*connection_request*")]
    texts = [str(redis.get(key)) for key in keys if str(redis.type(key)) == "string"]
    assert texts and "declaration" not in " ".join(texts)
    pages = [service.state(browser).text, browser.get(path).text]
    assert not any(word in text for text in (*texts, *pages) for word in (*PERSONAL, PCE))


@pytest.mark.parametrize(
    ("form", "faults"),
    [
        ({"name": "", "company": ""}, ["holder"]),
        ({"company": "Martin SARL"}, ["holder"]),
        ({"postcode": "4400"}, ["postcode"]),
        ({"postcode": "44 00A"}, ["postcode"]),
        ({"email": "nobody"}, ["email"]),
        ({"consent": ""}, ["consent"]),
        ({"name": "", "postcode": "", "email": "", "consent": ""}, ["holder", "postcode", "email", "consent"]),
    ],
)
def test_each_fault_is_told_at_its_field(service: GasService, form: dict[str, str], faults: list[str]) -> None:
    browser, path = service.invited()
    page = service.declare(browser, path, **form)
    assert page.status_code == 422 and faults_of(page.text) == faults
    for fault in faults:
        assert f'-hint {fault}-fault" aria-invalid="true"' in page.text
    typed = {**FORM, **form}
    assert all(f'value="{typed[name]}"' in page.text for name in ("name", "postcode", "email") if typed[name])
    service.work()
    assert service.grdf.declared == [] and service.state(browser).status_code == 404


def test_a_company_is_declared_as_one(service: GasService) -> None:
    browser, path = service.invited()
    service.declare(browser, path, name="", company=" Martin SARL ")
    service.work()
    assert (service.grdf.declared[0].name, service.grdf.declared[0].company) == (None, "Martin SARL")


@pytest.mark.parametrize(
    ("refusal", "status", "words"),
    [
        (RightPostcodeWrong("x"), 409, "The postcode does not match"),
        (RightNameWrong("x"), 409, "The name is not accepted"),
        (RightEmailWrong("x"), 409, "GRDF does not accept this email address"),
        (RightContractEnded("x"), 410, "This meter’s contract has ended"),
        (RightRevoked("x"), 403, "Your consent was withdrawn at GRDF"),
        (RightScopeWrong("x"), 502, "GRDF refuses the requested data"),
        (UnknownUsagePoint("x"), 404, "GRDF does not know this meter"),
    ],
)
def test_each_refusal_says_what_to_do(service: GasService, refusal: Exception, status: int, words: str) -> None:
    browser, path = service.invited()
    service.grdf.refusal = refusal
    service.declare(browser, path)
    service.work()
    page = service.state(browser)
    assert page.status_code == status and words in html.unescape(page.text) and "Refresh" not in page.headers
    french = browser.get("/connect/right/state?lang=fr").text
    assert "{" not in french
    if "/connect/right/again" in page.text:
        again = browser.get("/connect/right/again")
        assert again.headers["location"] == path and browser.get(path).status_code == 200


def test_grdf_that_does_not_answer_is_waited_for_under_its_own_name(service: GasService) -> None:
    browser, path = service.invited()
    service.grdf.refusal = SupplierUnavailable("down")
    service.declare(browser, path)
    service.work()
    page = service.state(browser)
    assert page.status_code == 202 and "GRDF does not answer" in page.text and "Enedis" not in page.text


@pytest.mark.parametrize(
    ("state", "proof", "status", "words"),
    [
        (RightState.REFUSED, None, 403, "The request was refused"),
        (RightState.REVOKED, None, 403, "withdrawn at GRDF"),
        (RightState.OBSOLETE, None, 410, "Your consent has ended"),
        (RightState.TO_CHECK, None, 202, "GRDF is checking your consent"),
        (RightState.PENDING, ProofState.AWAITED, 202, "by 2 August 2024"),
    ],
)
def test_each_state_of_a_right_has_its_page_and_opens_nothing(
    service: GasService, state: RightState, proof: ProofState | None, status: int, words: str
) -> None:
    browser, path = service.invited()
    service.declare(browser, path)
    service.work()
    service.grdf.state, service.grdf.proof = state, proof
    service.sweep()
    for language in ("en", "fr"):
        page = browser.get(f"/connect/right/state?lang={language}")
        assert "…0123" in page.text or state is RightState.REVOKED
        assert "{" not in page.text
    page = browser.get("/connect/right/state?lang=en")
    assert page.status_code == status and words in html.unescape(page.text)
    assert service.parts.stores.registry.accounts.find(GAS, PCE) is None


def test_an_active_right_opens_its_account_in_the_browser_that_declared_it(service: GasService) -> None:
    browser, path = service.invited()
    service.declare(browser, path)
    service.work()
    service.grdf.state = RightState.ACTIVE
    service.sweep()
    account = service.parts.stores.registry.accounts.find(GAS, PCE)
    assert account is not None
    page = service.state(browser)
    assert page.status_code == 200 and SESSION_COOKIE not in browser.cookies, "a page that is loaded opens nothing"
    answer = open_as_asked(browser, page)
    assert answer.headers["location"] == f"/accounts/{account.id}"
    assert browser.get(f"/accounts/{account.id}").status_code == 200
    assert service.state(service.browser()).status_code == 404


def test_a_right_that_becomes_active_shows_nobody_an_account_that_exists(service: GasService) -> None:
    browser, path = service.invited()
    service.declare(browser, path)
    service.work()
    account = service.parts.stores.registry.accounts.add(GAS, PCE, service.parts.stores.now(), token_needed=False)[0]
    service.grdf.state = RightState.ACTIVE
    service.sweep()
    page = service.state(browser)
    assert page.status_code == 409 and "This meter needs an invitation" in page.text
    assert browser.get(f"/accounts/{account.id}").status_code == 404


def test_m2_whoever_planted_a_name_before_the_declaration_sees_nothing_of_the_right(service: GasService) -> None:
    browser, path = service.invited()
    thief = service.browser()
    names = browser.cookies[BROWSER_COOKIE]
    thief.cookies.set(BROWSER_COOKIE, names, domain="testserver.local", path="/")  # As if the thief had planted them.
    service.declare(browser, path)
    assert browser.cookies[BROWSER_COOKIE].endswith(f".{names}")
    assert service.state(thief).status_code == 404
    service.work()
    assert service.state(thief).status_code == 404
    service.grdf.state = RightState.ACTIVE
    service.sweep()
    assert service.state(thief).status_code == 404 and SESSION_COOKIE not in thief.cookies
    account = service.parts.stores.registry.accounts.find(GAS, PCE)
    button = service.state(browser)
    assert account and open_as_asked(browser, button).headers["location"] == f"/accounts/{account.id}"
    assert service.state(browser).headers["location"] == f"/accounts/{account.id}", "its session shows it"
    browser.cookies.delete(SESSION_COOKIE)
    for again in (service.state(browser), open_as_asked(browser, button)):
        assert again.status_code == 403 and SESSION_COOKIE not in browser.cookies, "an outcome opens one session"


def test_a_stranger_sees_no_form(service: GasService) -> None:
    browser, path = service.invited()
    stranger = service.browser()
    stranger.get("/invitation")
    assert stranger.get(path).status_code == 410
    csrf = csrf_of(stranger.get("/invitation").text)
    assert {stranger.post(at, data={**FORM, "csrf": csrf}).status_code for at in (path, f"{path}/page")} == {410}
    assert browser.get("/invitation/aaaaaaaaaaaa/right").status_code == 410
    account = service.api.add()
    assert stranger.get(f"/accounts/{account}/gas").status_code == 404
    for at in (f"/accounts/{account}/gas", f"/accounts/{account}/gas/page"):
        assert stranger.post(at, data={**FORM, "csrf": csrf}).status_code in (403, 404)
    assert service.state(stranger).status_code == 404
    service.work()
    assert service.grdf.declared == []


def test_a_form_of_another_site_declares_nothing(service: GasService) -> None:
    browser, path = service.invited()
    browser.get(path)
    assert browser.post(path, data={**FORM, "csrf": "0" * 64}).status_code == 403
    service.work()
    assert service.grdf.declared == []


def test_a_household_adds_gas_from_the_page_of_its_account(service: GasService) -> None:
    account = service.api.add()
    browser = service.browser()
    cookie = service.api.browser(account).cookies[SESSION_COOKIE]
    browser.cookies.set(SESSION_COOKIE, cookie, domain="testserver.local")
    assert f'href="/accounts/{account}/gas"' in browser.get(f"/accounts/{account}/connection").text
    page = browser.get(f"/accounts/{account}/gas")
    assert 'name="pce"' in page.text
    wrong = service.declare(browser, f"/accounts/{account}/gas", pce="1234")
    assert wrong.status_code == 422 and faults_of(wrong.text) == ["meter"] and 'value="1234"' in wrong.text
    answer = service.declare(browser, f"/accounts/{account}/gas", pce=" gi 000 456 ")
    assert answer.status_code == 303
    service.work()
    held = service.state(browser)
    assert held.status_code == 202 and "Your request has to be confirmed" in held.text and "Refresh" not in held.headers
    assert service.grdf.declared == []
    (request,) = service.parts.consent.requests.list_held()
    service.parts.consent.connector.let_in(request.id, by="cli:test")
    service.work()
    assert [one.meter for one in service.grdf.declared] == [OTHER_PCE]
    service.grdf.state = RightState.ACTIVE
    service.sweep()
    gas = service.parts.stores.registry.accounts.find(GAS, OTHER_PCE)
    asked = open_as_asked(browser, service.state(browser))
    offer = asked.text.partition('name="offer" value="')[2].partition('"')[0]
    done = browser.post("/connect/join", data={"offer": offer, "choice": "join"})
    assert gas and done.headers["location"] == f"/accounts/{gas.id}"
    session = load_session(service.parts.access, browser.cookies.get(SESSION_COOKIE))
    assert set(session.accounts) == {account, gas.id}
    assert f'href="/accounts/{account}/gas"' not in browser.get(f"/accounts/{account}").text


def test_the_form_of_an_account_says_that_the_operator_confirms_first(service: GasService) -> None:
    account = service.api.add()
    page, (invited, path) = service.api.browser(account).get(f"/accounts/{account}/gas?lang=en"), service.invited()
    for words in ("first confirms that this meter is yours", "seven days at most"):
        assert words in html.unescape(page.text) and words not in html.unescape(invited.get(path).text)


def test_a_declaration_is_for_the_service_of_the_account_whose_page_the_form_was_on(service: GasService) -> None:
    """A session may show accounts of several services; the form has named one of them as the reader."""
    first, second = service.api.add(), service.api.add(22, tenant="ville")
    browser = service.api.browser(first, second)
    service.declare(browser, f"/accounts/{second}/gas", pce=OTHER_PCE)
    (request,) = service.parts.consent.requests.list_held()
    assert (request.tenant, set(request.session)) == ("ville", {first, second})


def test_too_many_declarations_of_an_address_wait(service: GasService) -> None:
    browser, path = service.invited()
    for _ in range(DECLARATIONS.calls):
        assert service.declare(browser, path).status_code == 303
    assert service.declare(browser, path).status_code == 429


def test_the_suppliers_own_page_is_offered_where_it_is_set_up(service: GasService) -> None:
    browser, path = service.invited()
    page = browser.get(path)
    assert f'action="{path}/page"' in page.text
    assert "form-action 'self' http://127.0.0.1:9" in page.headers["Content-Security-Policy"]


def test_a_service_without_gas_has_none_of_these_pages(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path) as api:
        account = api.add()
        browser = api.browser(account)
        browser.follow_redirects = False
        assert browser.get(f"/accounts/{account}/gas").status_code == 404
        assert browser.get("/connect/right/state").status_code == 404
        assert browser.get("/callback/grdf?code=x&state=y").status_code == 404


def test_a_callback_of_grdf_is_bound_to_its_browser_and_supplier_and_used_once(service: GasService) -> None:
    browser, path = service.invited()
    csrf = csrf_of(browser.get(path).text)
    answer = browser.post(f"{path}/page", data={"csrf": csrf})
    page = urlsplit(answer.headers["location"])
    query = dict(parse_qsl(page.query))
    assert answer.status_code == 303 and page.netloc == "127.0.0.1:9" and page.path.endswith("/authorize")
    assert query["redirect_uri"].endswith("/callback/grdf") and query["pce"] == PCE and query["state"]
    back = f"/callback/grdf?code=c0de&state={query['state']}"
    assert service.browser().get(back).status_code == 403
    assert browser.get(back.replace("/grdf", "/enedis")).status_code == 400
    waiting = browser.get(back)
    assert waiting.status_code == 202 and "Refresh" in waiting.headers
    (request_id,) = service.parts.consent.requests.list_due(datetime.now(UTC) + timedelta(hours=1), 10)
    request = service.parts.consent.requests.get(request_id)
    assert request is not None and (request.supplier, request.code) == (GAS, "c0de")
    assert request.invitation_id is not None
    assert browser.get(back).status_code == 202, "loading it again shows its outcome"
    assert service.parts.consent.requests.list_due(datetime.now(UTC) + timedelta(hours=1), 10) == [request_id]


def test_a_refusal_on_the_page_of_grdf_changes_nothing(service: GasService) -> None:
    browser, path = service.invited()
    csrf = csrf_of(browser.get(path).text)
    page = browser.post(f"{path}/page", data={"csrf": csrf}).headers["location"]
    state = dict(parse_qsl(urlsplit(page).query))["state"]
    refused = browser.get(f"/callback/grdf?error=access_denied&state={state}")
    assert refused.status_code == 403 and "You did not give your consent" in refused.text
    assert browser.get(path).status_code == 200, "the invitation can still be used"
