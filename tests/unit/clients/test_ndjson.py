"""Values that come one after another: every form gives the same values, and every fault one reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.clients.ndjson import StreamedValues, StreamLimits, read_values
from worker.errors import (
    AnswerBrokenOff,
    AnswerNotJson,
    AnswerTooLarge,
    BrokenJson,
    MalformedAnswer,
    SupplierUnavailable,
)

A, B = {"a": 1, "b": '}{"\\[]'}, {"c": [{"d": "é"}, None, True], "e": {}}


def read(content: bytes, size: int = 7, **limits: int) -> StreamedValues:
    chunks = [content[place : place + size] for place in range(0, len(content), size)]
    return read_values(chunks, StreamLimits(**limits))


@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
@pytest.mark.parametrize(
    "form",
    [
        "{}\n{}\n",
        "{}\r\n\r\n{}",
        "{}{}",
        "[{},{}]",
        " [\n {} , {} \n] \n",
        "{},{}",
        "\ufeff{}\n{}",
        "\x1e{}\n\x1e{}\n",
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_all_forms_give_the_same_values(form: str, indent: int | None, size: int) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=False) for value in (A, B)]
    content = form.replace("{}", "%s").replace("%s", texts[0], 1).replace("%s", texts[1], 1).encode()
    streamed = read(content, size)
    assert (streamed.values, streamed.fault) == ((A, B), None)
    assert streamed.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "content, values",
    [(b"[]", ()), (b"null", (None,)), (b'1 "a" true', (1, "a", True)), (b"[[1],[2]]", ([1], [2])), (b"7", (7,))],
)
def test_other_values_are_values_too(content: bytes, values: tuple[Any, ...]) -> None:
    assert read(content, 1) == read(content) and read(content).values == values
    assert read(content).fault is None


NO_JSON, CUT, BROKEN = "not JSON", "breaks off", "invalid JSON"


@pytest.mark.parametrize(
    "content, kind, reason, values",
    [
        (b"", AnswerNotJson, NO_JSON, ()),
        (b" \r\n", AnswerNotJson, NO_JSON, ()),
        (b"<html><body>{}</body></html>", AnswerNotJson, NO_JSON, ()),
        (b"\n <!DOCTYPE html>", AnswerNotJson, NO_JSON, ()),
        (b"Internal Server Error", AnswerNotJson, NO_JSON, ()),
        (b"500 Internal Server Error", AnswerNotJson, NO_JSON, (500,)),
        (b"upstream request timeout", AnswerNotJson, NO_JSON, ()),
        (b'{"a": 1}\n<html>', AnswerNotJson, NO_JSON, ({"a": 1},)),
        (b'{"a": 1}\n{"a": 2', AnswerBrokenOff, CUT, ({"a": 1},)),
        (b'{"a": "tex', AnswerBrokenOff, CUT, ()),
        (b'{"a": "text\\', AnswerBrokenOff, CUT, ()),
        (b'[{"a": 1},', AnswerBrokenOff, CUT, ({"a": 1},)),
        (b'{"a": 1} tru', AnswerBrokenOff, CUT, ({"a": 1},)),
        (b'{"a": 1}\n{"a" 2}\n{"a": 3}', BrokenJson, BROKEN, ({"a": 1},)),
        (b'{"a": ]', BrokenJson, BROKEN, ()),
        (b'{"a": 1}}', BrokenJson, BROKEN, ({"a": 1},)),
        (b'{"a": 1,}', BrokenJson, BROKEN, ()),
        (b'{"a": NaN}', BrokenJson, BROKEN, ()),
        (b'{"a": -Infinity}', BrokenJson, BROKEN, ()),
        (b'{"a": "line\nline"}', BrokenJson, BROKEN, ()),
        (b'{"a": "\xff"}', BrokenJson, "UTF-8", ()),
        (b"[" * 40, AnswerTooLarge, "nested", ()),
        (b'{"a":' * 40, AnswerTooLarge, "nested", ()),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_each_fault_has_one_reason_and_what_came_before_it_stays(
    content: bytes, size: int, kind: type[Exception], reason: str, values: tuple[Any, ...]
) -> None:
    streamed = read(content, size)
    assert type(streamed.fault) is kind and reason in str(streamed.fault)
    assert streamed.values == values


def test_a_value_an_answer_and_a_number_of_values_have_a_limit() -> None:
    whole = json.dumps({"a": "x" * 50}).encode()
    assert read(whole, value_bytes=len(whole)).fault is None
    too_long = read(whole, value_bytes=len(whole) - 1)
    assert isinstance(too_long.fault, AnswerTooLarge) and "longer than" in str(too_long.fault)
    assert read(b"{}" * 10, values=10).fault is None
    too_many = read(b"{}" * 11, values=10)
    assert isinstance(too_many.fault, AnswerTooLarge) and len(too_many.values) == 10
    assert isinstance(read(b" " * 101, stream_bytes=100).fault, AnswerTooLarge)


def test_a_line_of_a_hundred_megabytes_is_given_up_after_the_first_chunks() -> None:
    taken = 0

    def line() -> Iterator[bytes]:
        nonlocal taken
        yield b'{"a": 1}\n{"b": "'
        for _ in range(6_400):  # Of 16 kB each.
            taken += 1
            yield b"x" * 16_384
        yield b'"}'

    streamed = read_values(line())
    assert isinstance(streamed.fault, MalformedAnswer) and streamed.values == ({"a": 1},)
    assert taken == 4


def test_an_endless_answer_of_short_values_is_given_up_too() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b'{"a": 1}\n' * 1000

    assert isinstance(read_values(endless()).fault, AnswerTooLarge)


def test_a_number_keeps_all_its_digits() -> None:
    content = (
        b'{"a": 9.20, "b": 11.42781, "c": 0.12345678901234567890, "d": 123456789012345678901, "e": 1e999, "f": -0}'
    )
    (value,) = read(content).values
    assert value == {
        "a": 9.2,
        "b": 11.42781,
        "c": "0.12345678901234567890",
        "d": "123456789012345678901",
        "e": "1e999",
        "f": 0,
    }
    assert read(b'{"a": %s}' % (b"9" * 5000)).fault is None  # Python reads no integer of so many digits.


def test_a_failure_of_the_network_is_not_swallowed() -> None:
    def failing() -> Iterator[bytes]:
        yield b'{"a": 1}'
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        read_values(failing())
    assert read_values([b'{"a": 1}']).values == ({"a": 1},)


@many
@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_bytes_give_values_or_one_fault(content: bytes, size: int) -> None:
    streamed = read(content, size)
    assert streamed.fault is None or isinstance(streamed.fault, SupplierUnavailable | MalformedAnswer)
    whole = read(content, len(content) or 1)
    assert (repr(whole.values), str(whole.fault)) == (repr(streamed.values), str(streamed.fault))
