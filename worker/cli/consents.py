"""Consents, invitations, connection requests and access rights: `releve consents` and `invite`.

The link that `releve invite` prints is secret: one person uses it to consent, or to open the history of a closed
account. Connection requests wait for the operator if there were too many new accounts, if a typed reading would close
another account, if a gas request came without an invitation, or if a campaign's link went to an address of a list.
Rights are access rights to gas meters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from worker.accounts.invitations import InvitationSummary, SentInvitation
from worker.accounts.notice_services import is_mail_address
from worker.accounts.opening import HELD_READING
from worker.accounts.status import to_plain, to_row
from worker.cli import parameters
from worker.cli.accounts import proof_row
from worker.cli.command_audit import READS, Group, command, note_result
from worker.cli.gas_option import GasOption, shows_gas
from worker.cli.printing import local_text
from worker.cli.resources import Listing
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.clients.grdf.consent import LARGEST_PROOF, MOST_PROOFS
from worker.domain.access_right import OurState, Right
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.connection_request import ConnectionRequest
from worker.domain.consents import ConsentProof
from worker.domain.invitation import Invitation, InvitationState
from worker.errors import UnknownRequest
from worker.ops.logging_setup import warn
from worker.runtime.consent_parts import build_consent, build_inviter
from worker.runtime.sync_parts import build_sync
from worker.stores.registry import Registry
from worker.stores.registry.api_tokens import require_tenant

_OF_GAS: Final = ("check", "proof")
_CONSENTS: Final = Listing(
    "account, state?, until=consent_until, days=days_left?, proof?, confirmed by=vouched_by…?, reason",
    "no accounts yet",
)
_INVITATIONS: Final = Listing(
    "invitation, for=purpose, account, meter=usage_point, state, tenant?, expires_at, by=created_by?, created_at?, "
    "opened_at?",
    "no invitations",
)
_REQUESTS: Final = Listing("request, since, reason…, accounts, digits…?, closes?, meters?", "no request waits")
_RIGHTS: Final = Listing(
    "id=right, account, meter, state, since, until, tenant?, proof?, proof until=proof_until?", "no rights yet"
)


class _ConsentGroup(Group):
    """The command group `releve consents`, which has commands for gas only if gas is set up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in super().list_commands(ctx) if name not in _OF_GAS or shows_gas(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return None if cmd_name in _OF_GAS and not shows_gas(ctx) else super().get_command(ctx, cmd_name)


@click.group(cls=_ConsentGroup, invoke_without_command=True)
@click.option("--invitations", is_flag=True, help="List the invitations instead, newest first.")
@click.option("--requests", is_flag=True, help="List the connection requests that wait for you instead, oldest first.")
@click.option("--rights", is_flag=True, cls=GasOption, help="List the rights to gas meters instead, with proofs.")
@click.option(
    "--expiring", type=parameters.DAY_COUNT, help="Only consents that end within this many days, or have ended."
)
@click.option("--open", "open_only", is_flag=True, help="With --invitations: only those that can still be used.")
@parameters.state_option
@parameters.limit_option
@parameters.tenant_option("Only consents, invitations or rights of this tenant.")
@parameters.json_option
@click.pass_context
def consents(
    context: click.Context,
    invitations: bool,
    requests: bool,
    rights: bool,
    expiring: timedelta | None,
    open_only: bool,
    state: AccountState | None,
    limit: int | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Show when consents end, earliest first, with their proofs; or show invitations or requests.

    `releve invite ACCOUNT` makes a link with which the holder consents again. Secrets of invitations are not shown;
    ended invitations stay listed for a week.

    A request waits for you if it exceeded a limit of new accounts (RELEVE_NEW_ACCOUNTS_PER_…); if a person typed the
    reading of a meter that already has an account (ask its household first, because `releve consents accept` closes
    that account); if it declares an access right without an invitation; or if a campaign mailed its link to an address
    of your list (its consent is recorded, and `releve consents accept` opens the account's history to this person; ask
    the household first). You see the last digits of the meters, and the accounts of the browser's session or, for a
    campaign, the account that would open. A request expires after seven days.

    \b
    Examples:
      releve consents --expiring 30 --limit 20
      releve consents --invitations --open
      releve consents --requests
    """
    if context.invoked_subcommand is not None:
        return
    if invitations + requests + rights > 1:
        raise click.UsageError("give only one of --invitations, --requests and --rights")
    if rights and not shows_gas(context):
        raise click.UsageError("gas is not set up here: set RELEVE_GRDF_CLIENT_ID")
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        consent = build_consent(stores, sync)
        if tenant:
            require_tenant(stores.registry.database, tenant)
        if requests:
            rows = [_request_row(stores.registry, request) for request in consent.requests.list_held()]
            _REQUESTS.print(rows, as_json=as_json, limit=limit)
        elif rights:
            rows = [_right_row(right, brief=not as_json) for right in stores.registry.rights.list_all()]
            _RIGHTS.print(rows, as_json=as_json, limit=limit, tenant=tenant)
        elif invitations:
            found = stores.registry.invitations.list_invitations(open_only, limit, tenant=tenant)
            listed = replace(_INVITATIONS, empty="no open invitation") if open_only else _INVITATIONS
            listed.print(map(_invitation_row, found), as_json=as_json)
        else:
            today = sync.history.today()
            until = today + expiring if expiring is not None else None
            accounts = stores.registry.consents.list_accounts_by_consent_end(
                until, state=state, limit=limit, tenant=tenant
            )
            empty = "no consent ends within this time" if expiring is not None else ""
            proofs = stores.registry.consents.newest_proofs([account.id for account in accounts])
            consent_rows = (_consent_row(account, proofs.get(account.id), today) for account in accounts)
            _CONSENTS.print_all(consent_rows, as_json=as_json, empty=empty)


@consents.command(audit=READS)
@parameters.json_option
def verify(as_json: bool) -> None:
    """Check the chain of consent proofs.

    The command names each row that was changed, is missing, or lies outside the chain; the exit code is then 1. It
    prints the number of rows and the hash of the last row. Write that hash down elsewhere, on paper or in another
    system: it shows later whether somebody has replaced the registry with an older one.

    \b
    Example:
      releve consents verify
    """
    faults: list[str] = []
    with parameters.open_stores() as stores:
        summary = stores.registry.evidence.verify(faults.append if as_json else click.echo)
    row = {"rows": summary.rows, "last_row": summary.head.sequence, "hash": summary.head.hash, "faults": faults}
    last = f"the last row is {summary.head.sequence}, with hash {summary.head.hash}"
    state = "the chain verifies" if not summary.faults else f"{summary.faults} faults"
    parameters.print_result(row, f"{summary.rows} rows of consent proofs, {last}: {state}", as_json=as_json)
    if summary.faults:
        raise click.exceptions.Exit(1)


@consents.command(audit=AuditAction.EVIDENCE_EXPORT)
@click.argument("account_id", metavar="ACCOUNT")
def show(account_id: str) -> None:
    """Print an account's consent proofs as JSON.

    Use the output in a dispute: it has the stored rows with their hashes, and says whether the chain verifies. Meter
    and reference are in clear text until the account is removed. The command also works for a removed account, as
    long as its proofs are kept.

    \b
    Example:
      releve consents show k3q7d0fr2mxx > evidence.json
    """
    with parameters.open_stores() as stores:
        rows = stores.registry.evidence.export(account_id)
        faults: list[str] = []
        summary = stores.registry.evidence.verify(faults.append)
        made_at = to_plain(stores.now())
    chain = {"verifies": not faults, "last_row": summary.head.sequence, "hash": summary.head.hash, "faults": faults}
    parameters.print_json({"account": account_id, "made_at": made_at, "rows": rows, "chain": chain})


def _consent_row(account: Account, proof: ConsentProof | None, today: date) -> dict[str, Any]:
    end = account.consent_until
    return {
        "account": account.id,
        **to_row(account, "state", "reason", "consent_from", "consent_until"),
        "days_left": (end - today).days if end else None,
        **proof_row(proof),
    }


def _check_address(text: str) -> str:
    """Return the text if it is a mail address. Raises ValueError otherwise, without the text: terminals are logged."""
    if not is_mail_address(text):
        raise ValueError("a mail address looks like name@example.org")
    return text


@command(audit=AuditAction.INVITATION_CREATE)
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option(
    "--usage-point", type=parameters.USAGE_POINT, help="Invite the holder of this meter, which has no account yet."
)
@click.option("--pce", type=parameters.GAS_METER, cls=GasOption, help="Invite the holder of this gas meter.")
@click.option("--new-holder", is_flag=True, help="The meter has a new holder. Its account is closed when they connect.")
@click.option(
    "--mail",
    "address",
    type=parameters.Checked("ADDRESS", _check_address),
    help="Mail the link to this address, through RELEVE_NOTIFY_URL.",
)
@parameters.tenant_option("With --usage-point: tenant of the new account; see `releve tenants`.")
@parameters.json_option
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
    history. By sending the link you confirm that the meter is this person's: send it to nobody else.

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
    with parameters.open_stores() as stores:
        inviter = build_inviter(stores)
        if address:
            inviter.check_mail()
        if meter:
            tenant = require_tenant(stores.registry.database, tenant or DEFAULT_TENANT)
            invitation, link = inviter.invite_meter(
                GRDF.name if pce else ENEDIS.name, meter, parameters.shell_user(), new_holder=new_holder, tenant=tenant
            )
        else:
            invitation, link = inviter.invite_account(str(account_id), parameters.shell_user())
        note_result(invitation.id, account_id=invitation.account_id)
        # The link is printed even if no mail can be sent.
        fault = inviter.mail(invitation, link, address) if address else None
    if fault:
        warn(f"the mail could not be sent ({fault}): send the link yourself")
    mailed = bool(address) and fault is None
    if as_json:
        parameters.print_json(SentInvitation.from_invitation(invitation, link, mailed=mailed).model_dump(mode="json"))
    else:
        sent = "it was mailed; " if mailed else ""
        warn(
            f"invitation {invitation.id}, valid until {local_text(invitation.expires_at)}; {sent}the link can't be "
            "shown again"
        )
        click.echo(link)
    return 0 if mailed or not address else 1


@consents.command(audit=AuditAction.INVITATION_REVOKE, subject="invitation_id")
@click.argument("invitation_id", metavar="ID")
def revoke(invitation_id: str) -> None:
    """Revoke an invitation by its id.

    A used invitation can't be revoked.

    \b
    Example:
      releve consents revoke h4t8q2mxk0ra
    """
    with parameters.open_stores() as stores:
        invitation = stores.registry.invitations.revoke(invitation_id)
    used = invitation.state_at(datetime.now(UTC)) is InvitationState.USED
    click.echo(f"invitation {invitation.id} was already used" if used else f"invitation {invitation.id} is revoked")


def _invitation_row(invitation: Invitation) -> dict[str, Any]:
    row = InvitationSummary.from_invitation(invitation, datetime.now(UTC)).model_dump(mode="json")
    return {**row, "usage_point": invitation.last_digits, "tenant": invitation.tenant}


@consents.command(audit=AuditAction.REQUEST_ACCEPT, subject="request_id")
@click.argument("request_id", metavar="REQUEST")
def accept(request_id: str) -> None:
    """Connect the meters of a request.

    The person sees the new accounts at the next visit with the same browser. The account in the column `closes` of
    `releve consents --requests` is closed. If the request declares an access right, you vouch for the meter by
    accepting. A worker then declares the right to the supplier, and the supplier asks the holder. If the request came
    by a campaign's link, you vouch that its person may see the account's history.

    \b
    Example:
      releve consents accept 1f0c…
    """
    from worker.app import enqueue_request  # Imported here because other commands need no Celery.

    with parameters.open_stores() as stores:
        consent = build_consent(stores, build_sync(stores))
        accepted = consent.connector.let_in(request_id, by=parameters.shell_user())
        if accepted is None:
            raise UnknownRequest("no waiting request has this id: `releve consents --requests` shows the ids")
        parameters.enqueue_history(stores, *(account.id for account in accepted.accounts))
        if accepted.asks_supplier:
            enqueue_request(accepted.id, vouched=accepted.vouched, broker_url=stores.broker_url)
    if accepted.asks_supplier:
        click.echo(f"request {request_id} accepted: a worker declares its right now")
    elif accepted.accounts:
        click.echo(f"request {request_id} accepted: account {', '.join(account.id for account in accepted.accounts)}")
    else:
        click.echo(f"request {request_id} is {accepted.state}: its meter got another person's account in the meantime")


@consents.command(audit=AuditAction.REQUEST_REFUSE, subject="request_id")
@click.argument("request_id", metavar="REQUEST")
def refuse(request_id: str) -> None:
    """Refuse a request and delete it.

    A consent that came by a campaign's link stays recorded, but the account's history does not open.

    \b
    Example:
      releve consents refuse 1f0c…
    """
    with parameters.open_stores() as stores:
        consent = build_consent(stores, build_sync(stores))
        if consent.connector.turn_away(request_id) is None:
            raise UnknownRequest("no waiting request has this id: `releve consents --requests` shows the ids")
    click.echo(f"request {request_id} refused")


@consents.command(audit=AuditAction.READING_OPEN)
@click.argument("usage_point", metavar="METER", type=parameters.USAGE_POINT)
def unblock(usage_point: str) -> None:
    """Allow a meter reading as proof for METER again.

    After too many wrong readings, Relève accepts no further reading as proof.

    \b
    Example:
      releve consents unblock 12345678901234
    """
    with parameters.open_stores() as stores:
        there_were = stores.registry.reading_tries.forget(ENEDIS.name, usage_point)
    click.echo("its wrong readings are cleared" if there_were else "this meter has no wrong readings")


def _request_row(registry: Registry, request: ConnectionRequest) -> dict[str, Any]:
    """Return a request's row: why it waits, which account it would close, and the accounts of its browser session."""
    meters = request.proven.usage_points if request.proven else request.names_meters
    reads = request.page == HELD_READING
    accounts = [account.id for account in request.accounts] if request.holds_history else list(request.session)
    known = [registry.accounts.find(request.supplier, meter) for meter in meters] if reads else []
    reason = "meter has an account" if reads else "too many new accounts"
    reason = "address is not confirmed" if request.holds_history else reason
    return {
        "request": request.id,
        "since": request.created_at.isoformat(timespec="minutes"),
        "meters": len(meters),
        "reason": "gas without an invitation" if request.declaration else reason,
        "digits": [f"…{meter[-4:]}" for meter in meters],
        "closes": next((account.id for account in known if account), None),
        "accounts": accounts,
    }


@consents.command(audit=AuditAction.RIGHT_PROOF, subject="right_id")
@click.argument("right_id", metavar="RIGHT")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=parameters.FILE)
@parameters.json_option
def proof(right_id: str, files: Sequence[Path], as_json: bool) -> None:
    """Send GRDF the proof of a consent.

    Give one to three files of at most 4 MB.

    \b
    Example:
      releve consents proof 1f0c8a6e5d4b3a291807 consent.pdf
    """
    if len(files) > MOST_PROOFS:
        raise click.UsageError(f"give at most {MOST_PROOFS} files")
    contents = [(file.name, _read_proof(file)) for file in files]
    with parameters.open_stores() as stores:
        consent = build_consent(stores, build_sync(stores))
        consent.own_rights.upload_proof(right_id, contents)
    sent = f"{len(contents)} file{'s' if len(contents) > 1 else ''}"
    parameters.print_result(
        {"right": right_id, "files": len(contents)}, f"{sent} sent for right {right_id}", as_json=as_json
    )


@consents.command(audit=AuditAction.RIGHT_CHECK)
@parameters.json_option
def check(as_json: bool) -> None:
    """Ask GRDF now for the state of all rights.

    This also happens once a day. The account of an active right is added if it is missing. The account of an ended
    right stops until the holder consents again.

    \b
    Example:
      releve consents check
    """
    with parameters.open_stores() as stores:
        consent = build_consent(stores, build_sync(stores))
        summary = consent.right_sweep.run()
        parameters.enqueue_history(stores, *summary.opened)
    row = {"checked": summary.checked, "opened": summary.opened, "set_aside": summary.ended}
    line = (
        f"{summary.checked} rights checked: {len(summary.opened)} accounts added, {summary.ended} accounts wait for "
        "their holder"
    )
    parameters.print_result(row, line, as_json=as_json)


def _read_proof(file: Path) -> bytes:
    """Return the content of a file. Raises BadParameter if the file can't be read or has a wrong size."""
    try:
        size = file.stat().st_size
        if not 0 < size <= LARGEST_PROOF:
            raise click.BadParameter(
                f"{file.name} has {size} bytes: a file must have 1 byte to 4 MB", param_hint="FILE"
            )
        return file.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{file.name} can't be read ({error.strerror})", param_hint="FILE") from None


def _right_row(right: Right, *, brief: bool) -> dict[str, Any]:
    since = (right.withdraw_since or right.state_since).isoformat(timespec="seconds")
    return {
        "right": right.id,
        "account": right.account_id,
        "tenant": right.tenant,
        "meter": right.last_digits,
        "role": right.role.value,
        "state": (right.ours if right.ours is OurState.WITHDRAWING else right.state).value,
        "since": since[:10] if brief else since,
        "until": right.last_day.isoformat() if right.last_day else None,
        **to_row(right, "proof", "proof_until", "vouched_by", "checked_at"),
    }
