"""The nouns of the consent desk: what proves a consent, what makes one doubtful, who is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class ConsentKind(StrEnum):
    """What the supplier's callback brought."""

    CODE = "code"  # v4: exchanged for the holder's tokens
    USAGE_POINT = "usage_point"  # v5
    AUTORISATION = "autorisation"  # 2026
    ID_TOKEN = "id_token"  # noqa: S105 - GRDF
    BY_HAND = "by_hand"  # the operator says so


class EndReason(StrEnum):
    """Why a consent ended, beside the error codes of semantics 6.4."""

    RENEWED = "renewed"  # a newer one took its place
    EXPIRED = "expired"
    REMOVED = "removed"  # the account was


@dataclass(frozen=True, slots=True)
class ConsentProof:
    """That somebody consented, when and for how long; whose meter it was stays sealed in the book."""

    id: str
    account_id: str
    supplier: str
    kind: ConsentKind
    consented_at: datetime
    consent_from: date | None = None
    consent_until: date | None = None  # the last day, included
    reference: str | None = None  # the supplier's number of the consent
    names_meter: bool = False
    ended_at: datetime | None = None
    end_reason: str = ""

    @property
    def open(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class PendingRefusal:
    """A refusal that may be the supplier's mistake.  ``times``: since the last success or storm; 0 in a storm."""

    account_id: str
    code: str
    first_seen: datetime
    last_seen: datetime
    times: int


class NoticeKind(StrEnum):
    ACTION_NEEDED = "action_needed"  # the account waits for its owner
    CONSENT_ENDS_30 = "consent_ends_30"  # within 30 days
    CONSENT_ENDS_7 = "consent_ends_7"
    CURVE_NOT_ACTIVATED = "curve_not_activated"  # daily values come, and nobody has switched the curve's collection on
    HOLDER_STORM = "holder_storm"  # told no more: what was, before it became an incident
    INCIDENT = "incident"  # to the operator: the same failure on many accounts, so the supplier's
    INCIDENT_OVER = "incident_over"
    SUPPLIER_CHANGED = "supplier_changed"  # to the operator: it sends what nobody told us of


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell over one channel.

    ``about`` tells two notices of a kind apart: the day that a consent ends, the moment that an account was set
    aside.  ``account_id`` is None for what concerns the operator alone.
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
        """The same key is never told twice."""
        return f"{self.kind}:{self.account_id or '-'}:{self.about}:{self.channel}"
