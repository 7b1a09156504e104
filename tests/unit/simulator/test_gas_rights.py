"""Rights: every answer to a declaration, every state, the e-mail of the quarter hour, and proofs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.grdf_caller import PCE, GasCaller

PDF = b"%PDF-1.7 a proof"


@pytest.fixture
def grdf() -> GasCaller:
    return GasCaller()


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code_statut_traitement"]


def state_of(grdf: GasCaller) -> str:
    (right,) = grdf.rights(id_pce=[PCE])
    return str(right["etat_droit_acces"])


def test_a_declared_right_waits_until_the_holder_answers_the_mail_of_the_quarter_hour(grdf: GasCaller) -> None:
    grdf.set_clock("2024-11-05T09:01+01:00")
    answer = grdf.declare()
    assert code_of(answer) == (201, "0000000002")
    body = answer.json()
    assert (body["etat_droit_acces"], body["parcours"]) == ("A valider", "TIERS_DIRECT")
    assert body["nom_titulaire"] == "DUPONT-ESSAI" and body["date_creation_droit_acces"] == "2024-11-05 09:01:00"
    grdf.set_clock("2024-11-05T09:15:30+01:00")
    assert state_of(grdf) == "A valider"
    assert grdf.refusal("informatives") == "1000002"
    grdf.set_clock("2024-11-05T09:16+01:00")
    assert state_of(grdf) == "Active"
    assert grdf.refusal("informatives") is None


def test_what_holders_do_is_a_switch_of_the_service_and_of_the_meter(grdf: GasCaller) -> None:
    grdf.admin("switches", {"holder": "waits"})
    grdf.declare()
    grdf.set_clock("2024-12-05T09:00+01:00")
    assert state_of(grdf) == "A valider"
    grdf.switch(holder="refuses")
    assert state_of(grdf) == "Refusée"
    grdf.switch(holder="accepts_at_once")
    assert grdf.declare(date_debut_droit_acces="2024-12-05").json()["etat_droit_acces"] == "A valider"
    assert [right["etat_droit_acces"] for right in grdf.rights()] == ["Refusée", "Active"]


def test_the_holder_of_an_own_contract_is_asked_nothing(grdf: GasCaller) -> None:
    answer = grdf.declare(role_tiers="DETENTEUR_CONTRAT_FOURNITURE", courriel_titulaire=None)
    assert code_of(answer) == (201, "0000000000")
    assert state_of(grdf) == "Active"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"role_tiers": None}, 400, "1000000027"),
        ({"nom_titulaire": None}, 400, "1000000026"),
        ({"raison_sociale": "EXEMPLE SARL"}, 400, "1000000026"),
        ({"code_postal": None}, 400, "1000000027"),
        ({"code_postal": "7500"}, 400, "1000000027"),
        ({"code_postal": "00000"}, 409, "1000000005"),
        ({"courriel_titulaire": None}, 400, "1000000027"),
        ({"courriel_titulaire": "nobody"}, 400, "1000000027"),
        ({"numero_telephone_mobile_titulaire": "0100000000"}, 400, "1000000027"),
        ({"date_debut_droit_acces": None}, 400, "1000000027"),
        ({"perim_donnees_publiees": "Oui"}, 400, "1000000027"),
        ({"date_debut_droit_acces": "2024-11-06"}, 409, "1000000022"),
        ({"date_fin_droit_acces": "2024-11-04"}, 409, "1000000022"),
        ({"perim_donnees_conso_debut": "2024-11-06"}, 409, "1000000022"),
        ({"perim_donnees_conso_fin": "2019-11-04"}, 409, "1000000022"),
        ({"perim_donnees_conso_fin": "2028-11-04"}, 409, "1000000022"),
    ],
)
def test_a_wrong_declaration_is_refused(
    grdf: GasCaller, changes: dict[str, str | None], status: int, code: str
) -> None:
    answer = grdf.declare(**changes)
    assert code_of(answer) == (status, code)
    assert answer.json()["message_retour_traitement"]
    assert grdf.rights() == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("1000000003", 409),
        ("1000000004", 409),
        ("1000000005", 409),
        ("1000000006", 404),
        ("1000000013", 409),
        ("1000000022", 409),
        ("1000000026", 400),
        ("2000000001", 500),
        ("2000000007", 500),
    ],
)
def test_every_code_of_a_declaration_can_be_switched_on(grdf: GasCaller, code: str, status: int) -> None:
    grdf.switch(declaration_refusal=code)
    assert code_of(grdf.declare()) == (status, code)


def test_a_right_that_exists_an_ended_contract_and_an_unknown_meter_are_refused(grdf: GasCaller) -> None:
    grdf.declare()
    assert code_of(grdf.declare()) == (409, "1000000003")
    grdf.switch("GI123456", contract_ended=True)
    assert code_of(grdf.declare("GI123456")) == (409, "1000000004")
    grdf.switch("GI123456", unknown=True)
    declaration = grdf.declaration("GI123456")
    assert code_of(grdf.call("PUT", "/pce/GI123456/droit_acces", json=declaration)) == (404, "1000000006")
    assert grdf.call("PUT", "/pce/12/droit_acces", json=declaration).status_code == 400
    assert grdf.call("PUT", f"/pce/{PCE}/droit_acces", content=b"[").status_code == 400


@pytest.mark.parametrize(
    ("action", "by", "state", "data"),
    [
        ("revoke", None, "Révoquée", "1000014"),
        ("revoke", "GRDF", "Révoquée", "1000016"),
        ("revoke", "TIERS", "Révoquée", "1000017"),
        ("make_obsolete", None, "Obsolète", "1000012"),
        ("recheck", None, "A revérifier", "1000002"),
        ("refuse", None, "Refusée", "1000002"),
        ("expire", None, "Obsolète", "1000001"),
    ],
)
def test_every_state_is_listed_and_refuses_data(
    grdf: GasCaller, action: str, by: str | None, state: str, data: str
) -> None:
    grdf.give_right(role="AUTORISE_CONTRAT_FOURNITURE")
    grdf.act(action, **({"by": by} if by else {}))
    assert state_of(grdf) == state
    assert grdf.refusal("informatives") == data
    grdf.act("accept")
    assert state_of(grdf) == "Active" and grdf.refusal("informatives") is None


def test_the_end_of_a_right_is_told_with_who_ended_it(grdf: GasCaller) -> None:
    grdf.give_right()
    grdf.act("revoke")
    (right,) = grdf.rights()
    assert (right["date_revocation"], right["source_revocation"]) == ("2024-11-05 09:00:00", "TITULAIRE")
    assert right["date_passage_a_obsolete"] is right["date_passage_a_refuse"] is None


def test_a_right_is_over_after_its_last_day(grdf: GasCaller) -> None:
    grdf.give_right(last_day="2024-11-05")
    assert grdf.refusal("informatives") is None
    grdf.set_clock("2024-11-06T09:00+01:00")
    assert grdf.refusal("informatives") == "1000001" and state_of(grdf) == "Obsolète"


def test_one_active_right_of_several_is_enough(grdf: GasCaller) -> None:
    grdf.give_right()
    grdf.act("revoke")
    grdf.give_right()
    assert grdf.refusal("informatives") is None
    assert [right["etat_droit_acces"] for right in grdf.rights()] == ["Révoquée", "Active"]


def test_rights_are_filtered_and_a_list_has_at_most_a_thousand_meters(grdf: GasCaller) -> None:
    grdf.give_right()
    grdf.give_right("GI123456", role="AUTORISE_CONTRAT_FOURNITURE")
    grdf.act("revoke", "GI123456")
    assert [one["id_pce"] for one in grdf.rights(etat_droit_acces=["Revoquee"])] == ["GI123456"]
    assert [one["id_pce"] for one in grdf.rights(role_tiers=["DETENTEUR_CONTRAT_FOURNITURE"])] == [PCE]
    assert grdf.rights(id_pce=["GI000001"]) == []
    grdf.act("ask_proof")
    assert [one["id_pce"] for one in grdf.rights(statut_controle_preuve=["Preuve en attente"])] == [PCE]
    pces = [f"GI{number:06d}" for number in range(1001)]
    assert code_of(grdf.call("POST", "/droits_acces", json={"id_pce": pces})) == (409, "2000000009")
    assert grdf.call("POST", "/droits_acces", json={"id_pce": PCE}).status_code == 400
    everything = [json.loads(line) for line in grdf.call("GET", "/droits_acces").text.splitlines()]
    assert [one.get("id_pce") for one in everything] == [PCE, "GI123456", None]


def test_lists_have_their_other_shapes_and_spellings_by_switches(grdf: GasCaller) -> None:
    grdf.give_right()
    usual = grdf.rights()[0]
    grdf.admin("switches", {"rights": "wrapped"})
    wrapped = grdf.call("GET", "/droits_acces").json()
    assert wrapped["liste_acces"] == [usual] and wrapped["code_statut_traitement"] == "0000000000"
    grdf.admin("switches", {"rights": "flat", "key_typo": True, "flags": "upper"})
    odd = grdf.rights()[0]
    assert odd["perim_donnees_techniques:"] == "VRAI" and "perim_donnees_techniques" not in odd
    grdf.act("recheck")
    states = {}
    for spelling in ("usual", "accents", "plain"):
        grdf.admin("switches", {"states": spelling})
        states[spelling] = state_of(grdf)
    assert states == {"usual": "A revérifier", "accents": "À revérifier", "plain": "A reverifier"}


def test_a_right_is_withdrawn_once(grdf: GasCaller) -> None:
    right = grdf.give_right()["id"]
    assert code_of(grdf.call("PATCH", f"/droit_acces/{right}", json={})) == (200, "0000000000")
    assert grdf.rights()[0]["source_revocation"] == "TIERS"
    assert code_of(grdf.call("PATCH", f"/droit_acces/{right}", json={})) == (409, "2000000003")
    assert code_of(grdf.call("PATCH", "/droit_acces/unknown", json={})) == (404, "1000000001")


def send_proofs(grdf: GasCaller, right: str, *files: tuple[str, bytes]) -> Any:
    return grdf.call("PUT", f"/droit_acces/{right}/preuves", files=[("preuves", file) for file in files])


def test_proofs_are_asked_for_sent_and_judged(grdf: GasCaller) -> None:
    right = grdf.give_right()["id"]
    grdf.act("ask_proof", until="2024-11-20")
    record = grdf.rights()[0]
    assert (record["statut_controle_preuve"], record["date_limite_transmission_preuve"]) == (
        "Preuve en attente",
        "2024-11-20",
    )
    assert code_of(send_proofs(grdf, right, ("a.pdf", PDF), ("b.png", b"\x89PNG..."))) == (200, "0000000000")
    assert grdf.rights()[0]["statut_controle_preuve"] == "Preuve en cours de vérification"
    assert grdf.act("accept_proof")["proofs"] == 2
    assert grdf.rights()[0]["statut_controle_preuve"] == "Preuve Vérifiée OK"
    assert grdf.refusal("informatives") is None
    grdf.act("reject_proof")
    assert grdf.rights()[0]["statut_controle_preuve"] == "Preuve Vérifiée KO"
    assert grdf.refusal("informatives") == "1000011"


def test_a_right_ends_where_its_proof_does_not_come(grdf: GasCaller) -> None:
    grdf.give_right()
    grdf.act("ask_proof", until="2024-11-20")
    grdf.set_clock("2024-11-21T09:00+01:00")
    assert state_of(grdf) == "Obsolète" and grdf.refusal("informatives") == "1000011"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([("a.pdf", PDF)] * 4, "1000000030"),
        ([("a.exe", b"MZ")], "1000000031"),
        ([("a.pdf", PDF + bytes(4 * 1024 * 1024))], "1000000033"),
        ([("a.pdf", b"no such thing")], "1000000034"),
    ],
)
def test_wrong_proofs_are_refused(grdf: GasCaller, files: list[tuple[str, bytes]], code: str) -> None:
    right = grdf.give_right()["id"]
    assert code_of(send_proofs(grdf, right, ("a.pdf", PDF))) == (409, "1000000032")
    grdf.act("ask_proof")
    assert code_of(send_proofs(grdf, right, *files)) == (409, code)
    assert grdf.rights()[0]["statut_controle_preuve"] == "Preuve en attente"
    grdf.switch(contract_ended=True)
    assert code_of(send_proofs(grdf, right, ("a.pdf", PDF))) == (409, "1000000004")


def test_a_right_that_is_unknown_or_a_wrong_action_is_told_by_the_admin_routes(grdf: GasCaller) -> None:
    assert grdf.http.post(f"/__sim__/gas/rights/{PCE}", json={"do": "accept"}).status_code == 400
    right = grdf.give_right()["id"]
    answer = grdf.http.post(f"/__sim__/gas/rights/{right}", json={"do": "something"})
    assert answer.status_code == 400 and "accept" in answer.json()["error"]
    assert grdf.http.post("/__sim__/gas/rights", json={"pce": "12"}).status_code == 400
    assert [one["id"] for one in grdf.http.get(f"/__sim__/gas/rights?pce={PCE}").json()] == [right]
