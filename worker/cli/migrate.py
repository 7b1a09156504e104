"""`releve migrate`: prepare the stores for this version, or with --layout move the measures to another layout.

Preparing the stores creates what must exist before the first worker starts: tables, databases, users and rights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

import click

from config.settings import ConfigError, Settings, get_settings
from worker.cli.command_audit import command, with_options
from worker.cli.parameters import json_option, print_json, print_result
from worker.domain.audit_entry import AuditAction
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import StoreUnavailable
from worker.ops.backup import back_up_older_registry
from worker.ops.logging_setup import warn
from worker.ops.store_checks import find_lost
from worker.runtime.keys import has_keys
from worker.runtime.stores import (
    Stores,
    announce_pretend_time,
    build_measures,
    known_ledger,
    open_registry,
    open_stores,
)
from worker.runtime.sync_parts import Sync, build_sync
from worker.stores.database import Database
from worker.stores.measures import couchdb, couchdb_user, open_couchdb
from worker.stores.measures.measure_store import Layout, MeasureStore, database_name, doctypes_of, nightly_doctypes
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry import Registry
from worker.stores.registry.migrations import find_step, grant_rows, newest_step, set_up_role, upgrade_schema
from worker.sync.layout_migration import LayoutMigrator, MigrationCounts, RecomputeTotals

_CHECK_WORKERS_EVERY_S: Final = 30.0
_REPORT_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """A step and its result.

    ``done``: "made", "changed", "there" (nothing had to be done), or "left" (the step can't be done).
    """

    what: str
    done: str


@command(audit=with_options(AuditAction.SCHEMA_MIGRATE, layout=AuditAction.LAYOUT_MIGRATE))
@click.option(
    "--layout", type=click.Choice([layout.value for layout in Layout]), help="Move the measures to this layout."
)
@click.option("--account", "account_ids", metavar="ACCOUNT", multiple=True, help="With --layout: only these accounts.")
@json_option
def migrate(layout: str | None, account_ids: tuple[str, ...], as_json: bool) -> int:
    """Update registry and measure store to this version; run it before you start workers of a new version.

    The command first backs up an older registry to an encrypted file in RELEVE_DATA_DIR, so that you can return to the
    previous version. Workers of the previous version may keep running.

    With RELEVE_REGISTRY_ADMIN_URL and RELEVE_MEASURES_ADMIN_URL it also creates the users of RELEVE_REGISTRY_URL and
    RELEVE_MEASURES_URL. These users can read and write rows and documents, nothing else. The command also finishes the
    setup of a new CouchDB. You can repeat the command safely.

    --layout moves the measures in CouchDB to another layout; stop workers, beat and web first. Each account is copied,
    read back and compared by counts, sums and documents. Only then is the old copy erased. If the move is interrupted,
    run the same command again. Then set RELEVE_LAYOUT and start the workers. The exit code is 1 if the old layout still
    has measures of accounts that are unknown.

    \b
    Examples:
      releve migrate
      releve migrate --layout packed
    """
    if layout is not None:
        return _move(get_settings(), Layout(layout), account_ids, as_json)
    if account_ids:
        raise click.UsageError("--account needs --layout")
    for step in _steps(get_settings()):
        print_result(asdict(step), f"{step.done:7} {step.what}", as_json=as_json)
    return 0


def _steps(settings: Settings) -> Iterator[MigrationStep]:
    """Do the update's steps in order, and yield each step after it is done. Raises ConfigError or a WorkerError."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        registry = open_registry(settings, opened, as_owner=True)
        database = registry.database
        step = find_step(database)
        if step not in (None, newest_step()):
            yield _save_registry(settings, database, f"step-{step}")
        before, after = upgrade_schema(database)
        yield MigrationStep(
            f"registry tables at step {after}", "there" if before == after else "changed" if before else "made"
        )
        if settings.registry_admin_url:
            if database.dialect != "postgresql":
                raise ConfigError("RELEVE_REGISTRY_ADMIN_URL is for PostgreSQL: unset it")
            yield MigrationStep("registry user of the workers", set_up_role(database, settings.registry()))
            yield MigrationStep("its rights: rows, no tables", grant_rows(database, settings.registry()))
        yield from _references(settings, registry)
        if settings.ledger().exists() and has_keys(settings, "erasure_keys"):
            ledger = known_ledger(settings, registry)
            known = ledger.find()
            entries = (known or ledger.accept()).entries
            yield MigrationStep(f"ledger of erasures: {entries} entries", "there" if known else "made")
        yield from _measures(settings, registry, opened)


def _save_registry(settings: Settings, database: Database, label: str) -> MigrationStep:
    """Back up the registry before its tables are changed. Raises the same errors as a backup.

    With SQLite, missing keys are created in the data folder. With PostgreSQL, this machine may have no keys; then no
    backup is made.
    """
    if database.dialect == "postgresql" and not has_keys(settings, "backup_keys", "erasure_keys"):
        return MigrationStep(
            "backup of the registry: not made, because there is no backup key here; run `releve backup` where it is",
            "left",
        )
    # The name differs from the names of `releve backup`, so that `releve restore DIR` never takes this file.
    path = settings.data_dir / f"releve-registry-{label}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"
    rows = back_up_older_registry(settings, database, path)
    return MigrationStep(f"backup of the registry ({rows} rows), for a rollback: {path}", "made")


def _references(settings: Settings, registry: Registry) -> Iterator[MigrationStep]:
    if not registry.consents.count_unsearchable():
        return
    if has_keys(settings, "token_keys", "erasure_keys"):
        count = registry.consents.index_references(registry.hashes)
        yield MigrationStep(f"references of {count} accounts, for a search", "made")
    if left := registry.consents.count_unsearchable():
        yield MigrationStep(
            f"references of {left} accounts: not made searchable, because their keys are not here; workers do it at "
            "night",
            "left",
        )


def _measures(settings: Settings, registry: Registry, opened: ExitStack) -> Iterator[MigrationStep]:
    try:
        owner = open_couchdb(settings.measures_owner(), settings.store_timeout_s)
        user = open_couchdb(settings.measures(), settings.store_timeout_s)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL or RELEVE_MEASURES_ADMIN_URL: {error}") from None
    store = build_measures(settings, opened, as_owner=True)
    admin = owner if settings.measures_admin_url else None
    if settings.measures_admin_url and (admin is None or user is None):
        raise ConfigError("RELEVE_MEASURES_ADMIN_URL is for CouchDB, but RELEVE_MEASURES_URL is not: unset it")
    if owner is not None:
        couchdb.check_server(owner)
    if admin is not None:
        for name in couchdb.SYSTEM_DATABASES:
            yield MigrationStep(
                f"CouchDB's database {name}", couchdb.create_system_database(admin, name, settings.couchdb_replicas)
            )
    prepared, layout = store.prepare(), Layout(settings.layout)
    lost = find_lost(registry, [*filter(prepared.get, prepared)], layout)
    # If the other layout still has measures, nothing is lost: `releve migrate --layout` moves them to this layout.
    is_lost = bool(lost) and not store.has_other_layout()
    for doctype, was_missing in prepared.items():
        yield MigrationStep(f"measures {doctype}", "made" if was_missing else "there")
    if owner is not None:
        yield _revisions(owner, settings)
    if admin is not None and user is not None:
        yield from _couchdb_user(admin, user, settings.measures(), list(map(database_name, prepared)))
    if is_lost:
        series = ", ".join(dict.fromkeys(doctypes_of(layout)[doctype] for doctype in lost))
        again = "`releve verify --all --repair` asks the suppliers for it again"
        yield MigrationStep(f"what was stored of {series} is lost: {again}", "left")


def _revisions(owner: couchdb.CouchServer, settings: Settings) -> MigrationStep:
    """Limit how many old revisions the server keeps of documents that are rewritten every night."""
    count, doctypes = settings.couchdb_revisions, nightly_doctypes(Layout(settings.layout))
    results = {couchdb.limit_revisions(owner, database_name(doctype), count) for doctype in doctypes}
    if "left" in results:
        return MigrationStep(
            "old revisions: not limited, because this server has no such limit or this user may not set it", "left"
        )
    done = "changed" if "changed" in results else "there"
    return MigrationStep(f"{count} old revisions of {' and '.join(doctypes)}", done)


def _couchdb_user(
    admin: couchdb.CouchServer, user: couchdb.CouchServer, url: str, names: Sequence[str]
) -> Iterator[MigrationStep]:
    if (credentials := couchdb_user(url)) is None:
        raise ConfigError("RELEVE_MEASURES_URL names no user: write it as couchdb+http://USER:PASSWORD@HOST:5984/")
    yield MigrationStep("CouchDB user of the workers", couchdb.set_up_user(admin, user, *credentials))
    for name in names:
        yield MigrationStep(f"its access to {name}", couchdb.grant_access(admin, name, credentials[0]))


def _move(settings: Settings, new: Layout, account_ids: Sequence[str], as_json: bool) -> int:
    announce_pretend_time(settings, warn)
    moved = MigrationCounts()
    with open_stores(settings, guarded=False) as stores, ExitStack() as opened:
        sync = build_sync(stores)
        old, measures = (build_measures(settings, opened, chosen) for chosen in (new.other, new))
        move = LayoutMigrator(old, measures, _build_recompute_totals(sync, measures))
        for account_id in _account_ids(stores, account_ids, moved):
            move.migrate_account(account_id, moved)
        left = measures.has_other_layout()
    if as_json:
        print_json({"to": new.value, **moved.as_json(), "left_in_other_layout": left})
    else:
        _print_summary(settings, new, moved, left)
    return 1 if left and not account_ids else 0


def _account_ids(stores: Stores, account_ids: Sequence[str], moved: MigrationCounts) -> Iterator[str]:
    """Yield the named accounts, known to the registry or not; without names, all accounts of the registry.

    Raises StoreUnavailable if a worker runs: what that worker writes to the old layout between copy and erasure would
    be lost.
    """
    checked_at, reported_at = float("-inf"), time.monotonic()
    for account_id in account_ids or (account.id for account in stores.registry.accounts.iterate()):
        now = time.monotonic()
        if now - checked_at >= _CHECK_WORKERS_EVERY_S:
            checked_at = now
            _refuse_workers(stores)
        if now - reported_at >= _REPORT_EVERY_S:
            reported_at = now
            warn(f"{moved.accounts} accounts moved, {moved.documents} documents")
        yield account_id


def _refuse_workers(stores: Stores) -> None:
    if alive := Heartbeats(stores.redis).living_workers():
        raise StoreUnavailable(
            f"{len(alive)} workers are running ({', '.join(alive[:3])}): stop workers, beat and web, and run it again"
        )


def _build_recompute_totals(sync: Sync, measures: MeasureStore) -> RecomputeTotals:
    layout_sync = replace(sync.window, measures=measures)

    def recompute_totals(account_id: str, series: Series, window: DateWindow) -> int:
        return layout_sync.recompute_totals(sync.claims.to_job(account_id, series, window))

    return recompute_totals


def _print_summary(settings: Settings, new: Layout, moved: MigrationCounts, left: bool) -> None:
    click.echo(
        f"moved {moved.accounts} accounts to the {new.value} layout: {moved.documents} documents checked, "
        f"{moved.written} written, {moved.erased} erased from the old layout"
    )
    if moved.recounted:
        click.echo(f"{moved.recounted} totals were recomputed, because both layouts held readings")
    if left:
        click.echo(
            f"the {new.other.value} layout still has measures, of accounts that were not named or are not in the "
            "registry"
        )
    elif settings.layout != new.value:
        click.echo(f"now set RELEVE_LAYOUT={new.value} and start the workers")
