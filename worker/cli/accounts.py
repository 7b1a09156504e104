"""`releve accounts`: add, list, show, pause, resume and remove accounts of the registry."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import click

from worker.accounts.assertion import MeterErased
from worker.accounts.status import AccountSummary
from worker.cli.account_find import find_account
from worker.cli.account_series import account_series
from worker.cli.audit_trail import note_result
from worker.cli.common import (
    Day,
    GasMeterNumber,
    UsagePoint,
    json_option,
    limit_option,
    open_runtime,
    print_result,
    print_rows,
    require_confirmation,
    shell_user,
    state_option,
    tenant_column,
    tenant_option,
)
from worker.cli.gas_option import GasOption
from worker.cli.own_meters import add_own, check_gas
from worker.clients.suppliers import ENEDIS, SUPPLIERS
from worker.clients.tokens import Token
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.consents import ConsentProof
from worker.errors import StoreUnavailable
from worker.runtime.sync_parts import Runtime
from worker.stores.registry.api_tokens import require_tenant

_TODAY: Final = "today"


class _ConsentDay(Day):
    """A civil day, or the word that stands for today."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == _TODAY else super().convert(value, param, ctx)


@click.group()
def accounts() -> None:
    """Add, find, list, show, pause, resume and remove accounts, and choose their series.

    \b
    Example:
      releve accounts list --state action_needed
    """


accounts.add_command(account_series)
accounts.add_command(find_account)


@accounts.command()
@click.option("--usage-point", type=UsagePoint(), help="The meter's 14-digit number (PDL, PRM).")
@click.option("--pce", type=GasMeterNumber(), cls=GasOption, help="Number of a gas meter, with --own.")
@click.option("--own", is_flag=True, cls=GasOption, help="The gas contract is your own, so no consent is needed.")
@click.option("--postcode", cls=GasOption, help="With --own, if GRDF has no active right yet: postcode of the meter.")
@click.option("--name", "holder", cls=GasOption, help="With --postcode: surname of the contract's holder.")
@click.option("--company", cls=GasOption, help="With --postcode: company that holds the contract.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='v4 only: file with the token response, {"access_token": …, "refresh_token": …}.',
)
@click.option("--reference", help="Your reference of the consent, without the meter's number.")
@click.option(
    "--consented",
    type=_ConsentDay(),
    is_flag=False,
    flag_value=_TODAY,
    help="Day of the holder's consent, or `today`. The account is ready at once.",
)
@click.option(
    "--anew",
    is_flag=True,
    help="The holder consented again after an erasure of this meter's data; you confirm it.",
)
@click.option("--by", "name", help="Who confirms the consent. Default: the user of this shell.")
@click.option(
    "--supplier",
    type=click.Choice(list(SUPPLIERS)),
    default=ENEDIS.name,
    metavar="NAME",
    help="Supplier of the meter's data.",
)
@tenant_option("Tenant of the account; see `releve tenants`.", DEFAULT_TENANT)
@json_option
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

    Its backfill is queued. You confirm the consent: your name, the reference and the day are stored as its proof.
    Without --consented the account is new until the supplier's first answer confirms or refuses it.

    A meter that already has an account is refused. A meter whose data were erased is refused, too, unless --consented
    is the day of the erasure or later, or you give --anew.

    With enedis-v4 each holder has a token: give --token-file. enedis-v5 and enedis-2026 need no token file.

    \b
    Examples:
      releve accounts add --usage-point 12345678901234 --json
      releve accounts add --usage-point 12345678901234 --consented 2024-07-25 --reference "contract 4711"
    """
    own_holder = check_gas(usage_point, pce, own, postcode, holder, company)
    with open_runtime() as runtime:
        require_tenant(runtime.registry.database, tenant)
        by = f"cli:{name}" if name else shell_user()
        if usage_point is None:
            add_own(runtime, str(pce), by, tenant=tenant, holder=own_holder, anew=anew, as_json=as_json)
            return
        token = _read_token(token_file) if token_file else None
        if token is None and runtime.clients_of(supplier).account_tokens:
            raise click.UsageError("enedis-v4 needs the holder's token: give --token-file")
        try:
            account, created = replace(runtime.assertion, supplier=supplier).add(
                usage_point,
                by,
                reference=reference,
                consented_on=runtime.history.today() if isinstance(consented, str) else consented,
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
            from worker.app import enqueue_backfill  # Imported late, for the other subcommands need no Celery.

            # The account is committed; where the message is lost, beat's reconciler repeats it.
            enqueue_backfill(account.id, broker_url=runtime.broker_url)
        waits = ", waiting for the supplier's first answer" if account.unconfirmed else ""
        line = f"account {account.id} added, state {account.state}{waits}"
        row = {"account": account.id, "state": account.state.value, "tenant": account.tenant}
        print_result(row, line, as_json=as_json)


@accounts.command("list")
@state_option
@limit_option
@tenant_option("Only accounts of this tenant.")
@json_option
def list_accounts(state: AccountState | None, limit: int | None, tenant: str | None, as_json: bool) -> None:
    """List the accounts, without removed ones.

    \b
    Examples:
      releve accounts list --json
      releve accounts list --state paused --limit 20
    """
    with open_runtime() as runtime:
        if tenant:
            require_tenant(runtime.registry.database, tenant)
        rows = map(_to_row, runtime.registry.iterate(limit=limit, tenant=tenant, state=state))
        tenants = tenant_column([{"tenant": one.id} for one in runtime.tenants.list()])
        names = ("account", "state", *tenants, "supplier", "created_at", "reason")
        empty = "no accounts in this state" if state else "no accounts yet"
        print_rows(rows, {name.removesuffix("_at"): name for name in names}, as_json=as_json, empty=empty)


@accounts.command()
@click.argument("account_id", metavar="ACCOUNT")
@json_option
def show(account_id: str, as_json: bool) -> None:
    """Show an account and its newest consent proof.

    Only the last four digits of the meter's number are shown.

    \b
    Example:
      releve accounts show 3kq7d0fr2m
    """
    with open_runtime() as runtime:
        row = _to_row(runtime.registry.get(account_id))
        row |= proof_row(runtime.consents.newest_proofs([account_id]).get(account_id))
    shown = {name: value for name, value in row.items() if (name, value) != ("tenant", DEFAULT_TENANT)}
    lines = [f"{name:15} {value if value is not None else '-'}" for name, value in shown.items()]
    print_result(row, *lines, as_json=as_json)


@accounts.command()
@click.argument("account_id", metavar="ACCOUNT")
def pause(account_id: str) -> None:
    """Stop automatic runs of an account. Stored data stays.

    \b
    Example:
      releve accounts pause 3kq7d0fr2m
    """
    _set_state(account_id, AccountState.PAUSED)


@accounts.command()
@click.argument("account_id", metavar="ACCOUNT")
def resume(account_id: str) -> None:
    """Resume automatic runs of an account.

    \b
    Example:
      releve accounts resume 3kq7d0fr2m
    """
    _set_state(account_id, AccountState.READY)


@accounts.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
@json_option
def remove(account_id: str, yes: bool, as_json: bool) -> None:
    """Erase an account: its measures, tokens and state.

    The command prints what was erased. The proof of its consent stays for RELEVE_KEEP_CONSENT_PROOF_DAYS, without the
    meter and the reference. Consents that began before the erasure can't be used for this meter any more.

    The holder can consent again later: with v5 and 2026, `releve invite` makes the link for it. With 2026 they first
    delete the share in their Enedis account.

    \b
    Example:
      releve accounts remove 3kq7d0fr2m --yes
    """
    with open_runtime() as runtime:
        runtime.registry.get(account_id)
        require_confirmation(f"Erase account {account_id} and all its measures?", yes, if_not="nothing was erased")
        erased = runtime.erase(account_id, shell_user())
        _publish_revocation(runtime)
    proofs = erased.pop("consent_proofs_kept")
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in erased.items())
    print_result(
        {"account": account_id, "erased": erased, "kept": {"consent_proofs": proofs}},
        f"account {account_id} removed; erased: {counts}; kept: {proofs} consent proofs, without meter and reference",
        as_json=as_json,
    )


def proof_row(proof: ConsentProof | None) -> dict[str, str | None]:
    """Return what shows that a consent is the holder's, who vouches for it, and its reference; None where unknown."""
    return {
        "proof": proof.proof.value if proof else None,
        "vouched_by": proof.vouched_by if proof else None,
        "reference": proof.reference if proof else None,
    }


def _set_state(account_id: str, state: AccountState) -> None:
    with open_runtime() as runtime:
        runtime.registry.get_existing(account_id)
        try:
            runtime.registry.set_state(account_id, state, now=runtime.now())
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        state = runtime.registry.get(account_id).state
    click.echo(f"account {account_id} is {state}")


def _publish_revocation(runtime: Runtime) -> None:
    """Publish the revocation of the account's token (v4) and rights; where the message is lost, beat sends it too."""
    if runtime.clients.account_tokens:
        from worker.app import enqueue_revocation  # Imported late, for the other subcommands need no Celery.

        with suppress(StoreUnavailable):
            enqueue_revocation(broker_url=runtime.broker_url)
    if runtime.has_rights:
        from worker.app import enqueue_withdrawal

        with suppress(StoreUnavailable):
            enqueue_withdrawal(broker_url=runtime.broker_url)


def _read_token(path: Path) -> Token:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        return Token(access=str(answer["access_token"]), refresh=str(answer["refresh_token"]), expires_at=0)
    except (OSError, ValueError, KeyError, TypeError):
        raise click.BadParameter(
            'needs JSON with "access_token" and "refresh_token"', param_hint="--token-file"
        ) from None


def _to_row(account: Account) -> dict[str, Any]:
    row = AccountSummary.from_account(account, with_digits=True).model_dump(mode="json")
    return {**row, "tenant": account.tenant}
