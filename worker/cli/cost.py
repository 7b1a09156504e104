"""`releve cost`: what the energy of an account costs, by hour, day, month or year."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any, Final

import click

from worker.accounts.cost_rows import RowsRefused, find_window, read_rows
from worker.accounts.price_comparison import compare_options, power_of
from worker.accounts.prices import explain_unpaid, load_tariff
from worker.cli import parameters
from worker.cli.command_audit import READS, command
from worker.cli.printing import print_table
from worker.domain.prices import Option
from worker.domain.prices.choices import RegulatedChoice
from worker.domain.prices.cost import DATE_LENGTHS
from worker.domain.series import Period
from worker.domain.windows import PARIS
from worker.texts import translate

_COMPARED: Final = {
    "option": "option",
    "energy": "energy_eur",
    "fixed": "subscription_eur",
    "total": "total_eur",
    "days": "days",
    "estimated": "estimated_days",
    "by": "source",
}


@command(audit=READS)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--by", type=click.Choice(["hour", "day", "month", "year"]), help="Period of the rows. Default: day.")
@click.option("--from", "first", type=parameters.DAY, help="First day.")
@click.option("--to", "last", type=parameters.DAY, help="Last day (included).")
@click.option("--compare", is_flag=True, help="Compare the last twelve months under each regulated option.")
@click.option("--power", type=parameters.POWER, metavar="KVA", help="With --compare: power instead of the contract's.")
@click.option("--hours", default="", metavar="RANGES", help="With --compare: off-peak hours instead of the known ones.")
@parameters.json_option
def cost(
    account_id: str,
    by: str | None,
    first: date | None,
    last: date | None,
    compare: bool,
    power: int | None,
    hours: str,
    as_json: bool,
) -> None:
    """Print what the energy of ACCOUNT costs, in euros with all taxes, by the prices that are set.

    Without --from and --to, the rows are the last hours or days, the months of this year, or three years.
    Subscriptions are spread evenly over the days of a month; a bill may count them otherwise. Energy that is fed in is
    not subtracted.

    --compare needs no price that is set. It counts the days that are known under all options shown, at least 330.

    \b
    Examples:
      releve cost 3kq7d0fr2m --by month
      releve cost 3kq7d0fr2m --by day --from 2026-02-01 --to 2026-02-28 --json
      releve cost 3kq7d0fr2m --compare
    """
    if compare:
        if by or first or last:
            raise click.UsageError("--compare takes the last twelve months: leave out --by, --from and --to")
        _print_comparison(account_id, power, hours, as_json=as_json)
    elif power or hours:
        raise click.UsageError("--power and --hours go with --compare")
    else:
        _print_costs(account_id, Period(by or "day"), first, last, as_json=as_json)


def _print_costs(account_id: str, period: Period, first: date | None, last: date | None, *, as_json: bool) -> None:
    with parameters.open_stores() as stores:
        account = stores.registry.accounts.get_existing(account_id)
        tariff = load_tariff(stores.registry, stores.measures, account)
        if not tariff.is_readable:
            raise click.ClickException(translate("cost.unreadable", "en"))
        if not tariff.is_set:
            raise click.ClickException(f"no price is set for this account: `releve prices set {account_id} …`")
        try:
            window = find_window(tariff.today, period, first, last)
            rows, days, paid = read_rows(stores.measures, account_id, tariff, window, period)
        except RowsRefused as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        parameters.print_json_lines(rows)
        return
    unpriced = list(tariff.explain_unpriced(window.dates(), "en"))
    days_unpriced = {day for part, _ in unpriced for day in part.dates()}
    print_table([_to_cells(row, period, days_unpriced) for row in rows])
    click.echo("amounts in euros; fixed: the subscription, about what a bill counts")
    for text in (*(reason for _, reason in unpriced), *explain_unpaid(window, paid, "en")):
        click.echo(text)
    since = min(days, default=window.start)
    past = (day for day in window.dates() if since <= day < tariff.today and day not in days)
    may_lack = tariff.kind == "electricity" and period is not Period.HOUR
    if lacking := sum(map(bool, map(tariff.price_on, past))) if may_lack else 0:
        reason = "their energy, off-peak hours or colours (from RTE, or `releve prices tempo FILE`) are unknown"
        click.echo(f"days with a price but no cost: {lacking}, because {reason}")
    if isinstance(now := tariff.choice_on(tariff.today), RegulatedChoice):
        click.echo(f"today: {tariff.describe(now, 'en')}")


def _print_comparison(account_id: str, power: int | None, hours: str, *, as_json: bool) -> None:
    with parameters.open_stores() as stores:
        account = stores.registry.accounts.get_existing(account_id)
        tariff = load_tariff(stores.registry, stores.measures, account, Option)
        if tariff.kind == "gas":
            raise click.UsageError("gas has no options to compare")
        if not (power := power or power_of(tariff)):
            raise click.UsageError("the subscribed power isn't known: give it with --power, in kVA")
        rows, sentences = compare_options(stores.measures, account_id, tariff, power, hours, "en")
    parameters.print_rows(rows, _COMPARED, as_json=as_json, empty="")
    reasons = [f"{row['option']}: {row['reason']}" for row in rows if row["reason"]]
    for line in () if as_json else (*reasons, *sentences):
        click.echo(line)


def _to_cells(row: Mapping[str, Any], period: Period, unpriced: Collection[date]) -> dict[str, Any]:
    first, end = row["start"][:10], row["end"][:10]
    no_price = "no price" if any(first <= str(day) < end or first == str(day) for day in unpriced) else ""
    no_price = f"in part {no_price}" if no_price and row["source"] else no_price
    known = "minutes" if period is Period.HOUR else "days"
    energies = [f"{one['name']}:{one['kwh']}" if len(row["periods"]) > 1 else one["kwh"] for one in row["periods"]]
    fed_in = {"fed-in": row["production_kwh"], "paid": row["production_eur"]} if "production_kwh" in row else {}
    return {
        period.value: _format_start(row["start"], period),
        "kWh": energies or None,
        "energy": row["energy_eur"],
        "fixed": row["subscription_eur"],
        "total": row["total_eur"],
        **fed_in,
        known: f"{row[known]}/{row[f'expected_{known}']}",
        "by": ", ".join(filter(None, [row["source"], "estimated" if row["estimated"] else "", no_price])) or None,
    }


def _format_start(start: str, period: Period) -> str:
    if period is not Period.HOUR:
        return start[: DATE_LENGTHS[period]]
    is_second = datetime.fromisoformat(start).astimezone(PARIS).fold
    return f"{start[:10]} {start[11:16]}{' (winter time)' if is_second else ''}"
