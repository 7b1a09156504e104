"""Switches that change the simulator's behaviour while it runs, for one meter or for the whole service.

The names of the fields are those of the JSON that ``/__sim__/`` takes; a field that is not sent keeps its value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, model_validator

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import ERROR_TABLE
from worker.simulator.homes.series import HALF_HOUR

Step = Literal[5, 10, 15, 30, 60]


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


class _SwitchModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScheduledCorrection(_SwitchModel):
    """Correction of one day by the supplier: by ``factor``, or to ``wh``."""

    day: date
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


class _SwitchSet(_SwitchModel):
    def with_changes(self, changes: Mapping[str, Json]) -> Self:
        """Return a copy with ``changes``.  Raises ValidationError, a ValueError."""
        # Only as JSON does the strict mode take texts for dates and lists for tuples.
        changed = type(self).model_validate_json(json.dumps(changes))
        return self.model_copy(update={name: getattr(changed, name) for name in changed.model_fields_set})


class MeterSwitches(_SwitchSet):
    """Switches of one meter.

    ``delay_days``: how many days later than other meters it publishes.  ``step``: length of its steps in
    minutes (pretend homes only).  ``refusal``: answer every call with this row of the error table.
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

    def correction_of(self, day: date) -> ScheduledCorrection | None:
        """Return the correction of a day, the last one where there are several, or None."""
        return next((correction for correction in reversed(self.corrections) if correction.day == day), None)


class ServiceSwitches(_SwitchSet):
    """Switches of the whole service.

    ``callback``: how consent ends.  ``usage_point_separator`` joins several ids in the callback.  The exchange of an
    authorisation says "nothing yet" in its next ``services_empty`` calls.  ``token_without_meter``: a user's token does
    not say whose meter it is for.
    """

    callback: Literal["success", "refused", "server_error", "bare_server_error"] = "success"
    usage_point_separator: str = ";"
    whole_years_refused: bool = False
    token_life_s: int = 12_600
    token_without_meter: bool = False
    services_empty: int = 0
