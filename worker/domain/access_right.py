"""Access rights: consents that the supplier itself gets from the meter's holder and registers (GRDF).

Relève declares a right for a meter, or the holder gives one on the supplier's own page. A declared right waits until
the holder answers the supplier's email. The supplier doesn't tell us when a right ends, so we ask once a day. We may
have several rights for a meter; one active right is enough.

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
    """The state of a right according to the supplier."""

    PENDING = "pending"  # The right waits for the holder's answer.
    ACTIVE = "active"
    TO_CHECK = "to_check"  # The supplier checks the right again; no calls are allowed meanwhile.
    REFUSED = "refused"  # The holder has refused the right.
    REVOKED = "revoked"
    OBSOLETE = "obsolete"  # The meter's contract has ended, or the right itself has ended.


class ProofState(StrEnum):
    """How far the supplier has come with the proof of a consent."""

    AWAITED = "awaited"  # The supplier waits for the proof until a certain day, after which the right ends.
    IN_REVIEW = "in_review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class RightRole(StrEnum):
    """Our relation to the meter's contract."""

    AUTHORIZED = "authorized"  # The contract's holder has consented.
    OWN = "own"  # The contract is our own, so no consent is needed.


# States in which a right allows reading now or may do so later, the best first; the other states are final.
HOPEFUL_STATES: Final = (RightState.ACTIVE, RightState.PENDING, RightState.TO_CHECK)


class OurState(StrEnum):
    """The progress of a right in our registry."""

    DECLARED = "declared"
    FOUND = "found"  # The right existed at the supplier before anybody declared it here.
    OPENED = "opened"  # The right has opened or renewed an account.
    WITHDRAWING = "withdrawing"  # The right must still be withdrawn at the supplier.


class RightEvent(StrEnum):
    OPENED = "opened"  # The supplier lists the right as active, and its account gets the consent.
    STOPPED = "stopped"  # The household stops the right, or its account is erased.
    FORGOTTEN = "forgotten"  # A newer entry for the same right replaces it, or another person holds the meter now.
    ENDED = "ended"  # A month has passed since the right ended at the supplier.
    WITHDRAWN = "withdrawn"  # The right was withdrawn at the supplier, or we gave up after seven days.


_O, _E = OurState, RightEvent
_LIVE: Final = (_O.DECLARED, _O.FOUND, _O.OPENED)
# The state after each event; None: the right's row is deleted.
TRANSITIONS: Final = Transitions[OurState, RightEvent, OurState | None](
    (_E.OPENED, _LIVE, _O.OPENED),
    (_E.STOPPED, _LIVE, _O.WITHDRAWING),
    (_E.FORGOTTEN, _LIVE, None),
    (_E.ENDED, _LIVE, None),
    (_E.WITHDRAWN, (_O.WITHDRAWING,), None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdDeclaration:
    """A household's input for the declaration of a right; exactly one of ``name`` and ``company`` is set.

    The whole input is personal data: it is kept sealed until the right is declared, and then dropped. ``name``: the
    surname of the contract's holder. ``email``: the address at which the supplier asks the holder.
    """

    meter: str = field(repr=False)
    postcode: str = field(repr=False)
    email: str = field(repr=False)
    name: str | None = field(default=None, repr=False)
    company: str | None = field(default=None, repr=False)

    def faults(self) -> tuple[str, ...]:
        """Return the names of the invalid fields: ``meter``, ``holder``, ``postcode``, ``email``, in this order."""
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
    """The declaration of a right; exactly one of ``name`` and ``company`` is set.

    Name, postcode and email are personal data, which is dropped after the declaration. ``first_day`` to
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
    """A right as the supplier lists it. A day is None if it is unknown.

    ``id``: the supplier's number of the right. ``id`` and ``meter`` are personal data. ``last_day`` is included.
    ``covers``: the series that the right covers; None if unknown. ``proof_until``: the last day for sending the awaited
    proof.
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
    """The answer to a declaration. ``id`` is None if the right existed already; then the id must be looked up.

    ``line`` and ``digest``: the endpoint that answered, and the SHA-256 of its answer's bytes in hexadecimal.
    """

    id: str | None = field(repr=False)
    state: RightState
    line: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A right in our registry: its state at the supplier, and the person for whom it was declared.

    ``id`` is our own and reveals nothing. ``supplier_id``: the supplier's number of the right; None until the
    supplier has listed the right. ``meter`` and ``supplier_id`` are personal data and kept sealed. ``account_id``: the
    account that the right has opened or renewed, or is to renew. ``opened_at``: when the account was opened or renewed.
    ``vouched_by``: who created the invitation, accepted the request, or added a meter of their own. ``invited_at``:
    when the invitation was created, or when the accepted request was begun. ``for_new_holder``: whether the invitation
    is for a person other than the holder of the meter's account. ``is_found``: whether the right existed before anybody
    declared it here. ``browser``: SHA-256 of the secret name of the browser that declared the right. ``begun_at``: when
    the person sent the declaration. ``line`` and ``digest``: the supplier's endpoint that registered the right, and the
    SHA-256 of its answer. ``withdraw_since``: since when the right waits to be withdrawn at the supplier. ``begun_at``,
    ``invited_at`` and ``withdraw_since`` are in real time, even if the fleet's time is simulated.
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
        """Return the right updated with the supplier's record; a day that the record lacks keeps its old value."""
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
        """Return whether the right allows reading on this day, as far as we know from the supplier."""
        return self.state is RightState.ACTIVE and not self.is_over(today)

    def is_over(self, today: date) -> bool:
        """Return whether the right's last day has passed; ``today`` is the date in Europe/Paris."""
        return self.last_day is not None and self.last_day < today

    @property
    def ours(self) -> OurState:
        """The progress of the right in our registry, as it follows from the other fields."""
        if self.withdraw_since is not None:
            return OurState.WITHDRAWING
        if self.opened_at is not None:
            return OurState.OPENED
        return OurState.FOUND if self.is_found else OurState.DECLARED

    @property
    def last_digits(self) -> str:
        """The last four characters of the meter's number, the only ones ever shown: ``…0123``."""
        return f"…{self.meter[-4:]}"

    @property
    def page(self) -> str:
        """The name of the page that shows the right's progress; empty if the account's page shows it."""
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
    return _POSTCODE.fullmatch(text) is not None


def best_record(records: Sequence[RightRecord], *roles: RightRole) -> RightRecord | None:
    """Return the best record with one of these roles: its state comes first in ``HOPEFUL_STATES``.

    None if no record with these roles has such a state.
    """
    usable = [record for record in records if record.role in roles and record.state in HOPEFUL_STATES]
    return min(usable, key=lambda record: HOPEFUL_STATES.index(record.state), default=None)
