"""What is told of an answer: its texts are masked, and cut before that."""

from __future__ import annotations

import tracemalloc

from worker.domain.answers import mask_text


def test_of_a_long_text_only_the_start_is_masked() -> None:
    text = "A1é-" * 500_000
    tracemalloc.start()
    try:
        masked = mask_text(text)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert masked == "a9a-" * 15
