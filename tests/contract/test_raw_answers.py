"""The tables of raw answers and of the quarantine, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select

from tests.support.factories import USAGE_POINT, curve_of, v5_answer
from tests.support.registries import KEY, registry_sealer
from worker.domain.answers import Deviation, DeviationKind, RawAnswer
from worker.domain.notice import Notice, NoticeKind
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import OperatorFault, UnknownAccount
from worker.stores.encryption import generate_key
from worker.stores.registry import Registry
from worker.stores.registry.fleet_counts import Overview
from worker.stores.registry.key_rotation import ANSWER_SEALS, SAMPLE_SEALS, rotate_seals
from worker.stores.registry.supplier_answers import MAX_ROWS, QuarantineResult, QuarantineTable, RawAnswerTable
from worker.stores.registry.tables import NOTICES, QUARANTINE, RAW_ANSWERS

NEW = generate_key()
MAY = datetime(2024, 5, 3, 7, 0, tzinfo=UTC)
NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)


def raw_answers_of(registry: Registry, *keys: str) -> RawAnswerTable:
    return RawAnswerTable(registry.database, registry_sealer(*(keys or ())))


def add_account(registry: Registry, number: int = 11) -> str:
    return registry.accounts.add("enedis", f"300016400000{number}", NOW, token_needed=False)[0].id


def make_answer(at: datetime, series: Series = Series.LOAD_CURVE) -> RawAnswer:
    day = at.date() - ONE_DAY
    rows = curve_of(day, 300 + at.day) if series is Series.LOAD_CURVE else [[day.isoformat(), "10412"]]
    window = DateWindow(day, day + ONE_DAY)
    return RawAnswer(series, at, window, [(window, v5_answer(rows))], date(2024, 1, 1))


def sealed_rows(registry: Registry) -> list[bytes]:
    with registry.database.reading() as connection:
        return list(connection.execute(select(RAW_ANSWERS.c.sealed)).scalars())


# Raw answers


def test_what_was_told_comes_back_whole_in_the_order_it_was_told(registry: Registry) -> None:
    table, account_id, other = raw_answers_of(registry), add_account(registry), add_account(registry, 12)
    answers = [make_answer(MAY + day * ONE_DAY, series) for day in range(40) for series in USUAL_SERIES]
    for number in range(len(answers)):
        table.record_answer(account_id, answers[number * 7 % len(answers)])
    table.record_answer(other, make_answer(MAY))
    key = lambda answer: (answer.asked_at, answer.series)  # noqa: E731
    assert sorted(table.read_answers(account_id), key=key) == sorted(answers, key=key)
    assert [answer.asked_at for answer in table.read_answers(account_id)] == sorted(
        answer.asked_at for answer in answers
    )
    assert list(table.read_answers(other)) == [make_answer(MAY)]
    assert table.list_months(account_id) == ["2024-05", "2024-06"]
    assert not any(USAGE_POINT.encode() in row for row in sealed_rows(registry))


def test_months_that_are_over_become_one_small_row_each_and_lose_nothing(registry: Registry) -> None:
    table, account_id = raw_answers_of(registry), add_account(registry)
    for day in range(62):
        table.record_answer(account_id, make_answer(MAY + day * ONE_DAY))
    before, size = list(table.read_answers(account_id)), sum(map(len, sealed_rows(registry)))
    assert table.pack_past_months(MAY + timedelta(days=61), 1) == 1, "so many at a time, and never the month that runs"
    assert table.pack_past_months(MAY + timedelta(days=61), 100) == 1
    assert table.pack_past_months(MAY + timedelta(days=61), 100) == 0
    assert list(table.read_answers(account_id)) == before
    assert len(sealed_rows(registry)) == 2 + 3
    assert sum(map(len, sealed_rows(registry))) < size / 2
    # This one comes late, from a clock that is behind.
    table.record_answer(account_id, make_answer(MAY + timedelta(hours=1)))
    assert table.pack_past_months(NOW + timedelta(days=31), 100) == 2
    assert len(list(table.read_answers(account_id))) == 63
    assert len(sealed_rows(registry)) == 3


def test_two_at_once_pack_a_month_once(registry: Registry) -> None:
    table, account_id = raw_answers_of(registry), add_account(registry)
    for day in range(20):
        table.record_answer(account_id, make_answer(MAY + day * ONE_DAY))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: table.pack_past_months(NOW, 10), range(8)))
    assert len(list(table.read_answers(account_id))) == 20
    assert len(sealed_rows(registry)) == 1


def test_what_is_too_old_is_erased_and_a_month_with_its_last_answer(registry: Registry) -> None:
    table, account_id = raw_answers_of(registry), add_account(registry)
    for day in (0, 20, 40, 41):
        table.record_answer(account_id, make_answer(MAY + day * ONE_DAY))
    table.pack_past_months(MAY + timedelta(days=41), 10)
    assert table.delete_before(MAY + timedelta(days=10)) == 0
    assert table.delete_before(MAY + timedelta(days=21)) == 1
    assert table.delete_before(MAY + timedelta(days=41)) == 1
    assert [answer.asked_at for answer in table.read_answers(account_id)] == [MAY + timedelta(days=41)]


def test_a_removal_takes_the_answers_and_none_comes_after_it(registry: Registry) -> None:
    table, account_id, other = raw_answers_of(registry), add_account(registry), add_account(registry, 12)
    for account in (account_id, other):
        table.record_answer(account, make_answer(MAY))
    assert registry.accounts.remove(account_id, NOW)["raw_answers"] == 1
    assert list(table.read_answers(account_id)) == []
    with pytest.raises(UnknownAccount):
        table.record_answer(account_id, make_answer(MAY))
    assert len(sealed_rows(registry)) == len(list(table.read_answers(other))) == 1


def test_keys_can_be_changed_and_a_lost_one_is_told(registry: Registry) -> None:
    account_id = add_account(registry)
    for day in range(3):
        raw_answers_of(registry).record_answer(account_id, make_answer(MAY + day * ONE_DAY))
    with pytest.raises(OperatorFault, match="3 can't be read"):
        rotate_seals(registry.database, registry_sealer(NEW), ANSWER_SEALS)
    assert rotate_seals(registry.database, registry_sealer(NEW, KEY), ANSWER_SEALS) == 3
    assert len(list(raw_answers_of(registry, NEW).read_answers(account_id))) == 3


# The quarantine


def make_deviation(number: int = 0) -> Deviation:
    return Deviation(DeviationKind.FIELD, f"meter_reading.new{number}", "text", {"idPrm": USAGE_POINT, "new": number})


def quarantine_of(registry: Registry, *keys: str) -> QuarantineTable:
    return QuarantineTable(registry.database, registry_sealer(*(keys or ())))


def notice_of(result: QuarantineResult) -> list[Notice]:
    return [Notice("n1", None, NoticeKind.SUPPLIER_CHANGED, result.name, "about", "log", NOW, NOW)]


def test_a_surprise_is_one_row_and_one_notice_however_often_it_comes(registry: Registry) -> None:
    quarantine = quarantine_of(registry)
    results = [quarantine.record(make_deviation(), 1 + n, "enedis-v5", NOW + n * ONE_DAY, notice_of) for n in range(3)]
    assert results == [QuarantineResult.NEW, QuarantineResult.KNOWN, QuarantineResult.KNOWN]
    (row,) = quarantine.list_entries()
    assert (row.times, row.first_seen, row.last_seen) == (6, NOW, NOW + 2 * ONE_DAY)
    assert (row.kind, row.place, row.detail, row.preset) == (
        DeviationKind.FIELD,
        "meter_reading.new0",
        "text",
        "enedis-v5",
    )
    with registry.database.reading() as connection:
        assert connection.execute(select(NOTICES.c.reason)).scalars().all() == ["NEW"]
    assert quarantine.delete(row.fingerprint) and not quarantine.delete(row.fingerprint)
    assert quarantine.record(make_deviation(), 1, "enedis-v5", NOW, notice_of) is QuarantineResult.NEW


def test_what_came_for_the_first_time_and_what_came_again_is_counted(registry: Registry) -> None:
    quarantine, overview = quarantine_of(registry), Overview(registry.database)
    for number, days in ((0, (0, 3)), (1, (2,)), (2, (3,)), (3, (0,))):
        for day in days:
            quarantine.record(make_deviation(number), 1, "enedis-v5", NOW + day * ONE_DAY, notice_of)
    assert overview.count_deviations_since(NOW + ONE_DAY) == (2, 1)
    assert overview.count_deviations_since(NOW + 4 * ONE_DAY) == (0, 0)
    quarantine.delete(make_deviation(2).fingerprint)
    assert overview.count_deviations_since(NOW + ONE_DAY) == (1, 1)


def test_a_sample_is_sealed_and_names_no_meter(registry: Registry) -> None:
    quarantine = quarantine_of(registry)
    quarantine.record(make_deviation(), 1, "enedis-v5", NOW, notice_of)
    entry = quarantine.get(make_deviation().fingerprint)
    assert entry is not None and entry[1] == '{"idPrm":"00000000000000","new":0}'
    with registry.database.reading() as connection:
        assert b"idPrm" not in connection.execute(select(QUARANTINE.c.sealed_sample)).scalar_one()
    assert quarantine.get("unknown") is None
    assert rotate_seals(registry.database, registry_sealer(NEW, KEY), SAMPLE_SEALS) == 1
    assert quarantine_of(registry, NEW).get(make_deviation().fingerprint) == entry
    assert rotate_seals(registry.database, registry_sealer(), SAMPLE_SEALS) == 0, "a sample nobody can open goes"
    assert list(quarantine.list_entries()) == []


def test_workers_who_meet_a_surprise_at_once_keep_one_and_count_all(registry: Registry) -> None:
    quarantine = quarantine_of(registry)
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: quarantine.record(make_deviation(), 1, "enedis-v5", NOW, notice_of), range(12))
        )
    assert results.count(QuarantineResult.NEW) == 1
    assert [row.times for row in quarantine.list_entries()] == [12]


def test_the_quarantine_is_bounded(registry: Registry) -> None:
    quarantine = quarantine_of(registry)
    results = [
        quarantine.record(make_deviation(number), 1, "enedis-v5", NOW, notice_of) for number in range(MAX_ROWS + 5)
    ]
    assert results.count(QuarantineResult.NEW) == MAX_ROWS == len(list(quarantine.list_entries()))
    assert results[MAX_ROWS:] == [QuarantineResult.FULL] * 5
    assert quarantine.record(make_deviation(3), 1, "enedis-v5", NOW + ONE_DAY, notice_of) is QuarantineResult.KNOWN
    assert quarantine.delete_before(NOW) == 0
    assert quarantine.delete_before(NOW + timedelta(seconds=1)) == MAX_ROWS - 1
