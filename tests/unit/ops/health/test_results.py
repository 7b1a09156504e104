"""Summary of a check: only the notes of the worst level."""

from __future__ import annotations

from worker.ops.health.results import Level, fail, ok, summarize, warn


def test_a_fault_is_not_hidden_among_what_is_fine() -> None:
    result = summarize("redis", [ok("it runs"), fail("it evicts: stop it"), warn("no file"), fail("a replica")])
    assert (result.level, result.text) == (Level.FAIL, "it evicts: stop it; a replica")
    assert result.as_line() == "FAIL redis       it evicts: stop it; a replica"


def test_a_doubt_is_no_failure() -> None:
    result = summarize("redis", [warn("no file"), ok("it runs")])
    assert result.to_json() == {"check": "redis", "level": "warn", "ok": True, "told": "no file"}


def test_what_is_fine_is_told_in_full() -> None:
    assert summarize("queues", [ok("a 1"), ok("b 2")]).text == "a 1; b 2"
