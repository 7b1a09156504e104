"""The contract of all measure stores: one suite on the fake, SQLite, PostgreSQL and a CouchDB-protocol server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fakes import ByDoctype, DoctypeView
from tests.support.gas_entries import gas_documents
from tests.support.plain_readings import to_entries
from tests.support.profiles import examples
from worker.domain.documents import ALL_KEYS, Document, Entry, key_of, period_key, to_document, to_entry, to_load
from worker.domain.series import Doctype, Period, Series
from worker.domain.windows import PARIS, IntervalReading, day_length, local_midnight
from worker.stores.measures.measure_store import DocumentsByDoctype, Layout, doctypes_of

NOW = datetime(2024, 7, 25, 7, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
JANUARY = datetime(2024, 1, 1, tzinfo=PARIS)
KEYS = {
    Period.MINUTE: "2024-01-01T00:30Z",
    Period.HOUR: "2024-01-01T00:00Z",
    Period.DAY: "2024-01-01",
    Period.MONTH: "2024-01",
    Period.YEAR: "2024",
}


@pytest.fixture
def store(measures: ByDoctype) -> DoctypeView:
    return measures[Doctype.MINUTE]


@pytest.fixture
def account() -> str:
    """An unused account id in the form of the registry's ids."""
    return uuid.uuid4().hex[:12]


def half_hours(account: str, count: int, *, first: datetime = JANUARY, energy: int = 600_000) -> list[Document]:
    start = first.astimezone(UTC)
    readings = [IntervalReading((start + n * HALF_HOUR).astimezone(PARIS), HALF_HOUR, energy + n) for n in range(count)]
    documents = [to_document(account, Doctype.MINUTE, entry, NOW) for entry in to_entries(readings, Doctype.MINUTE)]
    return sorted(documents, key=lambda document: str(document["_id"]))


def changed(document: Document, load: float) -> Document:
    return {**document, "load": load}


def without_revision(documents: Sequence[Document]) -> list[Document]:
    return [{name: value for name, value in document.items() if name != "_rev"} for document in documents]


def test_a_doctype_nobody_wrote_to_has_no_documents(store: DoctypeView, account: str) -> None:
    assert store.read(account, *ALL_KEYS) == store.read(account, *ALL_KEYS, 5) == []
    assert store.erase(account) == 0
    assert store.write([]) == []


def test_databases_are_made_ahead_of_the_first_document_and_once(new_measures: ByDoctype, account: str) -> None:
    made = new_measures.prepare()
    assert set(made) in [set(doctypes_of(layout)) for layout in Layout]
    assert all(made.values())
    assert not any(new_measures.prepare().values())
    store = new_measures[Doctype.MINUTE]
    assert store.read(account, *ALL_KEYS) == []
    documents = half_hours(account, 3)
    assert store.write(documents) == []
    assert without_revision(store.read(account, *ALL_KEYS)) == documents


def test_what_is_written_comes_back_whole_with_a_revision(store: DoctypeView, account: str) -> None:
    documents = half_hours(account, 48)
    assert store.write(documents) == []
    stored = store.read(account, *ALL_KEYS)
    assert without_revision(stored) == documents
    assert all(isinstance(document["_rev"], str) and document["_rev"] for document in stored)


@pytest.mark.parametrize("period", Doctype)
def test_each_doctype_keeps_its_own_documents(measures: ByDoctype, account: str, period: Doctype) -> None:
    document = to_document(account, period, Entry(KEYS[period.period], 1_200_000), NOW)
    assert measures[period].write([document]) == []
    holders = [kind for kind, store in measures.items() if store.read(account, *ALL_KEYS)]
    assert holders == [period]


@pytest.mark.parametrize("period", gas_documents())
def test_documents_of_gas_come_back_with_their_numbers_exactly(
    measures: ByDoctype, account: str, period: Doctype
) -> None:
    """11.42781, 0.28 and 9.2 have no exact binary form, and are the numbers that were written all the same."""
    written = [
        {**document, "_id": f"{account}:{key_of(document)}", "source_account": account}
        for document in gas_documents()[period]
    ]
    assert measures[period].write(written) == []
    stored = without_revision(measures[period].read(account, *ALL_KEYS))
    assert stored == written
    assert [to_entry(document) for document in stored] == [to_entry(document) for document in written]
    values = [str(document[name]) for document in stored for name in ("volume", "coefficient") if name in document]
    expected = [str(document[name]) for document in written for name in ("volume", "coefficient") if name in document]
    assert [Decimal(value) for value in values] == [Decimal(value) for value in expected]


def test_the_second_pass_of_the_autumn_hour_keeps_its_fold(store: DoctypeView, account: str) -> None:
    documents = half_hours(account, 50, first=datetime(2024, 10, 27, tzinfo=PARIS))
    store.write(documents)
    stored = store.read(account, *ALL_KEYS)
    assert without_revision(stored) == documents
    assert [document["hour"] for document in stored if "fold" in document] == [2, 2]


def test_a_step_other_than_thirty_minutes_is_kept(store: DoctypeView, account: str) -> None:
    reading = IntervalReading(JANUARY, timedelta(minutes=10), 1)
    documents = [to_document(account, Doctype.MINUTE, entry, NOW) for entry in to_entries([reading], Doctype.MINUTE)]
    assert documents[0]["step"] == 10
    store.write(documents)
    assert without_revision(store.read(account, *ALL_KEYS)) == documents


def test_a_range_holds_its_first_key_and_not_its_last(store: DoctypeView, account: str) -> None:
    documents = half_hours(account, 6)
    store.write(list(reversed(documents)))
    keys = [document["_id"].partition(":")[2] for document in documents]
    in_range = store.read(account, keys[1], keys[4])
    assert [document["_id"] for document in in_range] == [document["_id"] for document in documents[1:4]]
    assert store.read(account, keys[2], keys[2]) == []
    assert store.read(account, keys[4], keys[1]) == []


def test_keys_sort_by_their_bytes(store: DoctypeView, account: str) -> None:
    keys = ["2024-01-01T00:00Z", "2024-01-01T09:30Z", "2024-01-01T10:00Z", "2024-01-10T00:00Z", "2024-02-01T23:30Z"]
    store.write([to_document(account, Doctype.MINUTE, Entry(key, 600_000), NOW) for key in reversed(keys)])
    assert [document["_id"] for document in store.read(account, *ALL_KEYS)] == [f"{account}:{key}" for key in keys]
    assert len(store.read(account, "2024-01-01", "2024-01-02")) == 3


@pytest.mark.parametrize("period", [*Series.DAILY.doctypes, *Series.LOAD_CURVE.doctypes, Doctype.MAX_POWER])
def test_any_texts_bound_a_range(measures: ByDoctype, account: str, period: Doctype) -> None:
    """Bounds are keys, parts of keys, and keys with more text, in local years of any number of days."""
    days = [date(2023, 12, 31), date(2024, 1, 1), date(2024, 3, 31), date(2024, 10, 27), date(2024, 12, 31)]
    keys = sorted({key for day in days for key in (keys_of(day, period))})
    measures[period].write([to_document(account, period, Entry(key, 100_000), NOW) for key in keys])
    texts = [*keys[:2], *keys[-2:], "", "0", "~", "2023", "2024", "2024-", "2024-0", "2024-01", "2024-01-01", "2024-1"]
    texts += ["2024-03-31T01", "2024-12-31", "2024-12-31T23:00Z", "2025", "2025-01-01", "2024-02-30", "2024-13"]
    texts += [f"{key} " for key in (keys[0], keys[len(keys) // 2], keys[-1])]
    for first, end in zip(
        texts, [*texts[7:], *texts[:7]], strict=True
    ):  # All pairs are in tests/unit/domain/test_packing.py.
        stored = [key_of(document) for document in measures[period].read(account, first, end)]
        assert stored == [key for key in keys if first <= key < end], (first, end)


def keys_of(day: date, period: Doctype) -> set[str]:
    first = local_midnight(day).astimezone(UTC)
    return {period_key((first + n * 6 * HALF_HOUR), period) for n in range(day_length(day) // (6 * HALF_HOUR))}


def test_accounts_don_t_see_each_other(store: DoctypeView, account: str) -> None:
    neighbours = [account, f"{account}0", account[:-1]]
    for number, neighbour in enumerate(neighbours):
        store.write(half_hours(neighbour, number + 1))
    assert [len(store.read(neighbour, *ALL_KEYS)) for neighbour in neighbours] == [1, 2, 3]
    assert store.erase(account) == 1
    assert [len(store.read(neighbour, *ALL_KEYS)) for neighbour in neighbours] == [0, 2, 3]


def test_one_write_may_hold_several_accounts(store: DoctypeView, account: str) -> None:
    other = f"{account}x"
    assert store.write(half_hours(account, 2) + half_hours(other, 3)) == []
    assert (len(store.read(account, *ALL_KEYS)), len(store.read(other, *ALL_KEYS))) == (2, 3)


def test_more_documents_than_one_request_takes_are_all_written(store: DoctypeView, account: str) -> None:
    documents = half_hours(account, 1_201)
    assert store.write(documents) == []
    assert without_revision(store.read(account, *ALL_KEYS)) == documents
    assert store.write(documents) == documents


def test_a_document_created_twice_loses_and_leaves_what_is_stored(store: DoctypeView, account: str) -> None:
    first, second = half_hours(account, 2)
    store.write([first])
    again = changed(first, 9.9)
    assert store.write([again, second]) == [again]
    assert without_revision(store.read(account, *ALL_KEYS)) == [first, second]


def test_a_document_is_replaced_by_its_revision_and_gets_a_new_one(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 2))
    before = store.read(account, *ALL_KEYS)
    assert store.write([changed(before[0], 1.234567)]) == []
    after = store.read(account, *ALL_KEYS)
    assert after[0]["load"] == 1.234567
    assert after[0]["_rev"] != before[0]["_rev"]
    assert after[1] == before[1]


def test_of_two_writers_with_the_same_revision_one_loses(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 1))
    [stored] = store.read(account, *ALL_KEYS)
    winner, loser = changed(stored, 1.0), changed(stored, 2.0)
    assert store.write([winner]) == []
    assert store.write([loser]) == [loser]
    assert [document["load"] for document in store.read(account, *ALL_KEYS)] == [1.0]


def test_a_replaced_document_that_was_erased_meanwhile_loses(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 1))
    stored = store.read(account, *ALL_KEYS)
    store.erase(account)
    assert store.write(stored) == stored
    assert store.read(account, *ALL_KEYS) == []


def test_a_revision_from_before_an_erasure_replaces_nothing_that_came_after(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 1))
    before = store.read(account, *ALL_KEYS)
    store.erase(account)
    assert store.write(half_hours(account, 1, energy=700_000)) == []
    assert store.write(before) == before
    assert [document["load"] for document in store.read(account, *ALL_KEYS)] == [0.7]


def test_a_revision_of_another_store_replaces_nothing(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 1))
    [stored] = store.read(account, *ALL_KEYS)
    foreign = {**stored, "_rev": "7-967a00dff5e02add41819138abb3284d"}
    assert store.write([foreign]) == [foreign]


def test_losers_and_winners_of_one_write_are_told_apart(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 2))
    fresh, stale = store.read(account, *ALL_KEYS)
    store.write([stale])
    new = half_hours(account, 3)[2]
    assert store.write([fresh, stale, new]) == [stale]


def test_erasing_forgets_every_page_and_counts(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 1_005))
    assert store.erase(account) == 1_005
    assert store.read(account, *ALL_KEYS) == []
    assert store.erase(account) == 0


def test_an_erased_account_can_be_written_anew(store: DoctypeView, account: str) -> None:
    documents = half_hours(account, 3)
    store.write(documents)
    store.erase(account)
    assert store.write(documents) == []
    assert without_revision(store.read(account, *ALL_KEYS)) == documents


def test_a_write_leaves_the_documents_it_was_given_alone(store: DoctypeView, account: str) -> None:
    documents = half_hours(account, 2)
    copies = [dict(document) for document in documents]
    store.write(documents)
    store.read(account, *ALL_KEYS)[0]["load"] = 99.0
    assert documents == copies
    assert without_revision(store.read(account, *ALL_KEYS)) == copies


@settings(max_examples=examples(15, desk=5), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(energies=st.lists(st.integers(0, 10**12), min_size=1, max_size=60))
def test_a_load_of_six_decimals_comes_back_equal(store: DoctypeView, energies: list[int]) -> None:
    account = uuid.uuid4().hex[:12]
    documents = [
        changed(document, to_load(energy, Doctype.MINUTE))
        for document, energy in zip(half_hours(account, len(energies)), energies, strict=True)
    ]
    store.write(documents)
    assert without_revision(store.read(account, *ALL_KEYS)) == documents


@settings(max_examples=examples(15, desk=5), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_writes_in_any_order_and_twice_give_the_same_content(store: DoctypeView, data: Any) -> None:
    account = uuid.uuid4().hex[:12]
    documents = half_hours(account, 12)
    pieces = [documents[first : first + 4] for first in range(0, 12, 4)]
    for piece in data.draw(st.permutations(pieces + pieces)):
        store.write(data.draw(st.permutations(piece)))
    assert without_revision(store.read(account, *ALL_KEYS)) == documents


def test_threads_that_race_lose_all_but_one_each_document(store: DoctypeView, account: str) -> None:
    store.write(half_hours(account, 20))
    stored = store.read(account, *ALL_KEYS)
    versions = [[changed(document, float(writer)) for document in stored] for writer in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        lost = list(pool.map(store.write, versions))
    winners = {document["_id"]: document["load"] for document in store.read(account, *ALL_KEYS)}
    assert sum(len(losers) for losers in lost) == 7 * 20
    for version, losers in zip(versions, lost, strict=True):
        lost_ids = [document["_id"] for document in losers]
        assert all(
            winners[document["_id"]] == document["load"] for document in version if document["_id"] not in lost_ids
        )


def test_threads_read_what_they_asked_for(store: DoctypeView, account: str) -> None:
    accounts = [f"{account}{number}" for number in range(8)]
    for number, name in enumerate(accounts):
        store.write(half_hours(name, 30 + number))

    def sizes(number: int) -> set[tuple[str, int]]:
        answers = [store.read(accounts[number], *ALL_KEYS) for _ in range(20)]
        return {(document["source_account"], len(documents)) for documents in answers for document in documents}

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(sizes, range(8)))
    assert results == [{(accounts[number], 30 + number)} for number in range(8)]


@pytest.mark.parametrize(("limit", "days"), [(1, [3]), (3, [3, 4, 5]), (9, [3, 4, 5, 6]), (None, [3, 4, 5, 6])])
def test_a_limit_gives_the_first_documents_of_the_range(
    measures: ByDoctype, limit: int | None, days: list[int]
) -> None:
    store = measures[Doctype.DAY]
    entries = [Entry(f"2024-07-{day:02}", day * 1_000_000) for day in range(1, 10)]
    written = [
        to_document(account_id, Doctype.DAY, entry, NOW) for account_id in ("home1", "home2") for entry in entries
    ]
    assert store.write(written) == []
    documents = store.read("home1", "2024-07-03", "2024-07-07", limit)
    assert [key_of(document) for document in documents] == [f"2024-07-{day:02}" for day in days]
    assert {document["source_account"] for document in documents} == {"home1"}


# -- Several doctypes


PERIODS_READ = (Doctype.MONTH, Doctype.YEAR, Doctype.DAY)  # Totals before their readings.
PERIODS_WRITTEN = (Doctype.DAY, Doctype.MONTH, Doctype.YEAR)
EVERYTHING = dict.fromkeys(PERIODS_READ, ALL_KEYS)


def days_and_totals(account: str, kwh: float = 2.0) -> DocumentsByDoctype:
    energy = round(kwh * 1_000_000)
    entries = {
        Doctype.DAY: [Entry(f"2024-07-{day}", energy) for day in (22, 20, 21)],
        Doctype.MONTH: [Entry("2024-07", 3 * energy)],
        Doctype.YEAR: [Entry("2024", 3 * energy)],
    }
    return {
        period: [to_document(account, period, entry, NOW) for entry in entries[period]] for period in PERIODS_WRITTEN
    }


def keys_by_period(documents: Mapping[Doctype, Sequence[Document]]) -> dict[Doctype, list[str]]:
    return {period: sorted(map(key_of, rows)) for period, rows in documents.items() if rows}


def test_readings_and_totals_are_written_and_read_together(measures: ByDoctype, account: str) -> None:
    documents = days_and_totals(account)
    for name in (account, f"{account}x"):
        assert measures.write(days_and_totals(name)) == {period: [] for period in PERIODS_WRITTEN}
    stored = measures.read(account, EVERYTHING)
    assert list(stored) == list(PERIODS_READ)
    assert stored == {period: measures[period].read(account, *ALL_KEYS) for period in PERIODS_READ}
    assert keys_by_period(stored) == keys_by_period(documents)
    assert {period: len(rows) for period, rows in measures.read(account, EVERYTHING, 2).items()} == {
        Doctype.MONTH: 1,
        Doctype.YEAR: 1,
        Doctype.DAY: 2,
    }
    higher = {period: [changed(document, 9.0) for document in stored[period]] for period in PERIODS_WRITTEN}
    assert not any(measures.write(higher).values())
    # The revisions are used up.
    assert keys_by_period(measures.write(higher)) == keys_by_period(documents)
    assert {document["load"] for rows in measures.read(account, EVERYTHING).values() for document in rows} == {9.0}
    assert measures.erase(account) == 5
    assert measures.read(account, EVERYTHING) == {period: [] for period in PERIODS_READ}


def test_a_total_is_not_written_where_a_reading_of_it_lost_its_race(measures: ByDoctype, account: str) -> None:
    documents = days_and_totals(account)
    measures[Doctype.DAY].write(documents[Doctype.DAY][:1])
    lost = measures.write(documents)
    assert lost == {**documents, Doctype.DAY: documents[Doctype.DAY][:1]}
    assert keys_by_period(measures.read(account, EVERYTHING)) == {
        Doctype.DAY: ["2024-07-20", "2024-07-21", "2024-07-22"]
    }


@pytest.mark.parametrize("loser", [Doctype.MONTH, Doctype.YEAR])
def test_a_total_that_lost_its_race_leaves_the_rest_written(measures: ByDoctype, account: str, loser: Doctype) -> None:
    documents = days_and_totals(account)
    measures[loser].write(documents[loser])
    assert keys_by_period(measures.write(documents)) == keys_by_period({loser: documents[loser]})
    assert keys_by_period(measures.read(account, EVERYTHING)) == keys_by_period(documents)


def test_nothing_is_written_without_documents(measures: ByDoctype) -> None:
    assert measures.write({}) == {}
    assert measures.write({period: [] for period in PERIODS_WRITTEN}) == {period: [] for period in PERIODS_WRITTEN}


# -- Removals


def test_a_document_is_removed_by_its_revision_alone(measures: ByDoctype, account: str) -> None:
    store = measures[Doctype.MINUTE]
    store.write(half_hours(account, 3))
    first, second, third = store.read(account, *ALL_KEYS)
    assert store.write([changed(second, 9.0)]) == []
    assert store.write([], [first, second]) == [second]  # The second has another revision by now.
    assert [document["load"] for document in store.read(account, *ALL_KEYS)] == [9.0, third["load"]]
    assert store.write([], [first]) == [first]
    assert store.write([first]) == [first]


def test_a_removed_document_can_be_written_anew_and_its_old_revision_is_worth_nothing(
    measures: ByDoctype, account: str
) -> None:
    store = measures[Doctype.MINUTE]
    for count in (1, 3):  # Of a pack, all values or some.
        documents = half_hours(account, count)
        store.write(documents)
        before = store.read(account, *ALL_KEYS)[0]
        assert store.write([], [before]) == []
        assert store.write([documents[0]]) == []
        assert store.write([changed(before, 9.0)]) == [changed(before, 9.0)]
        assert store.write([], [before]) == [before]
        assert without_revision(store.read(account, *ALL_KEYS)) == documents
        measures.erase(account)


def test_a_write_removes_creates_and_replaces_at_once(measures: ByDoctype, account: str) -> None:
    documents = days_and_totals(account)
    measures.write(documents)
    stored = measures.read(account, EVERYTHING)
    new = to_document(account, Doctype.DAY, Entry("2024-07-23", 1_000_000), NOW)
    written = {
        Doctype.DAY: [changed(stored[Doctype.DAY][0], 5.0), new],
        Doctype.MONTH: [changed(stored[Doctype.MONTH][0], 8)],
    }
    assert not any(
        measures.write(written, {Doctype.DAY: stored[Doctype.DAY][1:], Doctype.YEAR: stored[Doctype.YEAR]}).values()
    )
    after = measures.read(account, EVERYTHING)
    assert {period: [(key_of(row), row["load"]) for row in rows] for period, rows in after.items()} == {
        Doctype.MONTH: [("2024-07", 8.0)],
        Doctype.YEAR: [],
        Doctype.DAY: [("2024-07-20", 5.0), ("2024-07-23", 1.0)],
    }


def test_a_total_is_neither_written_nor_removed_where_the_removal_of_a_reading_lost_its_race(
    measures: ByDoctype, account: str
) -> None:
    measures.write(days_and_totals(account))
    stored = measures.read(account, EVERYTHING)
    assert measures[Doctype.DAY].write([changed(stored[Doctype.DAY][0], 5.0)]) == []
    removals = {Doctype.DAY: stored[Doctype.DAY][:1], Doctype.YEAR: stored[Doctype.YEAR]}
    written = {Doctype.MONTH: [changed(stored[Doctype.MONTH][0], 8.0)]}
    assert measures.write({Doctype.DAY: [], **written}, removals) == {**removals, **written}
    after = measures.read(account, EVERYTHING)
    assert (after[Doctype.MONTH], after[Doctype.YEAR]) == (stored[Doctype.MONTH], stored[Doctype.YEAR])


def test_all_of_an_account_can_be_removed_and_more_than_a_request_takes(measures: ByDoctype, account: str) -> None:
    store = measures[Doctype.MINUTE]
    store.write(half_hours(account, 1_005))
    stored = store.read(account, *ALL_KEYS)
    assert store.write([], stored) == []
    assert store.read(account, *ALL_KEYS) == []
    assert measures.erase(account) == 0
    assert store.write([], stored) == stored


def test_of_a_remover_and_a_writer_one_loses(measures: ByDoctype, account: str) -> None:
    store = measures[Doctype.MINUTE]
    store.write(half_hours(account, 20))
    stored = store.read(account, *ALL_KEYS)
    writes = [lambda: store.write([changed(row, 9.0) for row in stored]), lambda: store.write([], stored)]
    with ThreadPoolExecutor(2) as pool:
        lost = [
            {document["_id"] for document in future.result()} for future in [pool.submit(write) for write in writes]
        ]
    assert lost[0] | lost[1] == {document["_id"] for document in stored}
    assert not lost[0] & lost[1]
    assert {document["_id"] for document in store.read(account, *ALL_KEYS)} == lost[1]
