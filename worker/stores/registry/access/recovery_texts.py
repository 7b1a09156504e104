"""Recovery codes as a person writes them down, such as ``K7QD-0FR2-MXH4-T8Q2-WZ5P-9N3C-7HYD``.

The letters are Crockford's base 32, which has no I, L, O and U; those that look alike are read as the digit. All 28 are
random, which makes 140 bits: nobody guesses one, so that one round of SHA-256 is enough to store it. The row is found
by another hash of them. Source: https://www.crockford.com/base32.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 28
_GROUP: Final = 4
_ID_LENGTH: Final = 16
_LOOK_ALIKE: Final = str.maketrans("ILO", "110")


class RecoveryTexts:
    """The texts of recovery codes; the same as ``encryption.SecretTexts``, for people."""

    def create(self) -> tuple[str, str, str]:
        """Return a new id, the hash to store, and the text to show."""
        letters = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        groups = (letters[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))
        return _id_of(letters), _hash("secret", letters), "-".join(groups)

    def read_id(self, text: str) -> str | None:
        """Return the id of a text, or None for one that is no code; blanks, dashes and small letters don't matter."""
        letters = _to_letters(text)
        return _id_of(letters) if letters else None

    def matches(self, text: str, stored_hash: str | None) -> bool:
        """Return whether the text has the secret of a stored hash, compared in constant time."""
        letters = _to_letters(text)
        return letters is not None and hmac.compare_digest(stored_hash or "", _hash("secret", letters))


def _to_letters(text: str) -> str | None:
    letters = re.sub(r"[\s–-]", "", text[:100]).upper().translate(_LOOK_ALIKE)
    return letters if len(letters) == _LENGTH and all(letter in _LETTERS for letter in letters) else None


def _id_of(letters: str) -> str:
    return _hash("id", letters)[:_ID_LENGTH]


def _hash(purpose: str, letters: str) -> str:
    return hashlib.sha256(f"{purpose}:{letters}".encode()).hexdigest()
