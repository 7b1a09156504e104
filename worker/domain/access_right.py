"""Rights of access: what a supplier registers of a consent, and asks the meter's holder about itself (GRDF).

A right is declared for a meter, or given on the supplier's own page. It waits for the holder, who answers an e-mail of
the supplier. Nothing tells us when it ends: the supplier is asked once a day. A meter may have several rights of ours;
one that is active is enough.

Source: GRDF, swagger of ADICT v2 and the digest of its kit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from worker.domain.series import Series
from worker.domain.transitions import Transitions

REGISTERING: Final = frozenset({"grdf"})  # The suppliers that register rights.
PCE: Final = re.compile(r"[0-9]{14}|GI[0-9]{6}")  # The number of a gas meter.
_POSTCODE: Final = re.compile(r"[0-9]{5}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_LONGEST_NAME: Final = 100
_LONGEST_EMAIL: Final = 254


class RightState(StrEnum):
    """The state of a right as the supplier tells it."""

    PENDING = "pending"  # It waits for the holder.
    ACTIVE = "active"
    TO_CHECK = "to_check"  # The supplier checks it again; no calls are allowed meanwhile.
    REFUSED = "refused"  # By the holder.
    REVOKED = "revoked"
    OBSOLETE = "obsolete"  # The contract of the meter has ended, or the right itself.


class ProofState(StrEnum):
    """What the supplier wants to see of the proof of a consent."""

    AWAITED = "awaited"  # Until a day, after which the right ends.
    IN_REVIEW = "in_review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class RightRole(StrEnum):
    """What we are to the meter's contract."""

    AUTHORIZED = "authorized"  # Its holder has consented.
    OWN = "own"  # The contract is our own, so no consent is needed.


# What may still become an account's right, what is worth most first; the other states are final.
HOPEFUL_STATES: Final = (RightState.ACTIVE, RightState.PENDING, RightState.TO_CHECK)


class OurState(StrEnum):
    """How far a right has come here."""

    DECLARED = "declared"
    FOUND = "found"  # It was there before anybody declared it here.
    OPENED = "opened"  # Its account has taken the consent.
    WITHDRAWING = "withdrawing"  # It awaits its withdrawal at the supplier.


class RightEvent(StrEnum):
    """What happens to a right here."""

    OPENED = "opened"  # The supplier lists it as active, and its account takes the consent.
    STOPPED = "stopped"  # By its household, or because its account is erased.
    FORGOTTEN = "forgotten"  # Another consent or another holder has taken its place.
    ENDED = "ended"  # At the supplier, a month ago.
    WITHDRAWN = "withdrawn"  # At the supplier, or given up after seven days.


_O, _E = OurState, RightEvent
_LIVE: Final = (_O.DECLARED, _O.FOUND, _O.OPENED)
# Where an event leads; None: its row is gone.
TRANSITIONS: Final = Transitions[OurState, RightEvent, OurState | None](
    (_E.OPENED, _LIVE, _O.OPENED),
    (_E.STOPPED, _LIVE, _O.WITHDRAWING),
    (_E.FORGOTTEN, _LIVE, None),
    (_E.ENDED, _LIVE, None),
    (_E.WITHDRAWN, (_O.WITHDRAWING,), None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdDeclaration:
    """What a household types so that the supplier registers a right; exactly one of ``name`` and ``company`` is set.

    All of it is personal data: it is kept sealed until the right is declared, and then dropped. ``name``: the surname
    of the contract's holder. ``email``: where the supplier asks the holder.
    """

    meter: str = field(repr=False)
    postcode: str = field(repr=False)
    email: str = field(repr=False)
    name: str | None = field(default=None, repr=False)
    company: str | None = field(default=None, repr=False)

    def faults(self) -> tuple[str, ...]:
        """Return what can't be sent, in the form's order: ``meter``, ``holder``, ``postcode`` and ``email``."""
        holders = [text for text in (self.name, self.company) if text]
        fits = {
            "meter": is_gas_meter(self.meter),
            "holder": len(holders) == 1 and len(holders[0]) <= _LONGEST_NAME and holders[0].isprintable(),
            "postcode": is_postcode(self.postcode),
            "email": len(self.email) <= _LONGEST_EMAIL and _EMAIL.fullmatch(self.email) is not None,
        }
        return tuple(name for name, good in fits.items() if not good)


@dataclass(frozen=True, slots=True, kw_only=True)
class RightDeclaration:
    """What is declared of a right; exactly one of ``name`` and ``company`` is set.

    Name, postcode and e-mail are personal data that nobody keeps once the right is declared. ``first_day`` to
    ``last_day``: the days of the right, ends included. ``data_from``: the first day whose consumption may be read.
    """

    meter: str = field(repr=False)
    role: RightRole
    postcode: str = field(repr=False)
    first_day: date
    last_day: date
    data_from: date
    name: str | None = field(default=None, repr=False)
    company: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RightRecord:
    """A right as the supplier lists it; days are included, and None where they are not told.

    ``id``: the supplier's own, personal data like the meter. ``covers``: the series that it covers, None where it
    doesn't say. ``proof_until``: the last day for the proof that is awaited.
    """

    id: str = field(repr=False)
    meter: str = field(repr=False)
    state: RightState
    role: RightRole = RightRole.AUTHORIZED
    first_day: date | None = None
    last_day: date | None = None
    covers: frozenset[Series] | None = None
    proof: ProofState | None = None
    proof_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredRight:
    """The answer to a declaration. ``id`` is None where the right existed already: it must be looked up.

    ``line`` and ``digest``: the endpoint that answered, and the SHA-256 of its answer's bytes in hexadecimal.
    """

    id: str | None = field(repr=False)
    state: RightState
    line: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A right in our registry: what the supplier says of it, and for whom it was declared.

    ``id`` is our own and says nothing; ``meter`` and ``supplier_id``, the supplier's number of the right, are personal
    data and kept sealed. ``supplier_id`` is None until the supplier has listed the right. ``account_id``: the account
    that it has opened, or is to renew; ``opened_at``: when its account took the consent. ``vouched_by``: who invited
    the person, at ``invited_at``, or has accepted the request that was begun then, or whose own meter it is.
    ``for_new_holder``: whether the invitation is for another person than the one of the meter's account. ``is_found``:
    whether it was there before anybody declared it here. ``browser``: SHA-256 of the name of the browser that declared
    it; ``begun_at``: when the person began. ``line`` and ``digest``: the supplier's endpoint that registered it, and
    the SHA-256 of its answer. ``withdraw_since``: it waits to be withdrawn at the supplier. ``begun_at``,
    ``invited_at`` and ``withdraw_since`` are real moments.
    """

    id: str
    supplier: str
    tenant: str
    state: RightState
    state_since: datetime
    meter: str = field(repr=False)
    role: RightRole = RightRole.AUTHORIZED
    supplier_id: str | None = field(default=None, repr=False)
    account_id: str | None = None
    opened_at: datetime | None = None
    proof: ProofState | None = None
    proof_until: date | None = None
    first_day: date | None = None
    last_day: date | None = None
    vouched_by: str | None = None
    invited_at: datetime | None = None
    for_new_holder: bool = False
    is_found: bool = False
    browser: str | None = field(default=None, repr=False)
    begun_at: datetime | None = None
    declared_at: datetime | None = None
    checked_at: datetime | None = None
    withdraw_since: datetime | None = None
    line: str | None = None
    digest: str | None = field(default=None, repr=False)

    def after(self, record: RightRecord, now: datetime) -> Right:
        """Return the right with what the supplier says of it now; a day that it doesn't tell stays."""
        return replace(
            self,
            supplier_id=record.id,
            role=record.role,
            state=record.state,
            state_since=self.state_since if self.state is record.state else now,
            proof=record.proof,
            proof_until=record.proof_until,
            first_day=record.first_day or self.first_day,
            last_day=record.last_day or self.last_day,
            checked_at=now,
        )

    def is_in_force(self, today: date) -> bool:
        """Return whether it may be read by on this day, as far as the supplier has told."""
        return self.state is RightState.ACTIVE and not self.is_over(today)

    def is_over(self, today: date) -> bool:
        """Return whether its last day is over; ``today`` is the date in Europe/Paris."""
        return self.last_day is not None and self.last_day < today

    @property
    def ours(self) -> OurState:
        """How far it has come here."""
        if self.withdraw_since is not None:
            return OurState.WITHDRAWING
        if self.opened_at is not None:
            return OurState.OPENED
        return OurState.FOUND if self.is_found else OurState.DECLARED

    @property
    def last_digits(self) -> str:
        """The last four characters of the meter's number, all of it that is ever shown: ``…0123``."""
        return f"…{self.meter[-4:]}"

    @property
    def page(self) -> str:
        """The name of the page that says how far it has come; empty once its account shows that."""
        if self.ours is OurState.WITHDRAWING:
            return "right_withdrawn"
        if self.state is RightState.ACTIVE:
            return "" if self.ours is OurState.OPENED else "right_exists"
        if self.state is RightState.PENDING and self.proof is ProofState.AWAITED:
            return "right_proof"
        return f"right_{self.state.value}"


def is_gas_meter(text: str) -> bool:
    """Return whether a text has the form of a gas meter's number (PCE): 14 digits, or GI and six digits."""
    return PCE.fullmatch(text) is not None


def is_postcode(text: str) -> bool:
    """Return whether a text has the form of a French postcode."""
    return _POSTCODE.fullmatch(text) is not None


def best_record(records: Sequence[RightRecord], *roles: RightRole) -> RightRecord | None:
    """Return the right that is worth most, of these roles; None where all have ended."""
    usable = [record for record in records if record.role in roles and record.state in HOPEFUL_STATES]
    return min(usable, key=lambda record: HOPEFUL_STATES.index(record.state), default=None)
