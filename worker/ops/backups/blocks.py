"""Sealed blocks: how the lines of one member of a backup are stored.

A member is a row of blocks, each with its length in four bytes (big-endian) before it::

    length | sealed bytes (``stores.sealing``) of zlib-compressed lines, some 256 kB of text together

A block can neither be read nor made without a backup key, and is bound to its member and its number there. The number
of the lines is not protected here: the manifest has their checksum. Sizes are bounded before anything is unpacked or
kept, so that memory stays flat.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from worker.errors import OperatorFault
from worker.stores.encryption import Sealer

MAX_LINE: Final = 1_000_000  # Bytes, with the line's end.
_BLOCK_SIZE: Final = 256_000
MAX_UNPACKED: Final = _BLOCK_SIZE + MAX_LINE
_MAX_SEALED: Final = MAX_UNPACKED + 10_000  # What doesn't compress grows a little, by zlib's frame and the sealing's.
_LENGTH: Final = struct.Struct(">I")


class BadBlock(Exception):
    """A block was changed, cut, too large, or sealed under a key that is not given."""


class Checksum:
    """The number of lines and the SHA-256 of their bytes."""

    def __init__(self) -> None:
        self._lines, self._content = 0, hashlib.sha256()

    def add(self, line: bytes) -> None:
        self._lines += 1
        self._content.update(line)

    def to_entry(self) -> dict[str, Any]:
        """Return the manifest's entry of a member with these lines."""
        return {"lines": self._lines, "sha256": self._content.hexdigest()}


def write_blocks(lines: Iterable[bytes], stream: IO[bytes], sealer: Sealer, member: str) -> dict[str, Any]:
    """Write the lines of a member as blocks, and return the manifest's entry of them.

    Raises ValueError for a line above ``MAX_LINE``, which no restore would take.
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
    """Return the text compressed and sealed at its place."""
    return sealer.seal_bytes(zlib.compress(text), place)


def unpack(sealed: bytes, sealer: Sealer, place: str) -> bytes:
    """Return the text of a sealed block. Raises BadBlock, for one that unpacks beyond ``MAX_UNPACKED`` too."""
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
