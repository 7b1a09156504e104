"""`releve backup-info`: what is in a backup, without restoring it."""

from __future__ import annotations

from pathlib import Path

import click

from config.settings import get_settings
from worker.cli.common import json_option, print_json
from worker.cli.tables import print_table
from worker.ops.backup_format import Archive
from worker.runtime.keys import open_backup_sealer


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@json_option
def backup_info(file: Path, as_json: bool) -> None:
    """Check a whole backup, and show when it was made and what is in it; the databases are not opened.

    It needs the keys of the backup (RELEVE_BACKUP_KEYS, or backup.keys in RELEVE_DATA_DIR).

    \b
    Example:
      releve backup-info releve-backup-20240725T090000Z.zip
    """
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
