"""Consents: the proof of a consent, a refusal that awaits confirmation, and the notices to owner and operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Final


class ConsentKind(StrEnum):
    """The proof of a consent that the supplier's callback contained, by generation of its API."""

    CODE = "code"  # In v4 it is exchanged for the holder's tokens.
    USAGE_POINT = "usage_point"  # The callback of v5 names the meter.
    AUTORISATION = "autorisation"  # The callback of 2026 names a consent, whose meter is asked for.
    ID_TOKEN = "id_token"  # noqa: S105 - GRDF
    RIGHT = "right"  # The supplier registers a right of access, and asks the holder itself (GRDF).
    ASSERTED = "asserted"  # The person who added the account says so; there was no callback.


class Proof(StrEnum):
    """What shows that a consent is the meter's holder's; what each is worth stands in docs/explanation/ownership.md."""

    NONE = "none"
    EXCHANGE = "exchange"  # P1: the supplier's own token answer names the meter (v4).
    INVITED = "invited"  # P2, in 2026 with P3: an invitation for this meter, opened and ended by one browser.
    REGISTER = "register"  # P4, in 2026 with P3: the meter's registers, read off its display.
    RIGHT = "right"  # P5: the supplier itself asked the holder, for a person who was invited or signed in.
    OWN = "own"  # The contract is the operator's own, so nobody has to consent.
    ASSERTED = "asserted"  # An operator or a service vouches for it.


class EndReason(StrEnum):
    """The reasons why a consent, or a grant of the proxy, ended, other than the error codes of a refusal."""

    RENEWED = "renewed"  # A newer consent replaced it.
    EXPIRED = "expired"
    REMOVED = "removed"  # Its account was removed.
    HOLDER_CHANGED = "holder_changed"  # Another person proved that the meter is theirs.
    WITHDRAWN = "withdrawn"  # The household stopped it here.
    CLIENT_REVOKED = "client_revoked"  # The client of the proxy that it was given to was revoked.
    TOKEN_REUSED = "token_reused"  # noqa: S105 - A refresh token of the proxy was used twice.
    RESTORED = "restored"  # A backup was restored: the grants in it come back ended.


@dataclass(frozen=True, slots=True)
class ConsentProof:
    """The proof that a holder consented, when and for how long.

    The meter's number is not here: the consents table keeps it encrypted, and ``names_meter`` says whether it does.
    ``consent_until`` is the last day, included. ``reference`` is the supplier's number of the consent, or the one that
    ``vouched_by`` gave it. ``browser``: the SHA-256 of the name of the browser that brought the consent.
    """

    id: str
    account_id: str
    supplier: str
    kind: ConsentKind
    consented_at: datetime
    consent_from: date | None = None
    consent_until: date | None = None
    reference: str | None = None
    proof: Proof = Proof.NONE
    vouched_by: str | None = None
    browser: str | None = field(default=None, repr=False)
    names_meter: bool = False
    ended_at: datetime | None = None
    end_reason: str = ""

    @property
    def open(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class PendingRefusal:
    """A refusal of an account that is not confirmed yet, because it may be the supplier's mistake.

    ``times`` counts it since the last success or incident of refusals; it stays 0 during such an incident.
    """

    account_id: str
    code: str
    first_seen: datetime
    last_seen: datetime
    times: int


class NoticeKind(StrEnum):
    """The kinds of notices; those about the supplier, incidents, proofs, tokens and outputs go to the operator."""

    ACTION_NEEDED = "action_needed"  # The account's owner must act.
    CONSENT_ENDS_30 = "consent_ends_30"  # The consent ends within 30 days.
    CONSENT_ENDS_7 = "consent_ends_7"
    CURVE_NOT_ACTIVATED = "curve_not_activated"  # The supplier sends daily values but does not collect the curve.
    GATEWAY_BANNED = "gateway_banned"  # A gateway has shut out our address for a day.
    INCIDENT = "incident"  # Many accounts fail in the same way, so the supplier is the cause.
    INCIDENT_OVER = "incident_over"
    OUTPUT_FAILS = "output_fails"  # Nothing could be sent to an output for a day.
    RIGHT_PROOF_AWAITED = "right_proof_awaited"  # The supplier wants a proof of a consent until a day.
    RIGHT_PROOF_ENDS = "right_proof_ends"  # The same, a few days before that day.
    RIGHT_PROOF_REJECTED = "right_proof_rejected"
    SUPPLIER_CHANGED = "supplier_changed"  # The supplier's answers differ from its documentation.
    TOKEN_ENDS = "token_ends"  # noqa: S105 - An API token ends within two weeks.


HOUSEHOLD_CHANNEL: Final = "household"  # By mail, to the address that the account's household has confirmed.


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to send over one channel.

    ``about`` distinguishes notices of the same kind: the day on which a consent ends, the moment at which an account
    was suspended, a right's id, an @ and the last day for its proof, a token's id, an @ and the day of its end, a
    supplier, an @ and the day of a ban, or an output's id, an @ and the day since when it fails.
    ``account_id`` is None for notices to the operator.
    """

    id: str
    account_id: str | None
    kind: NoticeKind
    reason: str
    about: str
    channel: str
    created_at: datetime
    next_attempt_at: datetime
    attempts: int = 0
    delivered_at: datetime | None = None
    last_error: str = ""

    @property
    def key(self) -> str:
        """The key that makes a notice unique: a second notice with the same key is not sent."""
        return f"{self.kind}:{self.account_id or '-'}:{self.about}:{self.channel}"
