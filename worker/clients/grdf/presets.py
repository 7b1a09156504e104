"""GRDF's API ADICT: hosts, paths, scope, limits, shapes of answers. Its sandbox ("bas") is on the host of production.

Relève calls production under /adict/v2, but one public client calls it under /adict/v6. The base URL and the scope can
therefore be changed by settings. The limits per second and per day are those of the contract for fewer than 5 000
meters; they are known from one public client.

Answers, as the client returns them, are expected in these shapes:

========== ==========================================================================================================
measures   ``records[].consommation`` with the readings at both ends; billed periods have a ``bordereau_publication``
contract   ``donnees_techniques`` and ``donnees_contractuelles``, reduced to the fields that are needed
========== ==========================================================================================================

Unexpected content is recorded, but the answer is still read. Source: GRDF, swagger of ADICT v2 and the digest of its
kit; recorded answers; the code of the public clients lowatt-grdf and aeneria.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from worker.clients.answer_shapes import ITSELF, AnswerPart, AnswerShape, check_scalar, fields_of
from worker.clients.endpoints import Preset, StateCall
from worker.domain.answers import DeviationKind, Json
from worker.domain.parsing.contracts import CONTRACTUAL, FREQUENCIES, TARIFFS, TECHNICAL
from worker.domain.parsing.gas import CONSUMPTION, DAILY_TYPES, KNOWN_QUALITIES, KNOWN_STATES, PUBLISHED_TYPES
from worker.domain.parsing.values import parse_date, parse_decimal, to_plain
from worker.domain.series import Series, of_supplier

RIGHTS: Final = "/droits_acces"
RIGHT_OF_METER: Final = "/pce/{meter}/droit_acces"
RIGHT: Final = "/droit_acces/{right}"
PROOFS: Final = "/droit_acces/{right}/preuves"
LONGEST_LIST: Final = 1_000  # The most meters in one request for rights.
# The series that each part of a right covers.
SERIES_OF_PARTS: Final[Mapping[str, Series]] = {
    "perim_donnees_informatives": Series.GAS_DAILY,
    "perim_donnees_publiees": Series.GAS_PUBLISHED,
    "perim_donnees_techniques": Series.GAS_CONTRACT,
}


def _one_of(words: frozenset[str]) -> Callable[[Json], bool]:
    return lambda value: value is None or (isinstance(value, str) and to_plain(value) in words)


_Number = Annotated[Any, check_scalar(lambda value: value in (None, "") or parse_decimal(value) is not None)]
_Day = Annotated[Any, check_scalar(lambda value: value in (None, "") or parse_date(value) is not None)]
_Scalar = Annotated[Any, check_scalar(lambda value: True)]
# According to the swagger, the word "null" may stand for a missing object.
_or_null = BeforeValidator(lambda value: None if value == "null" else value)
# The yearly reference is a number, either alone or in the field ``car_actuelle`` of an object.
_CURRENT: Final = BeforeValidator(lambda value: value.get("car_actuelle") if isinstance(value, dict) else value)


class _Meter(AnswerPart):
    id_pce: _Scalar = None


class _Requested(AnswerPart):
    valeur: _Scalar = None
    date_debut: _Day = None
    date_fin: _Day = None


class _Index(AnswerPart):
    valeur_index: _Number = None
    horodate_Index: _Day = None


class _MeterIndexes(AnswerPart):
    date_releve: _Day = None
    raison_releve: _Scalar = None
    libelle_raison_releve: _Scalar = None
    qualite_releve: _Scalar = None
    statut_releve: _Scalar = None
    index_brut_debut: _Index | None = None
    index_converti_debut: _Index | None = None
    index_brut_fin: _Index | None = None
    index_converti_fin: _Index | None = None


class _Coefficients(AnswerPart):
    coeff_pta: _Number = None
    valeur_pcs: _Number = None
    coeff_conversion: _Number = None


class _Slip(AnswerPart):
    date_debut_bordereau: _Day = None
    date_fin_bordereau: _Day = None
    nb_jour_gazier: _Number = None


class _Status(AnswerPart):
    code: _Scalar = None
    message: _Scalar = None


def _measures(types: frozenset[str]) -> AnswerShape:
    class _Consumption(AnswerPart):
        date_debut_consommation: _Day = None
        date_fin_consommation: _Day = None
        flag_retour_zero: Annotated[bool | None, _or_null] = None
        volume_brut: _Number = None
        coeff_calcul: _Coefficients | None = None
        volume_converti: _Number = None
        energie: _Number = None
        type_qualif_conso: Annotated[Any, check_scalar(_one_of(KNOWN_QUALITIES), DeviationKind.CODE)] = None
        sens_flux_gaz: Annotated[Any, check_scalar(_one_of(frozenset({CONSUMPTION})), DeviationKind.CODE)] = None
        statut_conso: Annotated[Any, check_scalar(_one_of(KNOWN_STATES), DeviationKind.CODE)] = None
        journee_gaziere: _Day = None
        type_conso: Annotated[Any, check_scalar(_one_of(types), DeviationKind.CODE)] = None

    class _Record(AnswerPart):
        pce: _Meter | None = None
        periode: _Requested | None = None
        releve_debut: Annotated[_MeterIndexes | None, _or_null] = None
        releve_fin: Annotated[_MeterIndexes | None, _or_null] = None
        consommation: Annotated[_Consumption | None, _or_null] = None
        bordereau_publication: Annotated[_Slip | None, _or_null] = None
        statut_restitution: Annotated[_Status | None, _or_null] = None

    class _Records(AnswerPart):
        records: list[_Record]

    return AnswerShape(("records",), _Records)


class _Characteristics(AnswerPart):
    frequence: Annotated[Any, check_scalar(_one_of(FREQUENCIES), DeviationKind.CODE)] = None


class _Technical(AnswerPart):
    caracteristiques_compteur: _Characteristics | None = None


class _Contractual(AnswerPart):
    car: Annotated[_Number, _CURRENT] = None
    tarif_acheminement: Annotated[Any, check_scalar(_one_of(TARIFFS), DeviationKind.CODE)] = None
    date_mes: _Day = None


class _Contract(AnswerPart):
    donnees_techniques: _Technical | None = None
    donnees_contractuelles: _Contractual | None = None


# The yearly reference (``car``) is a number in one generation of the contractual data, and an object in another.
_KEPT_TERMS: Final = {**fields_of(_Contractual), "car": {ITSELF: None, "car_actuelle": None}}
_PRODUCTION: Final = Preset(
    name="grdf-adict",
    title="GRDF",
    base_url="https://api.grdf.fr",
    sandbox_base_url="https://api.grdf.fr",
    data_path="/adict/v2",
    token_base_url="https://adict-connexion.grdf.fr",  # noqa: S106
    token_path="/oauth2/aus5y2ta2uEHjCWIR417/v1/token",  # noqa: S106
    token_mode="application",  # noqa: S106
    scope="/adict/v2",
    form_credentials=True,
    authorize_url="https://sofit-sso-oidc.grdf.fr/openam/oauth2/realms/externeGrdf/authorize",
    sandbox_authorize_url="https://sofit-sso-oidc.grdf.fr/openam/oauth2/realms/externeGrdf/authorize",
    paths={
        Series.GAS_DAILY: "/pce/{meter}/donnees_consos_informatives",
        Series.GAS_PUBLISHED: "/pce/{meter}/donnees_consos_publiees",
    },
    # Of the technical data, only the reading frequency leaves the client, not the meter's address.
    state_calls={
        Series.GAS_CONTRACT: (
            StateCall(TECHNICAL, "/pce/{meter}/donnees_techniques", {TECHNICAL: fields_of(_Technical)}),
            StateCall(CONTRACTUAL, "/pce/{meter}/donnees_contractuelles", {CONTRACTUAL: _KEPT_TERMS}, required=False),
        )
    },
    usage_point_parameter="",
    start_parameter="date_debut",
    end_parameter="date_fin",
    domain="grdf.fr",
    consent_style="right",
    consent_duration="P3Y",
    calls_per_second=1,
    calls_per_hour=3_600,
    calls_per_day=6_000,
)
_SANDBOX: Final = replace(_PRODUCTION, name="grdf-adict-sandbox", data_path="/adict/bas/v6", scope="/adict/bas/v6")
PRESETS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in (_PRODUCTION, _SANDBOX)}


def _shape_of(series: Series) -> AnswerShape:
    if series.is_state:
        return AnswerShape((TECHNICAL, CONTRACTUAL), _Contract)
    return _measures(PUBLISHED_TYPES if series.has_intervals else DAILY_TYPES)


ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {
    series: (_shape_of(series),) for series in of_supplier("grdf")
}
