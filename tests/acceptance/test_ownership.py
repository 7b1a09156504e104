"""Whose meter is it: nothing happens without a proof, on a real web service, worker and simulator, in each generation.

Each test is a finding of the security review of November 2026, whose number it names, as it was run there: what an
outsider can see of it by a browser, the API, the command line and the supplier's own count of calls.
docs/explanation/access.md tells who may do what; ownership.md there what a proof is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from sqlalchemy import update

from tests.support.household_browser import HouseholdBrowser, Page
from tests.support.outside_stack import STACK, OutsideStack
from tests.support.outside_view import (
    GENERATIONS,
    MORNING,
    V4,
    V5,
    V2026,
    ProgramView,
    Service,
    new_meter,
    open_service,
)
from tests.support.system import NO_QUOTA, QUICK_START
from tests.support.waiting import until
from worker.clients.tokens import Token
from worker.domain.measures.series import Doctype
from worker.stores.registry.tables import CONSENT_EVIDENCE

NO_PROOF_BY_ITSELF: Final = (V5, V2026)  # Their callbacks name a meter or a consent, which anybody can type.
ADD: Final = "write:accounts"
TODAY: Final = date(2024, 7, 25)
WITHDRAWN: Final = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
PAGES_OF_NEXT_STEP: Final = ('href="/invitation"', 'href="/connect/enedis"')
HOURLY_CALLS: Final = 1000
OF_STRANGERS: Final = HOURLY_CALLS // 20  # 5 %.


@pytest.fixture(scope="module", params=GENERATIONS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service of each generation, for all tests of this file that don't change its clock or quota."""
    with open_service(tmp_path_factory.mktemp(request.param), request.param, **NO_QUOTA) as built:
        yield built


@pytest.fixture
def service(running: Service) -> Service:
    """Return the running service, whose tests all call from one address."""
    running.forget_limits()
    running.settle()
    return running


def only(*generations: str) -> pytest.MarkDecorator:
    """Run a test on these generations alone."""
    return pytest.mark.parametrize("running", generations, indirect=True)


def assert_says_how_to_go_on(page: Page) -> None:
    assert page.account is None, f"{page.path} is open"
    assert any(link in page.text for link in PAGES_OF_NEXT_STEP), page.text[-1500:]


# H1: whoever comes first has the account


def test_h1_a_typed_callback_opens_nothing_and_its_holder_comes_in_all_the_same(service: Service) -> None:
    meter, thief, holder = new_meter(), service.browser(), service.browser()
    holder.agree(f"/connect/enedis?usage_point_id={meter}")  # The holder has consented, and is not back yet.
    typed = service.typed_about(meter, holder.last_callback.get("autorisation_id"))
    with service.nothing_changes(service.most_calls):
        page = thief.type_callback(**typed)
    assert_says_how_to_go_on(page)
    assert thief.get("/api/accounts").status_code == 401
    account = service.connect(holder, meter)
    assert holder.can_see(account) and holder.days(account)
    assert not thief.can_see(account)


@only(*NO_PROOF_BY_ITSELF)
def test_h1_a_typed_callback_after_the_holder_opens_nothing_either(service: Service) -> None:
    meter, thief, holder = new_meter(), service.browser(), service.browser()
    account = service.connect(holder, meter)
    with service.nothing_changes(service.most_calls):
        page = thief.type_callback(**service.typed_about(meter, holder.last_callback.get("autorisation_id")))
    assert_says_how_to_go_on(page)
    assert holder.can_see(account) and not thief.can_see(account)


def test_h1_of_many_at_the_same_moment_the_holder_alone_comes_in(service: Service) -> None:
    meter, holder, thieves = new_meter(), service.browser(), [service.browser() for _ in range(8)]
    before = set(service.accounts())
    holder.agree(f"/connect/enedis?usage_point_id={meter}")
    typed = service.typed_about(meter, holder.last_callback.get("autorisation_id"))
    with ThreadPoolExecutor(len(thieves)) as pool:
        tries = [pool.submit(thief.type_callback, **typed) for thief in thieves]
        account = service.connect(holder, meter)
        pages = [attempt.result() for attempt in tries]
    assert set(service.accounts()) - before == {account}
    assert holder.can_see(account)
    assert not any(page.account or thief.can_see(account) for page, thief in zip(pages, thieves, strict=True))


@only(V4)
def test_h1_the_code_of_ones_own_consent_proves_no_other_meter(service: Service) -> None:
    meter, thief = new_meter(), service.browser()
    thief.agree(f"/connect/enedis?usage_point_id={new_meter()}")
    with service.nothing_changes(1):
        page = thief.visit(thief.callback(**{**thief.last_callback, "usage_point_id": meter}))
    assert_says_how_to_go_on(page)


@only(*NO_PROOF_BY_ITSELF)
def test_h1_an_invitation_is_no_proof_of_another_meter(service: Service) -> None:
    own, meter, holder, invited = new_meter(), new_meter(), service.browser(), service.browser()
    account = service.connect(holder, meter)
    link = service.invite("--usage-point", own)
    answer = invited.open_invitation(link)
    state = HouseholdBrowser.state_of(answer)
    typed = service.typed_about(meter, holder.last_callback.get("autorisation_id"))
    with service.nothing_changes(1):
        page = invited.visit(invited.callback(state, **typed))
    assert_says_how_to_go_on(page)
    assert holder.can_see(account) and not invited.can_see(account)
    own_account = service.loaded(invited.accept_invitation(link))
    assert invited.can_see(own_account) and own_account != account


# R0: a request is all that there is until the proof, so that a crash costs nobody an account


@only(V4, V2026)
def test_r0_a_consent_outlives_the_death_of_worker_and_web(service: Service) -> None:
    meter, holder, system = new_meter(), service.browser(), service.system
    link = None if service.generation == V4 else service.invite("--usage-point", meter)
    system.kill("worker")
    try:
        answer = holder.get(f"/connect/enedis?usage_point_id={meter}") if link is None else holder.open_invitation(link)
        callback = holder.agree_on(answer)
        assert holder.get(callback).status_code == 202  # Nobody is there to ask the supplier.
        system.kill("web")
        system.start_web()
    finally:
        system.start_worker(*QUICK_START)
    account = service.loaded(holder.visit(callback))
    assert holder.can_see(account)


# N8: nobody learns who is a customer


@only(*NO_PROOF_BY_ITSELF)
def test_n8_a_typed_callback_gets_the_same_page_for_a_customer_and_for_nobody(service: Service) -> None:
    meter, holder = new_meter(), service.browser()
    service.connect(holder, meter)
    known = service.typed_about(meter, holder.last_callback.get("autorisation_id"))
    waiting, awaited = new_meter(), service.browser()
    awaited.agree(f"/connect/enedis?usage_point_id={waiting}")
    unclaimed = service.typed_about(waiting, awaited.last_callback.get("autorisation_id"))
    pages = [service.browser().type_callback(**typed) for typed in (known, unclaimed, service.typed_about(new_meter()))]
    first, *others = pages
    assert [page.content for page in others] == [first.content] * len(others)
    assert_says_how_to_go_on(first)
    assert meter not in first.text


# H2: consents are guessed


@only(V2026)
def test_h2_walking_the_ids_around_living_ones_opens_nothing(service: Service) -> None:
    meters, thief = [new_meter() for _ in range(3)], service.browser()
    holders = [service.browser() for _ in meters]
    for holder, meter in zip(holders, meters, strict=True):
        holder.agree(f"/connect/enedis?usage_point_id={meter}")
    living = [int(holder.last_callback["autorisation_id"]) for holder in holders]
    around = [number for number in range(min(living) - 40, max(living) + 40) if number not in living]
    with service.nothing_changes(5):
        for number in (*living, *around):
            answer = thief.load_callback(autorisation_id=str(number))
            if answer.status_code == 429:  # No more starts this minute.
                service.forget_limits()
                answer = thief.load_callback(autorisation_id=str(number))
            assert answer.status_code not in (302, 303), f"{number} opened {answer.headers.get('Location')}"
    assert thief.get("/api/accounts").status_code == 401
    for holder, meter in zip(holders, meters, strict=True):
        account = service.connect(holder, meter)
        assert holder.can_see(account) and not thief.can_see(account)


@only(V2026)
def test_h2_a_consent_of_yesterday_is_no_proof_today(service: Service) -> None:
    """An invitation proves the meter, but a consent that is older than the handshake may be another person's."""
    meter, holder, late = new_meter(), service.browser(), service.browser()
    link = service.invite("--usage-point", meter)
    service.system.simulator("POST", "clock", {"now": "2024-07-24T20:00+02:00"})
    try:
        holder.agree(f"/connect/enedis?usage_point_id={meter}")
    finally:
        service.system.simulator("POST", "clock", {"now": MORNING})
    state = HouseholdBrowser.state_of(late.open_invitation(link))
    with service.nothing_changes(1):
        page = late.visit(late.callback(state, autorisation_id=holder.last_callback["autorisation_id"]))
    assert_says_how_to_go_on(page)
    assert service.loaded(late.accept_invitation(link))  # The consent is given anew, under the same id.


# H6: a typed callback forges the evidence


@only(*NO_PROOF_BY_ITSELF)
def test_h6_a_strangers_callback_changes_nothing_of_a_withdrawn_account(service: Service) -> None:
    meter, stranger, holder = new_meter(), service.browser(), service.browser()
    account = service.connect(holder, meter)
    refusals, now = service.system.runtime.refusals.pending, service.system.runtime.now()
    refusals.suspend(account, WITHDRAWN, now, consent_ended=True, notices=list)
    refusals.record_sighting(account, WITHDRAWN, now)
    before = service.accounts()[account]
    assert (before["state"], before["reason"]) == ("action_needed", WITHDRAWN)
    with service.nothing_changes(service.most_calls):
        stranger.type_callback(**service.typed_about(meter, holder.last_callback.get("autorisation_id")))
    assert service.accounts()[account] == before
    assert not stranger.can_see(account)


# H7: one request makes thousands of accounts


@only(V4)
def test_h7_a_query_above_2_kb_is_refused_before_it_is_read(service: Service) -> None:
    stranger = service.browser()
    with service.nothing_changes():
        page = stranger.type_callback(**service.typed_about(new_meter()), padding="x" * 2048)
    assert page.status in (400, 414)


@only(V5)
@pytest.mark.parametrize("number", [11, 100])
def test_h7_a_callback_that_names_many_meters_is_refused_as_a_whole(service: Service, number: int) -> None:
    meters, stranger = [new_meter() for _ in range(number)], service.browser()
    typed = {"code": "a-code-that-was-made-up", "usage_point_id": ";".join(meters)}
    with service.nothing_changes():
        page = stranger.type_callback(**typed)
    assert (page.status, page.account) == (400, None)


@only(V4)
def test_h7_a_true_consent_for_eleven_meters_is_refused_as_a_whole(service: Service) -> None:
    holder = service.browser()
    many = ";".join(new_meter() for _ in range(11))
    holder.agree("/connect/enedis", usage_point_id=many)
    assert holder.last_callback["usage_point_id"] == many
    with service.nothing_changes():
        page = holder.visit(holder.callback(**holder.last_callback))
    assert page.status == 400


# M3: a token answer without a meter


@only(V4)
def test_m3_a_token_without_a_meter_replaces_nobodys(service: Service) -> None:
    meter = new_meter()
    account = service.connect(service.browser(), meter)
    service.system.simulator("POST", "switches", {"token_without_meter": True})
    try:
        for thief, victim in ((service.browser(), meter), (service.browser(), new_meter())):
            thief.agree(f"/connect/enedis?usage_point_id={new_meter()}")
            with service.nothing_changes(1):
                page = thief.visit(thief.callback(**{**thief.last_callback, "usage_point_id": victim}))
            assert_says_how_to_go_on(page)
    finally:
        service.system.simulator("POST", "switches", {"token_without_meter": False})
    before = service.data_calls(meter)
    service.system.releve("sync", account, "--inline")  # The holder's own token is still good.
    assert service.data_calls(meter) > before


# N5: an invitation works once, in one browser, and opens nothing by itself


@only(V5)
def test_n5_there_are_no_renewal_links(service: Service) -> None:
    assert service.browser().get("/renew/any-link").status_code == 404


@only(V2026)
def test_n5_an_invitation_works_once_and_in_one_browser(service: Service) -> None:
    meter, first, second = new_meter(), service.browser(), service.browser()
    link = service.invite("--usage-point", meter)
    for browser in (first, second):  # Mail programs load links, too.
        assert browser.get("/invitation").status_code == 200
    opened = first.open_invitation(link)
    assert opened.status_code == 303 and opened.headers["Location"].startswith(service.system.settings["ENEDIS_URL"])
    assert first.get("/api/accounts").status_code == 401
    with service.nothing_changes():
        assert second.open_invitation(link).status_code == 410
        assert second.visit(second.callback(HouseholdBrowser.state_of(opened), usage_point_id=meter)).status == 403
    account = service.loaded(first.accept_invitation(link))  # A second tab, or a second try.
    assert first.can_see(account) and not second.can_see(account)
    with service.nothing_changes():
        assert second.open_invitation(link).status_code == 410
        assert second.get("/api/accounts").status_code == 401


@only(V2026)
def test_n5_an_invitation_opens_no_measure_of_an_account_by_itself(service: Service) -> None:
    meter, holder, other = new_meter(), service.browser(), service.browser()
    account = service.connect(holder, meter)
    link = service.invite(account)
    with service.nothing_changes(but="invitations"):
        assert other.open_invitation(link).status_code == 303
        assert not other.can_see(account)
    assert service.loaded(other.accept_invitation(link)) == account
    assert other.days(account) == holder.days(account) != {}


# N6: a meter changes hands


@only(V4, V2026)
def test_n6_neither_the_old_nor_the_new_holder_sees_a_day_of_the_other(service: Service) -> None:
    meter, old, new = new_meter(), service.browser(), service.browser()
    before = service.connect(old, meter)
    history = old.days(before)
    after = service.loaded(new.accept_invitation(service.invite("--usage-point", meter, "--new-holder")))
    assert after != before and history
    assert [day for day in new.days(after) if date.fromisoformat(day) < TODAY] == []
    assert not new.can_see(before) and not old.can_see(after)
    assert not old.can_see(before)  # Its sessions have ended, copies of the cookie too.
    assert service.accounts()[before]["state"] == "closed"
    calls = service.data_calls(meter)
    service.run("sync", before, "--inline")
    assert service.data_calls(meter) == calls
    history_only = service.browser()
    page = history_only.follow(history_only.open_invitation(service.invite(before)))
    assert page.account == before and history_only.days(before) == history
    assert not history_only.can_see(after)


@only(V4)
def test_n6_another_persons_proof_asks_first_and_gets_an_account_of_its_own(service: Service) -> None:
    meter, old, new = new_meter(), service.browser(), service.browser()
    before = service.connect(old, meter)
    callback = new.agree(f"/connect/enedis?usage_point_id={meter}")
    with service.nothing_changes(1):
        page = new.visit(callback)
    assert page.account is None and not new.can_see(before) and old.can_see(before)
    after = service.loaded(new.follow(new.press(page, "/connect/new-holder")))
    assert after != before
    assert not old.can_see(before) and not old.can_see(after) and not new.can_see(before)


@only(V5)
def test_n6_another_persons_account_needs_the_word_of_whoever_invites(service: Service) -> None:
    meter = new_meter()
    service.connect(service.browser(), meter)
    with service.nothing_changes():
        refused = service.system.releve("invite", "--usage-point", meter, "--json", code=1)
        assert "--new-holder" in refused.err


# D4: our own pacing has a name of its own


@only(V2026)
def test_d4_our_own_pacing_is_called_so(service: Service) -> None:
    meter = new_meter()
    account = service.connect(service.browser(), meter)
    for _ in range(2):  # The first run may still find a permit.
        service.run("sync", account, "--inline", CALLS_PER_HOUR="1")
    row = service.system.query("status", account)
    assert {series["error"] for series in row["series"].values()} - {None} == {"RATE_LIMITED"}


@only(V4)
def test_d4_a_silent_supplier_spoils_no_consent(service: Service) -> None:
    meter, holder = new_meter(), service.browser()
    path = "oauth2/token" if service.generation == V4 else "subscribed_services"
    service.system.simulator("POST", "faults", {"path": path, "count": 2, "status": 503})
    try:
        assert service.connect(holder, meter)
    finally:
        service.system.simulator("DELETE", "faults")


# D29: nobody's consent is made up


@only(*NO_PROOF_BY_ITSELF)
def test_d29_an_account_without_a_consent_is_new_until_the_supplier_answers(service: Service) -> None:
    unconsented, consented, asserted = new_meter(), new_meter(), new_meter()
    service.system.switch(unconsented, consent_revoked=True)
    account = service.system.add_account(unconsented)
    assert service.accounts()[account]["state"] == "new"
    service.settle()
    assert service.accounts()[account]["state"] != "ready"
    answered = service.system.add_account(consented)
    until(lambda: service.accounts()[answered]["state"] == "ready", "the supplier's first answer")
    service.system.switch(asserted, consent_revoked=True)
    vouched_for = service.system.add_account(asserted, "--consented")
    assert service.accounts()[vouched_for]["state"] == "ready"


# N1: anyone spends the supplier's quota


@pytest.mark.parametrize("generation", [V4])  # The others ask nothing (tests/integration/web/test_callbacks.py).
def test_n1_callbacks_of_strangers_leave_the_quota_to_others(tmp_path: Path, generation: str) -> None:
    with open_service(tmp_path, generation, CALLS_PER_HOUR=str(HOURLY_CALLS), CALLS_PER_SECOND="0") as service:
        before = service.calls()
        for number in range(3 * OF_STRANGERS):
            if number % 20 == 0:
                service.forget_limits()
            typed = service.typed_about(new_meter(), str(900_100 + number))
            assert service.browser().load_callback(**typed).status_code < 500
            assert service.calls() - before <= OF_STRANGERS
        service.settle()
        assert service.calls() - before <= OF_STRANGERS and service.accounts() == {}
        invited = service.browser()
        page = invited.accept_invitation(service.invite("--usage-point", new_meter()))
        assert invited.can_see(service.loaded(page))


# N4: reading goes on after the consent's end


@pytest.mark.parametrize("generation", [V2026])  # All three are in tests/integration/test_consent_ends.py.
def test_n4_nothing_is_asked_from_the_day_after_the_consents_last_day(tmp_path: Path, generation: str) -> None:
    with open_service(tmp_path, generation, CONSENT_DURATION="P1M", **NO_QUOTA) as service:
        meter, holder = new_meter(), service.browser()
        account = service.connect(holder, meter)
        assert service.accounts()[account]["consent_until"] == "2024-08-24"
        move_clock(service, "2024-08-24T23:30+02:00")
        last_day = service.data_calls(meter)
        service.system.releve("sync", account, "--inline")
        assert service.data_calls(meter) > last_day
        move_clock(service, "2024-08-25T00:10+02:00")  # The same day in UTC: Paris counts.
        after = service.data_calls(meter)
        for task in ("tasks.nightly.nightly_sync", "tasks.upkeep.expire_consents"):
            service.system.send_task(task)
        service.system.send_task("tasks.nightly.sync_account", account, "by-hand:20240825T001000")
        service.system.send_task("tasks.upkeep.request_window", account, "daily", "2024-08-20", "2024-08-24")
        service.settle()
        service.run("sync", account, "--inline")
        service.run("backfill", account, "--inline")
        assert service.data_calls(meter) == after
        row = service.accounts()[account]
        assert (row["state"], row["reason"]) == ("action_needed", "CONSENT_ENDED")
        assert holder.can_see(account)  # The history stays.


def move_clock(service: Service, now: str) -> None:
    """Move the clocks of simulator, worker and commands to ``now``; the web service goes on."""
    system = service.system
    system.stop("worker")
    system.simulator("POST", "clock", {"now": now})
    system.settings["PRETEND_NOW"] = now
    system.__dict__.pop("runtime", None)
    system.start_worker(*QUICK_START)


# H4: several services share one account


NEIGHBOUR: Final = "kilowatt"
NOBODYS_ID: Final = "zzzzzzzzzzzz"
# Bodies without which a method is refused before the account is looked for.
SENT: Final = {"PATCH": {"series": {"max_power": "on"}}}


def about_an_account(program: ProgramView) -> list[tuple[str, str]]:
    """Return method and path of every route of the API that names an account."""
    paths = json.loads(program.ask("GET", "/openapi.json")[2])["paths"]
    named = [(path.removeprefix("/api"), operations) for path, operations in paths.items() if "{account_id}" in path]
    return [(method.upper(), path) for path, operations in named for method in operations]


@only(V5)
def test_h4_another_services_account_and_invitation_are_nobodys(service: Service) -> None:
    ours, theirs = service.program(), service.program(NEIGHBOUR)
    meter, holder = new_meter(), service.browser()
    account = service.connect(holder, meter)
    service.invite(account)
    (invitation,) = [
        row for row in service.system.query_rows("invitations", "list", "--open") if row["account"] == account
    ]
    routes = about_an_account(theirs)
    assert len(routes) >= 8
    asked: list[tuple[str, str, Any]] = [
        *((method, path.format(account_id="{id}"), SENT.get(method)) for method, path in routes),
        ("POST", "/invitations", {"account": "{id}"}),
    ]
    with service.nothing_changes(but="api_tokens"):
        for method, path, body in asked:
            bodies = {id_: {"account": id_} if body == {"account": "{id}"} else body for id_ in (account, NOBODYS_ID)}
            answers = [theirs.ask(method, path.replace("{id}", id_), sent) for id_, sent in bodies.items()]
            assert answers[0] == answers[1], f"{method} {path} tells that there is an account"
            assert answers[0][0] == 404 and "unknown_account" in answers[0][2]
        revoked = [theirs.ask("DELETE", f"/invitations/{id_}") for id_ in (invitation["invitation"], NOBODYS_ID)]
        assert revoked[0] == revoked[1] and revoked[0][0] == 404
        assert account not in theirs.ids("accounts") and invitation["invitation"] not in theirs.ids("invitations")
    assert account in ours.ids("accounts") and invitation["invitation"] in ours.ids("invitations")
    assert holder.days(account)


@only(V5)
def test_h4_a_meter_that_another_service_reads_is_elsewhere_and_no_more(service: Service) -> None:
    ours, theirs, meter = service.program(), service.program(NEIGHBOUR), new_meter()
    account = ours.add(meter)
    service.settle()
    with service.nothing_changes(but="api_tokens"):
        for path, body in (
            ("/accounts", {"usage_point": meter}),
            ("/invitations", {"usage_point": meter}),
            ("/invitations", {"usage_point": meter, "new_holder": True}),
        ):
            status, _, text = theirs.ask("POST", path, body)
            assert (status, json.loads(text)["error"]) == (409, "METER_ELSEWHERE")
            assert account not in text and "default" not in text
        for words in (("accounts", "add"), ("invite",), ("invite", "--new-holder")):
            refused = service.system.releve(*words, "--usage-point", meter, "--tenant", NEIGHBOUR, code=1)
            assert "METER_ELSEWHERE" in refused.err and account not in refused.err
        refused = service.system.releve("accounts", "add", "--usage-point", meter, "--tenant", "nobody", code=1)
        assert "`releve tenants set nobody" in refused.err


@only(V5)
def test_h4_two_services_work_side_by_side(service: Service) -> None:
    ours, theirs = service.program(), service.program(NEIGHBOUR)
    account, theirs_account = ours.add(new_meter()), theirs.add(new_meter())
    for program, own, other in ((ours, account, theirs_account), (theirs, theirs_account, account)):
        service.system.wait_loaded(own)
        assert own in program.ids("accounts") and other not in program.ids("accounts")
        measures = f"/accounts/{own}/measures?by=day"
        assert program.ask("GET", measures)[0] == 200 and json.loads(program.ask("GET", measures)[2])["documents"]
        assert program.ask("GET", f"/accounts/{other}/measures?by=day")[0] == 404
    service.settle()
    assert service.program(NEIGHBOUR, "write:accounts").ask("DELETE", f"/accounts/{theirs_account}")[0] == 403
    erasing = service.program(NEIGHBOUR, "erase:accounts")
    assert erasing.ask("DELETE", f"/accounts/{account}")[0] == 404
    assert erasing.ask("DELETE", f"/accounts/{theirs_account}")[0] == 200
    assert theirs_account not in theirs.ids("accounts") and account in ours.ids("accounts")


def test_h4_another_services_invitation_to_a_connected_meter_leads_to_the_page_without_a_proof(
    service: Service,
) -> None:
    meter, holder, other = new_meter(), service.browser(), service.browser()
    service.program(NEIGHBOUR)
    link = service.invite("--usage-point", meter, "--tenant", NEIGHBOUR)
    account = service.connect(holder, meter)
    with service.nothing_changes(most_calls=2, but="invitations"):
        page = other.accept_invitation(link)
    assert_says_how_to_go_on(page)
    assert (page.status, other.get("/api/accounts").status_code) == (403, 401)
    if service.generation != V4:
        assert page.content == service.browser().type_callback(**service.typed_about(new_meter())).content
    assert holder.can_see(account) and set(service.accounts()) >= {account}


# H3: erasure reopens the door


def test_h3_nothing_older_than_an_erasure_opens_the_meter(service: Service) -> None:
    meter, holder, other, system = new_meter(), service.browser(), service.browser(), service.system
    account = service.connect(holder, meter)
    callback, old_token = holder.callback(**holder.last_callback), system.runtime.registry.tokens.load(account)
    link = service.invite(account)
    invited = f"/connect/enedis?usage_point_id={meter}" if service.generation == V4 else ""
    second_tab = holder.agree(invited) if invited else holder.agree_on(holder.open_invitation(link))
    api = {"Authorization": f"Bearer {system.query('tokens', 'new', '--name', 'test', '--scope', ADD)['token']}"}
    erase(holder, account)
    service.settle()

    pages = []
    with service.nothing_changes():
        pages.append(holder.visit(callback))
    with service.nothing_changes(1):
        pages.append(holder.visit(second_tab))
    with service.nothing_changes(service.most_calls):
        pages.append(other.type_callback(**service.typed_about(meter, holder.last_callback.get("autorisation_id"))))
    with service.nothing_changes():
        assert [person.open_invitation(link).status_code for person in (holder, other)] == [410, 410]
    with service.nothing_changes(but="api_tokens"):
        added = requests.post(f"{service.address}/api/accounts", json={"usage_point": meter}, headers=api, timeout=60)
        assert (added.status_code, added.json()["error"]) == (
            409,
            "consent_needed" if service.generation == V4 else "meter_erased",
        )
    token = ("--token-file", str(system.grant_consent(meter))) if service.generation == V4 else ()
    with service.nothing_changes():
        refused = service.run("accounts", "add", "--usage-point", meter, *token)
        assert refused.code == 1 and "--anew" in refused.err and meter not in refused.err
    for page in pages:
        assert_says_how_to_go_on(page)
    assert not holder.can_see(account) and holder.get("/api/accounts").status_code == 401
    if old_token is not None:
        assert not still_renews(service, old_token)

    again = service.connect(other, meter)
    assert again != account and other.can_see(again) and other.days(again)
    assert not holder.can_see(again) and not other.can_see(account)
    assert [system.documents(account, period) for period in Doctype] == [[] for _ in Doctype]


@only(*NO_PROOF_BY_ITSELF)
def test_h3_an_erased_meter_is_added_by_hand_where_its_consent_is_said_to_be_younger(service: Service) -> None:
    by_day, by_word = new_meter(), new_meter()
    for meter in (by_day, by_word):
        service.system.releve("accounts", "remove", service.connect(service.browser(), meter), "--yes")
    with service.nothing_changes():
        yesterday = ("--consented", str(TODAY - timedelta(days=1)))
        assert service.run("accounts", "add", "--usage-point", by_day, *yesterday).code == 1
    service.system.wait_loaded(service.system.add_account(by_day, "--consented", str(TODAY)))
    service.system.wait_loaded(service.system.add_account(by_word, "--anew"))


@only(V4)
def test_h3_of_two_meters_with_one_token_the_last_erased_ends_it(service: Service) -> None:
    pair, holder, registry = (new_meter(), new_meter()), service.browser(), service.system.runtime.registry
    holder.agree("/connect/enedis", usage_point_id=";".join(pair))
    service.loaded(holder.visit(holder.callback(**holder.last_callback)))
    first, second = [registry.find("enedis", meter).id for meter in pair]
    erase(holder, first)
    service.settle()
    assert registry.tokens.load(second) is not None and registry.tokens.list_to_revoke() == []
    token = registry.tokens.load(second)
    erase(holder, second)
    service.settle()
    assert not still_renews(service, token)


def erase(holder: HouseholdBrowser, account: str) -> None:
    """Press the button of the page that removes the account."""
    address = f"/accounts/{account}/remove"
    answer = holder.press(holder.visit(address), address)
    assert answer.status_code == 200, answer.text[-1500:]


def still_renews(service: Service, token: str) -> bool:
    """Return whether the supplier takes a refresh token of old, once our worker has revoked what it had to."""
    until(lambda: not service.system.runtime.registry.tokens.list_to_revoke(), "the revocation")
    client = {"client_id": "releve-simulator", "client_secret": service.system.settings["ENEDIS_CLIENT_SECRET"]}
    grant = {"grant_type": "refresh_token", "refresh_token": json.loads(token)["refresh"], **client}
    answer = requests.post(f"{service.system.settings['ENEDIS_URL']}/v1/oauth2/token", grant, timeout=60)
    return answer.status_code == 200


# M1: the proxy's consent is bound to a browser


def test_m1_a_consent_for_a_client_ends_in_the_browser_that_began_it(service: Service) -> None:
    stack, eve, victim = OutsideStack.register(service), service.browser(), service.browser()
    callback = stack.begin(eve, new_meter())
    with service.nothing_changes():
        answer = victim.get(callback)
        assert answer.status_code == 403 and "Location" not in answer.headers and "code=" not in answer.text
    own = stack.come_back(eve, callback)
    assert own.status_code == 302 and own.headers["Location"].startswith(f"{STACK}?state=their-state&code=")
    assert eve.get(callback).headers["Location"] == own.headers["Location"]  # The portal may load it twice.


# H5: the proxy hands out the application's token


def test_h5_a_client_gets_nothing_without_a_proof(service: Service) -> None:
    stack, thief, meter = OutsideStack.register(service), service.browser(), new_meter()
    callback = stack.begin(thief, new_meter())
    holder = service.browser()
    if service.generation == V2026:
        service.connect(holder, meter)  # The id of a consent that there is, but of another meter.
    typed = service.typed_about(meter, holder.last_callback.get("autorisation_id"))
    state = parse_qs(urlsplit(callback).query)["state"][0]
    answer = stack.come_back(thief, f"/proxy/enedis/redirect?{urlencode({'state': state, **typed})}")
    if service.generation == V4:  # Its code is a proof or worthless, which the supplier tells when it is redeemed.
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        assert stack.exchange(code).json()["error"] == "invalid_grant"
    else:
        assert answer.status_code in (400, 403) and "Location" not in answer.headers
    assert stack.refresh("anything at all").json()["error"] == "invalid_grant"


@only(*NO_PROOF_BY_ITSELF)
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
    stored = Token.from_text(service.system.runtime.clients.application_token.load() or "")
    answers = (back.headers["Location"], exchanged.text, own.text, others.text, renewed.text)
    assert not [text for text in answers if stored.access in text]
    assert stack.read(first["access_token"], meter).status_code == 401  # The renewal has replaced it.


@only(*NO_PROOF_BY_ITSELF)
def test_h5_a_refresh_token_that_comes_twice_ends_its_family(service: Service) -> None:
    stack, holder, meter = OutsideStack.register(service), service.browser(), new_meter()
    back = stack.come_back(holder, stack.begin(holder, meter))
    first = stack.exchange(parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]).json()
    second = stack.refresh(first["refresh_token"]).json()
    assert stack.read(second["access_token"], meter).status_code == 200
    assert stack.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert stack.read(second["access_token"], meter).status_code == 401
    assert stack.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"


@only(V2026)
def test_h5_wrong_secrets_are_counted(service: Service) -> None:
    stack = OutsideStack.register(service)
    wrong = replace(stack, secret=f"proxyclient_{stack.client_id}_{'a' * 43}")
    statuses = [wrong.refresh("x").status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert stack.refresh("x").status_code == 400  # The right one is heard.


# H6: the evidence of consents, which nobody changes unseen


@only(V2026)
def test_h6_the_end_is_a_row_of_its_own_and_the_same_id_again_makes_a_new_consent(service: Service) -> None:
    meter, holder = new_meter(), service.browser()
    account = service.connect(holder, meter)
    reference = holder.last_callback["autorisation_id"]
    (given,) = evidence_of(service, account)
    assert (given["event"], given["meter"], given["reference"]) == ("given", meter, reference)
    assert (given["kind"], given["proof"], given["dates_from"]) == ("autorisation", "invited", "supplier")
    assert given["line"] == "enedis-2026 POST /subscribed_services/v1" and len(given["answer_digest"]) == 64
    service.system.runtime.stop_consent(account)
    assert service.run("accounts", "resume", account).code == 1
    again = service.loaded(holder.accept_invitation(service.invite(account)))
    assert (again, holder.last_callback["autorisation_id"]) == (account, reference)
    first, ended, second = evidence_of(service, account)
    assert first == given
    assert (ended["event"], ended["consent_id"], ended["end_reason"]) == ("ended", given["consent_id"], "withdrawn")
    assert (second["event"], second["reference"]) == ("given", reference)
    assert second["consent_id"] != given["consent_id"]


@only(V4)
def test_h6_one_changed_byte_is_named_by_the_check(service: Service) -> None:
    account = service.connect(service.browser(), new_meter())
    assert service.system.query("consents", "verify")["faults"] == []
    (row,) = evidence_of(service, account)
    change_actor(service, row["sequence"], "cli:eve")
    checked = service.run("consents", "verify")
    assert (checked.code, checked.out.splitlines()[0]) == (
        1,
        f"row {row['sequence']} was changed: it does not match its hash",
    )
    assert not json.loads(service.system.releve("consents", "export", account).out)["chain"]["verifies"]
    change_actor(service, row["sequence"], row["actor"])
    assert service.run("consents", "verify").code == 0


def evidence_of(service: Service, account: str) -> list[dict[str, Any]]:
    exported = json.loads(service.system.releve("consents", "export", account).out)
    assert exported["account"] == account and exported["chain"]["verifies"]
    rows: list[dict[str, Any]] = exported["rows"]
    return rows


def change_actor(service: Service, sequence: int, actor: str | None) -> None:
    of_row = update(CONSENT_EVIDENCE).where(CONSENT_EVIDENCE.c.sequence == sequence)
    service.system.runtime.registry.database.change(of_row.values(actor=actor))


# N3: a restore undoes revocation and erasure. It is the last one: the service goes on with the restored stores.


def test_n3_a_restored_backup_lets_nobody_in_and_brings_no_erased_account_back(
    service: Service, tmp_path: Path
) -> None:
    system, file = service.system, tmp_path / "backup.zip"
    meter, erased_meter, holder, erased = new_meter(), new_meter(), service.browser(), service.browser()
    account, erased_account = service.connect(holder, meter), service.connect(erased, erased_meter)
    token = system.query("tokens", "new", "--name", "n3", "--scope", "read:accounts")["token"]
    link, days = service.invite("--usage-point", new_meter()), holder.days(account)
    system.query("backup", str(file))
    assert meter.encode() not in file.read_bytes()
    system.releve("accounts", "remove", erased_account, "--yes")
    restore_elsewhere(service, file, tmp_path)
    assert not holder.can_see(account) and not erased.can_see(erased_account)
    assert erased_account not in service.accounts()
    with service.nothing_changes(service.most_calls):
        page = erased.type_callback(**service.typed_about(erased_meter, erased.last_callback.get("autorisation_id")))
    assert_says_how_to_go_on(page)
    token_file = ("--token-file", str(system.grant_consent(erased_meter))) if service.generation == V4 else ()
    with service.nothing_changes():
        assert service.run("accounts", "add", "--usage-point", erased_meter, *token_file).code == 1
    assert service.browser().get("/api/accounts", token).status_code == 401
    assert service.browser().open_invitation(link).status_code == 410
    came_back = holder.connect(meter) if service.generation == V4 else holder.accept_invitation(service.invite(account))
    assert service.loaded(came_back) == account, "its holder comes in again, by a new proof"
    assert holder.days(account) == days


def restore_elsewhere(service: Service, file: Path, folder: Path) -> None:
    """Lose registry and measures, and restore the backup into empty ones; keys and ledger stay where they are."""
    system = service.system
    for name in ("web", "worker"):
        system.stop(name)
    stores = {name: f"sqlite:///{folder}/{name.lower()}.db" for name in ("REGISTRY_URL", "MEASURES_URL")}
    system.settings |= stores
    system.__dict__.pop("runtime", None)
    system.query("restore", str(file))
    system.start_worker(*QUICK_START)
    system.start_web()
