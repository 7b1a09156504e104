"""Keys and what they are derived for, hashes of secrets, and signatures of forms.

``Purpose`` lists what keys are derived for; ``sealing.Sealer`` encrypts for one of them. ``SecretTexts`` makes secrets
of which a store keeps the hash. ``KeyedHashes`` recognises a text that is not stored. ``Signer`` proves that a form is
ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_ID_LETTERS: Final = "abcdefghjkmnpqrstvwxyz0123456789"
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32
MIN_KEY_LENGTH: Final = 32
# 32 random hexadecimal digits have fewer than this once in 25 million times.
_MIN_DIFFERENT_CHARACTERS: Final = 8


class Purpose(Enum):
    """What a key is derived for. What is sealed for one purpose opens for no other, even under the same keys.

    Each has its label, which is public, and the setting that its keys come from.
    """

    REGISTRY = ("registry", "RELEVE_TOKEN_KEYS")
    REDIS = ("redis", "RELEVE_TOKEN_KEYS")
    BROKER = ("broker", "RELEVE_TOKEN_KEYS")
    BACKUP = ("backup", "RELEVE_BACKUP_KEYS")
    WEB_ACCESS = ("web access", "RELEVE_SESSION_KEY")
    WEB_FORMS = ("web forms", "RELEVE_SESSION_KEY")
    MAIL_TICKETS = ("mail tickets", "RELEVE_SESSION_KEY")

    def __init__(self, label: str, setting: str) -> None:
        self.label, self.setting = label, setting

    @property
    def opens_old_form(self) -> bool:
        """Whether versions before this one have sealed texts under these keys."""
        return self.setting != "RELEVE_SESSION_KEY"


def derive_key(key: bytes, purpose: Purpose, salt: bytes = b"") -> bytes:
    """Return 32 bytes derived from a key by HKDF-SHA256 (RFC 5869); they tell nothing of the key or of others."""
    return HKDF(SHA256(), 32, salt, f"releve/{purpose.label}".encode()).derive(key)


def check_keys(keys: Sequence[str]) -> None:
    """Raise ValueError where a key is missing or too short, or the first one can be guessed; it shows no key.

    An older one that can be guessed still opens what it has sealed, so that it can be replaced.
    """
    if not keys:
        raise ValueError("the key is missing: make one with `releve keys new`")
    for number, key in enumerate(keys, start=1):
        if len(key) < MIN_KEY_LENGTH:
            raise ValueError(f"key {number} has {len(key)} characters and needs at least {MIN_KEY_LENGTH}")
    if len(set(keys[0])) < _MIN_DIFFERENT_CHARACTERS:
        raise ValueError("the first key is not random: put a key from `releve keys new` before it")


def generate_key() -> str:
    """Return a new random key of 256 bits, as text of 44 characters."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class SecretTexts:
    """Secrets that are shown once and of which a store keeps the hash: ``<prefix>_<id>_<secret>``.

    The secret has 43 characters (256 random bits). It can't be guessed, so one round of SHA-256 is enough to make a
    stolen store useless. A slow hash protects passwords that people choose; here it would only let strangers use up
    the processor. The id finds the row.
    """

    prefix: str  # Scanners for leaked secrets recognise a text by it.

    def create(self, text_id: str | None = None) -> tuple[str, str, str]:
        """Return a new id, or the one that is given, the hash to store, and the text to show."""
        text_id = text_id or "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        return text_id, _hash(secret), f"{self.prefix}_{text_id}_{secret}"

    def read_id(self, text: str) -> str | None:
        """Return the id in a text, or None for one that is no such text."""
        match = re.fullmatch(self._pattern, text)
        return match[1] if match else None

    def hash_of(self, text: str) -> str | None:
        """Return the hash that is stored for a text, or None for one that is no such text."""
        match = re.fullmatch(self._pattern, text)
        return _hash(match[2]) if match else None

    def matches(self, text: str, stored_hash: str | None) -> bool:
        """Return whether the text has the secret of a stored hash, compared in constant time.

        The secret is hashed even if nothing is stored, so that the time doesn't tell whether the id exists.
        """
        match = re.fullmatch(self._pattern, text)
        return match is not None and hmac.compare_digest(stored_hash or "", _hash(match[2]))

    @property
    def _pattern(self) -> str:
        return rf"{self.prefix}_([a-z0-9]{{{_ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class KeyedHashes:
    """HMAC-SHA256 of texts under the operator's keys, the newest first; nobody can guess a text without a key.

    To change the key, put the new one first and keep the old ones: what was hashed under them is still recognised.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the keys, the newest first. Raises ValueError for one that is too short."""
        if not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
            raise ValueError(f"each key must have at least {MIN_KEY_LENGTH} characters")
        self._keys = [key.encode() for key in keys]

    def __repr__(self) -> str:
        return "KeyedHashes(…)"

    def hash(self, purpose: str, text: str) -> str:
        """Return the hash under the newest key, in hexadecimal; another purpose gives another one."""
        return self.all_hashes(purpose, text)[0]

    def all_hashes(self, purpose: str, text: str) -> list[str]:
        """Return the hash under each key, the newest first."""
        content = f"{purpose}:{text}".encode()
        return [hmac.new(key, content, hashlib.sha256).hexdigest() for key in self._keys]

    def matches(self, purpose: str, text: str, stored_hash: str) -> bool:
        """Return whether this is the text's hash under any key, compared in constant time."""
        return any(hmac.compare_digest(each, stored_hash) for each in self.all_hashes(purpose, text))


class Signer:
    """The CSRF tokens of forms, and the tickets of mails: HMAC-SHA256 under the session keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the session keys, the newest first. Raises ValueError for one that is too short."""
        check_keys(keys)
        self._form_keys = [derive_key(key.encode(), Purpose.WEB_FORMS) for key in keys]
        self._ticket_keys = [derive_key(key.encode(), Purpose.MAIL_TICKETS) for key in keys]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def csrf_token(self, sid: str) -> str:
        """Return the CSRF token for the forms of a session; it is valid for this session only."""
        return _digest(self._form_keys[0], sid)

    def is_valid_csrf_token(self, sid: str, token: str | None) -> bool:
        """Return whether a form has sent the CSRF token of its session."""
        # A stranger may send characters that can't be encoded; they must not raise an error.
        sent = (token or "").encode("utf-8", "replace")
        return any(hmac.compare_digest(_digest(key, sid).encode(), sent) for key in self._form_keys)

    def make_ticket(self, household_id: str) -> str:
        """Return the text by which a mail's reader switches the notices of this household off, and does no more."""
        return f"{household_id}.{_digest(self._ticket_keys[0], household_id)}"

    def read_ticket(self, ticket: str) -> str | None:
        """Return the household of a ticket; None for a text that we have not made."""
        household_id, _, sent = ticket.encode("ascii", "replace").decode().partition(".")
        is_ours = any(hmac.compare_digest(_digest(key, household_id), sent) for key in self._ticket_keys)
        return household_id if is_ours else None


def _digest(key: bytes, sid: str) -> str:
    return hmac.new(key, sid.encode(), hashlib.sha256).hexdigest()
