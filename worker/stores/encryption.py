"""Tokens at rest: sealed under the first of the operator's keys, readable under any of them.

To change keys, put the new one first in RELEVE_TOKEN_KEYS, rotate, then drop the old one.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from worker.errors import OperatorFault

_UNREADABLE = (
    "a stored token was sealed under a key that is no longer given: put the old key back into "
    "RELEVE_TOKEN_KEYS, after the new one, until tokens are rotated"
)


class Sealer:
    """Seals short texts with Fernet (AES-128-CBC and HMAC-SHA256); shows neither key nor text."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the keys, newest first.  Raises ValueError, which names a key by its place alone."""
        if not keys:
            raise ValueError("no token key is given: RELEVE_TOKEN_KEYS needs at least one")
        fernets = [_to_fernet(key, place) for place, key in enumerate(keys, start=1)]
        self._newest = fernets[0]
        self._fernet = MultiFernet(fernets)
        self.number = len(fernets)

    def seal(self, text: str) -> str:
        """The text, sealed under the first key; twice the same text gives two different seals."""
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """The text that was sealed.  Raises OperatorFault where no key fits or the seal is broken."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def rotate(self, sealed: str) -> str:
        """The same text sealed anew under the first key.  Raises as ``unseal`` does."""
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    # The same for bytes, without the third that text would add.

    def seal_bytes(self, content: bytes) -> bytes:
        return base64.urlsafe_b64decode(self._fernet.encrypt(content))

    def unseal_bytes(self, sealed: bytes) -> bytes:
        """Raises as ``unseal`` does."""
        try:
            return self._fernet.decrypt(base64.urlsafe_b64encode(sealed))
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def rotate_bytes(self, sealed: bytes) -> bytes:
        """Raises as ``unseal`` does."""
        try:
            return base64.urlsafe_b64decode(self._fernet.rotate(base64.urlsafe_b64encode(sealed)))
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def is_newest(self, sealed: str) -> bool:
        """Whether the first key opens it, so that the others may go as far as it is concerned."""
        try:
            self._newest.decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True

    def __repr__(self) -> str:
        return "Sealer(…)"


def sealed_at(sealed: str) -> datetime:
    """When it was sealed first; sealing it anew under another key keeps that.  Needs no key.

    Source: the Fernet specification, a version byte and then the moment in seconds, 64 bits, big-endian.
    """
    return datetime.fromtimestamp(int.from_bytes(base64.urlsafe_b64decode(sealed)[1:9], "big"), UTC)


def new_key() -> str:
    """A fresh random key, as RELEVE_TOKEN_KEYS takes it."""
    return Fernet.generate_key().decode()


def _to_fernet(key: str, place: int) -> Fernet:
    try:
        return Fernet(key.strip())
    except ValueError:
        # From None: what the library met is the key itself.
        raise ValueError(
            f"token key {place} is not a Fernet key: 32 random bytes in URL-safe base64, 44 characters"
        ) from None
