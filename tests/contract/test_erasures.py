"""The memory of erased meters, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection

from tests.support.registries import METER, NOW, OTHER_METER, add_ready, all_rows
from worker.stores.encryption import KeyedHashes
from worker.stores.registry import Registry
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.erased_meters import ErasureTable

OLD, NEW = "o" * 40, "n" * 40
A_DAY = timedelta(days=1)
END = date(2027, 7, 24)


def remember(registry: Registry, moment: datetime, key: str = OLD, forget_on: date = END) -> ErasureTable:
    table = ErasureTable(registry.database, KeyedHashes([key]))
    with registry.database.writing() as connection:
        table.remember(connection, table.digests("enedis", METER)[0], moment, forget_on)
    return table


def find(registry: Registry, table: ErasureTable, meter: str = METER, supplier: str = "enedis") -> datetime | None:
    with registry.database.reading() as connection:
        return table.find(connection, supplier, meter)


def test_an_erased_meter_is_known_and_not_written(registry: Registry) -> None:
    table = remember(registry, NOW)
    assert find(registry, table) == NOW
    assert find(registry, table, OTHER_METER) is None
    assert find(registry, table, supplier="grdf") is None
    assert METER not in str(all_rows(registry.database))


def test_the_latest_erasure_counts_in_whatever_order_they_come(registry: Registry) -> None:
    table = remember(registry, NOW + A_DAY)
    remember(registry, NOW)
    assert find(registry, table) == NOW + A_DAY


def test_a_second_erasure_does_not_shorten_the_memory_of_the_first(registry: Registry) -> None:
    table = remember(registry, NOW)
    remember(registry, NOW + A_DAY, forget_on=END - 100 * A_DAY)
    assert table.forget_before(END - A_DAY) == 0 and find(registry, table) == NOW + A_DAY


def test_an_erasure_under_an_older_key_is_known_while_the_key_is_kept(registry: Registry) -> None:
    remember(registry, NOW)
    rotated = ErasureTable(registry.database, KeyedHashes([NEW, OLD]))
    assert find(registry, rotated) == NOW
    remember(registry, NOW + A_DAY, NEW)
    assert find(registry, rotated) == NOW + A_DAY


def test_an_erasure_is_forgotten_on_its_day(registry: Registry) -> None:
    table = remember(registry, NOW)
    assert table.forget_before(END - A_DAY) == 0 and find(registry, table) == NOW
    assert table.forget_before(END) == 1 and find(registry, table) is None


class _Refused(Exception):
    """The proof is older than the erasure."""


def remember_in(table: ErasureTable, moment: datetime = NOW) -> partial[None]:
    return partial(table.remember, meter=table.digests("enedis", METER)[0], erased_at=moment, forget_on=END)


def test_a_removal_remembers_the_meter_and_a_second_one_moves_nothing(registry: Registry) -> None:
    table = ErasureTable(registry.database, KeyedHashes([OLD]))
    account = add_ready(registry)
    registry.accounts.remove(account, NOW, remember_in(table))
    assert find(registry, table) == NOW
    rows = all_rows(registry.database)
    registry.accounts.remove(account, NOW, remember_in(table, NOW + A_DAY))
    assert all_rows(registry.database) == rows


def test_a_removal_that_can_not_remember_removes_nothing(registry: Registry) -> None:
    account = add_ready(registry)

    def fail(_: Connection) -> None:
        raise _Refused

    with pytest.raises(_Refused):
        registry.accounts.remove(account, NOW, fail)
    assert registry.accounts.find("enedis", METER) is not None


def test_a_proof_and_an_erasure_at_the_same_moment_leave_no_account(registry: Registry) -> None:
    """The proof is older: it renews the account, which is erased then, or it is refused."""
    table = ErasureTable(registry.database, KeyedHashes([OLD]))

    def refuse(connection: Connection, _: Sequence[str]) -> None:
        if table.find(connection, "enedis", METER) is not None:
            raise _Refused

    def prove() -> bool:
        try:
            registry.accounts.add_all("enedis", [METER], NOW, NewConsent(token_needed=False), on_accounts=refuse)
        except _Refused:
            return False
        return True

    account = add_ready(registry)
    with ThreadPoolExecutor(8) as threads:
        proofs = [threads.submit(prove) for _ in range(4)]
        removal = threads.submit(registry.accounts.remove, account, NOW, remember_in(table))
        proofs += [threads.submit(prove) for _ in range(4)]
        removal.result()
        outcomes = [proof.result() for proof in proofs]
    assert registry.accounts.find("enedis", METER) is None
    assert not prove() and len(outcomes) == 8
