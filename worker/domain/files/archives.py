"""ZIP archives: their members within bounds, read one after the other; a ZIP in a ZIP is refused.

The sizes that an archive declares are checked before anything is unpacked, and what is unpacked is counted.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from worker.domain.files.file_series import FileFault
from worker.domain.files.sources import DAMAGE, MAX_BYTES, MEGABYTE, Source

MAX_MEMBERS: Final = 500
MAX_UNPACKED: Final = 256 * MEGABYTE
_LARGEST_RATIO: Final = 200  # Curves shrink to a twentieth.
_SMALL: Final = MEGABYTE  # A small member may shrink to nothing.
_ENCRYPTED: Final = 0x1
_END: Final = b"PK\x05\x06"
_END_64: Final = b"PK\x06\x07"
_LONGEST_END: Final = 22 + 65_535
_LARGEST_DIRECTORY: Final = MEGABYTE
_JUNK: Final = ("__MACOSX/", "thumbs.db", "desktop.ini")


def open_archive(content: BinaryIO, source: Source) -> ZipFile:
    """Return the archive, whose members are within bounds. Raises FileRefused."""
    _check_directory(content, source)
    content.seek(0)
    try:
        archive = ZipFile(content)
    except DAMAGE:
        source.fail("a damaged or incomplete archive: download it again")
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        source.fail(f"more than {MAX_MEMBERS} files in the archive; split it", why=FileFault.TOO_LARGE)
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        source.fail(f"larger than {MAX_UNPACKED // MEGABYTE} MB unpacked; split it", why=FileFault.TOO_LARGE)
    for place, member in enumerate(members, start=1):
        _check_member(member, place, source)
    return archive


def members_of(archive: ZipFile) -> Iterator[ZipInfo]:
    """Yield the files of an archive in its order, without folders and what file managers leave in it."""
    for member in archive.infolist():
        name = member.filename.rsplit("/", 1)[-1].lower()
        if member.is_dir() or name.startswith(".") or member.filename.startswith(_JUNK) or name in _JUNK:
            continue
        yield member


def open_member(archive: ZipFile, member: ZipInfo, source: Source) -> BinaryIO:
    """Return the content of a member. Raises FileRefused."""
    try:
        return cast(BinaryIO, archive.open(member))
    except DAMAGE:
        source.fail("a damaged archive: download it again")


def _check_directory(content: BinaryIO, source: Source) -> None:
    """Check that the list of members is short, before it is read."""
    size = content.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        source.fail(f"larger than {MAX_BYTES // MEGABYTE} MB; split it", why=FileFault.TOO_LARGE)
    content.seek(max(0, size - _LONGEST_END))
    tail = content.read(_LONGEST_END)
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + 22:
        source.fail("a damaged or incomplete archive: download it again")
    (length,) = struct.unpack("<L", tail[end + 12 : end + 16])
    if length > _LARGEST_DIRECTORY or _END_64 in tail:
        source.fail(
            f"more than {MAX_MEMBERS} files in the archive, or larger than any export; split it",
            why=FileFault.TOO_LARGE,
        )


def _check_member(member: ZipInfo, place: int, source: Source) -> None:
    if member.flag_bits & _ENCRYPTED:
        source.fail(
            "an encrypted file is not supported: unpack it with its password first", place, FileFault.UNSUPPORTED
        )
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        source.fail(
            "its compression is not supported: make the ZIP again with another program", place, FileFault.UNSUPPORTED
        )
    if member.file_size > MAX_BYTES:
        source.fail(
            f"larger than {MAX_BYTES // MEGABYTE} MB unpacked, which is more than is read at once",
            place,
            FileFault.TOO_LARGE,
        )
    if member.file_size > max(_SMALL, _LARGEST_RATIO * member.compress_size):
        source.fail("it unpacks to far more than a file of measures can", place, FileFault.TOO_LARGE)
