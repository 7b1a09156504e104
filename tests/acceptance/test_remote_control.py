"""L15: of Celery's remote control a worker answers what looks at it, and does nothing else that it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.system import QUICK_START, System, open_system, until

REFUSED: dict[str, dict[str, Any]] = {
    "shutdown": {},
    "pool_restart": {},
    "pool_grow": {"n": 3},
    "pool_shrink": {"n": 16},
    "autoscale": {"max": 1, "min": 0},
    "add_consumer": {"queue": "somebody-elses"},
    "cancel_consumer": {"queue": "control"},
    "rate_limit": {"task_name": "tests.mark", "rate_limit": "1/h"},
    "time_limit": {"task_name": "tests.mark", "hard": 1, "soft": 1},
    "revoke": {"task_id": "one-that-comes"},
    "revoke_by_stamped_headers": {"headers": {"a": "b"}},
    "terminate": {"signal": "TERM", "task_id": "one-that-comes"},
    "election": {"id": "1", "topic": "task", "action": None},
    "heartbeat": {},
    "objgraph": {},
    "memsample": {},
    "memdump": {},
    "report": {},
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("remote")
    with pytest.MonkeyPatch.context() as patch, open_system(folder) as system:
        patch.setenv("TEST_FOLDER", str(folder))
        system.start_worker(*QUICK_START, "-c", "2", app="tests.acceptance.trusting")
        yield system


def ask(system: System, command: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return the answers of all workers."""
    return list(system.publisher.control.broadcast(command, arguments=arguments, reply=True, timeout=1.0) or [])


def test_l15_what_would_change_a_worker_does_nothing(system: System) -> None:
    answers = {command: ask(system, command, **arguments) for command, arguments in REFUSED.items()}
    texts = {command: [reply["error"] for one in given for reply in one.values()] for command, given in answers.items()}
    assert texts == {command: [f"KeyError('{command}')"] for command in REFUSED}
    assert len(system.publisher.control.ping(timeout=1.0)) == 1
    ((answer,),) = [list(one.values()) for one in ask(system, "active_queues")]
    names = {queue["name"] for queue in answer}
    assert "control" in names and "somebody-elses" not in names
    ((stats,),) = [list(one.values()) for one in ask(system, "stats")]
    assert stats["pool"]["max-concurrency"] == 2
    mark = f"mark-{uuid4().hex}"
    system.publisher.send_task("tests.mark", (mark,), task_id="one-that-comes", queue="control")
    until((Path(system.folder) / mark).exists, "a task after the commands")


def test_l15_a_worker_that_starts_revokes_no_task(system: System) -> None:
    (answer,) = ask(system, "hello", from_node="celery@other", revoked={"one-that-waits": 1.0})
    assert [reply["revoked"] for reply in answer.values()] == [[]]
    ((revoked,),) = [list(one.values()) for one in ask(system, "revoked")]
    assert revoked == []


def test_l15_what_flower_asks_is_answered(system: System) -> None:
    asked = ("stats", "active_queues", "registered", "scheduled", "active", "reserved", "revoked", "conf")
    assert all(len(ask(system, command)) == 1 for command in asked)
    assert len(ask(system, "enable_events")) == 1
