"""What a reader makes of a file: the series of one meter, as the readings that an answer of the supplier has too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from worker.domain.measures.readings import IntervalReading
from worker.domain.measures.series import Series
from worker.errors import DataError


class FileFault(StrEnum):
    """Why a file is refused; pages have a sentence for each (``import.why``)."""

    DAMAGED = "damaged"  # It is damaged, cut, or was changed: the text has the row.
    EMPTY = "empty"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"  # It is known for what it is, and not read.
    NO_DAYS = "no_days"  # It tells weeks or months.
    TOO_LARGE = "too_large"
    OTHER_METER = "other_meter"
    OTHER_ENERGY = "other_energy"
    CLOSED = "closed"  # Nothing is stored for the account any more.


class FileRefused(DataError):
    """File that can't be read, or not for what it is; the text names the file, the row where there is one, and why.

    It quotes nothing of the file, which may hold a meter's number or an address.
    """

    def __init__(self, text: str, why: FileFault = FileFault.DAMAGED) -> None:
        super().__init__(text)
        self.why = why


@dataclass(frozen=True, slots=True)
class FileSeries:
    """One series of one meter in a file.

    ``file``: its name as it is shown, with the member's where it came in a ZIP. ``format``: the name of the format,
    such as ``enedis-hour``. ``usage_point``: the number of the meter, or of the delivery point of gas; None where the
    file has none. ``readings``: in time order, each step or day once, as ``worker.domain.parsing`` makes them of an
    answer. ``told_at``: when the file was exported, or the end of the last label's day where it tells no such time;
    zone-aware. ``dropped``: rows without a usable value. ``step_minutes``: the lengths of the steps of a curve.
    ``marks``: nature, likelihood and state of the values that have unusual ones, by the local time of the end
    of their step, such as ``2023-03-13 00:30:00``.
    """

    file: str
    format: str
    usage_point: str | None = field(repr=False)
    series: Series
    readings: Sequence[IntervalReading] = field(repr=False)
    told_at: datetime
    dropped: int = 0
    step_minutes: tuple[int, ...] = ()
    marks: Mapping[str, tuple[str, str, str]] = field(default_factory=dict, repr=False)
