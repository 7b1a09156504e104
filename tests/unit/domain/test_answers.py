"""What is told of an answer: its texts are masked, and cut before that. Whoever walks an answer stands its depth."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from worker.clients.answer_shapes import MAX_DEVIATIONS, find_deviations, find_values, keep_fields, keep_meter
from worker.clients.grdf.client import error_in, is_right
from worker.clients.ndjson import StreamLimits
from worker.clients.supplier_session import Reply
from worker.clients.suppliers import SUPPLIERS
from worker.domain.answers import (
    Json,
    RawAnswer,
    mask_text,
    pack_raw_answers,
    size_of,
    to_masked,
    to_sample,
    unpack_raw_answers,
)
from worker.domain.parsing import parse
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import MalformedAnswer


def test_of_a_long_text_only_the_start_is_masked() -> None:
    text = "A1é-" * 500_000
    tracemalloc.start()
    try:
        masked = mask_text(text)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert masked == "a9a-" * 15


WEEK = DateWindow(date(2024, 7, 1), date(2024, 7, 8))
DEEP: list[Callable[[str, int], str]] = [
    lambda name, levels: f'{{"{name}":' * levels + "1" + "}" * levels,
    lambda name, levels: f'{{"{name}":' + "[" * (levels - 1) + "1" + "]" * (levels - 1) + "}",
    lambda name, levels: f'{{"{name}":[' * (levels // 2) + "1" + "]}" * (levels // 2),
]
NAMES = ("meter_reading", "usage_point", "grandeur", "contexte", "records", "customer", "error", "x")


@pytest.mark.parametrize("make", DEEP, ids=["objects", "lists", "both"])
@pytest.mark.parametrize("name", NAMES)
def test_whoever_walks_an_answer_stands_the_depth_that_is_let_through(
    name: str, make: Callable[[str, int], str]
) -> None:
    depth = StreamLimits().depth
    assert Reply(200, {}, make(name, depth + 2).encode()).json is None
    reply = Reply(200, {}, make(name, depth).encode())
    body = reply.json
    assert body is not None and reply.envelope is not None and reply.code == ""
    assert to_masked(to_sample(body)) == to_masked(to_sample(json.loads(reply.body)))
    assert list(find_values(body, "usage_point_id")) == [] and keep_meter(body, "usage_point_id", "1") == body
    assert size_of(body) > 32 * depth and error_in(body) is None and not is_right(body)
    kept: Any = None
    for _ in range(depth):
        kept = {name: kept}
    assert keep_fields(body, kept) is not None
    for supplier in SUPPLIERS.values():
        for series, shapes in supplier.shapes.items():
            answer = RawAnswer(series, datetime(2024, 7, 9, tzinfo=UTC), WEEK, [(WEEK, body)])
            assert unpack_raw_answers(pack_raw_answers([answer])) == [answer]
            assert len(find_deviations(body, shapes)) <= MAX_DEVIATIONS
            assert _readings(body, series) == 0


def _readings(body: Json, series: Series) -> int:
    try:
        return len(parse(body, series, WEEK).readings)
    except MalformedAnswer:
        return 0


def test_a_long_list_of_wide_objects_is_sampled_by_their_first_names() -> None:
    body = [{f"a{number}": 1 for number in range(20_000)}]
    tracemalloc.start()
    try:
        assert len(to_sample(body)) < 1_000
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
