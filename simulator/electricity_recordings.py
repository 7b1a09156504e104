"""Recorded meters from a folder of CSV files, with the values and gaps of the files, and the Enedis sandbox.

The files state the end of each step; the length of a step is inferred from its neighbours if they don't state it.
Each file that is read or skipped is reported; each name may end in ``.gz``.

The sandbox has nine fictitious customers; their meter numbers are public test ids.
Source: Enedis Data Connect, page of the sandbox.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from simulator.electricity_homes import Number, Point
from simulator.gas_recordings import RecordedGasHome, merge_gas
from simulator.recorded_files import NAMES, BrokenRecording, RecordedFile, advice_for, reader_of
from simulator.switches import MeterSwitches
from worker.domain.files.cells import FileRefused, shown_name
from worker.domain.files.file_series import infer_minutes
from worker.domain.parsing.timestamps import to_instants
from worker.domain.windows import PARIS

# Sources that ignore the clock change have two labels for one instant, so a point's key is its end and its label.
_PointKey = tuple[datetime, str]


@dataclass(slots=True)
class RecordedMeter:
    """Recorded meter; a series without a file has no data at all.

    ``days`` and ``production_days``: Wh drawn and Wh fed in by day.  ``feeds_in``: there is a file of production.
    """

    days: dict[date, Number] = field(default_factory=dict)
    curves: dict[date, list[Point]] = field(default_factory=dict)
    production_days: dict[date, Number] = field(default_factory=dict)
    feeds_in: bool = False
    activated_on: date | None = None

    @property
    def consumes(self) -> bool:
        """Whether there is a file of its consumption."""
        return bool(self.days or self.curves)

    def daily(self, day: date) -> Number | None:
        """Return the recorded Wh of a day, or None."""
        return self.days.get(day)

    def production(self, day: date) -> Number | None:
        """Return the Wh that were fed in on a day, or None."""
        return self.production_days.get(day)

    def curve(self, day: date) -> Sequence[Point]:
        """Return the recorded points of a day, in time order."""
        return self.curves.get(day, ())

    def production_curve(self, day: date) -> Sequence[Point]:
        """Return no points: no file of this series is read."""
        return ()


class UsedFile(NamedTuple):
    """File that is served; ``days``, in order, are those with a value, or with which a period begins.

    As text it names no meter in full.
    """

    name: str
    meter: str
    series: str
    days: Sequence[date]
    unit: str = "day"

    def __str__(self) -> str:
        first, last = self.days[0], self.days[-1]
        period = f"{len(self.days)} {self.unit}s from {first} to {last}" if first < last else f"1 {self.unit}: {first}"
        return f"{self.name}: meter {self.meter}, {self.series}, {period}"


class PassedOver(NamedTuple):
    """File or folder that is not served, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RecordedFolder:
    """Recorded meters by number, of electricity and of gas, and what became of each file, in the order of names."""

    meters: Mapping[str, RecordedMeter] = field(default_factory=dict)
    gas: Mapping[str, RecordedGasHome] = field(default_factory=dict)
    used: list[UsedFile] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)


def read_folder(folder: Path) -> RecordedFolder:
    """Read all recordings; where files overlap, the one whose name sorts last wins.

    A file that can't be read is skipped. Raises BrokenRecording for a folder without a file that it reads.
    """
    if not folder.is_dir():
        raise BrokenRecording(f"{folder}: not a folder; give one with recorded series, e.g. 14-digits.daily.csv")
    recordings = RecordedFolder()
    files: list[RecordedFile] = []
    broken: list[BrokenRecording] = []
    for path, name in _shown_names(sorted(folder.iterdir())).items():
        reader = None if path.is_dir() else reader_of(path)
        if reader is None:
            recordings.passed_over.append(PassedOver(name, advice_for(path)))
            continue
        try:
            read = _read(reader, path)
        except BrokenRecording as error:
            broken.append(error)
            reason = str(error).removeprefix(shown_name(path.name)).lstrip(":, ")
            recordings.passed_over.append(PassedOver(name, reason))
            continue
        files += read
        for file in read:
            _note(recordings, name, file)
    if not files:
        raise broken[0] if broken else BrokenRecording(_nothing_to_serve(folder, recordings.passed_over))
    electricity = [file for file in files if file.gas is None]
    return RecordedFolder(_to_meters(electricity), _to_gas_homes(files), recordings.used, recordings.passed_over)


def _shown_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the names to show; if the meters' numbers end alike, with the place among these files."""
    alike: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        alike[shown_name(path.name)].append(path)
    return {
        path: f"{name} ({same.index(path) + 1} of {len(same)})" if len(same) > 1 else name
        for path in paths
        for name in [shown_name(path.name)]
        for same in [alike[name]]
    }


def _read(reader: Callable[[Path], Iterator[RecordedFile]], path: Path) -> list[RecordedFile]:
    try:
        return list(reader(path))
    except FileRefused as error:
        raise BrokenRecording(str(error)) from None
    except OSError as error:
        raise BrokenRecording(f"{shown_name(path.name)}: can't be read ({type(error).__name__})") from None


def _nothing_to_serve(folder: Path, passed_over: Sequence[PassedOver]) -> str:
    names = [passed.name for passed in passed_over[:3]]
    others = f" and {len(passed_over) - len(names)} more" if len(passed_over) > len(names) else ""
    found = f"skipped: {', '.join(names)}{others}" if names else "it is empty"
    return f"{folder}: no recorded series ({found}); name files {NAMES}"


def _note(recordings: RecordedFolder, name: str, recorded: RecordedFile) -> None:
    """Write down whether a file that was read is served."""
    if recorded.gas is not None:
        _note_gas(recordings, name, recorded)
        return
    direction = "production" if recorded.production else "consumption"
    series = f"load curve of {direction}" if recorded.rows else f"daily {direction}"
    days = sorted(recorded.days or {_day_of(_source_label(row.end)) for row in recorded.rows if row.watts is not None})
    if recorded.rows and recorded.production:
        reason = f"a {series}, which the simulator does not serve; for production it serves Enedis_Prod_Jour_*.csv"
        recordings.passed_over.append(PassedOver(name, reason))
    elif not days:
        recordings.passed_over.append(PassedOver(name, "it has no day with a value"))
    else:
        recordings.used.append(UsedFile(name, f"…{recorded.usage_point[-4:]}", series, days))


def _note_gas(recordings: RecordedFolder, name: str, recorded: RecordedFile) -> None:
    days = sorted(reading.start for reading in recorded.gas or () if reading.energy is not None)
    series, unit = ("billed gas", "period") if recorded.has_periods else ("daily gas", "day")
    if days:
        recordings.used.append(UsedFile(name, f"…{recorded.usage_point[-4:]}", series, days, unit))
    else:
        recordings.passed_over.append(PassedOver(name, f"it has no {unit} with a value"))


def _to_gas_homes(files: Iterable[RecordedFile]) -> dict[str, RecordedGasHome]:
    homes: defaultdict[str, RecordedGasHome] = defaultdict(RecordedGasHome)
    for file in files:
        if not file.gas:
            continue
        if file.has_periods:
            homes[file.usage_point].periods += file.gas
        else:
            homes[file.usage_point].days.update({reading.start: reading for reading in file.gas})
    return merge_gas(homes)


def _to_meters(files: Iterable[RecordedFile]) -> dict[str, RecordedMeter]:
    meters: defaultdict[str, RecordedMeter] = defaultdict(RecordedMeter)
    points: defaultdict[str, dict[_PointKey, Point | None]] = defaultdict(dict)
    for recorded in files:
        meter = meters[recorded.usage_point]
        if recorded.production:
            meter.feeds_in = True
            meter.production_days.update(recorded.days)
            continue
        meter.days.update(recorded.days)
        if recorded.rows:
            points[recorded.usage_point].update(_to_points(recorded))
    for usage_point, by_key in points.items():
        meters[usage_point].curves = _by_day(by_key)
    return dict(meters)


def _to_points(recorded: RecordedFile) -> dict[_PointKey, Point | None]:
    """Return points in time order; None for a row without a value, which only helps to infer the step lengths."""
    rows = recorded.rows
    if rows[0].end.replace(tzinfo=None) > rows[-1].end.replace(tzinfo=None):
        # Some exports begin with the newest row.
        rows = rows[::-1]
    dated = sorted(zip(to_instants([row.end for row in rows]), rows, strict=True), key=lambda pair: pair[0])
    lengths = infer_minutes([end for end, _ in dated])
    points: dict[_PointKey, Point | None] = {}
    for (end, row), inferred in zip(dated, lengths, strict=True):
        label = _source_label(row.end)
        point = None
        if row.watts is not None:
            point = Point(end, label, row.minutes or inferred, row.watts, *row.marks)
        points[end, label] = point
    return points


def _source_label(end: datetime) -> str:
    """Return the label as the source wrote it, even in an hour that the clock skipped; an offset becomes local time."""
    local = end.astimezone(PARIS).replace(tzinfo=None) if end.tzinfo is not None else end
    return local.isoformat(" ", "seconds")


def _by_day(points: Mapping[_PointKey, Point | None]) -> dict[date, list[Point]]:
    """Group the points by the day of their step; a step that ends at midnight belongs to the day before."""
    days: defaultdict[date, list[Point]] = defaultdict(list)
    for key in sorted(points):
        if (point := points[key]) is not None:
            days[_day_of(point.label)].append(point)
    return dict(days)


def _day_of(label: str) -> date:
    """Return the day of the step that ends at ``label``."""
    return (datetime.fromisoformat(label) - timedelta(microseconds=1)).date()


class SandboxMeter(NamedTuple):
    """Meter of a sandbox customer, with the switches that make it behave as its page says."""

    usage_point: str
    consumes: bool
    switches: MeterSwitches


def _meter(usage_point: str, consumes: bool = True, **switches: Any) -> SandboxMeter:
    usual: dict[str, Any] = {"activated_on": date(2015, 12, 1), "panels_wp": 0}
    return SandboxMeter(usage_point, consumes, MeterSwitches(**usual | switches))


CUSTOMERS: Final[Mapping[int, tuple[SandboxMeter, ...]]] = {
    0: (_meter("22516914714270"),),
    1: (_meter("11453290002823", activated_on=date(2019, 8, 27)),),
    2: (_meter("32320647321714", curve_enabled=False),),
    3: (_meter("12345678901234"), _meter("10284856584123", consumes=False, panels_wp=6_000)),
    4: (_meter("42900589957123", weekday_holes=(1, 2)),),  # Tuesdays and Wednesdays.
    5: (_meter("24880057139941", consumes=False, panels_wp=6_000),),
    6: (_meter("12655648759651", panels_wp=3_000),),
    7: (_meter("64975835695673"), _meter("63695879465986"), _meter("22315546958763")),
    8: (_meter("26584978546985", consent_revoked=True),),
}
METERS: Final[Mapping[str, SandboxMeter]] = {
    meter.usage_point: meter for meters in CUSTOMERS.values() for meter in meters
}


def usage_points_of(state: str) -> tuple[str, ...] | None:
    """Return the meters of the customer that the last digit of ``state`` picks; None if it is no digit from 0 to 8."""
    meters = CUSTOMERS.get(int(state[-1])) if state and state[-1] in "012345678" else None
    return tuple(meter.usage_point for meter in meters) if meters else None
