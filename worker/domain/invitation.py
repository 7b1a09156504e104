"""Invitations: a secret link for one person, which proves that a consent is for that person's meter (P2, ownership.md).

An operator or a service creates an invitation for a meter or an account. The invitation works once, within 72 hours, in
the browser that opened it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.account import DEFAULT_TENANT
from worker.domain.campaign import is_voucher
from worker.domain.transitions import Transitions

INVITATION_LIFE: Final = timedelta(hours=72)


class InvitationPurpose(StrEnum):
    """The purpose of an invitation: what its holder may do."""

    ACCOUNT = "account"  # Consent again for this account, or open the history of a closed account.
    METER = "meter"  # Connect a meter that has no account.
    NEW_HOLDER = "new_holder"  # Connect a meter with an account of another person; that account is then closed.


class InvitationState(StrEnum):
    SENT = "sent"  # Nobody has opened the invitation.
    OPENED = "opened"  # A browser has opened the invitation, and no other browser can use it.
    USED = "used"
    REVOKED = "revoked"
    EXPIRED = "expired"


class InvitationEvent(StrEnum):
    OPENED = "opened"  # A browser opens the invitation; from then on, no other browser can use it.
    USED = "used"  # The invitation has proved the consent of the invited person.
    REVOKED = "revoked"  # The invitation is revoked by hand, by a newer one, or when its account or meter is erased.
    EXPIRED = "expired"  # 72 hours have passed.
    DELETED = "deleted"  # Days after the 72 hours, the invitation is deleted, used or not.


_S, _E = InvitationState, InvitationEvent
# The state after each event; None: the invitation is deleted.
TRANSITIONS: Final = Transitions[InvitationState, InvitationEvent, InvitationState | None](
    (_E.OPENED, (_S.SENT, _S.OPENED), _S.OPENED),  # The same browser may open it any number of times.
    (_E.USED, (_S.OPENED,), _S.USED),
    (_E.REVOKED, (_S.SENT, _S.OPENED, _S.EXPIRED), _S.REVOKED),
    (_E.EXPIRED, (_S.SENT, _S.OPENED), _S.EXPIRED),
    (_E.DELETED, (_S.USED, _S.REVOKED, _S.EXPIRED), None),
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation without its secret.

    ``usage_point_id``: the meter's number, unless the invitation is for an account. ``browser``: the SHA-256 of a name
    of the browser that opened the invitation; the name is a random text in the browser's cookie. ``created_by``: the
    person, program or API token that vouches for the recipient. ``tenant``: the service for which the invitation was
    created, and to which its account belongs.
    """

    id: str
    purpose: InvitationPurpose
    supplier: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    account_id: str | None = None
    usage_point_id: str | None = field(default=None, repr=False)
    opened_at: datetime | None = None
    browser: str | None = field(default=None, repr=False)
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    tenant: str = DEFAULT_TENANT

    @property
    def last_digits(self) -> str | None:
        """The last four digits of the meter's number, such as ``…0011``; None if the invitation is for an account."""
        return f"…{self.usage_point_id[-4:]}" if self.usage_point_id else None

    @property
    def is_listed(self) -> bool:
        """Whether a campaign mailed it to an address that the meter's household hasn't confirmed.

        Such an invitation proves a consent, but opens nothing of the past.
        """
        return self.purpose is InvitationPurpose.METER and is_voucher(self.created_by)

    def state_at(self, now: datetime) -> InvitationState:
        """Return the state of the invitation at this moment; a used invitation never expires."""
        if self.used_at is not None:
            return InvitationState.USED
        if self.revoked_at is not None:
            return InvitationState.REVOKED
        if now >= self.expires_at:
            return InvitationState.EXPIRED
        return InvitationState.SENT if self.opened_at is None else InvitationState.OPENED

    def is_usable(self, now: datetime, names: Collection[str]) -> bool:
        """Return whether the browser with these names (hashes) opened the invitation and may still use it."""
        return self.state_at(now) is InvitationState.OPENED and self.browser in names

    def names_of_invited(self, names: Sequence[str]) -> Sequence[str]:
        """Return the names that stand for the invited person; ``names``: a browser's names as hashes, newest first.

        For a new holder, these are the name with which the invitation was opened and the newer names, because the
        former holder may have used the same browser before; none if another browser opened the invitation. For any
        other purpose, these are all names.
        """
        if self.purpose is not InvitationPurpose.NEW_HOLDER:
            return names
        return names[: names.index(self.browser) + 1] if self.browser in names else ()
