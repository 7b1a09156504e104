"""A right of access to a gas meter, through every state that GRDF has, with a real web service, worker and simulator.

Each test has meters of its own. What takes an answer of GRDF's is done for many of them at once, and told by fixtures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select

from tests.support.household_browser import HouseholdBrowser
from tests.support.rights_service import GAS, RightsService, open_rights_service
from tests.support.waiting import until
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.consent.consents import NoticeKind, Proof
from worker.domain.consent.rights import ProofState, Right, RightState
from worker.errors import RightEnded

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
    "make_obsolete": (RightState.OBSOLETE, 410, "This consent has come to its end"),
    "expire": (RightState.OBSOLETE, 410, "This consent has come to its end"),
    "recheck": (RightState.TO_CHECK, 202, "GRDF checks your consent"),
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
    assert (page.status_code, "GRDF writes to you" in page.text) == (202, True)
    right = service.right(meter)
    service.change_right(meter, "ask_proof", until="2024-08-20")
    service.sweep(pending_only=True)
    page = service.state(browser)
    assert "GRDF asks for a proof of your consent" in page.text and "20 August 2024" in page.text
    assert [one.kind for one in service.notices() if right.id in one.about] == [NoticeKind.RIGHT_PROOF_AWAITED]
    (row,) = [row for row in service.system.query("rights") if row["right"] == right.id]
    assert (row["state"], row["proof"], row["proof_until"]) == ("pending", "awaited", "2024-08-20")
    file = tmp_path / "consent.pdf"
    file.write_bytes(PDF)
    assert service.system.query("rights", "proof", right.id, str(file))["files"] == 1
    assert service.right_at_grdf(meter)["proof"] == "in_review"
    service.change_right(meter, "accept_proof")
    service.sweep(pending_only=True)
    assert service.account_of(meter) is None and "GRDF writes to you" in service.state(browser).text
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
