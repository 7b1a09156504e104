"""The link in a campaign's mail: a household consents again, or says no.

The link's ticket is in the fragment, as the secret of an invitation. Loading the page changes nothing, because mail
programs load links too. The first press of the button makes an invitation and opens it in this browser; a further press
continues with the same invitation.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from worker.accounts.campaigns import CAMPAIGN_TICKET, RENEW_PATH
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.campaign import AddressSource, Recipient, RecipientState
from worker.domain.clock import real_clock
from worker.domain.invitation import InvitationPurpose
from worker.web.dependencies import browser_form
from worker.web.pages.consent import OUTCOME, go_on, open_again, refuse_invitation
from worker.web.pages.consent_callback import ConsentVisit, ConsentVisitDep
from worker.web.rendering import render_message, render_with_form
from worker.web.request_audit import note_subject

router = APIRouter()
_STEP_S: Final = 30.0


@router.get(RENEW_PATH)
def show_buttons(visit: ConsentVisitDep) -> Response:
    """Show the buttons. The page shows nothing about the mail, because the server has not seen the ticket yet."""
    form_to = [visit.sync.suppliers.main.endpoints.authorize_url]
    return render_with_form(visit.request, "campaign_link.html", form_to=form_to)


@router.post(RENEW_PATH, name=AuditAction.CAMPAIGN_ANSWER, dependencies=[browser_form(RENEW_PATH)])
def answer_mail(
    visit: ConsentVisitDep,
    answer: Annotated[str, Form(pattern="^(yes|no)$")],
    ticket: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    registry = visit.registry
    recipient_id = visit.access.signer.read_ticket(ticket.strip().rpartition("#")[2], CAMPAIGN_TICKET)
    recipient = registry.campaigns.find(recipient_id) if recipient_id else None
    if recipient is None:
        return refuse_invitation(visit)
    account = registry.accounts.get_many([recipient.account_id])[recipient.account_id]
    if account.state in (AccountState.CLOSED, AccountState.DELETED):
        response = visit.page("invitation_over")
    elif answer == "no":
        response = _refuse(visit, recipient)
    else:
        # Of two presses at once, the second waits here for the invitation that the first one makes.
        with visit.consent.connector.locks.lock(f"campaign_link:{recipient.id}", _STEP_S):
            response = _consent(visit, registry.campaigns.find(recipient.id) or recipient, account)
    note_subject(visit.request, recipient.campaign_id, account_id=account.id, tenant=account.tenant)
    return response


def _refuse(visit: ConsentVisit, recipient: Recipient) -> Response:
    is_new = visit.registry.campaigns.note_refused(recipient_id=recipient.id)
    if not is_new and recipient.state is not RecipientState.REFUSED:
        return visit.page("invitation_over")
    return render_message(visit.request, "campaign_link.refused", 200, ("/", "connect.home"))


def _consent(visit: ConsentVisit, recipient: Recipient, account: Account) -> Response:
    """Continue to the supplier's page, or where a further press of the button belongs."""
    if recipient.invitation_id is None:
        return _begin(visit, recipient, account)
    invitation = visit.registry.invitations.get(recipient.invitation_id)
    if invitation is None:
        return visit.page("invitation_over")
    if invitation.is_usable(real_clock(), visit.names.hashes):
        return go_on(visit, invitation)
    own = visit.find_request()
    if own is not None and own.invitation_id == invitation.id:
        return RedirectResponse(OUTCOME, 303)
    return open_again(visit, invitation) or visit.page("invitation_over")


def _begin(visit: ConsentVisit, recipient: Recipient, account: Account) -> Response:
    """Make the link's invitation, open it in this browser, and continue to the supplier's page.

    An address of a list may be somebody else's. So its invitation names only the meter: it proves a consent, but opens
    nothing of the account's past (``Invitation.is_listed``).
    """
    if not recipient.is_link_open(visit.registry.now()) or not _is_still_theirs(visit, recipient):
        return visit.page("invitation_over")
    invitations = visit.registry.invitations
    if recipient.source is AddressSource.CONFIRMED:
        made, text = invitations.create(
            InvitationPurpose.ACCOUNT, account.supplier, recipient.voucher, account_id=account.id
        )
    else:
        made, text = invitations.create(
            InvitationPurpose.METER,
            account.supplier,
            recipient.voucher,
            usage_point_id=account.usage_point_id,
            tenant=account.tenant,
        )
    if visit.registry.campaigns.bind(recipient.id, made.id) != made.id:
        return visit.page("invitation_over")  # The account was erased, or the campaign removed, meanwhile.
    opened = invitations.open(text, visit.renamed.newest, visit.names.hashes)
    return visit.page("invitation_over") if opened is None else go_on(visit, opened)


def _is_still_theirs(visit: ConsentVisit, recipient: Recipient) -> bool:
    """Return whether the household of a confirmed address still has an address and sees the account."""
    if recipient.household_id is None:
        return True
    mails = visit.access.mails
    seen = [account.id for account in mails.list_accounts(recipient.household_id)]
    return recipient.account_id in seen and mails.addresses.load(recipient.household_id) is not None
