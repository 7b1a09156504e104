"""Proof P4: what is asked of the supplier about a typed reading, what it proves, and what a try costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import PretendSupplier, calendar_2026, registers_2026
from tests.support.fakes import NoLocks
from tests.support.registries import METER, new_registry
from worker.accounts.connect import MeterReadings
from worker.domain.connection_request import ConnectionRequest
from worker.domain.consents import SharedMeter
from worker.domain.series import registers_of
from worker.domain.windows import DateWindow
from worker.errors import OperatorFault, SeriesNotOffered, SupplierUnavailable, WorkerError
from worker.stores.encryption import KeyedHashes
from worker.stores.registry import Registry
from worker.stores.registry.erased_meters import ReadingTryTable

NOW = datetime(2024, 7, 25, 10, tzinfo=UTC)  # 12:00 in Paris: 36 h after the midnight that the supplier tells.
TODAY = date(2024, 7, 25)
SHARED = SharedMeter(METER, since=TODAY)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with new_registry(tmp_path) as opened:
        yield opened


REQUEST = ConnectionRequest(
    id="r", supplier="enedis", browser="b", begun_on=TODAY, created_at=NOW, autorisation_id=900001
)
RIGHT = {"HC": 4321, "HP": 7700}


class Stand:
    """The use case over an empty registry and a supplier that answers as it is told."""

    def __init__(self, registry: Registry, index: Any) -> None:
        self.supplier = PretendSupplier(others={registers_of(): index})
        self.tries = ReadingTryTable(registry.database, KeyedHashes(["k" * 40]))
        self.readings = MeterReadings(
            client_of=lambda supplier: self.supplier,
            tries=self.tries,
            locks=NoLocks(METER),  # type: ignore[arg-type]
            now=lambda: NOW,
            offered=True,
        )

    def type(self, *meters: SharedMeter, **shown: int) -> SharedMeter | None:
        return self.readings.confirm(replace(REQUEST, readings=shown), meters or (SHARED,))

    @property
    def calls(self) -> int:
        return len(self.supplier.asked)


def index_of(*midnights: str) -> Any:
    """Return the registers of midnights, the last as ``INDEX`` has them, and 20 kWh less at each one before."""
    before = len(midnights) - 1
    hc = {day: 4_321_700 - 5_000 * (before - place) for place, day in enumerate(midnights)}
    hp = {day: 7_654_300 - 15_000 * (before - place) for place, day in enumerate(midnights)}
    return registers_2026(calendar_2026("FC000040", {"HC": hc, "HP": hp}))


INDEX = index_of("2024-07-22", "2024-07-23", "2024-07-24")


def test_a_right_reading_proves_the_one_meter_of_the_consent(registry: Registry) -> None:
    stand = Stand(registry, INDEX)
    assert stand.type(**RIGHT) == SHARED
    assert stand.supplier.asked == [(registers_of(), DateWindow(date(2024, 7, 10), TODAY))]  # And nothing else.


def test_wrong_readings_are_three_a_day_and_then_cost_no_call(registry: Registry) -> None:
    stand = Stand(registry, INDEX)
    for _ in range(3):
        assert stand.type(HC=4321, HP=9999) is None
    calls = stand.calls
    assert stand.type(**RIGHT) is None
    assert stand.calls == calls


def test_a_number_that_only_the_subscribed_power_would_allow_is_no_reading(registry: Registry) -> None:
    shown = {"HC": 4321, "HP": 7654 + 60}  # Twice 20 kWh a day, for 36 h.
    assert Stand(registry, INDEX).type(**shown) == SHARED
    for more in (1, 156):  # 216 kWh in 36 h are 6 kVA.
        assert Stand(registry, INDEX).type(**{**shown, "HP": shown["HP"] + more}) is None


@pytest.mark.parametrize(("newest", "is_right"), [("2024-07-23", True), ("2024-07-22", False)])
def test_the_newest_midnight_is_at_most_two_days_old(registry: Registry, newest: str, is_right: bool) -> None:
    stand = Stand(registry, index_of("2024-07-21", newest))
    assert (stand.type(HC=4321, HP=7654) == SHARED) is is_right
    assert stand.tries.may_try("enedis", METER, TODAY)


@pytest.mark.parametrize(
    "meters",
    [
        (),
        (SHARED, SharedMeter("30001640000022", since=TODAY)),
        (SharedMeter(METER, since=TODAY - timedelta(days=1)),),
        (SharedMeter(METER, since=TODAY + timedelta(days=1)),),
        (SharedMeter(METER),),
    ],
    ids=["no meter", "two meters", "an older consent", "a later consent", "no date"],
)
def test_a_consent_that_proves_nothing_costs_no_call(registry: Registry, meters: tuple[SharedMeter, ...]) -> None:
    stand = Stand(registry, INDEX)
    assert stand.readings.confirm(replace(REQUEST, readings=RIGHT), meters) is None
    assert stand.calls == 0


@pytest.mark.parametrize("index", [None, SeriesNotOffered("none"), OperatorFault("900908")])
def test_where_there_is_nothing_to_compare_with_no_try_is_counted(registry: Registry, index: Any) -> None:
    stand = Stand(registry, index)
    for _ in range(5):
        assert stand.type(**RIGHT) is None
    assert stand.tries.may_try("enedis", METER, TODAY)


def test_a_silent_supplier_costs_no_try(registry: Registry) -> None:
    silent: list[WorkerError] = [SupplierUnavailable("away")]
    for error in silent:
        stand = Stand(registry, error)
        with pytest.raises(SupplierUnavailable):
            stand.type(**RIGHT)
        assert stand.tries.may_try("enedis", METER, TODAY)


def test_a_supplier_without_registers_proves_nothing(registry: Registry) -> None:
    stand = Stand(registry, INDEX)
    without = replace(stand.readings, offered=False)
    assert without.confirm(replace(REQUEST, readings=RIGHT), (SHARED,)) is None
    assert stand.calls == 0
