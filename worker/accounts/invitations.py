"""Inviting a person to consent: who may be invited to what, the link, and the mail that carries it.

An invitation counts as a proof (docs/explanation/ownership.md): its maker vouches for the person who gets its link.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from worker.accounts.asserted_accounts import check_tenant_of
from worker.accounts.notice_services import MailService
from worker.accounts.status import EXAMPLE_ID
from worker.clients.suppliers import SUPPLIERS
from worker.domain.account import DEFAULT_TENANT, AccountState
from worker.domain.invitation import Invitation, InvitationPurpose, InvitationState
from worker.domain.windows import PARIS
from worker.errors import DataError
from worker.logs import fields
from worker.stores.registry import Registry
from worker.texts import LANGUAGES, format_day, translate

log = logging.getLogger("releve.invitations")


class MeterHasAccount(DataError):
    """The meter already has an account, and the invitation isn't for a new holder; ``account_id``: that account."""

    def __init__(self, message: str, account_id: str = "") -> None:
        super().__init__(message)
        self.account_id = account_id


class MeterHasNoAccount(DataError):
    """The invitation is for a meter's new holder, but the meter has no account."""


class NoMailService(DataError):
    """No service of RELEVE_NOTIFY_URL sends mail."""


@dataclass(frozen=True, kw_only=True)
class Inviter:
    registry: Registry
    public_url: str
    mail_service: MailService = field(default=MailService(), repr=False)

    def invite_account(self, account_id: str, by: str) -> tuple[Invitation, str]:
        """Invite the holder of an account to consent again or, if the account is closed, to see its history.

        ``by``: who vouches for the person who gets the link. The invitation belongs to the account's tenant. Raises
        UnknownAccount if the account doesn't exist or was removed.
        """
        account = self.registry.accounts.get_existing(account_id)
        return self._create(InvitationPurpose.ACCOUNT, account.supplier, by, account_id=account.id)

    def invite_meter(
        self, supplier: str, usage_point_id: str, by: str, *, new_holder: bool = False, tenant: str = DEFAULT_TENANT
    ) -> tuple[Invitation, str]:
        """Invite the holder of a meter to connect it. The caller must have checked the form of the meter's number.

        ``new_holder``: the meter has another person's account, which is closed when the new holder connects. Raises
        MeterHasAccount if the meter has an account but ``new_holder`` isn't set, MeterHasNoAccount if ``new_holder`` is
        set but the meter has no account, and MeterElsewhere if another tenant's account reads the meter.
        """
        account = self.registry.accounts.find(supplier, usage_point_id)
        if account is not None:
            check_tenant_of(account, tenant)
        if account is not None and not new_holder:
            raise MeterHasAccount(
                f"this meter has the account {account.id}: for the same person, run `releve invite {account.id}`, "
                "which keeps the history; for another person, give --new-holder",
                account.id,
            )
        if account is None and new_holder:
            raise MeterHasNoAccount("this meter has no account: leave out --new-holder")
        purpose = InvitationPurpose.NEW_HOLDER if new_holder else InvitationPurpose.METER
        return self._create(purpose, supplier, by, usage_point_id=usage_point_id, tenant=tenant)

    @property
    def sends_mail(self) -> bool:
        return self.mail_service.sends_mail

    def check_mail(self) -> None:
        """Check that mail can be sent, before a link is made. Raises NoMailService if no mail service is set up."""
        if not self.sends_mail:
            raise NoMailService(
                "no mail service is set up: add mailtos://… to RELEVE_NOTIFY_URL, or send the link yourself"
            )

    def mail(self, invitation: Invitation, link: str, address: str) -> str | None:
        """Mail the link to the address once; the address is stored nowhere.

        Returns None if the mail service accepted the mail, else the reason, without a secret. Raises NoMailService.
        """
        self.check_mail()
        subject = " / ".join(translate("invitation.mail.subject", language) for language in LANGUAGES)
        by_right = SUPPLIERS[invitation.supplier].rights is not None
        key = f"invitation.mail.{'right.' if by_right else ''}{self._kind_of_mail(invitation)}"
        texts = [_compose(key, language, link, invitation.expires_at) for language in LANGUAGES]
        text = "\n\n--\n\n".join(texts) + "\n"
        fault = self.mail_service.send(address, translate("notice.prefix", LANGUAGES[0]) + subject, text, invitation.id)
        if fault:
            log.warning("invitation not mailed", extra=fields(id=invitation.id, reason=fault))
        return fault

    def _kind_of_mail(self, invitation: Invitation) -> str:
        if invitation.account_id is None:
            return "connect"
        closed = self.registry.accounts.get(invitation.account_id).state is AccountState.CLOSED
        return "history" if closed else "again"

    def _create(self, purpose: InvitationPurpose, supplier: str, by: str, **whom: str) -> tuple[Invitation, str]:
        invitation, secret = self.registry.invitations.create(purpose, supplier, by, **whom)
        log.info(
            "invitation created",
            extra=fields(
                id=invitation.id, purpose=purpose, account_id=invitation.account_id, tenant=invitation.tenant, by=by
            ),
        )
        # Browsers don't send what follows the #, so no server's log and no proxy sees the secret.
        return invitation, f"{self.public_url}/invitation#{secret}"


class InvitationSummary(BaseModel):
    """An invitation without its secret and its meter."""

    invitation: str = Field(description="Opaque id.", examples=["h4t8q2mxk0ra"])
    purpose: InvitationPurpose = Field(
        description="`account`: consent again, or the history of a closed account; `meter`: a meter without an "
        "account; `new_holder`: a meter whose account another person has."
    )
    state: InvitationState
    supplier: str = Field(examples=["enedis"])
    account: str | None = Field(description="The account it is for; null for a meter.", examples=[EXAMPLE_ID])
    created_by: str = Field(description="Who confirms the person.", examples=["token:k3q7d0fr2mxx"])
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def from_invitation(cls, invitation: Invitation, now: datetime) -> InvitationSummary:
        names = ("purpose", "supplier", "created_by", "created_at", "expires_at", "opened_at", "used_at", "revoked_at")
        return cls(
            invitation=invitation.id,
            state=invitation.state_at(now),
            account=invitation.account_id,
            **{name: getattr(invitation, name) for name in names},
        )


class SentInvitation(BaseModel):
    """A new invitation with its link, which is shown to the maker only once."""

    invitation: str = Field(description="Opaque id.", examples=["h4t8q2mxk0ra"])
    link: str = Field(
        description="The secret link, shown this once. It works once, in the browser that opens it first.",
        examples=["https://releve.example.org/invitation#invite_h4t8q2mxk0ra_…"],
    )
    expires_at: datetime
    account: str | None = Field(description="The account it is for; null for a meter.", examples=[EXAMPLE_ID])
    mailed: bool = Field(description="Whether a mail service has accepted the link.")

    @classmethod
    def from_invitation(cls, invitation: Invitation, link: str, *, mailed: bool) -> SentInvitation:
        return cls(
            invitation=invitation.id,
            link=link,
            expires_at=invitation.expires_at,
            account=invitation.account_id,
            mailed=mailed,
        )


def _compose(key: str, language: str, link: str, expires_at: datetime) -> str:
    end = expires_at.astimezone(PARIS)
    facts: dict[str, Any] = {"day": format_day(end.date(), language), "time": f"{end:%H:%M}"}
    paragraphs = (translate(key, language), link, translate("invitation.mail.rules", language, **facts))
    return "\n\n".join(paragraphs)
