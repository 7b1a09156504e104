"""A household to explain: a month of values, a curve without its last two days, one corrected value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date

from tests.support.factories import NOW, PretendSupplier, Row, curve_of, serving_curves, serving_days
from tests.support.parts import Parts
from tests.support.registries import record_consent
from worker.domain.consents import ConsentKind
from worker.domain.series import USUAL_SERIES
from worker.domain.windows import ONE_DAY

METER = "30001640000011"
TOKEN = "CANARY-token-0123456789-abcdefghij"
WATT_HOURS, CORRECTED = 10_879, 10_997


@dataclass
class ExplainedHousehold:
    """An account on 25 July 2024, without the curves of the 23rd and 24th, with a corrected value of the 23rd."""

    parts: Parts
    account_id: str = ""
    values: dict[date, int] = field(default_factory=dict)
    rows: dict[date, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        account, _ = self.parts.stores.registry.accounts.add("enedis", METER, NOW, token=TOKEN)
        self.account_id = account.id
        record_consent(
            self.parts.stores.registry.consents, account.id, ConsentKind.AUTORISATION, NOW, reference="CANARY-reference"
        )
        days = [self.parts.sync.history.today() - age * ONE_DAY for age in range(1, 31)]
        self.rows = {day: curve_of(day, 431) for day in days[2:]}
        self.values = dict.fromkeys(days, WATT_HOURS)
        self.sync()
        self.values[days[1]] = CORRECTED
        self.sync()

    def sync(self) -> None:
        supplier = PretendSupplier(serving_days(self.values), serving_curves(self.rows))
        sync = replace(self.parts.sync.window, supplier_of=lambda _: supplier)
        for series in USUAL_SERIES:
            sync.sync_window(self.parts.sync.claims.manual_look_back(self.account_id, series))
