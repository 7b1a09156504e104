"""An account, which is one consent to read one meter, with its states and its tenant.

Tenants are services that share one Relève, each with its own accounts, API tokens, invitations and webhook. With only
one service, everything belongs to the default tenant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final, Self

from worker.domain.transitions import Transitions, WrongState
from worker.errors import (
    AccountClosed,
    AccountError,
    ConsentEnded,
    ConsentStopped,
    FilesOnly,
    UnknownAccount,
    describe_code,
)

DEFAULT_TENANT: Final = "default"
LONGEST_TITLE: Final = 100
_TENANT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


class AccountState(StrEnum):
    """The states of an account; an operator sets ``paused``, the others follow from events."""

    NEW = "new"  # It has no usage point or no token yet, or the supplier hasn't confirmed it by an answer.
    READY = "ready"
    PAUSED = "paused"
    ACTION_NEEDED = "action_needed"  # Its owner must act; automatic runs skip it.
    CLOSED = "closed"  # Another person holds the meter now: nothing is read; the former holder keeps the history.
    DELETED = "deleted"


class AccountEvent(StrEnum):
    """An event of an account."""

    VOUCHED = "vouched"  # Somebody says that its holder has consented, but not when.
    CONSENTED = "consented"  # The consent can be used: it has its token, or needs none.
    ANSWERED = "answered"  # The supplier has answered for its meter.
    REFUSED = "refused"  # By the supplier, or because the consent has expired; a code says why the owner must act.
    REINSTATED = "reinstated"  # An incident explains the refusal.
    STOPPED = "stopped"  # By its household.
    PAUSED = "paused"  # By the operator.
    RESUMED = "resumed"  # By the operator.
    CLOSED = "closed"  # Another person has proved to hold its meter.
    ERASED = "erased"  # With its measures; only the id stays.


@dataclass(frozen=True, slots=True)
class Step:
    """The consequences of an event.

    The account gets the last of ``states``, or an earlier one that applies: ``action_needed`` applies to an account
    that waits under a reason, and ``new`` to one that is only vouched for.
    ``keeps_reason``: otherwise it gets the event's reason, which is empty except for a refusal and a stop.
    ``due``: its series with their histories are due at once, if it is then active.
    ``ends_refusals``, ``ends_notices``: pending refusals, and undelivered notices, are deleted.
    ``tells``: its household gets a notice.
    """

    states: tuple[AccountState, ...]
    keeps_reason: bool = False
    due: bool = False
    ends_refusals: bool = False
    ends_notices: bool = False
    tells: bool = False


_E, _S = AccountEvent, AccountState
OPEN_STATES: Final = (_S.NEW, _S.READY, _S.PAUSED, _S.ACTION_NEEDED)
_OTHERS: Final = (_S.NEW, _S.READY, _S.ACTION_NEEDED)  # An account paused by the operator stays paused.
TRANSITIONS: Final = Transitions(
    (_E.VOUCHED, (_S.NEW,), Step((_S.NEW,), due=True)),
    (_E.CONSENTED, _OTHERS, Step((_S.READY,), due=True, ends_refusals=True, ends_notices=True)),
    (_E.CONSENTED, (_S.PAUSED,), Step((_S.PAUSED,), ends_refusals=True, ends_notices=True)),
    (_E.ANSWERED, (_S.NEW,), Step((_S.READY,))),
    (_E.REFUSED, (_S.NEW, _S.READY), Step((_S.ACTION_NEEDED,), ends_refusals=True, tells=True)),
    (_E.REFUSED, (_S.PAUSED,), Step((_S.PAUSED,), ends_refusals=True, tells=True)),
    # No notice, because its household already knows that it must act.
    (_E.REFUSED, (_S.ACTION_NEEDED,), Step((_S.ACTION_NEEDED,), ends_refusals=True)),
    (_E.REINSTATED, (_S.ACTION_NEEDED,), Step((_S.NEW, _S.READY), due=True, ends_notices=True)),
    (_E.REINSTATED, (_S.PAUSED,), Step((_S.PAUSED,), ends_notices=True)),
    (_E.STOPPED, _OTHERS, Step((_S.ACTION_NEEDED,), ends_refusals=True, ends_notices=True)),
    (_E.STOPPED, (_S.PAUSED,), Step((_S.PAUSED,), ends_refusals=True, ends_notices=True)),
    (_E.PAUSED, OPEN_STATES, Step((_S.PAUSED,), keeps_reason=True)),
    (_E.RESUMED, (_S.NEW,), Step((_S.NEW,), due=True)),
    (_E.RESUMED, (_S.READY, _S.ACTION_NEEDED), Step((_S.NEW, _S.READY), due=True)),
    (_E.RESUMED, (_S.PAUSED,), Step((_S.ACTION_NEEDED, _S.NEW, _S.READY), keeps_reason=True, due=True)),
    (_E.CLOSED, OPEN_STATES, Step((_S.CLOSED,), ends_refusals=True, ends_notices=True)),
    (_E.ERASED, tuple(AccountState), Step((_S.DELETED,))),
)
# Automatic runs read a ready account, and a new one that somebody vouches for.
ASKED_STATES: Final = (_S.NEW, _S.READY)
# States in which a refusal is news for the household: the account is read, or was until the operator paused it.
IN_USE_STATES: Final = tuple(state for (state, _), step in TRANSITIONS.items() if step.tells)


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its consent dates.

    ``id`` is short and says nothing about its owner. ``usage_point_id``, the meter's number, is personal data and is
    never written to a log or a message. ``reason`` is the error code that led to this state, or empty. A browser's
    session shows the account while it has the same ``session_number``; raising it ends all sessions. ``data_from``: the
    first day that may be read, because before it the meter was another person's. ``activated_on``: the day on which the
    contract began, according to the supplier. ``tenant``: the service that it belongs to. ``home``: a random text
    shared by the accounts that a household has joined as one home. ``is_vouched``: somebody has vouched for the consent
    without its day, and no answer of the supplier has confirmed it.
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
    is_vouched: bool = False

    def after(self, event: AccountEvent, today: date, reason: str = "") -> tuple[Self, Step]:
        """Return the account after an event, and the consequences. ``today``: the date in Europe/Paris.

        Raises WrongState for an event that can't happen to it, and ValueError for a refusal with a code under which no
        account can wait.
        """
        if event is AccountEvent.REFUSED and not describe_code(reason).suspends:
            raise ValueError(f"no account waits for its holder with the code {reason!r}")
        if self.state is AccountState.CLOSED and event is not AccountEvent.ERASED:
            raise WrongState("another person holds this meter now: the account stays closed")
        step = TRANSITIONS[self.state, event]
        if fault := self._fault(event, today, reason):
            raise WrongState(fault)
        if event is AccountEvent.REINSTATED:
            reason = ""  # The old one was that of the undone refusal.
        elif step.keeps_reason:
            reason = self.reason
        fitting = {AccountState.ACTION_NEEDED: bool(reason), AccountState.NEW: self.is_vouched}
        state = next((one for one in step.states if fitting.get(one, True)), step.states[-1])
        return replace(self, state=state, reason=reason), step

    def _fault(self, event: AccountEvent, today: date, reason: str) -> str:
        """Return why an event that its state allows can't happen to this account; empty if it can."""
        match event:
            case AccountEvent.CONSENTED | AccountEvent.RESUMED if self.usage_point_id is None:
                return "an account without a usage point can't be ready"
            case AccountEvent.CONSENTED if self.consent_ended_by(today):
                return "the consent is over already"
            case AccountEvent.RESUMED if refusal := self.refusal_on(today):
                return str(refusal)
            case AccountEvent.REFUSED | AccountEvent.STOPPED if self.reason in (reason, ConsentStopped.code):
                return "it waits for its holder already"
            case AccountEvent.REINSTATED if self.reason != reason:
                return "it waits for something else by now"
            case AccountEvent.REFUSED if reason == ConsentEnded.code and not self.consent_ended_by(today):
                return "the consent is not over"  # There is a new one since the caller checked.
        return ""

    @property
    def first_day(self) -> date | None:
        """The first day that is worth a call; None if no bound is known."""
        return max((day for day in (self.data_from, self.activated_on) if day is not None), default=None)

    def consent_ended_by(self, today: date) -> bool:
        """Return whether the last day of the consent has passed; ``today`` is the date in Europe/Paris."""
        return self.consent_until is not None and self.consent_until < today

    def refusal_on(self, today: date) -> AccountError | None:
        """Return why nothing may be requested for this account today (Europe/Paris); None if it may.

        A state that automatic runs skip is no such reason, because a person may still start a request.
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
        """The last four digits of the meter's number, the only ones ever shown: ``…0011``."""
        return f"…{self.usage_point_id[-4:]}" if self.usage_point_id else None

    @property
    def may_be_stopped(self) -> bool:
        """Whether its household has a consent here that it can stop."""
        return self.state in OPEN_STATES and self.reason not in (ConsentStopped.code, FilesOnly.code)

    @property
    def may_choose_series(self) -> bool:
        """Whether its household may choose the collected series, for now or for when its consent is in force again."""
        return self.state in OPEN_STATES

    @property
    def active(self) -> bool:
        """Whether automatic runs read it: it is ready, or asserted and awaits the supplier's first answer."""
        return self.state in ASKED_STATES and (self.is_vouched or self.state is not AccountState.NEW)

    @property
    def files_only(self) -> bool:
        """Whether it has only imported files, and never had a consent or token: no calls, and no missing data."""
        return self.state is AccountState.ACTION_NEEDED and self.reason == FilesOnly.code

    @property
    def shown_state(self) -> str:
        """Its state as shown to people: the state's own word, or ``files_only``."""
        return "files_only" if self.files_only else self.state

    @property
    def unconfirmed(self) -> bool:
        """Whether somebody vouched for it, and no answer of the supplier has confirmed it yet."""
        return self.state is AccountState.NEW and self.is_vouched


def check_tenant(name: str) -> str:
    """Return the name. Raises ValueError if it can't be a tenant's."""
    if not _TENANT_NAME.fullmatch(name):
        raise ValueError("a tenant's name has 1 to 32 of the characters a-z 0-9 - and begins with a letter")
    return name
