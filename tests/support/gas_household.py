"""A household with gas on 25 July 2024, stored without a parser: two months of days, one absent, a published June."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tests.support.gas_entries import gas_day, gas_period
from tests.support.registries import switch_on
from tests.support.whole_homes import fetched_of
from worker.domain.documents import Entry
from worker.domain.messages import WindowResult
from worker.domain.series import Series, contract_series, daily_of, intervals_of, of_supplier
from worker.domain.windows import ONE_DAY, DateWindow

GAS_METER = "01234567890123"
DAILY, PUBLISHED, CONTRACT = daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")
FIRST, ABSENT, NEWEST = date(2024, 6, 1), date(2024, 7, 10), date(2024, 7, 22)
TODAY = date(2024, 7, 25)


@dataclass
class GasHousehold:
    """``service``: a household of unit tests, or ``Parts``."""

    service: Any
    frequency: str = "1M"
    june_kwh: str = "987.5"
    account: str = ""
    days: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        now = self.service.stores.now()
        account, _ = self.service.stores.registry.accounts.add("grdf", GAS_METER, now, token_needed=False)
        self.account = account.id
        switch_on(self.service.stores.registry, self.account, *of_supplier("grdf"))
        days = [FIRST + number * ONE_DAY for number in range((NEWEST - FIRST).days + 1)]
        self.days = [gas_day(day, "33", _status(day), volume=2.9) for day in days if day != ABSENT]
        rest = f"{float(self.june_kwh) - 66:.3f}"
        periods = [gas_period(FIRST, "2024-06-03", "66"), gas_period("2024-06-03", "2024-07-01", rest)]
        details = {"frequency": self.frequency, "transport_tariff": "T2", "activated_on": "2018-08-31"}
        if self.frequency == "1M":  # Others have no daily values.
            self.sync(DAILY, self.days, DateWindow(FIRST, TODAY))
        self.sync(PUBLISHED, periods, DateWindow(FIRST, TODAY))
        self.sync(
            CONTRACT, [Entry(str(TODAY - ONE_DAY), 9_426_000_000, details=details)], DateWindow(TODAY - ONE_DAY, TODAY)
        )

    def sync(self, series: Series, entries: Iterable[Entry], window: DateWindow) -> WindowResult:
        """Store these entries as the answer for a window."""
        window_sync = getattr(self.service, "window_sync", self.service.sync.window)
        fetched = fetched_of(self.service.sync.claims.to_job(self.account, series, window), list(entries), window_sync)
        result: WindowResult = window_sync.store(window_sync.aggregate(window_sync.filter_known(fetched)))
        return result


def _status(day: date) -> str:
    return "provisional" if day >= date(2024, 7, 1) else "final"
