"""Who may come in: `releve operators`, `sessions`, `tokens`, `proxy-clients` and `tenants`.

Operators open the page /operator. Tenants are the services that share this Relève, each with accounts, tokens and a
webhook of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from config.settings import ConfigError, Settings, get_settings
from config.validation import check_http_url, check_webhook
from worker.accounts.status import to_row
from worker.cli.command_audit import note_result
from worker.cli.parameters import (
    TENANT_NAME,
    CheckedText,
    DayCount,
    confirm_on_terminal,
    json_option,
    open_registry_database,
    print_json,
    print_result,
    print_rows,
    tenant_column,
    tenant_option,
)
from worker.cli.printing import local_text
from worker.domain.account import DEFAULT_TENANT, LONGEST_TITLE
from worker.domain.clock import real_clock
from worker.domain.oauth_proxy import check_redirect_uri
from worker.domain.sessions import (
    PASSWORD_FAULTS,
    KeyKind,
    Operator,
    Scope,
    find_password_fault,
    find_totp_step,
    new_totp_key,
    plain_name,
    totp_address,
)
from worker.ops.logging_setup import warn
from worker.runtime.keys import build_sealer, has_session_keys
from worker.runtime.web_access import OperatorAccess, WebAccess, build_operator_access
from worker.stores.encryption import Purpose
from worker.stores.registry.access_keys import SESSIONS, OperatorRefused, SessionTable
from worker.stores.registry.api_tokens import (
    LONGEST_LIFE,
    USUAL_LIFE,
    ApiTokenTable,
    TenantTable,
    WebhookTarget,
    require_tenant,
)
from worker.stores.registry.proxy import ProxyClientTable, ProxyGrantTable

_FROM_STDIN: Final = "-"
_CODE_TRIES: Final = 3
_SCOPE_HELP: Final = f"What the token allows: {', '.join(Scope)}. Repeat it for several."
_LONGEST_NAME: Final = 100  # Of tokens and clients.
_password_option = click.option(
    "--password", metavar="-", help="Give - to read the password from standard input. Default: a prompt asks for it."
)
_pkce_option = click.option(
    "--pkce/--no-pkce", default=True, show_default=True, help="Require a code challenge (S256) in each request."
)
_numbers_option = click.option(
    "--numbers-in-redirect/--no-numbers-in-redirect",
    default=False,
    show_default=True,
    help="Put the numbers of meter and consent in the redirect URL, too; the token answer has them anyway.",
)
_SESSION_KINDS: Final = {"household": KeyKind.HOUSEHOLD_SESSION, "operator": KeyKind.OPERATOR_SESSION}
_kind_option = click.option(
    "--kind", type=click.Choice(list(_SESSION_KINDS)), help="Only sessions of households, or of operators."
)
_account_option = click.option(
    "--account", "account_id", metavar="ACCOUNT", help="Only sessions that can show this account."
)


def new_operator_link(access: OperatorAccess, operator: Operator, public_url: str) -> str:
    """Return a link that opens a session of the operator, once and within 10 minutes; older ones end."""
    access.keys.end_of([operator.id], [KeyKind.OPERATOR_LINK])
    _, text = access.keys.create(KeyKind.OPERATOR_LINK, operator.id)
    return f"{public_url}/operator/link#{text}"


def warn_without_operators(settings: Settings, access: WebAccess) -> None:
    """Print a line where there is no operator yet; a home has none."""
    if not settings.is_home and not access.operators.has_any():
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
    row = {**to_row(operator), "totp_key": key, "totp_address": totp_address(key, operator.name) if key else None}
    line = f"operator {operator.name} can sign in at /operator{'' if key else ', on this machine only (loopback)'}"
    print_result(row, line, as_json=as_json)


@operators.command("list")
@json_option
def list_operators(as_json: bool) -> None:
    """List the operators, with their open sessions.

    \b
    Example:
      releve operators list --json
    """
    with _open_access() as access:
        found = access.operators.list_operators()
        rows = [{**to_row(one), "sessions": len(access.keys.list_keys([one.id]))} for one in found]
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
    # Where the registry is here too, the key may be made here.
    if settings.registry_url is not None and not has_session_keys(settings):
        raise ConfigError(
            "the session key is missing: run this where the web application runs (`docker compose exec web releve "
            "operators …`), or set RELEVE_SESSION_KEY"
        )
    with open_registry_database() as database:
        yield build_operator_access(settings, database)


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


@click.group()
def sessions() -> None:
    """List and end the sessions of signed-in browsers.

    \b
    Example:
      releve sessions list
    """


@sessions.command("list")
@_account_option
@_kind_option
@json_option
def list_keys(account_id: str | None, kind: str | None, as_json: bool) -> None:
    """List the sessions, last seen first.

    No names of people are stored.

    \b
    Examples:
      releve sessions list
      releve sessions list --account k9xgwnz9gvp2
    """
    with open_registry_database() as database:
        table = SessionTable(database)
        owners = None if account_id is None else table.households_of([account_id])
        keys = table.list_keys(owners, _chosen_kind(kind))
    names = ("kind", "owner", "device", "created_at", "last_seen_at", "expires_at")
    rows = [{"session": key.id, **to_row(key, *names)} for key in keys]
    moments = {"signed in": "created_at", "last seen": "last_seen_at", "ends": "expires_at"}
    columns = {"session": "session", "kind": "kind", "of": "owner", "device": "device", **moments}
    print_rows(rows, columns, as_json=as_json, empty="no sessions")


@sessions.command("end")
@click.argument("session_id", metavar="[SESSION]", required=False)
@_account_option
@_kind_option
@click.option("--all", "everybody", is_flag=True, help="All sessions, or all of one --kind.")
def end_sessions(session_id: str | None, account_id: str | None, kind: str | None, everybody: bool) -> None:
    """End one session, an account's sessions, or all.

    The browser is signed out at its next request.

    Recovery codes stay valid, so that a household can sign in again.

    \b
    Examples:
      releve sessions end h4t8q2mxk0ra
      releve sessions end --account k9xgwnz9gvp2
      releve sessions end --all --kind operator
    """
    if [session_id is not None, account_id is not None, everybody].count(True) != 1:
        raise click.UsageError("give one of SESSION, --account and --all")
    with open_registry_database() as database:
        table = SessionTable(database)
        if session_id is not None:
            ended = int(table.end(session_id))
        elif account_id is not None:
            ended = table.end_of(table.households_of([account_id]), _chosen_kind(kind))
        else:
            ended = table.end_all(_chosen_kind(kind))
    if session_id is not None and not ended:
        raise click.ClickException("no session has this id: `releve sessions list` shows the ids")
    click.echo(f"{ended} session{'s' if ended != 1 else ''} ended")


def _chosen_kind(kind: str | None) -> frozenset[KeyKind]:
    return frozenset({_SESSION_KINDS[kind]}) if kind else SESSIONS


class Scopes(click.ParamType[Any]):
    """One or more scopes with commas or spaces between them."""

    name = "SCOPE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[Scope]:
        words = value.replace(",", " ").split()
        try:
            scopes = frozenset(Scope(word) for word in words)
        except ValueError:
            scopes = frozenset()
        if not scopes:
            self.fail(f"give one or more of {', '.join(Scope)}, with commas between them", param, ctx)
        return scopes


@click.group()
def tokens() -> None:
    """Create, list and revoke API tokens.

    \b
    Example:
      releve tokens list
    """


@tokens.command()
@click.option("--name", required=True, help="Name for lists and logs, of up to 100 characters.")
@click.option("--scope", "scopes", required=True, multiple=True, type=Scopes(), help=_SCOPE_HELP)
@click.option(
    "--expires",
    "expires_in",
    type=DayCount(),
    default=f"{USUAL_LIFE.days}d",
    show_default=True,
    help=f"Days until it expires, at most {LONGEST_LIFE.days}d.",
)
@tenant_option("Tenant whose accounts it opens; see `releve tenants`.", DEFAULT_TENANT)
@json_option
def new(name: str, scopes: Sequence[frozenset[Scope]], expires_in: timedelta, tenant: str, as_json: bool) -> None:
    """Create a token and print it.

    It is shown once, because only its hash is stored.

    Two weeks before it expires the operator gets a notice, and `releve doctor` warns. A token can read ALL accounts of
    its tenant: give it to your own programs, not to households.

    \b
    Examples:
      releve tokens new --name dashboard --scope read:accounts,read:measures --expires 30d
      releve tokens new --name billing --scope read:measures --tenant kilowatt
    """
    name = _checked_name(name, "--name")
    if not timedelta(0) < expires_in <= LONGEST_LIFE:
        raise click.BadParameter(f"a token expires after 1 to {LONGEST_LIFE.days} days", param_hint="--expires")
    with open_registry_database() as database:
        require_tenant(database, tenant)
        token, text = ApiTokenTable(database).create(name, frozenset().union(*scopes), expires_in, tenant=tenant)
    note_result(token.id)
    if as_json:
        print_json({**to_row(token), "token": text})
    else:
        until = local_text(token.expires_at)
        warn(f"token {token.id} of {token.name}, valid until {until}; copy it now, it can't be shown again")
        click.echo(text)


@tokens.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """List all tokens, without their secrets.

    Revoked and expired tokens are listed, too.

    \b
    Example:
      releve tokens list --json
    """
    with open_registry_database() as database:
        rows = [to_row(token) for token in ApiTokenTable(database).list_tokens()]
    moments = ("created_at", "last_used_at", "expires_at", "revoked_at")
    titles = {name.removesuffix("_at").replace("_", " "): name for name in moments}
    columns = {"token": "id", "name": "name", "scopes": "scopes", **tenant_column(rows), **titles}
    print_rows(rows, columns, as_json=as_json, empty="no tokens yet")


@tokens.command()
@click.argument("token_id", metavar="TOKEN_ID")
def revoke(token_id: str) -> None:
    """Revoke a token at once, by its id in the list.

    \b
    Example:
      releve tokens revoke 3kq7d0fr2m
    """
    with open_registry_database() as database:
        token = ApiTokenTable(database).revoke(token_id)
    click.echo(f"token {token.id} of {token.name} is revoked")


def _checked_name(name: str, hint: str) -> str:
    """Return a name without blanks around it. Raises BadParameter, for the parameter ``hint``."""
    if not 0 < len(name.strip()) <= _LONGEST_NAME:
        raise click.BadParameter(f"it must have 1 to {_LONGEST_NAME} characters", param_hint=hint)
    return name.strip()


@click.group()
def proxy_clients() -> None:
    """Create, change, list and revoke clients of the consent proxy, for instance a Cozy stack.

    \b
    Example:
      releve proxy-clients list
    """


@proxy_clients.command("new")
@click.argument("name")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    required=True,
    multiple=True,
    type=CheckedText("URI", check_redirect_uri),
    help="Exact URL that people are sent back to. Repeat it for several.",
)
@tenant_option("Tenant of the client. Invitations must be of the same tenant.", DEFAULT_TENANT)
@_pkce_option
@_numbers_option
@json_option
def new_client(
    name: str, redirect_uris: tuple[str, ...], tenant: str, pkce: bool, numbers_in_redirect: bool, as_json: bool
) -> None:
    """Create a client, and print its id and secret.

    The secret is shown once, because only its hash is stored.

    People see NAME on the page that asks whether they want to share their data.

    \b
    Example:
      releve proxy-clients new "My app" --redirect-uri https://app.example.org/back
    """
    name = _checked_name(name, "NAME")
    with open_registry_database() as database:
        tenant = require_tenant(database, tenant)
        table = ProxyClientTable(database)
        client, secret = table.create(name, redirect_uris, tenant, pkce=pkce, numbers_in_redirect=numbers_in_redirect)
    note_result(client.id)
    if as_json:
        print_json({**to_row(client), "client_secret": secret})
        return
    warn(f"client {client.id} of {client.name}; copy the secret now, it can't be shown again")
    click.echo(f"client_id {client.id}\nclient_secret {secret}")


@proxy_clients.command("set")
@click.argument("client_id", metavar="CLIENT_ID")
@_pkce_option
@_numbers_option
def set_client(client_id: str, pkce: bool, numbers_in_redirect: bool) -> None:
    """Hold a client to the rules of new clients.

    It must name its redirect_uri when it exchanges a code, and Relève's answers name their issuer (iss).

    \b
    Examples:
      releve proxy-clients set k3q7d0fr2mxx
      releve proxy-clients set k3q7d0fr2mxx --no-pkce
    """
    with open_registry_database() as database:
        ways = {"pkce": pkce, "numbers_in_redirect": numbers_in_redirect}
        client = ProxyClientTable(database).set_ways(client_id, **ways)
    click.echo(f"client {client.id} of {client.name} follows the rules of new clients")


@proxy_clients.command("list")
@json_option
def list_clients(as_json: bool) -> None:
    """List all clients, without their secrets.

    \b
    Example:
      releve proxy-clients list --json
    """
    with open_registry_database() as database:
        grants = ProxyGrantTable(database)
        rows = [
            {**to_row(client), "open_grants": sum(grant.ended_at is None for grant in grants.list_grants(client.id))}
            for client in ProxyClientTable(database).list_clients()
        ]
    columns = {
        "id": "id",
        "name": "name",
        **tenant_column(rows),
        "addresses": "redirect_uris",
        "pkce": "pkce",
        "strict": "strict",
        "grants": "open_grants",
    }
    columns |= {"created": "created_at", "revoked": "revoked_at"}
    print_rows(rows, columns, as_json=as_json, empty="no proxy clients yet")


@proxy_clients.command("revoke")
@click.argument("client_id", metavar="CLIENT_ID")
def revoke_client(client_id: str) -> None:
    """Revoke a client and all its grants at once.

    With v4 an access token is the holder's own: it stays valid for up to 3.5 hours.

    \b
    Example:
      releve proxy-clients revoke k3q7d0fr2mxx
    """
    with open_registry_database() as database:
        client = ProxyClientTable(database).revoke(client_id)
    click.echo(f"client {client.id} of {client.name} is revoked")


def _check_url(text: str) -> str:
    """Return the address of a web service. The ValueError does not repeat it: its path may be a secret."""
    check_http_url(text)
    return text.rstrip("/")


@click.group()
def tenants() -> None:
    """Set up and list the tenants that share this installation; a single tenant needs no setup.

    \b
    Example:
      releve tenants list
    """


@tenants.command("set")
@click.argument("tenant", metavar="NAME", type=TENANT_NAME)
@click.option("--title", help="Name of the tenant that households see.")
@click.option(
    "--webhook-url",
    type=CheckedText("URL", _check_url),
    help="URL that receives the notices about the tenant's accounts as signed POSTs.",
)
@click.option(
    "--webhook-secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the secret that signs these POSTs.",
)
@click.option("--no-webhook", is_flag=True, help="Remove the webhook.")
def set_tenant(
    tenant: str, title: str | None, webhook_url: str | None, webhook_secret_file: Path | None, no_webhook: bool
) -> None:
    """Add the tenant NAME, or change it.

    Other commands take NAME with --tenant. NAME can't be changed. Accounts, tokens and invitations without a tenant
    belong to `default`, whose webhook is RELEVE_WEBHOOK_URL.

    \b
    Example:
      releve tenants set kilowatt --title "Kilowatt Club"
    """
    if title is not None and not (0 < len(title.strip()) <= LONGEST_TITLE and title.isprintable()):
        raise click.BadParameter(f"it must be one line of 1 to {LONGEST_TITLE} characters", param_hint="--title")
    if bool(webhook_url) != bool(webhook_secret_file):
        raise click.UsageError("--webhook-url and --webhook-secret-file go together")
    if webhook_url and no_webhook:
        raise click.UsageError("give either --webhook-url or --no-webhook")
    if tenant == DEFAULT_TENANT and (webhook_url or no_webhook):
        raise click.UsageError("the webhook of the tenant `default` is RELEVE_WEBHOOK_URL")
    target = _read_target(webhook_url, webhook_secret_file) if webhook_url and webhook_secret_file else None
    with _open_tenants() as table:
        table.save(tenant, title.strip() if title else None)
        if target or no_webhook:
            table.save_webhook(tenant, target)
        saved = next(row for row in table.list_tenants() if row.id == tenant)
    click.echo(f"tenant {saved.id}: {saved.title}; {'with' if saved.has_webhook else 'without'} a webhook of its own")


@tenants.command("list")
@json_option
def list_tenants(as_json: bool) -> None:
    """List the tenants, `default` first.

    Addresses and secrets of webhooks are not shown.

    \b
    Example:
      releve tenants list --json
    """
    with _open_tenants() as table:
        rows = [to_row(tenant) for tenant in table.list_tenants()]
    columns = {"tenant": "id", "title": "title", "webhook of its own": "has_webhook", "created": "created_at"}
    print_rows(rows, columns, as_json=as_json, empty="no tenants")


def _read_target(url: str, secret_file: Path) -> WebhookTarget:
    try:
        secret = secret_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        secret = ""
    if not secret:
        raise click.BadParameter("needs a file that holds the secret", param_hint="--webhook-secret-file")
    try:
        check_webhook(url, secret, get_settings().webhook_networks)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--webhook-url") from None
    return WebhookTarget(url, secret)


@contextmanager
def _open_tenants() -> Iterator[TenantTable]:
    """Open the table of tenants, which needs the keys that seal webhooks."""
    with open_registry_database() as database:
        yield TenantTable(database, build_sealer(get_settings(), Purpose.REGISTRY))
