"""File format of a backup: a ZIP archive of JSON lines with a manifest.

Any ZIP tool can read it: ``unzip -p FILE measures/com.grandlyon.enedis.day.ndjson | head``.  Its members:

- ``registry/accounts.ndjson`` and one such file for each other table: one row a line, ``{"id":"k3q7d0fr2mxx",…}``.
- ``measures/com.grandlyon.enedis.day.ndjson`` and one such file for each other doctype: one document a line,
  ``{"_id":"k3q7d0fr2mxx:2024-07-24","load":12.3,…}``.
- ``manifest.json``, written last::

    {"format": 1, "made_at": "2024-07-25T09:00:00+00:00", "schema": "0001", "removed_meanwhile": [],
     "members": {"registry/accounts.ndjson": {"lines": 4, "sha256": "9f86d081…"}}}

The archive is written under a temporary name and renamed when it is complete, so a file with the final name is a
finished backup.  Only its owner may read it, because it contains meter numbers, as the registry does.
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
from pathlib import Path
from typing import IO, Any, Final, Self

from worker.errors import DataError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
Row = Mapping[str, Any]

# Errors that zipfile and zlib raise for a file with a wrong byte in it.  RuntimeError is raised for a flag that
# marks a member as encrypted, NotImplementedError (a RuntimeError too) for unknown compression methods and versions,
# and OSError for offsets before the beginning of the file.
_DAMAGE_ERRORS: Final = (
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
    """Error for a backup that can't be written, read or restored; nothing was changed."""


class ArchiveWriter:
    """Writer of an archive; memory use does not depend on the size of the members."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.members: dict[str, Any] = {}

    def add(self, name: str, rows: Iterable[Row]) -> int:
        """Write ``rows`` as a member of JSON lines; return their number."""
        with self._file.open(name, "w", force_zip64=True) as stream:
            self.members[name] = checksum_of(_copied(map(to_line, rows), stream))
        return int(self.members[name]["lines"])

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest; it comes last, because a file without it is not a backup."""
        manifest = {"format": FORMAT, **facts, "members": self.members}
        self._file.writestr(MANIFEST, json.dumps(manifest, indent=1))


@contextmanager
def write_archive(path: Path) -> Iterator[ArchiveWriter]:
    """Open a new archive; ``path`` exists only after the block has ended without an error.

    Raises BackupRefused.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists():
            raise BackupRefused(f"{path} exists already: give another name, or a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w+b") as raw:
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
                yield ArchiveWriter(file)
            # The content must be on disk before the rename, or a power cut could leave an empty file with this name.
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    except OSError as error:
        raise BackupRefused(f"{path} can't be written: {error.strerror or type(error).__name__}") from error
    finally:
        draft.unlink(missing_ok=True)


class Archive:
    """Reader of a finished archive.  Call ``check`` first: only then is its content known to be undamaged."""

    def __init__(self, path: Path, file: zipfile.ZipFile, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._file = file

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open the archive at ``path``.

        Raises BackupRefused for a file that is not an archive of Relève, or has a later format.
        """
        try:
            raw = path.open("rb")
        except OSError as error:
            raise BackupRefused(f"{path} can't be read: {error.strerror or type(error).__name__}") from error
        with raw:
            try:
                file = zipfile.ZipFile(raw)
            except _DAMAGE_ERRORS:
                raise BackupRefused(f"{path} is damaged, or no backup: take another one") from None
            with file:
                yield cls(path, file, _manifest(path, file))

    def check(self) -> None:
        """Read the whole archive and compare it with its manifest.  Raises BackupRefused."""
        for name, expected in self.manifest["members"].items():
            if checksum_of(self._lines(name)) != expected:
                raise self._damaged(name)

    def rows(self, name: str) -> Iterator[Row]:
        """Yield the rows of a member; none where the archive has no such member."""
        for line in self._lines(name):
            yield json.loads(line)

    def _lines(self, name: str) -> Iterator[bytes]:
        if name not in self.manifest["members"]:
            return
        try:
            with self._file.open(name) as stream:
                yield from stream
        except _DAMAGE_ERRORS:
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> BackupRefused:
        return BackupRefused(f"{self.path} is damaged in {name}: take another backup; nothing was changed")


def to_line(row: Row) -> bytes:
    """Encode a row as one line of JSON; equal rows give equal bytes, whichever store they come from."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def checksum_of(lines: Iterable[bytes]) -> dict[str, Any]:
    """Return the manifest entry of a member with these lines."""
    count, content = 0, hashlib.sha256()
    for line in lines:
        count += 1
        content.update(line)
    return {"lines": count, "sha256": content.hexdigest()}


def _copied(lines: Iterable[bytes], stream: IO[bytes]) -> Iterator[bytes]:
    for line in lines:
        stream.write(line)
        yield line


def _manifest(path: Path, file: zipfile.ZipFile) -> Mapping[str, Any]:
    try:
        manifest = json.loads(file.read(MANIFEST))
        version = manifest["format"]
        is_complete = isinstance(manifest["members"], dict)
    except _DAMAGE_ERRORS:
        is_complete = False
    if not is_complete:
        raise BackupRefused(f"{path} is no backup of Relève, or its manifest is damaged: take another one")
    if version != FORMAT:
        raise BackupRefused(f"{path} is a backup of format {version}, this program reads {FORMAT}: update Relève first")
    return dict(manifest)
