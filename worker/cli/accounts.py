"""`releve accounts`: add, list, show, pause, resume and remove accounts, and choose their series.

`list --meter` and `list --reference` serve support by telephone: they show an account, its state, and what is missing.
`add --pce … --own` adds the operator's own gas meters, which need no consent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from worker.accounts.asserted_accounts import MeterErased
from worker.accounts.right_sweep import OwnHolder
from worker.accounts.series_choice import AccountSeries
from worker.accounts.status import AccountSummary, missing_days_of, to_row
from worker.cli import parameters
from worker.cli.command_audit import READS, Group, note_result, with_options
from worker.cli.gas_option import SERIES, GasOption
from worker.cli.printing import local_text, print_table
from worker.cli.resources import Listing
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.clients.supplier_session import Token
from worker.clients.suppliers import SUPPLIERS
from worker.domain.access_right import is_postcode
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.consents import ConsentProof
from worker.domain.series import Series, SeriesSwitch
from worker.domain.windows import ONE_DAY
from worker.errors import RightRefused, StoreUnavailable, UnknownUsagePoint
from worker.ops.logging_setup import warn
from worker.runtime.consent_parts import Consent, build_consent, build_series_chooser, erase
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_explainer, build_sync
from worker.stores.registry.api_tokens import require_tenant
from worker.texts import translate, translate_code

_MOST_DAYS: Final = 5  # At most this many missing days are listed for each series; the others are only counted.
_TODAY: Final = "today"
_ACCOUNTS: Final = Listing("account, state, tenant?, supplier?, created_at?, reason", "no accounts yet")


def _find(meter: str | None, reference: str | None, as_json: bool) -> None:
    """Show the accounts of a meter or a reference. Raises ClickException if there are none."""
    with parameters.open_stores() as stores:
        sync, table = build_sync(stores), stores.registry.accounts
        accounts = table.find_by_meter(meter) if meter is not None else table.find_by_reference(str(reference))
        if not accounts:
            raise click.ClickException(
                "no account has this meter: check the number, or invite its holder with `releve invite --usage-point`"
                if meter is not None
                else "no account was added with this reference: check it, or look for the meter with --meter"
            )
        note_result(account_id=accounts[0].id)
        rows = [_found_row(stores, sync, account) for account in accounts]
    for row in rows:
        parameters.print_result(row, *_found_lines(row), as_json=as_json)


def _found_row(stores: Stores, sync: Sync, account: Account) -> dict[str, Any]:
    yesterday = sync.history.today() - ONE_DAY
    missing = missing_days_of(account.id, sync.history)
    return {
        "account": account.id,
        **to_row(account, "supplier", "tenant", "state", "reason"),
        "what_to_do": translate_code(account.reason, "what_to_do", "en") if account.reason else "",
        **to_row(account, "consent_until"),
        "missing": {series.value: [day.isoformat() for day in days] for series, days in missing.items()},
        "yesterday": build_explainer(stores, sync).explain(account, yesterday).sentences["en"],
        "invite": f"releve invite {account.id}",
    }


def _found_lines(row: dict[str, Any]) -> Iterator[str]:
    yield f"account {row['account']}: {row['state']} {row['reason']}".rstrip()
    if row["what_to_do"]:
        yield f"what to do: {row['what_to_do']}"
    if row["consent_until"]:
        yield f"consent until {row['consent_until']}"
    yield f"yesterday: {row['yesterday']}"
    for series, days in row["missing"].items():
        more = f" and {len(days) - _MOST_DAYS} more" if len(days) > _MOST_DAYS else ""
        yield f"missing of {series}: {', '.join(days[:_MOST_DAYS]) or 'nothing'}{more}"
    yield f"new link for its holder: `{row['invite']}`; why a day is missing: `releve explain {row['account']} DAY`"


def _series_rows(result: AccountSeries) -> list[dict[str, str]]:
    return [
        {
            "series": name.value,
            "switch": state.switch.value,
            "asked for": "yes" if state.collected else "no" if state.offered else "not offered",
            "last asked": local_text(state.asked_at),
            "last day": str(state.last_day or "-"),
            "error": state.error or "",
        }
        for name, state in result.series.items()
    ]


def check_gas(
    usage_point: str | None, pce: str | None, own: bool, postcode: str | None, holder: str | None, company: str | None
) -> OwnHolder | None:
    """Return who holds the contract of the operator's own gas meter; None if the options name no holder.

    Raises UsageError for options that are missing, conflict or have wrong values.
    """
    if usage_point is None and pce is None:
        raise click.UsageError("Missing option '--usage-point'.")
    if usage_point is not None and pce is not None:
        raise click.UsageError("give one meter: --usage-point or --pce")
    if own != (pce is not None):
        raise click.UsageError(
            "--pce needs --own; for somebody else's gas meter, invite its holder: `releve invite --pce`"
        )
    if not (postcode or holder or company):
        return None
    if pce is None or not postcode or bool(holder) == bool(company):
        raise click.UsageError("to declare your own gas meter, give --postcode and either --name or --company")
    if not is_postcode(postcode):
        raise click.UsageError("a postcode has five digits")
    return OwnHolder(postcode=postcode, name=holder, company=company)


def add_own(
    stores: Stores,
    consent: Consent,
    meter: str,
    by: str,
    *,
    tenant: str,
    holder: OwnHolder | None,
    anew: bool,
    as_json: bool,
) -> None:
    """Add the operator's own gas meter, and print its access right and its account.

    The account is added, and its history enqueued, only if the right is active already.
    """
    try:
        right, account = consent.own_rights.add(GRDF.name, meter, by, tenant=tenant, holder=holder, anew=anew)
    except ValueError as error:
        raise click.ClickException(f"{error}; nothing was changed") from None
    except MeterErased as error:
        raise click.ClickException(f"{error} (--anew)") from None
    except RightRefused as error:
        refused = error.code if error.code.startswith("right_") else "right_scope"
        raise click.ClickException(translate(f"connect.{refused}.text", "en")) from None
    except UnknownUsagePoint:
        raise click.ClickException(translate("connect.right_unknown_meter.text", "en")) from None
    note_result(right.id, account_id=account.id if account else None)
    if account is not None:
        parameters.enqueue_history(stores, account.id)
        line = f"account {account.id} added, state {account.state}"
    else:
        line = f"right {right.id} is {right.state}: its account is added once it is active (`releve consents --rights`)"
    row = {
        "account": account.id if account else None,
        "state": account.state.value if account else None,
        "tenant": tenant,
        "right": right.id,
        "right_state": right.state.value,
    }
    parameters.print_result(row, line, as_json=as_json)


_CONSENT_DAY: Final = parameters.Checked("YYYY-MM-DD", lambda text: text if text == _TODAY else parameters.to_day(text))


@click.group(cls=Group)
def accounts() -> None:
    """Add, find, list, show, pause, resume and remove accounts, and choose their series.

    \b
    Example:
      releve accounts list --state action_needed
    """


_SERIES_ACTIONS: Final = dict.fromkeys(("on", "off", "fleet"), AuditAction.ACCOUNT_SERIES)


@accounts.command("series", audit=with_options(**_SERIES_ACTIONS))
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--on", type=SERIES, multiple=True, help="Fetch this series, also if the supplier ended it before.")
@click.option("--off", type=SERIES, multiple=True, help="Stop fetching this series. Stored data stays.")
@click.option("--fleet", type=SERIES, multiple=True, help="Follow RELEVE_SERIES again, like all accounts.")
@parameters.json_option
def account_series(
    account_id: str, on: tuple[str, ...], off: tuple[str, ...], fleet: tuple[str, ...], as_json: bool
) -> None:
    """Show or choose the series of an account.

    A series that you switch on is fetched at once.

    \b
    Examples:
      releve accounts series 3kq7d0fr2m
      releve accounts series 3kq7d0fr2m --on max_power --on registers --off load_curve
    """
    chosen = [(on, SeriesSwitch.ON), (off, SeriesSwitch.OFF), (fleet, SeriesSwitch.FLEET)]
    switches = {Series(name): switch for names, switch in chosen for name in names}
    if len(switches) < len({*on}) + len({*off}) + len({*fleet}):
        raise click.UsageError("name a series in only one of --on, --off and --fleet")
    with parameters.open_stores() as stores:
        stores.registry.accounts.get_existing(account_id)
        chooser = build_series_chooser(stores)
        try:
            begins = chooser.choose(account_id, switches)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if begins:
            try:
                parameters.enqueue_history(stores, account_id)
            except StoreUnavailable as error:  # If the message is lost, beat sends it again.
                warn(f"{error}: the history follows by itself")
        result = chooser.load(account_id)
    if as_json:
        parameters.print_result(result.model_dump(mode="json"), as_json=True)
    else:
        print_table(_series_rows(result))


@accounts.command(audit=AuditAction.ACCOUNT_ADD)
@click.option("--usage-point", type=parameters.USAGE_POINT, help="The meter's 14-digit number (PDL, PRM).")
@click.option("--pce", type=parameters.GAS_METER, cls=GasOption, help="Number of a gas meter, with --own.")
@click.option("--own", is_flag=True, cls=GasOption, help="The gas contract is your own, so no consent is needed.")
@click.option("--postcode", cls=GasOption, help="With --own, if GRDF has no active right yet: postcode of the meter.")
@click.option("--name", "holder", cls=GasOption, help="With --postcode: surname of the contract's holder.")
@click.option("--company", cls=GasOption, help="With --postcode: company that holds the contract.")
@click.option("--token-file", type=parameters.FILE, help='v4: JSON file with "access_token" and "refresh_token".')
@click.option("--reference", help="Your reference of the consent, without the meter's number.")
@click.option(
    "--consented",
    type=_CONSENT_DAY,
    is_flag=False,
    flag_value=_TODAY,
    help="Day of the holder's consent, or `today`. The account is ready at once.",
)
@click.option("--anew", is_flag=True, help="You confirm that the holder consented again after the erasure.")
@click.option("--by", "name", help="Who confirms the consent. Default: the user of this shell.")
@click.option(
    "--supplier",
    type=click.Choice(list(SUPPLIERS)),
    default=ENEDIS.name,
    metavar="NAME",
    help="Supplier of the meter's data.",
)
@parameters.tenant_option("Tenant of the account; see `releve tenants`.", DEFAULT_TENANT)
@parameters.json_option
def add(
    usage_point: str | None,
    pce: str | None,
    own: bool,
    postcode: str | None,
    holder: str | None,
    company: str | None,
    token_file: Path | None,
    reference: str | None,
    consented: date | str | None,
    anew: bool,
    name: str | None,
    supplier: str,
    tenant: str,
    as_json: bool,
) -> None:
    """Add an account for a meter whose holder has consented.

    The account's backfill is queued. You confirm the consent: your name, the reference and the day are stored as its
    proof. Without --consented the account has the state `new` until the supplier's first answer confirms or refuses the
    consent.

    A meter that already has an account is refused. A meter whose data were erased is refused, too, unless you give
    --anew, or --consented is the day of the erasure or later.

    With enedis-v4 each holder has a token: give --token-file. enedis-v5 and enedis-2026 need no token file.

    \b
    Examples:
      releve accounts add --usage-point 12345678901234 --json
      releve accounts add --usage-point 12345678901234 --consented 2024-07-25 --reference "contract 4711"
    """
    own_holder = check_gas(usage_point, pce, own, postcode, holder, company)
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        consent = build_consent(stores, sync)
        require_tenant(stores.registry.database, tenant)
        by = f"cli:{name}" if name else parameters.shell_user()
        if usage_point is None:
            add_own(stores, consent, str(pce), by, tenant=tenant, holder=own_holder, anew=anew, as_json=as_json)
            return
        token = _read_token(token_file) if token_file else None
        if token is None and sync.suppliers.clients_of(supplier).account_tokens:
            raise click.UsageError("enedis-v4 needs the holder's token: give --token-file")
        try:
            account, created = replace(consent.assertion, supplier=supplier).add(
                usage_point,
                by,
                reference=reference,
                consented_on=sync.history.today() if isinstance(consented, str) else consented,
                token=token.to_text() if token else None,
                anew=anew,
                tenant=tenant,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        except MeterErased as error:
            raise click.ClickException(f"{error} (--consented, or --anew)") from None
        note_result(account_id=account.id)
        if not created:
            raise click.ClickException(
                f"account {account.id} has this meter already, nothing was changed: `releve invite {account.id}` "
                "makes a link for its holder"
            )
        if account.active:
            parameters.enqueue_history(stores, account.id)
        waits = ", waiting for the supplier's first answer" if account.unconfirmed else ""
        line = f"account {account.id} added, state {account.state}{waits}"
        row = {"account": account.id, "state": account.state.value, "tenant": account.tenant}
        parameters.print_result(row, line, as_json=as_json)


@accounts.command("list", audit=with_options(meter=AuditAction.ACCOUNT_FIND, reference=AuditAction.ACCOUNT_FIND))
@click.option("--meter", type=parameters.ANY_METER, help="Find the account of this meter, and show its state.")
@click.option("--reference", type=parameters.REFERENCE, help="Find the accounts that you added with this reference.")
@parameters.state_option
@parameters.limit_option
@parameters.tenant_option("Only accounts of this tenant.")
@parameters.json_option
def list_accounts(
    meter: str | None,
    reference: str | None,
    state: AccountState | None,
    limit: int | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """List the accounts, or find the account of a meter or a reference.

    Removed accounts are left out.

    With --meter - or --reference - the text is read from standard input: it then stays out of the shell's history and
    the process list. The exit code is 1 if no account is found.

    \b
    Examples:
      releve accounts list --state paused --limit 20
      releve accounts list --meter - --json
    """
    if meter is not None or reference is not None:
        if state or limit or tenant or None not in (meter, reference):
            raise click.UsageError("--meter needs no other option, --reference neither")
        _find(meter, reference, as_json)
        return
    with parameters.open_stores() as stores:
        if tenant:
            require_tenant(stores.registry.database, tenant)
        rows = map(_account_row, islice(stores.registry.accounts.iterate(tenant=tenant, state=state), limit))
        has_tenants = len(stores.registry.tenants.list_tenants()) > 1
        empty = "no accounts in this state" if state else ""
        _ACCOUNTS.print_all(rows, as_json=as_json, has_tenants=has_tenants, empty=empty)


@accounts.command(audit=READS)
@click.argument("account_id", metavar="ACCOUNT")
@parameters.json_option
def show(account_id: str, as_json: bool) -> None:
    """Show an account and its newest consent proof.

    Only the last four digits of the meter's number are shown.

    \b
    Example:
      releve accounts show 3kq7d0fr2m
    """
    with parameters.open_stores() as stores:
        row = _account_row(stores.registry.accounts.get(account_id))
        row |= proof_row(stores.registry.consents.newest_proofs([account_id]).get(account_id))
    usual = ("tenant", DEFAULT_TENANT), ("paused_until", None)
    shown = {name: value for name, value in row.items() if (name, value) not in usual}
    lines = [f"{name:15} {value if value is not None else '-'}" for name, value in shown.items()]
    parameters.print_result(row, *lines, as_json=as_json)


@accounts.command(audit=AuditAction.ACCOUNT_PAUSE)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--until", type=parameters.DAY, help="The day on which the account resumes by itself.")
def pause(account_id: str, until: date | None) -> None:
    """Stop automatic runs of an account. Stored data stays.

    \b
    Examples:
      releve accounts pause 3kq7d0fr2m
      releve accounts pause 3kq7d0fr2m --until 2027-01-15
    """
    _set_state(account_id, AccountState.PAUSED, until)


@accounts.command(audit=AuditAction.ACCOUNT_RESUME)
@click.argument("account_id", metavar="ACCOUNT")
def resume(account_id: str) -> None:
    """Resume automatic runs of an account.

    \b
    Example:
      releve accounts resume 3kq7d0fr2m
    """
    _set_state(account_id, AccountState.READY)


@accounts.command(audit=AuditAction.ACCOUNT_ERASE)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
@parameters.json_option
def remove(account_id: str, yes: bool, as_json: bool) -> None:
    """Erase an account: its measures, tokens and state.

    The command prints what was erased. The proof of its consent stays for RELEVE_KEEP_CONSENT_PROOF_DAYS, without the
    meter and the reference. Consents that began before the erasure can't be used for this meter any more.

    The holder can consent again later: with v5 and 2026, `releve invite` makes the link for that. With 2026 the holder
    must first delete the share in their Enedis account.

    \b
    Example:
      releve accounts remove 3kq7d0fr2m --yes
    """
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        stores.registry.accounts.get(account_id)
        parameters.require_confirmation(
            f"Erase account {account_id} and all its measures?", yes, if_not="nothing was erased"
        )
        erased = erase(stores, account_id, parameters.shell_user())
        _publish_revocation(stores, sync)
    proofs = erased.pop("consent_proofs_kept")
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in erased.items())
    parameters.print_result(
        {"account": account_id, "erased": erased, "kept": {"consent_proofs": proofs}},
        f"account {account_id} removed; erased: {counts}; kept: {proofs} consent proofs, without meter and reference",
        as_json=as_json,
    )


def proof_row(proof: ConsentProof | None) -> dict[str, str | None]:
    """Return a proof's kind, the person who vouches for the consent, and the reference; all None without a proof."""
    names = ("proof", "vouched_by", "reference")
    return to_row(proof, *names) if proof else dict.fromkeys(names)


def _set_state(account_id: str, state: AccountState, until: date | None = None) -> None:
    with parameters.open_stores() as stores:
        stores.registry.accounts.get_existing(account_id)
        try:
            stores.registry.accounts.set_state(account_id, state, now=stores.now(), until=until)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        state = stores.registry.accounts.get(account_id).state
    click.echo(f"account {account_id} is {state}{f' until {until}' if until else ''}")


def _publish_revocation(stores: Stores, sync: Sync) -> None:
    """Enqueue the tasks that revoke tokens (v4) and withdraw rights of erased accounts; beat repeats lost messages."""
    # Imported here because other commands need no Celery.
    from worker.app import enqueue_revocation

    with suppress(StoreUnavailable):
        enqueue_revocation(sync.suppliers, broker_url=stores.broker_url)


def _read_token(path: Path) -> Token:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        return Token(access=str(answer["access_token"]), refresh=str(answer["refresh_token"]), expires_at=0)
    except (OSError, ValueError, KeyError, TypeError):
        raise click.BadParameter(
            'needs JSON with "access_token" and "refresh_token"', param_hint="--token-file"
        ) from None


def _account_row(account: Account) -> dict[str, Any]:
    row = AccountSummary.from_account(account, with_digits=True).model_dump(mode="json")
    return {**row, "tenant": account.tenant}
