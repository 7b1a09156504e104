"""The ledger: an append-only file of erasures and ended consents, which a restore of a backup applies once more.

A backup doesn't contain later erasures, and the registry may be lost. So a process writes each erasure, stopped consent
and closed account to the ledger first, and only then to the registry. If the registry's transaction then fails, the
entry does no harm, because the caller tries again.

The first line has the id of the ledger; each other line is an entry. All lines are signed with the erasure keys::

    {"ledger":"k3q7d0fr2mxx","signature":"…"}
    {"account":"h4t8q2mxk0ra","at":"2024-07-25T07:00:00+00:00","before":"…","kind":"erased","meter":"9f86…",…}

``meter`` is a keyed hash; the file contains no meter, no person and no measure. ``before`` is the signature of the
previous line: the lines form a chain, so a missing line is noticed. Release 0.2.0 writes lines without ``before``, and
ignores ``before`` when reading. So its lines form no chain: a missing one is noticed only if the next line has
``before``, or if a ``LedgerPosition`` was recorded later (in ``registry.known_ledger`` and in each backup).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

from worker.errors import DataError, StoreUnavailable
from worker.stores.encryption import KeyedHashes

_PURPOSE: Final = "ledger"
_SIGNATURE: Final = re.compile(rb'"signature":"([0-9a-f]{64})"')


class LedgerKind(StrEnum):
    """An event in the life of an account that restoring a backup must not undo."""

    ERASED = "erased"
    STOPPED = "stopped"  # The household has withdrawn its consent.
    CLOSED = "closed"  # Another person now holds the meter.


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry of the ledger.

    Only an erasure has ``meter``, ``forget_on`` and ``tenant`` (see ``registry.erased_meters``).
    """

    kind: LedgerKind
    account_id: str
    at: datetime
    meter: str | None = None
    forget_on: date | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """The id of a ledger, its number of entries, and the signature of its last line.

    Each backup contains the position that the ledger had when the backup was made.
    """

    id: str
    entries: int
    signature: str

    def is_in(self, signatures: Sequence[str]) -> bool:
        """Return whether a ledger with these signatures (including the first line's) was once at this position."""
        return signatures[self.entries : self.entries + 1] == [self.signature]


class LedgerRefused(DataError):
    """The ledger is missing or damaged, or is a different one than expected; the text says what to do."""


class LedgerFile:
    """The ledger at one path. Several processes may append to it at once."""

    def __init__(self, path: Path, hashes: KeyedHashes) -> None:
        self.path = path
        self._hashes = hashes

    def append(self, entry: LedgerEntry) -> list[str]:
        """Append an entry, and create the file if it is missing. Return the signatures of all lines of the file.

        When this function returns, the entry is on disk. Raises StoreUnavailable if the file can't be written.
        """
        with self._open_for_append() as file:
            file.seek(0)
            before = [signature.decode() for signature in _SIGNATURE.findall(file.read())]
            return [*before, self._write(file, {**_to_fields(entry), "before": "".join(before[-1:])})]

    def position(self, known: LedgerPosition | None = None) -> LedgerPosition:
        """Return the ledger's position. If ``known`` is None and the file is missing, create the file.

        Raises StoreUnavailable if the file can't be written, and LedgerRefused if it can't be read or was never at the
        position ``known``.
        """
        if known is None or self.path.exists():
            with self._open_for_append():
                pass
        ledger_id, signatures, _ = self._read(known)
        return LedgerPosition(ledger_id, len(signatures) - 1, signatures[-1])

    def read_since(self, position: LedgerPosition) -> list[LedgerEntry]:
        """Return all entries of the ledger, also those before the position. The same event may occur twice.

        Raises LedgerRefused if the ledger was never at this position, or has lost entries before or after it.
        """
        return self._read(position)[2]

    def read_all(self) -> list[LedgerEntry]:
        """Return the entries of the ledger at the path, whichever ledger it is; none if there is no file.

        Raises LedgerRefused if the file isn't a valid ledger.
        """
        return self._read()[2] if self.path.exists() else []

    def _read(self, known: LedgerPosition | None = None) -> tuple[str, list[str], list[LedgerEntry]]:
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                content = file.read()
            # An incomplete last line was cut off by a crash or a copy; no caller was told that its entry is kept.
            lines = content[: content.rfind(b"\n") + 1].decode().split("\n")[:-1]
        except FileNotFoundError:
            raise LedgerRefused(
                f"there is no ledger of erasures at {self.path}: put its newest copy back, or set RELEVE_LEDGER_FILE"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise LedgerRefused(f"{self.path} can't be read ({type(error).__name__})") from None
        checked = [self._checked(line, number) for number, line in enumerate(lines, start=1)]
        rows, signatures = [row for row, _ in checked], [signature for _, signature in checked]
        if not rows or not isinstance(rows[0].get("ledger"), str):
            raise LedgerRefused(f"{self.path} is not a ledger of erasures: put its newest copy back")
        if known is not None:
            if rows[0]["ledger"] != known.id:
                raise LedgerRefused(f"{self.path} is another ledger: set RELEVE_LEDGER_FILE to the right one")
            self._check_since(known, signatures, [row.get("before") for row in rows])
        return rows[0]["ledger"], signatures, [self._to_entry(row, number) for number, row in enumerate(rows[1:], 2)]

    def _check_since(self, known: LedgerPosition, signatures: list[str], links: list[str | None]) -> None:
        """Raise LedgerRefused if the ledger was never at the position ``known``, or if a later line is missing."""
        # Lines of release 0.2.0 form no chain: if a copy of one of them replaces a removed line, only the check for
        # duplicates notices it.
        if not known.is_in(signatures) or len(set(signatures)) < len(signatures):
            raise LedgerRefused(f"{self.path} has lost entries: put its newest copy back")
        linked = any(links[: known.entries + 1])
        for index, link in enumerate(links[known.entries + 1 :], known.entries + 1):
            if link != signatures[index - 1] and (linked or link is not None):
                lost = "has lost the one before it: put the newest copy back"
                older = "was written by version 0.2.0 after newer ones: stop its processes"
                raise LedgerRefused(f"line {index + 1} of {self.path} {older if link is None else lost}")
            linked = link is not None

    def _checked(self, line: str, number: int) -> tuple[dict[str, Any], str]:
        try:
            row = dict(json.loads(line))
            signature = str(row.pop("signature"))
        except (ValueError, TypeError, KeyError):
            raise LedgerRefused(f"{self.path} is damaged at line {number}") from None
        if not self._hashes.matches(_PURPOSE, _to_text(row), signature):
            raise LedgerRefused(f"line {number} of {self.path} was changed, or RELEVE_ERASURE_KEYS lacks its key")
        return row, signature

    def _to_entry(self, row: dict[str, Any], number: int) -> LedgerEntry:
        try:
            forget_on = row.get("forget_on")
            return LedgerEntry(
                LedgerKind(row["kind"]),
                row["account"],
                datetime.fromisoformat(row["at"]),
                row.get("meter"),
                None if forget_on is None else date.fromisoformat(forget_on),
                row.get("tenant"),
            )
        except (ValueError, TypeError, KeyError):
            raise LedgerRefused(
                f"{self.path} comes from a newer version (line {number}): update Relève first"
            ) from None

    @contextmanager
    def _open_for_append(self) -> Iterator[IO[bytes]]:
        """Open the file for one writer at a time.

        If the file is empty, its first line is written. A last line that a crash cut off is removed.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                size = file.seek(0, os.SEEK_END)
                if size:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        _cut_last_line(file)
                if not file.seek(0, os.SEEK_END):
                    self._write(file, {"ledger": secrets.token_hex(8)})
                yield file
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StoreUnavailable(
                f"the ledger of erasures can't be written ({reason}): check RELEVE_LEDGER_FILE"
            ) from error

    def _write(self, file: IO[bytes], row: dict[str, Any]) -> str:
        signature = self._hashes.hash(_PURPOSE, _to_text(row))
        signed = {**row, "signature": signature}
        line, size = f"{_to_text(signed)}\n".encode(), file.seek(0, os.SEEK_END)
        if file.write(line) != len(line):  # On a nearly full disk only a part of the line is written.
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
        if not size:
            _sync_folder(self.path.parent)
        return signature


def _sync_folder(folder: Path) -> None:
    """Write a folder's entries to disk; without this, a new file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_last_line(file: IO[bytes]) -> None:
    """Remove an incomplete last line: its writer died before reporting that the entry is kept."""
    file.seek(0)
    content = file.read()
    file.truncate(content.rfind(b"\n") + 1)


def _to_fields(entry: LedgerEntry) -> dict[str, Any]:
    fields = {
        "kind": entry.kind.value,
        "account": entry.account_id,
        "at": entry.at.isoformat(),
        "meter": entry.meter,
        "forget_on": entry.forget_on.isoformat() if entry.forget_on else None,
        "tenant": entry.tenant,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _to_text(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, separators=(",", ":"))
