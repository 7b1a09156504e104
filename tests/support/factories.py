"""Inputs of tests: answers as suppliers send them, readings, windows, and a WindowSync on fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.support.fakes import memory_measures
from worker.domain.account import Account, AccountState
from worker.domain.answers import Answer, AnswerKind, Json
from worker.domain.comparison import FinishedAnswer, RecentAnswers
from worker.domain.documents import ALL_KEYS, REMOVED, Entry
from worker.domain.messages import WindowJob, WindowResult, Writes
from worker.domain.series import Direction, Doctype, Quantity, Series
from worker.domain.windows import PARIS, DateWindow, day_length, local_midnight
from worker.errors import UnknownAccount
from worker.stores.measures.measure_store import MeasureStore
from worker.sync.window import WindowSync

NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
USAGE_POINT = "98765432109876"

Row = Sequence[Any]  # The row is [date, value] or [date, value, step].


def v5_answer(rows: Iterable[Row], unit: str | None = None, **fields: Json) -> Json:
    """Return an answer as v4 and v5 of the API send it."""
    readings = [_v5_row(*row) for row in rows]
    reading_type = {"reading_type": {"unit": unit}} if unit else {}
    return {"meter_reading": {"usage_point_id": USAGE_POINT, **reading_type, **fields, "interval_reading": readings}}


def _v5_row(label: Json, value: Json, step: Json = None) -> Json:
    row = {"value": value, "date": label}
    return {**row, "interval_length": step} if step is not None else row


_QUANTITIES_2026 = {Quantity.ENERGY: "EA", Quantity.POWER: "PA", Quantity.APPARENT_POWER: "PMA"}


def answer_2026(rows: Iterable[Row], series: Series) -> Json:
    """Return an answer as the API of 2026 sends it, with the same meter's other direction beside it."""
    points = [{"v": row[1], "d": row[0], **({"p": row[2]} if len(row) > 2 else {})} for row in rows]
    described = series.description
    measured = {"grandeurPhysique": _QUANTITIES_2026[described.quantity], "unite": described.quantity.unit}
    directions = ("PROD", "CONS") if described.direction is Direction.CONSUMPTION else ("CONS", "PROD")
    other = {"grandeurMetier": directions[0], **measured, "points": [{"v": "7", "d": "x"}]}
    mine = {"grandeurMetier": directions[1], **measured, "points": points}
    return {"idPrm": USAGE_POINT, "etapeMetier": "BRUT", "grandeur": [other, mine], "contexte": []}


def registers_2026(
    *calendars: Json, total: Mapping[str, Json] | None = None, series: Series = Series.REGISTERS, **fields: Json
) -> Any:
    """Return an answer of registers as the API of 2026 sends it, with the same meter's other direction beside it.

    ``calendars``: from ``calendar_2026``. ``total``: Wh by midnight. ``fields`` replace fields of the direction.
    """
    consumption = series.description.direction is Direction.CONSUMPTION
    mine, other = ("CONS", "PROD") if consumption else ("PROD", "CONS")
    measured = {"grandeurPhysique": "EA", "unite": "Wh", "points": []}
    beside = {"grandeurMetier": other, **measured, "cadranTotalisateur": _total_2026({"2024-07-01": 7})}
    asked = {"grandeurMetier": mine, **measured, "calendrier": [*calendars]}
    if total is not None:
        asked["cadranTotalisateur"] = _total_2026(total)
    context = {"etapeMetier": "BRUT", "contexteReleve": "COL", "typeReleve": "AQ"}
    context["grandeur"] = [beside, {**asked, **fields}]
    return {"idPrm": USAGE_POINT, "periode": {"dateDebut": "2024-01-15"}, "grandeur": [], "contexte": [context]}


def calendar_2026(name: str, registers: Mapping[str, Mapping[str, Json]]) -> Json:
    """Return a calendar of such an answer; ``registers``: Wh by tariff period and midnight (a day or a label)."""
    periods: list[Json] = [
        {
            "idClasseTemporelle": period,
            "libelleClasseTemporelle": "…",
            "codeCadran": "F2",
            "valeur": _points_2026(values),
        }
        for period, values in registers.items()
    ]
    return {"idCalendrier": name, "libelleCalendrier": "…", "classeTemporelle": periods}


def _total_2026(values: Mapping[str, Json]) -> Json:
    return {"codeCadran": "T", "valeur": _points_2026(values)}


def _points_2026(values: Mapping[str, Json]) -> Json:
    return [{"d": f"{day} 00:00:00" if len(day) == 10 else day, "v": value, "iv": 0} for day, value in values.items()]


def end_labels(day: date, minutes: int = 30) -> list[str]:
    """Return the correct local end labels of a local day: 46, 48 or 50 of them for half-hours."""
    start, step = local_midnight(day).astimezone(UTC), timedelta(minutes=minutes)
    ends = (start + (number + 1) * step for number in range(day_length(day) // step))
    return [end.astimezone(PARIS).strftime("%Y-%m-%d %H:%M:%S") for end in ends]


def generated_day(
    day: str, w0: int, dw: int, points: int, swap: Sequence[int] = (), relabel: Sequence[int] = ()
) -> list[Row]:
    """Return the half-hours of a day; ``swap`` exchanges two rows, ``relabel`` gives a row the label of another."""
    labels = end_labels(date.fromisoformat(day))
    assert len(labels) == points
    if relabel:
        labels[relabel[0]] = labels[relabel[1]]
    rows = [(label, str(w0 + dw * number)) for number, label in enumerate(labels)]
    if swap:
        first, second = swap
        rows[first], rows[second] = rows[second], rows[first]
    return rows


def serving_days(watt_hours: Mapping[date, Json]) -> Callable[[DateWindow], Json]:
    """Return a function that answers a window with those of these days in it, or with None without any."""

    def answer(window: DateWindow) -> Json:
        days = sorted(day for day in watt_hours if window.start <= day < window.end)
        return v5_answer([[day.isoformat(), watt_hours[day]] for day in days], "Wh") if days else None

    return answer


def serving_curves(rows: Mapping[date, Sequence[Row]]) -> Callable[[DateWindow], Json]:
    """Return such a function for load curves; each row belongs to the day in which its step starts."""

    def answer(window: DateWindow) -> Json:
        days = sorted(day for day in rows if window.start <= day < window.end)
        return v5_answer([row for day in days for row in rows[day]], "W") if days else None

    return answer


def curve_of(day: date, watts: int, minutes: int = 30) -> list[Row]:
    """Return a whole day with correct labels, each step one watt above the one before."""
    labels = end_labels(day, minutes)
    return [[label, str(watts + number), f"PT{minutes}M"] for number, label in enumerate(labels)]


def window_job(window: DateWindow, series: Series, account_id: str = "home1", **fields: Any) -> WindowJob:
    base: Any = {
        "account_id": account_id,
        "series": series.value,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "run_id": "20240725T070000",
        "claim": None,
    }
    return WindowJob(**{**base, **fields})


@dataclass
class PretendSupplier:
    """A supplier that answers with a payload, an Answer, an error to raise, or the result of a function.

    ``others``: its answers for other series than ``daily`` and ``curve``; none for missing ones.
    """

    daily: Any = None
    curve: Any = None
    others: dict[Series, Any] = field(default_factory=dict)
    asked: list[tuple[Series, DateWindow]] = field(default_factory=list)

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        prepared = {Series.DAILY: self.daily, Series.LOAD_CURVE: self.curve, **self.others}.get(series)
        self.asked.append((series, window))
        answer = prepared(window) if callable(prepared) else prepared
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Answer):
            return answer
        return Answer(AnswerKind.NO_DATA) if answer is None else Answer(AnswerKind.DATA, answer)


@dataclass
class PretendAccounts:
    """A registry in which every account exists and is ready, except those removed or unknown."""

    removed: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)

    def get(self, account_id: str) -> Account:
        if account_id in self.unknown:
            raise UnknownAccount("no such account")
        state = AccountState.DELETED if account_id in self.removed else AccountState.READY
        return Account(account_id, state, "enedis", NOW, USAGE_POINT)


@dataclass
class MemoryRecorder:
    """A recorder that keeps all results and corrections in memory."""

    results: list[WindowResult] = field(default_factory=list)
    corrections: list[Entry] = field(default_factory=list)
    recent: dict[tuple[str, str], RecentAnswers] = field(default_factory=dict)
    days_in_doubt: set[date] = field(default_factory=set)

    def recent_answers(self, job: WindowJob) -> RecentAnswers:
        return self.recent.get((job["account_id"], job["series"]), RecentAnswers())

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        # Without the readings that are new here: this one does not know what was removed before.
        self.corrections += [entry for entry in entries if entry.replaced_amount != REMOVED]

    def withdraw_corrections(self, job: WindowJob, stored: Mapping[str, int]) -> None:
        pass

    def record_result(self, result: WindowResult) -> None:
        self.results.append(result)
        recent, finished = self.recent_answers(result), FinishedAnswer.of(result)
        self.days_in_doubt |= recent.days_in_doubt(finished)
        self.recent[result["account_id"], result["series"]] = recent.with_answer(finished.answer)


def make_window_sync(
    supplier: PretendSupplier,
    measures: MeasureStore | None = None,
    accounts: PretendAccounts | None = None,
    recorder: MemoryRecorder | None = None,
    now: Callable[[], datetime] = lambda: NOW,
) -> WindowSync:
    return WindowSync(
        accounts=accounts or PretendAccounts(),
        supplier_of=lambda account: supplier,
        measures=measures if measures is not None else memory_measures(),
        recorder=recorder or MemoryRecorder(),
        now=now,
    )


def content(measures: MeasureStore, account_id: str = "home1") -> dict[Doctype, dict[str, float]]:
    """Return all loads stored for an account, by doctype and key."""
    stored = measures.read(account_id, dict.fromkeys(Doctype, ALL_KEYS))
    return {
        period: {document["_id"].partition(":")[2]: document["load"] for document in documents}
        for period, documents in stored.items()
    }
