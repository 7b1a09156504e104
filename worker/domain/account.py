"""An account, which is one consent to read one meter, and its states; the tenant that it belongs to.

Tenants are the services that share one Relève. Each has accounts, API tokens, invitations and a webhook of its own.
With one service only, everything belongs to the default tenant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from worker.errors import AccountClosed, AccountError, ConsentEnded, ConsentStopped, FilesOnly, UnknownAccount

DEFAULT_TENANT: Final = "default"
LONGEST_TITLE: Final = 100
_TENANT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


class AccountState(StrEnum):
    """The states of an account; an operator sets ``paused``, the others follow from what happened."""

    NEW = "new"  # It has no usage point or no token yet, or the supplier has not confirmed it by an answer.
    READY = "ready"
    PAUSED = "paused"
    ACTION_NEEDED = "action_needed"  # Its owner must act; automatic runs skip it.
    CLOSED = "closed"  # Another person holds the meter now: nothing is read, the history stays its holder's.
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its consent dates.

    ``id`` is short and says nothing about its owner. ``usage_point_id``, the meter's number, is personal data and is
    never written to a log or a message. ``reason`` is the error code that led to this state, or empty. A browser's
    session shows the account while it names ``session_number``; raising it ends all of them. ``data_from``: the first
    day that may be read, because before it the meter was another person's. ``activated_on``: the day on which the
    contract began, as the supplier tells. ``tenant``: the service that it belongs to. ``home``: a random text that the
    accounts of one home share, which its household has joined.
    """

    id: str
    state: AccountState
    supplier: str
    created_at: datetime
    usage_point_id: str | None = field(default=None, repr=False)
    consent_from: date | None = None
    consent_until: date | None = None
    reason: str = ""
    data_from: date | None = None
    session_number: int = 1
    tenant: str = DEFAULT_TENANT
    activated_on: date | None = None
    home: str | None = None

    @property
    def first_day(self) -> date | None:
        """The first day that is worth a call; None if no bound is known."""
        return max((day for day in (self.data_from, self.activated_on) if day is not None), default=None)

    def consent_ended_by(self, today: date) -> bool:
        """Return whether the last day of the consent is over; ``today`` is the date in Europe/Paris."""
        return self.consent_until is not None and self.consent_until < today

    def refusal_on(self, today: date) -> AccountError | None:
        """Return why nothing may be asked for this account today (Europe/Paris); None if it may.

        A state that automatic runs skip is no such reason: a person may still ask.
        """
        match self.state:
            case AccountState.DELETED:
                return UnknownAccount(f"account {self.id} was removed")
            case AccountState.CLOSED:
                return AccountClosed("another person holds this meter now: this account is not synced any more")
        if self.reason == ConsentStopped.code:
            return ConsentStopped("its holder has stopped the consent: only a new consent resumes the account")
        if self.consent_ended_by(today):
            return ConsentEnded(f"the consent ended on {self.consent_until}: its holder must consent again")
        return None

    @property
    def last_digits(self) -> str | None:
        """The last four digits of the meter's number, all of it that is ever shown: ``…0011``."""
        return f"…{self.usage_point_id[-4:]}" if self.usage_point_id else None

    @property
    def may_be_stopped(self) -> bool:
        """Whether its household has a consent here that it can stop."""
        ended = self.state in (AccountState.CLOSED, AccountState.DELETED)
        return not ended and self.reason not in (ConsentStopped.code, FilesOnly.code)

    @property
    def may_choose_series(self) -> bool:
        """Whether its household may choose what is asked for, now or when its consent is in force again."""
        return self.state not in (AccountState.CLOSED, AccountState.DELETED)

    @property
    def active(self) -> bool:
        """Whether automatic runs ask for it: it is ready, or asserted and awaits the supplier's first answer."""
        return self.state is AccountState.READY or self.unconfirmed

    @property
    def files_only(self) -> bool:
        """Whether it has never had a consent or a token, but files alone: nobody is asked, and nothing is missing."""
        return self.state is AccountState.ACTION_NEEDED and self.reason == FilesOnly.code

    @property
    def shown_state(self) -> str:
        """Its state as people are told it: the state's own word, or ``files_only``."""
        return "files_only" if self.files_only else self.state

    @property
    def unconfirmed(self) -> bool:
        """Whether somebody vouched for it, and no answer of the supplier has confirmed it yet."""
        return self.state is AccountState.NEW and self.usage_point_id is not None


def check_tenant(name: str) -> str:
    """Return the name. Raises ValueError for one that can't be a tenant's."""
    if not _TENANT_NAME.fullmatch(name):
        raise ValueError("a tenant's name has 1 to 32 of the characters a-z 0-9 - and begins with a letter")
    return name
