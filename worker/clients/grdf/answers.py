"""Expected shapes of GRDF's answers, for each series, as the client hands them on.

========== ==========================================================================================================
measures   ``records[].consommation`` with the readings at both ends; billed periods have a ``bordereau_publication``
contract   ``donnees_techniques`` and ``donnees_contractuelles``, reduced to the fields that are needed
========== ==========================================================================================================

What is not expected is noted, and read all the same. Source: GRDF, swagger of ADICT v2; recorded answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from worker.clients.answer_shapes import AnswerPart, AnswerShape, check_scalar
from worker.domain.answers import DeviationKind, Json
from worker.domain.parsing.contracts import CONTRACTUAL, FREQUENCIES, TARIFFS, TECHNICAL
from worker.domain.parsing.gas import CONSUMPTION, DAILY_TYPES, KNOWN_QUALITIES, KNOWN_STATES, PUBLISHED_TYPES
from worker.domain.parsing.values import parse_date, parse_decimal, to_plain
from worker.domain.series import Series, of_supplier


def _is_number(value: Json) -> bool:
    return value in (None, "") or parse_decimal(value) is not None


def _is_day(value: Json) -> bool:
    return value in (None, "") or parse_date(value) is not None


def _one_of(words: frozenset[str]) -> Callable[[Json], bool]:
    return lambda value: value is None or (isinstance(value, str) and to_plain(value) in words)


_Number = Annotated[Any, check_scalar(_is_number)]
_Day = Annotated[Any, check_scalar(_is_day)]
_Scalar = Annotated[Any, check_scalar(lambda value: True)]
# The swagger has the word "null" where an object lacks.
_or_null = BeforeValidator(lambda value: None if value == "null" else value)


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


# A number that stands for itself, or in an object.
_CURRENT: Final = BeforeValidator(lambda value: value.get("car_actuelle") if isinstance(value, dict) else value)


class _Contractual(AnswerPart):
    car: Annotated[_Number, _CURRENT] = None
    tarif_acheminement: Annotated[Any, check_scalar(_one_of(TARIFFS), DeviationKind.CODE)] = None
    date_mes: _Day = None


class _Contract(AnswerPart):
    donnees_techniques: _Technical | None = None
    donnees_contractuelles: _Contractual | None = None


def _shape_of(series: Series) -> AnswerShape:
    if series.is_state:
        return AnswerShape((TECHNICAL, CONTRACTUAL), _Contract)
    return _measures(PUBLISHED_TYPES if series.has_intervals else DAILY_TYPES)


ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {
    series: (_shape_of(series),) for series in of_supplier("grdf")
}
