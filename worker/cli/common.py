"""What several commands share: the runtime, the kinds of arguments, ways to print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, Final

import click

from config.settings import get_settings
from worker.domain.consent.accounts import Account, AccountState
from worker.errors import UnknownAccount
from worker.runtime.process import Runtime, announce_pretence

_FOURTEEN_DIGITS: Final = re.compile(r"[0-9]{14}")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@contextmanager
def open_runtime() -> Iterator[Runtime]:
    """The house, for the length of one command."""
    settings = get_settings()
    announce_pretence(settings, warn)
    with Runtime(settings, guarded=True) as runtime:
        yield runtime


def living_account(runtime: Runtime, account_id: str) -> Account:
    """Raises UnknownAccount for a removed one too, with what to do."""
    account = runtime.registry.get(account_id)
    if account.state is AccountState.DELETED:
        raise UnknownAccount(f"account {account_id} was removed: `releve accounts list` shows those there are")
    return account


class Day(click.ParamType[Any]):
    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day: write it like 2024-07-25", param, ctx)


class UsagePoint(click.ParamType[Any]):
    """The number is not repeated in the error: it is personal data, and shells keep logs."""

    name = "14DIGITS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _FOURTEEN_DIGITS.fullmatch(str(value)):
            self.fail("a usage point has 14 digits, as on the meter and the bill (PDL or PRM)", param, ctx)
        return str(value)


def warn(text: str) -> None:
    """One line on the error stream."""
    click.echo(f"releve: {text}", err=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
