"""Requests for gas data: token, quota, PCE, days and right, in this order; the order itself is inferred.

Source: GRDF, swagger of ADICT v2; its kit's digest for the answers to a missing or malformed token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Final, NamedTuple

from starlette.requests import Request

from worker.domain.consent.rights import ProofState, RightState
from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.simulator.api.errors import Refused, throttled_by_grdf
from worker.simulator.api.gas import refusals
from worker.simulator.api.gas.refusals import authentication_error, bad_request
from worker.simulator.homes.gas.meters import GasMeter
from worker.simulator.homes.gas.periods import first_of_next_month
from worker.simulator.rights import BY_HOLDER, BY_THIRD_PARTY, AccessRight
from worker.simulator.state import SimulatorState

API: Final = "adict"  # All calls share one quota.
BASES: Final = ("/adict/v2", "/adict/bas/v6")
SANDBOX_BASE: Final = BASES[1]
_PCE: Final = re.compile(r"GI[0-9]{6}|[0-9]{14}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PERIOD: Final = re.compile(
    r"([0-9]{4})(?:-(0[1-9]|1[0-2]))?", re.ASCII
)  # Of the eight forms, those of a year or month.


class GasQuery(NamedTuple):
    """Well-formed request for the days of a meter; ``period`` is that of the query, where it named no days."""

    pce: str
    window: DateWindow
    period: str | None


def is_pce(text: str) -> bool:
    """Return whether the text is a meter number of gas: 14 digits, or GI and six digits."""
    return _PCE.fullmatch(text) is not None


def is_sandbox(request: Request) -> bool:
    """Return whether the call is one for the sandbox."""
    return request.url.path.startswith(SANDBOX_BASE)


def authorize_call(simulator: SimulatorState, request: Request) -> None:
    """Check the token, then the quota.  Raises Refused."""
    header = request.headers.get("authorization", "")
    scheme, blank, secret = header.partition(" ")
    if header and (not blank or scheme.lower() != "bearer"):
        raise authentication_error(400, "L'en-tête Authorization n'est pas correctement formaté.")
    token = simulator.gas.tokens.find(secret.strip())
    if token is None:
        raise authentication_error(401, "Une authentification est nécessaire pour accéder à la ressource.")
    if token.consent is not None:  # A user's token only brings the id_token.
        status = simulator.gas.switches.user_token_status
        raise authentication_error(status, "Vous n'êtes pas autorisé à accéder à la ressource.")
    if simulator.gas.quota.take(API, simulator.clock.now()) is not None:
        raise Refused(throttled_by_grdf())


def read_pce(request: Request) -> str:
    """Return the PCE of the path.  Raises Refused for a malformed one."""
    pce = str(request.path_params["pce"])
    if not is_pce(pce):
        raise bad_request("pce")
    return pce


def read_query(request: Request, today: date, years: int) -> GasQuery:
    """Return the query for days; ``years``: how far back they may be.  Raises Refused for a malformed one."""
    pce, parameters = read_pce(request), request.query_params
    start_text, end_text, period = (parameters.get(name) for name in ("date_debut", "date_fin", "periode"))
    if period:
        if start_text or end_text:
            raise bad_request("both")
        return GasQuery(pce, _read_period(period, today), period)
    if not start_text or not end_text:
        raise bad_request("neither" if not (start_text or end_text) else "no_end" if start_text else "no_start")
    start, end = _read_day(start_text), _read_day(end_text)
    rules = {
        "start_after_end": start >= end,
        "end_too_late": end > today,
        "too_old": start < _years_before(today, years),
    }
    for name, is_broken in rules.items():
        if is_broken:
            raise bad_request(name, years)
    return GasQuery(pce, DateWindow(start, end), None)


def _read_day(text: str) -> date:
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise bad_request("day_format") from None


def _read_period(text: str, today: date) -> DateWindow:
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise bad_request("period_format")
    year, month = int(match[1]), match[2]
    start = date(year, int(month or 1), 1)
    end = first_of_next_month(start) if month else date(year + 1, 1, 1)
    if start >= today:
        raise bad_request("end_too_late")
    return DateWindow(start, min(end, today))


def _years_before(day: date, years: int) -> date:
    return day.replace(year=day.year - years, day=min(day.day, 28) if day.month == 2 else day.day)


def find_refusal(
    simulator: SimulatorState, meter: GasMeter, scope: str, sandbox: bool
) -> tuple[str, AccessRight | None]:
    """Return the code with which data of a scope is refused, or ``""`` with the right that allows it."""
    if meter.switches.refusal is not None:
        return meter.switches.refusal, None
    rights = simulator.gas.rights.of_pce(meter.pce, sandbox)
    active = [right for right in rights if _is_valid(right, simulator.clock.today())]
    if not active:
        return (_why_not_active(rights[0]) if rights else refusals.NO_RIGHT), None
    if meter.switches.moved_out:
        return refusals.MOVED_OUT, None
    covering = next((right for right in active if scope in right.covers), None)
    return ("", covering) if covering else (refusals.OUT_OF_SCOPE[scope], None)


def clip(window: DateWindow, right: AccessRight) -> DateWindow | None:
    """Return the days of a window whose consumption the right allows to read; None for none."""
    start, end = max(window.start, right.data_from), min(window.end, right.data_to + ONE_DAY)
    return DateWindow(start, end) if start < end else None


def _is_valid(right: AccessRight, today: date) -> bool:
    is_active = right.state is RightState.ACTIVE and right.proof is not ProofState.REJECTED
    return is_active and right.first_day <= today <= right.last_day


def _why_not_active(right: AccessRight) -> str:
    if right.proof is ProofState.REJECTED:
        return refusals.PROOF_REJECTED
    if right.state is RightState.REVOKED:
        codes = {BY_HOLDER: refusals.REVOKED_BY_HOLDER, BY_THIRD_PARTY: refusals.REVOKED_BY_US}
        return codes.get(right.ended_by or "", refusals.REVOKED_BY_SUPPLIER)
    if right.has_expired:
        return refusals.EXPIRED
    if right.state is RightState.OBSOLETE:
        return refusals.PROOF_REJECTED if right.proof is ProofState.AWAITED else refusals.OBSOLETE
    return refusals.NO_RIGHT


def echo(query: GasQuery) -> Mapping[str, object]:
    """Return the two fields with which every record begins: the meter, and the period that was asked for."""
    days = (None, None) if query.period else (str(query.window.start), str(query.window.end))
    period = {"valeur": query.period, "date_debut": days[0], "date_fin": days[1]}
    return {"pce": {"id_pce": query.pce}, "periode": period}
