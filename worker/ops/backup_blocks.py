"""Sealed blocks: how the lines of one member of a backup are stored.

A member is a row of blocks, each with its length in four bytes (big-endian) before it::

    length | Fernet token (raw bytes) of zlib-compressed lines, some 256 kB of text together

A block can neither be read nor made without a backup key. Order and number of the lines are not protected here: the
manifest has their checksum. Sizes are bounded before anything is unpacked or kept, so that memory stays flat.
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
_MAX_SEALED: Final = MAX_UNPACKED + 10_000  # What doesn't compress grows a little, by zlib's and Fernet's frames.
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


def write_blocks(lines: Iterable[bytes], stream: IO[bytes], sealer: Sealer) -> dict[str, Any]:
    """Write the lines as blocks, and return the manifest's entry of them.

    Raises ValueError for a line above ``MAX_LINE``, which no restore would take.
    """
    checksum, block, size = Checksum(), list[bytes](), 0
    for line in lines:
        if len(line) > MAX_LINE:
            raise ValueError(f"a row of {len(line)} bytes is above the {MAX_LINE} that a backup takes")
        checksum.add(line)
        block.append(line)
        size += len(line)
        if size >= _BLOCK_SIZE:
            _write_block(block, stream, sealer)
            block, size = [], 0
    if block:
        _write_block(block, stream, sealer)
    return checksum.to_entry()


def read_blocks(stream: IO[bytes], sealer: Sealer) -> Iterator[bytes]:
    """Yield the lines of all blocks. Raises BadBlock."""
    while prefix := stream.read(_LENGTH.size):
        if len(prefix) < _LENGTH.size:
            raise BadBlock
        (length,) = _LENGTH.unpack(prefix)
        if length > _MAX_SEALED or len(sealed := stream.read(length)) < length:
            raise BadBlock
        for line in unpack(sealed, sealer).splitlines(keepends=True):
            if len(line) > MAX_LINE:
                raise BadBlock
            yield line


def pack(text: bytes, sealer: Sealer) -> bytes:
    """Return the text compressed and sealed."""
    return sealer.seal_bytes(zlib.compress(text))


def unpack(sealed: bytes, sealer: Sealer) -> bytes:
    """Return the text of a sealed block. Raises BadBlock, for one that unpacks beyond ``MAX_UNPACKED`` too."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(sealer.unseal_bytes(sealed), MAX_UNPACKED)
    except (OperatorFault, zlib.error):
        raise BadBlock from None
    if not unpacking.eof:
        raise BadBlock
    return text


def _write_block(lines: list[bytes], stream: IO[bytes], sealer: Sealer) -> None:
    sealed = pack(b"".join(lines), sealer)
    stream.write(_LENGTH.pack(len(sealed)))
    stream.write(sealed)
