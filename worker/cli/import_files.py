"""`releve import`: stores readings from downloaded files in the same way as readings from the supplier."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from worker.accounts.asserted_accounts import MeterErased
from worker.accounts.status import to_row
from worker.cli.command_audit import command, note_result, with_options
from worker.cli.home import make_home
from worker.cli.parameters import ANY_METER, FILE, counts_line, json_option, open_stores, print_json
from worker.domain.account import Account
from worker.domain.audit_entry import AuditAction
from worker.domain.documents import format_kwh
from worker.domain.files import read_file
from worker.domain.files.cells import FileRefused, FileSeries
from worker.ops.logging_setup import warn
from worker.runtime.consent_parts import build_file_accounts
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import build_importer, build_sync
from worker.runtime.web_access import build_web
from worker.sync.file_import import FileAccounts, FileComparison, FileImporter, describe_counts, mask, number_of


@command("import", audit=with_options(AuditAction.ACCOUNT_IMPORT, dry_run=None))
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=FILE)
@click.option("--account", "account_id", metavar="ACCOUNT", help="Account of the files. Default: that of their meter.")
@click.option(
    "--usage-point",
    "meter",
    metavar="NUMBER",
    type=ANY_METER,
    help="Meter of files that don't name one; - reads it from standard input.",
)
@click.option("--dry-run", is_flag=True, help="Only show what the files hold and what is new; write nothing.")
@json_option
def import_files(
    files: tuple[Path, ...], account_id: str | None, meter: str | None, dry_run: bool, as_json: bool
) -> int:
    """Import readings from files: exports of customer areas and portals, their ZIPs, and files of other tools.

    Each file's format is found by its content. An answer of the supplier has priority over an older file. Nothing
    is deleted, and importing a file twice changes nothing.

    A file of a meter without an account is refused. In a home's installation the account is added instead, and `releve
    home add` can add a token later. A new data folder becomes a home's installation.

    With --json each series of a file is one line. The exit code is 1 if a file was refused.

    \b
    Examples:
      releve import Enedis_*.csv --dry-run
      releve import ~/Téléchargements/*.xlsx
      releve import courbe.csv --usage-point -
    """
    with open_stores() as stores:
        sync = build_sync(stores)
        run = _Import(
            stores, build_importer(stores, sync), build_file_accounts(stores), meter, dry_run, as_json, account_id
        )
        for path in files:
            run.take(path)
        run.end()
    return 1 if run.refused else 0


@dataclass
class _Import:
    stores: Stores
    importer: FileImporter
    file_accounts: FileAccounts
    meter: str | None
    dry_run: bool
    as_json: bool
    account_id: str | None
    refused: int = 0
    accounts: set[str] = field(default_factory=set)
    days: list[int] = field(default_factory=lambda: [0, 0, 0])

    def __post_init__(self) -> None:
        self.chosen = self.stores.registry.accounts.get_existing(self.account_id) if self.account_id else None

    def take(self, path: Path) -> None:
        """Import a file. If it is refused, print a line that says why; what was read before the fault is stored."""
        try:
            if not path.is_file():  # Opening a pipe would wait for a writer.
                raise OSError("it is no regular file: save its content first")
            with path.open("rb") as content:
                for file in read_file(path.name, content):
                    self._take_series(file)
        except (FileRefused, MeterErased) as error:
            self.refused += 1
            text = str(error)
            warn(text if isinstance(error, FileRefused) else f"{path.name}: {text}")
        except OSError as error:
            self.refused += 1
            warn(f"{path.name}: can't be read ({error.strerror or error})")

    def _take_series(self, file: FileSeries) -> None:
        try:
            account = self._account_of(file)
        except FileRefused as error:  # Go on: the same file may hold series of a meter that has an account.
            self.refused += 1
            warn(str(error))
            return
        found = self.importer.compare(file, account.id if account else None, account.data_from if account else None)
        if self.as_json:
            print_json(_row_of(found, account, self.meter))
        else:
            click.echo(_describe(found, account, self.meter))
        if self.dry_run or account is None:
            return
        with self._progress(found) as advance:
            counts = self.importer.store(file, account.id, account.data_from, advance)
        self.accounts.add(account.id)
        for place, number in enumerate((found.days_new, found.days_same, found.days_different)):
            self.days[place] += number
        if not self.as_json:
            kept = f", {counts.left_out} kept as a newer answer has them" if counts.left_out else ""
            click.echo(f"  account {account.id}: {counts_line(vars(counts))}{kept}")

    def _account_of(self, file: FileSeries) -> Account | None:
        """Return the account of a file; None in a dry run if a real run would add the account. Raises FileRefused."""
        if self.chosen is not None:
            self.file_accounts.check(file, self.chosen, self.meter)
            return self.chosen
        account = self.file_accounts.find(file, self.meter)
        if account is not None:
            self.file_accounts.check(file, account, self.meter)
            return account
        if not self._may_add():
            number = number_of(file, self.meter) or ""
            raise FileRefused(f"{file.file}: meter {mask(number)} has no account: add one first, or give --account")
        if self.dry_run:
            return None
        make_home(self.stores.settings)
        account = self.file_accounts.add(file, self.meter)
        build_web(self.stores).home.ensure_household()
        if not self.as_json:
            click.echo(f"account {account.id} added for the meter {account.last_digits}, with the data of its files")
        return account

    def _may_add(self) -> bool:
        """Return whether a file may add an account: True in a home's installation, and if nothing is set up yet."""
        settings = self.stores.settings
        if settings.is_home or settings.home is False:
            return settings.is_home
        is_fresh = not settings.has_enedis_credentials and settings.enedis_url is None
        return is_fresh and not self.stores.registry.accounts.page(limit=1)

    @contextmanager
    def _progress(self, found: FileComparison) -> Iterator[Any]:
        """Show a progress bar on a terminal, and yield a function that advances the bar by a number of days."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
        hidden = self.as_json or not sys.stderr.isatty()
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as progress:
            bar = progress.add_task("days", total=found.days_new + found.days_same + found.days_different)
            yield lambda days: progress.advance(bar, days)

    def end(self) -> None:
        """Give the audit entry the numbers of new, same and different days, and the account if there is only one."""
        if self.dry_run and not self.as_json:
            click.echo("nothing was written (--dry-run)")
        account_id = next(iter(self.accounts)) if len(self.accounts) == 1 else None
        note_result(describe_counts(*self.days), account_id=account_id)


def _row_of(found: FileComparison, account: Account | None, meter: str | None) -> dict[str, Any]:
    return {
        "file": found.file.file,
        "format": found.file.format,
        "usage_point": _digits(found, account, meter),
        "series": found.file.series.value,
        **to_row(found, "first", "last", "days_new", "days_same", "days_different"),
        "wh": found.watt_hours,
        "differing": found.file.differing,
        **({"unusable": found.unusable} if found.unusable else {}),
    }


def _digits(found: FileComparison, account: Account | None, meter: str | None) -> str | None:
    if account is not None:
        return account.last_digits
    number = number_of(found.file, meter)
    return mask(number) if number else None


def _describe(found: FileComparison, account: Account | None, meter: str | None) -> str:
    file, unit = found.file, found.file.series.description.quantity.load_unit
    steps = f", steps of {' and '.join(map(str, file.step_minutes))} min" if file.step_minutes else ""
    energy = "" if found.amount is None else f", {format_kwh(found.amount)} kWh"
    days = f"{found.days_new} days new, {found.days_same} the same, {found.days_different} different"
    unusable = f", {found.unusable} value{'' if found.unusable == 1 else 's'} unusable" if found.unusable else ""
    times = f"{file.differing} time{'' if file.differing == 1 else 's'}"
    differing = f", {times} with two different values (the last one counts, never a zero)" if file.differing else ""
    return (
        f"{file.file}: {file.format}, meter {_digits(found, account, meter)}, {file.series} in {unit}{steps}, "
        f"{found.first or '-'} to {found.last or '-'}: {days}{energy}{unusable}{differing}"
    )
