"""Error answers of each generation, in Enedis' own wording.

Sources: Enedis Data Hub, error codes of Data Connect; the Enedis swaggers of 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from starlette.responses import JSONResponse, Response

from worker.domain.answers import Json

# The names are English, so ``strftime`` must not write them: it follows the locale of the machine.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PASSED_ON: Final = "The Enedis API returned an error"  # The words of conso-api, which has Enedis' body inside.
_DOCUMENTATION: Final = "https://bluecoder.enedis.fr/api-doc/consulter-souscrire"
_NO_MEASURE: Final = "no measure found for this usage point"
_TOO_LONG: Final = "The requested period must be less than 7 days for an access to the load curve."
_BEFORE_HISTORY: Final = "The start date must be greater than the history deadline."


class Generation(StrEnum):
    """Generation of the Enedis API, GRDF's API ADICT, or a gateway to Enedis."""

    V4 = "v4"
    V5 = "v5"
    V2026 = "2026"
    ADICT = "adict"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer that refuses a call; ``variants`` are the answers of the generations that have another one.

    A body of bytes is sent as it is, any other one as JSON.
    """

    status: int
    body: Mapping[str, Json] | bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[Generation, Refusal] = field(default_factory=dict)
    code: str = ""

    def respond(self, generation: Generation) -> Response:
        """Return the answer in the wording of a generation."""
        answer = self.variants.get(generation, self)
        if generation is Generation.GATEWAY and not isinstance(self.body, bytes):
            answer = Refusal(self.status, {"status": self.status, "message": _PASSED_ON, "error": self.body})
        response_class = Response if isinstance(answer.body, bytes) else JSONResponse
        return response_class(answer.body, answer.status, dict(answer.headers), answer.media_type)


class Refused(Exception):
    """Raised if a call is refused; the gateway answers with ``refusal``."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def _api_error(status: int, code: str, text: str, in_2026: Refusal | None = None) -> Refusal:
    """Return the refusal of an API; v4 adds the address of the documentation, 2026 may answer something else."""
    body = {"error": code, "error_description": text}
    variants = {Generation.V4: Refusal(status, body | {"error_uri": _DOCUMENTATION})}
    return Refusal(status, body, variants=variants | ({Generation.V2026: in_2026} if in_2026 else {}), code=code)


def _swagger_error(status: int, message: str) -> Refusal:
    """Return a refusal in the envelope of the swaggers of 2026; they do not publish their codes."""
    return Refusal(status, {"code": str(status), "message": message})


def oauth_error(error: str, description: str, status: int = 400) -> Refusal:
    """Return the refusal of a token endpoint or of the consent page."""
    return Refusal(status, {"error": error, "error_description": description})


def invalid_request(text: str) -> Refusal:
    """Return the refusal of a malformed query; Data Connect 2026 answers it with 500 instead."""
    return _api_error(400, "Invalid_request", text, OUTSIDE_THE_SWAGGER)


OUTSIDE_THE_SWAGGER: Final = _swagger_error(500, "Problème technique dans l'interrogation du SI coeur")
NO_SERVICES: Final = oauth_error("Bad request", "Pas de services souscrits, le flux est stoppé.")
# Rows have Enedis' code as their name, or one of ours where several rows share a code.
ERROR_TABLE: Final[Mapping[str, Refusal]] = {
    refusal.code: refusal
    for refusal in (
        _api_error(403, "ADAM-DC-0008", "No consent can be found for this customer and this usage point."),
        _api_error(403, "ADAM-DC-0009", "The start date of the request must be greater than the consent start date."),
        _api_error(400, "ADAM-DC-0015", _TOO_LONG),
        _api_error(400, "ADAM-DC-0016", _BEFORE_HISTORY),
        _api_error(404, "STM-ERR-0000014", _NO_MEASURE),
        _api_error(404, "STM-ERR-0000020", _NO_MEASURE),
        _api_error(404, "STM-ERR-0000019", "Unknown or unauthorized user."),
        _api_error(400, "ADAM-ERR0125", _BEFORE_HISTORY),
        _api_error(400, "ADAM-ERR0126", _TOO_LONG),
        _api_error(400, "ADAM-ERR0061", "The seeker is not recognized as the actual meter holder"),
        _api_error(400, "ADAM-ERR0075", "The customer objected to the load curve recording"),
        _api_error(400, "ADAM-ERR0069", "Le sens de la mesure ne correspond pas pour le PRM demandé."),
        _api_error(500, "Internal Server error", "Internal Server error"),
        _api_error(500, "ADAM-DC-0500", "Technical Exception"),
        _api_error(500, "STM-ERR-0000001", "Technical error"),
    )
} | {
    "ADAM-DC-0007": _api_error(
        403,
        "ADAM-DC-0007",
        "The customer is not owner of this usage point.",
        _swagger_error(403, "Le client n'est pas titulaire du point demandé"),
    ),
    # Enedis answers 400 in place of 403 since July 2026.
    "ADAM-DC-0007-400": _api_error(400, "ADAM-DC-0007", "Le client n'est pas titulaire du point demandé."),
    "unauthorized_user": _api_error(
        403,
        "unauthorized_user",
        "user is not authorized to access this resource",
        _swagger_error(403, "Le client n'est pas autorisé pour le point demandé"),
    ),
    "no_data_found": _api_error(
        404, "no_data_found", _NO_MEASURE, _swagger_error(404, "Pas de mesure trouvée pour ce point")
    ),
    "Invalid_request": invalid_request("person_id parameter is required when the user is not an authentified customer"),
    "end_too_late": _api_error(400, "Invalid_request", "The end date parameter must be earlier than the current date"),
    "start_after_end": _api_error(
        400,
        "Invalid_request",
        "Start date should be before end date.",
        oauth_error("ADAM-ERR0002", "La date de fin doit être supérieure à la date de début."),
    ),
    "ADAM-ERR0123": _api_error(
        400,
        "ADAM-ERR0123",
        "The requested period cannot be anterior to the meter's last activation date",
        oauth_error(
            "ADAM-ERR0123",
            "La demande ne peut pas aboutir, la période demandée est antérieure "
            "à la date de dernière mise en service du point.",
        ),
    ),
    "technical_error": _api_error(500, "technical_error", "Technical error. Please try later.", OUTSIDE_THE_SWAGGER),
    "900908": Refusal(
        403,
        {
            "code": "900908",
            "message": "Resource forbidden ",  # Enedis sends the trailing blank.
            "description": "User is NOT authorized to access the Resource. API Subscription validation failed.",
        },
    ),
    # A wrong token: v4 sends 403 without a body, the others a 401 of their own.
    "bad_token": Refusal(
        401,
        {
            "fault": {
                "code": 900901,
                "message": "Invalid Credentials",
                "description": "Access failure for API: the access token is invalid or has expired. "
                "Make sure you have provided the correct security credentials",
            }
        },
        variants={
            Generation.V4: Refusal(403, b"", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}),
            Generation.ADICT: Refusal(
                401, {"code": "401", "message": "Une authentification est nécessaire pour accéder à la ressource."}
            ),
        },
    ),
    "invalid_grant": oauth_error(
        "invalid_grant",
        "The provided authorization grant or refresh token is invalid, expired, revoked, does not match the "
        "redirection URI used in the authorization request, or was issued to another client.",
    ),
    "unauthorized": oauth_error(
        "Unauthorized", "Valid authentication credentials are mandatory to access the resource.", 401
    ),
    "plain_500": Refusal(500, b"500 Internal Server Error", "text/plain"),
    "html": Refusal(
        503,
        b"<html><head><title>503 Service Unavailable</title></head><body>Service Unavailable</body></html>",
        "text/html",
    ),
    "empty": Refusal(503, b"", "text/html"),
    "firewall": Refusal(
        404, b"<html><head><title>Request Rejected</title></head><body>Request Rejected</body></html>", "text/html"
    ),
}


def throttled(per_second: bool, opens_at: datetime, now: datetime) -> Refusal:
    """Return a 429; ``opens_at`` and ``now`` are in UTC.

    It has no ``Retry-After`` because no recorded answer of Enedis has one.
    """
    minutes, seconds = divmod(max(0, round((opens_at - now).total_seconds())), 60)
    text = f"Quota {'Q3' if per_second else 'Q4'} reached Call threshold allowed on 0:{minutes}:{seconds}"
    moment = f"{opens_at:%Y}-{_MONTHS[opens_at.month - 1]}-{opens_at:%d %H:%M:%S}+0000 UTC"
    body = {
        "code": "900804",
        "message": "Message throttled out",
        "description": f"You have exceeded your quota .You can access API after {moment}",
        "nextAccessTime": moment,
    }
    variants = {**_api_error(429, "429", text).variants, Generation.ADICT: throttled_by_grdf()}
    return Refusal(429, body, variants=variants)


def throttled_by_grdf() -> Refusal:
    """Return GRDF's 429; no recorded one is public, so its body is ours and it has no ``Retry-After``."""
    return Refusal(429, {"code": "429", "message": "Le nombre maximal d'appels autorisé est dépassé."})
