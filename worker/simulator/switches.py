"""Switches that change the simulator's behaviour while it runs, for one meter or for the whole service.

The names of the fields are those of the JSON that ``/__sim__/`` takes; a field that is not sent keeps its value.
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
    """Correction of one day by the supplier; exactly one of the three fields is set."""

    factor: float | None = None
    add_w: float | None = None
    wh: float | None = None

    def apply(self, wh: float, hours: float) -> int:
        """Return the day's energy after the correction, in whole Wh."""
        if self.wh is not None:
            return round(self.wh)
        return max(0, round(wh * (1 if self.factor is None else self.factor) + (self.add_w or 0) * hours))


class DataGap(NamedTuple):
    """Missing steps of the curve: those that end after ``start`` and at ``end`` at the latest (naive local labels).

    With ``whole_day`` the daily value of that day is missing too.
    """

    start: str
    end: str
    whole_day: date | None = None


class StepChange(NamedTuple):
    """Change of the step length: steps that start at the naive local label ``at`` or later last ``minutes``."""

    at: str
    minutes: int


@dataclass(frozen=True, slots=True)
class _SwitchSet:
    """Set of switches that reads its fields from JSON."""

    @classmethod
    def from_json(cls, changes: Mapping[str, Json]) -> Self:
        """Return the defaults with ``changes``.  Raises ValueError that names the switch."""
        return cls().with_changes(changes)

    def with_changes(self, changes: Mapping[str, Json]) -> Self:
        """Return a copy with ``changes``.  Raises ValueError that names the switch."""
        if not isinstance(changes, Mapping):
            raise ValueError("switches are a JSON object")
        fields = {field.name: field for field in dataclasses.fields(self)}
        values = {}
        for name, raw in changes.items():
            if name not in fields:
                raise ValueError(f"no switch {name!r}; there are {', '.join(fields)}")
            reader = _READERS.get(name) or _reader_of_type(fields[name].default)
            try:
                values[name] = reader(raw)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"switch {name!r}: {error}") from error
        return dataclasses.replace(self, **values)


@dataclass(frozen=True, slots=True)
class MeterSwitches(_SwitchSet):
    """Switches of one meter.

    ``delay_days``: how many days later than other meters it publishes.  ``step``, ``step_change``: length of its
    steps in minutes (pretend homes only).  ``refusal``: answer every call with this row of the error table.
    ``dst_labels``: ``standard`` 46 and 50 true end labels; ``summer_end`` the repeated hour is 02:30, 03:00, 02:30,
    03:00; ``wall_clock`` 48 labels on both days; ``drop_repeated`` the second pass is missing.  ``null_every``: each
    n-th point has ``null_text`` as its value.  ``quality``: ``BRUT`` or ``BEST``.
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
class ServiceSwitches(_SwitchSet):
    """Switches of the whole service.

    ``callback``: how consent ends: ``success``, ``refused``, ``server_error``, ``bare_server_error``, ``twice`` or
    ``shared_already`` (the page that never returns).  ``usage_point_separator`` joins several ids in the callback.
    ``services_form``: how the exchange of an authorisation says "nothing yet" in its next ``services_empty`` calls:
    ``absent``, ``null``, ``list`` or ``refused``.  ``unsubscribed``: APIs that answer 900908, by the first word of
    their path.
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


def _reader_of_type(default: object) -> Callable[[Json], Any]:
    """Return a reader that accepts only values of the default's own type."""

    def read(raw: Json) -> Json:
        if type(raw) is not type(default):
            raise ValueError(f"needs {type(default).__name__}, like {default!r}")
        return raw

    return read


def _reader_of_choice(*words: str) -> Callable[[Json], str]:
    def read(raw: Json) -> str:
        if raw not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return str(raw)

    return read


def _reader_or_none(reader: Callable[[Json], Any]) -> Callable[[Json], Any]:
    return lambda raw: None if raw is None else reader(raw)


def _read_step(raw: Json) -> int:
    if raw not in STEPS:
        raise ValueError(f"is one of {STEPS}")
    return int(raw)


def _read_gap(raw: Json) -> DataGap:
    """Read a gap.

    Examples: ``2024-01-10`` for a day, ``2024-01-10T13:00/2024-01-10T15:00`` for the steps between two labels.
    """
    start, slash, end = str(raw).partition("/")
    if not slash:
        return DataGap("", "", date.fromisoformat(start))
    return DataGap(_read_label(start), _read_label(end))


def _read_label(raw: str) -> str:
    return datetime.fromisoformat(raw).replace(tzinfo=None).isoformat(" ", "seconds")


def _read_corrections(raw: Json) -> dict[date, ScheduledCorrection]:
    """Read corrections by day.

    Example: ``[{"day": "2024-01-10", "factor": 1.1}]``, or ``"add_w": 50`` or ``"wh": 9000`` in place of the factor.
    """
    corrections = {}
    for entry in raw:
        amounts = {name: entry[name] for name in ("factor", "add_w", "wh") if name in entry}
        if len(amounts) != 1 or not all(isinstance(value, int | float) for value in amounts.values()):
            raise ValueError("each needs day and one number of factor, add_w or wh")
        corrections[date.fromisoformat(entry["day"])] = ScheduledCorrection(**amounts)
    return corrections


_READERS: Final[Mapping[str, Callable[[Json], Any]]] = {
    "step": _read_step,
    "step_change": _reader_or_none(lambda raw: StepChange(_read_label(raw["at"]), _read_step(raw["minutes"]))),
    "holes": lambda raw: tuple(_read_gap(text) for text in raw),
    "weekday_holes": lambda raw: tuple(int(weekday) for weekday in raw),
    "corrections": _read_corrections,
    "activated_on": _reader_or_none(date.fromisoformat),
    "refusal": _reader_or_none(str),
    "dst_labels": _reader_of_choice("standard", "summer_end", "wall_clock", "drop_repeated"),
    "null_text": _reader_or_none(str),
    "quality": _reader_of_choice("BRUT", "BEST"),
    "callback": _reader_of_choice("success", "refused", "server_error", "bare_server_error", "twice", "shared_already"),
    "services_form": _reader_of_choice("absent", "null", "list", "refused"),
    "services_state": _reader_of_choice("ACTIF", "DEMANDE", "TERMINE", "SUPPRIME"),
    "token_life_s": _reader_or_none(int),
    "unsubscribed": lambda raw: tuple(str(api) for api in raw),
}
