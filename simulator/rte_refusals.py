"""Refusals of RTE's API "Tempo Like Supply Contract", by the name of a fault's kind.

Source: RTE, user guide of this API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simulator.enedis_refusals import Refusal

_RULES: Final = (
    "start_date and end_date must both be given, or neither.",
    "start_date is after end_date.",
    "The period is longer than 366 days.",
    "end_date is more than two days ahead.",
    "The period is shorter than a day.",
    "start_date or end_date does not have the expected format.",
    "fallback_status is neither true nor false.",
)
_STATUSES: Final = {
    401: "Authentication has failed.",
    403: "The caller may not call this resource.",
    429: "The most calls within some time are exceeded.",
    500: "Technical error.",
    503: "Maintenance.",
    509: "The calls of all clients have reached the limit.",
}


def _refusal(status: int, code: str, text: str) -> Refusal:
    details = {"transaction_id": "Id-00000000000000000000000a"}
    return Refusal(status, {"error": code, "error_description": text, "error_details": details}, code=code)


RTE_ERRORS: Final[Mapping[str, Refusal]] = {
    **{
        (code := f"TMPLIKSUPCON_TMPLIKCAL_F0{number}"): _refusal(400, code, text)
        for number, text in enumerate(_RULES, 1)
    },
    **{f"rte_{status}": _refusal(status, str(status), text) for status, text in _STATUSES.items()},
}
