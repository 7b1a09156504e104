"""`releve show`: the stored documents of an account, as a table, a plot, CSV or JSON, or for comparators."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import click
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from worker.accounts.cost_rows import find_cost_columns
from worker.cli.command_audit import READS, command
from worker.cli.gas_option import SERIES
from worker.cli.parameters import DAY, open_stores
from worker.cli.printing import print_table
from worker.domain import exports
from worker.domain.account import Account
from worker.domain.documents import (
    DAY_PLACES,
    STEP_PLACES,
    Document,
    count_places,
    format_kwh,
    key_range,
    to_amount,
    to_entry,
)
from worker.domain.files.hour_file import HourFile, hide_digits
from worker.domain.series import DetailType, Doctype, Period, Series, daily_of, find_doctype, of_supplier, periods_of
from worker.domain.totals import months_of_intervals
from worker.domain.windows import DateWindow
from worker.runtime.sync_parts import Sync, build_sync
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.measures.stored_range import find_stored_range

_FIRST_DAY: Final = date(2000, 1, 1)
_ENEDIS: Final = "enedis"
_FORMATS: Final = ("table", "plot", "csv", "json", _ENEDIS)
_BAR_WIDTH: Final = 48
_DEFAULT_DAYS: Final = {Period.MINUTE: 7, Period.HOUR: 7, Period.DAY: 31}


@command(audit=READS)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--series", "name", type=SERIES, help="Default: consumption, daily values and load curve together.")
@click.option(
    "--by", type=click.Choice([period.value for period in Period]), default="day", help="Period of the documents."
)
@click.option("--from", "first", type=DAY, help="First day.")
@click.option("--to", "last", type=DAY, help="Last day (included).")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", help="Format of the output.")
def show(account_id: str, name: str | None, by: str, first: date | None, last: date | None, form: str) -> None:
    """Print the stored data of ACCOUNT in time order; `load` is in kWh, or in kVA for power.

    Without --from and --to, csv, json and enedis print everything; table and plot print only the last days.

    A series of billed periods can also be shown by month: a month has the sum of the periods that begin in it, and the
    number of their days.

    enedis is a file of the load curve for programs that compare offers, in the form of Enedis' customer site until
    2024. It shows only the last four digits of the meter's number.

    \b
    Examples:
      releve show 3kq7d0fr2m --by month
      releve show 3kq7d0fr2m --by hour --from 2024-07-01 --to 2024-07-07 --format plot
      releve show 3kq7d0fr2m --series max_power --format plot
      releve show 3kq7d0fr2m --format enedis > Enedis_Conso_Heure.csv
    """
    with open_stores() as stores:
        sync = build_sync(stores)
        account = stores.registry.accounts.get_existing(account_id)
        series = Series(name) if name else daily_of(supplier=account.supplier)
        if series not in of_supplier(account.supplier):
            known = " or ".join(of_supplier(account.supplier))
            raise click.UsageError(f"this meter's supplier has no series {series}: use --series {known}")
        if form == _ENEDIS:
            _print_hour_file(stores.measures, sync, account, series, first, last)
            return
        if series.has_intervals and Period(by) is Period.MONTH:
            _show_months(stores.measures, sync, account_id, series, first, last, form)
            return
        doctype = _find_doctype(series, Period(by))
        today = sync.history.today()
        window = _window(first, last, today, None if form in ("csv", "json") else _default_days(doctype))
        documents = list(find_stored_range(stores.measures, account_id, doctype, window).iterate())
        if form == "csv":
            costs = find_cost_columns(stores.registry, stores.measures, account, doctype)
            columns = exports.csv_columns(doctype, exports.find_tariff_periods(documents, doctype))
            rows = [exports.to_csv_fields(document, doctype) | cells for document, cells in costs.read(documents)]
            writer = csv.DictWriter(sys.stdout, [*columns, *costs.names])
            writer.writeheader()
            writer.writerows(rows)
            return
    if form == "json":
        _print_array([exports.to_public_fields(document, doctype) for document in documents])
    elif not documents:
        of_series = f" of {name}" if name else ""
        click.echo(f"nothing stored{of_series} by {by} from {window.start} to {window.end - timedelta(days=1)}")
    elif form == "plot":
        Console().print(plot_loads(documents, doctype))
    else:
        Console().print(table_of_loads(documents, doctype))


def _print_hour_file(
    measures: MeasureStore, sync: Sync, account: Account, series: Series, first: date | None, last: date | None
) -> None:
    """Print a curve as Enedis' customer site wrote it, with one page of its steps in memory at a time."""
    doctype, today = find_doctype(series, Period.MINUTE), sync.history.today()
    window = _window(first, last, today, None)
    stored = find_stored_range(measures, account.id, doctype, window) if doctype else None
    if stored is None or (begin := stored.read_first_day()) is None:
        raise click.ClickException(f"{series}: no load curve is stored for these days")
    file = HourFile(hide_digits(account.usage_point_id), stored.doctype, begin, min(window.end, today))
    sys.stdout.write(file.head())
    sys.stdout.writelines(file.rows([document]) for document in stored.iterate())
    sys.stdout.write(file.tail())


def _show_months(
    measures: MeasureStore,
    sync: Sync,
    account_id: str,
    series: Series,
    first: date | None,
    last: date | None,
    form: str,
) -> None:
    """Print a series of billed periods by month; the months are computed here and not stored."""
    window = _window(first, last, sync.history.today(), None)
    documents = measures.read(account_id, {series.inputs: key_range(window, series.inputs)})[series.inputs]
    rows = [exports.to_month_fields(month) for month in months_of_intervals(map(to_entry, documents))]
    if form == "json":
        _print_array(rows)
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, exports.MONTH_FIELDS)
        writer.writeheader()
        writer.writerows({**row, "load": format_kwh(to_amount(row["load"]))} for row in rows)
    elif rows:
        print_table([{**row, "load": format_kwh(to_amount(row["load"]))} for row in rows])
    else:
        click.echo(f"nothing stored of {series} by month from {window.start} to {window.end - timedelta(days=1)}")


def _print_array(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows as one JSON array, so that the output is a whole file, as with CSV."""
    click.echo(json.dumps(rows, ensure_ascii=False))


def _find_doctype(series: Series, by: Period) -> Doctype:
    """Return the doctype of a series for this period. Raises UsageError if the series has none."""
    if (doctype := find_doctype(series, by)) is None:
        periods = [*periods_of(series), *([Period.MONTH] if series.has_intervals else ())]
        raise click.UsageError(f"series {series} has no documents by {by}: use --by {' or '.join(periods)}")
    return doctype


def _default_days(doctype: Doctype) -> int | None:
    """Return how many days a table or plot shows by default; None (all days) for series with few documents."""
    is_sparse = doctype.series.is_state or doctype.series.has_intervals
    return None if is_sparse else _DEFAULT_DAYS.get(doctype.period)


def _window(first: date | None, last: date | None, today: date, default_days: int | None) -> DateWindow:
    end = (last or today) + timedelta(days=1)
    start = first or (end - timedelta(days=default_days) if default_days else _FIRST_DAY)
    if start >= end:
        raise click.UsageError(f"--from {start} must not be after --to {end - timedelta(days=1)}")
    return DateWindow(start, end)


def format_period(document: Document, doctype: Doctype) -> str:
    """Return the document's period in local time; the repeated hour in autumn is marked as winter time."""
    forms = {
        Period.YEAR: "{year}",
        Period.MONTH: "{year}-{month:02}",
        Period.DAY: "{year}-{month:02}-{day:02}",
        Period.HOUR: "{year}-{month:02}-{day:02} {hour:02}:00",
        Period.MINUTE: "{year}-{month:02}-{day:02} {hour:02}:{minute:02}",
    }
    return forms[doctype.period].format(**document) + (" (winter time)" if document.get("fold") else "")


def plot_loads(documents: Sequence[Document], doctype: Doctype) -> Table:
    """Return a table with a bar for each document, all on the same scale; a period without a document has no bar."""
    largest = max((document["load"] for document in documents), default=0.0)
    table = Table(doctype.period.value, "", _unit(doctype), box=None)
    table.columns[2].justify = "right"
    for document, text in zip(documents, _format_loads(documents, doctype), strict=True):
        bar = Bar(largest or 1.0, 0, document["load"], width=_BAR_WIDTH)
        table.add_row(format_period(document, doctype), bar, text)
    return table


def table_of_loads(documents: Sequence[Document], doctype: Doctype) -> Table:
    """Return a table with a row for each document: period, load, and then the further columns of the CSV.

    A column of numbers or counts, or the column ``computed``, is left out if no document has a value for it.
    """
    columns = exports.csv_columns(doctype, exports.find_tariff_periods(documents, doctype))
    numbers = {detail.name for detail in doctype.details if detail.type is DetailType.NUMBER} | {
        *exports.last_names(doctype)
    }
    rows = [exports.to_csv_fields(document, doctype) for document in documents]
    not_told = {name for name in numbers if not any(name in row for row in rows)}
    further = [name for name in columns if name not in {*exports.PUBLIC_FIELDS, exports.VOLT_AMPERES, *not_told}]
    titles = [doctype.period.value, _unit(doctype), *further]
    # Long titles are split into two lines, so that the table fits into 80 columns.
    if any("_" in name for name in numbers.intersection(further)):
        titles = [name.replace("_", "\n") if "_" in name else f"{name}\n" for name in titles]
    table = Table(*titles, box=None, padding=(0, 1, 0, 0) if further else (0, 1))
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[1].justify = "right"
    for document, fields, text in zip(documents, rows, _format_loads(documents, doctype), strict=True):
        table.add_row(format_period(document, doctype), text, *(str(fields.get(name, "")) for name in further))
    return table


def _unit(doctype: Doctype) -> str:
    return doctype.series.description.quantity.load_unit


def _format_loads(documents: Sequence[Document], doctype: Doctype) -> list[str]:
    """Return the exact energies in kWh, with the same number of decimals, so that they add up to the stored total."""
    energies = [to_amount(document["load"]) for document in documents]
    places = count_places(energies, STEP_PLACES if doctype.period in (Period.MINUTE, Period.HOUR) else DAY_PLACES)
    return [format_kwh(energy, places) for energy in energies]
