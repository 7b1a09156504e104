"""M8: trouble that repeats itself takes one log line a minute."""

from __future__ import annotations

import logging

import pytest

from worker.web.server import RepetitionFilter, limit_repeated_lines


def line(text: str, level: int = logging.WARNING, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("uvicorn.error", level, __file__, 1, text, (), info)


def raised(text: str, *, elsewhere: bool = False) -> OSError:
    try:
        if elsewhere:
            raise OSError(text)
        raise OSError(text)
    except OSError as error:
        return error


def test_m8_the_same_trouble_is_one_line_a_minute_with_the_number_left_out() -> None:
    now = 0.0
    repetitions = RepetitionFilter(clock=lambda: now)
    kept = []
    for second in range(121):
        now = float(second)
        record = line(f"socket.accept() out of system resource\nsocket: fd={second}", error=raised(f"try {second}"))
        if repetitions.filter(record):
            kept.append((second, getattr(record, "fields", None)))
    assert kept == [(0, None), (60, {"left_out": 59}), (120, {"left_out": 59})]


def test_other_trouble_and_what_is_no_trouble_are_lines_of_their_own() -> None:
    repetitions = RepetitionFilter(clock=lambda: 0.0)
    lines = [line("a"), line("b"), line("a", error=raised("x")), line("a", error=raised("x", elsewhere=True))]
    assert [repetitions.filter(record) for record in lines] == [True] * 4
    assert [repetitions.filter(record) for record in lines] == [False] * 4
    assert [repetitions.filter(line("started", logging.INFO)) for _ in range(3)] == [True] * 3


def test_the_kinds_that_are_remembered_have_a_bound() -> None:
    repetitions = RepetitionFilter(clock=lambda: 0.0)
    for number in range(1000):
        assert repetitions.filter(line(f"trouble {number}"))
    assert len(repetitions._kinds) == 200
    assert not repetitions.filter(line("trouble 999")) and repetitions.filter(line("trouble 0"))


def test_within_the_block_the_lines_of_the_server_are_limited_and_of_ours_one(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), limit_repeated_lines():
        for _ in range(3):
            logging.getLogger("asyncio").error("socket.accept() out of system resource")
            logging.getLogger("releve.web").warning("request not served")
            logging.getLogger("releve.web").warning("operator not let in")  # Each try counts.
    assert len(caplog.records) == 5
    caplog.clear()
    for _ in range(2):
        logging.getLogger("asyncio").error("socket.accept() out of system resource")
    assert len(caplog.records) == 2
