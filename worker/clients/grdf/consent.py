"""Consent at GRDF: rights, which are declared, listed, withdrawn and proven, and the callback of Client Connect.

    PUT  /pce/{meter}/droit_acces        {"role_tiers": "AUTORISE_CONTRAT_FOURNITURE", "code_postal": "99099", …}
      201                                {"id_droit_acces": "…", "etat_droit_acces": "A valider",
                                          "code_statut_traitement": "0000000002", "message_retour_traitement": "…"}
    POST /droits_acces                   {"id_pce": ["…"]}
      200                                rights, one a line or all in a list ``liste_acces``; then a status
    PATCH /droit_acces/{right}           {}
    PUT  /droit_acces/{right}/preuves    a form with up to three fields ``preuves``
    callback                             ?code=c0de&iss=…&client_id=…&state=abc0, or ?error=access_denied&state=abc0

Only the fields of ``RightRecord`` leave this module: no name, postcode, email or telephone number. GRDF sends
states with or without accents; yes and no are ``Vrai`` and ``Faux``, in upper or lower case.

Source: GRDF, swagger of ADICT v2 and the digest of its kit; the code of lowatt-grdf, aeneria and Grand Lyon's proxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final
from urllib.parse import quote

from worker.clients.endpoints import Callback, choose_failure
from worker.clients.grdf.client import error_in, interpret_rights, raise_by_status
from worker.clients.grdf.presets import LONGEST_LIST, PROOFS, RIGHT, RIGHT_OF_METER, RIGHTS, SERIES_OF_PARTS
from worker.clients.ndjson import StreamLimits
from worker.clients.oauth import Grant
from worker.clients.supplier_session import Reply, SupplierSession
from worker.clients.tokens import usage_points_from_id_token
from worker.domain import access_right
from worker.domain.access_right import PCE, DeclaredRight, RightDeclaration, RightRecord, RightRole, RightState
from worker.domain.answers import Json, parse_text
from worker.domain.parsing.gas import clean_names
from worker.domain.parsing.values import parse_date, to_plain
from worker.domain.series import Series
from worker.errors import RightProofRefused

MOST_PROOFS: Final = 3
LARGEST_PROOF: Final = 4 * 1024**2  # The most bytes of one file.
_ROLES: Final = {RightRole.AUTHORIZED: "AUTORISE_CONTRAT_FOURNITURE", RightRole.OWN: "DETENTEUR_CONTRAT_FOURNITURE"}
_STATES: Final = {
    "active": RightState.ACTIVE,
    "a valider": RightState.PENDING,
    "a reverifier": RightState.TO_CHECK,
    "refusee": RightState.REFUSED,
    "revoquee": RightState.REVOKED,
    "obsolete": RightState.OBSOLETE,
}
_PROOF_STATES: Final = {
    "preuve en attente": access_right.ProofState.AWAITED,
    "preuve en cours de verification": access_right.ProofState.IN_REVIEW,
    "preuve verifiee ok": access_right.ProofState.ACCEPTED,
    "preuve verifiee ko": access_right.ProofState.REJECTED,
}
_YES_OR_NO: Final = {"vrai": True, "faux": False, "true": True, "false": False}
_PARTS: Final = (*SERIES_OF_PARTS, "perim_donnees_contractuelles")
# The sandbox sends all rights of a list as one value: some 1.3 kB for each right, and a meter may have several rights.
_LIST_LIMITS: Final = StreamLimits(value_bytes=8 * 1024**2)


def declare_right(session: SupplierSession, declaration: RightDeclaration) -> DeclaredRight:
    """Declare a right; GRDF then emails the holder of the meter's contract.

    The call may be repeated: if the right exists already, the result has no id. Raises TransientError,
    UnknownUsagePoint, RightRefused, RequestRefused or OperatorFault; no error text names a person.
    """
    path = RIGHT_OF_METER.replace("{meter}", quote(declaration.meter, safe=""))
    return session.put(path, _to_body(declaration), _read_declared)


def list_rights(session: SupplierSession, meters: Sequence[str]) -> list[RightRecord]:
    """Return all rights to read the consumption of these meters, in GRDF's order, with one call.

    Raises ValueError for more than 1 000 meters, and TransientError, MalformedAnswer, RequestRefused or OperatorFault.
    If ``meters`` is empty, no call is made.
    """
    if len(meters) > LONGEST_LIST:
        raise ValueError(f"GRDF lists rights of at most {LONGEST_LIST} meters at once")
    if not meters:  # If no meters were sent, GRDF would return all rights.
        return []
    wanted = set(meters)
    values = session.post(RIGHTS, {"id_pce": list(meters)}, _read_listed, _LIST_LIMITS)
    return [right for value in values if (right := _to_right(value)) is not None and right.meter in wanted]


def withdraw_right(session: SupplierSession, right_id: str) -> None:
    """Withdraw a right. A right that GRDF doesn't know, or that has ended already, counts as withdrawn.

    Raises TransientError, RequestRefused or OperatorFault.
    """

    def read(reply: Reply) -> None:
        # With 404 or 409 the right is gone, unless the body is a gateway's page, which says nothing about the right.
        check = raise_by_status if reply.status in (404, 409) else interpret_rights
        check(reply, datetime.now(UTC))

    session.patch(RIGHT.replace("{right}", quote(right_id, safe="")), {}, read)


def upload_proofs(session: SupplierSession, right_id: str, files: Sequence[tuple[str, bytes]]) -> None:
    """Send the files that GRDF demands as proof of a consent: one to three (name, content) of at most 4 MB each.

    Raises TransientError, RightRefused, RequestRefused or OperatorFault.
    """
    if not 1 <= len(files) <= MOST_PROOFS:
        raise RightProofRefused(f"GRDF accepts one to {MOST_PROOFS} files as proof")
    if any(not 0 < len(content) <= LARGEST_PROOF for _, content in files):
        raise RightProofRefused(
            f"GRDF accepts no empty file as proof, and none larger than {LARGEST_PROOF // 1024**2} MB"
        )
    path = PROOFS.replace("{right}", quote(right_id, safe=""))
    session.put_files(path, "preuves", files, lambda reply: interpret_rights(reply, datetime.now(UTC)))


def read_callback(params: Mapping[str, str] | Iterable[tuple[str, str]]) -> Callback:
    """Read the query of a callback. This raises nothing: a callback that can't be used is returned as a failure.

    The callback doesn't contain the meters; the exchange of its code returns the meters.
    """
    pairs = params.items() if isinstance(params, Mapping) else params
    fields = {name.lower(): value.strip() for name, value in pairs}
    state, code = fields.get("state", ""), fields.get("code", "")
    if "error" in fields or "error_description" in fields:
        return Callback(state, choose_failure(fields.get(name, "") for name in ("error", "error_description")))
    return Callback(state, "", code=code) if code else Callback(state, "no_code")


def meters_of_grant(grant: Grant, client_id: str, now: datetime) -> tuple[str, ...]:
    """Return the meters that the ``id_token`` in a token answer names; empty if there is no ``id_token``.

    Raises MalformedAnswer if the ``id_token`` isn't a token, is for another application, or has expired.
    """
    id_token = grant.extras.get("id_token")
    if not isinstance(id_token, str):
        return ()
    return tuple(meter for meter in usage_points_from_id_token(id_token, client_id, now) if PCE.fullmatch(meter))


def _to_body(declaration: RightDeclaration) -> dict[str, str]:
    body = {
        "role_tiers": _ROLES[declaration.role],
        "nom_titulaire": declaration.name,
        "raison_sociale": declaration.company,
        "code_postal": declaration.postcode,
        "courriel_titulaire": declaration.email,
        "date_debut_droit_acces": declaration.first_day.isoformat(),
        "date_fin_droit_acces": declaration.last_day.isoformat(),
        "perim_donnees_conso_debut": declaration.data_from.isoformat(),
        "perim_donnees_conso_fin": declaration.last_day.isoformat(),
        **dict.fromkeys(_PARTS, "Vrai"),
    }
    return {name: value for name, value in body.items() if value is not None}


def _read_declared(reply: Reply) -> DeclaredRight:
    exists = interpret_rights(reply, datetime.now(UTC)) is not None
    values = [clean_names(value) for value in reply.streamed.values] if reply.streamed and not exists else []
    right_id = next((text for value in values if (text := parse_text(value.get("id_droit_acces")))), None)
    state = next((_to_state(value["etat_droit_acces"]) for value in values if "etat_droit_acces" in value), None)
    return DeclaredRight(
        id=right_id, state=state or RightState.PENDING, line=f"PUT {RIGHT_OF_METER}", digest=reply.digest
    )


def _read_listed(reply: Reply) -> list[Mapping[str, Json]]:
    """Return the records of a list. Raises an error if the list was cut off.

    Without this check, a right missing from a cut list would count as ended.
    """
    interpret_rights(reply, datetime.now(UTC))
    if reply.streamed and reply.streamed.fault and reply.status // 100 == 2:
        raise reply.streamed.fault
    return list(_flatten(reply.streamed.values if reply.streamed else ()))


def _flatten(values: Iterable[Json]) -> Iterator[Mapping[str, Json]]:
    for value in values:
        fields = clean_names(value)
        wrapped = fields.get("liste_acces")
        if isinstance(wrapped, list):
            yield from map(clean_names, wrapped)
        elif "id_droit_acces" in fields and error_in(value) is None:
            yield fields


def _to_right(fields: Mapping[str, Json]) -> RightRecord | None:
    """Return the record of a right to read consumption; None for any other record."""
    right_id, role = parse_text(fields.get("id_droit_acces")), parse_text(fields.get("role_tiers")) or ""
    meter = fields.get("id_pce")
    if right_id is None or not isinstance(meter, str) or "INJECTION" in role.upper():
        return None
    return RightRecord(
        id=right_id,
        meter=meter.strip(),
        state=_to_state(fields.get("etat_droit_acces")),
        role=RightRole.OWN if role.upper() == _ROLES[RightRole.OWN] else RightRole.AUTHORIZED,
        first_day=_to_day(fields.get("date_debut_droit_acces")),
        last_day=_to_day(fields.get("date_fin_droit_acces")),
        covers=_covered_series(fields),
        proof=_PROOF_STATES.get(to_plain(parse_text(fields.get("statut_controle_preuve")) or "")),
        proof_until=_to_day(fields.get("date_limite_transmission_preuve")),
    )


def _to_state(raw: Json) -> RightState:
    """Return the state of a right. An unknown word counts as TO_CHECK, a state in which nothing may be requested."""
    return _STATES.get(to_plain(parse_text(raw) or ""), RightState.TO_CHECK)


def _covered_series(fields: Mapping[str, Json]) -> frozenset[Series] | None:
    told = {
        series: _YES_OR_NO.get(str(fields.get(name)).strip().casefold()) for name, series in SERIES_OF_PARTS.items()
    }
    if None in told.values():
        return None
    return frozenset(series for series, is_covered in told.items() if is_covered)


def _to_day(raw: Json) -> date | None:
    day = parse_date(raw)
    return None if day is None else date.fromisoformat(day)
