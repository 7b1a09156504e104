"""The message that starts a window: it has the window and the steps after the first."""

from __future__ import annotations

import json
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import Celery
from celery.exceptions import Ignore

from tasks import pipeline
from tests.support.factories import window_job
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import DateWindow, Series

WINDOW = window_job(
    DateWindow(date(2024, 7, 18), date(2024, 7, 25)), Series.LOAD_CURVE, claim="nightly/1721890000123456"
)


def message_of(signature: Any) -> tuple[int, Any, Any]:
    """Return the size of the message in Redis, its body, and its queue."""
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_compression = "gzip"
    with app.connection_for_write() as connection:
        task = app.tasks[signature.task]
        task.apply_async(signature.args, signature.kwargs, connection=connection, **signature.options)
        queue = signature.options["queue"]
        message = connection.SimpleQueue(queue).get(timeout=5)
        stored = {"body": message.body.decode(), "headers": message.headers, "properties": message.properties}
        return len(json.dumps(stored)), message.decode(), queue


@pytest.mark.parametrize("claim", ["nightly/1721890000123456", "backfill/1721890000123456", None])
def test_a_window_is_one_chain_of_four_steps_and_a_history_goes_on(claim: str | None) -> None:
    window = cast(WindowJob, {**WINDOW, "claim": claim})
    size, (args, kwargs, embedded), queue = message_of(pipeline.window_chain(window, "nightly"))
    assert args == ["home1", "load_curve", "2024-07-18", "2024-07-25"]
    assert kwargs == {"run_id": WINDOW["run_id"], "claim": claim}
    assert (queue, size < 1_900) == ("nightly", True), size
    *later_steps, store, aggregate, filter_known = embedded["chain"]  # The next step stands last.
    steps = [filter_known, aggregate, store]
    assert [step["task"] for step in steps] == [
        f"tasks.pipeline.{name}" for name in ("filter_known", "aggregate", "store")
    ]
    assert {step["options"]["queue"] for step in steps} == {"nightly"}
    goes_on = claim is not None and claim.startswith("backfill")
    next_choice = [("tasks.backfill.backfill_account", ["home1"], True)] if goes_on else []
    assert [(step["task"], step["args"], step["immutable"]) for step in later_steps] == next_choice


def test_what_is_not_to_be_asked_any_more_ends_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[WindowJob] = []

    def confirm(job: WindowJob) -> None:
        jobs.append(job)

    runtime = SimpleNamespace(claims=SimpleNamespace(confirm=confirm))  # There is no supplier to call.
    monkeypatch.setattr(pipeline, "get_runtime", lambda: runtime)
    with pytest.raises(Ignore):
        pipeline.fetch.run(
            "home1", "load_curve", "2024-07-18", "2024-07-25", run_id=WINDOW["run_id"], claim=WINDOW["claim"]
        )
    assert jobs == [WINDOW]
