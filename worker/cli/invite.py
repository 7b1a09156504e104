"""`releve invite`: the secret link by which one person consents, or opens the history of a closed account."""

from __future__ import annotations

from typing import Any

import click

from worker.accounts.invitations import Inviter, SentInvitation
from worker.accounts.notice_services import is_mail_address
from worker.cli.audit_trail import note_result
from worker.cli.common import (
    GasMeterNumber,
    UsagePoint,
    json_option,
    open_runtime,
    print_json,
    shell_user,
    tenant_option,
)
from worker.cli.gas_option import GasOption, shows_gas
from worker.cli.tables import local_text
from worker.clients.suppliers import ENEDIS, GRDF
from worker.domain.account import DEFAULT_TENANT
from worker.domain.invitation import Invitation
from worker.ops.logging_setup import warn
from worker.stores.registry.api_tokens import require_tenant


class MailRecipient(click.ParamType[Any]):
    """One mail address. The error does not repeat it: terminals are logged."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_mail_address(str(value)):
            self.fail("a mail address looks like name@example.org", param, ctx)
        return str(value)


@click.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--usage-point", type=UsagePoint(), help="Invite the holder of this meter, which has no account yet.")
@click.option(
    "--pce", type=GasMeterNumber(), cls=GasOption, help="Invite the holder of this gas meter, which has no account yet."
)
@click.option("--new-holder", is_flag=True, help="The meter has a new holder. Its account is closed when they connect.")
@click.option(
    "--mail", "address", type=MailRecipient(), help="Mail the link to this address, through RELEVE_NOTIFY_URL."
)
@tenant_option("With --usage-point: tenant of the new account; see `releve tenants`.")
@json_option
def invite(
    account_id: str | None,
    usage_point: str | None,
    pce: str | None,
    new_holder: bool,
    address: str | None,
    tenant: str | None,
    as_json: bool,
) -> int:
    """Print a secret link with which one person consents; it works once, within 72 hours.

    With ACCOUNT, the same person consents again and the history is kept. For a closed account, the link only opens its
    history. With the link you confirm that the meter is this person's: send it to nobody else.

    \b
    Examples:
      releve invite 3kq7d0fr2m
      releve invite --usage-point 12345678901234 --mail name@example.org
    """
    meter = usage_point or pce
    options = "--usage-point or --pce" if shows_gas(click.get_current_context(silent=True)) else "--usage-point"
    if sum(map(bool, (account_id, usage_point, pce))) != 1:
        raise click.UsageError(f"give one ACCOUNT, or {options}")
    if new_holder and not meter:
        raise click.UsageError(f"--new-holder needs {options}")
    if tenant and not meter:
        raise click.UsageError(f"--tenant needs {options}: an account stays in its tenant")
    with open_runtime() as runtime:
        inviter = runtime.inviter
        if address:
            inviter.check_mail()
        if meter:
            tenant = require_tenant(runtime.registry.database, tenant or DEFAULT_TENANT)
            invitation, link = inviter.invite_meter(
                GRDF.name if pce else ENEDIS.name, meter, shell_user(), new_holder=new_holder, tenant=tenant
            )
        else:
            invitation, link = inviter.invite_account(str(account_id), shell_user())
        note_result(invitation.id, account_id=invitation.account_id)
        mailed = bool(address) and _mail(inviter, invitation, link, str(address))
    if as_json:
        print_json(SentInvitation.from_invitation(invitation, link, mailed=mailed).model_dump(mode="json"))
    else:
        sent = "it was mailed; " if mailed else ""
        warn(
            f"invitation {invitation.id}, valid until {local_text(invitation.expires_at)}; {sent}the link can't be "
            "shown again"
        )
        click.echo(link)
    return 0 if mailed or not address else 1


def _mail(inviter: Inviter, invitation: Invitation, link: str, address: str) -> bool:
    """Mail the link, and return whether the server took it; the link is printed in any case."""
    fault = inviter.mail(invitation, link, address)
    if fault:
        warn(f"the mail could not be sent ({fault}): send the link yourself")
    return fault is None
