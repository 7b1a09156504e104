"""The documents that a store must hold for a meter, computed independently of the worker, and how a store differs.

Demo, drill and tests compare with these figures, which come from the simulator's values by arithmetic of their own:
the worker's sums must not judge themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Self

import requests

from worker.domain.measures.documents import Document
from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Doctype, Series
from worker.runtime.process import Runtime
from worker.stores.measures.base import ALL_KEYS

# For each kind of document its load in kWh by its key, like {Doctype.HOUR: {"2024-07-10T14:00Z": 0.412}}.
Loads = dict[Doctype, dict[str, float]]
_DECIMALS: Final = {Doctype.MINUTE: 6, Doctype.HOUR: 4, Doctype.DAY: 3, Doctype.MONTH: 4, Doctype.YEAR: 4}
_READINGS: Final = (Doctype.MINUTE, Doctype.DAY)
_CIVIL: Final = ("year", "month", "day", "hour", "minute", "fold")
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Truth:
    """Ground truth: what a meter measured.

    ``daily``: Wh by day.  ``curve``: for each step its start in UTC as ISO text, its minutes and its mean power in W.
    """

    daily: Mapping[str, float]
    curve: Sequence[Sequence[Any]]

    @classmethod
    def fetch(cls, simulator: str, usage_point: str, daily: DateWindow, curve: DateWindow) -> Self:
        """Return what the simulator at this URL says that the meter measured.  Raises the errors of requests."""
        days = _fetch_truth(simulator, usage_point, daily, series="daily")["daily"]
        return cls(days, _fetch_truth(simulator, usage_point, curve)["load_curve"])

    def expected_loads(self) -> Loads:
        """Return the load of every reading and total that a right store holds."""
        wh: dict[Doctype, defaultdict[str, Decimal]] = {doctype: defaultdict(Decimal) for doctype in Doctype}
        for start, minutes, watts in self.curve:
            begin, energy = datetime.fromisoformat(start), Decimal(str(watts)) * minutes / 60
            wh[Doctype.MINUTE][f"{begin:%Y-%m-%dT%H:%MZ}"] += energy
            wh[Doctype.HOUR][f"{begin:%Y-%m-%dT%H:00Z}"] += energy
        for day, value in self.daily.items():
            for doctype, length in ((Doctype.DAY, 10), (Doctype.MONTH, 7), (Doctype.YEAR, 4)):
                wh[doctype][day[:length]] += Decimal(str(value))
        return {doctype: {key: _load(value, doctype) for key, value in sums.items()} for doctype, sums in wh.items()}


# Counts of documents that differ from the truth.  ``lost``: readings that are not stored.  ``doubled``: documents
# beyond the first of one moment.  ``wrong``: readings of another value, or never measured.  ``wrong_totals``: totals
# missing, of another value, or of nothing.  ``wrong_zeros``: zeros stored where none was measured.
Differences = Counter[str]
DIFFERENCES: Final = ("lost", "doubled", "wrong", "wrong_totals", "wrong_zeros")


def read_account(
    runtime: Runtime, simulator: str, usage_point: str, account_id: str
) -> tuple[Loads, dict[Doctype, list[Document]]]:
    """Return the loads that a right store holds of an account's history, and all documents that the store has."""
    daily, curve = (runtime.history.wanted_window(series) for series in (Series.DAILY, Series.LOAD_CURVE))
    if daily is None or curve is None:
        raise ValueError("the settings name no history of both series")
    truth = Truth.fetch(simulator, usage_point, daily, curve)
    stored = runtime.measures.read(account_id, dict.fromkeys(Doctype, ALL_KEYS))
    return truth.expected_loads(), stored


def find_differences(truth: Loads, stored: Mapping[Doctype, Sequence[Mapping[str, Any]]]) -> Differences:
    """Count how an account's documents, as the store returns them, differ from the expected loads."""
    differences = Differences()
    for doctype in Doctype:
        differences += _compare_period(doctype, truth[doctype], stored[doctype])
    return differences


def loads_by_key(documents: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the documents' loads in kWh by their keys."""
    return {document["_id"].partition(":")[2]: document["load"] for document in documents}


def count_repeats(documents: Sequence[Mapping[str, Any]]) -> int:
    """Return how many documents there are beyond the first of each civil time."""
    return len(documents) - len({tuple(document.get(name) for name in _CIVIL) for document in documents})


def _compare_period(
    doctype: Doctype, truth: Mapping[str, float], documents: Sequence[Mapping[str, Any]]
) -> Differences:
    stored = loads_by_key(documents)
    different = {key for key, load in stored.items() if truth.get(key) != load}
    zeros = sum(stored[key] == 0 for key in different)
    missing, values = len(truth.keys() - stored.keys()), len(different) - zeros
    doubled = count_repeats(documents)
    if doctype in _READINGS:
        return Differences(lost=missing, doubled=doubled, wrong=values, wrong_zeros=zeros)
    return Differences(doubled=doubled, wrong_totals=missing + values, wrong_zeros=zeros)


def _load(wh: Decimal, doctype: Doctype) -> float:
    return float((wh / 1000).quantize(Decimal(1).scaleb(-_DECIMALS[doctype]), ROUND_HALF_UP))


def _fetch_truth(simulator: str, usage_point: str, window: DateWindow, **further: str) -> Any:
    days = {"start": window.start.isoformat(), "end": window.end.isoformat(), **further}
    answer = requests.get(f"{simulator}/__sim__/truth/{usage_point}", params=days, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return answer.json()
