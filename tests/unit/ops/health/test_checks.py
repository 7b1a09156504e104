"""The list of checks: each exists and is on the reference page, and a fault is reported once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.settings import ConfigError
from tests.unit.ops.health.conftest import BuildConnections
from worker.ops.check_results import CheckResult, Level, fail, ok, run_check, summarize, warn
from worker.ops.health_checks import CHECKS, READINESS_CHECKS, check_readiness, run_checks
from worker.ops.liveness import ROLE_CHECKS, check_liveness
from worker.stores.child_processes import free_port
from worker.texts import typeset_french

PAGE = Path(__file__).parents[4] / "docs/reference/doctor.md"


def test_the_page_tells_of_each_check_and_of_no_other() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = [re.fullmatch(r"\| `([a-z ]+)` \| [^|]{12,}?(?: \| ([a-z`, ]+))? \|", row) for row in rows]
    needs = {role: ", ".join(f"`{name}`" for name in READINESS_CHECKS[role]) for role in ROLE_CHECKS}
    told = [(match[1], match[2]) for match in cells if match]
    assert told == [*((name, None) for name in CHECKS), *needs.items()]


@pytest.mark.sockets
def test_what_hangs_on_a_fault_is_not_looked_at(build_connections: BuildConnections) -> None:
    away = build_connections(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    results = {result.check: result for result in run_checks(away)}
    assert list(results) == [name for name, check in CHECKS.items() if check.applies(away.settings)]
    assert not [name for name in results if "grdf" in name], "nothing is told of gas where there is none"
    assert results["redis"].level is Level.FAIL
    for name in ("supplier", "queues", "workers", "beat"):
        assert results[name].level is Level.WARN
        assert results[name].text in ("not checked: fix redis first", "not checked: fix redis and broker first")
    assert results["quota"].level is Level.WARN, "what is left of it is known to Redis alone"
    assert results["broker"].failed and results["broker"].text.startswith("the same Redis: ")
    assert results["clock"].level is Level.WARN and "not compared with Redis" in results["clock"].text
    for name in ("redis", "broker"):
        assert results[name].text.endswith("check that it runs, and RELEVE_REDIS_URL"), "each fault has its advice"


@pytest.mark.sockets  # It asks the supplier's clock.
def test_a_stopped_embedded_redis_is_told_and_neither_a_fault_nor_started(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    results = {result.check: result for result in run_checks(build_connections())}
    for name in ("redis", "broker", "supplier", "queues", "workers", "beat"):
        assert results[name].level is Level.OK
        assert "the embedded Redis is not running, `releve up` starts it" in results[name].text
    assert "Redis" not in results["clock"].text
    assert not (tmp_path / "redis").exists()
    (result, *_) = check_readiness("worker", build_connections())
    assert (result.check, result.level) == ("redis", Level.FAIL) and "start `releve up`" in result.text


def test_an_error_becomes_one_line(build_connections: BuildConnections) -> None:
    def broken(_: object) -> list[CheckResult]:
        raise ConfigError("two\nlines")

    result = run_check("web", broken, build_connections())
    assert (result.level, result.text) == (Level.FAIL, "two lines")


@pytest.mark.sockets
def test_a_lost_redis_is_a_reason_not_to_be_ready_but_none_to_be_started_anew(
    build_connections: BuildConnections,
) -> None:
    away = build_connections(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    for role in ("worker", "beat"):
        assert not any(result.failed for result in check_liveness(role, away))
        assert "redis" in [result.check for result in check_readiness(role, away) if result.failed]


def test_a_fault_is_not_hidden_among_what_is_fine() -> None:
    result = summarize(
        "redis", [ok("broker.same"), fail("redis.loading"), warn("redis.no_file"), fail("told", text="a replica")]
    )
    assert (result.level, result.text) == (Level.FAIL, "it is still loading its data: wait; a replica")
    assert result.as_line() == "FAIL redis       it is still loading its data: wait; a replica"
    assert result.translate("fr") == typeset_french("il charge encore ses données : attendez ; a replica")


def test_a_doubt_is_no_failure() -> None:
    result = summarize("redis", [warn("registry.no_tables"), ok("told", text="it runs")])
    told = "it has no tables yet: run `releve migrate`"
    assert result.to_json() == {"check": "redis", "level": "warn", "ok": True, "told": told}


def test_what_is_fine_is_told_in_full() -> None:
    assert summarize("queues", [ok("told", text="a 1"), ok("told", text="b 2")]).text == "a 1; b 2"
