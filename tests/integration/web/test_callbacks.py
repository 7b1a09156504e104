"""Every callback that anybody can type, at each generation: without a proof nothing changes, and all see one page.

Source of the rule: R0 of docs/explanation/ownership.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.connect_service import METER, OTHER, PRESETS, ConnectService, ConnectServices, query_of
from tests.support.profiles import examples
from tests.support.registries import all_rows
from worker.domain.lanes import BROKER_PREFIX, Lane

STRANGERS_METER = "30001640000033"
PAGE_OF_UNPROVEN = "n’importe qui pourrait indiquer le compteur d’une autre personne"


@dataclass(frozen=True)
class House:
    """A service with a connected household, and what a stranger may know of it."""

    service: ConnectService
    victim: TestClient
    victims_callback: str  # Used already.
    known: Mapping[str, str] = field(default_factory=dict)  # The parameters of that callback.


@pytest.fixture(scope="module", params=PRESETS)
def house(request: pytest.FixtureRequest, kept_services: ConnectServices) -> House:
    service = kept_services.empty(request.param)
    victim = service.browser()
    back = service.begin(victim)
    service.come_back(victim, back)
    service.begin_uninvited(service.browser(), OTHER)  # Another holder has consented, and is not back yet.
    assert len(service.accounts()) == 1
    return House(service, victim, back, query_of(back))


def forget_limits(service: ConnectService) -> None:
    for key in service.parts.stores.redis.scan_iter("releve:limit:*"):
        service.parts.stores.redis.delete(key)


def snapshot_of(service: ConnectService) -> dict[str, Any]:
    """Return what a callback must not change: registry, tokens, evidence and notices, and every queue but one.

    The queue of strangers holds the task that asks about a code of v4.
    """
    redis = service.parts.stores.redis
    queues = {lane: redis.llen(f"{BROKER_PREFIX}{lane}") for lane in Lane if lane is not Lane.STRANGERS}
    return {"registry": all_rows(service.parts.stores.registry.database), "queues": queues}


STATES = st.sampled_from(["own", "used", "foreign", "unknown", "short", "absent"])
METERS = st.sampled_from(
    [None, METER, OTHER, STRANGERS_METER, f"{METER};{OTHER}", f"{OTHER},{METER}", "1", f"{METER}_parent", "é" * 14, ""]
)
AUTORISATIONS = st.sampled_from([None, "900001", "900002", "900001_parent", "0", "-1", "9" * 19, "x", ""])
CODES = st.sampled_from([None, "known", "c0de", "403", "server_error", "", "x" * 500])
FAILURES = st.sampled_from([None, "access_denied", "server_error", "x" * 60, "<script>"])
PATHS = st.sampled_from(["/callback/enedis", "/callback/enedis_parent", "/proxy/enedis/redirect"])


@st.composite
def callbacks(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "path": draw(PATHS),
        "state": draw(STATES),
        "usage_point_id": draw(METERS),
        "autorisation_id": draw(AUTORISATIONS),
        "code": draw(CODES),
        "error": draw(FAILURES),
        "repeated": draw(st.booleans()),
        "twice": draw(st.booleans()),
        "with_session": draw(st.booleans()),
    }


def address_of(house: House, browser: TestClient, callback: Mapping[str, Any]) -> str:
    """Return the address that somebody types; a flow is begun for those states that need one."""
    service = house.service
    states = {
        "own": lambda: query_of(browser.get("/connect/enedis").headers["location"])["state"],
        "foreign": lambda: query_of(service.browser().get("/connect/enedis").headers["location"])["state"],
        "used": lambda: house.known["state"],
        "unknown": lambda: "A" * 43,
        "short": lambda: "A",
        "absent": lambda: None,
    }
    named = {name: callback[name] for name in ("usage_point_id", "autorisation_id", "code", "error")}
    if named["code"] == "known":
        named["code"] = house.known.get("code")
    pairs = [
        (name, value) for name, value in {"state": states[callback["state"]](), **named}.items() if value is not None
    ]
    if callback["repeated"]:
        pairs += [(name, OTHER) for name, value in pairs if name == "usage_point_id"]
    return f"{callback['path']}?{urlencode(pairs)}"


@pytest.mark.generations
@settings(max_examples=examples(40) // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(thrown=st.lists(callbacks(), min_size=4, max_size=8))
def test_no_callback_changes_anything_without_a_proof(house: House, thrown: list[dict[str, Any]]) -> None:
    service = house.service
    forget_limits(service)
    service.simulate("DELETE", "report")
    before, calls = snapshot_of(service), 0
    for callback in thrown:
        browser = service.browser()
        address = address_of(house, browser, callback)
        answers = [browser.get(address) for _ in range(1 + callback["twice"])]
        # A code of v4 is asked about once, and nothing else is.
        calls += service.parts.sync.suppliers.main.account_tokens and callback["state"] == "own"
        assert not service.session(browser).accounts
        for answer in answers:
            assert answer.status_code in (202, 400, 403, 502), answer.text
            if answer.status_code == 403 and "Demandez une invitation" in answer.text:
                assert PAGE_OF_UNPROVEN in answer.text
    assert snapshot_of(service) == before
    assert service.simulate("GET", "report")["calls"] == 0  # No request's thread asks the supplier.
    service.work()
    assert snapshot_of(service) == before
    assert service.simulate("GET", "report")["calls"] <= calls
    assert house.victim.get("/").status_code == 200
    (account,) = service.accounts()
    assert house.victim.get(f"/accounts/{account.id}").status_code == 200


def unproven_pages(house: House, **parameters: str) -> set[tuple[int, bytes, tuple[tuple[str, str], ...]]]:
    """Return the answers to two loads of an own callback with these parameters: status, headers and body.

    Headers are without cookies: the first answer gives the browser a random name.
    """
    browser = house.service.browser()
    state = query_of(browser.get("/connect/enedis").headers["location"])["state"]
    answers = [browser.get(f"/callback/enedis?{urlencode({'state': state, **parameters})}") for _ in range(2)]
    cookies = [[line.partition("=")[0] for line in answer.headers.get_list("set-cookie")] for answer in answers]
    assert cookies == [["releve_connect"], []]
    for answer in answers:
        answer.headers.pop("set-cookie", None)
    return {(answer.status_code, answer.content, tuple(sorted(answer.headers.items()))) for answer in answers}


@pytest.mark.parametrize("house", ["enedis-v5", "enedis-2026"], indirect=True)  # v4's code is a proof, or refused.
@pytest.mark.parametrize(
    "claims",
    [
        {"usage_point_id": METER},
        {"usage_point_id": OTHER},
        {"usage_point_id": f"{METER};{OTHER}"},
        {"autorisation_id": "900001"},
        {"autorisation_id": "900002"},
        {"autorisation_id": "900777"},
    ],
)
def test_n8_the_page_is_the_same_for_every_meter_byte_by_byte(house: House, claims: dict[str, str]) -> None:
    (told,) = unproven_pages(house, **claims)
    (nobodys,) = unproven_pages(house, usage_point_id="30009999999999")
    assert told == nobodys
    assert told[0] == 403 and PAGE_OF_UNPROVEN.encode() in told[1] and b'href="/invitation"' in told[1]
    of_page = re.sub(rb"\?v=[0-9a-f]+|#[0-9a-f]{6}", b"", told[1])  # Versions of files, and colours.
    assert not re.search(rb"[0-9]{6,}", of_page), "no number of a meter or a consent"


@pytest.mark.parametrize("house", ["enedis-2026"], indirect=True)
def test_h2_guesses_around_living_consents_cost_nothing(house: House) -> None:
    service = house.service
    forget_limits(service)
    before, kept = snapshot_of(service), count_requests(service)
    service.simulate("DELETE", "report")
    browser = service.browser()
    for guess in range(899_980, 900_020):  # The living ones are 900001 and 900002.
        state = query_of(browser.get("/connect/enedis").headers["location"])["state"]
        assert browser.get(f"/callback/enedis?state={state}&autorisation_id={guess}").status_code == 403
    service.work()
    assert snapshot_of(service) == before and not service.session(browser).accounts
    assert service.simulate("GET", "report")["calls"] == 0
    # One a browser, three a meter: the guesses don't pile up.
    assert count_requests(service) <= kept + 1


def count_requests(service: ConnectService) -> int:
    return len(list(service.parts.stores.redis.scan_iter("releve:connection_request:*")))
