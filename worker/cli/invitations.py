"""`releve invitations`: list and revoke the links that `releve invite` and the API have made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from worker.accounts.invitations import InvitationSummary
from worker.cli.common import json_option, open_runtime, print_rows, tenant_column, tenant_option
from worker.domain.invitation import Invitation, InvitationState
from worker.stores.registry.api_tokens import require_tenant


@click.group()
def invitations() -> None:
    """List and revoke invitations; `releve invite` creates one.

    \b
    Example:
      releve invitations list --open
    """


@invitations.command("list")
@click.option("--open", "open_only", is_flag=True, help="Only invitations that can still be used.")
@tenant_option("Only invitations of this tenant.")
@json_option
def list_invitations(open_only: bool, tenant: str | None, as_json: bool) -> None:
    """List the invitations, newest first.

    Secrets are not shown. Ended invitations stay listed for a week.

    \b
    Example:
      releve invitations list --open
    """
    with open_runtime() as runtime:
        if tenant:
            require_tenant(runtime.registry.database, tenant)
        rows = [_to_row(invitation) for invitation in runtime.invitations.list(open_only, tenant=tenant)]
    moments = {name.replace("_at", "").replace("_", " "): name for name in ("created_at", "expires_at", "opened_at")}
    columns = {"invitation": "invitation", "for": "purpose", "account": "account", "meter": "usage_point"}
    columns |= {"state": "state", **tenant_column(rows), "by": "created_by", **moments}
    print_rows(rows, columns, as_json=as_json, empty="no open invitation" if open_only else "no invitations")


@invitations.command()
@click.argument("invitation_id", metavar="ID")
def revoke(invitation_id: str) -> None:
    """Revoke an invitation by its id.

    A used invitation can't be revoked.

    \b
    Example:
      releve invitations revoke h4t8q2mxk0ra
    """
    with open_runtime() as runtime:
        invitation = runtime.invitations.revoke(invitation_id)
    used = invitation.state_at(datetime.now(UTC)) is InvitationState.USED
    click.echo(f"invitation {invitation.id} was already used" if used else f"invitation {invitation.id} is revoked")


def _to_row(invitation: Invitation) -> dict[str, Any]:
    row = InvitationSummary.from_invitation(invitation, datetime.now(UTC)).model_dump(mode="json")
    return {**row, "usage_point": invitation.last_digits, "tenant": invitation.tenant}
