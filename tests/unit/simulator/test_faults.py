"""Faults that a test injects into the simulator."""

from __future__ import annotations

import pytest
import requests

from simulator.switches import KINDS, SimulatorOptions
from tests.support.enedis_caller import CALLBACK, HOME, NOW, SimulatorCaller
from tests.support.simulators import serve_in_background
from tests.support.waiting import DEADLINE_S


def test_a_canned_answer_is_given_as_often_as_ordered(supplier: SimulatorCaller) -> None:
    supplier.admin(
        "faults",
        {"path": "daily_consumption", "count": 2, "status": 503, "body": "busy", "headers": {"Retry-After": "7"}},
    )
    answers = [supplier.request_measures() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert (answers[0].text, answers[0].headers["retry-after"]) == ("busy", "7")
    assert supplier.report()["by_status"] == {"200": 2, "503": 2}


def test_a_fault_can_be_for_one_meter_for_ever_and_after_some_calls(supplier: SimulatorCaller) -> None:
    fault = {"path": "/v5/daily_consumption", "usage_point": HOME, "count": None, "skip": 1, "status": 500, "body": {}}
    supplier.admin("faults", fault)
    assert [supplier.request_measures().status_code for _ in range(4)] == [200, 500, 500, 500]
    assert supplier.request_measures(usage_point="11111111111111").status_code == 200
    assert supplier.http.get("/__sim__/faults").json()[0]["hits"] == 3
    supplier.http.delete("/__sim__/faults")
    assert supplier.request_measures().status_code == 200


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"timeout", "slow", "cut", "refresh_lost"}))
def test_every_kind_spoils_one_answer(supplier: SimulatorCaller, kind: str) -> None:
    good = supplier.request_measures()
    supplier.admin("faults", {"path": "consumption", "kind": kind})
    spoilt = supplier.request_measures()
    assert spoilt.status_code >= 400 or good.content.startswith(spoilt.content)
    assert spoilt.content != good.content
    assert supplier.request_measures().content == good.content


def test_a_fault_speaks_the_language_of_the_generation(supplier: SimulatorCaller) -> None:
    supplier.bearer("v4")
    supplier.admin("faults", [{"path": "metering_data", "kind": "bad_token", "count": 2}])
    assert supplier.request_measures(generation="v4").content == b""
    assert supplier.request_measures().json()["fault"]["code"] == 900901


def test_a_slow_answer_is_whole(supplier: SimulatorCaller) -> None:
    supplier.admin("faults", {"path": "consumption", "delay_s": 0.01})
    assert supplier.request_measures().status_code == 200
    supplier.admin("faults", {"path": "consumption", "kind": "timeout", "delay_s": 0.01})
    assert supplier.request_measures().status_code == 504


@pytest.mark.parametrize(
    "fault",
    [{}, {"path": 1}, {"path": "x", "kind": "no_such"}, {"path": "x", "colour": 1}, {"path": "x", "count": "2"}, "x"],
)
def test_a_fault_that_is_none_is_refused(supplier: SimulatorCaller, fault: object) -> None:
    answer = supplier.http.post("/__sim__/faults", json=fault)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert supplier.http.get("/__sim__/faults").json() == []


@pytest.mark.sockets
def test_over_the_wire_a_cut_answer_never_ends_and_the_refresh_token_is_gone() -> None:
    options = SimulatorOptions(pretend_now=NOW, redirect_uri=CALLBACK)
    with serve_in_background(options) as url, requests.Session() as session:
        form = {"client_id": options.client_id, "client_secret": options.client_secret}
        parameters = {"client_id": options.client_id, "response_type": "code", "state": "s", "duration": "P1Y"}
        page = session.get(f"{url}/dataconnect/v1/oauth2/authorize", params=parameters, allow_redirects=False)
        code = page.headers["location"].partition("code=")[2].partition("&")[0]
        first = session.post(
            f"{url}/v1/oauth2/token", data=form | {"grant_type": "authorization_code", "code": code}
        ).json()
        session.post(f"{url}/__sim__/faults", json={"path": "/v1/oauth2/token", "kind": "refresh_lost"})
        again = form | {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
            session.post(f"{url}/v1/oauth2/token", data=again)
        assert session.post(f"{url}/v1/oauth2/token", data=again).json()["error"] == "invalid_grant"


@pytest.mark.sockets
def test_a_call_that_is_held_back_does_not_hold_the_end_back(capfd: pytest.CaptureFixture[str]) -> None:
    with serve_in_background(SimulatorOptions(pretend_now=NOW)) as url:
        requests.post(f"{url}/__sim__/faults", json={"path": "token", "kind": "timeout"}, timeout=DEADLINE_S)
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{url}/oauth2/v3/token", data={"grant_type": "client_credentials"}, timeout=0.2)
    assert capfd.readouterr() == ("", "")
