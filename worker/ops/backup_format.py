"""File format of a backup: a ZIP archive whose content is sealed and signed under the backup keys.

Its members:

- ``releve.json``, in the clear: ``{"format": 3, "made_at": "2024-07-25T09:00:00+00:00", …}``. It lets an error
  message say what a file is; its content is never trusted.
- a member for each table, like ``registry/accounts``, and for each doctype, like ``measures/com.grandlyon.enedis.day``:
  lines of JSON, one row or document each, in sealed blocks.
- ``manifest``, written last, sealed as one block of JSON::

    {"format": 3, "made_at": "2024-07-25T09:00:00+00:00", "schema": "0004", "removed_meanwhile": [], "home": false,
     "ledger": {"id": "1f0c…", "entries": 12}, "ledger_signature": "60b7…",
     "members": {"registry/accounts": {"lines": 4, "sha256": "9f86d081…"}}}

  Backups of version 0.2 lack ``home`` and ``ledger_signature``.

The member of a table or doctype is a sequence of sealed blocks, each of some 256 kB of lines before compression (zlib).
Before each block stands its length in four bytes (big-endian)::

    length | sealed bytes (``stores.encryption``) of the compressed lines

A block can neither be read nor made without a backup key, and is bound to its member and its position there. Sizes are
checked before anything is unpacked or kept, so memory use stays small.

Nobody can write a manifest without a backup key, and the manifest has the checksum of each member's lines. So rows that
were changed, added, left out, reordered or taken from another backup are all detected.

The archive is written under a temporary name and renamed when it is complete, so a file with the final name is a
finished backup. Only its owner may read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Self

from worker.errors import DataError, OperatorFault
from worker.stores.encryption import Sealer

MAX_LINE: Final = 1_000_000  # In bytes, including the end of the line.
_BLOCK_SIZE: Final = 256_000
MAX_UNPACKED: Final = _BLOCK_SIZE + MAX_LINE
# zlib and the sealing add some bytes, so text that can't be compressed grows a little.
_MAX_SEALED: Final = MAX_UNPACKED + 10_000
_LENGTH: Final = struct.Struct(">I")
FORMAT: Final = 3
HEADER: Final = "releve.json"
MANIFEST: Final = "manifest"
_ABOUT: Final = "an encrypted backup of Relève: `releve backup --show FILE` shows what is in it"
_MAX_HEADER: Final = 10_000
_MAX_SEALED_MANIFEST: Final = MAX_UNPACKED + 10_000
Row = Mapping[str, Any]


class BadBlock(Exception):
    """A block can't be used: it was changed or cut, is too large, or was sealed under a key that the sealer lacks."""


class Checksum:
    """Counts lines, and computes the SHA-256 of their bytes."""

    def __init__(self) -> None:
        self._lines, self._content = 0, hashlib.sha256()

    def add(self, line: bytes) -> None:
        self._lines += 1
        self._content.update(line)

    def to_entry(self) -> dict[str, Any]:
        """Return the manifest's entry for a member that consists of the counted lines."""
        return {"lines": self._lines, "sha256": self._content.hexdigest()}


def write_blocks(lines: Iterable[bytes], stream: IO[bytes], sealer: Sealer, member: str) -> dict[str, Any]:
    """Write the lines of a member as blocks, and return the manifest's entry for them.

    Raises ValueError for a line above ``MAX_LINE``, which no restore would accept.
    """
    checksum, block, size, number = Checksum(), list[bytes](), 0, 0
    for line in lines:
        if len(line) > MAX_LINE:
            raise ValueError(f"a row has {len(line)} bytes, and a backup allows {MAX_LINE}")
        checksum.add(line)
        block.append(line)
        size += len(line)
        if size >= _BLOCK_SIZE:
            _write_block(block, stream, sealer, _place_of(member, number))
            block, size, number = [], 0, number + 1
    if block:
        _write_block(block, stream, sealer, _place_of(member, number))
    return checksum.to_entry()


def read_blocks(stream: IO[bytes], sealer: Sealer, member: str) -> Iterator[bytes]:
    """Yield the lines of all blocks of a member. Raises BadBlock."""
    number = 0
    while prefix := stream.read(_LENGTH.size):
        if len(prefix) < _LENGTH.size:
            raise BadBlock
        (length,) = _LENGTH.unpack(prefix)
        if length > _MAX_SEALED or len(sealed := stream.read(length)) < length:
            raise BadBlock
        for line in unpack(sealed, sealer, _place_of(member, number)).splitlines(keepends=True):
            if len(line) > MAX_LINE:
                raise BadBlock
            yield line
        number += 1


def pack(text: bytes, sealer: Sealer, place: str) -> bytes:
    """Compress the text and seal it, bound to its place in the archive."""
    return sealer.seal_bytes(zlib.compress(text), place)


def unpack(sealed: bytes, sealer: Sealer, place: str) -> bytes:
    """Return the text of a sealed block. Raises BadBlock, also if the text is longer than ``MAX_UNPACKED``."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(sealer.unseal_bytes(sealed, place), MAX_UNPACKED)
    except (OperatorFault, zlib.error):
        raise BadBlock from None
    if not unpacking.eof:
        raise BadBlock
    return text


def _place_of(member: str, number: int) -> str:
    return f"{member}/{number}"


def _write_block(lines: list[bytes], stream: IO[bytes], sealer: Sealer, place: str) -> None:
    sealed = pack(b"".join(lines), sealer, place)
    stream.write(_LENGTH.pack(len(sealed)))
    stream.write(sealed)


# Errors that zipfile and zlib raise for a file with a wrong byte in it.  RuntimeError is raised for a flag that
# marks a member as encrypted, NotImplementedError (a RuntimeError too) for unknown compression methods and versions,
# and OSError for offsets before the beginning of the file.
_DAMAGE_ERRORS: Final = (
    BadBlock,
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


class ArchiveWriter:
    """Writer of an archive; memory use does not depend on the size of the members."""

    def __init__(self, file: zipfile.ZipFile, sealer: Sealer, made_at: str) -> None:
        self._file, self._sealer, self._made_at = file, sealer, made_at
        self.members: dict[str, Any] = {}
        file.writestr(HEADER, json.dumps(self._header() | {"about": _ABOUT}, ensure_ascii=False))

    def add(self, name: str, rows: Iterable[Row]) -> int:
        """Write ``rows`` as a member; return their number. Raises BackupRefused for a row that is too large."""
        with self._file.open(name, "w", force_zip64=True) as stream:
            try:
                self.members[name] = write_blocks(map(to_line, rows), stream, self._sealer, name)
            except ValueError as error:
                raise BackupRefused(f"{name} can't be backed up: {error}") from None
        return int(self.members[name]["lines"])

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest, with ``facts``, as the last member: an archive without it is refused as incomplete."""
        manifest = json.dumps({**self._header(), **facts, "members": self.members}).encode()
        if len(manifest) > MAX_UNPACKED:
            raise BackupRefused("too many accounts were removed during the backup: run it again")
        self._file.writestr(MANIFEST, pack(manifest, self._sealer, MANIFEST))

    def _header(self) -> dict[str, Any]:
        return {"format": FORMAT, "made_at": self._made_at}


@contextmanager
def write_archive(path: Path, sealer: Sealer, made_at: str) -> Iterator[ArchiveWriter]:
    """Open a new archive; ``path`` exists only after the ``with`` block has ended without an error.

    Missing parent folders are created, and removed again after an error. Raises BackupRefused.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        if path.exists():
            raise BackupRefused(f"{path} exists already: give another name, or a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w+b") as raw:
            # Sealed data can't be compressed, so the ZIP file stores it as it is.
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as file:
                yield ArchiveWriter(file, sealer, made_at)
            # The content must be on disk before the rename, or a power cut could leave an empty file with this name.
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    except OSError as error:
        raise BackupRefused(f"{path} can't be written: {error.strerror or type(error).__name__}") from error
    finally:
        draft.unlink(missing_ok=True)
        with suppress(OSError):  # A folder that isn't empty stays, and so do its parents.
            for folder in missing:
                folder.rmdir()


class Archive:
    """Reader of a finished archive. Call ``check`` first: only then is the content known to be unchanged."""

    def __init__(self, path: Path, file: zipfile.ZipFile, sealer: Sealer) -> None:
        self.path = path
        self._file, self._sealer = file, sealer
        self.manifest = self._read_manifest()

    @classmethod
    @contextmanager
    def open(cls, path: Path, sealer: Sealer) -> Iterator[Self]:
        """Open the archive at ``path``.

        Raises BackupRefused for a file that is not an archive of Relève, has another format, was changed, or was
        sealed under a key that ``sealer`` lacks.
        """
        try:
            raw = path.open("rb")
        except OSError as error:
            raise BackupRefused(f"{path} can't be read: {error.strerror or type(error).__name__}") from error
        with raw:
            try:
                file = zipfile.ZipFile(raw)
            except _DAMAGE_ERRORS:
                raise BackupRefused(f"{path} is damaged, or not a backup: use another one") from None
            with file:
                yield cls(path, file, sealer)

    def check(self) -> None:
        """Read the whole archive and compare it with its manifest.  Raises BackupRefused."""
        for name in self.manifest["members"]:
            for _ in self._lines(name):
                pass

    def rows(self, name: str) -> Iterator[Row]:
        """Yield the rows of a member; none if the archive has no such member.

        Raises BackupRefused, perhaps only after the last row: missing or reordered rows are detected only at the end.
        """
        for line in self._lines(name):
            yield json.loads(line)

    def count(self, name: str) -> int:
        """Return the number of a member's rows; 0 if the archive has no such member."""
        return int(self.manifest["members"].get(name, {"lines": 0})["lines"])

    def _lines(self, name: str) -> Iterator[bytes]:
        if (expected := self.manifest["members"].get(name)) is None:
            return
        checksum = Checksum()
        try:
            with self._file.open(name) as stream:
                for line in read_blocks(stream, self._sealer, name):
                    checksum.add(line)
                    yield line
        except _DAMAGE_ERRORS:
            raise self._damaged(name) from None
        if checksum.to_entry() != expected:
            raise self._damaged(name)

    def _damaged(self, name: str) -> BackupRefused:
        return BackupRefused(f"{self.path} is damaged or was changed in {name}: use another backup")

    def _read_manifest(self) -> Mapping[str, Any]:
        header = self._read_header()
        if header["format"] < FORMAT:
            raise BackupRefused(f"only version 0.2.0 reads {self.path}: restore it there, upgrade, make a new one")
        if header["format"] > FORMAT:
            raise BackupRefused(
                f"{self.path} is a backup of format {header['format']}, but this version reads {FORMAT}: update "
                "Relève first"
            )
        try:
            sealed = self._read(MANIFEST, _MAX_SEALED_MANIFEST)
        except _DAMAGE_ERRORS:
            raise self._damaged("its manifest") from None
        try:
            manifest: dict[str, Any] = json.loads(unpack(sealed, self._sealer, MANIFEST))
        except BadBlock:
            raise BackupRefused(
                f"{self.path} can't be decrypted: its key is missing, or the file was changed; add the key to "
                "RELEVE_BACKUP_KEYS, or restore backup.keys from the old RELEVE_DATA_DIR"
            ) from None
        if (manifest["format"], manifest["made_at"]) != (header["format"], header.get("made_at")):
            raise self._damaged(HEADER)
        return manifest

    def _read_header(self) -> dict[str, Any]:
        try:
            header = dict(json.loads(self._read(HEADER, _MAX_HEADER)))
            return header | {"format": int(header["format"])}
        except _DAMAGE_ERRORS:
            raise BackupRefused(f"{self.path} is not a backup of Relève, or is damaged: use another one") from None

    def _read(self, name: str, most: int) -> bytes:
        """Return a member's bytes. Raises ValueError if the member has more than ``most`` bytes."""
        with self._file.open(name) as stream:
            content = stream.read(most + 1)
        if len(content) > most:
            raise ValueError(name)
        return content


def to_line(row: Row) -> bytes:
    """Encode a row as one line of JSON; equal rows give equal bytes, whichever store they come from."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
