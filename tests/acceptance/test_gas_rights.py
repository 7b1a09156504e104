"""Two homes with gas, from the invitation to the end, with a real web service, worker and simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.household_pages import csrf_of
from tests.support.rights_service import GAS, RightsService, dump, open_rights_service
from tests.support.waiting import until
from worker.domain.access_right import ProofState, RightState
from worker.domain.account import AccountState
from worker.domain.documents import ALL_KEYS
from worker.domain.notice import NoticeKind
from worker.domain.series import Doctype
from worker.errors import RightEnded


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RightsService]:
    with open_rights_service(tmp_path_factory.mktemp("gas-rights")) as service:
        yield service


def test_an_invited_household_sees_its_gas_once_the_holder_has_accepted_and_until_the_right_ends(
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
    service.run_task("tasks.upkeep.deliver_due_notices")
    service.settle()
    assert f"Send it with `releve consents proof {right.id} FILE`" in service.worker_log.read_text()
    (row,) = [row for row in service.system.query_rows("consents", "--rights") if row["right"] == right.id]
    assert (row["state"], row["proof"], row["proof_until"]) == ("pending", "awaited", "2024-08-20")
    file = tmp_path / "consent.pdf"
    file.write_bytes(b"%PDF-1.4 the signed form")
    assert service.system.query("consents", "proof", right.id, str(file))["files"] == 1
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
    page = browser.open_connected(browser.visit("/connect/right/state"))
    assert (page.status, page.account) == (200, account.id)
    days = browser.days(account.id)
    assert len(days) > 1000 and min(days) < "2021-08-01" and "kWh" in page.text
    assert not service.browser().can_see(account.id)

    service.change_right(meter, "revoke")
    service.sweep()
    account = service.account(meter)
    assert (account.state, account.reason) == (AccountState.ACTION_NEEDED, RightEnded.code)
    assert service.right(meter).state is RightState.REVOKED
    assert [notice.kind for notice in service.notices(account.id)] == [NoticeKind.ACTION_NEEDED]
    calls = service.data_calls(meter)
    service.system.start_night()
    service.settle()
    assert service.data_calls(meter) == calls
    assert browser.days(account.id) == days, "what was read stays"


def test_who_consents_on_grdfs_own_page_has_the_account_at_once_and_its_erasure_leaves_a_keyed_digest_alone(
    service: RightsService,
) -> None:
    meter, browser, parts = service.meter(), service.browser(), service.system.parts
    power = browser.connect("30001640000022").account
    assert power, "electricity takes no invitation here"
    path = service.invite(browser, "--pce", meter)
    callback = browser.agree_on(browser.submit(f"{path}/page", csrf=csrf_of(browser.get(path).text)))
    page = browser.join(service.state(browser, callback))
    account = service.account(meter)
    assert page.account == account.id
    service.wait_loaded(meter)
    assert service.count_faults(meter) == 0 and browser.can_see(account.id)
    service.sweep()
    assert (service.right(meter).account_id, service.right(meter).state) == (account.id, RightState.ACTIVE)
    service.change_right(meter, "ask_proof", until="2024-08-20")
    service.sweep()
    assert service.right(meter).proof is ProofState.AWAITED
    assert service.account(meter).state is AccountState.READY, "the data is read while the proof is awaited"

    right, of_power = service.right_at_grdf(meter), browser.days(power)
    digest = parts.stores.registry.erasures.digests(GAS, meter)[0]
    kept_before = places_of(service, meter, right["id"])
    assert {"table rights", "table usage_points"} <= kept_before, "the search finds what is sealed"
    path = f"/accounts/{account.id}/remove"
    assert browser.press(browser.visit(path), path).status_code == 200
    until(lambda: not parts.stores.registry.rights.list_to_withdraw(), "the withdrawal at GRDF")
    service.settle()
    after = service.right_at_grdf(meter)
    assert (after["state"], after["ended_by"]) == ("revoked", "TIERS")

    def is_gone() -> bool:
        service.run_task("tasks.upkeep.prune_raw_answers")  # The hourly upkeep, which empties SQLite's log.
        return not places_of(service, meter, right["id"])

    until(is_gone, lambda: f"left in {places_of(service, meter, right['id'])}: that all goes", timeout_s=20)
    remembered = {place for place in places_of(service, digest) if not place.startswith("file data/registry.db")}
    assert remembered == {"table erasures", "file data/ledger.ndjson"}
    assert not any(parts.stores.measures.read(account.id, dict.fromkeys(Doctype, ALL_KEYS)).values())
    calls = service.data_calls(meter)
    service.sweep()
    assert service.account_of(meter) is None and service.data_calls(meter) == calls
    service.system.run_night(power)
    assert browser.can_see(power) and browser.days(power) == of_power and not browser.can_see(account.id)


def places_of(service: RightsService, *texts: str) -> set[str]:
    """Return where one of these texts is kept."""
    return {place for place, content in dump(service).items() if any(text in content for text in texts)}
