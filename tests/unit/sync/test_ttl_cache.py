"""A look into the broker that serves for some seconds."""

from __future__ import annotations

from worker.sync.claims import LOST_AFTER_S, TtlCache


def test_a_look_serves_as_long_as_it_may_and_then_another_is_taken() -> None:
    now, looks = [0.0], iter([{"a"}, {"b"}, None])
    seen = TtlCache(lambda: next(looks), 10, lambda: now[0])
    assert [seen(), seen()] == [{"a"}, {"a"}]
    now[0] = 10.0
    assert seen() == {"a"}
    now[0] = 10.1
    assert seen() == {"b"}
    now[0] = 20.2
    assert seen() is None


def test_what_was_published_after_a_look_is_younger_than_what_counts_as_lost() -> None:
    """A claim taken for lost was published before the look that did not see its message."""
    assert LOST_AFTER_S / 2 < LOST_AFTER_S
