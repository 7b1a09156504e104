"""Encryption of stored texts, bound to the place where each is stored (AES-256-GCM with associated data).

A sealed text opens under the same keys, for the same purpose and at the same place alone: moved to another row, column
or table it is refused. Each text has a key of its own, derived by HKDF-SHA256 (RFC 5869) from one of the operator's
keys, the purpose and a random salt, so that no number of texts wears a key out. A sealed text is URL-safe base64 of:

    version   1 byte     0x02
    time      8 bytes    when it was sealed, in seconds, big-endian
    salt      16 bytes   random
    content   …          AES-256-GCM with its tag of 16 bytes; associated data: version, time, and the place

To change the key, put the new one first, run ``releve keys rotate``, then remove the old one.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Column

from worker.errors import OperatorFault

MIN_KEY_LENGTH: Final = 32
_VERSION: Final = b"\x02"
_HEADER_BYTES: Final = 9
_SALT_BYTES: Final = 16
_NONCE: Final = bytes(12)  # A key encrypts one text only.


def place_of(column: Column[Any], row_id: str) -> str:
    """Return the place of a sealed value of the registry, such as ``tokens.sealed/k3q7d0fr2mxx``."""
    return f"{column.table.name}.{column.name}/{row_id}"


class Sealer:
    """Encryption of short texts for one purpose; errors show neither key nor text.

    ``setting`` names where the keys come from, for the errors.
    """

    def __init__(self, keys: Sequence[str], purpose: str, setting: str) -> None:
        """Take the keys, the newest first. Raises ValueError for one that is too short."""
        if not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
            raise ValueError(f"each key must have at least {MIN_KEY_LENGTH} characters")
        self._keys = [key.encode() for key in keys]
        self._purpose, self._setting = purpose.encode(), setting

    def __repr__(self) -> str:
        return "Sealer(…)"

    @property
    def key_count(self) -> int:
        """The number of keys, of which the first one seals."""
        return len(self._keys)

    def seal(self, text: str, place: str) -> str:
        """Encrypt the text under the first key. The same text gives another result each time."""
        return base64.urlsafe_b64encode(self.seal_bytes(text.encode(), place)).decode()

    def unseal(self, sealed: str, place: str) -> str:
        """Decrypt a text. Raises OperatorFault if no key fits, or it was changed or moved from its place."""
        return self.unseal_bytes(base64.urlsafe_b64decode(sealed), place).decode()

    def seal_bytes(self, content: bytes, place: str) -> bytes:
        """Encrypt bytes under the first key; base64 would be longer by a third."""
        header = _VERSION + int(datetime.now(UTC).timestamp()).to_bytes(8, "big")
        salt = secrets.token_bytes(_SALT_BYTES)
        cipher = self._cipher(self._keys[0], salt)
        return header + salt + cipher.encrypt(_NONCE, content, header + place.encode())

    def unseal_bytes(self, sealed: bytes, place: str) -> bytes:
        """Decrypt sealed bytes. Raises OperatorFault, as ``unseal`` does."""
        header, salt = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES : _HEADER_BYTES + _SALT_BYTES]
        content = sealed[_HEADER_BYTES + _SALT_BYTES :]
        if header[:1] == _VERSION:
            for key in self._keys:
                try:
                    return self._cipher(key, salt).decrypt(_NONCE, content, header + place.encode())
                except InvalidTag:
                    continue
        raise OperatorFault(
            f"a stored text was sealed under a key that is no longer given, or is not where it was stored: put the old "
            f"key back into {self._setting}, after the new one, until `releve keys rotate` has run"
        )

    def can_unseal(self, sealed: str, place: str) -> bool:
        """Return whether a key fits and the text is unchanged and at its place."""
        try:
            self.unseal(sealed, place)
        except OperatorFault:
            return False
        return True

    def _cipher(self, key: bytes, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt, self._purpose).derive(key))
