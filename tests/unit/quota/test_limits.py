"""The numbers with which the ledger's script counts, and how its state is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.quota.ledger import QuotaState, spacing_us


@given(st.integers(1, 20_000), st.sampled_from([50, 1000, 3_600_000]))
def test_one_call_more_than_a_limit_holds_spans_a_quarter_more_than_the_window(calls: int, window_ms: int) -> None:
    quarter_more_us = window_ms * 1250
    assert calls * (spacing_us(calls, window_ms) - 1) <= quarter_more_us < calls * spacing_us(calls, window_ms)


def test_the_span_of_a_quota_is_told_in_words() -> None:
    spans = [QuotaState(used={}, limit=None, hours=hours, opens_in_s=0.0).span for hours in (1, 12, 24)]
    assert spans == ["hour", "12 hours", "day"]
