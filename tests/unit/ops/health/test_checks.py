"""The list of checks: all are there, told on their page, and a fault is told once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import ConfigError
from tests.unit.ops.health.conftest import Premises
from worker.ops.health import checks
from worker.ops.health.checks import CHECKS, OF_ROLES, READY, Check, examine, live, ready
from worker.ops.health.results import Level
from worker.stores.redis.child_processes import free_port

PAGE = Path(__file__).parents[4] / "docs/reference/doctor.md"


@pytest.mark.parametrize("check", [*CHECKS.values(), *OF_ROLES.values()], ids=lambda check: check.where)
def test_each_check_can_be_found(check: Check) -> None:
    assert callable(check.look())
    assert set(check.needs) <= set(CHECKS)


def test_the_page_tells_of_each_check_and_of_no_other() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = [f"| `{name}` | {check.about} |" for name, check in CHECKS.items()]
    assert rows[: len(CHECKS)] == told
    of_roles = [
        f"| `{role}` | {check.about} | {', '.join(f'`{name}`' for name in READY[role])} |"
        for role, check in OF_ROLES.items()
    ]
    assert rows[len(CHECKS) :] == of_roles


def test_what_hangs_on_a_fault_is_not_looked_at(premises: Premises) -> None:
    away = premises(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    findings = {finding.check: finding for finding in examine(away)}
    assert list(findings) == list(CHECKS)
    assert findings["redis"].level is Level.FAIL
    for name in ("supplier", "queues", "workers", "beat"):
        assert (findings[name].level, findings[name].told) == (Level.WARN, "not looked at: mend redis first")


def test_an_error_becomes_one_line(premises: Premises, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ConfigError("two\nlines")

    monkeypatch.setattr(checks, "OF_ROLES", {"web": Check("listeners:web", "")})
    monkeypatch.setattr("worker.ops.health.listeners.web", broken)
    [finding] = live("web", premises())
    assert (finding.level, finding.told) == (Level.FAIL, "two lines")


def test_a_lost_redis_is_a_reason_not_to_be_ready_but_none_to_be_started_anew(premises: Premises) -> None:
    away = premises(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    for role in ("worker", "beat"):
        assert not any(finding.failed for finding in live(role, away))
        assert "redis" in [finding.check for finding in ready(role, away) if finding.failed]


@pytest.mark.parametrize("role, unneeded", [("web", "sqlalchemy"), ("beat", "sqlalchemy"), ("worker", "celery")])
def test_a_containers_question_loads_little(role: str, unneeded: str) -> None:
    """Asked every few seconds beside a worker at work."""
    program = (
        "import sys; from contextlib import ExitStack; from config.settings import Settings;"
        "from worker.ops.health.checks import live; from worker.ops.health.connections import Visit;"
        f"settings = Settings(_env_file=None, redis_url='redis://127.0.0.1:{free_port()}/0');"
        f"list(live({role!r}, Visit(settings, ExitStack())));"
        "print(*sorted({'celery', 'fastapi', 'sqlalchemy', 'requests', 'alembic', 'couchdb'} & set(sys.modules)),"
        f"{unneeded!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False"]
