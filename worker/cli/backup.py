"""`releve backup`: the registry and the measures saved in one file."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from worker.cli.common import json_option, open_runtime, print_result
from worker.ops.backup import BackupSummary, back_up

FILE_PREFIX: Final = "releve-backup-"

target_argument = click.argument("target", metavar="FILE|DIR", type=click.Path(path_type=Path))


@click.command()
@target_argument
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
    path = target / f"{FILE_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip" if target.is_dir() else target
    with open_runtime() as runtime:
        summary = back_up(runtime, path)
    size = path.stat().st_size / 1e6
    print_result(asdict(summary), f"saved {describe_counts(summary)} in {path} ({size:.1f} MB)", as_json=as_json)


def describe_counts(summary: BackupSummary) -> str:
    """Return the numbers of accounts, rows and documents as a phrase."""
    return f"{summary.accounts} accounts ({summary.rows} rows of the registry) and {summary.documents} documents"
