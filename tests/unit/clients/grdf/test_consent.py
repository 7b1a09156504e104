"""GRDF's rights and Client Connect: what is sent, what is read of it, and what each refusal means."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import responses

from tests.support.factories import NOW
from tests.support.gas_answers import METER, done, ndjson, right
from tests.support.recordings import RECORDINGS, needs_recordings
from tests.support.supplier_server import BASE_URL, ClientHarness
from worker.clients.endpoints import Callback
from worker.clients.grdf import GRDF
from worker.clients.grdf.consent import (
    LARGEST_PROOF,
    declare_right,
    list_rights,
    meters_of_grant,
    read_callback,
    upload_proofs,
    withdraw_right,
)
from worker.clients.grdf.presets import PRESETS
from worker.clients.oauth import Grant
from worker.clients.supplier_session import Token
from worker.domain.access_right import ProofState, RightDeclaration, RightRole, RightState
from worker.domain.series import contract_series, daily_of, intervals_of
from worker.errors import (
    ApplicationRefused,
    MalformedAnswer,
    OperatorFault,
    RequestRefused,
    RightContractEnded,
    RightEmailWrong,
    RightNameWrong,
    RightPostcodeWrong,
    RightProofRefused,
    RightRefused,
    RightRevoked,
    RightScopeWrong,
    SupplierFault,
    SupplierLimited,
    SupplierUnavailable,
    UnknownUsagePoint,
    WorkerError,
)

ROOT = f"{BASE_URL}/adict/v2"
ID = "2734291b-3df4-4aef-92de-ad0186e0be6b"
OTHER = "GI123456"
DECLARATION = RightDeclaration(
    meter=METER,
    role=RightRole.AUTHORIZED,
    postcode="99099",
    first_day=date(2024, 7, 25),
    last_day=date(2027, 7, 24),
    data_from=date(2021, 7, 25),
    name="Dupond",
    email="dupond@example.invalid",
)
PERSONAL = ("Dupond", "dupond@example.invalid", "99099", "0600000000", METER)


def add(harness: ClientHarness, method: str, path: str, status: int, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    harness.supplier.add(method, ROOT + path, status=status, body=content)


def sent(harness: ClientHarness) -> Any:
    return json.loads(harness.supplier.calls[-1].request.body or b"null")


# -- Declaring


def test_a_right_is_declared_with_exactly_what_it_takes(adict: ClientHarness) -> None:
    body = {**done("0000000002", "La demande est en attente"), "id_droit_acces": ID, "etat_droit_acces": "A valider"}
    add(adict, "PUT", f"/pce/{METER}/droit_acces", 201, body)
    declared = declare_right(adict.session, DECLARATION)
    assert (declared.id, declared.state) == (ID, RightState.PENDING)
    assert declared.line == "PUT /pce/{meter}/droit_acces"
    assert declared.digest == hashlib.sha256(json.dumps(body).encode()).hexdigest()
    assert sent(adict) == {
        "role_tiers": "AUTORISE_CONTRAT_FOURNITURE",
        "nom_titulaire": "Dupond",
        "code_postal": "99099",
        "courriel_titulaire": "dupond@example.invalid",
        "date_debut_droit_acces": "2024-07-25",
        "date_fin_droit_acces": "2027-07-24",
        "perim_donnees_conso_debut": "2021-07-25",
        "perim_donnees_conso_fin": "2027-07-24",
        "perim_donnees_contractuelles": "Vrai",
        "perim_donnees_techniques": "Vrai",
        "perim_donnees_informatives": "Vrai",
        "perim_donnees_publiees": "Vrai",
    }
    assert adict.permits.requested_apis == ["data"]
    assert not any(text in repr((DECLARATION, declared)) for text in (*PERSONAL, ID))


def test_an_own_meter_is_declared_with_its_company_and_is_active_at_once(adict: ClientHarness) -> None:
    own = RightDeclaration(
        meter=OTHER,
        role=RightRole.OWN,
        postcode="99099",
        first_day=date(2024, 7, 25),
        last_day=date(2025, 7, 24),
        data_from=date(2019, 7, 25),
        company="EXEMPLE SARL",
    )
    add(adict, "PUT", f"/pce/{OTHER}/droit_acces", 201, {**done(), "id_droit_acces": ID, "etat_droit_acces": "Active"})
    assert declare_right(adict.session, own).state is RightState.ACTIVE
    body = sent(adict)
    assert (body["role_tiers"], body["raison_sociale"]) == ("DETENTEUR_CONTRAT_FOURNITURE", "EXEMPLE SARL")
    assert not {"nom_titulaire", "courriel_titulaire"} & body.keys()


@pytest.mark.parametrize(
    "body",
    [
        done("1000000003", "Un droit d'accès existe déjà."),
        done("1000000003", ""),
        done("1000000099", "Un droit d'accès existe déjà."),
        done("0000000002", "La demande d'accès est en attente de la validation du titulaire du PCE."),
    ],
)
def test_a_right_that_exists_is_declared_and_has_to_be_looked_up(adict: ClientHarness, body: Any) -> None:
    add(adict, "PUT", f"/pce/{METER}/droit_acces", 409, body)
    assert declare_right(adict.session, DECLARATION).id is None


@pytest.mark.parametrize(
    "status, code, text, error",
    [
        (404, "1000000006", "Le PCE est inconnu.", UnknownUsagePoint),
        (409, "1000000004", "", RightContractEnded),
        (409, "1000000005", "", RightPostcodeWrong),
        (409, 1000000013, "", RightRevoked),
        (409, "1000000022", "", RightScopeWrong),
        (400, "1000000026", "", RightNameWrong),
        # The codes of these are not known.
        (400, "1000000099", "Le nom ou la raison sociale du titulaire doit être renseigné.", RightNameWrong),
        (400, "1000000099", "Le format du code postal est incorrect.", RightPostcodeWrong),
        (400, "1000000099", "Le format du courriel du titulaire est incorrect.", RightEmailWrong),
        (400, "1000000099", "Le format du PCE est incorrect.", UnknownUsagePoint),
        (409, "1000000099", "Le contrat de fourniture de gaz est échu.", RightContractEnded),
        (409, "1000000099", "La demande d'accès est incohérente.", RightScopeWrong),
        (409, "1000000099", "La date de fin du droit d’accès doit être supérieure ou égale à …", RightScopeWrong),
        (400, "1000000099", "Votre rôle dans la demande d'accès n'est pas renseigné.", RequestRefused),
        (500, "2000000001", "Une erreur technique est survenue.", SupplierFault),
        (409, "2000000007", "Une erreur technique est survenue.", SupplierFault),
        (403, "", "", ApplicationRefused),
        (429, "", "", SupplierLimited),
    ],
)
def test_a_right_that_is_not_registered_has_its_reason(
    adict: ClientHarness, status: int, code: Any, text: str, error: type[WorkerError]
) -> None:
    add(adict, "PUT", f"/pce/{METER}/droit_acces", status, done(code, text))
    with pytest.raises(error) as caught:
        declare_right(adict.session, DECLARATION)
    assert type(caught.value) is error
    assert not any(word in str(caught.value) for word in PERSONAL)
    if isinstance(caught.value, RightRefused):
        assert caught.value.code.startswith("right_")


# -- Listing


def test_all_rights_of_some_meters_are_listed_without_anything_personal(adict: ClientHarness) -> None:
    rights = [
        right(METER, "Révoquée", id_droit_acces="r1"),
        right(METER, "Active", id_droit_acces="r2", role_tiers="DETENTEUR_CONTRAT_FOURNITURE"),
        right(OTHER, "À valider", id_droit_acces="r3", perim_donnees_informatives="FAUX"),
        right("GI999999", "Active", id_droit_acces="another meter"),
        right(METER, "Active", id_droit_acces="injection", role_tiers="AUTORISE_CONTRAT_INJECTION"),
    ]
    add(adict, "POST", "/droits_acces", 200, ndjson([*rights, done()]))
    records = list_rights(adict.session, [METER, OTHER])
    assert [(record.id, record.meter, record.state, record.role) for record in records] == [
        ("r1", METER, RightState.REVOKED, RightRole.AUTHORIZED),
        ("r2", METER, RightState.ACTIVE, RightRole.OWN),
        ("r3", OTHER, RightState.PENDING, RightRole.AUTHORIZED),
    ]
    assert records[0].covers == {daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")}
    assert records[2].covers == {intervals_of("grdf"), contract_series("grdf")}
    assert (records[0].first_day, records[0].last_day) == (date(2024, 7, 2), date(2027, 7, 1))
    assert sent(adict) == {"id_pce": [METER, OTHER]}
    assert not any(word in repr(records) for word in (*PERSONAL, "r1"))


@pytest.mark.parametrize(
    "told, state",
    [
        *((form, RightState.ACTIVE) for form in ("Active", "ACTIVE", " active ")),
        *((form, RightState.PENDING) for form in ("A valider", "À valider", "à VALIDER")),
        *((form, RightState.REVOKED) for form in ("Révoquée", "Revoquee", "REVOQUÉE")),
        *((form, RightState.TO_CHECK) for form in ("A revérifier", "À reverifier")),
        *((form, RightState.OBSOLETE) for form in ("Obsolète", "obsolete")),
        *((form, RightState.REFUSED) for form in ("Refusée", "refusee")),
        # Nothing may be asked under a state that is not known.
        *((form, RightState.TO_CHECK) for form in ("Suspendue", None, "", 7)),
    ],
)
def test_a_state_is_known_with_accents_and_without(adict: ClientHarness, told: Any, state: RightState) -> None:
    add(adict, "POST", "/droits_acces", 200, ndjson([right(state=told), done()]))
    assert [record.state for record in list_rights(adict.session, [METER])] == [state]


@pytest.mark.parametrize(
    "word, expected", [("vrai", True), ("VRAI", True), (True, True), ("faux", False), ("oui", None)]
)
@pytest.mark.parametrize("colon", ["", ":", " :"])
def test_what_a_right_covers_is_known_also_under_a_misspelt_name(
    adict: ClientHarness, word: Any, expected: bool | None, colon: str
) -> None:
    record = right(perim_donnees_publiees="Faux")
    del record["perim_donnees_techniques"]
    record[f"perim_donnees_techniques{colon}"] = word
    add(adict, "POST", "/droits_acces", 200, ndjson([record]))
    (listed,) = list_rights(adict.session, [METER])
    daily, contract = daily_of(supplier="grdf"), contract_series("grdf")
    assert listed.covers == {True: {daily, contract}, False: {daily}, None: None}[expected]


@pytest.mark.parametrize(
    "told, proof",
    [
        ("Preuve en attente", ProofState.AWAITED),
        ("Preuve en cours de vérification", ProofState.IN_REVIEW),
        ("Preuve Vérifiée OK", ProofState.ACCEPTED),
        ("preuve verifiee ko", ProofState.REJECTED),
        (None, None),
        ("?", None),
    ],
)
def test_a_proof_that_is_awaited_has_its_last_day(adict: ClientHarness, told: Any, proof: ProofState | None) -> None:
    record = right(statut_controle_preuve=told, date_limite_transmission_preuve="2024-08-20")
    add(adict, "POST", "/droits_acces", 200, ndjson([record]))
    (listed,) = list_rights(adict.session, [METER])
    assert (listed.proof, listed.proof_until) == (proof, date(2024, 8, 20))


def test_a_list_may_be_wrapped_and_longer_than_any_other_value(adict: ClientHarness) -> None:
    many = [right(METER, id_droit_acces=f"r{number}") for number in range(1_000)]
    add(adict, "POST", "/droits_acces", 200, {"liste_acces": many, **done()})
    assert len(list_rights(adict.session, [METER])) == 1_000


NONE_FOUND = done("1000000001", "Aucun droit d’accès trouvé.")


@pytest.mark.parametrize("status, body", [(200, done()), (200, NONE_FOUND), (404, NONE_FOUND)])
def test_no_right_is_an_empty_list(adict: ClientHarness, status: int, body: Any) -> None:
    add(adict, "POST", "/droits_acces", status, body)
    assert list_rights(adict.session, [METER]) == []


def test_a_list_that_is_cut_is_none_so_that_no_right_seems_to_have_ended(adict: ClientHarness) -> None:
    add(adict, "POST", "/droits_acces", 200, ndjson([right(), right()])[:-20])
    with pytest.raises(SupplierUnavailable):
        list_rights(adict.session, [METER])
    add(adict, "POST", "/droits_acces", 400, done("2000000009", "Trop de PCE"))
    with pytest.raises(RequestRefused):
        list_rights(adict.session, [METER])


def test_no_list_is_asked_for_no_meter_or_too_many(adict: ClientHarness) -> None:
    assert list_rights(adict.session, []) == []
    with pytest.raises(ValueError, match="1000"):
        list_rights(adict.session, [METER] * 1_001)
    assert not adict.supplier.calls


@needs_recordings
def test_the_recorded_list_is_read(adict: ClientHarness) -> None:
    recorded = RECORDINGS / "gas" / "adict_droits_acces.ndjson"
    if not recorded.is_file():
        pytest.skip("the recording is not here")
    add(adict, "POST", "/droits_acces", 200, recorded.read_bytes())
    (listed,) = list_rights(adict.session, ["GI000000"])
    assert (listed.id, listed.state) == (ID, RightState.ACTIVE)
    assert listed.covers == {daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")}
    assert listed.last_day == date(2030, 1, 1)


# -- Withdrawing and proving


@pytest.mark.parametrize(
    "status, body", [(200, done()), (200, b""), (404, done("1000000001")), (409, done("2000000003"))]
)
def test_a_right_that_is_gone_is_withdrawn(adict: ClientHarness, status: int, body: Any) -> None:
    add(adict, "PATCH", f"/droit_acces/{ID}", status, body)
    withdraw_right(adict.session, ID)
    assert sent(adict) == {}


@pytest.mark.parametrize(
    "status, error", [(500, SupplierUnavailable), (503, SupplierUnavailable), (403, OperatorFault)]
)
def test_a_right_is_not_withdrawn_by_a_failure(adict: ClientHarness, status: int, error: type[WorkerError]) -> None:
    add(adict, "PATCH", f"/droit_acces/{ID}", status, b"")
    with pytest.raises(error):
        withdraw_right(adict.session, ID)


@pytest.mark.parametrize("status", [404, 409])
def test_the_page_of_a_gateway_withdraws_nothing(adict: ClientHarness, status: int) -> None:
    """A wrong address or a proxy on the way: the right is as it was, and is tried again."""
    add(adict, "PATCH", f"/droit_acces/{ID}", status, b"<html>Not Found</html>")
    with pytest.raises(SupplierUnavailable):
        withdraw_right(adict.session, ID)


def test_an_id_can_name_no_other_path(adict: ClientHarness) -> None:
    adict.supplier.add(responses.PATCH, f"{ROOT}/droit_acces/..%2Fdroits_acces%3Fx", status=404)
    withdraw_right(adict.session, "../droits_acces?x")


def test_proofs_go_as_files_of_one_form(adict: ClientHarness) -> None:
    add(adict, "PUT", f"/droit_acces/{ID}/preuves", 200, done())
    upload_proofs(adict.session, ID, [("a.pdf", b"%PDF-1"), ("b.pdf", b"%PDF-2")])
    request = adict.supplier.calls[-1].request
    assert request.headers["Content-Type"].startswith("multipart/form-data")
    assert bytes(request.body).count(b'name="preuves"') == 2 and b"%PDF-2" in bytes(request.body)


@pytest.mark.parametrize(
    "text, error",
    [
        ("Le nombre maximal autorisé de 3 preuves est dépassé.", RightProofRefused),
        ("GRDF ne demande pas de preuve sur ce droit d'accès.", RightProofRefused),
        ("Le contrat de fourniture de gaz est échu.", RightContractEnded),
    ],
)
def test_proofs_that_are_refused_have_their_reason(adict: ClientHarness, text: str, error: type[WorkerError]) -> None:
    add(adict, "PUT", f"/droit_acces/{ID}/preuves", 409, done("1000000099", text))
    with pytest.raises(error):
        upload_proofs(adict.session, ID, [("a.pdf", b"%PDF-1")])


@pytest.mark.parametrize("sizes", [[], [1] * 4, [0], [LARGEST_PROOF + 1]])
def test_proofs_that_grdf_would_not_take_are_never_sent(adict: ClientHarness, sizes: list[int]) -> None:
    with pytest.raises(RightProofRefused):
        upload_proofs(adict.session, ID, [("a.pdf", b"x" * size) for size in sizes])
    assert not adict.supplier.calls


# -- Client Connect


def test_the_page_is_asked_for_the_identity_of_a_state() -> None:
    preset = PRESETS["grdf-adict"]
    assert GRDF.consent
    for endpoints in (preset.endpoints(), preset.endpoints("http://localhost:8000")):
        url = GRDF.consent.page(endpoints, "our-client", "abc0", "", "https://releve.example/callback/grdf")
        assert url.startswith(f"{endpoints.authorize_url}?")
        assert parse_qs(urlsplit(url).query) == {
            "client_id": ["our-client"],
            "response_type": ["code"],
            "scope": ["openid"],
            "state": ["abc0"],
            "redirect_uri": ["https://releve.example/callback/grdf"],
        }
    with pytest.raises(ValueError, match="100"):
        GRDF.consent.page(preset.endpoints(), "our-client", "a" * 101, "", "https://releve.example")


@pytest.mark.parametrize(
    "query, expected",
    [
        ({"code": "c0de", "iss": "https://x", "client_id": "y", "state": "s"}, Callback("s", code="c0de")),
        ({"state": "s", "error": "access_denied", "code": "c0de"}, Callback("s", "access_denied")),
        ({"state": "s", "error": f"no {METER}"}, Callback("s", "refused")),
        ({"state": "s"}, Callback("s", "no_code")),
        ({}, Callback("", "no_code")),
    ],
)
def test_a_callback_is_read_or_a_failure(query: dict[str, str], expected: Callback) -> None:
    assert read_callback(query) == expected == read_callback(list(query.items()))


def grant_of(**claims: Any) -> Grant:
    ends = NOW + timedelta(hours=1)
    token = jwt.encode({"iss": "https://x", "aud": "our-client", "exp": ends, **claims}, "x" * 32, "HS256")
    return Grant(Token("user-0001"), {"id_token": token})


def test_the_meters_are_those_of_the_id_token() -> None:
    consents = [{"pce": METER, "id_accreditation": "a"}, {"id_pce": OTHER}, {"pce": "123"}]
    assert meters_of_grant(grant_of(consentements=json.dumps(consents)), "our-client", NOW) == (METER, OTHER)
    assert meters_of_grant(grant_of(), "our-client", NOW) == ()
    assert meters_of_grant(Grant(Token("x"), {}), "our-client", NOW) == ()
    with pytest.raises(MalformedAnswer):
        meters_of_grant(grant_of(aud="another"), "our-client", NOW)
