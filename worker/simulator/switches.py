"""What can be switched while the simulator runs: for one meter, and for the service as a whole.

The names of the fields are those of the JSON that ``/__sim__/`` takes; what is not sent stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple, Self

from worker.domain.measures.answers import Json
from worker.simulator.homes.series import HALF_HOUR, STEPS


class ScheduledCorrection(NamedTuple):
    """A value that the supplier worked out anew; one of the three is set."""

    factor: float | None = None
    add_w: float | None = None
    wh: float | None = None

    def of(self, wh: float, hours: float) -> int:
        """The day's energy after the correction, in whole Wh."""
        if self.wh is not None:
            return round(self.wh)
        return max(0, round(wh * (1 if self.factor is None else self.factor) + (self.add_w or 0) * hours))


class DataGap(NamedTuple):
    """Steps ending after ``start``, up to ``end`` (naive local labels), are missing; a whole day loses both series."""

    start: str
    end: str
    whole_day: date | None = None


class StepChange(NamedTuple):
    at: str  # naive local label; steps that start there or later have the new length
    minutes: int


@dataclass(frozen=True, slots=True)
class _Switches:
    @classmethod
    def from_json(cls, changes: Mapping[str, Json]) -> Self:
        return cls().changed(changes)

    def changed(self, changes: Mapping[str, Json]) -> Self:
        """The same with ``changes``.  Raises ValueError that names the switch."""
        if not isinstance(changes, Mapping):
            raise ValueError("switches are a JSON object")
        known = {field.name: field for field in dataclasses.fields(self)}
        values = {}
        for name, raw in changes.items():
            if name not in known:
                raise ValueError(f"no switch {name!r}; there are {', '.join(known)}")
            reader = _READERS.get(name) or _like(known[name].default)
            try:
                values[name] = reader(raw)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"switch {name!r}: {error}") from error
        return dataclasses.replace(self, **values)


@dataclass(frozen=True, slots=True)
class MeterSwitches(_Switches):
    """One meter.

    ``delay_days``: how much later than the others its days come out.  ``step``, ``step_change``: length of its steps
    in minutes (pretend homes only).  ``refusal``: answer every question with this row of the error table.
    ``dst_labels``: ``standard`` 46 and 50 true end labels; ``summer_end`` the repeated hour is 02:30, 03:00, 02:30,
    03:00; ``wall_clock`` 48 labels on both days; ``drop_repeated`` the second pass is missing.  ``null_every``: each
    n-th point carries ``null_text`` for a value.  ``quality``: ``BRUT`` or ``BEST``.
    """

    delay_days: int = 0
    step: int = HALF_HOUR
    step_change: StepChange | None = None
    holes: tuple[DataGap, ...] = ()
    weekday_holes: tuple[int, ...] = ()
    corrections: Mapping[date, ScheduledCorrection] = dataclasses.field(default_factory=dict)
    activated_on: date | None = None
    curve_enabled: bool = True
    curve_objected: bool = False
    consent_revoked: bool = False
    refusal: str | None = None
    dst_labels: str = "standard"
    shuffled: bool = False
    null_every: int = 0
    null_text: str | None = "null"
    quality: str = "BRUT"
    without_marks: bool = False
    both_directions: bool = False
    empty_answer: bool = False


@dataclass(frozen=True, slots=True)
class ServiceSwitches(_Switches):
    """The service as a whole.

    ``callback``: how consent ends: ``success``, ``refused``, ``server_error``, ``bare_server_error``, ``twice`` or
    ``shared_already`` (the page that never returns).  ``usage_point_separator`` joins several ids in the callback.
    ``services_form``: how an exchange says "nothing yet", for the next ``services_empty`` calls: ``absent``,
    ``null``, ``list`` or ``refused``.  ``unsubscribed``: APIs that answer 900908, by the first word of their path.
    """

    callback: str = "success"
    usage_point_separator: str = ";"
    whole_years_refused: bool = False
    seven_days_refused: bool = False
    expires_as_text: bool = False
    empty_scope: bool = False
    id_token: bool = False
    token_life_s: int | None = None
    json_content_type: bool = False
    services_empty: int = 0
    services_form: str = "absent"
    services_state: str = "ACTIF"
    unsubscribed: tuple[str, ...] = ()
    sla_wording: bool = False


def _like(default: object) -> Callable[[Json], Any]:
    """A reader that takes what is of the default's own type, and nothing else."""

    def read(raw: Json) -> Json:
        if type(raw) is not type(default):
            raise ValueError(f"needs {type(default).__name__}, like {default!r}")
        return raw

    return read


def _choice(*words: str) -> Callable[[Json], str]:
    def read(raw: Json) -> str:
        if raw not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return str(raw)

    return read


def _optional(reader: Callable[[Json], Any]) -> Callable[[Json], Any]:
    return lambda raw: None if raw is None else reader(raw)


def _step(raw: Json) -> int:
    if raw not in STEPS:
        raise ValueError(f"is one of {STEPS}")
    return int(raw)


def _hole(raw: Json) -> DataGap:
    """``2024-01-10`` for a day, ``2024-01-10T13:00/2024-01-10T15:00`` for steps between two labels."""
    start, slash, end = str(raw).partition("/")
    if not slash:
        return DataGap("", "", date.fromisoformat(start))
    return DataGap(_label(start), _label(end))


def _label(raw: str) -> str:
    return datetime.fromisoformat(raw).replace(tzinfo=None).isoformat(" ", "seconds")


def _corrections(raw: Json) -> dict[date, ScheduledCorrection]:
    """``[{"day": "2024-01-10", "factor": 1.1 | "add_w": 50 | "wh": 9000}]``"""
    found = {}
    for entry in raw:
        ways = {name: entry[name] for name in ("factor", "add_w", "wh") if name in entry}
        if len(ways) != 1 or not all(isinstance(value, int | float) for value in ways.values()):
            raise ValueError("each needs day and one number of factor, add_w or wh")
        found[date.fromisoformat(entry["day"])] = ScheduledCorrection(**ways)
    return found


_READERS: Final[Mapping[str, Callable[[Json], Any]]] = {
    "step": _step,
    "step_change": _optional(lambda raw: StepChange(_label(raw["at"]), _step(raw["minutes"]))),
    "holes": lambda raw: tuple(_hole(each) for each in raw),
    "weekday_holes": lambda raw: tuple(int(each) for each in raw),
    "corrections": _corrections,
    "activated_on": _optional(date.fromisoformat),
    "refusal": _optional(str),
    "dst_labels": _choice("standard", "summer_end", "wall_clock", "drop_repeated"),
    "null_text": _optional(str),
    "quality": _choice("BRUT", "BEST"),
    "callback": _choice("success", "refused", "server_error", "bare_server_error", "twice", "shared_already"),
    "services_form": _choice("absent", "null", "list", "refused"),
    "services_state": _choice("ACTIF", "DEMANDE", "TERMINE", "SUPPRIME"),
    "token_life_s": _optional(int),
    "unsubscribed": lambda raw: tuple(str(each) for each in raw),
}
