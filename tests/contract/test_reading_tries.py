"""Wrong tries to prove a meter by a reading: three a day, ten in all, whoever tries."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from worker.stores.encryption import KeyedHashes
from worker.stores.registry import Registry
from worker.stores.registry.erased_meters import ReadingTryTable

TODAY = date(2026, 11, 26)
METER, OTHER = "30001640000011", "30001640000022"
OLD_KEY, NEW_KEY = "o" * 40, "n" * 40


@pytest.fixture
def tries(registry: Registry) -> ReadingTryTable:
    return ReadingTryTable(registry.database, KeyedHashes([OLD_KEY]))


def test_a_meter_has_three_tries_a_day_and_another_one_its_own(tries: ReadingTryTable) -> None:
    for _ in range(3):
        assert tries.may_try("enedis", METER, TODAY)
        assert not tries.count_wrong("enedis", METER, TODAY)
    assert not tries.may_try("enedis", METER, TODAY)
    assert tries.may_try("enedis", OTHER, TODAY)
    assert tries.may_try("gas", METER, TODAY)
    assert tries.may_try("enedis", METER, TODAY + timedelta(days=1))


def test_after_ten_wrong_ones_it_stays_closed_until_somebody_opens_it(tries: ReadingTryTable) -> None:
    closed = [tries.count_wrong("enedis", METER, TODAY + timedelta(days=number // 3)) for number in range(10)]
    assert closed == [False] * 9 + [True]
    assert not tries.may_try("enedis", METER, TODAY + timedelta(days=400))
    assert tries.forget("enedis", METER)
    assert tries.may_try("enedis", METER, TODAY)
    assert not tries.forget("enedis", METER)


def test_tries_under_a_key_of_before_count(tries: ReadingTryTable, registry: Registry) -> None:
    for _ in range(2):
        tries.count_wrong("enedis", METER, TODAY)
    rotated = ReadingTryTable(registry.database, KeyedHashes([NEW_KEY, OLD_KEY]))
    rotated.count_wrong("enedis", METER, TODAY)
    assert not rotated.may_try("enedis", METER, TODAY)
