"""Encryption of stored texts, bound to the place where each is stored (AES-256-GCM with associated data).

A sealed text opens under the same keys, for the same purpose and at the same place alone: moved to another row, column,
key or message it is refused. Each text has a key of its own, derived by HKDF-SHA256 (RFC 5869) from one of the
operator's keys, the purpose and a random salt, so that no number of texts wears a key out. A sealed text is URL-safe
base64 of:

    version   1 byte     0x02
    time      8 bytes    when it was sealed, in seconds, big-endian
    salt      16 bytes   random
    content   …          AES-256-GCM with its tag of 16 bytes; associated data: version, time, and the place

Versions before this one sealed with Fernet (version 0x80, ``gAAAA…``), which binds a text to no place. Such a text
still opens under its key, wherever it is, until ``releve keys rotate`` has sealed it again and that key is dropped.

To change the key, put the new one first, run ``releve keys rotate``, then remove the old one.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, overload

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from worker.errors import OperatorFault
from worker.stores.encryption import Purpose, check_keys, derive_key

_VERSION: Final = b"\x02"
_FERNET_VERSION: Final = b"\x80"
OLD_FORM: Final = "gAAAA"  # How a text begins that an older version has sealed.
_HEADER_BYTES: Final = 9
_SALT_BYTES: Final = 16
_NONCE: Final = bytes(12)  # A key encrypts one text only.


class Sealer:
    """Encryption of short texts for one purpose; errors show neither key nor text.

    Callers name the *place* of a text: ``database.place_of`` in the registry, elsewhere the name of its key, file or
    message.
    """

    def __init__(self, keys: Sequence[str], purpose: Purpose) -> None:
        """Take the keys, the newest first. Raises ValueError, which names a bad key only by its number."""
        check_keys(keys)
        self._keys = [key.encode() for key in keys]
        self._fernets = _to_fernets(keys) if purpose.opens_old_form else []
        self._purpose = purpose

    def __repr__(self) -> str:
        return "Sealer(…)"

    @property
    def key_count(self) -> int:
        """The number of keys, of which the first one seals."""
        return len(self._keys)

    def seal(self, text: str, place: str) -> str:
        """Encrypt the text under the first key. The same text gives another result each time."""
        return _to_text(self.seal_bytes(text.encode(), place))

    def unseal(self, sealed: str, place: str) -> str:
        """Decrypt a text. Raises OperatorFault if no key fits, or it was changed or moved from its place."""
        return self._open(_to_bytes(sealed), place)[1].decode()

    def can_unseal(self, sealed: str, place: str) -> bool:
        """Return whether a key fits and the text is unchanged and at its place."""
        return self._find_key(_to_bytes(sealed), place) is not None

    # The same for bytes. Text in base64 would be longer by a third.

    def seal_bytes(self, content: bytes, place: str) -> bytes:
        """Encrypt bytes under the first key."""
        return self._seal(content, place, int(datetime.now(UTC).timestamp()).to_bytes(8, "big"))

    def unseal_bytes(self, sealed: bytes, place: str) -> bytes:
        """Decrypt sealed bytes. Raises OperatorFault, as ``unseal`` does."""
        return self._open(sealed, place)[1]

    # The change of a key.

    @overload
    def rotate(self, sealed: str, place: str) -> str: ...
    @overload
    def rotate(self, sealed: bytes, place: str) -> bytes: ...

    def rotate(self, sealed: str | bytes, place: str) -> str | bytes:
        """Seal the same text, or the same bytes, under the first key at its place; the time of its sealing stays.

        Raises OperatorFault, as ``unseal`` does.
        """
        before = sealed if isinstance(sealed, bytes) else _to_bytes(sealed)
        rotated = self._seal(self._open(before, place)[1], place, before[1:_HEADER_BYTES])
        return rotated if isinstance(sealed, bytes) else _to_text(rotated)

    def is_newest(self, sealed: str, place: str) -> bool:
        """Return whether the text is sealed under the first key, so that it needs no other key."""
        opened = self._find_key(_to_bytes(sealed), place)
        return opened is not None and opened[0] == 0

    def _seal(self, content: bytes, place: str, time: bytes) -> bytes:
        header, salt = _VERSION + time, secrets.token_bytes(_SALT_BYTES)
        return header + salt + self._cipher(self._keys[0], salt).encrypt(_NONCE, content, header + place.encode())

    def _open(self, sealed: bytes, place: str) -> tuple[int, bytes]:
        if (opened := self._find_key(sealed, place)) is None:
            raise OperatorFault(
                "a stored text can't be decrypted: its key is missing, or it was moved; put the old key back into "
                f"{self._purpose.setting}, after the new one, until `releve keys rotate` has run"
            )
        return opened

    def _find_key(self, sealed: bytes, place: str) -> tuple[int, bytes] | None:
        """Return the number of the key that opens the sealed bytes, the newest 0, and their content."""
        if sealed[:1] == _FERNET_VERSION:
            return self._open_old_form(sealed)
        header, salt = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES : _HEADER_BYTES + _SALT_BYTES]
        content = sealed[_HEADER_BYTES + _SALT_BYTES :]
        if header[:1] == _VERSION and content:
            for number, key in enumerate(self._keys):
                with suppress(InvalidTag):
                    return number, self._cipher(key, salt).decrypt(_NONCE, content, header + place.encode())
        return None

    def _open_old_form(self, sealed: bytes) -> tuple[int, bytes] | None:
        for number, fernet in self._fernets:
            with suppress(InvalidToken):
                return number, fernet.decrypt(base64.urlsafe_b64encode(sealed))
        return None

    def _cipher(self, key: bytes, salt: bytes) -> AESGCM:
        return AESGCM(derive_key(key, self._purpose, salt))


def read_sealing_time(sealed: str) -> datetime:
    """Return when the text was first sealed; a rotation keeps this moment. Needs no key.

    Both forms begin with a version byte and the time in seconds as a 64-bit big-endian number.
    Source of the older one: https://github.com/fernet/spec/blob/master/Spec.md
    """
    return datetime.fromtimestamp(int.from_bytes(_to_bytes(sealed)[1:_HEADER_BYTES], "big"), UTC)


def _to_text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode()


def _to_bytes(sealed: str) -> bytes:
    """Return the bytes of a sealed text; none for a text that is not exactly what ``_to_text`` has made."""
    try:
        content = base64.urlsafe_b64decode(sealed)
    except ValueError:
        return b""
    return content if _to_text(content) == sealed else b""


def _to_fernets(keys: Sequence[str]) -> list[tuple[int, Fernet]]:
    """Return what opens texts of the old form: those keys that are Fernet keys, each with its number."""
    fernets = []
    for number, key in enumerate(keys):
        with suppress(ValueError):
            fernets.append((number, Fernet(key)))
    return fernets
