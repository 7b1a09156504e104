"""Whose meter is it: what a web service, a worker and a simulator show only together, each a process of its own.

A test names its finding of the security review of November 2026; docs/reference/asvs.md names the tests of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.support.household_browser import Page
from tests.support.outside_stack import OutsideStack
from tests.support.outside_view import Service, new_meter, open_service
from tests.support.system import NO_QUOTA, QUICK_START
from worker.clients.supplier_session import Token
from worker.domain.series import Doctype

HOURLY_CALLS: Final = 200
OF_STRANGERS: Final = HOURLY_CALLS // 20  # 5 %.


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("ownership"), "enedis-2026", **NO_QUOTA) as built:
        yield built


@pytest.fixture
def service(running: Service) -> Service:
    """Return the running service, whose tests all call from one address."""
    running.forget_limits()
    running.settle()
    return running


def assert_says_how_to_go_on(page: Page) -> None:
    assert page.account is None, f"{page.path} is open"
    assert 'href="/invitation"' in page.text, page.text[-1500:]


def test_r0_a_consent_outlives_the_death_of_worker_and_web(service: Service) -> None:
    holder, system, link = service.browser(), service.system, service.invite("--usage-point", new_meter())
    system.kill("worker")
    try:
        callback = holder.agree_on(holder.open_invitation(link))
        assert holder.get(callback).status_code == 202  # Nobody is there to ask the supplier.
        system.kill("web")
        system.start_web()
    finally:
        system.start_worker(*QUICK_START)
    assert holder.can_see(service.loaded(holder.visit(callback)))


def test_d4_our_own_pacing_is_called_so(service: Service) -> None:
    account = service.connect(service.browser(), new_meter())
    for _ in range(2):  # The first run may still find a permit.
        service.run("sync", account, "--inline", CALLS_PER_HOUR="1")
    row = service.system.query("status", account)
    assert {series["error"] for series in row["series"].values()} - {None} == {"RATE_LIMITED"}


def test_h5_a_client_reads_its_one_meter_with_a_token_that_is_not_the_applications(service: Service) -> None:
    stack, holder, meter, other = OutsideStack.register(service), service.browser(), new_meter(), new_meter()
    service.connect(service.browser(), other)
    back = stack.come_back(holder, stack.begin(holder, meter))
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    exchanged = stack.exchange(code)
    first = exchanged.json()
    assert (first["usage_point_id"], first["token_type"], first["expires_in"]) == (meter, "Bearer", 3600)
    before = service.data_calls(other)
    own, others, nobodys = (stack.read(first["access_token"], number) for number in (meter, other, new_meter()))
    assert own.status_code == 200 and meter in own.text
    assert others.status_code == 403 and (others.content, others.status_code) == (nobodys.content, 403)
    assert service.data_calls(other) == before
    renewed = stack.refresh(first["refresh_token"])
    stored = Token.from_text(service.system.parts.sync.suppliers.main.application_token.load() or "")
    answers = (back.headers["Location"], exchanged.text, own.text, others.text, renewed.text)
    assert not [text for text in answers if stored.access in text]
    assert stack.read(first["access_token"], meter).status_code == 401  # The renewal has replaced it.


def test_h3_nothing_older_than_an_erasure_opens_the_meter(service: Service) -> None:
    meter, holder, other, system = new_meter(), service.browser(), service.browser(), service.system
    account = service.connect(holder, meter)
    callback, link = holder.callback(**holder.last_callback), service.invite(account)
    second_tab = holder.agree_on(holder.open_invitation(link))
    token = system.query("access", "add-token", "--name", "test", "--scope", "write:accounts")["token"]
    remove = f"/accounts/{account}/remove"
    assert holder.press(holder.visit(remove), remove).status_code == 200
    service.settle()

    with service.nothing_changes(most_calls=1, but="api_tokens"):
        pages = [holder.visit(callback), holder.visit(second_tab)]
        pages.append(other.type_callback(autorisation_id=holder.last_callback["autorisation_id"]))
        assert [person.open_invitation(link).status_code for person in (holder, other)] == [410, 410]
        added = add_by_program(service, meter, token)
        assert (added.status_code, added.json()["error"]) == (409, "meter_erased")
        refused = service.run("accounts", "add", "--usage-point", meter)
        assert refused.code == 1 and "--anew" in refused.err and meter not in refused.err
    for page in pages:
        assert_says_how_to_go_on(page)
    assert not holder.can_see(account) and holder.get("/api/accounts").status_code == 401

    again = service.connect(other, meter)
    assert again != account and other.can_see(again) and other.days(again)
    assert not holder.can_see(again) and not other.can_see(account)
    assert [system.documents(account, period) for period in Doctype] == [[] for _ in Doctype]


def add_by_program(service: Service, meter: str, token: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{service.address}/api/accounts", json={"usage_point": meter}, headers=headers, timeout=60)


def test_n3_a_restored_backup_lets_nobody_in_and_brings_no_erased_account_back(
    service: Service, tmp_path: Path
) -> None:
    """A restore undoes no revocation and no erasure. The last test: the service goes on with the restored stores."""
    system, file = service.system, tmp_path / "backup.zip"
    meter, erased_meter, holder, erased = new_meter(), new_meter(), service.browser(), service.browser()
    account, erased_account = service.connect(holder, meter), service.connect(erased, erased_meter)
    token = system.query("access", "add-token", "--name", "n3", "--scope", "read:accounts")["token"]
    link, days = service.invite("--usage-point", new_meter()), holder.days(account)
    system.query("backup", str(file))
    assert meter.encode() not in file.read_bytes()
    system.releve("accounts", "remove", erased_account, "--yes")
    restore_elsewhere(service, file, tmp_path)
    assert not holder.can_see(account) and not erased.can_see(erased_account)
    assert erased_account not in service.accounts()
    with service.nothing_changes():
        page = erased.type_callback(autorisation_id=erased.last_callback["autorisation_id"])
        assert service.run("accounts", "add", "--usage-point", erased_meter).code == 1
    assert_says_how_to_go_on(page)
    assert service.browser().get("/api/accounts", token).status_code == 401
    assert service.browser().open_invitation(link).status_code == 410
    came_back = service.loaded(holder.accept_invitation(service.invite(account)))
    assert came_back == account, "its holder comes in again, by a new proof"
    assert holder.days(account) == days


def restore_elsewhere(service: Service, file: Path, folder: Path) -> None:
    """Lose registry and measures, and restore the backup into empty ones; keys and ledger stay where they are."""
    system = service.system
    for name in ("web", "worker"):
        system.kill(name)
    system.settings |= {name: f"sqlite:///{folder}/{name.lower()}.db" for name in ("REGISTRY_URL", "MEASURES_URL")}
    system.__dict__.pop("parts", None)
    system.query("restore", str(file))
    system.start_worker(*QUICK_START)
    system.start_web()


def test_n1_callbacks_of_strangers_leave_the_quota_to_others(tmp_path: Path) -> None:
    """With v4 alone a stranger's callback may cost a call: its code may be a proof."""
    limits = {"CALLS_PER_HOUR": str(HOURLY_CALLS), "CALLS_PER_SECOND": "0"}
    with open_service(tmp_path, "enedis-v4", **limits) as service:
        before = service.calls()
        for number in range(3 * OF_STRANGERS):
            if number % 20 == 0:
                service.forget_limits()
            typed = {"code": "a-code-that-was-made-up", "usage_point_id": new_meter()}
            assert service.browser().load_callback(**typed).status_code < 500
        service.settle()
        assert 0 < service.calls() - before <= OF_STRANGERS and service.accounts() == {}
        invited = service.browser()
        page = invited.accept_invitation(service.invite("--usage-point", new_meter()))
        assert invited.can_see(service.loaded(page))
