"""The API's answers: accounts, status, measures; what they hold and how they are paged."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.factories import NOW
from tests.support.registries import mark_asked, record_outcome
from worker.accounts.status import status_of
from worker.domain.account import AccountState
from worker.domain.consents import Proof
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import DateWindow
from worker.errors import StoreUnavailable
from worker.runtime.consent_parts import erase

METER = "30001640000011"


@pytest.fixture
def client(service: ApiService) -> TestClient:
    return service.client()


# Accounts


def test_an_account_is_told_without_the_meters_number(service: ApiService, client: TestClient) -> None:
    account_id = service.add(11)
    answer = client.get(f"/api/accounts/{account_id}")
    assert answer.status_code == 200
    assert METER not in answer.text
    assert answer.json() == {
        "account": account_id,
        "state": "ready",
        "reason": "",
        "supplier": "enedis",
        "usage_point": None,
        "created_at": "2024-07-25T07:00:00Z",
        "consent_from": None,
        "consent_until": None,
        "paused_until": None,
    }


def test_a_household_sees_the_last_four_digits_of_its_own_meter(service: ApiService) -> None:
    account_id = service.add(11)
    assert service.browser(account_id).get(f"/api/accounts/{account_id}").json()["usage_point"] == "…0011"


def test_pages_of_accounts_give_each_living_account_once(service: ApiService, client: TestClient) -> None:
    ids = sorted(service.add(number) for number in range(10, 17))
    erase(service.parts.stores, ids.pop(3))
    listed, path = [], "/api/accounts?limit=2"
    while path:
        page = client.get(path).json()
        assert len(page["accounts"]) <= 2
        listed += [row["account"] for row in page["accounts"]]
        path = page["next"]
    assert listed == ids


def test_a_household_pages_through_its_own_accounts_alone(service: ApiService) -> None:
    own, _ = sorted([service.add(11), service.add(12)]), service.add(13)
    browser = service.browser(*own, "znotthere000")
    first = browser.get("/api/accounts?limit=1").json()
    assert [row["account"] for row in first["accounts"]] == own[:1]
    second = browser.get(first["next"]).json()
    assert [row["account"] for row in second["accounts"]] == own[1:]
    assert second["next"] is None


def test_filters_choose_accounts_and_the_next_page_keeps_them(service: ApiService, client: TestClient) -> None:
    registry, waits = service.parts.stores.registry, {"code": "LOGIN_FAILED", "series": Series.DAILY}
    calm, paused, *failing = (service.add(number) for number in range(11, 15))
    other = service.add(15, tenant="solar")
    mark_asked(registry, calm, Series.DAILY, DateWindow(TODAY - timedelta(days=9), TODAY))
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW + timedelta(hours=3))
    for account_id in (*failing, other):
        record_outcome(registry, account_id, "1", now=NOW + timedelta(hours=2), **waits)

    def listed(path: str) -> list[str]:
        found = []
        while path:
            page = client.get(path).json()
            found += [row["account"] for row in page["accounts"]]
            path = page["next"]
        return found

    failed, changed = "error=LOGIN_FAILED", f"changed_since={NOW + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    assert listed("/api/accounts?state=paused") == [paused]
    assert listed(f"/api/accounts?limit=1&{failed}") == sorted(failing)
    assert listed("/api/accounts?late=daily") == sorted(failing)
    assert listed(f"/api/accounts?limit=1&{changed}") == sorted([*failing, paused])
    assert listed(f"/api/accounts?{failed}&{changed}&late=daily&state=ready") == sorted(failing)
    assert listed(f"/api/accounts?{failed}&changed_since=2024-07-25T12:00:00%2B02:00") == []
    browser = service.browser(calm, paused, failing[0])
    for query, own in ((failed, failing[:1]), (changed, sorted([failing[0], paused])), ("late=daily", failing[:1])):
        assert [row["account"] for row in browser.get(f"/api/accounts?{query}").json()["accounts"]] == own


@pytest.mark.parametrize("moment", ["2024-07-25", "1721865600", "2024-07-25T10:00:00", "soon"])
def test_a_time_of_change_needs_its_zone(client: TestClient, moment: str) -> None:
    assert client.get("/api/accounts", params={"changed_since": moment}).status_code == 422


@pytest.mark.parametrize(
    "evidence, state", [({}, "new"), ({"reference": "contract 4711", "consented_on": TODAY.isoformat()}, "ready")]
)
def test_who_adds_an_account_vouches_for_it_and_its_backfill_is_enqueued(
    service: ApiService, client: TestClient, monkeypatch: pytest.MonkeyPatch, evidence: dict[str, str], state: str
) -> None:
    published: list[str] = []
    monkeypatch.setattr("worker.web.dependencies.enqueue_backfill", lambda account, **_: published.append(account))
    new = client.post("/api/accounts", json={"usage_point": METER, **evidence})
    account_id = new.json()["account"]
    assert (new.status_code, new.json()["state"]) == (201, state)
    assert new.json()["consent_from"] == evidence.get("consented_on")
    assert new.headers["Location"] == f"/api/accounts/{account_id}"
    assert published == [account_id]
    (proof,) = service.parts.stores.registry.consents.list_proofs(account_id)
    assert (proof.proof, proof.vouched_by, proof.reference) == (
        Proof.ASSERTED,
        f"token:{service.parts.stores.registry.api_tokens.list_tokens()[-1].id}",
        evidence.get("reference"),
    )
    assert METER not in new.text


def test_a_meter_that_has_an_account_is_said_and_nothing_is_changed(
    service: ApiService, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = service.add()
    published: list[str] = []
    monkeypatch.setattr("worker.web.dependencies.enqueue_backfill", lambda account, **_: published.append(account))
    service.parts.stores.registry.accounts.set_state(account_id, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    before = service.parts.stores.registry.accounts.list_accounts()
    refused = client.post("/api/accounts", json={"usage_point": METER, "consented_on": TODAY.isoformat()})
    assert (refused.status_code, refused.json()["error"]) == (409, "account_exists")
    assert account_id in refused.json()["message"]
    assert METER not in refused.text
    assert service.parts.stores.registry.accounts.list_accounts() == before
    assert (service.parts.stores.registry.consents.list_proofs(account_id), published) == ([], [])


def test_o4_a_tenants_program_can_not_bring_back_a_meter_erased_at_another_nor_learn_that_it_was(
    service: ApiService,
) -> None:
    """As the review ran it: erased at alpha, and added by beta's program with the day of today."""
    erase(service.parts.stores, service.add(11, tenant="alpha"))
    reading = service.add(12, tenant="alpha")
    alpha, beta = service.client(tenant="alpha"), service.client(tenant="beta")
    for evidence in ({}, {"consented_on": TODAY.isoformat()}):
        refused = beta.post("/api/accounts", json={"usage_point": METER, **evidence})
        assert (refused.status_code, refused.json()["error"]) == (409, "METER_ELSEWHERE")
        its_own = alpha.post("/api/accounts", json={"usage_point": METER, **evidence})
        assert (its_own.status_code, its_own.json()["error"]) == (409, "meter_erased")
    elsewhere = beta.post("/api/accounts", json={"usage_point": METER[:-2] + "12"})
    assert elsewhere.json() == refused.json(), "whether the meter is read or was erased can't be told apart"
    assert [account.id for account in service.parts.stores.registry.accounts.list_accounts()] == [reading]


@pytest.mark.parametrize("evidence", [{"reference": f"meter {METER}"}, {"consented_on": "2999-01-01"}])
def test_evidence_that_can_not_be_kept_is_refused(
    service: ApiService, client: TestClient, evidence: dict[str, str]
) -> None:
    refused = client.post("/api/accounts", json={"usage_point": METER, **evidence})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
    assert METER not in refused.text
    assert service.parts.stores.registry.accounts.list_accounts() == []


def test_where_holders_bring_their_own_tokens_only_the_consent_page_adds_accounts(
    redis_url: str, tmp_path: Path
) -> None:
    with open_api_service(redis_url, tmp_path, preset="enedis-v4") as service:
        refused = service.client().post("/api/accounts", json={"usage_point": METER})
        assert (refused.status_code, refused.json()["error"]) == (409, "consent_needed")
        assert service.parts.stores.registry.accounts.list_accounts() == []


@pytest.mark.parametrize("body", [{}, {"usage_point": "123"}, {"usage_point": METER, "more": 1}, [METER]])
def test_a_malformed_body_is_refused_without_repeating_it(client: TestClient, body: object) -> None:
    refused = client.post("/api/accounts", json=body)
    assert refused.status_code == 422
    assert refused.json()["error"] == "invalid_request"
    assert METER not in refused.text


def test_pause_and_resume_give_the_account_as_it_is_then(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    assert client.post(f"/api/accounts/{account_id}/pause").json()["state"] == "paused"
    assert service.parts.stores.registry.accounts.get(account_id).state is AccountState.PAUSED
    assert client.post(f"/api/accounts/{account_id}/resume").json()["state"] == "ready"


def test_an_account_without_a_meter_cannot_be_resumed(service: ApiService, client: TestClient) -> None:
    account, _ = service.parts.stores.registry.accounts.add("enedis", None, NOW)
    refused = client.post(f"/api/accounts/{account.id}/resume")
    assert (refused.status_code, refused.json()["error"]) == (409, "wrong_state")


def test_a_removal_answers_with_its_receipt_and_can_be_repeated(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    service.store_days(account_id, TODAY - timedelta(days=3), [100, 200, 300])
    receipt = client.delete(f"/api/accounts/{account_id}").json()
    assert receipt["account"] == account_id
    assert receipt["erased"]["documents"] == 3
    assert receipt["erased"]["usage_points"] == 1
    assert client.get(f"/api/accounts/{account_id}").status_code == 404
    assert client.get(f"/api/accounts/{account_id}/measures").status_code == 404
    again = client.delete(f"/api/accounts/{account_id}")
    assert again.status_code == 200
    assert again.json()["erased"]["documents"] == 0


def test_unknown_accounts_and_paths_and_methods_are_told_in_one_shape(service: ApiService, client: TestClient) -> None:
    for answer, status, code, title in (
        (client.get("/api/accounts/nobody"), 404, "unknown_account", "Unknown account"),
        (client.get("/api/nothing"), 404, "not_found", "Address not found"),
        (client.put("/api/accounts", json={}), 405, "method_not_allowed", "Method not allowed"),
        (client.get(f"/api/accounts/{METER}"), 422, "invalid_request", "Invalid request"),
    ):
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        problem = answer.json()
        assert problem == {
            "type": f"{service.parts.stores.settings.public_url}/api/docs#{code}",
            "title": title,
            "status": status,
            "detail": problem["message"],
            "error": code,
            "message": problem["message"],
        }
        assert METER not in answer.text


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"])
def test_a_body_of_another_type_than_json_is_refused_by_its_type(client: TestClient, kind: str) -> None:
    body = '{"usage_point": "30001640000012"}'
    refused = client.post("/api/accounts/search", content=body, headers={"Content-Type": kind})
    assert (refused.status_code, refused.json()["error"]) == (415, "unsupported_media_type")
    assert "Content-Type: application/json" in refused.json()["detail"]
    assert client.post("/api/accounts/search").status_code == 422
    for own in ("application/json; charset=utf-8", "application/merge-patch+json"):
        assert client.post("/api/accounts/search", content=body, headers={"Content-Type": own}).status_code == 200


@pytest.mark.parametrize("number", ["0", "20240725", "1721865600", "-1", "1.5", " 0", "3e-101"])
def test_a_number_is_no_day(service: ApiService, client: TestClient, number: str) -> None:
    account_id, metered = service.add(), {"usage_point": "30001640000012"}
    answers = [
        client.get("/api/audit", params={"until": number}),
        client.get("/api/audit", params={"since": number}),
        client.get(f"/api/accounts/{account_id}/measures", params={"by": "day", "from": number}),
        client.get(f"/api/accounts/{account_id}/measures", params={"by": "day", "to": number}),
        client.post("/api/accounts", json={**metered, "consented_on": number}),
        client.post("/api/accounts", json={**metered, "consented_on": float(number)}),
    ]
    for answer in answers:
        assert answer.status_code == 422 and "write a day like 2024-07-25" in answer.json()["message"]
    assert client.get("/api/audit?since=2024-07-25&until=2024-07-25").status_code == 200


# Status and progress


def test_the_status_is_that_of_the_command(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    status = client.get(f"/api/accounts/{account_id}/status").json()
    account = service.parts.stores.registry.accounts.get(account_id)
    expected = status_of(account, service.parts.sync.history)
    assert status == expected.model_dump(mode="json")


def test_progress_counts_days_done_of_days_wanted(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    before = client.get(f"/api/accounts/{account_id}/progress").json()
    assert before["series"]["daily"]["done"] == 0 < before["series"]["daily"]["total"]
    assert not before["loaded"]
    for series in USUAL_SERIES:
        mark_asked(service.parts.stores.registry, account_id, series, service.parts.sync.history.wanted_window(series))
    after = client.get(f"/api/accounts/{account_id}/progress").json()
    assert after["loaded"]
    assert all(part["done"] == part["total"] for part in after["series"].values())


# Measures


def test_measures_are_the_stored_documents_in_time_order_with_the_last_day_included(
    service: ApiService, client: TestClient
) -> None:
    account_id = service.add()
    service.store_days(account_id, date(2024, 7, 1), [100, 200, 300, 400])
    page = client.get(f"/api/accounts/{account_id}/measures?by=day&from=2024-07-02&to=2024-07-03").json()
    assert page == {
        "account": account_id,
        "series": "daily",
        "by": "day",
        "doctype": "com.grandlyon.enedis.day",
        "unit": "kWh",
        "documents": [
            {"load": 0.2, "year": 2024, "month": 7, "day": 2, "hour": 0, "minute": 0},
            {"load": 0.3, "year": 2024, "month": 7, "day": 3, "hour": 0, "minute": 0},
        ],
        "next": None,
    }


def test_pages_of_measures_give_each_document_once_through_the_hour_that_comes_twice(
    service: ApiService, client: TestClient
) -> None:
    account_id = service.add()
    service.store_half_hours(account_id, date(2023, 10, 29), list(range(50)))
    documents, path = [], f"/api/accounts/{account_id}/measures?by=minute&from=2023-10-29&to=2023-10-29&limit=7"
    while path:
        answer = client.get(path)
        assert (answer.json()["next"] is None) == ("Link" not in answer.headers)
        documents += answer.json()["documents"]
        path = answer.json()["next"]
    assert [round(document["load"] * 1000) for document in documents] == list(range(50))
    assert sum(document.get("fold", 0) for document in documents) == 2


def test_a_page_that_ends_with_the_last_document_has_no_next(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    service.store_days(account_id, date(2024, 7, 1), [1, 2, 3, 4])
    first = client.get(f"/api/accounts/{account_id}/measures?limit=2").json()
    second = client.get(first["next"]).json()
    assert [document["day"] for document in second["documents"]] == [3, 4]
    assert second["next"] is None


def test_a_csv_is_whole_and_named_and_has_the_same_documents(
    service: ApiService, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 20)  # So that it takes several reads.
    account_id = service.add()
    service.store_half_hours(account_id, date(2023, 10, 29), list(range(50)))
    answer = client.get(f"/api/accounts/{account_id}/measures?by=minute&format=csv&to=2024-07-24")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert (
        answer.headers["Content-Disposition"] == f'attachment; filename="releve-{account_id}-minute-all-2024-07-24.csv"'
    )
    head, *lines = answer.text.splitlines()
    assert head == "load,year,month,day,hour,minute,fold"
    assert [line.split(",")[0] for line in lines] == [f"0.{wh:03}" for wh in range(50)]


def test_a_csv_with_a_limit_is_a_page_with_a_link(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    service.store_days(account_id, date(2024, 7, 1), [1, 2, 3])
    first = client.get(f"/api/accounts/{account_id}/measures?format=csv&limit=2")
    assert len(first.text.splitlines()) == 3
    assert len(client.get(first.links["next"]["url"]).text.splitlines()) == 2


@pytest.mark.parametrize(
    "query",
    ["from=2024-07-02&to=2024-07-01", "to=1999-12-31", "to=2100-01-01", "limit=0", "limit=5001", "by=week",
     "after=", "by=year&after=20x4", "from=yesterday", "format=xml"],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(service: ApiService, client: TestClient, query: str) -> None:
    refused = client.get(f"/api/accounts/{service.add()}/measures?{query}")
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")


def test_a_store_that_is_away_is_a_503_that_names_no_server(
    service: ApiService, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = service.add()

    def away(*_: object) -> None:
        raise StoreUnavailable("db.internal does not serve")

    monkeypatch.setattr(service.parts.stores.registry.accounts, "get", away)
    for path in ("", "/measures", "/status", "/progress"):
        answer = client.get(f"/api/accounts/{account_id}{path}")
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert "db.internal" not in answer.text
        assert int(answer.headers["Retry-After"]) > 0


def test_the_description_has_examples_and_the_shape_of_refusals(service: ApiService) -> None:
    described = service.stranger().get("/api/openapi.json").json()
    assert all(path.startswith("/api/") for path in described["paths"])
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len(operations) == 22
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
        assert {"token": []} in operation["security"]
        refusal = operation["responses"]["401"]["content"]["application/problem+json"]["schema"]
        assert refusal == {"$ref": "#/components/schemas/Problem"}
