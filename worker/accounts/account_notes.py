"""What operators note on an account: one text, sealed, which the household finds among its downloaded data.

A note ends with the account. It never reaches logs, the audit trail, the API, exports or outputs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import Final

from worker.stores.registry import Registry, account_rows
from worker.stores.registry.account_details import NOTE

LONGEST_NOTE: Final = 2000


class NoteChanged(Exception):
    """The error for a note that somebody else has changed in the meantime."""


@dataclass(frozen=True, slots=True)
class Note:
    """The note on an account, empty if there is none. ``day``: when it was written."""

    text: str = ""
    day: date | None = None

    @property
    def digest(self) -> str:
        """A short text by which a form recognises the note that it shows."""
        return hashlib.sha256(f"{self.day} {self.text}".encode()).hexdigest()[:16]


def load_note(registry: Registry, account_id: str) -> Note:
    """Return the account's note; an empty one if it can't be decrypted."""
    told = dict(registry.account_details.iterate(NOTE, among=[account_id])).get(account_id)
    return Note(told["text"], date.fromisoformat(told["day"])) if told else Note()


def save_note(registry: Registry, account_id: str, text: str, today: date, seen: str) -> None:
    """Replace the account's note; an empty text removes it. ``seen``: the digest of the note that the writer has seen.

    Raises ValueError for a text that is too long, NoteChanged, UnknownAccount and AccountClosed.
    """
    text = "\n".join(text.strip().splitlines())
    if len(text) > LONGEST_NOTE:
        raise ValueError(f"a note has at most {LONGEST_NOTE} characters")
    with registry.database.writing() as connection:
        locked = registry.join(connection)
        account_rows.lock(connection, account_id)
        if load_note(locked, account_id).digest != seen:
            raise NoteChanged
        if text:
            locked.account_details.save(account_id, NOTE, {"text": text, "day": today.isoformat()})
        else:
            locked.account_details.remove(account_id, NOTE)
