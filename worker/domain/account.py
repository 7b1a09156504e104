"""Accounts, their states and their tenants. An account is one consent to read one meter.

Tenants are services that share one Relève, each with its own accounts, API tokens, invitations and webhook. With only
one service, everything belongs to the default tenant.
"""

from __future__ import annotations

import re
import unicodedata
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
LONGEST_METER_NAME: Final = 40
_NOT_IN_A_NAME: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Control and format characters, half characters, line ends.
_TENANT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


class AccountState(StrEnum):
    """The states of an account; an operator sets ``paused``, the others follow from events."""

    NEW = "new"  # The account still lacks its usage point, its token, or an answer that confirms the consent.
    READY = "ready"
    PAUSED = "paused"
    ACTION_NEEDED = "action_needed"  # The account's owner must act; automatic runs skip the account.
    CLOSED = "closed"  # Another person holds the meter now: nothing is read; the former holder keeps the history.
    DELETED = "deleted"


class AccountEvent(StrEnum):
    VOUCHED = "vouched"  # Somebody says that the account's holder has consented, but not when.
    CONSENTED = "consented"  # The consent can be used: it has its token, or needs none.
    ANSWERED = "answered"  # The supplier has answered for the account's meter.
    REFUSED = "refused"  # The supplier refuses the account, or its consent has expired; a code says why.
    REINSTATED = "reinstated"  # A refusal of the account is undone, because an incident explains the refusal.
    STOPPED = "stopped"  # The household has stopped the consent.
    PAUSED = "paused"  # The operator pauses the account.
    RESUMED = "resumed"  # The operator resumes the account, or its pause ends by itself.
    CLOSED = "closed"  # Another person has proved that they hold the account's meter.
    ERASED = "erased"  # The account is erased with its measures; only its id stays.


@dataclass(frozen=True, slots=True)
class Step:
    """The consequences of an event.

    ``states``: the account gets the first of these states that fits it, or the last if none fits. ``action_needed``
    fits only an account with a reason to wait, ``new`` only an account with ``is_vouched``. The others always fit.
    ``keeps_reason``: whether the account's reason stays. Otherwise the account gets the reason of the event, which is
    empty except for a refusal and a stop.
    ``due``: whether the account's series and their histories are due at once, if the event leaves the account active.
    ``ends_refusals``, ``ends_notices``: whether pending refusals, or undelivered notices, are deleted.
    ``tells``: whether the household gets a notice.
    """

    states: tuple[AccountState, ...]
    keeps_reason: bool = False
    due: bool = False
    ends_refusals: bool = False
    ends_notices: bool = False
    tells: bool = False


_E, _S = AccountEvent, AccountState
OPEN_STATES: Final = (_S.NEW, _S.READY, _S.PAUSED, _S.ACTION_NEEDED)
_OTHERS: Final = (_S.NEW, _S.READY, _S.ACTION_NEEDED)  # All but PAUSED: a consent or a stop doesn't end a pause.
TRANSITIONS: Final = Transitions(
    (_E.VOUCHED, (_S.NEW,), Step((_S.NEW,), due=True)),
    (_E.CONSENTED, _OTHERS, Step((_S.READY,), due=True, ends_refusals=True, ends_notices=True)),
    (_E.CONSENTED, (_S.PAUSED,), Step((_S.PAUSED,), ends_refusals=True, ends_notices=True)),
    (_E.ANSWERED, (_S.NEW,), Step((_S.READY,))),
    (_E.REFUSED, (_S.NEW, _S.READY), Step((_S.ACTION_NEEDED,), ends_refusals=True, tells=True)),
    (_E.REFUSED, (_S.PAUSED,), Step((_S.PAUSED,), ends_refusals=True, tells=True)),
    # The household gets no notice, because it already knows that it must act.
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
# Automatic runs read a ready account, and a new account that somebody vouches for.
ASKED_STATES: Final = (_S.NEW, _S.READY)
# States in which a refusal is news for the household: the account is read, or was until the operator paused it.
IN_USE_STATES: Final = tuple(state for (state, _), step in TRANSITIONS.items() if step.tells)


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its consent dates.

    ``id`` is short and says nothing about its owner. ``usage_point_id``, the meter's number, is personal data and is
    never written to a log or a message. ``reason`` is the error code that led to this state, or empty. A browser's
    session shows the account while the number noted in the session equals ``session_number``. Raising
    ``session_number`` ends the account's sessions. ``data_from``: the first day that may be read, because before that
    day the meter was another person's. ``activated_on``: the day on which the contract began, according to the
    supplier. ``paused_until``: the day on which a paused account resumes by itself, if any.
    ``tenant``: the service to which the account belongs. ``home``: a random text shared by the accounts that
    a household has joined as one home. ``is_vouched``: whether somebody vouches for the consent without giving its day,
    and no answer from the supplier has confirmed the consent yet.
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
    paused_until: date | None = None
    is_vouched: bool = False

    def after(
        self, event: AccountEvent, today: date, reason: str = "", *, until: date | None = None
    ) -> tuple[Self, Step]:
        """Return the account after an event, and the event's consequences. ``today``: the date in Europe/Paris.

        ``until``: for a pause, the day on which it ends by itself.

        Raises WrongState for an event that can't happen to the account now, and ValueError for a refusal with a code
        that doesn't suspend accounts.
        """
        if event is AccountEvent.REFUSED and not describe_code(reason).suspends:
            raise ValueError(f"no account waits for its holder with the code {reason!r}")
        if self.state is AccountState.CLOSED and event is not AccountEvent.ERASED:
            raise WrongState("another person holds this meter now: the account stays closed")
        step = TRANSITIONS[self.state, event]
        if fault := self._fault(event, today, reason):
            raise WrongState(fault)
        if until is not None and until <= today:
            raise WrongState("a pause ends on a day after today")
        if event is AccountEvent.REINSTATED:
            reason = ""  # The account's reason was that of the refusal, which is now undone.
        elif step.keeps_reason:
            reason = self.reason
        fitting = {AccountState.ACTION_NEEDED: bool(reason), AccountState.NEW: self.is_vouched}
        state = next((one for one in step.states if fitting.get(one, True)), step.states[-1])
        if event is not AccountEvent.PAUSED:
            until = self.paused_until if state is AccountState.PAUSED else None
        return replace(self, state=state, reason=reason, paused_until=until), step

    def _fault(self, event: AccountEvent, today: date, reason: str) -> str:
        """Return why an event can't happen to this account although the account's state allows it; empty if it can."""
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
                return "the consent is not over"  # The holder has consented again since the caller checked.
        return ""

    @property
    def first_day(self) -> date | None:
        """The first day for which a call may return data; None if no such bound is known."""
        return max((day for day in (self.data_from, self.activated_on) if day is not None), default=None)

    def consent_ended_by(self, today: date) -> bool:
        """Return whether the last day of the consent has passed; ``today`` is the date in Europe/Paris."""
        return self.consent_until is not None and self.consent_until < today

    def refusal_on(self, today: date) -> AccountError | None:
        """Return why nothing may be requested for this account today (Europe/Paris); None if requests are allowed.

        A pause, for example, is no reason: automatic runs skip a paused account, but a person may still start a
        request.
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
        """Whether the household has given a consent for this account and can still stop this consent."""
        return self.state in OPEN_STATES and self.reason not in (ConsentStopped.code, FilesOnly.code)

    @property
    def may_choose_series(self) -> bool:
        """Whether the household may choose the series to collect, even if its consent isn't in force at the moment."""
        return self.state in OPEN_STATES

    @property
    def active(self) -> bool:
        """Whether automatic runs read the account: it is ready, or new and somebody vouches for its consent."""
        return self.state in ASKED_STATES and (self.is_vouched or self.state is not AccountState.NEW)

    @property
    def files_only(self) -> bool:
        """Whether the account has only imported files and never had a consent or token, so no calls are made for it."""
        return self.shown_state == "files_only"

    @property
    def shown_state(self) -> str:
        return shown_state(self.state, self.reason)

    @property
    def unconfirmed(self) -> bool:
        """Whether somebody vouches for the consent, and no answer from the supplier has confirmed it yet."""
        return self.state is AccountState.NEW and self.is_vouched


def shown_state(state: AccountState, reason: str) -> str:
    """Return the state as shown to people: the account's state, or ``files_only``."""
    return "files_only" if state is AccountState.ACTION_NEEDED and reason == FilesOnly.code else state


def check_tenant(name: str) -> str:
    """Return the name unchanged. Raises ValueError if no tenant may have it."""
    if not _TENANT_NAME.fullmatch(name):
        raise ValueError("a tenant's name has 1 to 32 of the characters a-z 0-9 - and begins with a letter")
    return name


def read_meter_name(text: str) -> str:
    """Return the name that a household gives its meter, trimmed and in Unicode's form NFC; empty for none.

    Raises ValueError, which doesn't quote the text.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if len(name) > LONGEST_METER_NAME or any(unicodedata.category(sign) in _NOT_IN_A_NAME for sign in name):
        raise ValueError(f"a meter's name has at most {LONGEST_METER_NAME} characters, all of them visible")
    return name
