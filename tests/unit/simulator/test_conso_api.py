"""The simulated gateway: tokens, bodies of both generations, errors in its envelope, and bans."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import jwt
import pytest
from httpx2 import Response

from tests.support.enedis_caller import HOME, SimulatorCaller
from worker.clients.gateway.consent import read_gateway_token

NEW_NAMES = ("pointId", "dateDebut", "dateFin")
OLD_NAMES = ("prm", "start", "end")


def token_of(supplier: SimulatorCaller, **query: str | int) -> str:
    answer = supplier.http.get("/gateway/token", params={"usage_point": HOME} | query)
    assert answer.status_code == 200
    return answer.text.strip()


def ask(
    supplier: SimulatorCaller,
    kind: str = "consommation_quotidienne",
    start: str = "2024-11-01",
    end: str = "2024-11-03",
    *,
    names: tuple[str, str, str] = NEW_NAMES,
    meter: str = HOME,
    token: str | None = None,
) -> Response:
    parameters = dict(zip(names, (meter, start, end), strict=True))
    return supplier.get(f"/api/{kind}", parameters, token_of(supplier) if token is None else token)


def test_its_page_gives_a_token_of_the_first_homes(supplier: SimulatorCaller) -> None:
    two, again = (supplier.http.get("/gateway/token", params={"meters": 2}).text for _ in range(2))
    token = read_gateway_token(two)
    assert len(token.meters) == 2 and token.meters == read_gateway_token(again).meters
    one = read_gateway_token(supplier.http.get("/gateway/token").text)
    assert one.meters == token.meters[:1]
    assert one.expires_at is not None and round((one.expires_at - datetime.now(UTC)).total_seconds() / 86_400) == 1_093
    assert supplier.http.get("/gateway/token", params={"meters": "two"}).status_code == 400


@pytest.mark.parametrize(
    ("kind", "number"),
    [("consommation_quotidienne", 2), ("puissance_conso_max_quotidienne", 2), ("courbe_de_charge_consommation", 96)],
)
def test_both_generations_of_bodies_tell_the_same(supplier: SimulatorCaller, kind: str, number: int) -> None:
    newer = ask(supplier, kind).json()
    points = [(point["d"], point["v"]) for item in newer["grandeur"] for point in item["points"]]
    supplier.admin("switches", {"gateway_bodies": "v5"})
    older = ask(supplier, kind).json()
    assert "meter_reading" not in older and older["usage_point_id"] == newer["idPrm"] == HOME
    assert [(row["date"], row["value"]) for row in older["interval_reading"]] == points
    assert len(points) == number


def test_its_values_are_the_homes_own(supplier: SimulatorCaller) -> None:
    truth = supplier.truth("2024-11-01", "2024-11-03", series="daily")["daily"]
    (item,) = ask(supplier).json()["grandeur"]
    assert {point["d"]: float(point["v"]) for point in item["points"]} == truth


def test_older_names_are_taken_too(supplier: SimulatorCaller) -> None:
    assert ask(supplier, names=OLD_NAMES).json() == ask(supplier).json()
    assert "interval_reading" in ask(supplier, "daily_consumption", names=OLD_NAMES).json()


def test_registers_are_answered_in_the_newer_form_alone(supplier: SimulatorCaller) -> None:
    assert ask(supplier, "index_consommation").json()["contexte"]
    supplier.admin("switches", {"gateway_bodies": "v5"})
    assert ask(supplier, "index_consommation").status_code == 400


def test_an_error_of_enedis_stands_inside_its_envelope(supplier: SimulatorCaller) -> None:
    answer = ask(supplier, "production_quotidienne")
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert answer.json()["message"] == "The Enedis API returned an error"
    assert answer.json()["error"]["error"] == "ADAM-ERR0069"
    supplier.admin("faults", {"path": "/api/", "kind": "throttled"})
    assert ask(supplier).json()["error"]["code"] == "900804"


def test_its_own_errors_have_its_own_words(supplier: SimulatorCaller) -> None:
    assert ask(supplier, "all_there_is").json()["message"] == "Paramètres invalides"
    assert ask(supplier, meter="12").json()["status"] == 400
    unsigned = supplier.http.get("/api/consommation_quotidienne", params=dict.fromkeys(NEW_NAMES, HOME))
    assert unsigned.status_code == 400
    sent = supplier.http.post("/api/consommation_quotidienne")
    assert (sent.status_code, sent.json()["status"]) == (405, 405)


@pytest.mark.parametrize("what", ["another meter", "another key", "ended", "none"])
def test_a_token_that_does_not_fit_is_refused(supplier: SimulatorCaller, what: str) -> None:
    soon = int(time.time()) + 3_600
    token = {
        "another meter": token_of(supplier, usage_point="11111111111111"),
        "another key": jwt.encode({"sub": [HOME], "exp": soon}, "another key, of thirty-two bytes and more"),
        "ended": token_of(supplier, days=-1),
        "none": "none",
    }[what]
    answer = ask(supplier, token=token)
    message = "Votre token est invalide ou ne permet pas d'accéder à ce PRM"
    assert (answer.status_code, answer.json()) == (401, {"status": 401, "message": message})


def test_the_hundredth_call_of_half_a_day_bans_the_address(supplier: SimulatorCaller) -> None:
    supplier.admin("clock", {"now": "2024-11-05T11:00+01:00"})
    token = token_of(supplier)
    assert [ask(supplier, token=token).status_code for _ in range(99)] == [200] * 99
    supplier.admin("clock", {"now": "2024-11-05T12:00+01:00"})  # Another half-day: it is counted anew.
    assert [ask(supplier, token=token).status_code for _ in range(99)] == [200] * 99
    banned = ask(supplier, token=token)
    assert banned.status_code == 403
    assert banned.headers["content-type"].startswith("text/html") and "Cloudflare" in banned.text
    supplier.admin("clock", {"now": "2024-11-09T12:00+01:00"})
    assert ask(supplier, token=token).status_code == 403, "nothing but the author lifts a ban"
    assert supplier.http.get("/__sim__/bans").json()["banned"] == ["testclient"]
    assert supplier.http.delete("/__sim__/bans").json()["banned"] == []
    assert ask(supplier, token=token).status_code == 200


def test_how_many_calls_ban_is_a_switch(supplier: SimulatorCaller) -> None:
    supplier.admin("bans", {"limit": 2})
    token = token_of(supplier)
    assert [ask(supplier, token=token).status_code for _ in range(3)] == [200, 403, 403]
