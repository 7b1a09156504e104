r"""A streaming reader of consecutive JSON values in chunks of bytes, with a bounded buffer.

    {"a": 1}\n{"a": 2}\n      one per line (NDJSON)
    {\n "a": 1}{"a": 2}       over several lines, without a separator
    [{"a": 1}, {"a": 2}]      the items of a list

Only the value that isn't complete yet is kept in the buffer. An answer that breaks off, or that isn't JSON (such as a
gateway's HTML page), is a temporary fault; an answer with broken JSON, or with more than any real answer contains, is
malformed. A number of more than 16 characters, which a float might not hold exactly, stays a text.

Source: RFC 8259 and the ndjson specification; the clients lowatt-grdf and conso (Haskell) for the other two forms.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, NoReturn

from worker import errors
from worker.domain.answers import Json

_KILOBYTE: Final = 1024
# What may stand between two values: whitespace, commas, the separator of RFC 7464, and the bytes of a UTF-8 byte order
# mark.
_BETWEEN: Final = re.compile(rb"[ \t\r\n,\x1e\xef\xbb\xbf]*")
_SCALAR: Final = re.compile(rb"[^ \t\r\n,\x1e\[\]{}\"<]*")
_STRUCTURE: Final = re.compile(rb'["{}\[\]]')
_TEXT_END: Final = re.compile(rb'["\\]')
_EXACT_DIGITS: Final = 16  # A float keeps all digits of a number with at most this many characters.
_OPENING, _CLOSING, _QUOTE = b"{[", b"}]", ord('"')


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Limits for an answer: bytes of one value, bytes of all values, number of values, and levels of nesting."""

    value_bytes: int = 64 * _KILOBYTE
    stream_bytes: int = 8 * _KILOBYTE**2
    values: int = 20_000
    depth: int = 32


@dataclass(frozen=True, slots=True)
class StreamedValues:
    """The values of an answer in their order, and the fault that ended the reading; None if there was no fault.

    ``digest``: the SHA-256 of the bytes that were read, in hexadecimal.
    """

    values: tuple[Json, ...] = field(repr=False)
    fault: errors.WorkerError | None = None
    digest: str = ""


def read_values(chunks: Iterable[bytes], limits: StreamLimits = StreamLimits()) -> StreamedValues:
    """Return the values of an answer up to its end or the first fault, and this fault.

    Nothing is read after a fault. The fault is SupplierUnavailable if the answer breaks off, is empty or isn't JSON,
    else MalformedAnswer. Errors that ``chunks`` raises are not caught.
    """
    digest, values, reader = hashlib.sha256(), list[Json](), _ValueReader(limits)
    fault: errors.WorkerError | None = None
    try:
        for chunk in chunks:
            digest.update(chunk)
            values.extend(reader.feed(chunk))
        values.extend(reader.finish())
    except (errors.SupplierUnavailable, errors.MalformedAnswer) as error:
        fault = error
    return StreamedValues(tuple(values), fault, digest.hexdigest())


class _ValueReader:
    """The state between two chunks: the bytes of the incomplete value, and the parser's position in this value."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._value = bytearray()
        self._depth = 0
        self._in_text = self._escaped = self._in_list = False
        self._values = self._bytes = 0
        self._is_json = False  # Whether a list or an object has begun.

    def feed(self, chunk: bytes) -> Iterator[Json]:
        """Yield the values that end in this chunk."""
        self._bytes += len(chunk)
        if self._bytes > self._limits.stream_bytes:
            raise errors.AnswerTooLarge(f"the answer is longer than {self._limits.stream_bytes} bytes")
        place = 0
        while place < len(chunk):
            if not self._value:
                place = self._begin(chunk, place)
                if place == len(chunk):
                    return
            end, is_over = self._end_of_value(chunk, place)
            self._value += chunk[place:end]
            if len(self._value) > self._limits.value_bytes:
                raise errors.AnswerTooLarge(f"a value of the answer is longer than {self._limits.value_bytes} bytes")
            place = end
            if is_over:
                yield self._take()

    def finish(self) -> Iterator[Json]:
        """Yield the last value if it is a number or word, because only the answer's end shows that it is complete.

        Raises SupplierUnavailable if the answer breaks off or is empty.
        """
        if self._depth or self._in_text:
            _raise_cut()
        if self._value:
            yield self._take(at_end=True)
        if self._in_list:
            _raise_cut()
        if not self._values and not self._is_json:
            _raise_no_json()

    def _begin(self, chunk: bytes, place: int) -> int:
        """Return where the next value in the chunk begins; the chunk's end if none does.

        The brackets of a list around the values are skipped.
        """
        while (place := _end_of(_BETWEEN, chunk, place)) < len(chunk):
            byte = chunk[place]
            if byte == _OPENING[1] and not self._in_list:
                self._in_list = self._is_json = True
            elif byte == _CLOSING[1] and self._in_list:
                self._in_list = False
            elif byte in b"}]":
                _raise_broken()
            elif byte == ord("<"):
                _raise_no_json()
            else:
                return place
            place += 1
        return place

    def _end_of_value(self, chunk: bytes, place: int) -> tuple[int, bool]:
        """Return where this chunk's part of the value ends, and whether the value is complete there."""
        is_new, byte = not self._value, chunk[place]
        if not self._depth and not self._in_text and not (is_new and byte in b'{["'):
            end = _end_of(_SCALAR, chunk, place)
            return end, end < len(chunk)
        while place < len(chunk):
            if self._in_text:
                place = self._end_of_text(chunk, place)
            elif found := _STRUCTURE.search(chunk, place):
                place = found.end()
                self._enter(chunk[place - 1])
            else:
                return len(chunk), False
            if not self._depth and not self._in_text:
                return place, True
        return place, False

    def _enter(self, byte: int) -> None:
        if byte == _QUOTE:
            self._in_text = True
        elif byte in _OPENING:
            self._depth += 1
            self._is_json = True
            if self._depth > self._limits.depth:
                raise errors.AnswerTooLarge(f"the answer is nested more than {self._limits.depth} levels deep")
        else:
            self._depth -= 1

    def _end_of_text(self, chunk: bytes, place: int) -> int:
        """Return the place after the next quote or backslash, whichever comes first; else the chunk's end.

        Right after a backslash, only the escaped byte is passed.
        """
        if self._escaped:
            self._escaped = False
            return place + 1
        found = _TEXT_END.search(chunk, place)
        if found is None:
            return len(chunk)
        if chunk[found.start()] == _QUOTE:
            self._in_text = False
        else:
            self._escaped = True
        return found.end()

    def _take(self, at_end: bool = False) -> Json:
        """Return the complete value, and empty the buffer for the next value."""
        self._values += 1
        if self._values > self._limits.values:
            raise errors.AnswerTooLarge(f"the answer has more than {self._limits.values} values")
        raw, self._value = bytes(self._value), bytearray()
        try:
            return json.loads(
                raw.decode("utf-8"), parse_int=_to_integer, parse_float=_to_decimal, parse_constant=_refuse_constant
            )
        except UnicodeDecodeError:
            # "from None", here and below, because the texts of the library's errors quote the answer.
            raise errors.BrokenJson("the answer is not written in UTF-8") from None
        except (ValueError, RecursionError):
            if not self._is_json:
                _raise_no_json()
            if at_end:
                _raise_cut()
            _raise_broken()


def _end_of(pattern: re.Pattern[bytes], chunk: bytes, place: int) -> int:
    match = pattern.match(chunk, place)
    return match.end() if match else place


def _to_integer(text: str) -> int | str:
    return int(text) if len(text) <= _EXACT_DIGITS else text


def _to_decimal(text: str) -> float | str:
    number = float(text)
    return number if len(text) <= _EXACT_DIGITS and isfinite(number) else text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _raise_cut() -> NoReturn:
    raise errors.AnswerBrokenOff("the supplier's answer breaks off in the middle")


def _raise_no_json() -> NoReturn:
    raise errors.AnswerNotJson("the supplier's answer is not JSON")


def _raise_broken() -> NoReturn:
    raise errors.BrokenJson("the answer is invalid JSON")
