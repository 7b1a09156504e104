"""The choice of the series that are collected for an account, on the command line, in the API or on a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydantic import BaseModel, Field

from worker.accounts.status import EXAMPLE_ID
from worker.domain.clock import Clock
from worker.domain.series import Series, SeriesSwitch
from worker.stores.registry.outcomes import OutcomeTable
from worker.stores.registry.series_switches import ChosenSeries

# The switches that a person may choose; only the supplier can make a series ``ended``.
CHOICES: Final = (SeriesSwitch.ON, SeriesSwitch.OFF, SeriesSwitch.FLEET)


class SeriesState(BaseModel):
    switch: SeriesSwitch = Field(
        description="`fleet`: follows RELEVE_SERIES; `on`, `off`: chosen for this account; `ended`: the supplier "
        "does not offer it for this meter, or the consent does not cover it."
    )
    collected: bool = Field(description="Whether it is collected.")
    offered: bool = Field(description="Whether the supplier's API offers it.")
    asked_at: datetime | None = Field(description="When its last days were last fetched.")
    last_day: date | None = Field(description="The last day that is stored.")
    error: str | None = Field(description="Code of the last failure, null after a success.")


class AccountSeries(BaseModel):
    """The series of one account, as `releve accounts series --json` prints them."""

    account: str = Field(examples=[EXAMPLE_ID])
    series: dict[Series, SeriesState]


@dataclass(frozen=True, kw_only=True)
class SeriesChooser:
    """Shows and changes which series are collected for an account.

    ``is_offered``: returns whether the supplier's preset has a series. Stored readings stay, whatever is chosen.
    """

    outcomes: OutcomeTable
    is_offered: Callable[[Series], bool]
    now: Clock

    def load(self, account_id: str) -> AccountSeries:
        """Return the state of every series of the account, which must exist."""
        states = {chosen.series: self._to_state(chosen) for chosen in self.outcomes.list_chosen(account_id)}
        return AccountSeries(account=account_id, series=states)

    def choose(self, account_id: str, switches: Mapping[Series, SeriesSwitch]) -> bool:
        """Set these switches, and return whether a series is collected now that was not before. Safe to repeat.

        Raises UnknownAccount. Raises ValueError, before anything is changed, for a series that the supplier does not
        offer and for a switch that nobody may choose.
        """
        known = {chosen.series for chosen in self.outcomes.list_chosen(account_id)}
        for series, switch in switches.items():
            if series not in known:
                raise ValueError(f"this meter's supplier has no series {series}")
            if switch not in CHOICES:
                raise ValueError(f"{series} can be set to {', '.join(CHOICES)}")
            if switch is SeriesSwitch.ON and not self.is_offered(series):
                raise ValueError(f"the supplier's API (RELEVE_PRESET) does not offer {series}")
        before = set(self.outcomes.collected(account_id))
        for series, switch in switches.items():
            self.outcomes.switch(account_id, series, switch, self.now())
        return not before.issuperset(self.outcomes.collected(account_id))

    def _to_state(self, chosen: ChosenSeries) -> SeriesState:
        return SeriesState(
            switch=chosen.switch,
            collected=chosen.collected,
            offered=self.is_offered(chosen.series),
            asked_at=chosen.asked_at,
            last_day=chosen.last_day,
            error=chosen.code,
        )
