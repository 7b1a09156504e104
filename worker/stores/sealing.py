"""Tokens at rest: sealed under the first of the operator's keys, readable under any of them.

To change keys, put the new one first in RELEVE_TOKEN_KEYS, rotate, then drop the old one.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

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
        self._fernet = MultiFernet([_to_fernet(key, place) for place, key in enumerate(keys, start=1)])

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
        return urlsafe_b64decode(self._fernet.encrypt(content))

    def unseal_bytes(self, sealed: bytes) -> bytes:
        """Raises as ``unseal`` does."""
        try:
            return self._fernet.decrypt(urlsafe_b64encode(sealed))
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def rotate_bytes(self, sealed: bytes) -> bytes:
        """Raises as ``unseal`` does."""
        try:
            return urlsafe_b64decode(self._fernet.rotate(urlsafe_b64encode(sealed)))
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def __repr__(self) -> str:
        return "Sealer(…)"


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
