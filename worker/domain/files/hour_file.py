"""The file ``Enedis_Conso_Heure_….csv`` of a stored curve, as Enedis' customer site wrote it until 2024.

Programs that compare suppliers' offers read this file. ``enedis_site`` describes it and reads it.

A row has the end of a step and its mean power in whole watts. The length of the step isn't in the file: readers infer
it from the neighbouring ends (``file_series.infer_minutes``). So a row without a value marks the start of a step after
a hole. As in Enedis' files, there is no such row at the beginning of the file or after a long hole if the next steps
have the same length. Such rows also enclose a longer step between shorter ones, which would look like a shorter step
after a hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from worker.domain.documents import MILLIWATT_HOURS_PER_WH, Document, round_half_up, to_reading
from worker.domain.files.cells import HIDDEN_DIGITS
from worker.domain.series import Direction, Doctype
from worker.domain.windows import PARIS

_MINUTE: Final = timedelta(minutes=1)
_LONG_HOLE: Final = timedelta(hours=2)  # From the end of a step to that of the next.
_HEAD: Final = (
    "\ufeffIdentifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;"
    "Unite;Pas en minutes\n"
    "{};Courbe de charge;{:%d/%m/%Y};{:%d/%m/%Y};Energie active;{};Comptage Brut;W;\nHorodate;Valeur\n"
)


def hide_digits(meter: str | None) -> str:
    """Return what stands for a meter's number: 14 digits, of which only the last four are true."""
    return HIDDEN_DIGITS + (meter or "")[-4:].zfill(4)


class _Step(NamedTuple):
    """A step of the curve; its times are in UTC."""

    start: datetime
    end: datetime
    watts: int

    @property
    def length(self) -> timedelta:
        return self.end - self.start


@dataclass
class HourFile:
    """The text of the file. ``meter``: the number to write; ``end``: the day after the last one."""

    meter: str = field(repr=False)
    doctype: Doctype
    first: date
    end: date
    # The last written step and the two after it, because a step's rows depend on these.
    _steps: list[_Step | None] = field(default_factory=lambda: [None], repr=False)

    @property
    def name(self) -> str:
        """The file's name without its ending; of the meter's number it has only the last four digits."""
        kind = "Prod" if self._is_production else "Conso"
        return f"Enedis_{kind}_Heure_{self.first:%Y%m%d}-{self.end:%Y%m%d}_{self.meter[-4:]}"

    @property
    def _is_production(self) -> bool:
        return self.doctype.series.description.direction is Direction.PRODUCTION

    def head(self) -> str:
        return _HEAD.format(self.meter, self.first, self.end, "Production" if self._is_production else "Consommation")

    def rows(self, documents: Iterable[Document]) -> str:
        """Return the rows of the steps that can be written after these documents, which are in time order."""
        return self._write(_to_step(document, self.doctype) for document in documents)

    def tail(self) -> str:
        """Return the rows of the last steps."""
        return self._write([None, None])

    def _write(self, steps: Iterable[_Step | None]) -> str:
        self._steps += steps
        known = self._steps
        rows = [row for one in zip(known, known[1:], known[2:], known[3:], strict=False) for row in _rows_of(*one)]
        del known[:-3]
        return "".join(rows)


def _to_step(document: Document, doctype: Doctype) -> _Step:
    reading = to_reading(document, doctype)
    start, unit = reading.start.astimezone(UTC), reading.length // _MINUTE * MILLIWATT_HOURS_PER_WH
    return _Step(start, start + reading.length, round_half_up(reading.amount * 60, unit) // unit)


def _rows_of(before: _Step | None, step: _Step | None, after: _Step | None, later: _Step | None) -> Iterator[str]:
    """Yield the rows of a step: its own, and those without a value that tell its length."""
    if step is None:
        return
    is_even = _are_alike(step, after)
    is_told = is_even and _are_alike(after, later) and (before is None or step.end - before.end > _LONG_HOLE)
    # A reader would take the step for a shorter one after a hole.
    is_misread = not (is_even or _are_alike(before, step)) and (_crowds(before, step) or _crowds(after, step))
    start, end = (moment.astimezone(PARIS).isoformat() for moment in (step.start, step.end))
    if (before is None or before.end != step.start) and not is_told:
        yield f"{start};\n"
    if is_misread:
        yield f"{start};\n"
    yield f"{end};{step.watts}\n"
    if is_misread:
        yield f"{end};\n"


def _are_alike(step: _Step | None, after: _Step | None) -> bool:
    """Return whether a step of the same length follows at once."""
    return step is not None and after is not None and step.end == after.start and step.length == after.length


def _crowds(other: _Step | None, step: _Step) -> bool:
    """Return whether the row next to the step's, on the side of ``other``, is nearer than the step is long."""
    if other is None:
        return False
    hole = max(step.start - other.end, other.start - step.end)
    return (hole or other.length) < step.length
