"""The client of GRDF: its calls, and what its answers mean: data, no data, or one of our errors.

    HTTP 200, 400, 500   {"pce": {…}, "consommation": null, "statut_restitution": {"code": "1000008", "message": "…"}}
    rights               {"code_statut_traitement": "1000000006", "message_retour_traitement": "Le PCE est inconnu."}

A refusal may come with a success status; it then takes the place of the first record. The code of a refusal, which is a
number or a text, decides what the refusal means. GRDF publishes the texts of all refusals but few codes, so if a code
is unknown, the text decides. An empty ``statut_restitution`` is no refusal.

Source: GRDF, swagger of ADICT v2 (texts) and the digest of its kit (codes); the code of lowatt-grdf and conso.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from worker import errors
from worker.clients.answer_shapes import keep_fields
from worker.clients.endpoints import StateCall
from worker.clients.ndjson import StreamLimits
from worker.clients.supplier import SeriesClient
from worker.clients.supplier_session import Reply, wait_of
from worker.domain.access_right import PCE
from worker.domain.answers import Answer, AnswerKind, Deviation, DeviationKind, Json, parse_text
from worker.domain.parsing.gas import clean_names, object_of
from worker.domain.parsing.values import to_plain
from worker.domain.retry import retry_after_s
from worker.domain.series import Series
from worker.domain.windows import DateWindow, civil_date

_NO_RIGHT: Final = (errors.ConsentRevoked, "GRDF has no right to read this meter: its holder must consent again")
_EXPIRED: Final = (errors.ConsentRevoked, "the right to read this meter has expired: its holder must consent again")
_REVOKED: Final = (errors.ConsentRevoked, "the right to read this meter was revoked: its holder must consent again")
_OBSOLETE: Final = (errors.ConsentRevoked, "GRDF has ended the right to read this meter: its holder must consent again")
_BAD_PROOF: Final = (
    errors.ConsentRevoked,
    "GRDF does not accept the proof of this consent: its holder must consent again",
)
_MOVED: Final = (errors.HolderChanged, "the person who consented no longer holds this meter's contract")
_NO_METER: Final = (errors.UnknownUsagePoint, "GRDF does not know this meter: check its number (PCE)")
_NOT_COVERED: Final = (errors.SeriesNotOffered, "the right to read this meter does not cover this series")
_OUR_CONTRACT: Final = (
    errors.ApplicationRefused,
    "GRDF refuses the application: its contract for ADICT has ended, or its rights are suspended; ask GRDF",
)
_OUTAGE: Final = (errors.SupplierFault, "GRDF could not answer because of an error of its server")
_BAD_REQUEST: Final = (errors.RequestRefused, "GRDF says that the request is wrong")
Meaning = AnswerKind | tuple[type[errors.WorkerError], str]
MEANING_BY_CODE: Final[Mapping[str, Meaning]] = {
    "1000000": _MOVED,
    "1000001": _EXPIRED,
    "1000002": _NO_RIGHT,
    "1000005": _BAD_REQUEST,
    "1000008": AnswerKind.NO_DATA,
    "1000009": _NOT_COVERED,
    "1000010": _NOT_COVERED,
    "1000011": _BAD_PROOF,
    "1000014": _REVOKED,
    "1000000006": _NO_METER,
    "2000000": _OUTAGE,
    "2000100": _OUTAGE,
}
# What refusals mean when a right is declared or proven: the code decides, otherwise the first text that matches.
_CONTRACT_ENDED: Final = (errors.RightContractEnded, "GRDF says that the contract of this meter has ended")
_BAD_POSTCODE: Final = (errors.RightPostcodeWrong, "GRDF says that this is not the postcode of the meter")
_BAD_EMAIL: Final = (errors.RightEmailWrong, "GRDF does not accept the mail address of the contract's holder")
_BAD_NAME: Final = (errors.RightNameWrong, "GRDF needs either the name or the company that holds the contract")
_RIGHT_REVOKED: Final = (errors.RightRevoked, "GRDF says that this right was revoked")
_BAD_SCOPE: Final = (errors.RightScopeWrong, "GRDF does not accept the days or the data of this right")
_BAD_FILES: Final = (errors.RightProofRefused, "GRDF does not accept these files as proof, or has not asked for any")
_MEANING_OF_RIGHT_BY_CODE: Final[Mapping[str, tuple[type[errors.WorkerError], str]]] = {
    "1000000004": _CONTRACT_ENDED,
    "1000000005": _BAD_POSTCODE,
    "1000000006": _NO_METER,
    "1000000013": _RIGHT_REVOKED,
    "1000000022": _BAD_SCOPE,
    "1000000026": _BAD_NAME,
}
_MEANING_OF_RIGHT_BY_TEXT: Final = (
    ("contrat de fourniture", _CONTRACT_ENDED),
    ("preuve", _BAD_FILES),
    ("code postal", _BAD_POSTCODE),
    ("courriel", _BAD_EMAIL),
    ("le nom ou la raison sociale", _BAD_NAME),
    ("pce est inconnu|pce est incorrect", _NO_METER),
    ("droit d'acces est revoque", _RIGHT_REVOKED),
    ("incoherente|perimetre|date de (debut|fin)", _BAD_SCOPE),
)
_EXISTS_CODE: Final = "1000000003"
_NO_FAILURE: Final = re.compile("existe deja|en attente de la validation|aucun droit d'acces trouve")
_OUTAGE_CODE: Final = re.compile(r"2\d{6}|2\d{9}")  # We infer that server errors have codes with a 2 in front.
# The codes of these refusals are not known. The texts are compared in this order, without accents and in lower case.
_MEANING_BY_TEXT: Final[Sequence[tuple[str, Meaning]]] = (
    ("ne couvre pas les donnees", _NOT_COVERED),
    ("il n'y a pas de donnees", AnswerKind.NO_DATA),
    ("demenage", _MOVED),
    # This refusal concerns the operator's own contract with GRDF, and so the rights to all of the operator's meters.
    ("contrat grdf adict|mauvaise utilisation", _OUR_CONTRACT),
    ("preuve de consentement", _BAD_PROOF),
    ("revoque", _REVOKED),
    ("obsolete|suspendu", _OBSOLETE),
    ("contrat.*(echu|termine|resilie|expire)", _MOVED),
    ("droit d'acces.* expire", _EXPIRED),
    ("autorise a consulter|aucun droit d'acces", _NO_RIGHT),
    ("pce est inconnu|pce inconnu", _NO_METER),
    (r"date_debut.*anterieur.* - \d+ ans", AnswerKind.BEFORE_HISTORY),
    ("date_fin.*inferieur.*date du jour", AnswerKind.END_TOO_LATE),
    ("rencontre une erreur|erreur technique|retenter|ulterieurement", _OUTAGE),
    ("format|obligatoire|doi(ven)?t etre renseigne|parametre|date de debut", _BAD_REQUEST),
)
_WAITS_CODE: Final = "0000000002"  # The code of a success: the right waits until its holder accepts.
_TOO_MANY_CODE: Final = "2000000009"  # The code for a list with more meters than GRDF accepts.
_CODE_FORM: Final = re.compile(r"\d{1,10}", re.ASCII)
_NO_CODE: Final = re.compile(r"0*")
_LONGEST_MESSAGE: Final = 200


@dataclass(frozen=True, slots=True)
class BusinessError:
    """An error that a record contains instead of data.

    ``code``: the error's code in digits; empty if no code is readable.
    """

    code: str
    text: str

    @property
    def meaning(self) -> Meaning | None:
        """What the error means by its code, else by its text; None if neither is known."""
        if self.code in MEANING_BY_CODE:
            return MEANING_BY_CODE[self.code]
        if _OUTAGE_CODE.fullmatch(self.code):
            return _OUTAGE
        text = to_plain(self.text)
        return next((meaning for pattern, meaning in _MEANING_BY_TEXT if re.search(pattern, text)), None)


class GrdfClient(SeriesClient):
    """The client for the series, with the application's token; see ``SupplierClient``."""

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Request one window of a series. The end is excluded, so a window that ends today includes yesterday.

        Measures take one call. Their payload is ``{"records": [...]}``: the values of the answer in their order, except
        those about a right; ``domain.parsing.gas`` shows a record. The current state of a contract takes two calls, in
        which ``window`` is not sent. Its payload has only the fields that the preset lists, and no address. If the
        right doesn't cover contractual data, the payload has none.

        Raises TransientError, AccountError, SeriesNotOffered, MalformedAnswer (also for another meter's answer),
        RequestRefused or OperatorFault. Source: GRDF, swagger of ADICT v2.
        """
        preset = self.endpoints.preset
        if calls := preset.state_calls.get(series):
            return self._ask_state(calls, usage_point_id)
        if series not in preset.paths:
            raise errors.RequestRefused(f"{preset.name} has no {series.value}")
        days = {preset.start_parameter: window.start.isoformat(), preset.end_parameter: window.end.isoformat()}
        return self._ask(preset.paths[series], usage_point_id, days, window.end)

    def _ask(self, path: str, meter: str, params: Mapping[str, str], end: date | None) -> Answer:
        if not PCE.fullmatch(meter):
            raise errors.RequestRefused("the number of a gas meter (PCE) has 14 digits, or GI and 6 digits")

        def read(reply: Reply) -> Answer:
            answer = interpret(reply, end, self.now(), self.report)
            if answer.kind is AnswerKind.DATA:
                _check_meter(answer.payload["records"], meter)
            return answer

        return self.session.get(path.replace("{meter}", meter), params, read, StreamLimits())

    def _ask_state(self, calls: Sequence[StateCall], meter: str) -> Answer:
        body: dict[str, Json] = {}
        for call in calls:
            try:
                answer = self._ask(call.path, meter, {}, None)
            except (errors.AccountError, errors.OperatorFault, errors.SeriesNotOffered):
                if call.required:
                    raise
                continue  # The right doesn't cover this part, which is left out.
            if answer.kind is AnswerKind.DATA:
                body.update(keep_fields(dict(clean_names(answer.payload["records"][0])), call.kept))
            elif call.required:
                return answer
        return Answer(AnswerKind.DATA, body)


def _check_meter(records: Sequence[Json], meter: str) -> None:
    """Raise MalformedAnswer if a record names another meter. Leading zeros that a JSON number has lost are added."""
    for record in records:
        named = object_of(clean_names(record), "pce").get("id_pce")
        text = str(named).zfill(14) if isinstance(named, int) and 0 <= named < 10**14 else named
        if isinstance(text, str) and PCE.fullmatch(text) and text != meter:
            raise errors.WrongMeter("the supplier answered for another meter than the one asked for")


def error_in(record: Json) -> BusinessError | None:
    """Return the error that a record contains instead of data or a right; None if it contains data or a success."""
    fields = clean_names(record)
    status = object_of(fields, "statut_restitution")
    raw_code, raw_text = status.get("code"), status.get("message")
    if "code_statut_traitement" in fields:
        raw_code, raw_text = fields["code_statut_traitement"], fields.get("message_retour_traitement")
    is_code = isinstance(raw_code, str | int) and not isinstance(raw_code, bool)
    code = str(raw_code).strip() if is_code and len(str(raw_code)[:20]) < 20 else ""
    if _NO_CODE.fullmatch(code) and (code or not isinstance(raw_text, str) or not raw_text.strip()):
        return None
    return BusinessError(code if _CODE_FORM.fullmatch(code) else "", (parse_text(raw_text) or ""))


def is_right(record: Json) -> bool:
    """Return whether a record is about a right or a list of rights, instead of data."""
    names = {"code_statut_traitement", "id_droit_acces", "liste_acces"}
    return isinstance(record, dict) and bool(names & clean_names(record).keys())


def interpret(reply: Reply, end: date | None, now: datetime, report: Callable[[Deviation], object]) -> Answer:
    """Return what the reply to a request means: the same as ``classify``, with one exception.

    If GRDF says that a day is too late, but ``end`` is past or None, RequestRefused is raised. ``end``: the end of the
    requested days; None for a state. ``report`` is called with each undocumented refusal in the reply.
    """
    for deviation in unexpected_refusals(reply):
        report(deviation)
    answer = classify(reply, now)
    if answer.kind is AnswerKind.END_TOO_LATE and (end is None or end < civil_date(now)):
        raise errors.RequestRefused("GRDF says that a past day is too late")
    return answer


def classify(reply: Reply, now: datetime) -> Answer:
    """Return what the reply to a request for data means. A payload is ``{"records": […]}``: the values in their order.

    ``now`` (zone-aware) is needed for the wait after a 429. Raises TransientError, AccountError,
    SeriesNotOffered, MalformedAnswer, RequestRefused or OperatorFault. Error texts quote only the digits of the code
    from the body.
    """
    if reply.status // 100 == 2:
        return _classify_success(reply, now)
    raise_by_status(reply, now)
    for error in map(error_in, _values_of(reply)):
        if error is not None:
            return _answer_of(error, reply, now)
    if reply.status == 403:
        # A 403 without a code means a missing right; we know this from a single source.
        raise _to_error(_NO_RIGHT, BusinessError("", ""))
    raise errors.RequestRefused(f"GRDF refuses the request with {reply.status} (no readable code)")


def interpret_rights(reply: Reply, now: datetime) -> BusinessError | None:
    """Return None if a call about rights succeeded. If the reply's error only tells a right's state, return this error.

    Such an error says that the right exists already, waits for its holder, or isn't found. Any other error is raised as
    TransientError, UnknownUsagePoint, RightRefused, RequestRefused or OperatorFault. Error texts quote only the digits
    of the code from the body.
    """
    is_success = reply.status // 100 == 2
    if not is_success:
        raise_by_status(reply, now)
    error = next((error for error in map(error_in, _values_of(reply)) if error is not None), None)
    if is_success and (error is None or error.code == _WAITS_CODE):
        return None
    error = error or BusinessError("", "")
    if _OUTAGE_CODE.fullmatch(error.code) and error.code != _TOO_MANY_CODE:
        raise _to_error(_OUTAGE, error, retry_after_s(reply.headers, now))
    text = to_plain(error.text)
    if error.code == _EXISTS_CODE or _NO_FAILURE.search(text):
        return error
    if reply.status == 403:
        raise errors.ApplicationRefused(
            "GRDF does not let the application use rights (403): check its contract for ADICT"
        )
    by_text = (meaning for pattern, meaning in _MEANING_OF_RIGHT_BY_TEXT if re.search(pattern, text))
    raise _to_error(_MEANING_OF_RIGHT_BY_CODE.get(error.code) or next(by_text, _BAD_REQUEST), error)


def raise_by_status(reply: Reply, now: datetime) -> None:
    """Raise an error if the status alone (401, 429, 3xx, 5xx) decides, or if the body isn't JSON (a gateway's page)."""
    if reply.status == 429:
        raise errors.SupplierLimited("GRDF: quota used up (429)", wait_of(reply, now))
    if reply.status >= 500 or reply.status // 100 == 3:
        raise _unavailable(reply, now, "an outage")
    if reply.status == 401:
        raise errors.ApplicationRefused(
            "GRDF refuses the application (401): check its credentials and its contract for ADICT"
        )
    if reply.body.strip() and not _values_of(reply):
        raise _unavailable(reply, now, "not JSON")


def unexpected_refusals(reply: Reply) -> Iterator[Deviation]:
    """Yield the undocumented refusals in a reply: the errors whose code and text are both unknown.

    Errors with a 5xx status are left out. A 4xx reply without any error in its JSON is included, except 401, 403 and
    429.
    """
    told = [error for error in map(error_in, _values_of(reply)) if error is not None]
    for error in dict.fromkeys(told):
        if error.meaning is None and reply.status < 500:
            kind, detail = (DeviationKind.CODE, error.code) if error.code else (DeviationKind.SHAPE, "no code")
            sample = {"code": error.code, "message": re.sub(r"\S*[\d@]\S*", "…", error.text[:_LONGEST_MESSAGE])}
            yield Deviation(kind, f"refusal {reply.status}", detail, sample)
    is_silent = reply.status // 100 == 4 and reply.status not in (401, 403, 429)
    if is_silent and not told and any(isinstance(value, dict) for value in _values_of(reply)):
        yield Deviation(DeviationKind.SHAPE, f"refusal {reply.status}", "no code", None)


def _classify_success(reply: Reply, now: datetime) -> Answer:
    values, fault = _values_of(reply), reply.streamed.fault if reply.streamed else None
    first = error_in(values[0]) if values else None
    told = [error for error in map(error_in, values) if error is not None]
    records = [value for value in values if not is_right(value)]
    has_data = any(isinstance(value, dict) and error_in(value) is None for value in records)
    if first is not None and not (has_data and first.meaning is AnswerKind.NO_DATA):
        return _answer_of(first, reply, now)
    for error in told:
        # An outage means that a part of the answer is missing. Any other error next to data is about days that were not
        # measured.
        if error.meaning == _OUTAGE:
            return _answer_of(error, reply, now)
    if fault is not None:
        raise fault
    if has_data:
        return Answer(AnswerKind.DATA, {"records": records})
    if any(not isinstance(value, dict) for value in values):
        raise errors.WrongShape("the answer is not a list of objects")
    return _answer_of(told[0], reply, now) if told else Answer(AnswerKind.NO_DATA)


def _answer_of(error: BusinessError, reply: Reply, now: datetime) -> Answer:
    meaning = error.meaning
    if isinstance(meaning, AnswerKind):
        return Answer(meaning)
    if meaning is not None:
        raise _to_error(meaning, error, retry_after_s(reply.headers, now))
    if reply.status == 403:
        raise _to_error(_NO_RIGHT, error)
    raise errors.RequestRefused(f"GRDF refuses the request with {reply.status} ({error.code or 'no readable code'})")


def _to_error(
    meaning: tuple[type[errors.WorkerError], str], error: BusinessError, wait_s: float | None = None
) -> errors.WorkerError:
    error_class, text = meaning
    text = f"{text} ({error.code})" if error.code else text
    return errors.SupplierFault(text, wait_s) if error_class is errors.SupplierFault else error_class(text)


def _unavailable(reply: Reply, now: datetime, detail: str) -> errors.SupplierUnavailable:
    error_class = errors.SupplierFault if reply.status >= 500 or reply.status // 100 == 3 else errors.AnswerNotJson
    return error_class(f"GRDF: status {reply.status}, {detail}", retry_after_s(reply.headers, now))


def _values_of(reply: Reply) -> Sequence[Json]:
    return reply.streamed.values if reply.streamed else ()
