"""Error answers of each generation, in Enedis' own wording.

A *refusal* is a row of the error table.  Its body depends on the generation: v4 adds the address of the documentation,
Data Connect 2026 answers in French and has another envelope for some rows.  Sources: Enedis Data Hub, error codes of
Data Connect; the Enedis swaggers of 2026.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from starlette.responses import Response

from worker.domain.measures.answers import Json

# The names are English, so ``strftime`` must not write them: it follows the locale of the machine.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DOCUMENTATION: Final = "https://bluecoder.enedis.fr/api-doc/consulter-souscrire"


class Generation(StrEnum):
    """Generation of the Enedis API."""

    V4 = "v4"
    V5 = "v5"
    V2026 = "2026"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusal with status, code and text; ``variant_2026`` is status and body of Data Connect 2026 where it differs."""

    status: int
    code: str
    text: str
    variant_2026: tuple[int, Mapping[str, Json]] | None = None

    def respond(self, generation: Generation) -> Response:
        """Return the answer in the wording of a generation."""
        if generation is Generation.V2026 and self.variant_2026 is not None:
            status, body = self.variant_2026
            return to_json_response(body, status)
        body = {"error": self.code, "error_description": self.text}
        if generation is Generation.V4:
            body["error_uri"] = _DOCUMENTATION
        return to_json_response(body, self.status)


@dataclass(frozen=True, slots=True)
class FixedRefusal:
    """Refusal with the same bytes for every generation."""

    status: int
    body: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def respond(self, generation: Generation) -> Response:
        """Return the answer."""
        return Response(self.body, self.status, dict(self.headers), self.media_type)


def to_json_response(body: Json, status: int = 200) -> Response:
    """Return an answer with a compact JSON body."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


def _fixed_refusal(status: int, body: Mapping[str, Json]) -> FixedRefusal:
    return FixedRefusal(status, json.dumps(body, ensure_ascii=False).encode(), "application/json")


def _swagger_error(status: int, message: str) -> tuple[int, Mapping[str, Json]]:
    """Return an error in the envelope of the swaggers of 2026; they do not publish their codes."""
    return status, {"code": str(status), "message": message}


def _error_of_2026(code: str, text: str) -> tuple[int, Mapping[str, Json]]:
    return 400, {"error": code, "error_description": text}


def invalid_request(text: str) -> Refusal:
    """Return the refusal of a malformed query; Data Connect 2026 answers it with 500 instead."""
    return Refusal(400, "Invalid_request", text, OUTSIDE_THE_SWAGGER)


OUTSIDE_THE_SWAGGER: Final = _swagger_error(500, "Problème technique dans l'interrogation du SI coeur")
_NO_DATA_2026: Final = _swagger_error(404, "Pas de mesure trouvée pour ce point")
_NO_CONSENT: Final = "No consent can be found for this customer and this usage point."
_NO_MEASURE: Final = "no measure found for this usage point"

END_TOO_LATE: Final = Refusal(400, "Invalid_request", "The end date parameter must be earlier than the current date")
START_AFTER_END: Final = Refusal(
    400,
    "Invalid_request",
    "Start date should be before end date.",
    _error_of_2026("ADAM-ERR0002", "La date de fin doit être supérieure à la date de début."),
)
NO_CONSENT: Final = Refusal(403, "ADAM-DC-0008", _NO_CONSENT)
TOO_LONG: Final = Refusal(
    400,
    "ADAM-ERR0126",
    "The requested period must be less than 7 days for an access to the load curve.",
)
BEFORE_HISTORY: Final = Refusal(400, "ADAM-ERR0125", "The start date must be greater than the history deadline.")
BEFORE_ACTIVATION: Final = Refusal(
    400,
    "ADAM-ERR0123",
    "The requested period cannot be anterior to the meter's last activation date",
    _error_of_2026(
        "ADAM-ERR0123",
        "La demande ne peut pas aboutir, la période demandée est antérieure "
        "à la date de dernière mise en service du point.",
    ),
)
CURVE_OBJECTED: Final = Refusal(400, "ADAM-ERR0075", "The customer objected to the load curve recording")
WRONG_DIRECTION: Final = Refusal(400, "ADAM-ERR0069", "Le sens de la mesure ne correspond pas pour le PRM demandé.")
NO_DATA: Final = Refusal(404, "no_data_found", _NO_MEASURE, _NO_DATA_2026)
NOT_SUBSCRIBED: Final = _fixed_refusal(
    403,
    {
        "code": "900908",
        "message": "Resource forbidden ",  # Enedis sends the trailing blank.
        "description": "User is NOT authorized to access the Resource. API Subscription validation failed.",
    },
)
NO_SERVICES: Final = _fixed_refusal(
    400, {"error": "Bad request", "error_description": "Pas de services souscrits, le flux est stoppé."}
)
_BAD_TOKEN: Final = _fixed_refusal(
    401,
    {
        "fault": {
            "code": 900901,
            "message": "Invalid Credentials",
            "description": "Access failure for API: the access token is invalid or has expired. "
            "Make sure you have provided the correct security credentials",
        }
    },
)
_BAD_TOKEN_V4: Final = FixedRefusal(403, b"", "application/json", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
_UNAVAILABLE_PAGE: Final = (
    b"<html><head><title>503 Service Unavailable</title></head><body>Service Unavailable</body></html>"
)
FIREWALL: Final = FixedRefusal(
    404, b"<html><head><title>Request Rejected</title></head><body>Request Rejected</body></html>", "text/html"
)

ERROR_TABLE: Final[Mapping[str, Refusal | FixedRefusal]] = MappingProxyType(
    {
        "ADAM-DC-0008": NO_CONSENT,
        "ADAM-DC-0007": Refusal(
            403,
            "ADAM-DC-0007",
            "The customer is not owner of this usage point.",
            _swagger_error(403, "Le client n'est pas titulaire du point demandé"),
        ),
        "ADAM-DC-0007-400": Refusal(
            400, "ADAM-DC-0007", "Le client n'est pas titulaire du point demandé."
        ),  # Enedis answers 400 in place of 403 since July 2026.
        "ADAM-DC-0009": Refusal(
            403, "ADAM-DC-0009", "The start date of the request must be greater than the consent start date."
        ),
        "ADAM-DC-0015": Refusal(400, "ADAM-DC-0015", TOO_LONG.text),
        "ADAM-DC-0016": Refusal(400, "ADAM-DC-0016", BEFORE_HISTORY.text),
        "unauthorized_user": Refusal(
            403,
            "unauthorized_user",
            "user is not authorized to access this resource",
            _swagger_error(403, "Le client n'est pas autorisé pour le point demandé"),
        ),
        "no_data_found": NO_DATA,
        "STM-ERR-0000014": Refusal(404, "STM-ERR-0000014", _NO_MEASURE),
        "STM-ERR-0000020": Refusal(404, "STM-ERR-0000020", _NO_MEASURE),
        "STM-ERR-0000019": Refusal(404, "STM-ERR-0000019", "Unknown or unauthorized user."),
        "Invalid_request": invalid_request(
            "person_id parameter is required when the user is not an authentified customer"
        ),
        "end_too_late": END_TOO_LATE,
        "start_after_end": START_AFTER_END,
        "ADAM-ERR0123": BEFORE_ACTIVATION,
        "ADAM-ERR0125": BEFORE_HISTORY,
        "ADAM-ERR0126": TOO_LONG,
        "ADAM-ERR0061": Refusal(400, "ADAM-ERR0061", "The seeker is not recognized as the actual meter holder"),
        "ADAM-ERR0075": CURVE_OBJECTED,
        "ADAM-ERR0069": WRONG_DIRECTION,
        "900908": NOT_SUBSCRIBED,
        "technical_error": Refusal(500, "technical_error", "Technical error. Please try later.", OUTSIDE_THE_SWAGGER),
        "Internal Server error": Refusal(500, "Internal Server error", "Internal Server error"),
        "ADAM-DC-0500": Refusal(500, "ADAM-DC-0500", "Technical Exception"),
        "STM-ERR-0000001": Refusal(500, "STM-ERR-0000001", "Technical error"),
        "plain_500": FixedRefusal(500, b"500 Internal Server Error", "text/plain"),
        "html": FixedRefusal(503, _UNAVAILABLE_PAGE, "text/html"),
        "empty": FixedRefusal(503, b"", "text/html"),
        "firewall": FIREWALL,
        "invalid_grant": _fixed_refusal(
            400,
            {
                "error": "invalid_grant",
                "error_description": "The provided authorization grant or refresh token is invalid, expired, "
                "revoked, does not match the redirection URI used in the authorization request, or was issued "
                "to another client.",
            },
        ),
        "unauthorized": _fixed_refusal(
            401,
            {
                "error": "Unauthorized",
                "error_description": "Valid authentication credentials are mandatory to access the resource.",
            },
        ),
    }
)


def to_bad_token_response(generation: Generation) -> Response:
    """Return the answer to a wrong token: v4 sends 403 without a body, the others the gateway's 401."""
    return (_BAD_TOKEN_V4 if generation is Generation.V4 else _BAD_TOKEN).respond(generation)


def to_throttled_response(
    generation: Generation, per_second: bool, opens_at: datetime, now: datetime, sla_wording: bool = False
) -> Response:
    """Return a 429; ``opens_at`` and ``now`` are in UTC.

    It has no ``Retry-After`` because no recorded answer of Enedis has one.
    """
    if generation is Generation.V4:
        rest = opens_at - now
        minutes, seconds = divmod(max(0, round(rest.total_seconds())), 60)
        quota = "Q3" if per_second else "Q4"
        text = f"Quota {quota} reached Call threshold allowed on 0:{minutes}:{seconds}"
        return Refusal(429, "429", text).respond(generation)
    if generation is Generation.V2026 and sla_wording:
        return to_json_response({"code": "429", "message": "SLA dépassé"}, 429)
    moment = f"{opens_at:%Y}-{_MONTHS[opens_at.month - 1]}-{opens_at:%d %H:%M:%S}+0000 UTC"
    body = {
        "code": "900804",
        "message": "Message throttled out",
        "description": f"You have exceeded your quota .You can access API after {moment}",
        "nextAccessTime": moment,
    }
    return to_json_response(body, 429)
