"""Operators: the people who run this Relève. Each has a name, a password and, as a rule, a second factor (TOTP).

The rules of names and passwords, and the codes of the second factor, are here; who may use what stands in the table
(``stores.registry.access.operators``) and on the pages (``web.pages.operator``).
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import pyotp

LONGEST_NAME: Final = 32
SHORTEST_PASSWORD: Final = 12
LONGEST_PASSWORD: Final = 200
_ESTIMATED: Final = 72  # zxcvbn takes no more characters, for its time grows with their number.
_LEAST_SCORE: Final = 3  # Of 0 to 4: more than 10^8 guesses.
_OUR_WORDS: Final = ("releve", "relève", "operator", "linky", "enedis", "grdf")
_NAME: Final = re.compile(rf"[\w.-]{{1,{LONGEST_NAME}}}")
_ISSUER: Final = "Relève"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator without the secrets. One without a password signs in by a link of ``releve operators link``."""

    id: str
    name: str
    created_at: datetime
    signed_in_at: datetime | None
    has_password: bool
    has_second_factor: bool

    @property
    def actor(self) -> str:
        """How evidence and invitations name the operator, such as ``operator alice``."""
        return f"operator {self.name}"


class PasswordFault(StrEnum):
    """Why a password is refused."""

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
    """Return how a name is stored and compared: in small letters, without blanks around it."""
    return unicodedata.normalize("NFC", text.strip().casefold())


def is_name(text: str) -> bool:
    """Return whether a plain name may be an operator's."""
    return _NAME.fullmatch(text) is not None


def find_password_fault(password: str, name: str) -> PasswordFault | None:
    """Return why an operator of this name can't have this password; None where it is good."""
    if len(password) < SHORTEST_PASSWORD:
        return PasswordFault.SHORT
    if len(password) > LONGEST_PASSWORD:
        return PasswordFault.LONG
    if len(name) > 2 and name in plain_name(password):
        return PasswordFault.NAMED
    from zxcvbn import zxcvbn  # Imported here, because its lists of words take 12 MB.

    score: int = zxcvbn(password[:_ESTIMATED], user_inputs=[name, *_OUR_WORDS])["score"]
    return PasswordFault.COMMON if score < _LEAST_SCORE else None


def new_totp_key() -> str:
    """Return a new key of a second factor, in base 32."""
    return pyotp.random_base32()


def totp_address(key: str, name: str) -> str:
    """Return the address that an authenticator app reads, ``otpauth://totp/…``."""
    return pyotp.TOTP(key).provisioning_uri(name=name, issuer_name=_ISSUER)


def find_totp_step(key: str, code: str, now: datetime, *, after: int = 0) -> int | None:
    """Return the step of 30 s that a code belongs to: the present one, the one before or the next (RFC 6238, 5.2).

    Steps up to ``after`` don't count: their codes were used. None where the code is wrong.
    """
    totp, sent = pyotp.TOTP(key), "".join(code.split()).encode("utf-8", "replace")
    present = totp.timecode(now)
    steps = [step for step in (present - 1, present, present + 1) if step > after]
    return next((step for step in steps if hmac.compare_digest(totp.generate_otp(step).encode(), sent)), None)
