"""The delays of retries: they grow, have a limit, and are never shorter than asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.retry import FIRST_DELAY_S, LONGEST_DELAY_S, retry_delay_s

jitters = st.floats(0, 1)


@many
@given(st.integers(0, 10**6), jitters)
def test_a_wait_stays_within_its_bounds_however_often_it_was_tried(retries: int, jitter: float) -> None:
    assert FIRST_DELAY_S / 2 <= retry_delay_s(retries, None, lambda: jitter) <= LONGEST_DELAY_S


@many
@given(st.integers(0, 20), jitters)
def test_a_later_try_never_waits_less(retries: int, jitter: float) -> None:
    assert retry_delay_s(retries, None, lambda: jitter) <= retry_delay_s(retries + 1, None, lambda: jitter)


@many
@given(st.integers(0, 20), st.floats(0, 10**6), jitters)
def test_the_wait_asked_for_is_never_shortened(retries: int, asked_s: float, jitter: float) -> None:
    assert asked_s <= retry_delay_s(retries, asked_s, lambda: jitter) <= asked_s + LONGEST_DELAY_S


def test_two_who_fail_together_come_back_apart() -> None:
    assert retry_delay_s(3, None, lambda: 0.0) < retry_delay_s(3, None, lambda: 1.0)
    assert retry_delay_s(0, 5, lambda: 0.0) < retry_delay_s(0, 5, lambda: 1.0)
