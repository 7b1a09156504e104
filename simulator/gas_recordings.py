"""Recorded gas homes, and the fictitious meters of GRDF's sandbox ("bas") with their rights.

The former are the days and periods of the files ``PCE.gas_daily.csv`` and ``PCE.gas_published.csv``; the numbers of the
latter are public test ids.

Source of the sandbox: the table of requests to it of the public client lowatt-grdf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Any, Final, NamedTuple

from simulator.gas_homes import GasMeterSwitches, GasReading, PeriodCuts
from worker.domain.access_right import RightState

_USUAL_READING_DAY = 3
ALL_SCOPES: Final = frozenset({"informatives", "publiees", "contractuelles", "techniques"})


@dataclass(slots=True)
class RecordedGasHome:
    """Recorded gas home, served as it is; a kind of values without a file has none at all."""

    days: dict[date, GasReading] = field(default_factory=dict)
    periods: list[GasReading] = field(default_factory=list)

    @property
    def activated_on(self) -> date:
        """The day on which its records begin."""
        return min(reading.start for reading in chain(self.days.values(), self.periods))

    @property
    def communicating_from(self) -> date:
        """The day on which its daily values begin."""
        return min(self.days, default=date.max)

    @property
    def frequency(self) -> str:
        """How often its meter is read: a home without daily values has no communicating meter."""
        return "1M" if self.days else "6M"

    @property
    def reading_day(self) -> int:
        """The day of the month on which it was read last, apart from the first of a month."""
        starts = [period.start.day for period in self.periods if period.start.day not in (1, 29, 30, 31)]
        return starts[-1] if starts else _USUAL_READING_DAY

    @property
    def no_daily_code(self) -> str:
        """The code with which GRDF refuses its daily values if it has none."""
        return "1000008"

    @property
    def annual_reference(self) -> int:
        """The annual reference consumption (CAR), in kWh: what the last periods of a year add up to."""
        total = Decimal(0)
        for period in reversed(self.periods):
            if (self.periods[-1].end - period.start).days > 366:
                break
            total += period.energy or 0
        return round(total)

    def day(self, day: date) -> GasReading | None:
        """Return the recorded values of a gas day; None if there are none."""
        return self.days.get(day)

    def provisional(self, day: date) -> GasReading | None:
        """Return what was published of a gas day before its month was final: the same."""
        return self.days.get(day)

    def cut_into(self, cuts: PeriodCuts, first: date, last: date) -> Sequence[GasReading]:
        """Return the recorded periods that lie between two days; their cuts are those of the file."""
        return [period for period in self.periods if first <= period.start and period.end <= last]


def merge_gas(homes: Mapping[str, RecordedGasHome]) -> dict[str, RecordedGasHome]:
    """Return the homes with their periods in order, each once."""
    for home in homes.values():
        home.periods = sorted({period.start: period for period in home.periods}.values())
    return dict(homes)


class SandboxPce(NamedTuple):
    """A meter of the sandbox: its switches, and its right, whose state None stands for no right at all.

    ``covers``: what the right covers.  ``ended_by``: who ended it.  ``data_from``: the first day that may be read.
    """

    switches: GasMeterSwitches
    state: RightState | None = RightState.ACTIVE
    covers: frozenset[str] = ALL_SCOPES
    ended_by: str | None = None
    data_from: date | None = None
    last_day: date | None = None


def _pce(
    state: RightState | None = RightState.ACTIVE,
    without: str = "",
    ended_by: str | None = None,
    data_from: date | None = None,
    last_day: date | None = None,
    **switches: Any,
) -> SandboxPce:
    usual: dict[str, Any] = {"frequency": "1M", "communicating_from": date(2019, 1, 1)}
    covers = ALL_SCOPES - set(without.split())
    return SandboxPce(GasMeterSwitches(**usual | switches), state, covers, ended_by, data_from, last_day)


SANDBOX_METERS: Final[Mapping[str, SandboxPce]] = {
    "GI151947": _pce(),  # Daily values.
    "GI999947": _pce(frequency="MM"),  # The rules on dates.
    "09999999900617": _pce(activated_on=date(2021, 8, 2)),
    "GI999055": _pce(without="techniques", frequency="JJ"),
    "GI999159": _pce(frequency="JJ"),
    "09999999900112": _pce(state=None),
    "09999999930215": _pce(state=RightState.OBSOLETE, last_day=date(2023, 8, 31)),  # Expired.
    "09999999932770": _pce(state=RightState.REVOKED, ended_by="TITULAIRE"),
    "09999999970626": _pce(state=RightState.REVOKED, ended_by="TIERS"),
    "09999999975102": _pce(without="informatives contractuelles", frequency="6M", data_from=date(2021, 11, 15)),
    "GI999092": _pce(moved_out=True),
    "GI999602": _pce(state=RightState.TO_CHECK),
    "GI999054": _pce(failing_days=(date(2023, 6, 1),), frequency="MM"),  # It fails in the middle of the stream.
    "09999999928289": _pce(replaced_on=date(2023, 3, 29), communicating_from=date(2023, 8, 14)),
}
