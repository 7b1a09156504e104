"""Access for people and programs: `releve access` and `releve tenants`.

Operators use the page /operator. A grant says which data of one meter a client of the consent proxy may read. With
Enedis' API v4 one token covers all meters of a holder, so the grants for these meters end together. Tenants are the
services that share this installation of Relève. Each tenant has its own accounts, tokens and webhook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from config.settings import ConfigError, Settings, get_settings
from config.validation import check_http_url, check_webhook
from worker.accounts.status import to_row
from worker.cli import parameters
from worker.cli.command_audit import READS, Group, command, note_result, with_options
from worker.cli.printing import local_text, print_qr_code
from worker.cli.resources import Listing, Row, require_known
from worker.domain import sessions
from worker.domain.account import DEFAULT_TENANT, LONGEST_TITLE
from worker.domain.audit_entry import AuditAction
from worker.domain.clock import real_clock
from worker.domain.consents import EndReason
from worker.domain.oauth_proxy import check_redirect_uri
from worker.domain.windows import civil_date
from worker.ops.logging_setup import warn
from worker.runtime.consent_parts import meters_of
from worker.runtime.keys import has_keys
from worker.runtime.web_access import OperatorAccess, WebAccess, build_operator_access
from worker.stores.registry import Registry
from worker.stores.registry.access_keys import SESSIONS, OperatorRefused
from worker.stores.registry.api_tokens import LONGEST_LIFE, USUAL_LIFE, WebhookTarget, require_tenant

_NO_SESSION_KEY: Final = (
    "the session key is missing: run this where the web application runs (`docker compose exec web releve …`), or set "
    "RELEVE_SESSION_KEY"
)
_CODE_TRIES: Final = 3
_SCOPE_HELP: Final = f"What the token allows: {', '.join(sessions.Scope)}. Repeat it for several."
_LONGEST_NAME: Final = 100  # In characters, for the name of a token or client.
_password_option = click.option(
    "--password",
    type=parameters.FROM_INPUT,
    help="Give - to read it from standard input. Default: a prompt asks for it.",
)
_ROLE: Final = click.Choice([role.value for role in sessions.Role])
_pkce_option = click.option(
    "--pkce/--no-pkce", default=True, show_default=True, help="Require a code challenge (S256) in each request."
)
_numbers_option = click.option(
    "--numbers-in-redirect/--no-numbers-in-redirect",
    default=False,
    show_default=True,
    help="Put the numbers of meter and consent in the redirect URL, too; the token answer has them anyway.",
)
_SESSION_KINDS: Final = {"household": sessions.KeyKind.HOUSEHOLD_SESSION, "operator": sessions.KeyKind.OPERATOR_SESSION}
_of_option = click.option(
    "--of",
    "kinds",
    type=click.Choice(list(_SESSION_KINDS)),
    callback=lambda _context, _option, value: frozenset({_SESSION_KINDS[value]}) if value else SESSIONS,
    help="Only the sessions of households, or only those of operators.",
)


def new_operator_link(access: OperatorAccess, operator: sessions.Operator, public_url: str) -> str:
    """Return a link that signs the operator in, once and within 10 minutes; the operator's older links stop working."""
    access.keys.end_of([operator.id], [sessions.KeyKind.OPERATOR_LINK])
    _, text = access.keys.create(sessions.KeyKind.OPERATOR_LINK, operator.id)
    return f"{public_url}/operator/link#{text}"


def warn_without_operators(settings: Settings, access: WebAccess) -> None:
    """Print a warning if there is no operator yet, unless this is a home, which needs no operator."""
    if not settings.is_home and not access.operators.has_any():
        warn("there is no operator yet: add one with `releve access add-operator NAME`, who then signs in at /operator")


def _is_elsewhere(settings: Settings) -> bool:
    """Return whether the web application runs on another machine; it wouldn't know a session key made here."""
    # Without RELEVE_REGISTRY_URL, registry and pages are on this machine, so the key may be created here.
    return settings.registry_url is not None and not has_keys(settings, "session_key")


def require_session_key(settings: Settings) -> None:
    """Raise ConfigError if the web application runs on another machine."""
    if _is_elsewhere(settings):
        raise ConfigError(_NO_SESSION_KEY)


def _operator_access(registry: Registry) -> OperatorAccess:
    """Return the tables for the sign-in of operators. Raises ConfigError if the web application runs elsewhere."""
    settings = get_settings()
    require_session_key(settings)
    return build_operator_access(settings, registry.database)


_KINDS: Final = {
    "operator": Listing(
        "name, role, has_second_factor, signed_in_at?, sessions?, created_at?",
        "no operators yet: add one with `releve access add-operator NAME`",
    ),
    "session": Listing(
        "session, of=owner, last_seen_at, kind?, device…?, signed in=created_at?, ends=expires_at?", "no sessions"
    ),
    "token": Listing(
        "token=id, name…, scopes…, tenant?, expires_at?, revoked_at?, last_used_at?, created_at?", "no tokens yet"
    ),
    "client": Listing(
        "id, name…, tenant?, addresses=redirect_uris…, pkce, strict, grants=open_grants?, revoked_at?, created_at?",
        "no proxy clients yet",
    ),
    "grant": Listing(
        "grant=id, client…, tenant?, since=granted_at, until=consent_until, last used=last_used_on?", "no grants"
    ),
}
_ENDS: Final = {
    "operator": AuditAction.OPERATOR_END,
    "session": AuditAction.SESSION_END,
    "token": AuditAction.TOKEN_REVOKE,
    "client": AuditAction.PROXY_CLIENT_REVOKE,
    "grant": AuditAction.GRANT_END,
}


def _load(registry: Registry, kind: str, account_id: str | None, kinds: frozenset[sessions.KeyKind]) -> Iterator[Row]:
    """Yield the rows of one ``kind`` (``operator``, ``session``, …) for `releve access list`, except ended grants."""
    grants, clients = registry.proxy_grants, registry.proxy_clients
    match kind:
        case "operator" if _is_elsewhere(get_settings()) or has_keys(get_settings(), "session_key"):
            access = _operator_access(registry)
            for operator in access.operators.list_operators():
                yield {**to_row(operator), "sessions": len(access.keys.list_keys([operator.id]))}
        case "session":
            table, names = registry.sessions, ("kind", "owner", "device", "created_at", "last_seen_at", "expires_at")
            owners = None if account_id is None else table.households_of([account_id])
            yield from ({"session": key.id, **to_row(key, *names)} for key in table.list_keys(owners, kinds))
        case "token":
            yield from map(to_row, registry.api_tokens.list_tokens())
        case "client":
            for client in clients.list_clients():
                in_force = sum(grant.ended_at is None for grant in grants.list_grants(client.id))
                yield {**to_row(client), "open_grants": in_force}
        case "grant":
            known = {client.id: client for client in clients.list_clients()}
            account = account_id and registry.accounts.get_existing(account_id)
            meters = meters_of(registry, account) if account else None
            for grant in grants.list_grants(meter_digests=meters):
                if not grant.is_over(civil_date(registry.now())):
                    row = {**to_row(grant), "client": known[grant.client_id].name}
                    del row["meter"]
                    yield {**row, "tenant": known[grant.client_id].tenant}


def _end(registry: Registry, kind: str, item_id: str, yes: bool) -> tuple[str, str]:
    """End the item with this id or name; return the stored id or name, and a text about what happened."""
    match kind:
        case "operator":
            operators = _operator_access(registry).operators
            operator = operators.find(item_id)
            question = f"Remove operator {operator.name} and end their sessions?"
            parameters.confirm_on_terminal(question, yes, if_not="no operator was removed")
            operators.end(operator.id)
            return operator.name, "is removed"
        case "token":
            return item_id, f"of {registry.api_tokens.revoke(item_id).name} is revoked"
        case "client":
            return item_id, f"of {registry.proxy_clients.revoke(item_id).name} is revoked"
    require_known(registry.proxy_grants.end(item_id, EndReason.OPERATOR_ENDED), "grant", "access list --kind grant")
    return item_id, "has ended"


def _end_sessions(
    registry: Registry, session_id: str | None, account_id: str | None, kinds: frozenset[sessions.KeyKind]
) -> int:
    """End the session with this id, all sessions of an account, or all sessions; return how many ended."""
    table = registry.sessions
    if session_id is not None:
        require_known(ended := table.end(session_id), "session", "access list --kind session")
        return int(ended)
    return table.end_all(kinds) if account_id is None else table.end_of(table.households_of([account_id]), kinds)


@click.group(cls=Group)
def access() -> None:
    """Grant, list and end access: operators, sessions, API tokens, and clients of the consent proxy.

    Run the commands for operators where the web application runs, because they need the session key.

    \b
    Example:
      releve access list --kind operator
    """


@access.command("list", audit=READS)
@click.option("--kind", type=click.Choice(list(_KINDS)), help="Only this kind. Default: all kinds, one after another.")
@click.option("--account", "account_id", metavar="ACCOUNT", help="Only sessions and grants that show this account.")
@_of_option
@parameters.limit_option
@parameters.tenant_option("Only tokens, clients and grants of this tenant.")
@parameters.json_option
def list_access(
    kind: str | None,
    account_id: str | None,
    kinds: frozenset[sessions.KeyKind],
    limit: int | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """List operators, sessions, tokens, clients and grants.

    Secrets are not shown, and no session shows a person's name. Revoked tokens and clients are listed, too; ended
    grants are not. The column `last used` of a grant has the day on which its client last read data or, with v4, last
    renewed the token.

    \b
    Examples:
      releve access list
      releve access list --kind session --account k9xgwnz9gvp2
      releve access list --kind token --json
    """
    if account_id and kind not in (None, "session", "grant"):
        raise click.UsageError("--account is for sessions and grants")
    shown = [kind] if kind else ["session", "grant"] if account_id else [*_KINDS]
    with parameters.open_registry() as registry:
        for name in shown:
            if kind is None and name == "operator" and _is_elsewhere(get_settings()):
                warn(f"operators are not listed: {_NO_SESSION_KEY}")
                continue
            rows = _load(registry, name, account_id, kinds)
            if kind is None and not as_json:
                click.echo(f"{name}s")
            named = rows if kind else ({"access": name, **row} for row in rows)
            _KINDS[name].print(named, as_json=as_json, limit=limit, tenant=tenant)


@access.command(audit=lambda given: _ENDS[given["kind"]], subject="item_id")
@click.argument("kind", type=click.Choice(list(_KINDS)))
@click.argument("item_id", metavar="[ID]", required=False)
@click.option("--account", "account_id", metavar="ACCOUNT", help="All sessions that can show this account.")
@_of_option
@click.option("--all", "everybody", is_flag=True, help="All sessions; with --of, all of that kind.")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
@parameters.json_option
def remove(
    kind: str,
    item_id: str | None,
    account_id: str | None,
    kinds: frozenset[sessions.KeyKind],
    everybody: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End an operator, session, token, client or grant.

    ID is the id that `releve access list` shows; for an operator, it is the name. If you end a session, the browser is
    signed out at its next request. Recovery codes stay valid, so that a household can sign in again. If you end an
    operator, their sessions end, and the name can be used again. If you end a client, all its grants end. After a grant
    has ended, its client must ask the person again. With v4 an access token stays valid for up to 3.5 hours.

    \b
    Examples:
      releve access remove token 3kq7d0fr2m
      releve access remove session --account k9xgwnz9gvp2
      releve access remove session --all --of operator
    """
    given = [item_id is not None, account_id is not None, everybody].count(True)
    if given != 1 or (kind != "session" and item_id is None):
        raise click.UsageError("give the ID; of sessions, give one of ID, --account and --all")
    ended = 1
    with parameters.open_registry() as registry:
        if kind == "session":
            ended = _end_sessions(registry, item_id, account_id, kinds)
            line = f"{ended} session{'s' if ended != 1 else ''} ended"
        else:
            item_id, end = _end(registry, kind, str(item_id), yes)
            line = f"{kind} {item_id} {end}"
    parameters.print_result({"kind": kind, "id": item_id, "ended": ended}, line, as_json=as_json)


@access.command(audit=AuditAction.OPERATOR_ADD, subject="name")
@click.argument("name")
@_password_option
@click.option(
    "--role", type=_ROLE, default=sessions.Role.ADMIN.value, show_default=True, help="What the operator may do."
)
@click.option("--no-second-factor", is_flag=True, help="No second factor. They can sign in on this machine only.")
@parameters.json_option
def add_operator(name: str, password: str | None, role: str, no_second_factor: bool, as_json: bool) -> None:
    """Add the operator NAME.

    The operator signs in with a password and the codes of an authenticator app (TOTP).

    The password must have 12 characters or more and be hard to guess. The app's key is printed once, on a terminal as a
    QR code, too. An operator with the role `support` reads, searches, syncs, pauses, invites and writes notes; the rest
    is for administrators.

    \b
    Examples:
      releve access add-operator alice
      releve access add-operator bob --role support
      releve access add-operator alice --password - --json < password.txt
    """
    with parameters.open_registry() as registry:
        access = _operator_access(registry)
        name = sessions.plain_name(name)
        text = _read_password(password, name)
        key = None if no_second_factor else sessions.new_totp_key()
        if key and not as_json:
            warn("add this key to an authenticator app; it can't be shown again")
            click.echo(f"key      {key}\naddress  {sessions.totp_address(key, name)}")
            print_qr_code(sessions.totp_address(key, name))
        if key and password is None:
            _confirm_code(key)
        operator = access.operators.add(name, text, key, role=sessions.Role(role))
    address = sessions.totp_address(key, operator.name) if key else None
    row = {**to_row(operator), "totp_key": key, "totp_address": address}
    line = f"operator {operator.name} can sign in at /operator{'' if key else ', on this machine only (loopback)'}"
    parameters.print_result(row, line, as_json=as_json)


@access.command("password", audit=AuditAction.OPERATOR_PASSWORD, subject="name")
@click.argument("name")
@_password_option
def set_password(name: str, password: str | None) -> None:
    """Set a new password of the operator NAME.

    The operator's sessions end. The second factor stays: to replace it, remove the operator and add them again.

    \b
    Example:
      releve access password alice
    """
    with parameters.open_registry() as registry:
        access = _operator_access(registry)
        operator = access.operators.find(name)
        access.operators.set_password(operator.id, _read_password(password, operator.name))
    click.echo(f"operator {operator.name} has a new password; the sessions have ended")


@access.command("role", audit=AuditAction.OPERATOR_ROLE, subject="name")
@click.argument("name")
@click.argument("role", type=_ROLE)
def set_role(name: str, role: str) -> None:
    """Give the operator NAME another role, `support` or `admin`.

    The role counts from the operator's next request on. The last administrator can be neither demoted nor removed.

    \b
    Example:
      releve access role bob support
    """
    with parameters.open_registry() as registry:
        operators = _operator_access(registry).operators
        operator = operators.find(name)
        operators.set_role(operator.id, sessions.Role(role))
    click.echo(f"operator {operator.name} has the role {role}")


@access.command("link", audit=AuditAction.OPERATOR_LINK, subject="name")
@click.argument("name")
def make_link(name: str) -> None:
    """Print a link that signs the operator NAME in.

    The link works once, within 10 minutes, and replaces the password. In a browser on another machine, the operator
    must also give a code of the second factor.

    \b
    Example:
      releve access link alice
    """
    with parameters.open_registry() as registry:
        access = _operator_access(registry)
        operator = access.operators.find(name)
        link = new_operator_link(access, operator, get_settings().public_url)
    warn(f"anyone with this link can sign in as operator {operator.name}: it works once, for 10 minutes")
    click.echo(link)


def _read_password(option: str | None, name: str) -> str:
    """Return a password, prompted for twice or read from standard input. Raises OperatorRefused if it is too weak."""
    password = parameters.read_secret(option, "password", "password (12 characters or more)", confirmed=True)
    if fault := sessions.find_password_fault(password, name):
        raise OperatorRefused(sessions.PASSWORD_FAULTS[fault])
    return password


def _confirm_code(key: str) -> None:
    """Ask for a code of the new key from the authenticator app. Raises ClickException after too many wrong codes."""
    for _ in range(_CODE_TRIES):
        code: Any = click.prompt("code that the app shows now", err=True)
        if sessions.find_totp_step(key, str(code), real_clock()) is not None:
            return
        warn("wrong code: check the clocks of this machine and of the phone")
    raise click.ClickException("no operator was added: the codes of the app are wrong")


def _to_scopes(text: str) -> frozenset[sessions.Scope]:
    """Return the scopes that a text lists, with commas or spaces between them. Raises ValueError if one is unknown."""
    with suppress(ValueError):
        if scopes := frozenset(map(sessions.Scope, text.replace(",", " ").split())):
            return scopes
    raise ValueError(f"give one or more of {', '.join(sessions.Scope)}, with commas between them")


_SCOPES: Final = parameters.Checked("SCOPE,...", _to_scopes)


@access.command(audit=AuditAction.TOKEN_CREATE)
@click.option("--name", required=True, help="Name for lists and logs, of up to 100 characters.")
@click.option("--scope", "scopes", required=True, multiple=True, type=_SCOPES, help=_SCOPE_HELP)
@click.option(
    "--expires",
    "expires_in",
    type=parameters.DAY_COUNT,
    default=f"{USUAL_LIFE.days}d",
    show_default=True,
    help=f"Days until it expires, at most {LONGEST_LIFE.days}d.",
)
@parameters.tenant_option("Tenant whose accounts it opens; see `releve tenants`.", DEFAULT_TENANT)
@parameters.json_option
def add_token(
    name: str, scopes: Sequence[frozenset[sessions.Scope]], expires_in: timedelta, tenant: str, as_json: bool
) -> None:
    """Create a token and print it.

    The token is shown once, because only its hash is stored.

    Two weeks before the token expires, the operator gets a notice, and `releve doctor` warns. A token can read ALL
    accounts of its tenant: give it to your own programs, not to households.

    \b
    Examples:
      releve access add-token --name dashboard --scope read:accounts,read:measures --expires 30d
      releve access add-token --name billing --scope read:measures --tenant kilowatt
    """
    name = _checked_name(name, "--name")
    if not timedelta(0) < expires_in <= LONGEST_LIFE:
        raise click.BadParameter(f"a token expires after 1 to {LONGEST_LIFE.days} days", param_hint="--expires")
    with parameters.open_registry() as registry:
        require_tenant(registry.database, tenant)
        token, text = registry.api_tokens.create(name, frozenset().union(*scopes), expires_in, tenant=tenant)
    note_result(token.id)
    if as_json:
        parameters.print_json({**to_row(token), "token": text})
    else:
        until = local_text(token.expires_at)
        warn(f"token {token.id} of {token.name}, valid until {until}; copy it now, it can't be shown again")
        click.echo(text)


def _checked_name(name: str, hint: str) -> str:
    """Return a name without outer blanks. If it is empty or too long, raise BadParameter for the parameter ``hint``."""
    if not 0 < len(name.strip()) <= _LONGEST_NAME:
        raise click.BadParameter(f"it must have 1 to {_LONGEST_NAME} characters", param_hint=hint)
    return name.strip()


@access.command(audit=AuditAction.PROXY_CLIENT_CREATE)
@click.argument("name")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    required=True,
    multiple=True,
    type=parameters.Checked("URI", check_redirect_uri),
    help="Exact URL that people are sent back to. Repeat it for several.",
)
@parameters.tenant_option("Tenant of the client. Invitations must be of the same tenant.", DEFAULT_TENANT)
@_pkce_option
@_numbers_option
@parameters.json_option
def add_client(
    name: str, redirect_uris: tuple[str, ...], tenant: str, pkce: bool, numbers_in_redirect: bool, as_json: bool
) -> None:
    """Create a client, and print its id and secret.

    The secret is shown once, because only its hash is stored.

    People see NAME on the page that asks whether they want to share their data.

    \b
    Example:
      releve access add-client "My app" --redirect-uri https://app.example.org/back
    """
    name = _checked_name(name, "NAME")
    with parameters.open_registry() as registry:
        tenant = require_tenant(registry.database, tenant)
        table = registry.proxy_clients
        client, secret = table.create(name, redirect_uris, tenant, pkce=pkce, numbers_in_redirect=numbers_in_redirect)
    note_result(client.id)
    if as_json:
        parameters.print_json({**to_row(client), "client_secret": secret})
        return
    warn(f"client {client.id} of {client.name}; copy the secret now, it can't be shown again")
    click.echo(f"client_id {client.id}\nclient_secret {secret}")


@access.command(audit=AuditAction.PROXY_CLIENT_SET, subject="client_id")
@click.argument("client_id", metavar="CLIENT_ID")
@_pkce_option
@_numbers_option
def set_client(client_id: str, pkce: bool, numbers_in_redirect: bool) -> None:
    """Apply the rules for new clients to an existing client.

    From then on, the client must send its redirect_uri when it exchanges a code, and Relève adds the issuer (iss) to
    its answers.

    \b
    Examples:
      releve access set-client k3q7d0fr2mxx
      releve access set-client k3q7d0fr2mxx --no-pkce
    """
    with parameters.open_registry() as registry:
        client = registry.proxy_clients.set_ways(client_id, pkce=pkce, numbers_in_redirect=numbers_in_redirect)
    click.echo(f"client {client.id} of {client.name} follows the rules of new clients")


_TENANTS: Final = Listing("tenant=id, title…, webhook of its own=has_webhook, created_at?", "no tenants")


def _check_url(text: str) -> str:
    """Return a web address without a final slash. The ValueError does not repeat the address, which may be secret."""
    check_http_url(text)
    return text.rstrip("/")


@command(audit=with_options(tenant=AuditAction.TENANT_SET), subject="tenant")
@click.argument("tenant", metavar="[NAME]", type=parameters.TENANT_NAME, required=False)
@click.option("--title", help="Name of the tenant that households see.")
@click.option(
    "--webhook-url", type=parameters.Checked("URL", _check_url), help="URL for the tenant's notices, as signed POSTs."
)
@click.option("--webhook-secret-file", type=parameters.FILE, help="File with the secret that signs these POSTs.")
@click.option("--no-webhook", is_flag=True, help="Remove the webhook.")
@parameters.json_option
def tenants(
    tenant: str | None,
    title: str | None,
    webhook_url: str | None,
    webhook_secret_file: Path | None,
    no_webhook: bool,
    as_json: bool,
) -> None:
    """List the tenants that share this installation, or add or change the tenant NAME; a single tenant needs no setup.

    Other commands take NAME with --tenant. NAME can't be changed. Accounts, tokens and invitations without a tenant
    belong to `default`, whose webhook is RELEVE_WEBHOOK_URL. Addresses and secrets of webhooks are not shown.

    \b
    Examples:
      releve tenants --json
      releve tenants kilowatt --title "Kilowatt Club"
    """
    _check_tenant(tenant, title, webhook_url, webhook_secret_file, no_webhook)
    target = _read_target(webhook_url, webhook_secret_file) if webhook_url and webhook_secret_file else None
    with parameters.open_registry() as registry:
        table = registry.tenants
        if tenant:
            table.save(tenant, title.strip() if title else None)
        if tenant and (target or no_webhook):
            table.save_webhook(tenant, target)
        rows = table.list_tenants()
    if tenant is None:
        _TENANTS.print(map(to_row, rows), as_json=as_json)
        return
    saved = next(row for row in rows if row.id == tenant)
    webhook = f"{'with' if saved.has_webhook else 'without'} a webhook of its own"
    parameters.print_result(to_row(saved), f"tenant {saved.id}: {saved.title}; {webhook}", as_json=as_json)


def _check_tenant(
    tenant: str | None, title: str | None, webhook_url: str | None, webhook_secret_file: Path | None, no_webhook: bool
) -> None:
    """Raise UsageError for options that conflict or have wrong values."""
    if tenant is None and (title or webhook_url or webhook_secret_file or no_webhook):
        raise click.UsageError("give the NAME of the tenant to add or change")
    if title is not None and not (0 < len(title.strip()) <= LONGEST_TITLE and title.isprintable()):
        raise click.BadParameter(f"it must be one line of 1 to {LONGEST_TITLE} characters", param_hint="--title")
    if bool(webhook_url) != bool(webhook_secret_file):
        raise click.UsageError("--webhook-url and --webhook-secret-file go together")
    if webhook_url and no_webhook:
        raise click.UsageError("give either --webhook-url or --no-webhook")
    if tenant == DEFAULT_TENANT and (webhook_url or no_webhook):
        raise click.UsageError("the webhook of the tenant `default` is RELEVE_WEBHOOK_URL")


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
