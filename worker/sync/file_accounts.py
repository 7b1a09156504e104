"""Whose meter a file is of: the account that its readings go to, and the account that a home's new file makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from worker.accounts.assertion import AccountAssertion
from worker.domain.account import Account, AccountState
from worker.domain.files.cells import FileFault, FileRefused, FileSeries
from worker.domain.series import grid_operator_of, of_supplier
from worker.errors import FilesOnly, MeterElsewhere, TokenNeeded
from worker.stores.registry.accounts import AccountRegistry

VOUCHER: Final = "file import"
_GAS: Final = "grdf"


@dataclass(frozen=True, kw_only=True)
class FileAccounts:
    """The accounts of files.

    ``suppliers``: the supplier of an account that a file makes, by the grid operator of its series.
    """

    registry: AccountRegistry
    assertion: AccountAssertion
    suppliers: dict[str, str]

    def check(self, file: FileSeries, account: Account, meter: str | None = None) -> None:
        """Raise FileRefused unless the file is of the account's meter.

        ``meter``: the number that a person says, for a file that has none. One without a number is of the meter that
        the person has chosen.
        """
        if account.state in (AccountState.CLOSED, AccountState.DELETED):
            raise FileRefused(
                f"{file.file}: nothing is stored, because account {account.id} is {account.state}", FileFault.CLOSED
            )
        if file.series not in of_supplier(account.supplier):
            of_file = "gas" if file.series.description.supplier == _GAS else "electricity"
            raise FileRefused(
                f"{file.file}: it is about {of_file}, which is not what account {account.id} is about",
                FileFault.OTHER_ENERGY,
            )
        number = number_of(file, meter)
        if number is not None and number != account.usage_point_id:
            raise FileRefused(
                f"{file.file}: it is of meter {mask(number)}, but account {account.id} is of "
                f"{account.last_digits or 'none'}",
                FileFault.OTHER_METER,
            )

    def find(self, file: FileSeries, meter: str | None = None, tenant: str | None = None) -> Account | None:
        """Return the account that reads the file's meter; None where there is none. Raises FileRefused."""
        number = require_number(file, meter)
        operator = file.series.description.supplier
        accounts = self.registry.find_by_meter(number, tenant=tenant)
        return next((account for account in accounts if grid_operator_of(account.supplier) == operator), None)

    def add(self, file: FileSeries, meter: str | None = None) -> Account:
        """Return the account of a new meter, for which nothing is asked before it gets a token. Raises FileRefused.

        Raises MeterErased where the meter's data were erased.
        """
        operator = file.series.description.supplier
        assertion = replace(self.assertion, supplier=self.suppliers[operator])
        waits_under = FilesOnly.code if operator == _GAS else TokenNeeded.code
        try:
            return assertion.add(require_number(file, meter), VOUCHER, waits_under=waits_under)[0]
        except MeterElsewhere as error:
            raise FileRefused(f"{file.file}: {error}") from None


def number_of(file: FileSeries, meter: str | None) -> str | None:
    """Return the number of the file's meter, or that which a person says; None for neither. Raises FileRefused."""
    number = file.usage_point
    if number is not None and number.isdecimal():
        number = number.zfill(14)  # A spreadsheet takes zeros away.
    if number is not None and meter is not None and number != meter:
        raise FileRefused(f"{file.file}: it is of meter {mask(number)}, not of {mask(meter)}")
    return number or meter


def require_number(file: FileSeries, meter: str | None) -> str:
    """Return the number of the file's meter. Raises FileRefused where nobody says it."""
    number = number_of(file, meter)
    if number is None:
        raise FileRefused(f"{file.file}: it does not name its meter: give --usage-point or --account")
    return number


def mask(number: str) -> str:
    """Return the last four digits of a meter's number, all of it that is ever shown: ``…0011``."""
    return f"…{number[-4:]}"
