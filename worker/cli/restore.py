"""`releve restore`: an empty registry and the measure store filled from a file of `releve backup`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from worker.cli.backup import FILE_PREFIX, describe_counts, target_argument
from worker.cli.common import json_option, open_runtime, print_json
from worker.ops.backup import restore as restore_backup
from worker.ops.backup_file import BackupRefused


@click.command()
@target_argument
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
        summary = restore_backup(runtime, path)
    if as_json:
        print_json(asdict(summary))
    else:
        click.echo(f"brought back {describe_counts(summary)} from {path}, made {summary.made_at}")
        if summary.registry_was_there or summary.kept:
            registry = "the registry and " if summary.registry_was_there else ""
            click.echo(f"{registry}{summary.kept} more documents were there already")
        click.echo("whoever was removed since then is back: `releve accounts remove` them again, they asked for it")


def _newest(folder: Path) -> Path:
    backups = sorted(folder.glob(f"{FILE_PREFIX}*.zip"))
    if not backups:
        raise BackupRefused(f"there is no {FILE_PREFIX}….zip in {folder}: name the file itself")
    return backups[-1]  # The name begins with the time in UTC, so that the last is the newest.
