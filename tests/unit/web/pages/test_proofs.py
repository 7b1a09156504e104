"""Proofs on the operator's page: who may upload, how much, and that a worker sends them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService, ApiServices
from tests.support.factories import NOW
from tests.support.gas_homes import GAS, GAS_SETTINGS, PCE
from tests.support.household_pages import csrf_of
from tests.support.operators import signed_in
from worker.clients.grdf import GRDF
from worker.domain.access_right import ProofState, Right, RightState
from worker.domain.sessions import Role
from worker.errors import RightProofRefused, SupplierUnavailable
from worker.stores.registry.tables import RIGHTS
from worker.web.file_uploads import LARGEST_UPLOAD

RIGHT = "0123456789abcdef0123"
PDF = ("consent of Martin.pdf", b"%PDF-1.7 signed", "application/pdf")


@dataclass
class Sent:
    """What GRDF was sent, and what it answers."""

    files: list[tuple[str, Sequence[tuple[str, bytes]]]] = field(default_factory=list)
    refusal: Exception | None = None

    def upload(self, _: Any, right_id: str, files: Sequence[tuple[str, bytes]]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.files.append((right_id, files))


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture
def service(services: ApiServices) -> ApiService:
    """A service that awaits the proof of a right."""
    service = services.new()
    right = Right(
        id=RIGHT,
        supplier=GAS,
        tenant="default",
        state=RightState.PENDING,
        state_since=NOW,
        meter=PCE,
        supplier_id="right-at-grdf",
        proof=ProofState.AWAITED,
        proof_until=date(2024, 8, 2),
    )
    with service.parts.stores.registry.database.writing() as connection:
        service.parts.stores.registry.rights.insert(connection, right)
    return service


@pytest.fixture
def sent(service: ApiService) -> Sent:
    assert GRDF.rights is not None
    grdf, clients = Sent(), service.parts.sync.suppliers[GAS]
    rights = replace(GRDF.rights, upload=grdf.upload)
    object.__setattr__(clients, "supplier", replace(clients.supplier, rights=rights))
    return grdf


def operator(service: ApiService) -> TestClient:
    browser = signed_in(service.app, service.parts)
    browser.follow_redirects = False
    return browser


def upload(browser: TestClient, *files: tuple[str, bytes, str], right: str = RIGHT, csrf: str | None = None) -> Any:
    value = csrf_of(browser.get("/operator/invitations").text) if csrf is None else csrf
    parts = [("proof", file) for file in files]
    return browser.post(f"/operator/rights/{right}/proofs", data={"csrf": value}, files=parts)


def test_the_page_lists_what_is_awaited_until_when(service: ApiService) -> None:
    page = operator(service).get("/operator/invitations").text
    assert "Gas meter …0123" in page and "until 2 August 2024" in page and PCE not in page
    assert f'action="/operator/rights/{RIGHT}/proofs"' in page and 'enctype="multipart/form-data"' in page
    shown = signed_in(service.app, service.parts, "bob", role=Role.SUPPORT).get("/operator/invitations").text
    assert "Gas meter …0123" in shown and "For administrators only" in shown and "/proofs" not in shown


@pytest.mark.parametrize(("proof", "listed"), [(ProofState.REJECTED, True), (ProofState.ACCEPTED, False)])
def test_a_rejected_proof_can_be_replaced_and_an_accepted_one_is_done(
    service: ApiService, proof: ProofState, listed: bool
) -> None:
    with service.parts.stores.registry.database.writing() as connection:
        connection.execute(RIGHTS.update().values(proof=proof))
    assert (
        f'action="/operator/rights/{RIGHT}/proofs"' in operator(service).get("/operator/invitations").text
    ) is listed


def test_a_proof_waits_sealed_until_a_worker_sends_it(service: ApiService, sent: Sent) -> None:
    browser = operator(service)
    answer = upload(browser, PDF, PDF)
    assert (answer.status_code, answer.headers["location"]) == (303, "/operator/invitations#proofs")
    assert sent.files == [], "no thread of the web waits for GRDF"
    assert "being sent" in browser.get("/operator/invitations").text
    assert "proof of consent" not in browser.get("/operator").text, "nobody needs to act"
    kept = service.parts.stores.redis.lrange(f"releve:proof_files:{RIGHT}", 0, -1)
    assert len(kept) == 2 and not any("signed" in str(text) or "Martin" in str(text) for text in kept)
    service.parts.consent.proof_uploads.send_waiting()
    assert sent.files == [("right-at-grdf", [("proof.pdf", PDF[1])] * 2)], "a file's name may be a person's"
    assert service.parts.stores.redis.keys(f"releve:proof_files:{RIGHT}*") == []
    assert "Gas meter" not in browser.get("/operator/invitations").text
    service.parts.consent.proof_uploads.send_waiting()
    assert len(sent.files) == 1


def test_a_refused_proof_is_told_and_can_be_sent_again(service: ApiService, sent: Sent) -> None:
    browser = operator(service)
    sent.refusal = RightProofRefused("too many files")
    upload(browser, PDF)
    service.parts.consent.proof_uploads.send_waiting()
    assert "last files refused" in browser.get("/operator/invitations").text
    sent.refusal = None
    upload(browser, PDF)
    service.parts.consent.proof_uploads.send_waiting()
    assert len(sent.files) == 1


def test_a_proof_waits_on_where_grdf_is_silent(service: ApiService, sent: Sent) -> None:
    browser = operator(service)
    upload(browser, PDF)
    sent.refusal = SupplierUnavailable("down")
    with pytest.raises(SupplierUnavailable):
        service.parts.consent.proof_uploads.send_waiting()
    sent.refusal = None
    service.parts.consent.proof_uploads.send_waiting()
    assert len(sent.files) == 1


def test_who_is_not_logged_in_uploads_nothing_and_is_not_read(service: ApiService) -> None:
    stranger = TestClient(service.app, follow_redirects=False)
    answer = upload(stranger, PDF, csrf="0" * 64)
    assert answer.status_code == 403 and service.parts.consent.proof_uploads.files.list_waiting() == []
    forged = upload(operator(service), PDF, csrf="0" * 64)
    assert forged.status_code == 403 and service.parts.consent.proof_uploads.files.list_waiting() == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([PDF] * 4, "Choose 1 to 3 files"),
        ([], "Choose at least one file|Choose 1 to 3 files"),
        ([("big.pdf", b"x" * (4 * 1024 * 1024 + 1), "application/pdf")], "larger than 4 MB"),
        ([("empty.pdf", b"", "application/pdf")], "larger than 4 MB"),
    ],
)
def test_files_that_grdf_would_not_take_are_refused_in_one_line(
    service: ApiService, files: list[tuple[str, bytes, str]], words: str
) -> None:
    answer = upload(operator(service), *files)
    assert answer.status_code == 422 and re.search(words, answer.text)
    assert service.parts.consent.proof_uploads.files.list_waiting() == []


def test_a_body_that_is_too_long_is_refused_before_it_is_read(service: ApiService) -> None:
    browser = operator(service)
    headers = {"Content-Length": str(LARGEST_UPLOAD + 1), "Content-Type": "multipart/form-data; boundary=x"}
    answer = browser.post(f"/operator/rights/{RIGHT}/proofs", content=b"--x", headers=headers)
    assert answer.status_code == 413
    other = browser.post("/operator/invitations", content=b"x" * 20_000)
    assert other.status_code == 413


def test_a_right_that_awaits_no_proof_takes_none(service: ApiService) -> None:
    assert upload(operator(service), PDF, right="f" * 20).status_code == 404


@pytest.mark.parametrize(("until", "colour"), [(date(2024, 8, 2), "wait"), (date(2024, 7, 28), "act")])
def test_a_proof_is_named_among_what_needs_somebody_and_in_red_near_its_deadline(
    service: ApiService, until: date, colour: str
) -> None:
    with service.parts.stores.registry.database.writing() as connection:
        connection.execute(RIGHTS.update().values(proof_until=until))
    page = " ".join(operator(service).get("/operator").text.split())
    told = f"GRDF requests 1 proof of consent, until {until:%-d %B %Y}."
    link = ' <a href="/operator/invitations#proofs">'
    assert re.search(f'<span class="pill pill-{colour}">[a-z]+</span> <span>{told}{link}', page)
