"""One line a check: the worst that was found, and nothing beside it."""

from __future__ import annotations

from worker.ops.health.results import Level, fail, ok, sum_up, warn


def test_a_fault_is_not_hidden_among_what_is_fine() -> None:
    finding = sum_up("redis", [ok("it runs"), fail("it evicts: stop it"), warn("no file"), fail("a replica")])
    assert (finding.level, finding.told) == (Level.FAIL, "it evicts: stop it; a replica")
    assert finding.as_line() == "FAIL redis       it evicts: stop it; a replica"


def test_a_doubt_is_no_failure() -> None:
    finding = sum_up("redis", [warn("no file"), ok("it runs")])
    assert finding.to_json() == {"check": "redis", "level": "warn", "ok": True, "told": "no file"}


def test_what_is_fine_is_told_in_full() -> None:
    assert sum_up("queues", [ok("a 1"), ok("b 2")]).told == "a 1; b 2"
