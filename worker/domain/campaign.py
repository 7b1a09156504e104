"""Campaigns: mails that ask many households to consent again, each once, and what became of each mail.

A recipient is one account at one address. An address that the account's household hasn't confirmed comes from the
operator's list, and may be somebody else's. So the invitation of its link names the meter, not the account: it proves
the consent, but shows nothing of the account's past (docs/explanation/ownership.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.transitions import Transitions
from worker.domain.windows import PARIS

USUAL_PER_DAY: Final = 200
LINK_LIFE: Final = timedelta(days=30)  # From the mail on; from the button on, the invitation's own life counts.
CAMPAIGN_LIFE: Final = timedelta(days=60)  # A campaign writes, and keeps the addresses of a list, for this long.
_FIRST_HOUR, _LAST_HOUR = 9, 18
_SATURDAY: Final = 5
_VOUCHER: Final = "campaign:"


class AddressSource(StrEnum):
    """How the address of a recipient was known."""

    CONFIRMED = "confirmed"  # The account's household has confirmed the address.
    LIST = "list"  # The operator has given the address in a file.


class RecipientState(StrEnum):
    CHOSEN = "chosen"  # Nothing was mailed yet.
    MAILED = "mailed"  # The mail server has accepted the mail.
    OPENED = "opened"  # The person has pressed the button of the link's page.
    ASKED = "asked"  # The person has come back from the supplier's page, or has declared a right.
    CONNECTED = "connected"  # A new consent is recorded for the account, by this link or another way.
    REFUSED = "refused"  # The person has said no on the link's page, or at the supplier.
    ADDRESS_REFUSED = "address_refused"  # The mail server refuses the address for good.


_S = RecipientState
WAITING: Final = (_S.CHOSEN, _S.MAILED, _S.OPENED, _S.ASKED)
LEFT: Final = (*WAITING, _S.ADDRESS_REFUSED)
# Each event leads to the state of its name. After a crash, a link may be opened before its mail is marked.
TRANSITIONS: Final = Transitions[RecipientState, RecipientState, RecipientState](
    (_S.MAILED, (_S.CHOSEN,), _S.MAILED),
    (_S.OPENED, (_S.CHOSEN, _S.MAILED), _S.OPENED),
    (_S.ASKED, (_S.OPENED, _S.ASKED, _S.REFUSED), _S.ASKED),  # Who said no at the supplier may go there again.
    (_S.CONNECTED, (*WAITING, _S.REFUSED, _S.ADDRESS_REFUSED), _S.CONNECTED),
    (_S.REFUSED, WAITING, _S.REFUSED),
    (_S.ADDRESS_REFUSED, (_S.CHOSEN,), _S.ADDRESS_REFUSED),
)


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign. ``choice``: the options by which its accounts were chosen, as text without personal data."""

    id: str
    created_by: str
    created_at: datetime
    choice: str
    per_day: int
    is_running: bool = False

    def is_over(self, now: datetime) -> bool:
        """Return whether the campaign writes no more, even if it isn't stopped."""
        return now >= self.created_at + CAMPAIGN_LIFE

    def state_at(self, now: datetime) -> str:
        """Return ``over``, ``running`` or ``stopped``."""
        return "over" if self.is_over(now) else "running" if self.is_running else "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One account at one address. The recipients of one address share ``mail_id``, and get one mail.

    ``household_id``: whose confirmed address it is; None for an address of a list. ``sealed_address``: a list's
    address, sealed with the session key; None once it was deleted. ``claimed_at``: when it was first tried to send the
    mail. ``answered_at``: when the recipient was connected, refused, or its address refused. ``invitation_id``: the
    invitation that the button of the link's page has made.
    """

    id: str
    campaign_id: str
    account_id: str
    mail_id: str
    created_at: datetime
    household_id: str | None = None
    sealed_address: str | None = field(default=None, repr=False)
    state: RecipientState = RecipientState.CHOSEN
    attempts: int = 0
    next_attempt_at: datetime
    claimed_at: datetime | None = None
    mailed_at: datetime | None = None
    opened_at: datetime | None = None
    asked_at: datetime | None = None
    answered_at: datetime | None = None
    invitation_id: str | None = None
    last_error: str = ""

    @property
    def source(self) -> AddressSource:
        return AddressSource.LIST if self.household_id is None else AddressSource.CONFIRMED

    @property
    def voucher(self) -> str:
        """The ``created_by`` of the recipient's invitation; so the evidence says how the address was known."""
        return f"{_VOUCHER}{self.campaign_id}:{self.source}"

    def is_link_open(self, now: datetime) -> bool:
        """Return whether the button of the link's page may still be pressed for the first time."""
        return self.claimed_at is not None and now < self.claimed_at + LINK_LIFE and self.state in WAITING


def is_voucher(created_by: str) -> bool:
    """Return whether an invitation's ``created_by`` is a campaign's ``Recipient.voucher``."""
    return created_by.startswith(_VOUCHER)


def is_mailing_hour(now: datetime) -> bool:
    """Return whether campaigns mail now: from Monday to Friday, from 9 to 18 o'clock (Europe/Paris)."""
    local = now.astimezone(PARIS)
    return local.weekday() < _SATURDAY and _FIRST_HOUR <= local.hour < _LAST_HOUR
