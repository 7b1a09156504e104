"""Files in the form that their readers return, and an importer that stores them in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from tests.support.factories import NOW, MemoryRecorder, PretendSupplier, Row, make_window_sync, v5_answer
from worker.domain.comparison import FinishedAnswer
from worker.domain.completeness import DayLedger, DayMark
from worker.domain.files.cells import FileSeries
from worker.domain.parsing import parse
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.sync.file_import import FileImporter

METER: Final = "30001640000011"


def days_file(watt_hours: Mapping[date, int], told_at: datetime = NOW, **fields: Any) -> FileSeries:
    """Return a file with these daily values."""
    return _file(Series.DAILY, [[day.isoformat(), value] for day, value in sorted(watt_hours.items())], told_at, fields)


def curve_file(rows: Mapping[date, Sequence[Row]], told_at: datetime = NOW, **fields: Any) -> FileSeries:
    """Return a file with these steps of a load curve."""
    return _file(Series.LOAD_CURVE, [row for day in sorted(rows) for row in rows[day]], told_at, fields)


def _file(series: Series, rows: Sequence[Row], told_at: datetime, fields: Mapping[str, Any]) -> FileSeries:
    window = DateWindow(date(2000, 1, 1), date(2100, 1, 1))
    unit = "W" if series.has_steps else "Wh"
    readings = parse(v5_answer(rows, unit), series, window).readings
    file = FileSeries("made.csv", "made", METER, series, readings, told_at)
    return replace(file, **fields)


def hour_export(meter: str = METER, first: date = date(2024, 7, 1), days: int = 2, watts: int = 300) -> str:
    """Return the text of an export of Enedis' customer site with the half-hours of some summer days."""
    lines = [
        "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;"
        "Unite;Pas en minutes",
        f"{meter};Courbe de charge;01/07/2024;03/07/2024;Energie active;Consommation;Comptage Brut;W;",
        "Horodate;Valeur",
    ]
    for step in range(1, 48 * days + 1):
        day, minutes = divmod(30 * step, 24 * 60)
        label = f"{first + timedelta(days=day)}T{minutes // 60:02}:{minutes % 60:02}:00+02:00"
        lines.append(f"{label};{watts}")
    return "\n".join(lines)


@dataclass
class FilesInMemory:
    """The records about files, beside the answers of a ``MemoryRecorder``."""

    recorder: MemoryRecorder
    ledger: DayLedger = field(default_factory=DayLedger)

    def record_file(
        self,
        account_id: str,
        series: Series,
        run_id: str,
        now: datetime,
        *,
        last_day: date | None,
        to_marks: Callable[[DayLedger], Mapping[date, DayMark]],
        answer: FinishedAnswer,
    ) -> None:
        recent = self.recorder.recent.get((account_id, series.value))
        recent = recent or self.recorder.recent_answers({"account_id": account_id, "series": series.value})  # type: ignore[typeddict-item]
        self.recorder.days_in_doubt |= recent.days_in_doubt(answer)
        self.recorder.recent[account_id, series.value] = recent.with_part(answer.answer)
        self.ledger = self.ledger.with_marks(to_marks(self.ledger))


def importer_in_memory(
    measures: MeasureStore, recorder: MemoryRecorder | None = None, now: Callable[[], datetime] = lambda: NOW
) -> FileImporter:
    recorder = recorder or MemoryRecorder()
    files: Any = FilesInMemory(recorder)
    sync = make_window_sync(PretendSupplier(), measures, recorder=recorder, now=now)
    results: Any = recorder
    return FileImporter(window_sync=sync, results=results, outcomes=files)
