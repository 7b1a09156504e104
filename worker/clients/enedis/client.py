"""The client of Enedis, the same for all three generations of the API: its calls, and what its answers mean.

An answer means data, no data, or one of our errors. Refusals have these forms:

    v4, v5       {"error": "ADAM-DC-0008", "error_description": "No consent can be found for this customer …"}
    gateway      {"fault": {"code": 900901, "message": "Invalid Credentials", "description": "…"}}
    2026         {"code": "900908", "message": "Resource forbidden ", "description": "User is NOT authorized …"}

An envelope may contain another one, and the content type is not reliable. The code decides what a refusal means. If
Enedis publishes no code for it, the status decides; if the status isn't enough, the text. Source: Enedis, guide
d'implémentation Data Connect v5 (error table), the swagger mesure_synchrone_auto v2 of 2026, and real answers in the
issues of ha-linky, linky and DomoticzLinky.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Final

from worker import errors
from worker.clients.answer_shapes import find_values, keep_fields, keep_meter
from worker.clients.endpoints import StateCall
from worker.clients.supplier import SeriesClient
from worker.clients.supplier_session import BAD_TOKEN_CODES, Reply, wait_of
from worker.domain.answers import Answer, AnswerKind, Deviation, DeviationKind, Json, names_of
from worker.domain.retry import retry_after_s
from worker.domain.series import Series
from worker.domain.windows import DateWindow, civil_date

USAGE_POINT: Final = re.compile(r"[0-9]{14}")
_METER_FIELD: Final = "usage_point_id"  # The key of the meter's number in all contracts.
_ANOTHER_METER: Final = "the supplier answered for another meter than the one asked for"
# Codes are compared in lower case, with "-" instead of "_" and spaces.
_KIND_BY_CODE: Final = {
    "no-data-found": AnswerKind.NO_DATA,
    "stm-err-0000014": AnswerKind.NO_DATA,
    "stm-err-0000020": AnswerKind.NO_DATA,
    "adam-err0075": AnswerKind.NO_DATA,  # The customer objects to the load curve. Daily values are available.
    "adam-err0123": AnswerKind.BEFORE_HISTORY,
    "adam-err0125": AnswerKind.BEFORE_HISTORY,
    "adam-dc-0016": AnswerKind.BEFORE_HISTORY,
    "adam-dc-0009": AnswerKind.BEFORE_HISTORY,
    "adam-err0126": AnswerKind.TOO_LONG,
    "adam-dc-0015": AnswerKind.TOO_LONG,
}
_NO_CONSENT: Final = "Enedis finds no consent for this meter: its holder must consent again"
_NOT_HOLDER: Final = "the person who consented no longer holds this meter's contract: the new holder must consent"
_UNKNOWN_METER: Final = "Enedis does not know this meter, or refuses access to it: check its number"
_ERROR_BY_CODE: Final[Mapping[str, tuple[type[errors.WorkerError], str]]] = {
    "adam-dc-0008": (errors.ConsentRevoked, _NO_CONSENT),
    "adam-dc-0007": (errors.HolderChanged, _NOT_HOLDER),
    "adam-err0061": (errors.HolderChanged, _NOT_HOLDER),
    "unauthorized-user": (errors.UnknownUsagePoint, _UNKNOWN_METER),
    "stm-err-0000019": (errors.UnknownUsagePoint, _UNKNOWN_METER),
    # A production point has no consumption, and a consumption point no production.
    "adam-err0069": (errors.SeriesNotOffered, "Enedis says that this meter does not measure in this direction"),
    "900908": (
        errors.ApplicationRefused,
        "Enedis (900908): the application is not subscribed to this API: subscribe it in Enedis' portal",
    ),
}
_OUTAGE_CODES: Final = {"technical-error", "internal-server-error", "adam-dc-0500", "stm-err-0000001", "server-error"}
# The second spelling is a misspelling that the supplier really sends.
_INVALID_REQUEST_CODES: Final = {"invalid-request", "invalid-resquest"}
_QUOTA_CODE: Final = re.compile(r"429|90080[0-9]")
_GATEWAY_CODE: Final = re.compile(r"900[0-9]{3}")
_MEASURE_KEYS: Final = {"meter_reading", "usage_point", "interval_reading", "grandeur", "idPrm", "serviceSouscrit"}
_REFUSAL_KEYS: Final = {"error", "fault", "code", "error_code"}
_KNOWN_CODES: Final = {
    *_KIND_BY_CODE,
    *_ERROR_BY_CODE,
    *_OUTAGE_CODES,
    *_INVALID_REQUEST_CODES,
    *BAD_TOKEN_CODES,
    "adam-err0002",
    "bad-request",
}


def interpret(reply: Reply, end: date | None, now: datetime, report: Callable[[Deviation], object]) -> Answer:
    """Return what the reply to a request means: END_TOO_LATE, or the result of ``classify``.

    ``end``: the end of the requested days; None for a state. ``report`` is called with an undocumented refusal.
    """
    if deviation := unexpected_refusal(reply):
        report(deviation)
    # By Enedis' error table the end may be yesterday at the latest, but usually Enedis accepts today, too. A refusal
    # does not name the wrong parameter. The refusal counts as "end too late" only if the end was today.
    if reply.status == 400 and reply.code in _INVALID_REQUEST_CODES and end == civil_date(now):
        return Answer(AnswerKind.END_TOO_LATE)
    return classify(reply, now)


def classify(reply: Reply, now: datetime) -> Answer:
    """Return what the reply to a request for data means. ``now`` (zone-aware) is needed for the wait after a 429.

    Raises TransientError, AccountError, SeriesNotOffered, RequestRefused or OperatorFault. Error texts quote
    only the code from the body, after a check of its form.
    """
    payload, code, status = reply.json, reply.code, reply.meant_status
    if status == 429 or (status < 500 and (_QUOTA_CODE.fullmatch(code) or _over_quota(payload))):
        raise errors.SupplierLimited(f"Enedis: quota used up ({code or status})", wait_of(reply, now))
    if status >= 500 or code in _OUTAGE_CODES or payload is None:
        raise _unavailable(reply, now)
    if code in _KIND_BY_CODE:
        return Answer(_KIND_BY_CODE[code])
    if code in _ERROR_BY_CODE:
        error_class, text = _ERROR_BY_CODE[code]
        raise error_class(text)
    if _GATEWAY_CODE.fullmatch(code) or code in BAD_TOKEN_CODES or status == 401:
        raise errors.ApplicationRefused(
            f"Enedis refuses the application ({code or status}): check its credentials and subscriptions"
        )
    return _classify_success(reply, now) if 200 <= status < 300 else _classify_by_status(reply, now)


def unexpected_refusal(reply: Reply) -> Deviation | None:
    """Return how a refusal deviates from the documentation: its code is unknown, or it has no code.

    Returns None for a documented refusal, for an outage without a code, and for an answer that isn't JSON or contains
    measures. ``AnswerWatch`` checks measures.
    """
    payload = reply.json
    if not isinstance(payload, dict):
        return None
    status, code = reply.meant_status, reply.code
    if 200 <= status < 300 and (_MEASURE_KEYS & payload.keys() or not _REFUSAL_KEYS & payload.keys()):
        return None
    if status == 429 or _over_quota(payload) or (not code and (status >= 500 or status == 401)):
        return None
    if code in _KNOWN_CODES or code == str(status) or _GATEWAY_CODE.fullmatch(code) or _QUOTA_CODE.fullmatch(code):
        return None
    kind, detail = (DeviationKind.CODE, code) if code else (DeviationKind.SHAPE, names_of(reply.envelope))
    return Deviation(kind, f"refusal {status}", detail, payload)


def _classify_success(reply: Reply, now: datetime) -> Answer:
    payload = reply.json
    if isinstance(payload, dict) and not _MEASURE_KEYS & payload.keys():
        if reply.code in _INVALID_REQUEST_CODES:
            raise errors.RequestRefused(f"Enedis says that the request is wrong ({reply.code})")
        # An unknown error without measures comes from a gateway in front of Enedis.
        if _REFUSAL_KEYS & payload.keys():
            raise _unavailable(reply, now)
    # Answers with registers have ``contexte`` instead of ``grandeur``.
    if isinstance(payload, dict) and "idPrm" in payload and not (payload.get("grandeur") or payload.get("contexte")):
        return Answer(AnswerKind.NO_DATA)
    return Answer(AnswerKind.DATA, payload)


def _classify_by_status(reply: Reply, now: datetime) -> Answer:
    """Return what a JSON reply with an unknown code means; the API of 2026 does not publish its codes."""
    status, envelope = reply.meant_status, reply.envelope
    is_2026 = {"code", "message"} <= envelope.keys() and not {"type", "description"} & envelope.keys()
    if status == 404 and is_2026:
        return Answer(AnswerKind.NO_DATA)
    if status == 403 and is_2026:
        # Only the text tells whether there is another holder or no consent.
        if "titulaire" in str(envelope["message"]).lower():
            raise errors.HolderChanged(_NOT_HOLDER)
        raise errors.ConsentRevoked(_NO_CONSENT)
    if status in (400, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422) and envelope:
        raise errors.RequestRefused(f"Enedis refuses the request with {status} ({reply.code or 'no readable code'})")
    raise _unavailable(reply, now)


def _unavailable(reply: Reply, now: datetime) -> errors.SupplierUnavailable:
    detail = reply.code or ("not JSON" if reply.json is None else "no readable code")
    error_class = errors.AnswerNotJson if reply.json is None and reply.status < 500 else errors.SupplierFault
    return error_class(f"Enedis: status {reply.status}, {detail}", retry_after_s(reply.headers, now))


def _over_quota(payload: Json) -> bool:
    """Return whether the body says that a gateway's quota is used up, even if the status is a success."""
    return isinstance(payload, dict) and payload.get("valid") is False and payload.get("quota_reached") is True


class EnedisClient(SeriesClient):
    """The client for the series, with the token of one account (v4) or of the application (v5, 2026)."""

    interpret = staticmethod(interpret)  # Gateways replace this function, because they have refusals of their own.

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Request one window of a series. The end is excluded, so a window that ends today includes yesterday.

        Measures take one call, and their payload is the supplier's JSON. v4 and v5:
        ``meter_reading.interval_reading[]`` with ``date`` and ``value`` (a text); 2026: ``grandeur[].points[]`` with
        ``d`` and ``v``, and registers as ``domain.parsing.electricity`` shows them. Daily values are in Wh, by local
        day. A curve is in W; each value comes with the end of its step (in local time without a zone) and the length of
        the step. Maximum powers are in VA, each with its time.

        The current state of a contract takes one call (v4, v5) or three calls (2026), in which ``window`` is not sent.
        The payload has each answer under the name that the preset gives to the call, with only the fields that the
        preset lists. If the consent or the application doesn't cover the API of a call, a required call raises the
        error; the answer of any other call is left out.

        Raises TransientError, AccountError, SeriesNotOffered, MalformedAnswer (also for another meter's answer),
        RequestRefused or OperatorFault. Source: Enedis, swaggers of the metering data v5 and customers_upc v5,
        mesure_synchrone_auto v2, Situation contractuelle, Synthèse contractuelle, Situation comptage.
        """
        preset = self.endpoints.preset
        if calls := preset.state_calls.get(series):
            return self._ask_state(calls, usage_point_id)
        if series not in preset.paths:
            raise errors.RequestRefused(f"{preset.name} has no {series.value}")
        params = {
            preset.usage_point_parameter: usage_point_id,
            preset.start_parameter: window.start.isoformat(),
            preset.end_parameter: window.end.isoformat(),
            **preset.fixed_parameters.get(series, {}),
        }
        answer = self.session.get(
            preset.paths[series], params, lambda reply: self.interpret(reply, window.end, self.now(), self.report)
        )
        if _echoed_usage_point(answer.payload) not in (None, usage_point_id):
            raise errors.WrongMeter(_ANOTHER_METER)
        return answer

    def _ask_state(self, calls: Sequence[StateCall], meter: str) -> Answer:
        bodies: dict[str, Json] = {}
        for call in calls:
            # In 2026 the meter is part of the path, and a parameter with the meter would be answered with 500.
            path = call.path.replace("{meter}", meter)
            params = {} if path != call.path else {self.endpoints.preset.usage_point_parameter: meter}
            answer = self.session.get(path, params, partial(self._reduce, call, meter))
            if answer.kind is AnswerKind.DATA:
                bodies[call.name] = answer.payload
            elif call.required:
                return answer
        return Answer(AnswerKind.DATA, bodies)

    def _reduce(self, call: StateCall, meter: str, reply: Reply) -> Answer:
        """Return the answer to one call for a state, with only the needed fields."""
        # A reported deviation has no sample, because the sample would contain the whole answer.
        try:
            answer = self.interpret(
                reply, None, self.now(), lambda deviation: self.report(replace(deviation, sample=None))
            )
        except (errors.AccountError, errors.OperatorFault):
            if call.required:
                raise
            return Answer(AnswerKind.NO_DATA)  # The consent or application doesn't cover this API.
        if answer.kind is not AnswerKind.DATA:
            return answer
        body = keep_fields(answer.payload, call.kept)
        meters = {value for value in find_values(body, _METER_FIELD) if USAGE_POINT.fullmatch(value)}
        if meters and meter not in meters:
            raise errors.WrongMeter(_ANOTHER_METER)
        return Answer(AnswerKind.DATA, keep_meter(body, _METER_FIELD, meter) if meters else body)


def _echoed_usage_point(payload: Json) -> str | None:
    """Return the number of the meter that an answer names; None if the answer names none or masks it."""
    if not isinstance(payload, dict):
        return None
    reading = payload.get("meter_reading", payload)
    echoed = reading.get("usage_point_id", payload.get("idPrm")) if isinstance(reading, dict) else None
    return echoed if isinstance(echoed, str) and USAGE_POINT.fullmatch(echoed) else None
