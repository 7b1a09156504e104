"""Access keys: what lets a browser in. Sessions, recovery codes, links that are sent by mail, an operator's first link.

Only the text that its holder has opens a key. A session belongs to a household or to an operator, its *owner*, and so
does everything that leads to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class KeyKind(StrEnum):
    """What a key opens, and how long it lives."""

    HOUSEHOLD_SESSION = "household"
    OPERATOR_SESSION = "operator"
    RECOVERY_CODE = "recovery_code"  # Opens a session of its household, once.
    SIGN_IN_LINK = "sign_in_link"  # The same by mail.
    ADDRESS_LINK = "address_link"  # Confirms a mail address.
    OPERATOR_LINK = "operator_link"  # Opens a session of its operator, once.


@dataclass(frozen=True, slots=True)
class KeyLife:
    """How long a key is valid: ``longest`` in all, and ``idle`` after it was last seen. None: until it is ended."""

    longest: timedelta | None
    idle: timedelta | None = None


KEY_LIVES: Final[Mapping[KeyKind, KeyLife]] = {
    KeyKind.HOUSEHOLD_SESSION: KeyLife(timedelta(days=90), idle=timedelta(days=30)),
    KeyKind.OPERATOR_SESSION: KeyLife(timedelta(hours=12), idle=timedelta(minutes=30)),
    KeyKind.RECOVERY_CODE: KeyLife(None),
    KeyKind.SIGN_IN_LINK: KeyLife(timedelta(minutes=10)),
    KeyKind.ADDRESS_LINK: KeyLife(timedelta(days=1)),
    KeyKind.OPERATOR_LINK: KeyLife(timedelta(minutes=10)),
}


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key without its secret text.

    ``owner``: the id of a household or of an operator. ``expires_at``: the end of its longest life. ``device``: the
    browser as its person would name it, such as ``Firefox, Windows``. ``details``: facts that only the web application
    can write and read.
    """

    id: str
    kind: KeyKind
    owner: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime | None
    device: str = ""
    details: Mapping[str, str] = field(default_factory=dict, repr=False)

    def is_valid(self, now: datetime) -> bool:
        """Return whether the key has neither reached its end nor been idle for too long."""
        idle = KEY_LIVES[self.kind].idle
        return (self.expires_at is None or now < self.expires_at) and (idle is None or now < self.last_seen_at + idle)
