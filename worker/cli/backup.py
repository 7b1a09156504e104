"""`releve backup` and `restore`: save the registry and measures in one sealed file, and restore them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from config.settings import get_settings
from worker.cli.command_audit import command, with_options
from worker.cli.parameters import confirm_on_terminal, json_option, open_stores, print_json, print_result
from worker.cli.printing import print_table
from worker.domain.audit_entry import AuditAction
from worker.ops.backup import BackupSummary, RestoreSummary, back_up
from worker.ops.backup import restore as restore_backup
from worker.ops.backup_format import Archive, BackupRefused
from worker.ops.logging_setup import warn
from worker.runtime.keys import list_places, open_backup_sealer
from worker.runtime.stores import announce_pretend_time

FILE_PREFIX: Final = "releve-backup-"


@command(audit=with_options(AuditAction.BACKUP_MAKE, shown=None))
@click.argument("target", metavar="[FILE|DIR]", required=False)  # Kept as text: a Path drops a trailing slash.
@click.option("--show", "shown", metavar="FILE", type=click.Path(path_type=Path), help="Check and show this backup.")
@click.option("--allow-empty", is_flag=True, help="Also back up a registry without accounts.")
@click.option("--without-ledger", is_flag=True, help="Back up even though the ledger of erasures has lost lines.")
@json_option
def backup(target: str | None, shown: Path | None, allow_empty: bool, without_ledger: bool, as_json: bool) -> None:
    """Back up the registry and the measures to FILE, or to a new file in DIR; workers may keep running.

    The file is encrypted and signed with RELEVE_BACKUP_KEYS (or backup.keys in RELEVE_DATA_DIR). A restore also needs
    the token keys, the erasure keys and the ledger of erasures. Keep the keys away from the backup, but keep the ledger
    with it. --without-ledger accepts the ledger as complete although it has lost lines. Then delete all older backups,
    because restoring one of them could bring erased accounts back.

    --show reads and checks a whole backup. It needs only the backup's keys, and opens no database.

    \b
    Examples:
      releve backup /var/backups/releve/
      releve backup --show monday.zip
    """
    if (target is None) == (shown is None):
        raise click.UsageError("give a FILE or DIR to write, or --show FILE")
    if target is None:
        _show(Path(str(shown)), as_json)
        return
    path = _file_in(target)
    with open_stores() as stores:
        summary = back_up(stores, path, allow_empty=allow_empty, without_ledger=without_ledger)
        keys = list_places(stores.settings, "token_keys", "backup_keys", "erasure_keys")
        ledger = stores.erasure_ledger.file.path
    size = path.stat().st_size / 1e6
    print_result(
        asdict(summary),
        f"saved {describe_counts(summary)} in {path} ({size:.1f} MB)",
        f"to restore it you need {', '.join(keys)} and the newest {ledger}: copy them elsewhere, the ledger often",
        as_json=as_json,
    )


def _file_in(target: str) -> Path:
    """Return the file to write; a path that ends in a slash is a folder, which the backup creates if it is missing."""
    path = Path(target)
    if not (path.is_dir() or target.endswith(os.sep)):
        return path
    if path.is_file():
        raise BackupRefused(f"{path} is a file: leave out the slash, or name a folder")
    return path / f"{FILE_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"


def describe_counts(summary: BackupSummary | RestoreSummary) -> str:
    return f"{summary.accounts} accounts ({summary.rows} rows of the registry) and {summary.documents} documents"


def _show(file: Path, as_json: bool) -> None:
    with Archive.open(file, open_backup_sealer(get_settings())) as archive:
        archive.check()
        manifest = archive.manifest
    if as_json:
        print_json(manifest)
        return
    click.echo(
        f"made {manifest['made_at']}{' by a home' if manifest.get('home') else ''}, format {manifest['format']}, "
        f"schema {manifest['schema']}; the file is intact"
    )
    click.echo(
        f"ledger of erasures: {manifest['ledger']['id']}, {manifest['ledger']['entries']} entries when the backup "
        "was made"
    )
    print_table([{"member": name, "rows": member["lines"]} for name, member in manifest["members"].items()])


@command(audit=AuditAction.BACKUP_RESTORE)  # The audit entry is written to the restored registry.
@click.argument("target", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option("--without-ledger", is_flag=True, help="Restore even though the ledger of erasures is lost.")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation on a terminal.")
@json_option
def restore(target: Path, without_ledger: bool, yes: bool, as_json: bool) -> None:
    """Restore a backup from FILE, or the newest one in DIR; stop everything else first.

    The registry must be empty, except for operators. The databases may be of another kind than those of the backup. If
    the restore is interrupted, run the same command again. Workers fetch newer data by themselves afterwards.

    The ledger of erasures (RELEVE_LEDGER_FILE) is applied: accounts that were erased, stopped or closed since the
    backup stay in that state. API tokens, invitations, proxy clients and sessions of the backup are ended.

    \b
    Examples:
      releve restore /var/backups/releve/
      releve restore monday.zip --without-ledger
    """
    path = _newest(target) if target.is_dir() else target
    confirm_on_terminal(
        f"Restore the registry and the measure store from {path.name}?", yes, if_not="nothing was restored"
    )
    settings = get_settings()
    announce_pretend_time(settings, warn)
    summary = restore_backup(settings, path, without_ledger=without_ledger)
    print_result(asdict(summary), *_lines(summary), as_json=as_json)


def _lines(summary: RestoreSummary) -> Iterator[str]:
    made = f"from {summary.file}, made {summary.made_at}"
    if summary.registry_was_there:  # The same restore has run before: no account was restored this time.
        yield f"an earlier run restored the registry; restored {summary.documents} documents now {made}"
    else:
        yield f"restored {describe_counts(summary)} {made}"
    if summary.home:
        yield "the backup is a home's, and so is this data folder now"
    if summary.kept:
        yield f"{summary.kept} documents were there already"
    if not summary.registry_was_there:
        ended, since = summary.ended, summary.since_backup
        yield (
            f"applied the ledger of erasures: {since.erased} accounts erased, {since.closed} closed and "
            f"{since.stopped} stopped since then"
        )
        yield (
            f"ended: {ended.api_tokens} API tokens, {ended.invitations} invitations, {ended.proxy_clients} proxy "
            f"clients with {ended.proxy_grants} grants, and all sessions of households"
        )
        yield (
            "create new tokens, clients and operators (`releve access add-token`, `add-client` and "
            "`add-operator`); households get access again by an invitation (`releve invite ACCOUNT`), in v4 "
            "also by a new consent"
        )
    if summary.erasures_unknown_since:
        yield (
            f"without the ledger of erasures, accounts erased after {summary.erasures_unknown_since} have been "
            "restored, and stopped ones run again: remove those you know of (`releve accounts remove ACCOUNT`)"
        )


def _newest(folder: Path) -> Path:
    backups = sorted(folder.glob(f"{FILE_PREFIX}*.zip"))
    if not backups:
        raise BackupRefused(f"there is no {FILE_PREFIX}….zip in {folder}: name the file itself")
    return backups[-1]  # The names differ only in the time (UTC), so the last name is the newest backup's.
