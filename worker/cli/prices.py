"""`releve prices`: what accounts pay, and the files of prices."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from config.settings import get_settings
from worker.accounts.price_files import FileUpdate, fetch_from, read_from_folder, update_files
from worker.accounts.status import to_row
from worker.cli import parameters
from worker.cli.command_audit import Group
from worker.domain.audit_entry import AuditAction
from worker.domain.clock import real_clock
from worker.domain.prices.regulated import FILES
from worker.domain.windows import civil_date
from worker.runtime.supplier_settings import price_addresses

_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=Group)
def prices() -> None:
    """Set what accounts pay, so that Relève can compute costs.

    \b
    Example:
      releve prices update
    """


@prices.command(audit=AuditAction.PRICES_UPDATE)
@click.option("--folder", type=_FOLDER, help="Read the files in this folder instead of fetching them.")
@parameters.json_option
def update(folder: Path | None, as_json: bool) -> int:
    """Fetch the regulated prices anew.

    They are the regulator's files Option_Base.csv, Option_HPHC.csv and Option_Tempo.csv. If one can't be right, it is
    refused, the copy in use stays, and the exit code is 1.

    \b
    Example:
      releve prices update --folder Downloads
    """
    today = civil_date(real_clock())
    read_copy = read_from_folder(folder, today) if folder else fetch_from(price_addresses(get_settings()), today)
    there = [option for option, name in FILES.items() if folder is None or (folder / name).exists()]
    if not there:
        raise click.BadParameter(f"has none of {', '.join(FILES.values())}", param_hint="--folder")
    with parameters.open_registry() as registry:
        updates = update_files(registry, read_copy, there)
    if as_json:
        parameters.print_json_lines(map(to_row, updates))
    else:
        missing = (f"{name}: not in the folder" for option, name in FILES.items() if option not in there)
        click.echo("\n".join([*map(_describe_update, updates), *missing]))
    return int(any(one.refused for one in updates))


def _describe_update(one: FileUpdate) -> str:
    if one.refused:
        kept = f"the copy of {one.copied_on} stays in use" if one.copied_on else "there is no copy of it"
        return f"{one.name}: not taken, because {one.refused}; {kept}"
    rows = {0: "no new rows", 1: "1 new row"}.get(one.new_rows, f"{one.new_rows} new rows")
    return f"{one.name}: {rows}, copied on {one.copied_on}"
