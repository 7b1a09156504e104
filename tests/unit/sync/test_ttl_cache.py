"""The cache of the run ids in the broker."""

from __future__ import annotations

from worker.sync.claims import LOST_AFTER_S
from worker.sync.ttl_cache import TtlCache


def test_a_look_serves_as_long_as_it_may_and_then_another_is_taken() -> None:
    now, scans = [0.0], iter([{"a"}, {"b"}, None])
    cache = TtlCache(lambda: next(scans), 10, lambda: now[0])
    assert [cache(), cache()] == [{"a"}, {"a"}]
    now[0] = 10.0
    assert cache() == {"a"}
    now[0] = 10.1
    assert cache() == {"b"}
    now[0] = 20.2
    assert cache() is None


def test_what_was_published_after_a_look_is_younger_than_what_counts_as_lost() -> None:
    """A claim that counts as lost was published before the scan that did not find its message."""
    assert LOST_AFTER_S / 2 < LOST_AFTER_S
