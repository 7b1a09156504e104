"""Access of browsers and programs: access keys, operators' names, passwords and second factors, and API scopes.

Access keys are sessions, recovery codes, links sent by mail, and an operator's first link. A key can be used only with
its secret text, which only the key's holder has. A session belongs to its *owner*, a household or an operator, and so
do the keys that open a session.

Operators are the people who run this Relève. Each has a name, a password and usually a second factor (TOTP). Keys,
passwords and codes are checked by ``stores.registry.access_keys``; ``web`` checks what a session may do.

Scopes are what a client of the API may do with its token.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import pyotp

LONGEST_NAME: Final = 32
SHORTEST_PASSWORD: Final = 12
LONGEST_PASSWORD: Final = 200
_ESTIMATED: Final = 72  # zxcvbn accepts at most this many characters, because its time grows with their number.
_LEAST_SCORE: Final = 3  # On zxcvbn's scale from 0 to 4: more than 10^8 guesses.
_OUR_WORDS: Final = ("releve", "relève", "operator", "linky", "enedis", "grdf")
_NAME: Final = re.compile(rf"[\w.-]{{1,{LONGEST_NAME}}}")
_ISSUER: Final = "Relève"


class KeyKind(StrEnum):
    HOUSEHOLD_SESSION = "household"
    OPERATOR_SESSION = "operator"
    RECOVERY_CODE = "recovery_code"  # Opens a session of its household, once.
    SIGN_IN_LINK = "sign_in_link"  # Like a recovery code, but sent by mail.
    ADDRESS_LINK = "address_link"  # Confirms a mail address.
    OPERATOR_LINK = "operator_link"  # Opens a session of its operator, once.


@dataclass(frozen=True, slots=True)
class KeyLife:
    """How long a key is valid: at most ``longest`` in all, and at most ``idle`` after its last use; None: no limit."""

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

    ``owner``: the id of a household or of an operator. ``expires_at``: when the key ends, even if it is used until
    then; None without such a limit. ``device``: the browser as its user would name it, such as ``Firefox, Windows``.
    ``details``: facts that only the web application can write and read.
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


class Role(StrEnum):
    """What an operator may do. ``docs/explanation/access.md`` has the table."""

    SUPPORT = "support"  # Reads, explains, syncs, invites and pauses.
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator, without secrets. An operator without a password signs in with a link from ``releve access link``.

    ``role``: None if the operator's row can't be unsealed.
    """

    id: str
    name: str
    created_at: datetime
    signed_in_at: datetime | None
    has_password: bool
    has_second_factor: bool
    role: Role | None = Role.ADMIN

    @property
    def actor(self) -> str:
        """The operator's name in evidence and invitations, such as ``operator alice``."""
        return f"operator {self.name}"


class PasswordFault(StrEnum):
    SHORT = "short"
    LONG = "long"
    NAMED = "named"
    COMMON = "common"


PASSWORD_FAULTS: Final[Mapping[PasswordFault, str]] = {
    PasswordFault.SHORT: f"the password is too short: use {SHORTEST_PASSWORD} characters or more",
    PasswordFault.LONG: f"the password is too long: use at most {LONGEST_PASSWORD} characters",
    PasswordFault.NAMED: "the password contains the operator's name: use another",
    PasswordFault.COMMON: "the password is easy to guess: use four or five unrelated words",
}


def plain_name(text: str) -> str:
    """Return the form in which a name is stored and compared: in lower case, without surrounding spaces."""
    return unicodedata.normalize("NFC", text.strip().casefold())


def is_name(text: str) -> bool:
    """Return whether an operator may have this name. ``text`` must be in the form that ``plain_name`` returns."""
    return _NAME.fullmatch(text) is not None


def find_password_fault(password: str, name: str) -> PasswordFault | None:
    """Return why an operator of this name can't have this password; None if the password is good."""
    if len(password) < SHORTEST_PASSWORD:
        return PasswordFault.SHORT
    if len(password) > LONGEST_PASSWORD:
        return PasswordFault.LONG
    if len(name) > 2 and name in plain_name(password):
        return PasswordFault.NAMED
    from zxcvbn import zxcvbn  # Imported late, because its lists of words take 12 MB.

    score: int = zxcvbn(password[:_ESTIMATED], user_inputs=[name, *_OUR_WORDS])["score"]
    return PasswordFault.COMMON if score < _LEAST_SCORE else None


def new_totp_key() -> str:
    """Return a new key for a second factor, in base 32."""
    return pyotp.random_base32()


def totp_address(key: str, name: str) -> str:
    """Return the address ``otpauth://totp/…`` that gives a second factor's key to an authenticator app."""
    return pyotp.TOTP(key).provisioning_uri(name=name, issuer_name=_ISSUER)


def find_totp_step(key: str, code: str, now: datetime, *, after: int = 0) -> int | None:
    """Return the number of the 30-second step to which a code belongs; None if the code is wrong.

    The previous, the present and the next step are tried (RFC 6238, 5.2). ``after``: the newest step whose code was
    already used; this step and earlier ones are not tried.
    """
    totp, sent = pyotp.TOTP(key), "".join(code.split()).encode("utf-8", "replace")
    present = totp.timecode(now)
    steps = [step for step in (present - 1, present, present + 1) if step > after]
    return next((step for step in steps if hmac.compare_digest(totp.generate_otp(step).encode(), sent)), None)


class Scope(StrEnum):
    """The permissions that an API token can have."""

    READ_ACCOUNTS = "read:accounts"  # List accounts, their states, and the progress of their first sync.
    READ_MEASURES = "read:measures"
    WRITE_ACCOUNTS = "write:accounts"  # Add, invite, pause, resume and stop accounts; the scope permits no reading.
    READ_AUDIT = "read:audit"  # Read the audit entries of the token's tenant.
    ERASE_ACCOUNTS = "erase:accounts"  # Erase accounts permanently with their measures; the scope permits nothing else.
