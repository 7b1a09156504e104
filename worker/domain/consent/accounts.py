"""An account: one consent to read one meter, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum


class AccountState(StrEnum):
    """Semantics 6.3; ``paused`` is the operator's wish, the rest follows from what happened."""

    NEW = "new"  # created, no usage point or no token source yet
    READY = "ready"
    PAUSED = "paused"
    ACTION_NEEDED = "action_needed"  # its owner must act; automatic runs skip it
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Account:
    """``id`` is short and opaque; the meter's number is personal data and stays out of texts."""

    id: str
    state: AccountState
    supplier: str
    created_at: datetime
    usage_point_id: str | None = field(default=None, repr=False)
    consent_from: date | None = None
    consent_until: date | None = None
    reason: str = ""  # the code that led to this state, empty where all is well

    @property
    def active(self) -> bool:
        return self.state is AccountState.READY
