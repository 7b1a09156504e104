"""What several commands share: opening the runtime, parameter types for click, printing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any, Final

import click

from config.settings import get_settings
from worker.domain.consent.accounts import Account, AccountState
from worker.errors import UnknownAccount
from worker.runtime.process import Runtime, announce_pretend_time

_DAY_COUNT: Final = re.compile(r"([0-9]{1,4})d")
_FOURTEEN_DIGITS: Final = re.compile(r"[0-9]{14}")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@contextmanager
def open_runtime() -> Iterator[Runtime]:
    """Open the runtime for the length of one command."""
    settings = get_settings()
    announce_pretend_time(settings, warn)
    with Runtime(settings, guarded=True) as runtime:
        yield runtime


def require_account(runtime: Runtime, account_id: str) -> Account:
    """Return the account.  Raises UnknownAccount, for a removed one too."""
    account = runtime.registry.get(account_id)
    if account.state is AccountState.DELETED:
        raise UnknownAccount(f"account {account_id} was removed: `releve accounts list` shows those there are")
    return account


class Day(click.ParamType[Any]):
    """A civil day in ISO form, like 2024-07-25."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day: write it like 2024-07-25", param, ctx)


class DayCount(click.ParamType[Any]):
    """A number of days of at most four digits, like 30d.

    ``name`` stands for the value in the help, ``example`` in the error.  ``zero`` permits 0d and leading zeros.
    """

    def __init__(self, name: str, *, example: str, zero: bool) -> None:
        self.name = name
        self._example = example
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = _DAY_COUNT.fullmatch(value)
        if match is None or (match[1].startswith("0") and not self._zero):
            self.fail(f"{value!r} is no number of days: write it like {self._example}", param, ctx)
        return timedelta(days=int(match[1]))


class UsagePoint(click.ParamType[Any]):
    """A meter's number of 14 digits.  The error does not repeat it: it is personal data, and terminals are logged."""

    name = "14DIGITS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _FOURTEEN_DIGITS.fullmatch(str(value)):
            self.fail("a usage point has 14 digits, as on the meter and the bill (PDL or PRM)", param, ctx)
        return str(value)


def warn(text: str) -> None:
    """Print one line on the error stream."""
    click.echo(f"releve: {text}", err=True)


def print_json(value: Any) -> None:
    """Print the value as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))
