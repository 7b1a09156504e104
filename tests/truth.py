"""What a store must hold, worked out from a meter's own figures by other arithmetic than the worker's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from worker.domain.readings import Period

Content = dict[Period, dict[str, float]]  # load in kWh by key
_DECIMALS = {Period.MINUTE: 6, Period.HOUR: 4, Period.DAY: 3, Period.MONTH: 4, Period.YEAR: 4}


@dataclass(frozen=True)
class Truth:
    """``daily``: Wh by day.  ``curve``: start in UTC as text, minutes, mean W of each step."""

    daily: Mapping[str, float]
    curve: Sequence[Sequence[Any]]

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


def _load(wh: Decimal, period: Period) -> float:
    return float((wh / 1000).quantize(Decimal(1).scaleb(-_DECIMALS[period]), ROUND_HALF_UP))
