"""What GRDF's answers mean: by the code, by the text where the code is not known, by the status at last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from itertools import product
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from tests.support.gas_answers import METER, day, done, ndjson, refusal
from worker.clients.grdf.client import interpret
from worker.clients.ndjson import read_values
from worker.clients.supplier_session import Reply
from worker.domain.answers import Answer, AnswerKind, Deviation, DeviationKind
from worker.errors import (
    AnswerBrokenOff,
    AnswerNotJson,
    ApplicationRefused,
    BrokenJson,
    ConsentRevoked,
    HolderChanged,
    RateLimited,
    RequestRefused,
    SeriesNotOffered,
    SupplierFault,
    SupplierLimited,
    SupplierUnavailable,
    UnknownUsagePoint,
    WorkerError,
    WrongShape,
)

NOW = datetime(2024, 7, 25, 7, 20, tzinfo=UTC)
TODAY = date(2024, 7, 25)
DATA = day("2024-07-20", 33)


def reply(status: int, content: bytes, **headers: str) -> Reply:
    streamed = read_values([content])
    body = b"" if status // 100 == 2 else content
    return Reply(status, CaseInsensitiveDict(headers), body, streamed)


def meaning(status: int, *records: Any, end: date | None = TODAY, reports: list[Deviation] | None = None) -> Answer:
    content = records[0] if records and isinstance(records[0], bytes) else ndjson(records)
    return interpret(reply(status, content), end, NOW, (reports if reports is not None else []).append)


CODES = [
    ("1000000", HolderChanged),
    ("1000001", ConsentRevoked),
    ("1000002", ConsentRevoked),
    ("1000009", SeriesNotOffered),
    ("1000010", SeriesNotOffered),
    ("1000011", ConsentRevoked),
    ("1000014", ConsentRevoked),
    ("1000005", RequestRefused),
    ("2000100", SupplierFault),
    ("2000000", SupplierFault),
]


def differing(cases: Iterable[tuple[int, Any, str]], error: type[WorkerError]) -> list[object]:
    """Return the cases (status, code, text) whose refusal means another error, or is reported as unknown."""
    reports: list[Deviation] = []
    found: list[object] = []
    for status, code, text in cases:
        with pytest.raises(WorkerError) as caught:
            meaning(status, refusal(code, text), reports=reports)
        if type(caught.value) is not error:
            found.append((status, code, text, caught.value))
    return found + reports


@pytest.mark.parametrize("code, error", CODES)
def test_a_code_decides_whatever_the_text_and_the_status(code: str, error: type[WorkerError]) -> None:
    texts = ("", "Il n'y a pas de données correspondant à ce PCE sur la période demandée.")
    assert differing(product((200, 400, 403), (code, int(code)), texts), error) == []


# The texts of the swagger; codes of most of them are not known.
TEXTS = [
    ("Aucun droit d'accès pour tous les PCE en entrée.", ConsentRevoked),
    (
        "Le client semble avoir déménagé et n'est plus titulaire de ce PCE, vous ne pouvez donc plus accéder à ses "
        "données.",
        HolderChanged,
    ),
    ("Votre droit d’accès sur ce PCE a expiré. Pour continuer à accéder aux données, …", ConsentRevoked),
    (
        "La preuve de consentement fournie lors du contrôle opéré par GRDF n’est pas valide.",
        ConsentRevoked,
    ),
    ("GRDF a passé le droit d'accès à l'état obsolète.", ConsentRevoked),
    ("Votre contrat GRDF ADICT est expiré. Veuillez prendre contact avec GRDF pour le renouveler.", ApplicationRefused),
    (
        "Vos droits d’accès aux données des PCE ont été suspendus en raison d’une mauvaise utilisation de la "
        "plateforme. Veuillez prendre contact avec GRDF.",
        ApplicationRefused,
    ),
    ("Votre droit d'accès est suspendu.", ConsentRevoked),
    ("Le contrat de fourniture de gaz est échu.", HolderChanged),
    ("Le client titulaire a révoqué son consentement, vous ne pouvez plus accéder aux données.", ConsentRevoked),
    ("GRDF a révoqué votre droit d’accès aux données de ce PCE à la demande du client titulaire.", ConsentRevoked),
    ("Vous avez révoqué votre droit d’accès aux données de ce PCE.", ConsentRevoked),
    ("Vous n'êtes pas autorisé à consulter les données de ce PCE.", ConsentRevoked),
    ("Vous n'êtes pas ou plus autorisé à consulter les données de ce PCE.", ConsentRevoked),
    ("Le PCE est inconnu.", UnknownUsagePoint),
    (
        "Le périmètre des données auxquelles vous avez accès pour ce PCE ne couvre pas les données de consommations "
        "informatives.",
        SeriesNotOffered,
    ),
    (
        "Le serveur a rencontré une erreur lors de l'exécution de la requête. Veuillez retenter votre appel sur la "
        "période mentionnée ci-dessus.",
        SupplierFault,
    ),
    (
        "L'identifiant du PCE n'est pas correctement formaté (GI+6 chiffres ou 14 chiffres).",
        RequestRefused,
    ),
    (
        "Seul le paramètre 'periode' ou les paramètres 'date_debut' / 'date_fin' doivent être renseignés.",
        RequestRefused,
    ),
    ("La date de début renseignée doit être antérieure à la date de fin.", RequestRefused),
]


@pytest.mark.parametrize("text, error", TEXTS)
def test_a_text_decides_where_the_code_is_not_known(text: str, error: type[WorkerError]) -> None:
    codes, forms = ("1000099", "", None, "7 monkeys"), (text, text.upper(), text.replace("’", "'"))
    assert differing(product((200,), codes, forms), error) == []


def test_no_data_and_the_bounds_of_days_are_answers() -> None:
    assert meaning(200, refusal("1000008")).kind is AnswerKind.NO_DATA
    assert meaning(200, b"[]").kind is AnswerKind.NO_DATA
    too_old = "Le paramètre 'date_debut' ne doit pas être antérieur à la date du jour - 3 ans."
    too_late = "Le paramètre 'date_fin' doit être inférieur ou égal à la date du jour."
    assert meaning(400, refusal("1000003", too_old)).kind is AnswerKind.BEFORE_HISTORY
    assert meaning(400, refusal("1000004", too_late)).kind is AnswerKind.END_TOO_LATE
    with pytest.raises(RequestRefused):  # It is over, so it can't be too late.
        meaning(400, refusal("1000004", too_late), end=date(2024, 7, 20))


def test_records_are_kept_whole_and_in_order_without_what_is_about_rights() -> None:
    nothing = refusal("1000008")
    answer = meaning(200, DATA, done(), nothing, day("2024-07-21", 12, unknown={"deep": [1]}))
    assert answer.kind is AnswerKind.DATA
    assert answer.payload == {"records": [DATA, nothing, day("2024-07-21", 12, unknown={"deep": [1]})]}
    # The swagger has an empty status where all is well.
    assert meaning(200, {**DATA, "statut_restitution": {}}).kind is AnswerKind.DATA
    assert meaning(200, {**DATA, "statut_restitution": {"code": None, "message": None}}).kind is AnswerKind.DATA
    assert meaning(200, done()).kind is AnswerKind.NO_DATA


def test_the_first_record_decides_and_an_outage_among_data_is_asked_again() -> None:
    with pytest.raises(ConsentRevoked):
        meaning(200, refusal("1000014"), DATA)
    assert meaning(200, refusal("1000008"), DATA).kind is AnswerKind.DATA
    with pytest.raises(SupplierUnavailable):
        meaning(200, DATA, refusal("2000100"), DATA)
    assert meaning(200, DATA, refusal("1000001")).kind is AnswerKind.DATA
    with pytest.raises(ConsentRevoked):  # It decides though the rest is cut.
        meaning(200, ndjson([refusal("1000014")]) + b'{"pce": {')


@pytest.mark.parametrize(
    "content, error",
    [
        (b"", AnswerNotJson),
        (b"<html>maintenance</html>", AnswerNotJson),
        (ndjson([DATA])[:-40], AnswerBrokenOff),
        (ndjson([DATA]) + b"{]", BrokenJson),
        (b'"text"', WrongShape),
        (b"12", WrongShape),
    ],
)
def test_what_is_no_stream_of_objects_has_its_reason(content: bytes, error: type[WorkerError]) -> None:
    with pytest.raises(error):
        meaning(200, content)


@pytest.mark.parametrize(
    "status, content, error",
    [
        (429, b"", SupplierLimited),
        (429, b"<html>", SupplierLimited),
        (500, ndjson([refusal("2000000")]), SupplierFault),
        (503, b"<html>", SupplierFault),
        (504, b"", SupplierFault),
        (302, b"", SupplierFault),
        (
            401,
            ndjson([{"error": "Une authentification est nécessaire pour accéder à la ressource."}]),
            ApplicationRefused,
        ),
        (403, b"<html>firewall</html>", AnswerNotJson),
        (403, b"", ConsentRevoked),
        (403, b'{"error": "forbidden"}', ConsentRevoked),
        (404, b"<html>", AnswerNotJson),
        (404, b'{"error": "nothing here"}', RequestRefused),
        (400, b'{"error": "malformed"}', RequestRefused),
        (404, ndjson([done("1000000006", "Le PCE est inconnu.")]), UnknownUsagePoint),
    ],
)
def test_without_a_code_the_status_decides(status: int, content: bytes, error: type[WorkerError]) -> None:
    with pytest.raises(error) as caught:
        meaning(status, content)
    assert type(caught.value) is error


def test_a_wait_that_is_asked_for_is_told() -> None:
    with pytest.raises(RateLimited) as limited:
        interpret(reply(429, b"", **{"Retry-After": "90"}), TODAY, NOW, list[Deviation]().append)
    with pytest.raises(SupplierUnavailable) as away:
        interpret(reply(503, b"", **{"Retry-After": "120"}), TODAY, NOW, list[Deviation]().append)
    assert (limited.value.retry_after_s, away.value.retry_after_s) == (90, 120)


def test_a_refusal_that_is_not_documented_is_told_without_personal_data() -> None:
    reports: list[Deviation] = []
    text = f"Le compteur {METER} de dupond@example.invalid est en quarantaine."
    for status in (200, 400):
        with pytest.raises(RequestRefused, match="1000077") as caught:
            meaning(status, refusal("1000077", text), reports=reports)
        assert METER not in str(caught.value)
    assert [(item.kind, item.place, item.detail) for item in reports] == [
        (DeviationKind.CODE, "refusal 200", "1000077"),
        (DeviationKind.CODE, "refusal 400", "1000077"),
    ]
    assert reports[0].sample == {"code": "1000077", "message": "Le compteur … de … est en quarantaine."}


@pytest.mark.parametrize("code", [METER, "GI123456", True, ["x"], 10**30, "1000077 or so"])
def test_what_is_no_code_gets_into_no_text(code: Any) -> None:
    reports: list[Deviation] = []
    with pytest.raises(RequestRefused) as caught:
        meaning(200, refusal(code, "?"), reports=reports)
    text = f"{caught.value}{reports}{[item.sample for item in reports]}"
    assert str(code) not in text.replace("True", "") or code is True
