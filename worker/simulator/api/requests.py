"""Measure requests of the three generations: paths, parameters, and the rules that refuse them.

The gateway checks token and quota before; then come the formats of meter and dates, then the other rules.  Enedis does
not publish this order; it is inferred from answers that clients have reported.

Source: Enedis, swaggers of "Daily consumption", "Daily production" and "Consumption load curve" (v5) and of "Mesure
synchrone auto" (v2).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

from starlette.requests import Request

from worker.domain.measures.series import Series
from worker.simulator.api.errors import ERROR_TABLE, Generation, Refused, invalid_request
from worker.simulator.consents import Consent
from worker.simulator.state import SimulatorState

_USAGE_POINT: Final = re.compile(r"[0-9]{14}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_EXTRA_HISTORY: Final = timedelta(days=15)
_LONGEST_CURVE_DAYS: Final = 7
_HISTORY_MONTHS: Final = {Series.LOAD_CURVE: 24, Series.DAILY: 36}


class Resource(NamedTuple):
    """Measure endpoint; ``api`` names the quota that it belongs to, ``production``: of what the meter feeds in."""

    generation: Generation
    path: str
    series: Series
    api: str
    production: bool = False


@dataclass(frozen=True, slots=True)
class MeasureQuery:
    """Well-formed request for the days of one series, ``end`` excluded; no rule has checked it yet."""

    resource: Resource
    usage_point: str
    start: date
    end: date


_MEASURES_2026: Final = "mesure_synchrone_auto"
_OLDER_API: Final = "data"  # All of v4 and v5 shares one quota.
# Series, whether of production, name in v4 and v5, short name in v5, name in 2026.
_SERIES: Final = (
    (Series.LOAD_CURVE, False, "consumption_load_curve", "clc", "courbe_de_charge_consommation"),
    (Series.DAILY, False, "daily_consumption", "dc", "consommation_quotidienne"),
    (Series.DAILY, True, "daily_production", "dp", "production_quotidienne"),
)
RESOURCES: Final = tuple(
    resource
    for series, production, name, short_name, name_2026 in _SERIES
    for resource in (
        Resource(Generation.V4, f"/v4/metering_data/{name}", series, _OLDER_API, production),
        Resource(Generation.V5, f"/metering_data_{short_name}/v5/{name}", series, _OLDER_API, production),
        Resource(Generation.V2026, f"/{_MEASURES_2026}/v2/{name_2026}", series, _MEASURES_2026, production),
    )
)

_PARAMETERS_V4_V5: Final = ("usage_point_id", "start", "end")
_PARAMETERS_2026: Final = ("pointId", "dateDebut", "dateFin")


def is_usage_point(text: str) -> bool:
    """Return whether the text is a meter number: 14 digits."""
    return _USAGE_POINT.fullmatch(text) is not None


def usage_point_of(request: Request) -> str | None:
    """Return the meter that a call names in its query, for every generation; None without one."""
    return request.query_params.get("usage_point_id") or request.query_params.get("pointId")


def read_query(resource: Resource, parameters: Mapping[str, str]) -> MeasureQuery:
    """Return the query; the meter is checked first, then the dates.  Raises Refused for a malformed one."""
    is_2026 = resource.generation is Generation.V2026
    # Data Connect 2026 refuses a missing or unknown parameter.
    if is_2026 and set(parameters) != set(_PARAMETERS_2026):
        raise Refused(invalid_request(""))
    point_name, start_name, end_name = _PARAMETERS_2026 if is_2026 else _PARAMETERS_V4_V5
    usage_point = parameters.get(point_name)
    if not usage_point:
        raise Refused(invalid_request("usage_point_id parameter is required"))
    if not is_usage_point(usage_point):
        raise Refused(invalid_request("usage_point_id parameter must be 14 digits long"))
    start, end = _read_day("Start", parameters.get(start_name)), _read_day("End", parameters.get(end_name))
    return MeasureQuery(resource, usage_point, start, end)


def _read_day(word: str, text: str | None) -> date:
    if not text:
        raise Refused(invalid_request(f"{word} date parameter is required"))
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise Refused(invalid_request(f"{word} date parameter must be in the format YYYY-MM-DD")) from None


def check_query(simulator: SimulatorState, query: MeasureQuery, consent: Consent | None) -> None:
    """Raise Refused for the first rule that the query breaks; ``consent`` is that of a user's token."""
    today = simulator.clock.today()
    meter = simulator.meters.get(query.usage_point)
    switches = meter.switches
    is_of_another = consent is not None and query.usage_point not in consent.usage_points
    is_curve = query.resource.series is Series.LOAD_CURVE
    has_direction = meter.series.feeds_in if query.resource.production else meter.series.consumes
    rules = (
        ("end_too_late", query.end > today),
        ("start_after_end", query.start >= query.end),
        ("ADAM-DC-0008", is_of_another or switches.consent_revoked or simulator.consents.has_ended(query.usage_point)),
        ("unauthorized_user", not simulator.meters.knows(query.usage_point)),
        (switches.refusal or "", switches.refusal is not None),
        ("ADAM-ERR0069", not has_direction),
        ("ADAM-ERR0126", is_curve and (query.end - query.start).days > _LONGEST_CURVE_DAYS),
        ("ADAM-ERR0125", query.start < _months_before(today, _HISTORY_MONTHS[query.resource.series]) - _EXTRA_HISTORY),
        ("ADAM-ERR0123", meter.activated_on is not None and query.start < meter.activated_on),
        ("no_data_found", is_curve and not switches.curve_enabled),
    )
    for name, is_broken in rules:
        if is_broken:
            raise Refused(ERROR_TABLE[name])


def _months_before(day: date, months: int) -> date:
    """Return the same day some months earlier, or the last day of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
