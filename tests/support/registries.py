"""A registry for tests: its key, its meter numbers, and helpers to fill it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import insert, select, update

from worker.accounts.notices import NoticeSender
from worker.domain.completeness import COMPLETE
from worker.domain.consents import ConsentKind, ConsentProof
from worker.domain.series import Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, PARIS, DateWindow
from worker.stores.database import Database
from worker.stores.encryption import KeyedHashes, Purpose, Sealer, generate_key
from worker.stores.registry import Registry
from worker.stores.registry.account_rows import new_series_row
from worker.stores.registry.consents import ConsentTable, GivenConsent
from worker.stores.registry.evidence import EvidenceCheck
from worker.stores.registry.migrations import upgrade_schema
from worker.stores.registry.outcomes import RunOutcome
from worker.stores.registry.tables import AUDIT_LOG, METADATA, NEVER, NO_DAY, SERIES_OUTCOMES

KEY = generate_key()
HASHES = KeyedHashes(["k" * 40])
METER, OTHER_METER = "30001640000011", "30001640000022"
NOW = datetime(2024, 7, 25, 9, 0, tzinfo=PARIS)
LATER = NOW + timedelta(hours=1)


def prepare_registry(folder: Path) -> None:
    """Create an empty registry in ``folder``, at the default place; the migrations run once for all tests."""
    file = folder / "registry.db"
    file.touch(mode=0o600)
    file.write_bytes(_empty_registry())


@cache
def _empty_registry() -> bytes:
    with TemporaryDirectory() as folder:
        registry = open_registry(f"sqlite:///{folder}/registry.db")
        upgrade_schema(registry.database)
        registry.database.close()
        return Path(folder, "registry.db").read_bytes()


def empty_registry(database: Database) -> None:
    """Delete every row of the registry but the schema's step, under whoever has it open; sequences go on."""
    if database.dialect == "sqlite":
        with closing(database._engine.raw_connection()) as connection:
            _empty_copy().backup(connection.driver_connection)
        return
    with database.writing() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # The audit log refuses otherwise.
        connection.exec_driver_sql(";".join(f"DELETE FROM {table.name}" for table in METADATA.sorted_tables))


@cache
def _empty_copy() -> sqlite3.Connection:
    """Return an empty registry in memory, to be copied from in one thread."""
    with TemporaryDirectory() as folder:
        prepare_registry(Path(folder))
        copy = sqlite3.connect(":memory:")
        with closing(sqlite3.connect(Path(folder, "registry.db"))) as prepared:
            prepared.backup(copy)
    return copy


def open_registry(url: str, *keys: str) -> Registry:
    """Return the registry at ``url``, with KEY unless other keys are passed."""
    return Registry(Database(url), registry_keys(*keys))


def follow_fleet(registry: Registry, fleet: Sequence[Series]) -> None:
    """Collect these series for the accounts that are added from now on."""
    registry.fleet = fleet
    for table in ("accounts", "outcomes"):
        vars(registry).pop(table, None)


def registry_sealer(*keys: str) -> Sealer:
    """Return what seals in a registry, under KEY unless other keys are passed."""
    return Sealer(keys or [KEY], Purpose.REGISTRY)


@dataclass(frozen=True)
class FixedKeys:
    """Keys of a registry that are there from the beginning."""

    registry: Sealer
    hashes: KeyedHashes = HASHES


def registry_keys(*keys: str) -> FixedKeys:
    """Return the keys of a registry: KEY unless others are passed, and those of HASHES."""
    return FixedKeys(registry_sealer(*keys))


def seal_as_before(text: str, key: str = KEY) -> str:
    """Return the text as older versions have sealed it: with Fernet, bound to no place."""
    return Fernet(key).encrypt(text.encode()).decode()


def switch_on(registry: Registry, account_id: str, *wanted: Series) -> None:
    """Let the account have these series, whatever the fleet has."""
    rows, columns = SERIES_OUTCOMES, SERIES_OUTCOMES.c
    with registry.database.writing() as connection:
        usual = dict(connection.execute(select(rows).where(columns.account_id == account_id)).mappings().first() or {})
        there = set(connection.execute(select(columns.series).where(columns.account_id == account_id)).scalars())
        for series in wanted:
            if series in there:
                of_series = (columns.account_id == account_id, columns.series == series)
                connection.execute(update(rows).where(*of_series).values(switch=SeriesSwitch.ON))
            else:
                new = {"days": "", "run_id": "", "last_day": NO_DAY, "ever_stored": False, "switch": SeriesSwitch.ON}
                row = usual or {**new_series_row(account_id, series, NOW, None), "active": True}
                connection.execute(insert(rows).values(**{**row, **new, "series": series}))


def add_ready(registry: Registry, usage_point_id: str = METER) -> str:
    """Add an account that is ready, and return its id."""
    account, created = registry.accounts.add("enedis", usage_point_id, NOW, token_needed=False)
    assert created
    return account.id


def close_account(consents: ConsentTable, account_id: str, now: datetime) -> None:
    """Close an account as a change of its meter's holder does."""
    with consents._database.writing() as connection:
        consents.close(connection, account_id, now)
        consents.end_closed(connection, account_id, now, None)


def make_due_in_all_lanes(registry: Registry, at: datetime) -> None:
    """Let each series be due in each lane at ``at``."""
    values = {"again_at": at, "history_due_at": at, "next_ask": at.date() - 2 * ONE_DAY, "asked_at": NEVER}
    registry.database.change(update(SERIES_OUTCOMES).values(active=True, failures=0, **values))


def meter_on_record(database: Database, proof: ConsentProof, *keys: str) -> str | None:
    """Return the meter that the evidence of a consent names; None if it is erased."""
    rows = EvidenceCheck(database, registry_sealer(*keys)).export(proof.account_id)
    (given,) = [row for row in rows if (row["consent_id"], row["event"]) == (proof.id, "given")]
    meter: str | None = given["meter"]
    return meter


def all_rows(database: Database) -> dict[str, list[str]]:
    """Return all rows of the registry by table, to be compared with those of another moment.

    Without the audit log, which a refused request adds to.
    """
    tables = [table for table in METADATA.sorted_tables if table is not AUDIT_LOG]
    with database.reading() as connection:
        # A row's own repr shortens long values.
        rows = {table.name: map(tuple, connection.execute(select(table))) for table in tables}
        return {name: sorted(map(repr, values)) for name, values in rows.items()}


@contextmanager
def opened_registry(url: str, *keys: str) -> Iterator[Registry]:
    """Open a registry, and close its connections at the end."""
    registry = open_registry(url, *keys)
    try:
        yield registry
    finally:
        registry.database.close()


@contextmanager
def new_registry(folder: Path) -> Iterator[Registry]:
    """Create an empty registry in ``folder``, at the default place, and open it."""
    prepare_registry(folder)
    with opened_registry(f"sqlite:///{folder / 'registry.db'}") as registry:
        yield registry


def record_outcome(registry: Registry, account_id: str, run_id: str, **changes: Any) -> None:
    """Record the outcome of a run; without ``changes`` it is a success of the daily series that stored nothing."""
    outcome: dict[str, Any] = {"code": None, "message": "", "last_day": None, "stored": False, **changes}
    series, now = outcome.pop("series", Series.DAILY), outcome.pop("now", NOW)
    registry.outcomes.record(account_id, series, run_id, now, RunOutcome(**outcome))


def set_history_due(registry: Registry, account_id: str, series: Series, at: datetime | None) -> None:
    """Set when a history goes on; None: it is loaded."""
    of_series = (SERIES_OUTCOMES.c.account_id == account_id, SERIES_OUTCOMES.c.series == series)
    registry.database.change(update(SERIES_OUTCOMES).where(*of_series).values(history_due_at=at))


def mark_asked(registry: Registry, account_id: str, series: Series, window: DateWindow | None) -> None:
    """Mark all days of a window as stored."""
    assert window is not None
    known = registry.completeness.load_ledger(account_id, series)
    ledger = known.with_marks(dict.fromkeys(window.dates(), COMPLETE))
    assert registry.completeness.replace_if_unchanged(account_id, series, known, ledger)


def record_consent(
    consents: ConsentTable, account_id: str, kind: ConsentKind, now: datetime, **details: Any
) -> ConsentProof:
    """Record a consent in a transaction of its own."""
    with consents._database.writing() as connection:
        return consents.record(connection, [account_id], GivenConsent(kind=kind, **details), now)[0]


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def deliver_due(sender: NoticeSender) -> int:
    """Send all notices that are due, as the tasks do, and return how many were taken."""
    return sum(sender.deliver(notice_id) for notice_id in sender.registry.notices.list_due(sender.now()))
