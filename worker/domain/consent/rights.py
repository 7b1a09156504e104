"""Rights of access: what a supplier registers of a consent, and asks the meter's holder about itself (GRDF).

A right is declared for a meter, or given on the supplier's own page. It waits for the holder, who answers an e-mail of
the supplier. Nothing tells us when it ends: the supplier is asked once a day. A meter may have several rights of ours;
one that is active is enough.

Source: GRDF, swagger of ADICT v2 and the digest of its kit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from worker.domain.measures.series import Series


class RightState(StrEnum):
    """The state of a right as the supplier tells it."""

    PENDING = "pending"  # It waits for the holder.
    ACTIVE = "active"
    TO_CHECK = "to_check"  # The supplier checks it anew; nothing may be asked meanwhile.
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
