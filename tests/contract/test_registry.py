"""The account registry keeps its promises on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from worker.domain.accounts import AccountState
from worker.domain.readings import PARIS, Series
from worker.errors import OperatorFault, StoreUnavailable, UnknownAccount
from worker.stores import migrations
from worker.stores.registry import AccountRegistry, Removal
from worker.stores.sealing import Sealer, new_key
from worker.stores.tables import METADATA

KEY = new_key()
METER, OTHER_METER = "30001640000011", "30001640000022"
NOW = datetime(2024, 7, 25, 9, 0, tzinfo=PARIS)
LATER = NOW + timedelta(hours=1)
HEAD = max(path.name[:4] for path in (Path(migrations.__file__).parent / "versions").glob("0*.py"))
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database; on PostgreSQL a schema of its own, so that one server serves all tests."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.db"
        return
    server = request.getfixturevalue("postgres_url")
    schema = f"registry_{secrets.token_hex(6)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def registry(url: str) -> Iterator[AccountRegistry]:
    registry = AccountRegistry(url, Sealer([KEY]))
    registry.migrate()
    yield registry
    registry.close()


def opened(url: str, *keys: str) -> AccountRegistry:
    return AccountRegistry(url, Sealer(keys or [KEY]))


def add_ready(registry: AccountRegistry, usage_point_id: str = METER) -> str:
    account, created = registry.add("enedis", usage_point_id, NOW, token_needed=False)
    assert created
    return account.id


def record(registry: AccountRegistry, account_id: str, run_id: str, **changes: Any) -> None:
    outcome: dict[str, Any] = {"code": None, "message": "", "last_day": None, "stored": False, **changes}
    series, now = outcome.pop("series", Series.DAILY), outcome.pop("now", NOW)
    registry.record_outcome(account_id, series, run_id, now, **outcome)


# The schema


def test_migrations_make_the_tables_that_the_program_uses(url: str) -> None:
    registry = opened(url)
    assert registry.schema_version() is None
    registry.migrate()
    version = registry.schema_version()
    registry.migrate()
    assert version == registry.schema_version() == HEAD
    registry.close()
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
        for table in METADATA.sorted_tables:  # what the comparison leaves out
            found = inspect(connection).get_pk_constraint(table.name)
            assert found["constrained_columns"] == [column.name for column in table.primary_key.columns]
            assert found["name"] == table.primary_key.name
    engine.dispose()


def migrate_in_process(url: str, start: Any, failures: Any) -> None:
    registry = opened(url)
    start.wait(30)
    try:
        registry.migrate()
    except StoreUnavailable as error:
        failures.put(str(error))


def test_processes_that_migrate_at_once_take_turns(url: str) -> None:
    start, failures = SPAWN.Barrier(3), SPAWN.SimpleQueue()
    processes = [SPAWN.Process(target=migrate_in_process, args=(url, start, failures)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert failures.empty()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    registry = opened(url)
    assert registry.schema_version() == HEAD
    registry.close()


def test_threads_that_open_a_new_registry_at_once_take_turns(url: str) -> None:
    registries = [opened(url) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(
            threads.map(lambda registry: registry.add("enedis", METER, NOW) if registry.migrate() else None, registries)
        )
    assert registries[0].schema_version() == HEAD
    for registry in registries:
        registry.close()


def test_a_registry_without_tables_says_to_migrate(url: str) -> None:
    registry = opened(url)
    with pytest.raises(StoreUnavailable, match="run its migration"):
        registry.list()
    registry.close()


# Accounts


def test_an_added_account_is_read_back_whole(registry: AccountRegistry) -> None:
    dates = {"consent_from": date(2024, 7, 1), "consent_until": date(2027, 7, 1)}
    account, created = registry.add("enedis", METER, NOW, token="{}", **dates)
    assert created
    assert account == registry.get(account.id) == registry.find_by_usage_point("enedis", METER)
    assert (account.state, account.reason, account.supplier) == (AccountState.READY, "", "enedis")
    assert (account.usage_point_id, account.consent_from, account.consent_until) == (METER, *dates.values())
    assert account.created_at == NOW
    assert account.created_at.tzinfo is UTC
    assert account.id.isalnum()
    assert METER not in account.id
    assert METER not in repr(account)


@pytest.mark.parametrize(
    "usage_point_id, token, token_needed, state",
    [
        (METER, "{}", True, AccountState.READY),
        (METER, None, False, AccountState.READY),
        (METER, None, True, AccountState.NEW),
        (None, "{}", True, AccountState.NEW),
        (None, None, False, AccountState.NEW),
    ],
)
def test_an_account_is_ready_once_it_has_a_usage_point_and_a_token_source(
    registry: AccountRegistry, usage_point_id: str | None, token: str | None, token_needed: bool, state: AccountState
) -> None:
    account, _ = registry.add("enedis", usage_point_id, NOW, token=token, token_needed=token_needed)
    assert account.state is state


def test_a_usage_point_added_again_gives_its_account_with_the_new_token_and_consent(registry: AccountRegistry) -> None:
    first, _ = registry.add("enedis", METER, NOW, token="old", consent_until=date(2024, 12, 31))
    registry.set_state(first.id, AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED", now=NOW)
    again, created = registry.add("enedis", METER, LATER, token="new", consent_until=date(2027, 7, 1))
    assert not created
    assert (again.id, again.state, again.reason) == (first.id, AccountState.READY, "")
    assert (again.created_at, again.consent_until) == (first.created_at, date(2027, 7, 1))
    assert registry.load_token(first.id) == "new"
    assert len(registry.list()) == 1


def test_a_usage_point_added_again_with_nothing_new_changes_nothing(registry: AccountRegistry) -> None:
    first, _ = registry.add("enedis", METER, NOW, token="old", consent_until=date(2024, 12, 31))
    registry.set_state(first.id, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    waiting = registry.get(first.id)
    assert registry.add("enedis", METER, LATER) == (waiting, False)
    assert registry.load_token(first.id) == "old"


def test_a_new_consent_leaves_a_paused_account_paused(registry: AccountRegistry) -> None:
    account_id = add_ready(registry)
    registry.set_state(account_id, AccountState.PAUSED, now=NOW)
    registry.set_state(account_id, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    noted = registry.get(account_id)
    assert (noted.state, noted.reason) == (AccountState.PAUSED, "LOGIN_FAILED")
    again, _ = registry.add("enedis", METER, LATER, token="new")
    assert again.state is AccountState.PAUSED
    registry.set_state(account_id, AccountState.READY, now=LATER)
    assert registry.get(account_id).active
    assert registry.get(account_id).reason == ""


def test_the_same_number_at_two_suppliers_is_two_accounts(registry: AccountRegistry) -> None:
    electricity, gas = add_ready(registry), registry.add("grdf", METER, NOW)[0].id
    assert electricity != gas
    found = registry.find_by_usage_point("grdf", METER)
    assert found is not None
    assert found.id == gas
    assert registry.find_by_usage_point("enedis", OTHER_METER) is None


def test_one_usage_point_added_from_many_threads_is_one_account(registry: AccountRegistry) -> None:
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda n: registry.add("enedis", METER, NOW, token=f"{n}"), range(24)))
    assert len({account.id for account, _ in added}) == 1
    assert sum(created for _, created in added) == 1
    assert len(registry.list()) == 1


def test_active_accounts_come_in_pages_that_miss_and_double_none(registry: AccountRegistry) -> None:
    ids = sorted(add_ready(registry, f"{30001640000000 + n}") for n in range(11))
    registry.set_state(ids[3], AccountState.PAUSED, now=NOW)
    seen, after = [], None
    while page := registry.page_active(after, limit=4):
        seen += [account.id for account in page]
        after = page[-1].id
    assert seen == [*ids[:3], *ids[4:]]


def test_accounts_are_listed_and_counted_by_state(registry: AccountRegistry) -> None:
    ready, paused, removed = (add_ready(registry, f"{30001640000000 + n}") for n in range(3))
    registry.set_state(paused, AccountState.PAUSED, now=NOW)
    registry.remove(removed)
    assert [account.id for account in registry.list()] == sorted([ready, paused])
    assert [account.id for account in registry.list([AccountState.PAUSED])] == [paused]
    assert [account.id for account in registry.list([AccountState.DELETED])] == [removed]
    assert registry.list([]) == []
    expected = dict.fromkeys(AccountState, 0)
    expected |= dict.fromkeys([AccountState.READY, AccountState.PAUSED, AccountState.DELETED], 1)
    assert registry.count_by_state() == expected


@pytest.mark.parametrize("state", [AccountState.NEW, AccountState.DELETED])
def test_some_states_can_not_be_set_by_hand(registry: AccountRegistry, state: AccountState) -> None:
    account_id = add_ready(registry)
    with pytest.raises(ValueError, match="can't be set"):
        registry.set_state(account_id, state, now=NOW)
    assert registry.get(account_id).state is AccountState.READY


def test_an_account_without_a_usage_point_does_not_become_ready(registry: AccountRegistry) -> None:
    account, _ = registry.add("enedis", None, NOW)
    with pytest.raises(ValueError, match="usage point"):
        registry.set_state(account.id, AccountState.READY, now=NOW)


# Removal


def test_a_removed_account_leaves_a_tombstone_that_refuses_late_tasks(registry: AccountRegistry) -> None:
    account, _ = registry.add("enedis", METER, NOW, token="{}", consent_until=date(2027, 7, 1))
    for series in Series:
        record(registry, account.id, "run-1", series=series)
    assert registry.remove(account.id) == Removal(account.id, usage_points=1, tokens=1, outcomes=2)
    assert registry.remove(account.id) == Removal(account.id, usage_points=0, tokens=0, outcomes=0)
    tombstone = registry.get(account.id)
    assert (tombstone.state, tombstone.usage_point_id, tombstone.consent_until) == (AccountState.DELETED, None, None)
    assert registry.load_token(account.id) is None
    assert registry.outcomes(account.id) == {}
    for late in (
        lambda: registry.set_state(account.id, AccountState.READY, now=NOW),
        lambda: registry.save_token(account.id, "{}"),
        lambda: record(registry, account.id, "run-2"),
    ):
        with pytest.raises(UnknownAccount, match="was removed"):
            late()


def test_a_usage_point_can_come_back_as_a_new_account_after_removal(registry: AccountRegistry) -> None:
    first = add_ready(registry)
    registry.remove(first)
    assert add_ready(registry) != first


def test_adding_while_removing_ends_in_one_of_the_two_orders(registry: AccountRegistry) -> None:
    for _ in range(10):
        first = registry.add("enedis", METER, NOW, token="{}")[0].id
        with ThreadPoolExecutor(2) as threads:
            removal = threads.submit(registry.remove, first)
            added, created = threads.submit(registry.add, "enedis", METER, NOW, token="{}").result()
            assert removal.result().usage_points == 1
        assert created == (added.id != first)
        kept = registry.find_by_usage_point("enedis", METER)
        assert (kept.id if kept else None) == (added.id if created else None)


def test_the_file_keeps_nothing_of_a_removed_account(tmp_path: Path) -> None:
    registry = opened(f"sqlite:///{tmp_path}/registry.db")
    assert registry.schema_version() is None
    registry.migrate()
    account_id = add_ready(registry)
    registry.close()
    file = tmp_path / "registry.db"
    assert METER.encode() in file.read_bytes()
    registry.remove(account_id)
    registry.close()
    assert METER.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("unknown", ["nobody", METER, ""])
def test_an_unknown_account_is_refused_without_repeating_what_may_be_a_meter_number(
    registry: AccountRegistry, unknown: str
) -> None:
    for call in (
        lambda: registry.get(unknown),
        lambda: registry.remove(unknown),
        lambda: registry.save_token(unknown, "{}"),
        lambda: registry.set_state(unknown, AccountState.PAUSED, now=NOW),
        lambda: record(registry, unknown, "run-1"),
    ):
        with pytest.raises(UnknownAccount, match="releve accounts list") as caught:
            call()
        assert METER not in "".join(traceback.format_exception(caught.value)).rsplit("UnknownAccount", 1)[1]
    assert registry.load_token(unknown) is None
    assert registry.outcomes(unknown) == {}


# Tokens


def test_a_saved_token_is_read_back_and_lies_sealed(registry: AccountRegistry, url: str) -> None:
    account_id = add_ready(registry)
    assert registry.load_token(account_id) is None
    for token in ("first-refresh-token", "second-refresh-token"):
        registry.save_token(account_id, token)
        assert registry.load_token(account_id) == token
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM tokens")).all()
    engine.dispose()
    assert len(rows) == 1
    assert "refresh" not in str(rows)


def test_tokens_sealed_under_an_old_key_outlive_it_through_rotation(
    registry: AccountRegistry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.registry.PAGE", 2)
    ids = [add_ready(registry, f"{30001640000000 + n}") for n in range(5)]
    for account_id in ids:
        registry.save_token(account_id, f"token of {account_id}")
    young = new_key()
    with_both, with_young = opened(url, young, KEY), opened(url, young)
    assert with_both.load_token(ids[0]) == f"token of {ids[0]}"
    assert with_both.rotate_tokens() == with_both.rotate_tokens() == 5
    assert [with_young.load_token(account_id) for account_id in ids] == [f"token of {id_}" for id_ in ids]
    with_both.close()
    with_young.close()


def test_rotation_goes_on_past_a_token_whose_key_is_lost_and_then_says_so(registry: AccountRegistry, url: str) -> None:
    lost, young = new_key(), new_key()
    ids = sorted(add_ready(registry, f"{30001640000000 + n}") for n in range(3))
    for account_id, key in zip(ids, (KEY, lost, KEY), strict=True):
        writer = opened(url, key)
        writer.save_token(account_id, "secret-token")
        writer.close()
    with_both, with_young = opened(url, young, KEY), opened(url, young)
    with pytest.raises(OperatorFault, match="2 tokens are sealed under the first key, 1 can't be read"):
        with_both.rotate_tokens()
    assert with_young.load_token(ids[0]) == with_young.load_token(ids[2]) == "secret-token"
    with pytest.raises(OperatorFault, match="RELEVE_TOKEN_KEYS"):
        with_young.load_token(ids[1])
    with_both.close()
    with_young.close()


# Outcomes


def test_the_first_outcome_is_read_back_whole(registry: AccountRegistry) -> None:
    account_id = add_ready(registry)
    record(registry, account_id, "2024-07-25-a", last_day=date(2024, 7, 24), stored=True)
    outcome = registry.outcomes(account_id)[Series.DAILY]
    assert (outcome.account_id, outcome.series, outcome.run_id) == (account_id, Series.DAILY, "2024-07-25-a")
    assert (outcome.code, outcome.message) == (None, "")
    assert (outcome.last_day, outcome.ever_stored) == (date(2024, 7, 24), True)
    assert outcome.last_success_at == outcome.updated_at == NOW
    assert outcome.updated_at.tzinfo is UTC


def test_a_failure_keeps_the_last_success_and_the_last_day(registry: AccountRegistry) -> None:
    account_id = add_ready(registry)
    record(registry, account_id, "run-1", last_day=date(2024, 7, 24), stored=True)
    record(registry, account_id, "run-2", code="VENDOR_DOWN", message="503", now=LATER)
    outcome = registry.outcomes(account_id)[Series.DAILY]
    assert (outcome.run_id, outcome.code, outcome.message) == ("run-2", "VENDOR_DOWN", "503")
    assert (outcome.last_success_at, outcome.updated_at) == (NOW, LATER)
    assert (outcome.last_day, outcome.ever_stored) == (date(2024, 7, 24), True)


def test_a_success_clears_the_failure_before_it_also_within_one_run(registry: AccountRegistry) -> None:
    account_id = add_ready(registry)
    record(registry, account_id, "run-1", code="VENDOR_DOWN", message="503")
    assert registry.outcomes(account_id)[Series.DAILY].last_success_at is None
    record(registry, account_id, "run-1", now=LATER)
    outcome = registry.outcomes(account_id)[Series.DAILY]
    assert (outcome.code, outcome.message, outcome.last_success_at) == (None, "", LATER)


@pytest.mark.parametrize("older", ["2024-07-25T08:30-a", "2024-07-25", "2024-07-25T08:30+b"])
def test_an_older_run_adds_its_days_but_not_its_verdict(registry: AccountRegistry, older: str) -> None:
    newer = "2024-07-25T08:30-b"
    assert older < newer
    account_id = add_ready(registry)
    record(registry, account_id, newer, code="VENDOR_DOWN", message="503", now=LATER)
    record(registry, account_id, older, last_day=date(2024, 6, 30), stored=True)
    outcome = registry.outcomes(account_id)[Series.DAILY]
    assert (outcome.run_id, outcome.code, outcome.message) == (newer, "VENDOR_DOWN", "503")
    assert (outcome.last_day, outcome.ever_stored) == (date(2024, 6, 30), True)
    assert (outcome.last_success_at, outcome.updated_at) == (NOW, LATER)


def test_the_last_day_never_goes_back(registry: AccountRegistry) -> None:
    account_id = add_ready(registry)
    for run, day in enumerate([date(2024, 7, 20), date(2024, 7, 24), None, date(2021, 8, 1)]):
        record(registry, account_id, f"run-{run}", last_day=day, stored=True)
    assert registry.outcomes(account_id)[Series.DAILY].last_day == date(2024, 7, 24)


def test_a_message_is_kept_without_what_looks_like_a_secret(registry: AccountRegistry) -> None:
    account_id = add_ready(registry)
    token = secrets.token_urlsafe(40)
    record(registry, account_id, "run-1", code="UNKNOWN_ERROR", message=f"meter {METER}\nsaid\x00 {token}: no " * 50)
    message = registry.outcomes(account_id)[Series.DAILY].message
    assert METER not in message
    assert token not in message
    assert message.startswith("meter … said …: no meter")
    assert len(message) == 500


def test_outcomes_of_a_page_name_each_account_asked_for(registry: AccountRegistry) -> None:
    first, second = add_ready(registry), add_ready(registry, OTHER_METER)
    for series in Series:
        record(registry, first, "run-1", series=series)
    found = registry.outcomes_of([first, second])
    assert {account_id: set(outcomes) for account_id, outcomes in found.items()} == {first: set(Series), second: set()}
    assert registry.outcomes_of([]) == {}


# Threads, forks, outages


def test_many_threads_at_once_lose_nothing(registry: AccountRegistry) -> None:
    ids = [add_ready(registry, f"{30001640000000 + n}") for n in range(4)]

    def work(number: int) -> None:
        account_id = ids[number % 4]
        registry.save_token(account_id, f"token {number}")
        record(
            registry, account_id, f"run-{number:03}", last_day=date(2024, 1, 1) + timedelta(days=number), stored=True
        )
        assert registry.get(account_id).active

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(64)))
    for place, account_id in enumerate(ids):
        outcome = registry.outcomes(account_id)[Series.DAILY]
        assert outcome.run_id == f"run-{60 + place:03}"
        assert outcome.last_day == date(2024, 1, 1) + timedelta(days=60 + place)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_registry_used_before_a_fork_serves_parent_and_children(registry: AccountRegistry) -> None:
    ids = [add_ready(registry, f"{30001640000000 + n}") for n in range(3)]
    children = [fork_and_work(registry, account_id) for account_id in ids]
    for number in range(20):
        registry.save_token(ids[0], f"parent's {number}")
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert [registry.load_token(account_id) for account_id in ids[1:]] == ["child's 19", "child's 19"]
    assert all(registry.outcomes(account_id) for account_id in ids)


def fork_and_work(registry: AccountRegistry, account_id: str) -> int:
    child = os.fork()
    if child:
        return child
    try:  # never back into pytest, whatever happens
        for number in range(20):
            registry.save_token(account_id, f"child's {number}")
        record(registry, account_id, "run-1")
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://releve:pass-word@127.0.0.1:1/releve",
        "sqlite:////no-such-folder/pass-word/../registry.db",
    ],
)
def test_a_database_that_is_not_there_is_an_outage_told_in_one_line(bad: str) -> None:
    registry = AccountRegistry(bad, Sealer([KEY]))
    for call in (registry.list, registry.migrate, lambda: registry.add("enedis", METER, NOW, token="secret-token")):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert "\n" not in str(caught.value)
        told = "".join(str(error) for error in chain_of(caught.value))
        assert METER not in told
        assert "secret-token" not in told
        assert "releve:pass-word" not in told
    assert "releve:pass-word" not in repr(registry)
    registry.close()


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_file_that_is_no_database_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("not a database, but long enough to have a header " * 20)
    registry = opened(f"sqlite:///{tmp_path}/registry.db")
    with pytest.raises(StoreUnavailable, match="not a database"):
        registry.migrate()
    registry.close()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "registry.db",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://pass-word@host",
        "mysql://u:pass-word@host/d",
        "postgresql+psycopg2://u:pass-word@host/d",
        "sqlite+aiosqlite:///pass-word.db",
        "postgresql://u:pass-word@host:port/d",
        "none://pass-word",
    ],
)
def test_a_url_that_can_not_serve_is_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(ValueError, match="the registry's URL") as caught:
        AccountRegistry(bad, Sealer([KEY]))
    assert all("pass-word" not in str(error) for error in chain_of(caught.value))
