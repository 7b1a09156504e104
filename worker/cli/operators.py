"""`releve operators`: make, list and end the operators, who open the page /operator."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from config.settings import ConfigError, Settings, get_settings
from worker.accounts.status import to_row
from worker.cli.common import confirm_on_terminal, json_option, open_registry_database, print_json, print_rows
from worker.domain.clock import real_clock
from worker.domain.sessions import (
    PASSWORD_FAULTS,
    KeyKind,
    Operator,
    find_password_fault,
    find_totp_step,
    new_totp_key,
    plain_name,
    totp_address,
)
from worker.ops.logging_setup import warn
from worker.runtime.keys import has_session_keys
from worker.runtime.sync_parts import Runtime
from worker.runtime.web_access import OperatorAccess, build_operator_access
from worker.stores.registry.access_keys import OperatorRefused

_FROM_STDIN: Final = "-"
_CODE_TRIES: Final = 3
_password_option = click.option(
    "--password", metavar="-", help="Give - to read the password from standard input. Default: a prompt asks for it."
)


def new_operator_link(access: OperatorAccess, operator: Operator, public_url: str) -> str:
    """Return a link that opens a session of the operator, once and within 10 minutes; older ones end."""
    access.operators.end_links(operator.id)
    _, text = access.keys.create(KeyKind.OPERATOR_LINK, operator.id)
    return f"{public_url}/operator/link#{text}"


def warn_without_operators(runtime: Runtime) -> None:
    """Print a line where there is no operator yet; a home has none."""
    if not runtime.settings.is_home and not runtime.web_access.operators.has_any():
        warn("there is no operator yet: add one with `releve operators add NAME`, who then signs in at /operator")


@click.group()
def operators() -> None:
    """Add, list and remove operators, the people who can open the page /operator.

    Run these commands where the web application runs, because they need the session key.

    \b
    Example:
      releve operators list
    """


@operators.command()
@click.argument("name")
@_password_option
@click.option(
    "--no-second-factor", is_flag=True, help="No second factor. The operator can sign in on this machine only."
)
@json_option
def add(name: str, password: str | None, no_second_factor: bool, as_json: bool) -> None:
    """Add the operator NAME.

    They sign in with a password and the codes of an authenticator app (TOTP).

    The password must have 12 characters or more and be hard to guess. The app's key is printed once.

    \b
    Examples:
      releve operators add alice
      releve operators add alice --password - --json < password.txt
    """
    _check_password_option(password)
    with _open_access() as access:
        text, key = _read_password(password, plain_name(name)), None if no_second_factor else new_totp_key()
        if key and not as_json:
            _show_key(key, plain_name(name))
        if key and password is None:
            _confirm_code(key)
        operator = access.operators.add(name, text, key)
    if as_json:
        address = totp_address(key, operator.name) if key else None
        print_json({**to_row(operator), "totp_key": key, "totp_address": address})
        return
    click.echo(f"operator {operator.name} can sign in at /operator{'' if key else ', on this machine only (loopback)'}")


@operators.command("list")
@json_option
def list_operators(as_json: bool) -> None:
    """List the operators, with their open sessions.

    \b
    Example:
      releve operators list --json
    """
    with _open_access() as access:
        found = access.operators.list()
        rows = [{**to_row(one), "sessions": len(access.keys.list([one.id]))} for one in found]
    columns = {
        "name": "name",
        "second factor": "has_second_factor",
        "created": "created_at",
        "signed in": "signed_in_at",
        "sessions": "sessions",
    }
    print_rows(rows, columns, as_json=as_json, empty="no operators yet: add one with `releve operators add NAME`")


@operators.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
def end(name: str, yes: bool) -> None:
    """Remove the operator NAME and end their sessions.

    The name can be used again.

    \b
    Example:
      releve operators end alice
    """
    with _open_access() as access:
        operator = access.operators.find(name)
        confirm_on_terminal(
            f"Remove operator {operator.name} and end their sessions?", yes, if_not="no operator was removed"
        )
        access.operators.end(operator.id)
    click.echo(f"operator {operator.name} is removed")


@operators.command("password")
@click.argument("name")
@_password_option
def set_password(name: str, password: str | None) -> None:
    """Set a new password of the operator NAME.

    Their sessions end. The second factor stays: to replace it, remove the operator and add them again.

    \b
    Example:
      releve operators password alice
    """
    _check_password_option(password)
    with _open_access() as access:
        operator = access.operators.find(name)
        access.operators.set_password(operator.id, _read_password(password, operator.name))
    click.echo(f"operator {operator.name} has a new password; the sessions have ended")


@operators.command("link")
@click.argument("name")
def make_link(name: str) -> None:
    """Print a link that signs the operator NAME in.

    It works once, for 10 minutes, and replaces the password. On other machines than this one the second factor is
    needed as well.

    \b
    Example:
      releve operators link alice
    """
    with _open_access() as access:
        operator = access.operators.find(name)
        link = new_operator_link(access, operator, get_settings().public_url)
    warn(f"anyone with this link can sign in as operator {operator.name}: it works once, for 10 minutes")
    click.echo(link)


@contextmanager
def _open_access() -> Iterator[OperatorAccess]:
    """Open what browsers are let in by.

    Raises ConfigError where this is not the place of the web application: it could not read what is made here.
    """
    settings = get_settings()
    if not _has_session_key(settings):
        raise ConfigError(
            "the session key is missing: run this where the web application runs (`docker compose exec web releve "
            "operators …`), or set RELEVE_SESSION_KEY"
        )
    with open_registry_database() as database:
        yield build_operator_access(settings, database)


def _has_session_key(settings: Settings) -> bool:
    """Return whether the session key is here, or may be made here because the registry is here too."""
    return settings.registry_url is None or has_session_keys(settings)


def _check_password_option(password: str | None) -> None:
    if password not in (None, _FROM_STDIN):
        raise click.BadParameter(
            "a password on the command line is visible to others: give - and write it to standard input",
            param_hint="--password",
        )


def _read_password(option: str | None, name: str) -> str:
    """Return a good password, asked for twice or read from standard input. Raises OperatorRefused."""
    if option == _FROM_STDIN:
        password = sys.stdin.readline().rstrip("\r\n")
    elif not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask on: give --password - and write the password to standard input"
        )
    else:
        password = click.prompt("password (12 characters or more)", hide_input=True, confirmation_prompt=True, err=True)
    if fault := find_password_fault(password, name):
        raise OperatorRefused(PASSWORD_FAULTS[fault])
    return password


def _show_key(key: str, name: str) -> None:
    warn("add this key to an authenticator app; it can't be shown again")
    click.echo(f"key      {key}\naddress  {totp_address(key, name)}")


def _confirm_code(key: str) -> None:
    """Ask for a code of the app that has the new key. Raises ClickException where none is right."""
    for _ in range(_CODE_TRIES):
        code: Any = click.prompt("code that the app shows now", err=True)
        if find_totp_step(key, str(code), real_clock()) is not None:
            return
        warn("wrong code: check the clocks of this machine and of the phone")
    raise click.ClickException("no operator was added: the codes of the app are wrong")
