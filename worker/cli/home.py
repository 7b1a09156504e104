"""`releve home`: the meters of one home, read through a gateway with a token, without a contract with Enedis.

`releve home add` and `releve import` turn an empty data folder into a home's installation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import click

from config.settings import ConfigError, Settings, get_settings
from worker.accounts.asserted_accounts import MeterConnected, MeterErased, TokenAccount, choose_meters
from worker.accounts.status import HomeAccount, HomeSummary, summarize_home
from worker.cli import parameters
from worker.cli.command_audit import Group, note_result
from worker.cli.printing import local_text, print_table
from worker.clients.enedis import ENEDIS
from worker.domain.audit_entry import AuditAction
from worker.domain.clock import clock_from
from worker.domain.windows import civil_date
from worker.errors import FilesOnly, StoreUnavailable
from worker.ops.check_results import missing_sqlite_file
from worker.runtime.consent_parts import Consent, build_consent
from worker.runtime.keys import has_keys, mark_home, refuse_fleet
from worker.runtime.stores import Stores, open_current_registry
from worker.runtime.sync_parts import Sync, build_inline, build_sync
from worker.runtime.web_access import build_web
from worker.texts import translate, translate_code


def make_home(settings: Settings) -> Settings:
    """Make this a home's installation, and return its settings; if it is one already, change nothing.

    Raises ConfigError if the installation serves a fleet: RELEVE_HOME is false, Enedis credentials are set, or the
    registry has active accounts of Enedis. The error's text has one line.
    """
    if settings.is_home:
        return settings
    refuse_fleet(settings)
    if _has_accounts_of_enedis(settings):
        raise ConfigError(
            "this installation has accounts with Enedis: for a home, set RELEVE_DATA_DIR to another folder"
        )
    mark_home(settings)
    get_settings.cache_clear()
    return get_settings()


def _has_accounts_of_enedis(settings: Settings) -> bool:
    """Return whether the registry exists and has active accounts of Enedis, whose meters a home can't read."""
    if missing_sqlite_file(settings.registry()):
        return False
    with ExitStack() as opened:
        overview = open_current_registry(settings, opened).overview
        return overview.count_active_accounts(ENEDIS.name, civil_date(clock_from(settings.pretend_now)())) > 0


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
@parameters.json_option
def home(context: click.Context, as_json: bool) -> None:
    """Show your home: what is stored, what is missing, the next sync, and when tokens expire.

    \b
    Examples:
      releve home add
      releve home
      releve home --json
    """
    if context.invoked_subcommand is not None:
        return
    _require_home()
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        summary = summarize_home(
            history=sync.history,
            supplier=sync.suppliers.main.supplier.name,
            has_password=has_keys(stores.settings, "session_key") and build_web(stores).home.has_password(),
            gate_code=sync.ledger.state(()).gate_code,
        )
    if as_json:
        parameters.print_result(summary.as_json(), as_json=True)
    else:
        _print_summary(summary, parameters.shell_language())


@home.command(audit=AuditAction.ACCOUNT_ADD)
@click.option(
    "--token", type=parameters.FROM_INPUT, help="Give - to read it from standard input. Default: a prompt asks for it."
)
@click.option(
    "--usage-point",
    "usage_points",
    type=parameters.USAGE_POINT,
    multiple=True,
    help="Number of a meter, if the token does not name its meters. Repeat it for each meter.",
)
@click.option("--known-only", is_flag=True, hidden=True)  # The former command `home token` uses this option.
@parameters.json_option
def add(token: str | None, usage_points: Sequence[str], known_only: bool, as_json: bool) -> None:
    """Add your meters with the gateway's token.

    Most tokens contain the numbers of your meters and an expiry date. A hidden prompt asks for the token, which is
    stored encrypted. One call then asks the gateway whether it accepts the token; your meters are added in any case. A
    meter that came from a file gets the token, and a newer token replaces an older one. The backfill is queued: `releve
    up` runs it.

    \b
    Examples:
      releve home add
      releve home add --token - < token.txt
    """
    refuse_fleet(get_settings())
    if known_only:
        _require_home()
    prompt = translate("home_cli.ask_token", parameters.shell_language())
    text = parameters.read_secret(token, "token", prompt).strip()
    try:
        choose_meters(text, usage_points)  # Checked first: a wrong token must not change the installation.
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    make_home(get_settings())
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        consent = build_consent(stores, sync)
        if known_only and consent.assertion.count_missing(text, usage_points):
            raise click.ClickException("the token names a meter that has no account yet: `releve home add` adds it")
        added = _add(consent, text, usage_points)
        build_web(stores).home.ensure_household()
        _show_added(stores, sync, added, as_json)


@home.command(audit=AuditAction.RECOVERY_CODE)
@parameters.json_option
def password(as_json: bool) -> None:
    """Create and print a new password for the pages.

    The password is needed to open the pages from another machine in your network, or if Relève runs in a container. The
    old password stops working, but browsers that are already signed in stay signed in; `releve access list --kind
    session` lists them. The new password is shown only once.

    \b
    Example:
      releve home password
    """
    _require_home()
    with parameters.open_stores() as stores:
        access = build_web(stores)
        text = access.home.create_password()
        parameters.print_result({"password": text}, text, as_json=as_json)


def _require_home() -> None:
    settings = get_settings()
    if not settings.is_home:
        refuse_fleet(settings)
        raise click.ClickException("no home is set up here yet: run `releve home add` with the gateway's token")


def _add(consent: Consent, token: str, usage_points: Sequence[str]) -> list[TokenAccount]:
    try:
        return consent.assertion.add_by_token(token, parameters.shell_user(), usage_points)
    except MeterErased:
        raise click.ClickException(
            "this meter's data were erased after the token was made: make a new token on the gateway's page"
        ) from None
    except (ValueError, MeterConnected) as error:
        raise click.ClickException(str(error)) from None


def _show_added(stores: Stores, sync: Sync, added: Sequence[TokenAccount], as_json: bool) -> None:
    note_result(account_id=added[0].account.id)
    code = build_inline(stores, sync, print_line=lambda line: None).ask_once(added[0].account.id)
    for one in added:
        with suppress(StoreUnavailable):
            parameters.enqueue_history(stores, one.account.id)
    rows = [_added_row(one) for one in added]
    language = parameters.shell_language()
    lines = [_added_line(one, language) for one in added]
    advice = translate_code(code, "what_to_do", language)
    lines.append(translate(f"home_cli.{'failed' if code else 'answered'}", language, code=code, advice=advice))
    if any(one.created for one in added):
        lines.append(translate("home_cli.next", language))
    parameters.print_result({"accounts": rows, "error": code or None}, *lines, as_json=as_json)


def _added_row(one: TokenAccount) -> dict[str, Any]:
    account = one.account
    return {
        "account": account.id,
        "meter": account.last_digits,
        "state": account.state.value,
        "created": one.created,
        "token_until": account.consent_until.isoformat() if account.consent_until else None,
    }


def _added_line(one: TokenAccount, language: str) -> str:
    what = "added" if one.created else "renewed" if one.renewed else "given"
    until = one.account.consent_until
    end = translate("home_cli.until", language, day=until) if until else ""
    facts = {"meter": one.account.last_digits, "account": one.account.id, "until": end}
    return translate(f"home_cli.{what}", language, **facts)


def _print_summary(summary: HomeSummary, language: str) -> None:
    if not summary.accounts:
        click.echo(translate("home_cli.empty", language))
    for account in summary.accounts:
        for line in _account_lines(account, summary.gate_code, language):
            click.echo(line)
        titles = ("series", "first", "last", "missing", "next")
        columns = {translate(f"home_cli.column.{name}", language): name for name in titles}
        print_table(
            (
                {
                    "series": translate(f"series.{series}.name", language),
                    "first": one.first,
                    "last": one.last,
                    "missing": one.missing,
                    "next": local_text(one.asked_next),
                }
                for series, one in account.series.items()
            ),
            columns,
        )
        click.echo()
    key = "set" if summary.has_password else "unset"
    click.echo(translate(f"home_cli.password.{key}", language))


def _account_lines(home: HomeAccount, gate_code: str, language: str) -> Iterator[str]:
    account = home.account
    state = translate(f"home.state.{account.shown_state}", language)
    yield translate("home_cli.account", language, meter=account.last_digits or "…", account=account.id, state=state)
    if not home.has_token:
        yield translate("home_cli.no_token", language)
    elif account.consent_until:
        yield translate("home_cli.token", language, day=account.consent_until)
    # If the account has no token, the line above has already said so, and the code of FilesOnly would only repeat it.
    reason = account.reason if home.has_token or account.reason != FilesOnly.code else ""
    failures = [one.error for one in home.series.values()]
    for code in dict.fromkeys([reason, gate_code if home.has_token else "", *failures]):
        if code and (what_to_do := translate_code(code, "what_to_do", language)):
            yield f"{code}: {what_to_do}"
