"""What a store must hold, worked out from a meter's own figures by other arithmetic than the worker's; how it differs.

Serves demo, drill and tests: none of them may take the engine's own sums for the truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Self

import requests

from worker.domain.measures.readings import DateWindow, Period

Content = dict[Period, dict[str, float]]  # load in kWh by key
_DECIMALS: Final = {Period.MINUTE: 6, Period.HOUR: 4, Period.DAY: 3, Period.MONTH: 4, Period.YEAR: 4}
_READINGS: Final = (Period.MINUTE, Period.DAY)
_CIVIL: Final = ("year", "month", "day", "hour", "minute", "fold")
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Truth:
    """``daily``: Wh by day.  ``curve``: start in UTC as text, minutes, mean W of each step."""

    daily: Mapping[str, float]
    curve: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, simulator: str, usage_point: str, daily: DateWindow, curve: DateWindow) -> Self:
        """What the simulator at that URL says the meter measured; raises requests' errors."""
        days = _ask(simulator, usage_point, daily, series="daily")["daily"]
        return cls(days, _ask(simulator, usage_point, curve)["load_curve"])

    def content(self) -> Content:
        wh: dict[Period, defaultdict[str, Decimal]] = {period: defaultdict(Decimal) for period in Period}
        for start, minutes, watts in self.curve:
            moment, energy = datetime.fromisoformat(start), Decimal(str(watts)) * minutes / 60
            wh[Period.MINUTE][f"{moment:%Y-%m-%dT%H:%MZ}"] += energy
            wh[Period.HOUR][f"{moment:%Y-%m-%dT%H:00Z}"] += energy
        for day, value in self.daily.items():
            for period, length in ((Period.DAY, 10), (Period.MONTH, 7), (Period.YEAR, 4)):
                wh[period][day[:length]] += Decimal(str(value))
        return {period: {key: _load(value, period) for key, value in sums.items()} for period, sums in wh.items()}


@dataclass(frozen=True)
class Differences:
    """Counts of documents.

    ``lost``: readings that are not stored.  ``doubled``: documents beyond the first of one moment.  ``wrong``:
    readings of another value, or never measured.  ``wrong_totals``: totals missing, of another value, or of
    nothing.  ``wrong_zeros``: zeros stored where none was measured.
    """

    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    wrong_totals: int = 0
    wrong_zeros: int = 0

    def __bool__(self) -> bool:
        return any(self.as_json().values())

    def __add__(self, other: Differences) -> Differences:
        mine, others = self.as_json(), other.as_json()
        return Differences(**{name: mine[name] + others[name] for name in mine})

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def differences(truth: Content, stored: Mapping[Period, Sequence[Mapping[str, Any]]]) -> Differences:
    """How an account's documents (all of a doctype, as the store gives them) differ from what was measured."""
    found = Differences()
    for period in Period:
        found += _of_period(period, truth[period], stored[period])
    return found


def loads(documents: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """kWh by key."""
    return {document["_id"].partition(":")[2]: document["load"] for document in documents}


def repeats(documents: Sequence[Mapping[str, Any]]) -> int:
    """How many documents there are beyond the first of each civil moment."""
    return len(documents) - len({tuple(document.get(name) for name in _CIVIL) for document in documents})


def _of_period(period: Period, truth: Mapping[str, float], documents: Sequence[Mapping[str, Any]]) -> Differences:
    stored = loads(documents)
    different = {key for key, load in stored.items() if truth.get(key) != load}
    zeros = sum(stored[key] == 0 for key in different)
    missing, values = len(truth.keys() - stored.keys()), len(different) - zeros
    doubled = repeats(documents)
    if period in _READINGS:
        return Differences(lost=missing, doubled=doubled, wrong=values, wrong_zeros=zeros)
    return Differences(doubled=doubled, wrong_totals=missing + values, wrong_zeros=zeros)


def _load(wh: Decimal, period: Period) -> float:
    return float((wh / 1000).quantize(Decimal(1).scaleb(-_DECIMALS[period]), ROUND_HALF_UP))


def _ask(simulator: str, usage_point: str, window: DateWindow, **further: str) -> Any:
    days = {"start": window.start.isoformat(), "end": window.end.isoformat(), **further}
    answer = requests.get(f"{simulator}/__sim__/truth/{usage_point}", params=days, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return answer.json()
