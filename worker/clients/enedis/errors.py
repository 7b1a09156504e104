"""What an Enedis answer means, decided once and for everybody above.

Three envelopes are in use, sometimes one inside the other, and no content type can be trusted.  The code
decides; status and, last of all, text decide only where no code is published.  Source: upstream-apis, 1.9
and 1.12; semantics, 6.4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from worker.clients.enedis.presets import TokenMode
from worker.clients.retry_after import retry_after_s, to_wait_s
from worker.domain.measures.answer_shapes import Deviation, DeviationKind, names_of
from worker.domain.measures.answers import Answer, AnswerKind, Json
from worker.errors import (
    ConsentRevoked,
    HolderChanged,
    OperatorFault,
    RateLimited,
    RequestRefused,
    SupplierUnavailable,
    UnknownUsagePoint,
    WorkerError,
)


@dataclass(frozen=True)  # no slots: the parsed body is kept beside the fields
class Reply:
    """An HTTP answer as it came, read to its end."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @cached_property
    def json(self) -> Json:
        """The body parsed; None where it is no JSON (or ``null``, which says as little)."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


# Codes are compared in lower case and with "-" for "_" and for blanks.
_VERDICTS: Final = {
    "no-data-found": AnswerKind.NO_DATA,
    "stm-err-0000014": AnswerKind.NO_DATA,
    "stm-err-0000020": AnswerKind.NO_DATA,
    "adam-err0075": AnswerKind.NO_DATA,  # the customer objected to the load curve; daily values go on
    "adam-err0069": AnswerKind.NO_DATA,  # a production point has no consumption
    "adam-err0123": AnswerKind.BEFORE_HISTORY,
    "adam-err0125": AnswerKind.BEFORE_HISTORY,
    "adam-dc-0016": AnswerKind.BEFORE_HISTORY,
    "adam-dc-0009": AnswerKind.BEFORE_HISTORY,
    "adam-err0126": AnswerKind.TOO_LONG,
    "adam-dc-0015": AnswerKind.TOO_LONG,
}
_NO_CONSENT: Final = "Enedis finds no consent for this meter: its holder must consent again"
_NOT_HOLDER: Final = (
    "the person who consented does not hold this meter's contract any more: the new holder must consent"
)
_UNKNOWN_METER: Final = "Enedis does not know this meter or does not let us see it: check its number"
_ERRORS: Final[Mapping[str, tuple[type[WorkerError], str]]] = {
    "adam-dc-0008": (ConsentRevoked, _NO_CONSENT),
    "adam-dc-0007": (HolderChanged, _NOT_HOLDER),
    "adam-err0061": (HolderChanged, _NOT_HOLDER),
    "unauthorized-user": (UnknownUsagePoint, _UNKNOWN_METER),
    "stm-err-0000019": (UnknownUsagePoint, _UNKNOWN_METER),
    "900908": (
        OperatorFault,
        "Enedis (900908): this API is not subscribed for the application, do it in its portal",
    ),
}
_DOWN: Final = {"technical-error", "internal-server-error", "adam-dc-0500", "stm-err-0000001", "server-error"}
_WRONG_REQUEST: Final = {"invalid-request", "invalid-resquest"}  # the second is the supplier's own spelling
_BAD_TOKEN: Final = {"900901", "900902", "900903", "unauthorized", "invalid-token"}
_THROTTLED: Final = re.compile(r"429|90080[0-9]")
_LONGEST_PAGE: Final = 20_000
_GATEWAY: Final = re.compile(r"900[0-9]{3}")
_MEASURES: Final = {
    "meter_reading",
    "usage_point",
    "interval_reading",
    "grandeur",
    "idPrm",
    "serviceSouscrit",
}
_REFUSALS: Final = {"error", "fault", "code", "error_code"}
_KNOWN: Final = {*_VERDICTS, *_ERRORS, *_DOWN, *_WRONG_REQUEST, *_BAD_TOKEN, "adam-err0002", "bad-request"}
# A code goes into texts, so only what looks like one: words with a short number, no meter, no token.
_LOOKS_LIKE_A_CODE: Final = re.compile(r"(?=.{1,40}$)[a-z]{2,24}(-[a-z]{2,24}){0,5}(-?[0-9]{1,7})?|[0-9]{1,6}")


def classify(reply: Reply, now: datetime) -> Answer:
    """The verdict on a measure request.  ``now`` (zone-aware) turns an announced moment into a wait.

    Raises TransientError, AccountError, RequestRefused or OperatorFault.  Nothing of the body but its
    cleaned code goes into a text.
    """
    payload = reply.json
    envelope = _innermost(payload)
    code = _code(envelope)
    status = _status(reply.status, payload)
    if status == 429 or (status < 500 and (_THROTTLED.fullmatch(code) or _over_quota(payload))):
        raise RateLimited(f"Enedis: quota used up ({code or status})", wait_of(reply, now))
    if status >= 500 or code in _DOWN or payload is None:
        raise _down(reply, code, now)
    if code in _VERDICTS:
        return Answer(_VERDICTS[code])
    if code in _ERRORS:
        kind, text = _ERRORS[code]
        raise kind(text)
    if _GATEWAY.fullmatch(code) or code in _BAD_TOKEN or status == 401:
        raise OperatorFault(
            f"Enedis refuses the application ({code or status}): check its credentials and subscriptions"
        )
    if 200 <= status < 300:
        return _with_data(reply, payload, code, now)
    return _by_status(status, envelope, code, _down(reply, code, now))


def token_refused(reply: Reply, mode: TokenMode) -> bool:
    """Whether the token, and nothing else, is refused.

    With a user's token 403 is two things: an empty body means the token, a body the consent (1.9).
    """
    if mode == "user" and reply.status == 403:
        challenge = " ".join(text for name, text in reply.headers.items() if name.lower() == "www-authenticate")
        return not reply.body.strip() or "invalid_token" in challenge
    return reply.status == 401 or (reply.status < 500 and code_of(reply) in _BAD_TOKEN)


def wait_of(reply: Reply, now: datetime) -> float:
    """How many seconds a refusal for the quota asks to wait; a gateway's page may name the moment in its text."""
    page = {"description": reply.body[:_LONGEST_PAGE].decode("utf-8", "replace")} if reply.json is None else {}
    return to_wait_s(reply.headers, _innermost(reply.json) or page, now)


def refused_as_wrong(reply: Reply) -> bool:
    """Whether the supplier says that the parameters are wrong, without saying which."""
    return reply.status == 400 and code_of(reply) in _WRONG_REQUEST


def unforeseen(reply: Reply) -> Deviation | None:
    """What of a refusal no page tells of: a code of its own, or none where one belongs.

    Measures, what is no JSON (gateways, firewalls) and outages without a code are looked at elsewhere or known.
    """
    payload = reply.json
    if not isinstance(payload, dict):
        return None
    status, envelope = _status(reply.status, payload), _innermost(payload)
    if 200 <= status < 300 and (_MEASURES & payload.keys() or not _REFUSALS & payload.keys()):
        return None  # taken for an answer: the canary looks at it
    code = _code(envelope)
    if status == 429 or _over_quota(payload) or (not code and (status >= 500 or status == 401)):
        return None
    if code in _KNOWN or code == str(status) or _GATEWAY.fullmatch(code) or _THROTTLED.fullmatch(code):
        return None
    kind, detail = (DeviationKind.CODE, code) if code else (DeviationKind.SHAPE, names_of(envelope))
    return Deviation(kind, f"refusal {status}", detail, payload)


def code_of(reply: Reply) -> str:
    """The supplier's code in lower case with ``-`` for ``_``, safe to show; empty where none is readable."""
    return _code(_innermost(reply.json))


def _with_data(reply: Reply, payload: Json, code: str, now: datetime) -> Answer:
    """A success; a body that holds an unknown error and no measure came from something in between."""
    if isinstance(payload, dict) and not _MEASURES & payload.keys():
        if code in _WRONG_REQUEST:
            raise RequestRefused(f"Enedis calls the request wrong ({code})")
        if _REFUSALS & payload.keys():
            raise _down(reply, code, now)
    if isinstance(payload, dict) and "idPrm" in payload and not payload.get("grandeur"):
        return Answer(AnswerKind.NO_DATA)
    return Answer(AnswerKind.DATA, payload)


def _by_status(status: int, envelope: Mapping[str, Json], code: str, down: SupplierUnavailable) -> Answer:
    """Known status, JSON body, unknown code: the 2026 API publishes none with its ``{code, message}``."""
    of_2026 = {"code", "message"} <= envelope.keys() and not {"type", "description"} & envelope.keys()
    if status == 404 and of_2026:
        return Answer(AnswerKind.NO_DATA)
    if status == 403 and of_2026:
        if "titulaire" in str(envelope["message"]).lower():  # nothing else tells it from a missing consent
            raise HolderChanged(_NOT_HOLDER)
        raise ConsentRevoked(_NO_CONSENT)
    if status in (400, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422) and envelope:
        raise RequestRefused(f"Enedis refuses the request with {status} ({code or 'no readable code'})")
    raise down


def _down(reply: Reply, code: str, now: datetime) -> SupplierUnavailable:
    what = code or ("no JSON" if reply.json is None else "no readable code")
    return SupplierUnavailable(f"Enedis: status {reply.status}, {what}", retry_after_s(reply.headers, now))


def _over_quota(payload: Json) -> bool:
    """A refusal in the shape of a success, as gateways in between send it."""
    return isinstance(payload, dict) and payload.get("valid") is False and payload.get("quota_reached") is True


def _status(status: int, payload: Json) -> int:
    """A proxy may put the supplier's status into the body of a success."""
    inner = payload.get("status") if isinstance(payload, dict) else None
    if 200 <= status < 300 and isinstance(inner, int) and 400 <= inner < 600:
        return inner
    return status


def _innermost(payload: Json) -> Mapping[str, Json]:
    """The supplier's own envelope, out of those that gateways put around it; empty where there is none."""
    envelope = payload if isinstance(payload, dict) else {}
    for _ in range(3):
        inner = next((envelope[key] for key in ("error", "fault", "enedis_return") if _is_dict(envelope, key)), None)
        if inner is None:
            break
        envelope = inner
    return envelope


def _is_dict(envelope: Mapping[str, Json], key: str) -> bool:
    return isinstance(envelope.get(key), dict)


def _code(envelope: Mapping[str, Json]) -> str:
    for key in ("error", "code", "error_code"):
        value = envelope.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            code = re.sub("[_ ]", "-", str(value)[:64].strip().lower())
            return code if _LOOKS_LIKE_A_CODE.fullmatch(code) else ""
    return ""
