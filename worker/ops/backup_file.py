"""The file of a backup: a ZIP of JSON lines, and a manifest that says what must be in it.

Any ZIP tool reads it: ``unzip -p FILE measures/day.ndjson | head``.  It is written under another name and renamed
when it is whole, so that a file by its name is a finished backup.  Its reader's and its owner's eyes alone: the
numbers of meters stand in it as they do in the registry.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from worker.errors import DataError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
Row = Mapping[str, Any]

# What zipfile and zlib raise on a file with a wrong byte in it: RuntimeError for a flag that says it is encrypted,
# NotImplementedError (one of them) for methods and versions of nobody, OSError for places before its beginning.
_DAMAGE: Final = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class BackupRefused(DataError):
    """A backup that can't be written, read or restored; nothing was changed."""


@dataclass
class Member:
    """One file inside: how many lines, and the SHA-256 of its text."""

    lines: int = 0
    _sum: Any = field(default_factory=hashlib.sha256, repr=False)

    def take(self, line: bytes) -> None:
        self.lines += 1
        self._sum.update(line)

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> Self:
        member = cls()
        for line in lines:
            member.take(line)
        return member

    def as_json(self) -> dict[str, Any]:
        return {"lines": self.lines, "sha256": self._sum.hexdigest()}


class ArchiveWriter:
    """Adds members one after another, whatever their length, in flat memory."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.members: dict[str, Any] = {}

    def add(self, name: str, rows: Iterable[Row]) -> int:
        """A member of JSON lines; how many."""
        member = Member()
        with self._file.open(name, "w", force_zip64=True) as stream:
            for line in map(to_line, rows):
                member.take(line)
                stream.write(line)
        self.members[name] = member.as_json()
        return member.lines

    def finish(self, facts: Mapping[str, Any]) -> None:
        """The manifest goes last: without it the file is no backup."""
        manifest = {"format": FORMAT, **facts, "members": self.members}
        self._file.writestr(MANIFEST, json.dumps(manifest, indent=1))


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """A new archive; there is nothing at ``path`` unless the block ends well.  Raises BackupRefused."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists():
            raise BackupRefused(f"{path} exists already: give another name, or a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w+b") as raw:
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
                yield ArchiveWriter(file)
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    except OSError as error:
        raise BackupRefused(f"{path} can't be written: {error.strerror or type(error).__name__}") from error
    finally:
        draft.unlink(missing_ok=True)


class Archive:
    """A finished archive.  ``check`` first: until then nothing of it is known to be whole."""

    def __init__(self, path: Path, file: zipfile.ZipFile, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._file = file

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator[Self]:
        """Raises BackupRefused for what is no archive of ours, or one of a later format."""
        try:
            raw = path.open("rb")
        except OSError as error:
            raise BackupRefused(f"{path} can't be read: {error.strerror or type(error).__name__}") from error
        with raw:
            try:
                file = zipfile.ZipFile(raw)
            except _DAMAGE:
                raise BackupRefused(f"{path} is damaged, or no backup: take another one") from None
            with file:
                yield cls(path, file, _manifest(path, file))

    def check(self) -> None:
        """Read all of it and compare with the manifest.  Raises BackupRefused."""
        for name, told in self.manifest["members"].items():
            if Member.of(self._lines(name)).as_json() != told:
                raise self._damaged(name)

    def rows(self, name: str) -> Iterator[Row]:
        """The lines of a member, none where the archive has no such member."""
        for line in self._lines(name):
            yield json.loads(line)

    def _lines(self, name: str) -> Iterator[bytes]:
        if name not in self.manifest["members"]:
            return
        try:
            with self._file.open(name) as stream:
                yield from stream
        except _DAMAGE:
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> BackupRefused:
        return BackupRefused(f"{self.path} is damaged in {name}: take another backup; nothing was changed")


def to_line(row: Row) -> bytes:
    """The same row gives the same bytes, whichever store it comes from."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def sum_of(rows: Iterable[Row]) -> dict[str, Any]:
    """What a manifest would say of these rows."""
    return Member.of(map(to_line, rows)).as_json()


def _manifest(path: Path, file: zipfile.ZipFile) -> Mapping[str, Any]:
    try:
        manifest = json.loads(file.read(MANIFEST))
        version = manifest["format"]
        whole = isinstance(manifest["members"], dict)
    except _DAMAGE:
        whole = False
    if not whole:
        raise BackupRefused(f"{path} is no backup of Relève, or its manifest is damaged: take another one")
    if version != FORMAT:
        raise BackupRefused(f"{path} is a backup of format {version}, this program reads {FORMAT}: update Relève first")
    return dict(manifest)
