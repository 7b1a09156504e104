"""`releve prices`: what an account, or the accounts of a tenant, pay for energy, and the colours of Tempo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import click

from config.settings import get_settings
from worker.accounts.price_files import fetch_from, read_from_folder, update_files
from worker.accounts.prices import AccountTariff, Owner, load_tariff, remove_prices, save_colours, set_prices
from worker.accounts.status import to_row
from worker.cli import parameters
from worker.cli.command_audit import READS, Group
from worker.cli.resources import Listing
from worker.domain.audit_entry import AuditAction
from worker.domain.clock import real_clock
from worker.domain.prices import Option, Price, PricesRefused
from worker.domain.prices.choices import (
    KINDS,
    OffPeakHours,
    RegulatedChoice,
    TariffChoices,
    format_hours,
    hours_of_contracts,
    read_hours,
)
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.prices.tempo import read_colours
from worker.domain.windows import civil_date
from worker.runtime.stores import Stores
from worker.runtime.supplier_settings import price_addresses

_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_MOST_BYTES: Final = 1024**2
_PRICES: Final = Listing(
    "kind, from=first, until=last?, tariff, remark…?, set for=owner?",
    "no prices are set: `releve prices set --help` shows how",
)
_UPDATES: Final = Listing(
    "file=name, in use=copied_on, new rows=new_rows, not taken because=refused", "nothing to update"
)
_account_argument = click.argument("account_id", metavar="[ACCOUNT]", required=False)


@click.group(cls=Group)
def prices() -> None:
    """Say what an account pays for energy: the regulated tariff or own prices. Nothing is assumed.

    \b
    Example:
      releve prices set 3kq7d0fr2m --option base --power 6
    """


@prices.command("set", audit=AuditAction.PRICES_SET)
@_account_argument
@parameters.tenant_option("Set what accounts of this tenant pay that have no prices of their own.")
@click.option("--option", type=click.Choice([one.value for one in Option]), help="Option of the regulated tariff.")
@click.option("--power", type=parameters.POWER, metavar="KVA", help="Power of the contract, in kVA.")
@click.option("--hours", metavar="RANGES", help="Off-peak hours, such as 22:00-06:00,12:30-14:30.")
@click.option("--file", type=parameters.FILE, help="File of own prices (TOML).")
@click.option("--from", "first", type=parameters.DAY, help="First day. Default: from the beginning, the first time.")
@parameters.json_option
def set_tariff(
    account_id: str | None,
    tenant: str | None,
    option: str | None,
    power: int | None,
    hours: str | None,
    file: Path | None,
    first: date | None,
    as_json: bool,
) -> None:
    """Set the tariff, own prices or off-peak hours of ACCOUNT.

    What is set from another day on stays. A file has its own days, and replaces all own prices of its kinds. Off-peak
    hours that the contract tells need not be given. docs/how-to/prices.md shows a file.

    \b
    Examples:
      releve prices set 3kq7d0fr2m --option hphc --power 9 --hours 22:00-06:00
      releve prices set 3kq7d0fr2m --option tempo --power 9 --from 2026-11-01
      releve prices set 3kq7d0fr2m --file own.toml
      releve prices set --tenant energies --option base --power 6
    """
    if (option is None) != (power is None) or not (option or hours or file) or (first and not (option or hours)):
        raise click.UsageError("give --option with --power, or --hours, or --file, which has its own days")
    ranges = read_hours(hours) if hours is not None else ()
    own = _read_file(file, read_own_prices) if file else None
    with parameters.open_stores() as stores:
        owner = _find_owner(stores, account_id, tenant)
        regulated = (Option(option), power) if option and power else None
        set_prices(stores.registry, owner, regulated=regulated, own=own, hours=ranges, first=first)
    days = [first] if first else [one.first for kind in KINDS if own for one in getattr(own, kind)]
    later = min((day for day in days if day > civil_date(real_clock())), default=None)
    holds = f", from {first} on" if first else ""
    line = f"the prices are set{holds}{f' (in the future: {later})' if later else ''}"
    line += f": `releve prices show {account_id}` lists all" if account_id else ""
    parameters.print_result({"account": account_id, "tenant": tenant, "set": True}, line, as_json=as_json)


@prices.command(audit=READS)
@click.argument("account_id", metavar="ACCOUNT")
@parameters.json_option
def show(account_id: str, as_json: bool) -> None:
    """Show tariffs, own prices and off-peak hours of ACCOUNT, also those set for its tenant.

    \b
    Example:
      releve prices show 3kq7d0fr2m
    """
    with parameters.open_stores() as stores:
        account = stores.registry.accounts.get_existing(account_id)
        _PRICES.print(_rows(load_tariff(stores.registry, stores.measures, account)), as_json=as_json)


@prices.command(audit=AuditAction.PRICES_REMOVE)
@_account_argument
@parameters.tenant_option("Remove what is set for this tenant.")
@parameters.json_option
def remove(account_id: str | None, tenant: str | None, as_json: bool) -> None:
    """Remove all prices and off-peak hours of ACCOUNT.

    \b
    Example:
      releve prices remove 3kq7d0fr2m
    """
    with parameters.open_stores() as stores:
        removed = remove_prices(stores.registry, _find_owner(stores, account_id, tenant))
    line = "the prices are removed" if removed else "no prices were set"
    parameters.print_result({"account": account_id, "tenant": tenant, "removed": removed}, line, as_json=as_json)


@prices.command(audit=AuditAction.PRICES_COLOURS)
@click.argument("file", type=parameters.FILE)
@parameters.json_option
def tempo(file: Path, as_json: bool) -> None:
    """Read the colours of Tempo from FILE.

    Below the line `day,colour` it has a line for each day, such as 2026-01-31,RED. Days that it doesn't have keep their
    known colours.

    \b
    Example:
      releve prices tempo tempo_days.csv
    """
    with parameters.open_registry() as registry:
        added, changed = save_colours(registry, _read_file(file, read_colours))
    line = f"new days: {added}; days with another colour than before: {changed}"
    parameters.print_result({"added": added, "changed": changed}, line, as_json=as_json)


@prices.command(audit=AuditAction.PRICES_UPDATE)
@click.option("--folder", type=_FOLDER, help="Read the files in this folder instead of fetching them.")
@parameters.json_option
def update(folder: Path | None, as_json: bool) -> int:
    """Fetch the regulated prices again.

    They are the regulator's files Option_Base.csv, Option_HPHC.csv and Option_Tempo.csv. If a
    file can't be fetched, can't be right, or isn't in the folder, the copy in use stays, and the exit code is 1.

    \b
    Example:
      releve prices update --folder Downloads
    """
    today = civil_date(real_clock())
    read_copy = read_from_folder(folder, today) if folder else fetch_from(price_addresses(get_settings()), today)
    with parameters.open_registry() as registry:
        updates = update_files(registry, read_copy)
    _UPDATES.print(map(to_row, updates), as_json=as_json)
    return int(any(one.refused for one in updates))


def _find_owner(stores: Stores, account_id: str | None, tenant: str | None) -> Owner:
    if (account_id is None) == (tenant is None):
        raise click.UsageError("give either an ACCOUNT or --tenant")
    return tenant or stores.registry.accounts.get_existing(str(account_id))


def _read_file(file: Path, read: Any) -> Any:
    """Return what ``read`` makes of a text file. Raises PricesRefused with the file's name."""
    with file.open("rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    try:
        if len(content) > _MOST_BYTES:
            raise PricesRefused(f"it is larger than {_MOST_BYTES // 1024} kB")
        return read(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise PricesRefused(f"{file.name}: not a text in UTF-8") from None
    except PricesRefused as refused:
        raise PricesRefused(f"{file.name}: {refused}") from None


def _rows(tariff: AccountTariff) -> Iterator[Mapping[str, Any]]:
    """Yield what is set for an account, also by its tenant and its contract."""
    sets = dict(zip(("account", "tenant"), tariff.choices, strict=False))
    sets["contract"] = TariffChoices(hours=tuple(hours_of_contracts(tariff.contracts)))
    for owner, choices in sets.items():
        for kind, choice in ((name, one) for name in (*KINDS, "hours") for one in getattr(choices, name)):
            match choice:
                case RegulatedChoice():
                    text, remark = f"regulated {choice.option}, {choice.power} kVA", tariff.describe(choice, "en")
                case OffPeakHours():
                    text, remark = format_hours(choice.ranges), "estimated" if choice.estimated else ""
                case _:
                    text, remark = _describe(choice), ""
            remarks = ["in the future" if choice.first > tariff.today else "", remark]
            yield {
                "kind": kind,
                "first": str(choice.first),
                "last": str(choice.last) if isinstance(choice, Price) and choice.last else None,
                "tariff": text,
                "owner": owner,
                "remark": ", ".join(filter(None, remarks)),
            }


def _describe(price: Price) -> str:
    energy = ", ".join(f"{name} {amount}" for name, amount in price.energy.items())
    monthly = f", {price.subscription / 12} a month" if price.subscription else ""
    return f"{price.supplier or 'own'}: {energy}{monthly}"
