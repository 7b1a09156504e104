"""Kept answers and the quarantine keep their promises on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.factories import USAGE_POINT, curve_of, v5_answer
from worker.domain.consent.consents import Notice, NoticeKind
from worker.domain.measures.answer_shapes import Deviation, DeviationKind
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.readings import ONE_DAY, DateWindow, Series
from worker.errors import OperatorFault, UnknownAccount
from worker.stores.encryption import Sealer, new_key
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.notices import NoticeTable
from worker.stores.registry.overview import Overview
from worker.stores.registry.raw_answers import RawAnswerTable
from worker.stores.registry.tables import QUARANTINE, RAW_ANSWERS
from worker.stores.registry.unknown_answers import MOST_ROWS, Noted, QuarantineTable

OLD, NEW = new_key(), new_key()
MAY = datetime(2024, 5, 3, 7, 0, tzinfo=UTC)
NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AccountRegistry]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/registry.db"
    else:
        url = request.getfixturevalue("postgres_database").replace("postgresql://", "postgresql+psycopg://")
    registry = AccountRegistry(url, Sealer([OLD]))
    registry.migrate()
    yield registry
    registry.close()


def vault_of(registry: AccountRegistry, *keys: str) -> RawAnswerTable:
    return RawAnswerTable(registry.database, Sealer(keys or [OLD]))


def add(registry: AccountRegistry, number: int = 11) -> str:
    return registry.add("enedis", f"300016400000{number}", NOW, token_needed=False)[0].id


def told(at: datetime, series: Series = Series.LOAD_CURVE) -> RawAnswer:
    day = at.date() - ONE_DAY
    rows = curve_of(day, 300 + at.day) if series is Series.LOAD_CURVE else [[day.isoformat(), "10412"]]
    window = DateWindow(day, day + ONE_DAY)
    return RawAnswer(series, at, window, [(window, v5_answer(rows))], date(2024, 1, 1))


def sealed_rows(registry: AccountRegistry) -> list[bytes]:
    with registry.database.reading() as connection:
        return list(connection.execute(select(RAW_ANSWERS.c.sealed)).scalars())


# -- the vault


def test_what_was_told_comes_back_whole_in_the_order_it_was_told(registry: AccountRegistry) -> None:
    vault, home, other = vault_of(registry), add(registry), add(registry, 12)
    answers = [told(MAY + day * ONE_DAY, series) for day in range(40) for series in Series]
    for number in range(len(answers)):
        vault.answered(home, answers[number * 7 % len(answers)])
    vault.answered(other, told(MAY))
    key = lambda each: (each.asked_at, each.series)  # noqa: E731
    assert sorted(vault.told(home), key=key) == sorted(answers, key=key)
    assert [each.asked_at for each in vault.told(home)] == sorted(each.asked_at for each in answers)
    assert list(vault.told(other)) == [told(MAY)]
    assert vault.months(home) == ["2024-05", "2024-06"]
    assert not any(USAGE_POINT.encode() in row for row in sealed_rows(registry))


def test_months_that_are_over_become_one_small_row_each_and_lose_nothing(registry: AccountRegistry) -> None:
    vault, home = vault_of(registry), add(registry)
    for day in range(62):
        vault.answered(home, told(MAY + day * ONE_DAY))
    before, size = list(vault.told(home)), sum(map(len, sealed_rows(registry)))
    assert vault.pack(MAY + timedelta(days=61), 1) == 1, "so many at a time, and never the month that runs"
    assert vault.pack(MAY + timedelta(days=61), 100) == 1
    assert vault.pack(MAY + timedelta(days=61), 100) == 0
    assert list(vault.told(home)) == before
    assert len(sealed_rows(registry)) == 2 + 3
    assert sum(map(len, sealed_rows(registry))) < size / 2
    vault.answered(home, told(MAY + timedelta(hours=1)))  # told late, by a clock that is behind
    assert vault.pack(NOW + timedelta(days=31), 100) == 2
    assert len(list(vault.told(home))) == 63
    assert len(sealed_rows(registry)) == 3


def test_two_at_once_pack_a_month_once(registry: AccountRegistry) -> None:
    vault, home = vault_of(registry), add(registry)
    for day in range(20):
        vault.answered(home, told(MAY + day * ONE_DAY))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: vault.pack(NOW, 10), range(8)))
    assert len(list(vault.told(home))) == 20
    assert len(sealed_rows(registry)) == 1


def test_what_is_too_old_is_erased_and_a_month_with_its_last_answer(registry: AccountRegistry) -> None:
    vault, home = vault_of(registry), add(registry)
    for day in (0, 20, 40, 41):
        vault.answered(home, told(MAY + day * ONE_DAY))
    vault.pack(MAY + timedelta(days=41), 10)
    assert vault.forget_before(MAY + timedelta(days=10)) == 0
    assert vault.forget_before(MAY + timedelta(days=21)) == 1
    assert vault.forget_before(MAY + timedelta(days=41)) == 1
    assert [each.asked_at for each in vault.told(home)] == [MAY + timedelta(days=41)]


def test_a_removal_takes_the_answers_and_none_comes_after_it(registry: AccountRegistry) -> None:
    vault, home, other = vault_of(registry), add(registry), add(registry, 12)
    for account in (home, other):
        vault.answered(account, told(MAY))
    assert registry.remove(home).raw_answers == 1
    assert list(vault.told(home)) == []
    with pytest.raises(UnknownAccount):
        vault.answered(home, told(MAY))
    assert len(sealed_rows(registry)) == len(list(vault.told(other))) == 1


def test_keys_can_be_changed_and_a_lost_one_is_told(registry: AccountRegistry) -> None:
    home = add(registry)
    for day in range(3):
        vault_of(registry).answered(home, told(MAY + day * ONE_DAY))
    with pytest.raises(OperatorFault, match="3 can't be read"):
        vault_of(registry, NEW).rotate_seals()
    assert vault_of(registry, NEW, OLD).rotate_seals() == 3
    assert len(list(vault_of(registry, NEW).told(home))) == 3


# -- the quarantine


def surprise(number: int = 0) -> Deviation:
    return Deviation(DeviationKind.FIELD, f"meter_reading.new{number}", "text", {"idPrm": USAGE_POINT, "new": number})


def quarantine_of(registry: AccountRegistry, *keys: str) -> QuarantineTable:
    return QuarantineTable(registry.database, Sealer(keys or [OLD]))


def notice_of(noted: Noted) -> list[Notice]:
    return [Notice("n1", None, NoticeKind.SUPPLIER_CHANGED, noted.name, "about", "log", NOW, NOW)]


def test_a_surprise_is_one_row_and_one_notice_however_often_it_comes(registry: AccountRegistry) -> None:
    book = quarantine_of(registry)
    noted = [book.note(surprise(), 1 + n, "enedis-v5", NOW + n * ONE_DAY, notice_of) for n in range(3)]
    assert noted == [Noted.NEW, Noted.KNOWN, Noted.KNOWN]
    (row,) = book.list()
    assert (row.times, row.first_seen, row.last_seen) == (6, NOW, NOW + 2 * ONE_DAY)
    assert (row.kind, row.place, row.detail, row.preset) == (
        DeviationKind.FIELD,
        "meter_reading.new0",
        "text",
        "enedis-v5",
    )
    assert [notice.reason for notice in NoticeTable(registry.database)._list()] == ["NEW"]
    assert book.clear(row.fingerprint) and not book.clear(row.fingerprint)
    assert book.note(surprise(), 1, "enedis-v5", NOW, notice_of) is Noted.NEW


def test_what_came_for_the_first_time_and_what_came_again_is_counted(registry: AccountRegistry) -> None:
    book, overview = quarantine_of(registry), Overview(registry.database)
    for number, days in ((0, (0, 3)), (1, (2,)), (2, (3,)), (3, (0,))):
        for day in days:
            book.note(surprise(number), 1, "enedis-v5", NOW + day * ONE_DAY, notice_of)
    assert overview.surprises_since(NOW + ONE_DAY) == (2, 1)
    assert overview.surprises_since(NOW + 4 * ONE_DAY) == (0, 0)
    book.clear(surprise(2).fingerprint)
    assert overview.surprises_since(NOW + ONE_DAY) == (1, 1)


def test_a_sample_is_sealed_and_names_no_meter(registry: AccountRegistry) -> None:
    book = quarantine_of(registry)
    book.note(surprise(), 1, "enedis-v5", NOW, notice_of)
    found = book.get(surprise().fingerprint)
    assert found is not None and found[1] == '{"idPrm":"00000000000000","new":0}'
    with registry.database.reading() as connection:
        assert b"idPrm" not in connection.execute(select(QUARANTINE.c.sealed_sample)).scalar_one()
    assert book.get("unknown") is None
    assert quarantine_of(registry, NEW, OLD).rotate_seals() == 1
    assert quarantine_of(registry, NEW).get(surprise().fingerprint) == found
    assert quarantine_of(registry, OLD).rotate_seals() == 0, "a sample nobody can open goes"
    assert list(book.list()) == []


def test_workers_who_meet_a_surprise_at_once_keep_one_and_count_all(registry: AccountRegistry) -> None:
    book = quarantine_of(registry)
    with ThreadPoolExecutor(4) as pool:
        noted = list(pool.map(lambda _: book.note(surprise(), 1, "enedis-v5", NOW, notice_of), range(12)))
    assert noted.count(Noted.NEW) == 1
    assert [row.times for row in book.list()] == [12]


def test_the_quarantine_is_bounded(registry: AccountRegistry) -> None:
    book = quarantine_of(registry)
    noted = [book.note(surprise(number), 1, "enedis-v5", NOW, notice_of) for number in range(MOST_ROWS + 5)]
    assert noted.count(Noted.NEW) == MOST_ROWS == len(list(book.list()))
    assert noted[MOST_ROWS:] == [Noted.FULL] * 5
    assert book.note(surprise(3), 1, "enedis-v5", NOW + ONE_DAY, notice_of) is Noted.KNOWN
    assert book.forget_before(NOW + timedelta(seconds=1)) == MOST_ROWS - 1
