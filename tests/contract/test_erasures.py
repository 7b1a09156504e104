"""The memory of erased meters, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from tests.support.registries import METER, NOW, OTHER_METER, all_rows
from worker.stores.encryption import KeyedHashes
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.erasures import ErasureTable

OLD, NEW = "o" * 40, "n" * 40
A_DAY = timedelta(days=1)
END = date(2027, 7, 24)


def remember(registry: AccountRegistry, moment: datetime, key: str = OLD, forget_on: date = END) -> ErasureTable:
    table = ErasureTable(registry.database, KeyedHashes([key]))
    with registry.database.writing() as connection:
        table.remember(connection, table.digests("enedis", METER)[0], moment, forget_on)
    return table


def find(
    registry: AccountRegistry, table: ErasureTable, meter: str = METER, supplier: str = "enedis"
) -> datetime | None:
    with registry.database.reading() as connection:
        return table.find(connection, supplier, meter)


def test_an_erased_meter_is_known_and_not_written(registry: AccountRegistry) -> None:
    table = remember(registry, NOW)
    assert find(registry, table) == NOW
    assert find(registry, table, OTHER_METER) is None
    assert find(registry, table, supplier="grdf") is None
    assert METER not in str(all_rows(registry.database))


def test_the_latest_erasure_counts_in_whatever_order_they_come(registry: AccountRegistry) -> None:
    table = remember(registry, NOW + A_DAY)
    remember(registry, NOW)
    assert find(registry, table) == NOW + A_DAY


def test_an_erasure_under_an_older_key_is_known_while_the_key_is_kept(registry: AccountRegistry) -> None:
    remember(registry, NOW)
    rotated = ErasureTable(registry.database, KeyedHashes([NEW, OLD]))
    assert find(registry, rotated) == NOW
    remember(registry, NOW + A_DAY, NEW)
    assert find(registry, rotated) == NOW + A_DAY


def test_an_erasure_is_forgotten_on_its_day(registry: AccountRegistry) -> None:
    table = remember(registry, NOW)
    assert table.forget_before(END - A_DAY) == 0 and find(registry, table) == NOW
    assert table.forget_before(END) == 1 and find(registry, table) is None
