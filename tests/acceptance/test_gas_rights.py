"""A right of access to a gas meter, through every state that GRDF has, with a real web service, worker and simulator.

Each test has meters of its own. What takes an answer of GRDF's is done for many of them at once, and told by fixtures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.support.household_browser import HouseholdBrowser
from tests.support.household_pages import csrf_of
from tests.support.operators import add_operator
from tests.support.registries import all_rows
from tests.support.rights_service import GAS, TYPED, RightsService, dump, open_rights_service
from tests.support.waiting import until
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.consent.consents import NoticeKind, Proof
from worker.domain.consent.rights import ProofState, Right, RightState
from worker.domain.measures.series import Doctype
from worker.errors import RightEnded
from worker.stores.measures.base import ALL_KEYS

PDF: Final = b"%PDF-1.4 the signed form"
# What ends an active right, and what the sweep makes of it.  Five at once would be an incident.
ENDS: Final = {
    "recheck": RightState.TO_CHECK,
    "revoke": RightState.REVOKED,
    "make_obsolete": RightState.OBSOLETE,
    "expire": RightState.OBSOLETE,
}
# What may happen to a right that waits for its holder: status and words of the household's page.
WHILE_IT_WAITS: Final = {
    "refuse": (RightState.REFUSED, 403, "The request was refused"),
    "revoke": (RightState.REVOKED, 403, "Your consent was withdrawn at GRDF"),
    "make_obsolete": (RightState.OBSOLETE, 410, "Your consent has ended"),
    "expire": (RightState.OBSOLETE, 410, "Your consent has ended"),
    "recheck": (RightState.TO_CHECK, 202, "GRDF is checking your consent"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RightsService]:
    with open_rights_service(tmp_path_factory.mktemp("gas-rights")) as service:
        yield service


@dataclass
class Street:
    """Meters by what happened to them, and the browsers of their households."""

    kept: str
    ended: dict[str, str]
    waited: dict[str, str]
    browsers: dict[str, HouseholdBrowser]
    electricity: str
    after_sweep: dict[str, tuple[Account, Right]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def street(service: RightsService) -> Street:
    """Return households whose rights have ended, each in another way, and were swept once; then came a night."""
    kept, ended = service.meter(), {do: service.meter() for do in ENDS}
    waited = {do: service.meter(holder="waits") for do in WHILE_IT_WAITS}
    browsers = {meter: service.browser() for meter in (kept, *ended.values(), *waited.values())}
    power = browsers[ended["revoke"]].connect("30001640000011").account
    assert power, "electricity takes no invitation here"
    service.open(browsers)
    for do, meter in (*ended.items(), *waited.items()):
        service.change_right(meter, do)
    service.sweep()
    street = Street(kept, ended, waited, browsers, power)
    street.after_sweep = {meter: (service.account(meter), service.right(meter)) for meter in ended.values()}
    before = {meter: service.data_calls(meter) for meter in browsers}
    service.night(kept)
    street.calls = {meter: service.data_calls(meter) - before[meter] for meter in browsers}
    return street


# From the invitation to the chart


def test_an_invited_household_declares_its_meter_and_sees_its_gas_once_the_holder_has_accepted(
    service: RightsService, tmp_path: Path
) -> None:
    meter, browser = service.meter(), service.browser()
    page = service.declare(browser, meter)
    assert (page.status_code, "GRDF is sending you an email" in page.text) == (202, True)
    right = service.right(meter)
    service.change_right(meter, "ask_proof", until="2024-08-20")
    service.sweep(pending_only=True)
    page = service.state(browser)
    assert "GRDF asks for proof of your consent" in page.text and "20 August 2024" in page.text
    assert [one.kind for one in service.notices() if right.id in one.about] == [NoticeKind.RIGHT_PROOF_AWAITED]
    (row,) = [row for row in service.system.query_rows("rights") if row["right"] == right.id]
    assert (row["state"], row["proof"], row["proof_until"]) == ("pending", "awaited", "2024-08-20")
    file = tmp_path / "consent.pdf"
    file.write_bytes(PDF)
    assert service.system.query("rights", "proof", right.id, str(file))["files"] == 1
    assert service.right_at_grdf(meter)["proof"] == "in_review"
    service.change_right(meter, "accept_proof")
    service.sweep(pending_only=True)
    assert service.account_of(meter) is None and "GRDF is sending you an email" in service.state(browser).text
    service.let_holders_answer()
    service.sweep(pending_only=True)
    account, opened = service.account(meter), service.right(meter)
    assert (account.state, opened.state, opened.proof) == (AccountState.READY, RightState.ACTIVE, ProofState.ACCEPTED)
    service.wait_loaded(meter)
    assert service.count_faults(meter) == 0
    page = service.state(browser)
    assert (page.status_code, page.url) == (200, f"{service.address}/accounts/{account.id}")
    days = browser.days(account.id)
    assert len(days) > 1000 and min(days) < "2021-08-01" and "kWh" in page.text
    assert not service.browser().can_see(account.id)


# Each state that a right may come to


@pytest.mark.parametrize("do", ENDS)
def test_a_right_that_ends_is_noticed_in_one_sweep_and_nothing_is_asked_any_more(
    service: RightsService, street: Street, do: str
) -> None:
    meter = street.ended[do]
    account, right = street.after_sweep[meter]
    assert (account.state, account.reason) == (AccountState.ACTION_NEEDED, RightEnded.code)
    assert right.state is ENDS[do]
    assert [one.kind for one in service.notices(account.id)] == [NoticeKind.ACTION_NEEDED]
    assert street.calls[meter] == 0 and street.calls[street.kept] > 0
    browser = street.browsers[meter]
    assert browser.can_see(account.id) and len(browser.days(account.id)) > 1000, "what was read stays"


def test_electricity_of_the_same_home_goes_on(service: RightsService, street: Street) -> None:
    browser = street.browsers[street.ended["revoke"]]
    assert service.system.runtime.registry.get(street.electricity).state is AccountState.READY
    service.system.run_night(street.electricity)
    assert browser.days(street.electricity)


def test_a_right_that_is_checked_and_good_again_is_asked_again(service: RightsService, street: Street) -> None:
    meter = street.ended["recheck"]
    before = service.data_calls(meter)
    service.change_right(meter, "accept")
    service.sweep()
    assert service.account(meter).state is AccountState.READY
    service.night(meter)
    assert service.data_calls(meter) > before and service.count_faults(meter) == 0


@pytest.mark.parametrize("do", WHILE_IT_WAITS)
def test_a_right_that_ends_while_it_waits_opens_nothing_and_its_page_says_so(
    service: RightsService, street: Street, do: str
) -> None:
    meter, (state, status, words) = street.waited[do], WHILE_IT_WAITS[do]
    assert service.right(meter).state is state and service.account_of(meter) is None
    page = service.state(street.browsers[meter])
    assert (page.status_code, words in page.text) == (status, True), page.text[-1500:]
    assert street.calls[meter] == 0


# Who may declare what


@pytest.mark.parametrize(
    ("switches", "typed", "status", "words"),
    [
        ({"postcode": "69003"}, {"postcode": "69001"}, 409, "The postcode does not match"),
        ({"contract_ended": True}, {}, 410, "This meter’s contract has ended"),
        ({"declaration_refusal": "1000000006"}, {}, 404, "GRDF does not know this meter"),
        ({"declaration_refusal": "1000000013"}, {}, 403, "Your consent was withdrawn at GRDF"),
        ({"declaration_refusal": "1000000022"}, {}, 502, "GRDF refuses the requested data"),
        ({"declaration_refusal": "1000000026"}, {}, 409, "The name is not accepted"),
    ],
)
def test_what_grdf_does_not_register_has_its_page_and_the_same_invitation_serves_again(
    service: RightsService, switches: dict[str, Any], typed: dict[str, str], status: int, words: str
) -> None:
    meter, browser = service.meter(**switches), service.browser()
    path = service.invite(browser, "--pce", meter)
    page = service.declare(browser, meter, path, **typed)
    assert (page.status_code, words in page.text) == (status, True), page.text[-1500:]
    assert service.grdf("GET", f"rights?pce={meter}") == []
    service.grdf("DELETE", f"meters/{meter}")
    assert urlsplit(browser.get("/connect/right/again").headers["Location"]).path == path
    assert "GRDF is sending you an email" in service.declare(browser, meter, path).text


def test_a_stranger_declares_nothing_and_grdf_is_not_asked(service: RightsService, street: Street) -> None:
    meter, other, stranger = service.meter(), service.meter(), service.browser()
    account = service.account(street.kept).id
    paths = ["/invitation/abcdef/right", f"/accounts/{account}/gas"]
    paths.append(service.invite(service.browser(), "--pce", meter))  # Another browser has opened this one.
    own = service.invite(stranger, "--pce", other)
    service.settle()
    rows, calls = all_rows(service.system.runtime.registry.database), service.calls()
    form = {**TYPED, "postcode": "69001", "pce": meter, "csrf": csrf_of(stranger.get(own).text)}
    statuses = [stranger.submit(path + end, **form).status_code for path in paths for end in ("", "/page")]
    assert all(status in (403, 404, 410) for status in statuses), statuses
    assert [service.browser().get(path).status_code for path in paths] == [410, 404, 410]
    service.settle()
    assert all_rows(service.system.runtime.registry.database) == rows and service.calls() == calls
    # An invitation serves for its own meter, whatever else is typed.
    assert service.declare(stranger, other, own, pce=meter).status_code == 202
    assert service.grdf("GET", f"rights?pce={meter}") == [] and service.right(other).meter == other


def test_a_right_that_becomes_active_never_opens_an_account_that_exists(service: RightsService) -> None:
    meter, browser = service.meter(), service.browser()
    assert service.declare(browser, meter).status_code == 202
    words = ("--own", "--postcode", service.postcode(meter), "--company", "Ferme du Lac")
    account = service.system.query("accounts", "add", "--pce", meter, *words)["account"]
    service.wait_loaded(meter)
    before = service.account(meter)
    service.let_holders_answer()
    service.sweep(pending_only=True)
    service.sweep()
    assert service.account(meter) == before and before.id == account
    page = service.state(browser)
    assert (page.status_code, "This meter needs an invitation" in page.text) == (409, True)
    assert not browser.can_see(account)
    (proof,) = service.system.runtime.consents.list_proofs(account)
    assert proof.proof is Proof.OWN


def test_who_consents_on_grdfs_own_page_has_the_account_at_once(service: RightsService) -> None:
    meter, browser = service.meter(), service.browser()
    path = service.invite(browser, "--pce", meter)
    answer = browser.submit(f"{path}/page", csrf=csrf_of(browser.get(path).text))
    callback = browser.agree_on(answer)
    page = service.state(browser, callback)
    account = service.account(meter)
    assert page.url == f"{service.address}/accounts/{account.id}"
    service.wait_loaded(meter)
    assert service.count_faults(meter) == 0 and browser.can_see(account.id)
    service.sweep()
    assert (service.right(meter).account_id, service.right(meter).state) == (account.id, RightState.ACTIVE)
    service.change_right(meter, "revoke")
    service.sweep()
    assert service.account(meter).reason == RightEnded.code


# Proofs, on the operator's page


def test_a_proof_that_grdf_awaits_is_sent_from_the_operators_page(service: RightsService, street: Street) -> None:
    meter, operator = street.kept, service.browser()
    right = service.right(meter)
    service.change_right(meter, "ask_proof", until="2024-07-27")
    service.sweep()
    told = {one.kind for one in service.notices() if one.about == f"{right.id}@2024-07-27"}
    assert told == {NoticeKind.RIGHT_PROOF_AWAITED, NoticeKind.RIGHT_PROOF_ENDS}
    service.run_task("tasks.upkeep.deliver_due_notices")
    service.settle()
    assert f"Send it with `releve rights proof {right.id} FILE`" in service.worker_log.read_text()
    assert service.account(meter).state is AccountState.READY, "the data is read while the proof is awaited"
    action = f"/operator/rights/{right.id}/proofs"
    assert operator.upload(action, proof=("consent.pdf", PDF), csrf="0" * 64).status_code == 403
    secrets = add_operator(service.system.runtime, second_factor=False)
    fields = {"name": secrets.name, "password": secrets.password, "csrf": csrf_of(operator.get("/operator").text)}
    operator.submit("/operator/login", **fields)
    page = operator.get("/operator").text
    assert action in page and meter not in page and f"…{meter[-4:]}" in page
    csrf = re.search(rf'action="{action}".*?name="csrf" value="([0-9a-f]+)"', page, re.DOTALL)
    assert csrf
    assert operator.upload(action, proof=("consent.pdf", b"%PDF" + bytes(4 * 1024**2)), csrf=csrf[1]).status_code == 422
    assert service.right_at_grdf(meter)["proofs"] == 0
    assert operator.upload(action, proof=("consent.pdf", PDF), csrf=csrf[1]).status_code == 303
    until(lambda: service.right_at_grdf(meter)["proof"] == "in_review", "the proof at GRDF")
    service.change_right(meter, "reject_proof")
    service.sweep()
    assert NoticeKind.RIGHT_PROOF_REJECTED in {one.kind for one in service.notices() if right.id in one.about}
    assert action in operator.get("/operator").text, "another one can be sent"
    service.change_right(meter, "accept_proof")
    service.sweep()
    assert service.right(meter).proof is ProofState.ACCEPTED and action not in operator.get("/operator").text


# Leaving


def test_erasure_leaves_nothing_of_the_meter_but_the_keyed_digest_that_remembers_it(service: RightsService) -> None:
    meter, browser, runtime = service.meter(), service.browser(), service.system.runtime
    power = browser.connect("30001640000022").account
    assert power
    service.open({meter: browser})
    account, right, of_power = service.account(meter), service.right_at_grdf(meter), browser.days(power)
    digest = runtime.erasures.digests(GAS, meter)[0]
    kept_before = places_of(service, meter, right["id"])
    assert {"table rights", "table usage_points"} <= kept_before, "the search finds what is sealed"
    path = f"/accounts/{account.id}/remove"
    assert browser.press(browser.visit(path), path).status_code == 200
    until(lambda: not runtime.rights.list_to_withdraw(), "the withdrawal at GRDF")
    service.settle()
    after = service.right_at_grdf(meter)
    assert (after["state"], after["ended_by"]) == ("revoked", "TIERS")

    def is_gone() -> bool:
        service.run_task("tasks.upkeep.prune_raw_answers")  # The hourly upkeep, which empties SQLite's log.
        return not places_of(service, meter, right["id"])

    until(is_gone, lambda: f"left in {places_of(service, meter, right['id'])}: that all goes", timeout_s=20)
    remembered = {place for place in places_of(service, digest) if not place.startswith("file data/registry.db")}
    assert remembered == {"table erasures", "file data/ledger.ndjson"}
    assert not any(runtime.measures.read(account.id, dict.fromkeys(Doctype, ALL_KEYS)).values())
    calls = service.data_calls(meter)
    service.sweep()
    assert service.account_of(meter) is None and service.data_calls(meter) == calls
    service.system.run_night(power)
    assert browser.can_see(power) and browser.days(power) == of_power and not browser.can_see(account.id)


def places_of(service: RightsService, *texts: str) -> set[str]:
    """Return where one of these texts is kept."""
    return {place for place, content in dump(service).items() if any(text in content for text in texts)}
