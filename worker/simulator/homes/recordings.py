"""Recorded meters, from a folder of CSV files: served as they were measured, gaps and all.

Files that are not named like one of these are left alone; each may end in ``.gz``.

================================ ================================================================
``<14 digits>.load_curve.csv``   ``date_end_local,watts``: end labels, mean W
``<14 digits>.daily.csv``        ``date,wh``
``Enedis_Conso_Heure_*.csv``     the customer site's load curve
``Enedis_Conso_Jour_*.csv``      the customer site's indexes of each midnight
``ENEDIS_R63*.csv``              the business portal's load curve
================================ ================================================================
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from worker.domain.measures.readings import PARIS
from worker.simulator.homes.recording_formats import (
    BrokenRecording,
    RecordedFile,
    read_curve,
    read_daily,
    read_hour_export,
    read_index_export,
    read_r63_export,
)
from worker.simulator.homes.series import HALF_HOUR, STEPS, Direction, Number, Point

_READERS: Final[Mapping[str, Callable[[Path], RecordedFile]]] = {
    "[0-9]" * 14 + ".load_curve.csv": read_curve,
    "[0-9]" * 14 + ".daily.csv": read_daily,
    "enedis_conso_heure_*.csv": read_hour_export,
    "enedis_conso_jour_*.csv": read_index_export,
    "enedis_r63*.csv": read_r63_export,
}


class _Key(NamedTuple):
    end: datetime
    label: str  # two labels of one instant: sources that know no clock change


@dataclass(slots=True)
class RecordedMeter:
    """One meter of the folder; a series without a file has no data at all."""

    days: dict[Direction, dict[date, Number]] = field(default_factory=lambda: defaultdict(dict))
    curves: dict[Direction, dict[date, list[Point]]] = field(default_factory=dict)
    activated_on: date | None = None

    def measures(self, direction: Direction) -> bool:
        """A recording of production alone has no consumption, and the other way round."""
        return direction in self.days or direction in self.curves

    def daily(self, direction: Direction, day: date) -> Number | None:
        return self.days[direction].get(day) if direction in self.days else None

    def curve(self, direction: Direction, day: date) -> Sequence[Point]:
        return self.curves.get(direction, {}).get(day, ())


def read_folder(folder: Path) -> dict[str, RecordedMeter]:
    """All recorded meters by number; where files overlap the one whose name sorts last wins.

    Raises BrokenRecording with file and line, also for a folder that holds none.
    """
    if not folder.is_dir():
        raise BrokenRecording(f"{folder}: not a folder; give one with recorded series, e.g. 14-digits.daily.csv")
    files = [reader(path) for path in sorted(folder.iterdir()) if (reader := _reader(path)) is not None]
    if not files:
        raise BrokenRecording(
            f"{folder}: no recorded series; files are named like 14-digits.load_curve.csv, 14-digits.daily.csv, "
            "Enedis_Conso_Heure_*.csv, Enedis_Conso_Jour_*.csv or ENEDIS_R63*.csv, with or without .gz"
        )
    return _to_meters(files)


def _reader(path: Path) -> Callable[[Path], RecordedFile] | None:
    name = Path(path.name.lower().removesuffix(".gz"))
    return next((reader for pattern, reader in _READERS.items() if name.match(pattern)), None)


def _to_meters(files: Iterable[RecordedFile]) -> dict[str, RecordedMeter]:
    meters: defaultdict[str, RecordedMeter] = defaultdict(RecordedMeter)
    points: defaultdict[tuple[str, Direction], dict[_Key, Point | None]] = defaultdict(dict)
    for recorded in files:
        meter = meters[recorded.usage_point]
        if recorded.days:
            meter.days[recorded.direction].update(recorded.days)
        if recorded.rows:
            points[recorded.usage_point, recorded.direction].update(_to_points(recorded))
    for (usage_point, direction), by_key in points.items():
        meters[usage_point].curves[direction] = _by_day(by_key)
    return dict(meters)


def _to_points(recorded: RecordedFile) -> dict[_Key, Point | None]:
    """Points in time order; None where the row has no value: it helps to tell steps, and is no reading."""
    rows = recorded.rows
    if rows[0].end.replace(tzinfo=None) > rows[-1].end.replace(tzinfo=None):  # newest first
        rows = rows[::-1]
    dated = sorted(zip(to_instants([row.end for row in rows]), rows, strict=True), key=lambda pair: pair[0])
    lengths = infer_minutes([end for end, _ in dated])
    points: dict[_Key, Point | None] = {}
    for (end, row), inferred in zip(dated, lengths, strict=True):
        label = _own_label(row.end)
        point = None
        if row.watts is not None:
            point = Point(end, label, row.minutes or inferred, row.watts, *row.marks)
        points[_Key(end, label)] = point
    return points


def _own_label(end: datetime) -> str:
    """As the source wrote it where it wrote local time, even an hour that the clock skipped."""
    local = end.astimezone(PARIS).replace(tzinfo=None) if end.tzinfo is not None else end
    return local.isoformat(" ", "seconds")


def _by_day(points: Mapping[_Key, Point | None]) -> dict[date, list[Point]]:
    """Under the day that each step belongs to: midnight closes the day before."""
    days: defaultdict[date, list[Point]] = defaultdict(list)
    for key in sorted(points):
        if (point := points[key]) is not None:
            day = (datetime.fromisoformat(point.label) - timedelta(microseconds=1)).date()
            days[day].append(point)
    return dict(days)


# How long each recorded step was: recordings tell its end only.


def to_instants(labels: Sequence[datetime]) -> list[datetime]:
    """The moments of end labels, in UTC; for naive ones the order tells the two passes of the autumn hour apart."""
    instants: list[datetime] = []
    previous: datetime | None = None
    for label in labels:
        previous = _instant(label, previous)
        instants.append(previous)
    return instants


def _instant(label: datetime, previous: datetime | None) -> datetime:
    if label.tzinfo is not None:
        return label.astimezone(UTC)
    earlier, later = (label.replace(tzinfo=PARIS, fold=fold).astimezone(UTC) for fold in (0, 1))
    return later if previous is not None and earlier <= previous < later else earlier


def infer_minutes(ends: Sequence[datetime], default: int = HALF_HOUR) -> list[int]:
    """Length of the step before each of ``ends`` (rising instants), in minutes."""
    if not ends:
        return []
    gaps = [None, *((later - earlier) // timedelta(minutes=1) for earlier, later in pairwise(ends))]
    known = [gap if gap in STEPS and _aligned(end, gap) else None for end, gap in zip(ends, gaps, strict=True)]
    genuine = [_without_holes(known, index) for index in range(len(known))]
    return _fill(genuine, default)


def _aligned(end: datetime, minutes: int) -> bool:
    return end.minute % minutes == 0


def _without_holes(gaps: Sequence[int | None], index: int) -> int | None:
    """The gap as it is, unless it stands alone beside shorter ones: then the shorter, for a step is missing."""
    gap = gaps[index]
    before = gaps[index - 1] if index else None
    after = gaps[index + 1] if index + 1 < len(gaps) else None
    if gap is None or gap in (before, after):
        return gap
    shorter = [other for other in (after, before) if other is not None and other < gap]
    return shorter[0] if shorter else gap


def _fill(steps: Sequence[int | None], default: int) -> list[int]:
    """A step after a hole is as long as those that follow it, else as those before."""
    filled: list[int | None] = list(steps)
    for index in range(len(filled) - 2, -1, -1):
        filled[index] = filled[index] or filled[index + 1]
    last: int = default
    complete = []
    for step in filled:
        last = step or last
        complete.append(last)
    return complete
