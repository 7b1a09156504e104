"""Switches that change the simulator's behaviour while it runs, for one meter or for the whole service.

The names of the fields are those of the JSON that ``/__sim__/`` takes; a field that is not sent keeps its value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator

from worker.domain.measures.answers import Json
from worker.domain.measures.series import Direction
from worker.simulator.api.errors import ERROR_TABLE
from worker.simulator.homes.contracts import Tariff, read_off_peak_hours
from worker.simulator.homes.panels import LARGEST_WP, SMALLEST_WP
from worker.simulator.homes.series import HALF_HOUR

Step = Literal[5, 10, 15, 30, 60]
# Names of the supplier's APIs, each with a quota of its own; all of v4 and v5 is one.
Api = Literal[
    "data",
    "mesure_synchrone_auto",
    "subscribed_services",
    "situation_contrat_auto",
    "synth_contrat_auto",
    "comptage_auto",
]


class DataGap(NamedTuple):
    """Missing steps of the curve: those that end after ``start`` and at ``end`` at the latest (naive local labels).

    With ``whole_day`` the daily value of that day is missing too.
    """

    start: str
    end: str
    whole_day: date | None = None


def _read_label(text: str) -> str:
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(" ", "seconds")


def _read_gap(text: Json) -> DataGap:
    """Read a gap: ``2024-01-10`` for a day, ``2024-01-10T13:00/2024-01-10T15:00`` for the steps between two labels."""
    start, slash, end = str(text).partition("/")
    return DataGap(_read_label(start), _read_label(end)) if slash else DataGap("", "", date.fromisoformat(start))


def _check_refusal(name: str | None) -> str | None:
    if name is not None and name not in ERROR_TABLE:
        raise ValueError(f"no refusal {name!r}; there are {', '.join(ERROR_TABLE)}")
    return name


def _check_off_peak_hours(text: str) -> str:
    read_off_peak_hours(text)
    return text


def _check_panels(watts: int | None) -> int | None:
    if watts and not SMALLEST_WP <= watts <= LARGEST_WP:
        raise ValueError(f"panels must have {SMALLEST_WP} to {LARGEST_WP} W; 0 is none")
    return watts


class SwitchModel(BaseModel):
    """JSON of a switch; a field that is unknown or of another type is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScheduledCorrection(SwitchModel):
    """Correction of one day by the supplier: by ``factor``, or to ``wh``; daily value, curve and registers agree."""

    day: date
    direction: Direction = Direction.CONSUMPTION
    factor: float | None = None
    wh: float | None = None

    @model_validator(mode="after")
    def _check_amount(self) -> Self:
        if (self.factor is None) == (self.wh is None):
            raise ValueError("needs one number of factor or wh")
        return self

    def apply(self, wh: float) -> int:
        """Return the day's energy after the correction, in whole Wh."""
        if self.wh is not None:
            return round(self.wh)
        return max(0, round(wh * (1 if self.factor is None else self.factor)))


class ContractChange(SwitchModel):
    """What changes in a pretend home's contract on a day; what is not named stays.

    Another tariff has other registers, which count from zero, and the off-peak hours that are usual for it.
    """

    day: date
    subscribed_kva: Annotated[int, Field(ge=1, le=36)] | None = None
    tariff: Tariff | None = None
    off_peak_hours: Annotated[str, AfterValidator(_check_off_peak_hours)] | None = None


class SwitchSet(SwitchModel):
    """Switches that are changed one by one."""

    def with_changes(self, changes: Mapping[str, Json]) -> Self:
        """Return a copy with ``changes``.  Raises ValidationError, a ValueError."""
        # Only as JSON does the strict mode take texts for dates and lists for tuples.
        changed = type(self).model_validate_json(json.dumps(changes))
        return self.model_copy(update={name: getattr(changed, name) for name in changed.model_fields_set})


class MeterSwitches(SwitchSet):
    """Switches of one meter.

    ``delay_days``: how many days later than other meters it publishes.  ``step``: length of its steps in
    minutes (pretend homes only).  ``refusal``: answer every call with this row of the error table.  Of pretend homes
    alone: ``panels_wp``, the peak power of its panels in W (0 for none); ``contract_changes``; ``replaced_on``, the day
    from which a new meter counts from zero.
    """

    delay_days: int = 0
    step: Step = HALF_HOUR
    holes: tuple[Annotated[DataGap, PlainValidator(_read_gap)], ...] = ()
    weekday_holes: tuple[int, ...] = ()
    corrections: tuple[ScheduledCorrection, ...] = ()
    activated_on: date | None = None
    curve_enabled: bool = True
    consent_revoked: bool = False
    refusal: Annotated[str | None, AfterValidator(_check_refusal)] = None
    panels_wp: Annotated[int | None, AfterValidator(_check_panels)] = None
    contract_changes: tuple[ContractChange, ...] = ()
    replaced_on: date | None = None

    def correction_of(self, day: date, direction: Direction) -> ScheduledCorrection | None:
        """Return the correction of a day, the last one where there are several, or None."""
        corrections = (one for one in reversed(self.corrections) if (one.day, one.direction) == (day, direction))
        return next(corrections, None)


class ServiceSwitches(SwitchSet):
    """Switches of the whole service.

    ``callback``: how consent ends.  ``usage_point_separator`` joins several ids in the callback.  The exchange of an
    authorisation says "nothing yet" in its next ``services_empty`` calls.  ``token_without_meter``: a user's token does
    not say whose meter it is for.  ``unsubscribed_apis``: those that the application may not call (900908).
    ``gateway_bodies``: the generation of Enedis' answers that the gateway passes on.
    """

    callback: Literal["success", "refused", "server_error", "bare_server_error"] = "success"
    usage_point_separator: str = ";"
    whole_years_refused: bool = False
    token_life_s: int = 12_600
    token_without_meter: bool = False
    services_empty: int = 0
    unsubscribed_apis: tuple[Api, ...] = ()
    gateway_bodies: Literal["2026", "v5"] = "2026"
