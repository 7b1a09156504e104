"""Encryption of stored texts, the keys for it, hashes of secrets, and signatures of forms and mail links.

``Purpose`` lists the uses of keys; a ``Sealer`` encrypts for one purpose. ``SecretTexts`` makes secrets of which a
store keeps only the hash. ``KeyedHashes`` recognises texts of which only a keyed hash is stored. ``Signer`` signs forms
and the tickets in the links of mails, and checks these signatures.

A sealed text is bound to the place where it is stored (AES-256-GCM with associated data). It can be decrypted only with
the same keys, for the same purpose and at the same place: if it was moved to another row, column, Redis key or message,
it is refused. Each text is sealed with a key of its own, derived by HKDF-SHA256 (RFC 5869) from one of the operator's
keys, the purpose and a random salt. So an operator's key can seal any number of texts. A sealed text is URL-safe base64
of:

    version   1 byte     0x02
    time      8 bytes    when it was sealed, in seconds, big-endian
    salt      16 bytes   random
    content   …          AES-256-GCM with its tag of 16 bytes; associated data: version, time, and the place

To change the key, put the new key first in the setting, run ``releve secrets rotate``, then remove the old key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final, Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.errors import OperatorFault

_ID_LETTERS: Final = "abcdefghjkmnpqrstvwxyz0123456789"
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32
MIN_KEY_LENGTH: Final = 32
# A key with fewer different characters is refused. Of random texts with 32 hexadecimal digits, one in 28 million has so
# few.
_MIN_DIFFERENT_CHARACTERS: Final = 8
_VERSION: Final = b"\x02"
_HEADER_BYTES: Final = 9
_SALT_BYTES: Final = 16
_NONCE: Final = bytes(12)  # The nonce may be constant, because each key encrypts only one text.
Sealed = TypeVar("Sealed", str, bytes)


class Purpose(Enum):
    """The use of a derived key. A text sealed for one purpose can't be unsealed for another, even with the same keys.

    ``label`` is public. ``setting``: the name of the setting that contains the keys of this purpose.
    """

    REGISTRY = ("registry", "RELEVE_TOKEN_KEYS")
    REDIS = ("redis", "RELEVE_TOKEN_KEYS")
    BROKER = ("broker", "RELEVE_TOKEN_KEYS")
    FINGERPRINT = ("fingerprint", "RELEVE_TOKEN_KEYS")
    BACKUP = ("backup", "RELEVE_BACKUP_KEYS")
    WEB_ACCESS = ("web access", "RELEVE_SESSION_KEY")
    WEB_FORMS = ("web forms", "RELEVE_SESSION_KEY")
    MAIL_TICKETS = ("mail tickets", "RELEVE_SESSION_KEY")

    def __init__(self, label: str, setting: str) -> None:
        self.label, self.setting = label, setting


def derive_key(key: bytes, purpose: Purpose, salt: bytes = b"") -> bytes:
    """Return 32 bytes derived from ``key`` by HKDF-SHA256 (RFC 5869), which reveal nothing about any other key."""
    return HKDF(SHA256(), 32, salt, f"releve/{purpose.label}".encode()).derive(key)


def check_keys(keys: Sequence[str]) -> None:
    """Raise ValueError if there is no key, if any key is too short, or if the first key isn't random.

    The error shows no key. An older key needn't be random, so that texts sealed with it can be opened until the key is
    replaced.
    """
    if not keys:
        raise ValueError("the key is missing: make one with `releve secrets add --key`")
    for number, key in enumerate(keys, start=1):
        if len(key) < MIN_KEY_LENGTH:
            raise ValueError(f"key {number} has {len(key)} characters and needs at least {MIN_KEY_LENGTH}")
    if len(set(keys[0])) < _MIN_DIFFERENT_CHARACTERS:
        raise ValueError("the first key is not random: put a key from `releve secrets add --key` before it")


def generate_key() -> str:
    """Return a new random key of 256 bits, as a text of 44 characters."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class Sealer:
    """Encryption of short texts for one purpose; its errors show neither a key nor a text.

    Callers pass the *place* where the text is stored: in the registry the result of ``database.place_of``, elsewhere
    the name of the Redis key, file or message.
    """

    def __init__(self, keys: Sequence[str], purpose: Purpose) -> None:
        """Take the keys, the newest first. Raises ValueError for a bad key, naming only its position in the list."""
        check_keys(keys)
        self._keys = [key.encode() for key in keys]
        self._purpose = purpose

    def __repr__(self) -> str:
        return "Sealer(…)"

    @property
    def key_count(self) -> int:
        """The number of keys. Only the first key seals new texts."""
        return len(self._keys)

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits by which processes compare their first keys; they reveal nothing about the key."""
        return derive_key(self._keys[0], Purpose.FINGERPRINT)[:4].hex()

    def seal(self, text: str, place: str) -> str:
        """Encrypt the text with the first key. Sealing the same text again gives a different result."""
        return _to_text(self.seal_bytes(text.encode(), place))

    def unseal(self, sealed: str, place: str) -> str:
        """Decrypt a text. Raises OperatorFault if no key fits, or if the text was changed or moved from its place."""
        return self._open(_to_bytes(sealed), place)[1].decode()

    def can_unseal(self, sealed: str, place: str) -> bool:
        """Return whether one of the keys fits and the text is unchanged and at its place."""
        return self._find_key(_to_bytes(sealed), place) is not None

    # ``seal`` and ``unseal`` for bytes, which would be a third longer as text in base64.

    def seal_bytes(self, content: bytes, place: str) -> bytes:
        return self._seal(content, place, int(datetime.now(UTC).timestamp()).to_bytes(8, "big"))

    def unseal_bytes(self, sealed: bytes, place: str) -> bytes:
        return self._open(sealed, place)[1]

    # Methods for changing the key.

    def rotate(self, sealed: Sealed, place: str) -> Sealed:
        """Seal the content again with the first key; place and time of sealing stay the same.

        Raises OperatorFault like ``unseal``.
        """
        before = sealed if isinstance(sealed, bytes) else _to_bytes(sealed)
        rotated = self._seal(self._open(before, place)[1], place, before[1:_HEADER_BYTES])
        return rotated if isinstance(sealed, bytes) else _to_text(rotated)

    def is_newest(self, sealed: str, place: str) -> bool:
        """Return whether the text is sealed with the first key, so that it needs no other key."""
        opened = self._find_key(_to_bytes(sealed), place)
        return opened is not None and opened[0] == 0

    def _seal(self, content: bytes, place: str, time: bytes) -> bytes:
        header, salt = _VERSION + time, secrets.token_bytes(_SALT_BYTES)
        return header + salt + self._cipher(self._keys[0], salt).encrypt(_NONCE, content, header + place.encode())

    def _open(self, sealed: bytes, place: str) -> tuple[int, bytes]:
        if (opened := self._find_key(sealed, place)) is None:
            raise OperatorFault(
                "a stored text can't be decrypted: its key is missing, or it was moved; put the old key back into "
                f"{self._purpose.setting}, after the new one, until `releve secrets rotate` has run"
            )
        return opened

    def _find_key(self, sealed: bytes, place: str) -> tuple[int, bytes] | None:
        """Return the position of the key that opens the bytes (0: the newest) and the content; None if no key does."""
        header, salt = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES : _HEADER_BYTES + _SALT_BYTES]
        content = sealed[_HEADER_BYTES + _SALT_BYTES :]
        if header[:1] == _VERSION and content:
            for number, key in enumerate(self._keys):
                with suppress(InvalidTag):
                    return number, self._cipher(key, salt).decrypt(_NONCE, content, header + place.encode())
        return None

    def _cipher(self, key: bytes, salt: bytes) -> AESGCM:
        return AESGCM(derive_key(key, self._purpose, salt))


def read_sealing_time(sealed: str) -> datetime:
    """Return when the text was first sealed; rotating the keys keeps this moment. No key is needed."""
    return datetime.fromtimestamp(int.from_bytes(_to_bytes(sealed)[1:_HEADER_BYTES], "big"), UTC)


def _to_text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode()


def _to_bytes(sealed: str) -> bytes:
    """Return the bytes of a sealed text; empty if ``_to_text`` can't have produced this text."""
    try:
        content = base64.urlsafe_b64decode(sealed)
    except ValueError:
        return b""
    return content if _to_text(content) == sealed else b""


@dataclass(frozen=True, slots=True)
class SecretTexts:
    """Secrets that are shown once and of which a store keeps only the hash: ``<prefix>_<id>_<secret>``.

    The secret has 43 characters (256 random bits). It can't be guessed, so one round of SHA-256 is enough to make a
    stolen store useless. A slow hash protects passwords that people choose; here it would only let strangers use up the
    processor. The store finds the row by the id.
    """

    prefix: str  # By this prefix, scanners for leaked secrets recognise the text.

    def create(self, text_id: str | None = None) -> tuple[str, str, str]:
        """Return the id (a new one if ``text_id`` is None), the hash to store, and the text to show."""
        text_id = text_id or "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        return text_id, _hash(secret), f"{self.prefix}_{text_id}_{secret}"

    def read_id(self, text: str) -> str | None:
        """Return the id in a text of this form; None for any other text."""
        match = re.fullmatch(self._pattern, text)
        return match[1] if match else None

    def hash_of(self, text: str) -> str | None:
        """Return the hash of the secret in a text of this form; None for any other text."""
        match = re.fullmatch(self._pattern, text)
        return _hash(match[2]) if match else None

    def matches(self, text: str, stored_hash: str | None) -> bool:
        """Return whether the stored hash is that of the text's secret; the comparison takes constant time.

        The secret is hashed even if nothing is stored, so that the time doesn't reveal whether the id exists.
        """
        match = re.fullmatch(self._pattern, text)
        return match is not None and hmac.compare_digest(stored_hash or "", _hash(match[2]))

    @property
    def _pattern(self) -> str:
        return rf"{self.prefix}_([a-z0-9]{{{_ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class KeyedHashes:
    """HMAC-SHA256 of texts under the operator's keys. Without a key, nobody can find the text of a hash by guessing.

    To change the key, put the new key first and keep the old keys, so that older hashes are still recognised.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the keys, the newest first. Raises ValueError if there is no key, or a key is too short."""
        if not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
            raise ValueError(f"each key must have at least {MIN_KEY_LENGTH} characters")
        self._keys = [key.encode() for key in keys]

    def __repr__(self) -> str:
        return "KeyedHashes(…)"

    def hash(self, purpose: str, text: str) -> str:
        """Return the hash under the newest key, in hexadecimal. The same text has another hash for another purpose."""
        return self.all_hashes(purpose, text)[0]

    def all_hashes(self, purpose: str, text: str) -> list[str]:
        """Return the hash under each key, the newest first."""
        content = f"{purpose}:{text}".encode()
        return [hmac.new(key, content, hashlib.sha256).hexdigest() for key in self._keys]

    def matches(self, purpose: str, text: str, stored_hash: str) -> bool:
        """Return whether ``stored_hash`` is the text's hash under any key; the comparison takes constant time."""
        return any(hmac.compare_digest(each, stored_hash) for each in self.all_hashes(purpose, text))


class RegistryKeys(Protocol):
    """The keys that a registry needs; ``worker.runtime.keys.Keys`` reads each key when it is first used."""

    @property
    def registry(self) -> Sealer: ...

    @property
    def hashes(self) -> KeyedHashes: ...


class Signer:
    """Signatures for the CSRF tokens of forms and the tickets in mails: HMAC-SHA256 under the session keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the session keys, the newest first. Raises ValueError like ``check_keys``."""
        check_keys(keys)
        self._form_keys = [derive_key(key.encode(), Purpose.WEB_FORMS) for key in keys]
        self._ticket_keys = [derive_key(key.encode(), Purpose.MAIL_TICKETS) for key in keys]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def csrf_token(self, sid: str) -> str:
        """Return the CSRF token for the forms of a session; it is valid for this session only."""
        return _digest(self._form_keys[0], sid)

    def is_valid_csrf_token(self, sid: str, token: str | None) -> bool:
        """Return whether the token that a form sent is the CSRF token of its session."""
        # A stranger may send characters that can't be encoded; they must not raise an error.
        sent = (token or "").encode("utf-8", "replace")
        return any(hmac.compare_digest(_digest(key, sid).encode(), sent) for key in self._form_keys)

    def make_ticket(self, household_id: str, mails: str = "") -> str:
        """Return the ticket for a link in a mail; it only allows switching off this household's mails of one kind.

        ``mails``: the kind; empty for notices, so that the links in mails of 0.2.0 stay valid.
        """
        return f"{household_id}.{_digest(self._ticket_keys[0], mails + household_id)}"

    def read_ticket(self, ticket: str, mails: str = "") -> str | None:
        """Return the household of a ticket; None for a text that we have not made ourselves for this kind of mails."""
        household_id, _, sent = ticket.encode("ascii", "replace").decode().partition(".")
        text = mails + household_id
        is_ours = any(hmac.compare_digest(_digest(key, text), sent) for key in self._ticket_keys)
        return household_id if is_ours else None


def _digest(key: bytes, sid: str) -> str:
    return hmac.new(key, sid.encode(), hashlib.sha256).hexdigest()
