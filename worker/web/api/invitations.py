"""API routes of invitations: make, list and revoke them. For clients with a token, not for households."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query

from worker.accounts import invitations
from worker.accounts.invitations import InvitationSummary, Inviter, SentInvitation
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.domain.audit_entry import AuditAction
from worker.domain.invitation import Invitation
from worker.errors import MeterElsewhere
from worker.runtime.consent_parts import build_inviter
from worker.stores.registry.invitations import UnknownInvitation
from worker.web.api.callers import Caller, ReadAsClient, WriteAccounts
from worker.web.api.schemas import InvitationPage, NewInvitation, Problem, error_responses
from worker.web.dependencies import LastId, RegistryDep, Visit, VisitDep
from worker.web.error_pages import HttpRefusal, meter_elsewhere
from worker.web.request_audit import note_subject

router = APIRouter(tags=["invitations"])
MOST_INVITATIONS: Final = 500
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    409: {
        "model": Problem,
        "description": "`meter_has_account`: give the account for the same person, or `new_holder` for another. "
        "`meter_has_no_account`: leave out `new_holder`. `METER_ELSEWHERE`: another tenant reads this meter. "
        "`no_mail_service`: `RELEVE_NOTIFY_URL` has no mail service.",
    }
}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"model": Problem, "description": "No such invitation."}}


@router.post(
    "/invitations",
    name=AuditAction.INVITATION_CREATE,
    summary="Invite a person",
    status_code=201,
    responses={**error_responses(400, 404, 411, 413, 415, 422), **_REFUSALS},
)
def invite(new: NewInvitation, visit: VisitDep, caller: WriteAccounts) -> SentInvitation:
    """Create a secret link through which one person consents; the link can be used once, within 72 hours.

    You vouch for the person who gets the link. With `account`, invite only the person who had the account before,
    because the account keeps its history. If the account is closed, the link only lets the person see the history. With
    `usage_point` or `pce`, the meter gets an account. Older invitations for the same account or meter are revoked,
    unless they were used.
    """
    inviter = build_inviter(visit.stores)
    try:
        if new.mail:
            inviter.check_mail()
        invitation, link = _create(inviter, visit, new, caller)
    except MeterElsewhere:
        raise meter_elsewhere() from None
    except invitations.MeterHasAccount as error:
        # The error's own text is for the command line.
        message = f"this meter has the account {error.account_id}: invite that account, or set new_holder"
        raise HttpRefusal(409, "meter_has_account", message) from None
    except invitations.MeterHasNoAccount:
        raise HttpRefusal(409, "meter_has_no_account", "this meter has no account: leave out new_holder") from None
    except invitations.NoMailService:
        raise HttpRefusal(409, "no_mail_service", "no mail service is set up: send the link yourself") from None
    note_subject(visit.request, invitation.id, account_id=invitation.account_id)
    mailed = bool(new.mail) and inviter.mail(invitation, link, str(new.mail)) is None
    return SentInvitation.from_invitation(invitation, link, mailed=mailed)


@router.get("/invitations", summary="List invitations", responses=error_responses(422))
def list_invitations(
    registry: RegistryDep,
    caller: ReadAsClient,
    limit: Annotated[int, Query(ge=1, le=MOST_INVITATIONS, description="Invitations a page.")] = 100,
    after: LastId = "",
    open_only: Annotated[bool, Query(alias="open", description="Only invitations that can still be used.")] = False,
) -> InvitationPage:
    """List the invitations of the client's service, without their secrets and meter numbers.

    Invitations that have ended are listed for a week.
    """
    # One invitation more than requested shows whether there is a next page.
    found = registry.invitations.page(after, limit + 1, open_only=open_only, tenant=caller.tenant)
    page = [_summarize(invitation) for invitation in found[:limit]]
    more = len(found) > limit
    path = f"/api/invitations?limit={limit}{'&open=true' if open_only else ''}&after="
    return InvitationPage(invitations=page, next=f"{path}{page[-1].invitation}" if more else None)


@router.delete(
    "/invitations/{invitation_id}",
    name=AuditAction.INVITATION_REVOKE,
    summary="Revoke an invitation",
    responses={**error_responses(422), **_UNKNOWN},
)
def revoke_invitation(
    invitation_id: Annotated[str, Path(pattern=r"^[a-z0-9]{12}$", description="The invitation's id.")],
    caller: WriteAccounts,
    registry: RegistryDep,
) -> InvitationSummary:
    """End the invitation at once. Safe to repeat; a used invitation stays used."""
    try:
        return _summarize(registry.invitations.revoke(invitation_id, tenant=caller.tenant))
    except UnknownInvitation:
        raise HttpRefusal(404, "unknown_invitation", "no such invitation") from None


def _create(inviter: Inviter, visit: Visit, new: NewInvitation, caller: Caller) -> tuple[Invitation, str]:
    by = f"token:{caller.token_id}"
    supplier, meter = (GRDF.name, new.pce) if new.pce else (ENEDIS.name, new.usage_point)
    if meter is not None:
        if supplier not in visit.sync.suppliers:
            raise HttpRefusal(422, "invalid_request", "pce: gas is not set up")
        return inviter.invite_meter(supplier, meter, by, new_holder=new.new_holder, tenant=caller.tenant)
    return inviter.invite_account(caller.load_account(visit.registry, str(new.account)).id, by)


def _summarize(invitation: Invitation) -> InvitationSummary:
    return InvitationSummary.from_invitation(invitation, datetime.now(UTC))
