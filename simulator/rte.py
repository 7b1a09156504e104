"""RTE's token endpoint and calendar of Tempo, with the colours that the registers of the homes follow.

Source: RTE, user guide of "Tempo Like Supply Contract" 1.1.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.call_gate import gateway_route
from simulator.electricity_homes import tempo_calendar
from simulator.enedis_refusals import Generation, Refused
from simulator.rte_refusals import RTE_ERRORS
from simulator.running_state import SimulatorState
from worker.domain.answers import Json
from worker.domain.windows import ONE_DAY, PARIS, civil_date, local_midnight

CALENDAR_PATH: Final = "/open_api/tempo_like_supply_contract/v1/tempo_like_calendars"
_TOKEN_LIFE_S: Final = 7200
_TOLD_AT: Final = time(10, 40)  # Tomorrow's colour.


def rte_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of RTE."""

    async def token(request: Request) -> Response:
        _check_application(simulator, request)
        access = simulator.rte_tokens.issue(None, _TOKEN_LIFE_S)
        return JSONResponse({"access_token": access, "token_type": "Bearer", "expires_in": _TOKEN_LIFE_S})

    async def calendar(request: Request) -> Response:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or simulator.rte_tokens.find(secret) is None:
            raise Refused(RTE_ERRORS["rte_401"])
        return JSONResponse({"tempo_like_calendars": _calendar(simulator, request.query_params)})

    return [
        gateway_route(simulator, ["POST"], "/token/oauth/", token, Generation.V5),
        gateway_route(simulator, ["GET"], CALENDAR_PATH, calendar, Generation.V5),
    ]


def _check_application(simulator: SimulatorState, request: Request) -> None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(RTE_ERRORS["rte_401"]) from None
    options = simulator.options
    is_ours = client_id == options.client_id and secrets.compare_digest(secret.encode(), options.client_secret.encode())
    if scheme != "Basic" or not (client_id and secret) or not (is_ours or options.client_id is None):
        raise Refused(RTE_ERRORS["rte_401"])


def _calendar(simulator: SimulatorState, query: Mapping[str, str]) -> Json:
    now = simulator.clock.local_now()
    start, end = _read_period(query, now)
    newest = now.date() + ONE_DAY if now.time() >= _TOLD_AT else now.date()
    days = {day: colour for day, colour in tempo_calendar(newest).items() if start <= local_midnight(day) < end}
    extra = {"fallback": False} if query.get("fallback_status") == "true" else {}
    values = [
        {
            "start_date": _moment(day),
            "end_date": _moment(day + ONE_DAY),
            "value": colour.upper(),
            **extra,
            "updated_date": datetime.combine(day - ONE_DAY, _TOLD_AT, PARIS).isoformat(),
        }
        for day, colour in sorted(days.items(), reverse=True)
    ]
    return {"start_date": start.isoformat(), "end_date": end.isoformat(), "values": values}


def _read_period(query: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    """Return the period; without dates it is today and tomorrow.  Raises Refused for the first rule that is broken."""
    if query.get("fallback_status", "true") not in ("true", "false"):
        raise _broken(7)
    given = [query[name] for name in ("start_date", "end_date") if name in query]
    if not given:
        return local_midnight(now.date()), local_midnight(now.date() + 2 * ONE_DAY)
    if len(given) == 1:
        raise _broken(1)
    try:
        start, end = map(datetime.fromisoformat, given)
        longest = start.astimezone(PARIS).date() + timedelta(days=366)
        rules = {
            2: end < start,
            5: end - start < timedelta(hours=23),  # The shortest day.
            3: civil_date(end) > longest,
            4: civil_date(end) > now.date() + 2 * ONE_DAY,
        }
    except (ValueError, TypeError, OverflowError):  # TypeError: without an offset.
        raise _broken(6) from None
    if start.tzinfo is None:
        raise _broken(6)
    for number, is_broken in rules.items():
        if is_broken:
            raise _broken(number)
    return start, end


def _broken(number: int) -> Refused:
    return Refused(RTE_ERRORS[f"TMPLIKSUPCON_TMPLIKCAL_F0{number}"])


def _moment(day: date) -> str:
    return local_midnight(day).isoformat()
