"""Files that a household's page or a program sends: what is found in them, what is stored, and who may not."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH, csrf_of
from tests.support.made_files import hour_export
from worker.domain.audit_entry import AuditFilter
from worker.domain.documents import ALL_KEYS
from worker.domain.files.cells import FileFault
from worker.domain.series import Doctype
from worker.domain.sessions import Scope
from worker.stores.redis.locks import Rate
from worker.texts import LANGUAGES, translate
from worker.web import file_uploads as imports
from worker.web.dependencies import SESSION_COOKIE, load_session

METER, OTHER_METER = "30001640000011", "30001640000012"  # As ``ApiService.add`` numbers them.
GOOD = ("file", ("courbe.csv", hour_export(METER)))
FOREIGN = ("file", ("voisin.csv", hour_export(OTHER_METER)))
POEM = ("file", ("poeme.csv", "Sous le pont Mirabeau\ncoule la Seine\n"))


@pytest.fixture
def home(service: ApiService) -> str:
    return service.add()


def half_hours(service: ApiService, account_id: str) -> int:
    return len(service.parts.stores.measures.read(account_id, {Doctype.MINUTE: ALL_KEYS})[Doctype.MINUTE])


def imports_in_trail(service: ApiService) -> list[tuple[str, str | None, str]]:
    entries = service.parts.stores.registry.audit.page(AuditFilter(action="account.import"), 100)
    return [(entry.actor_kind, entry.subject, entry.outcome) for entry in entries]


def page_of(client: TestClient, account_id: str) -> str:
    return str(client.get(f"/accounts/{account_id}/import", headers=FRENCH).text)


def post(client: TestClient, account_id: str, *files: Any, **fields: str) -> Any:
    data = {"csrf": csrf_of(page_of(client, account_id)), **fields}
    return client.post(f"/accounts/{account_id}/import", data=data, files=list(files), headers=FRENCH)


# -- The API


def test_a_program_sends_files_and_reads_what_was_in_them(service: ApiService, home: str) -> None:
    client = service.client(Scope.WRITE_ACCOUNTS)
    answer = client.post(f"/api/accounts/{home}/import", files=[GOOD, FOREIGN, POEM])
    assert answer.status_code == 200
    row = {"file": "courbe.csv", "format": "enedis-hour", "usage_point": "…0011", "series": "load_curve"}
    row |= {"first": "2024-07-01", "last": "2024-07-02", "days_new": 2, "days_same": 0, "days_different": 0}
    body = answer.json()
    assert body["files"] == [{**row, "wh": 14_400}]
    assert [(one["file"], one["why"]) for one in body["refused"]] == [
        ("voisin.csv", "other_meter"),
        ("poeme.csv", "unknown"),
    ]
    assert METER not in answer.text and OTHER_METER not in answer.text
    assert half_hours(service, home) == 96
    again = client.post(f"/api/accounts/{home}/import", files=[GOOD]).json()
    assert again["files"] == [{**row, "wh": 14_400, "days_new": 0, "days_same": 2}]
    assert imports_in_trail(service) == [
        ("token", "0new-2same-0different", "ok"),
        ("token", "2new-0same-0different", "ok"),
    ]


def test_a_dry_run_stores_nothing_and_is_not_recorded(service: ApiService, home: str) -> None:
    answer = service.client().post(f"/api/accounts/{home}/import?dry_run=true", files=[GOOD])
    assert (answer.json()["dry_run"], answer.json()["files"][0]["days_new"]) == (True, 2)
    assert half_hours(service, home) == 0
    assert imports_in_trail(service) == []


def test_files_come_in_a_zip(service: ApiService, home: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", hour_export(METER))
        archive.writestr("b.csv", hour_export(OTHER_METER))
    answer = service.client().post(f"/api/accounts/{home}/import", files=[("file", ("export.zip", packed.getvalue()))])
    assert (len(answer.json()["files"]), len(answer.json()["refused"])) == (1, 1)


@pytest.mark.parametrize("files", [[POEM], [FOREIGN], [("other", GOOD[1])]], ids=["poem", "foreign", "other part"])
def test_where_no_file_is_taken_the_call_is_refused(service: ApiService, home: str, files: list[Any]) -> None:
    answer = service.client().post(f"/api/accounts/{home}/import", files=files)
    assert (answer.status_code, answer.json()["error"]) == (422, "file_refused")
    assert OTHER_METER not in answer.text
    assert half_hours(service, home) == 0
    assert [outcome for _, _, outcome in imports_in_trail(service)] == ["file_refused"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x", ""]
)
def test_another_body_is_refused(service: ApiService, home: str, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = service.client().post(f"/api/accounts/{home}/import", content=b'{"file": 1}', headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"] in ("invalid_request", "file_refused")


def test_a_file_that_grows_too_long_is_not_read_to_its_end(
    service: ApiService, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "LARGEST_IMPORT", 1000)
    answer = service.client().post(f"/api/accounts/{home}/import", files=[GOOD])
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_too_many_imports_of_an_account_wait(service: ApiService, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "IMPORTS", Rate("import", calls=1, window_s=3600))
    client = service.client()
    assert client.post(f"/api/accounts/{home}/import", files=[GOOD]).status_code == 200
    answer = client.post(f"/api/accounts/{home}/import", files=[GOOD])
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)
    browser = service.browser(home)
    refused = post(browser, home, GOOD)
    assert (refused.status_code, "Trop d’imports" in refused.text) == (429, True)


def test_s8_a_household_has_one_import_at_once_and_leaves_the_other_to_others(service: ApiService, home: str) -> None:
    second, neighbours = service.add(13), service.add(14)
    browser, other = service.browser(home, second), service.browser(neighbours)
    owner = load_session(service.parts.access, browser.cookies.get(SESSION_COOKIE)).household
    assert owner is not None
    with imports._slot(owner.id):
        for account in (home, second):
            assert post(browser, account, GOOD).status_code == 503
            answer = browser.post(f"/api/accounts/{account}/import", files=[GOOD])
            assert (answer.status_code, answer.json()["error"]) == (503, "busy")
        assert post(other, neighbours, ("file", ("courbe.csv", hour_export("30001640000014")))).status_code == 200
    assert post(browser, home, GOOD).status_code == 200


def test_two_imports_at_once_are_enough(service: ApiService, home: str) -> None:
    with imports._slot("one"), imports._slot("another"):
        answer = service.client().post(f"/api/accounts/{home}/import", files=[GOOD])
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        page = post(service.browser(home), home, GOOD)
        assert (page.status_code, "Un instant" in page.text) == (503, True)
    assert service.client().post(f"/api/accounts/{home}/import", files=[GOOD]).status_code == 200


def test_a_households_script_needs_the_csrf_value(service: ApiService, home: str) -> None:
    browser = service.browser(home)
    assert browser.post(f"/api/accounts/{home}/import", files=[GOOD]).status_code == 200
    del browser.headers["X-CSRF-Token"]
    assert browser.post(f"/api/accounts/{home}/import", files=[GOOD]).status_code == 403


# -- The page


def test_the_page_tells_where_the_files_are_and_which_are_known(service: ApiService, home: str) -> None:
    browser = service.browser(home)
    assert f'href="/accounts/{home}/import"' in browser.get(f"/accounts/{home}/connection").text
    page = page_of(browser, home)
    assert "Gérer l’accès à mes données" in page and "32" in page
    assert 'enctype="multipart/form-data"' in page and "<script" not in page.split("<main")[1].split("</main")[0]


def test_a_household_looks_and_then_imports(service: ApiService, home: str) -> None:
    browser = service.browser(home)
    looked = post(browser, home, GOOD, look="1")
    assert looked.status_code == 200 and "Rien n’a été enregistré" in looked.text
    assert "du 1er juillet 2024 au 2 juillet 2024" in looked.text and "14,4" in looked.text
    assert half_hours(service, home) == 0
    done = post(browser, home, GOOD, POEM)
    assert done.status_code == 200 and "Fichiers importés" in done.text
    assert "poeme.csv" in done.text and "son contenu n’est pas reconnu" in done.text
    assert half_hours(service, home) == 96
    assert imports_in_trail(service) == [("household", "2new-0same-0different", "ok")]
    day = browser.get(f"/accounts/{home}?by=day&at=2024-07-01", headers=FRENCH).text
    assert "grâce à un fichier importé" in day


def test_a_file_of_another_meter_is_refused_on_the_page(service: ApiService, home: str) -> None:
    answer = post(service.browser(home), home, FOREIGN)
    assert answer.status_code == 422 and "Aucun fichier n’a été importé" in answer.text
    assert "il concerne un autre compteur" in answer.text and OTHER_METER not in answer.text
    assert half_hours(service, home) == 0


@pytest.mark.parametrize("csrf", ["", "0" * 64])
def test_a_form_of_another_site_imports_nothing(service: ApiService, home: str, csrf: str) -> None:
    answer = post(service.browser(home), home, GOOD, csrf=csrf)
    assert answer.status_code == 403
    assert half_hours(service, home) == 0


def test_a_form_without_a_file_says_so(service: ApiService, home: str) -> None:
    answer = post(service.browser(home), home, ("file", ("", b"")))
    assert answer.status_code == 422 and "Choisissez au moins un fichier" in answer.text


def test_who_does_not_own_an_account_imports_nothing(service: ApiService, home: str) -> None:
    other = service.browser(service.add(12))
    data = {"csrf": other.headers["X-CSRF-Token"]}
    assert other.post(f"/accounts/{home}/import", data=data, files=[GOOD]).status_code == 404
    assert half_hours(service, home) == 0


def test_each_refusal_has_a_sentence_in_both_languages() -> None:
    assert [why for why in FileFault for language in LANGUAGES if not translate(f"import.why.{why}", language)] == []
