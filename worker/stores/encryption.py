"""Encryption of stored secrets (Fernet), and signed texts (JWT).

``Sealer`` encrypts tokens and meter numbers under the operator's first key and decrypts them under any of the keys. To
change the key, put the new one first in RELEVE_TOKEN_KEYS, run ``registry.seals.rotate_seals``, then remove the
old key. ``KeyedHashes`` recognises a text that is not stored. ``Signer`` signs browser sessions and consent states.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from worker.errors import OperatorFault

_ALGORITHM: Final = "HS256"
_ID_LETTERS: Final = "abcdefghjkmnpqrstvwxyz0123456789"
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32
MIN_KEY_LENGTH: Final = 32


class Sealer:
    """Encryption of short texts with Fernet (AES-128-CBC and HMAC-SHA256); errors show neither key nor text."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the keys, the newest first. Raises ValueError, which names a bad key only by its place."""
        if not keys:
            raise ValueError("no token key is given: RELEVE_TOKEN_KEYS needs at least one")
        fernets = [_to_fernet(key, place) for place, key in enumerate(keys, start=1)]
        self._newest = fernets[0]
        self._fernet = MultiFernet(fernets)
        self.key_count = len(fernets)

    def seal(self, text: str) -> str:
        """Encrypt the text under the first key. The same text gives another result each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """Decrypt a sealed text. Raises OperatorFault if no key fits or the sealed text was changed."""
        with _seal_errors():
            return self._fernet.decrypt(sealed.encode()).decode()

    def can_unseal(self, sealed: str) -> bool:
        """Return whether a key fits and the text is unchanged."""
        try:
            self._fernet.decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True

    # The same for bytes. Text in base64 would be longer by a third.

    def seal_bytes(self, content: bytes) -> bytes:
        """Encrypt bytes under the first key."""
        return base64.urlsafe_b64decode(self._fernet.encrypt(content))

    def unseal_bytes(self, sealed: bytes) -> bytes:
        """Decrypt sealed bytes. Raises OperatorFault, as ``unseal`` does."""
        with _seal_errors():
            return self._fernet.decrypt(base64.urlsafe_b64encode(sealed))

    def rotate(self, sealed: str | bytes) -> str | bytes:
        """Seal the same text, or the same bytes, under the first key. Raises OperatorFault, as ``unseal`` does."""
        with _seal_errors():
            if isinstance(sealed, bytes):
                return base64.urlsafe_b64decode(self._fernet.rotate(base64.urlsafe_b64encode(sealed)))
            return self._fernet.rotate(sealed.encode()).decode()

    def is_newest(self, sealed: str) -> bool:
        """Return whether the text is sealed under the first key, so that it needs no other key."""
        try:
            self._newest.decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True

    def __repr__(self) -> str:
        return "Sealer(…)"


@contextmanager
def _seal_errors() -> Iterator[None]:
    try:
        yield
    except InvalidToken as error:
        raise OperatorFault(
            "a stored token was sealed under a key that is no longer given: put the old key back into "
            "RELEVE_TOKEN_KEYS, after the new one, until tokens are rotated"
        ) from error


def read_sealing_time(sealed: str) -> datetime:
    """Return when the text was first sealed; a rotation keeps this moment. Needs no key.

    A Fernet token begins with a version byte and the time in seconds as a 64-bit big-endian number.
    Source: https://github.com/fernet/spec/blob/master/Spec.md
    """
    return datetime.fromtimestamp(int.from_bytes(base64.urlsafe_b64decode(sealed)[1:9], "big"), UTC)


def generate_key() -> str:
    """Return a new random key for RELEVE_TOKEN_KEYS."""
    return Fernet.generate_key().decode()


def _to_fernet(key: str, place: int) -> Fernet:
    try:
        return Fernet(key.strip())
    except ValueError:
        # The library's error would show the key, so it is cut off with "from None".
        raise ValueError(
            f"token key {place} is not a Fernet key: 32 random bytes in URL-safe base64, 44 characters"
        ) from None


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
    """Signed short texts (JWT with HS256): the name of a browser in a consent, and CSRF tokens."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the session keys, the newest first. Raises ValueError for one that is too short."""
        if not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
            raise ValueError(f"the session key must have at least {MIN_KEY_LENGTH} characters")
        self._keys = list(keys)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def sign(self, kind: str, claims: dict[str, Any], lifetime: timedelta) -> str:
        """Sign the claims as a text of this kind that expires after ``lifetime``."""
        now = datetime.now(UTC)
        return jwt.encode({**claims, "aud": kind, "iat": now, "exp": now + lifetime}, self._keys[0], _ALGORITHM)

    def read(self, kind: str, token: str | None) -> dict[str, Any] | None:
        """Return the claims of a signed text, or None if it is forged, expired or of another kind."""
        if not token:
            return None
        for key in self._keys:
            try:
                claims: dict[str, Any] = jwt.decode(token, key, [_ALGORITHM], audience=kind)
            except jwt.InvalidTokenError:
                continue
            return claims
        return None

    def digest(self, purpose: str, text: str) -> str:
        """Return a hash of the text that nobody can make without the key; another purpose gives another one."""
        return _digest(self._keys[0], purpose, text)

    def csrf_token(self, sid: str) -> str:
        """Return the CSRF token for the forms of a session; it is valid for this session only."""
        return self.digest("csrf", sid)

    def is_valid_csrf_token(self, sid: str, token: str | None) -> bool:
        """Return whether a form has sent the CSRF token of its session."""
        # A stranger may send characters that can't be encoded; they must not raise an error.
        sent = (token or "").encode("utf-8", "replace")
        return any(hmac.compare_digest(_digest(key, "csrf", sid).encode(), sent) for key in self._keys)


def _digest(key: str, purpose: str, text: str) -> str:
    return hmac.new(key.encode(), f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()
