"""releve backup, releve restore: all that can't be had again, in one file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from worker.cli.common import json_option, open_runtime, print_json
from worker.ops.backup import BackupSummary, back_up
from worker.ops.backup import restore as bring_back
from worker.ops.backup_file import BackupRefused

_NAME: Final = "releve-backup-"

target = click.argument("target", metavar="FILE|DIR", type=click.Path(path_type=Path))


@click.command()
@target
@json_option
def backup(target: Path, as_json: bool) -> None:
    """Save the registry and the measures into FILE, or into a new file in DIR; work may go on meanwhile.

    Tokens are saved as they are kept, sealed; the keys are not in it: keep RELEVE_TOKEN_KEYS (or the file token.keys
    in RELEVE_DATA_DIR) apart from it.  The numbers of meters are in it: it is for your eyes alone.

    \b
    Examples:
      releve backup /var/backups/releve/
      releve backup monday.zip --json
    """
    path = target / f"{_NAME}{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip" if target.is_dir() else target
    with open_runtime() as runtime:
        receipt = back_up(runtime, path)
    if as_json:
        print_json(receipt.as_json())
    else:
        size = path.stat().st_size / 1e6
        click.echo(f"saved {_counted(receipt)} in {path} ({size:.1f} MB)")


@click.command()
@target
@json_option
def restore(target: Path, as_json: bool) -> None:
    """Bring back what `releve backup` saved in FILE, or in the newest file of DIR; the workers are stopped meanwhile.

    The registry must be empty; the stores may be of another kind than those saved.  Interrupted, the same command
    goes on.  What came after the backup is fetched again by itself when a worker runs.

    \b
    Example:
      RELEVE_TOKEN_KEYS=… releve restore /var/backups/releve/
    """
    path = _newest(target) if target.is_dir() else target
    with open_runtime() as runtime:
        receipt = bring_back(runtime, path)
    if as_json:
        print_json(receipt.as_json())
    else:
        click.echo(f"brought back {_counted(receipt)} from {path}, made {receipt.made_at}")
        if receipt.registry_was_there or receipt.kept:
            registry = "the registry and " if receipt.registry_was_there else ""
            click.echo(f"{registry}{receipt.kept} more documents were there already")
        click.echo("whoever was removed since then is back: `releve accounts remove` them again, they asked for it")


def _counted(receipt: BackupSummary) -> str:
    return f"{receipt.accounts} accounts ({receipt.rows} rows of the registry) and {receipt.documents} documents"


def _newest(folder: Path) -> Path:
    found = sorted(folder.glob(f"{_NAME}*.zip"))
    if not found:
        raise BackupRefused(f"there is no {_NAME}….zip in {folder}: name the file itself")
    return found[-1]
