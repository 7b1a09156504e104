"""Parts shared by several commands: options and parameter types, confirmations, opening the stores, and printing."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from config.settings import get_settings
from worker.cli.command_audit import only_looks, shell_user_name
from worker.cli.gas_option import shows_gas
from worker.cli.printing import print_table
from worker.domain.access_right import is_gas_meter
from worker.domain.account import Account, AccountState, check_tenant
from worker.domain.documents import format_kwh
from worker.domain.series import Series, parse_series, usual_series
from worker.ops.logging_setup import warn

if TYPE_CHECKING:
    from worker.domain.consistency import MonthComparison
    from worker.runtime.stores import Stores
    from worker.stores.registry import Registry

_DAY_COUNT: Final = re.compile(r"([0-9]{1,4})d?")
_FOURTEEN_DIGITS: Final = re.compile(r"[0-9]{14}")
_Command = TypeVar("_Command", bound=Callable[..., Any])
PORT: Final = click.IntRange(0, 65_535)
POWER: Final = click.IntRange(1, 36)  # In kVA, as homes have it.
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
limit_option = click.option("--limit", type=click.IntRange(1), metavar="N", help="Show at most this many.")
state_option = click.option(
    "--state",
    type=click.Choice([state.value for state in AccountState if state is not AccountState.DELETED]),
    callback=lambda _context, _option, value: AccountState(value) if value else None,
    help="Only accounts in this state.",
)


@contextmanager
def open_stores() -> Iterator[Stores]:
    from worker.runtime import stores  # Imported here because not every command opens the stores.

    settings = get_settings()
    stores.announce_pretend_time(settings, warn)
    with stores.open_stores(settings, keep_new=not only_looks()) as opened:
        yield opened


@contextmanager
def open_registry() -> Iterator[Registry]:
    """Open the registry and nothing else: some commands need no Redis and no measures."""
    from worker.runtime.keys import Keys
    from worker.runtime.stores import open_current_registry

    settings = get_settings()
    with ExitStack() as stack:
        yield open_current_registry(settings, stack, Keys(settings, keep_new=not only_looks()))


@contextmanager
def refusing_taken_port(host: str, port: int) -> Iterator[None]:
    """Raise ClickException in place of OSError if a server can't listen on its address."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"can't listen on {host}:{port} ({error.strerror}): choose another --port") from None


def require_one_or_all(account_id: str | None, everybody: bool) -> None:
    """Raise UsageError unless either one account or all accounts are given."""
    if bool(account_id) == everybody:
        raise click.UsageError("give one ACCOUNT, or --all")


def chosen_accounts(registry: Registry, account_id: str | None) -> Iterator[Account]:
    """Yield the named account, or all accounts. Raises UnknownAccount."""
    if account_id:
        yield registry.accounts.get_existing(account_id)
    else:
        yield from registry.accounts.iterate()


def enqueue_history(stores: Stores, *account_ids: str) -> None:
    """Enqueue the backfill of accounts. Commit their rows first. Beat's reconciler sends a lost message again."""
    from worker.app import enqueue_backfill  # Imported here because most commands need no Celery.

    for account_id in account_ids:
        enqueue_backfill(account_id, broker_url=stores.broker_url)


class Checked(click.ParamType[Any]):
    """A parameter type. ``check``: turns a text into a value, or raises a ValueError that says what is wrong."""

    def __init__(self, name: str, check: Callable[[str], Any]) -> None:
        self.name, self._check = name, check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._check(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def to_day(text: str) -> date:
    """Return the date of a text like 2024-07-25. Raises ValueError if the text is no such date."""
    with suppress(ValueError):
        return date.fromisoformat(text)
    raise ValueError(f"{text!r} is not a day: write it like 2024-07-25")


def _to_days(text: str) -> timedelta:
    """Return the time span of a number of days, like 30 or 30d. Raises ValueError if the text has another form."""
    match = _DAY_COUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a number of days: write it like 30")
    return timedelta(days=int(match[1]))


def _to_usage_point(text: str) -> str:
    """Return the text if it is a meter's number. Raises ValueError otherwise.

    The error doesn't repeat the text, which may be personal data.
    """
    if not _FOURTEEN_DIGITS.fullmatch(text):
        raise ValueError("a usage point has 14 digits, as on the meter and the bill (PDL or PRM)")
    return text


def _to_gas_meter(text: str) -> str:
    """Return a gas meter's number (PCE), without blanks.

    Raises ValueError if the text is no PCE, or if gas is not set up. The error doesn't repeat the text, which may be
    personal data.
    """
    number = re.sub(r"\s", "", text).upper()
    if not is_gas_meter(number):
        raise ValueError("a gas meter (PCE) has 14 digits, or GI and six digits, as on the bill")
    if not shows_gas(click.get_current_context(silent=True)):
        raise ValueError("gas is not set up here: set RELEVE_GRDF_CLIENT_ID")
    return number


def _read_meter(text: str) -> str:
    """Return the number of an electricity or gas meter, without blanks; if the text is ``-``, read standard input."""
    number = "".join((sys.stdin.readline() if text == "-" else text).split()).upper()
    # ``is_gas_meter`` accepts 14 digits of either kind; for any other text, ``_to_usage_point`` raises the error.
    return number if is_gas_meter(number) else _to_usage_point(number)


def _read_reference(text: str) -> str:
    """Return a reference of the operator; if the text is ``-``, read standard input."""
    return sys.stdin.readline() if text == "-" else text


DAY: Final = Checked("YYYY-MM-DD", to_day)
DAY_COUNT: Final = Checked("DAYS", _to_days)
USAGE_POINT: Final = Checked("14DIGITS", _to_usage_point)
SERIES_NAMES: Final = Checked("NAMES", parse_series)
TENANT_NAME: Final = Checked("TENANT", check_tenant)  # The tenant need not exist.
GAS_METER: Final = Checked("PCE", _to_gas_meter)
ANY_METER: Final = Checked("METER|-", _read_meter)
REFERENCE: Final = Checked("TEXT|-", _read_reference)


def _check_dash(text: str) -> str:
    """Return the text if it is ``-`` (standard input). Raises ValueError otherwise.

    The error doesn't repeat the text, which may be the secret.
    """
    if text != "-":
        seen = "here it is visible to others and stays in the shell's history"
        raise ValueError(f"{seen}: give - and write it to standard input")
    return text


FROM_INPUT: Final = Checked("-", _check_dash)


def read_secret(option: str | None, name: str, prompt: str, *, confirmed: bool = False) -> str:
    """Return the secret. If the option is given, read it from standard input; otherwise ask for it at the terminal."""
    if option is not None:
        lines = iter(partial(sys.stdin.readline, 10_000), "")
        return next((line for line in lines if line.strip()), "").rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError(f"there is no terminal to ask on: give --{name} - and write it to standard input")
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirmed, err=True))


def tenant_option(text: str, default: str | None = None) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the option ``--tenant`` to a command. ``text``: the option's help."""
    return click.option("--tenant", type=TENANT_NAME, default=default, help=text)


def shell_user() -> str:
    """Return the shell's user as ``cli:alice``, the form in which consent proofs name the person who vouches."""
    return f"cli:{shell_user_name()}"


def confirm_on_terminal(question: str, yes: bool, *, if_not: str) -> None:
    """Unless ``yes``, ask a person at a terminal whether to continue; scripts are not asked.

    Raises ClickException with the text ``if_not`` if the answer is no.
    """
    if not yes and sys.stdin.isatty():
        _confirm(question, if_not)


def require_confirmation(question: str, yes: bool, *, if_not: str) -> None:
    """Unless ``yes``, ask whether to continue. Raises ClickException after a no, or if there is no terminal."""
    if not yes and not sys.stdin.isatty():
        raise click.ClickException(f"{if_not}: there is no terminal to ask for confirmation, give --yes")
    if not yes:
        _confirm(question, if_not)


def _confirm(question: str, if_not: str) -> None:
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C or Ctrl-D.
        click.echo(err=True)
        agreed = False
    if not agreed:
        raise click.ClickException(if_not)


def shell_language() -> str:
    """Return the language of this shell, ``fr`` or ``en``, from LC_ALL, LC_MESSAGES or LANG."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "fr" if next(filter(None, names), "").lower().startswith("fr") else "en"


def print_result(value: Mapping[str, Any], *lines: str, as_json: bool) -> None:
    """Print a result as one JSON object, or as lines for people."""
    if as_json:
        print_json(value)
        return
    for line in lines:
        click.echo(line)


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool, empty: str) -> None:
    """Print the rows as lines of JSON or as a table; print ``empty`` instead of a table without rows."""
    rows = iter(rows)
    if as_json:
        print_json_lines(rows)
    elif first := next(rows, None):
        print_table(chain([first], rows), columns)
    else:
        click.echo(empty)


def describe_amount(amount: int | None, series: Series) -> str:
    """Return an amount of a series with its unit, like ``4.638 kVA``; ``nothing`` for None."""
    return "nothing" if amount is None else f"{format_kwh(amount)} {series.description.quantity.load_unit}"


def name_beside_key(series: Series) -> str:
    """Return a series' name and a blank, to stand before a document's key.

    The text is empty for daily values and curves that are collected by default (``usual_series``).
    """
    is_usual = series in usual_series(series.description.supplier) and (series.is_daily_energy or series.has_steps)
    return "" if is_usual else f"{series.value} "


def describe_month(month: MonthComparison) -> str:
    """Describe how the sum of a month's days compares with the published value; a difference is never an error."""
    daily, published, allowed = (format_kwh(amount) for amount in (month.daily, month.published, month.allowed))
    if month.agrees:
        return f"{month.key}: {daily} kWh by days, {published} kWh published: they agree within 1 m³ ({allowed} kWh)"
    return (
        f"{month.key}: {daily} kWh by days, {published} kWh published: they differ by more than 1 m³ ({allowed} "
        "kWh), which is not an error"
    )


def print_json(value: Mapping[str, Any]) -> None:
    """Print an object as one line of JSON. A command that lists rows prints one such line for each row."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_json_lines(values: Iterable[Mapping[str, Any]]) -> None:
    for value in values:
        print_json(value)


def counts_line(counts: Mapping[str, Any]) -> str:
    names = ("created", "updated", "removed", "unchanged") if counts["removed"] else ("created", "updated", "unchanged")
    return ", ".join(f"{counts[name]} {name}" for name in names)
