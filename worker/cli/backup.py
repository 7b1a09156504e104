"""`releve backup`: the registry and the measures saved in one sealed file."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from worker.cli.common import json_option, open_runtime, print_result
from worker.ops.backup import BackupSummary, RestoreSummary, back_up
from worker.ops.backup_format import BackupRefused

FILE_PREFIX: Final = "releve-backup-"


@click.command()
@click.argument("target", metavar="FILE|DIR")  # As text, for a Path forgets the slash at its end.
@click.option("--allow-empty", is_flag=True, help="Also back up a registry without accounts.")
@json_option
def backup(target: str, allow_empty: bool, as_json: bool) -> None:
    """Back up the registry and the measures to FILE, or to a new file in DIR; workers may keep running.

    The file is encrypted and signed with RELEVE_BACKUP_KEYS (or backup.keys in RELEVE_DATA_DIR). A restore also needs
    the token keys, the erasure keys and the ledger of erasures. Keep the keys away from the backup, but keep the
    ledger with it.

    \b
    Examples:
      releve backup /var/backups/releve/
      releve backup monday.zip --json
    """
    path = _file_in(target)
    with open_runtime() as runtime:
        summary = back_up(runtime, path, allow_empty=allow_empty)
        ledger, keys = runtime.ledger_file.path, runtime.settings.backup_keys
        key = (
            "RELEVE_BACKUP_KEYS"
            if keys
            else f"{runtime.settings.data_dir / 'backup.keys'}, of which you keep a copy elsewhere"
        )
    size = path.stat().st_size / 1e6
    print_result(
        asdict(summary),
        f"saved {describe_counts(summary)} in {path} ({size:.1f} MB)",
        f"to restore it you need {key} and the newest {ledger}: copy that file often",
        as_json=as_json,
    )


def _file_in(target: str) -> Path:
    """Return the file to write; a path that ends in a slash is a folder, which the backup makes where it is missing."""
    path = Path(target)
    if not (path.is_dir() or target.endswith(os.sep)):
        return path
    if path.is_file():
        raise BackupRefused(f"{path} is a file: leave out the slash, or name a folder")
    return path / f"{FILE_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"


def describe_counts(summary: BackupSummary | RestoreSummary) -> str:
    """Return the numbers of accounts, rows and documents as a phrase."""
    return f"{summary.accounts} accounts ({summary.rows} rows of the registry) and {summary.documents} documents"
