"""The file that is read: its name as errors show it, its bytes within bounds, its lines as text."""

from __future__ import annotations

import codecs
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, NoReturn
from zipfile import BadZipFile

from worker.domain.files.file_series import FileFault, FileRefused
from worker.domain.files.names import shown_name

MAX_BYTES: Final = 64 * 1024 * 1024  # Of a file, unpacked: two years of half-hours of a dozen meters.
MAX_ROWS: Final = 200_000  # Of a file: four years of ten-minute steps.
_MOST_LINES: Final = 4 * MAX_ROWS  # With the blank ones.
MEGABYTE: Final = 1024 * 1024
_LONGEST_LINE: Final = 32 * 1024  # Footers of indexes have three thousand characters.
_LONGEST_NAME: Final = 255  # No system of files has longer ones; an archive and a form may.
# What the readers of packed files raise for damaged ones.
DAMAGE: Final = (OSError, EOFError, RuntimeError, ValueError, zlib.error, struct.error, BadZipFile)
UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Source:
    """File, or sheet of a workbook, that is read; ``name`` as it was given, ``file`` as it is shown.

    ``noun``: what a row is called where it comes from. ``sheet``: the name of the sheet.
    """

    name: str = field(repr=False)
    file: str
    noun: str = "line"
    sheet: str = ""

    @classmethod
    def of(cls, name: str) -> Source:
        """Return the source of a file of this name."""
        name = name[-_LONGEST_NAME:]
        return cls(name, shown_name(name))

    def member(self, name: str) -> Source:
        """Return the source of a file in this archive."""
        name = name[-_LONGEST_NAME:]
        return Source(name.rsplit("/", 1)[-1], f"{self.file}/{shown_name(name)}")

    def fail(self, reason: str, number: int | None = None, why: FileFault = FileFault.DAMAGED) -> NoReturn:
        """Raise FileRefused with the file and, where it is one row's fault, its number."""
        place = "" if number is None else f", {self.noun} {number}"
        raise FileRefused(f"{self.file}{place}: {reason}", why) from None


class BoundedReader(io.RawIOBase):
    """Bytes of a file up to a limit; it leaves the file open. Raises FileRefused beyond it, and for damaged files."""

    def __init__(self, stream: BinaryIO, source: Source, limit: int = MAX_BYTES) -> None:
        super().__init__()
        self._stream, self._source, self._limit, self._left = stream, source, limit, limit

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with the next bytes and return their number."""
        try:
            content = self._stream.read(len(buffer))
        except DAMAGE as error:
            raise FileRefused(f"{self._source.file}: can't be read ({type(error).__name__})") from None
        self._left -= len(content)
        if self._left < 0:
            self._source.fail(
                f"larger than {self._limit // MEGABYTE} MB unpacked: split it",
                why=FileFault.TOO_LARGE,
            )
        buffer[: len(content)] = content
        return len(content)


def open_bounded(stream: BinaryIO, source: Source, limit: int = MAX_BYTES) -> io.BufferedReader:
    """Return the bytes of a file within bounds, with a beginning that can be peeked at."""
    return io.BufferedReader(BoundedReader(stream, source, limit))


def read_lines(stream: io.BufferedReader, source: Source) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not blank.

    Text is UTF-8, else Windows-1252 line by line, with a byte order mark or without; UTF-16 has one.
    """
    is_utf_16 = stream.peek(2).startswith(UTF_16)
    text = io.TextIOWrapper(
        stream,
        encoding="utf-16" if is_utf_16 else "utf-8-sig",
        errors="replace" if is_utf_16 else "surrogateescape",
        newline=None,
    )
    number = 0
    while line := text.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            source.fail("a line is too long for a file of measures", number)
        if number > _MOST_LINES:
            source.fail(f"more than {_MOST_LINES} lines, blank ones among them", why=FileFault.TOO_LARGE)
        if "\0" in line:
            source.fail("it is not text", number)
        if line.strip():
            yield number, _decode(line.rstrip("\n"))


def _decode(line: str) -> str:
    try:
        line.encode()
    except UnicodeEncodeError:
        return line.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return line
