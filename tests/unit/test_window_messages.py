"""What the messages of one window carry: the one that waits the window alone, those after it what they hand on."""

from __future__ import annotations

import json
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore

from tasks import pipeline
from tests.factories import origin
from worker.domain.batches import Origin
from worker.domain.readings import DateWindow, Series

WINDOW = origin(
    DateWindow(date(2024, 7, 18), date(2024, 7, 25)), Series.LOAD_CURVE, claim="load_curve/nightly:2024-07-25"
)


def message_of(signature: Any) -> tuple[int, Any, Any]:
    """Bytes of the message as Redis would keep it, its body, and the queue."""
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_compression = "gzip"
    with app.connection_for_write() as connection:
        task = app.tasks[signature.task]
        task.apply_async(signature.args, signature.kwargs, connection=connection, **signature.options)
        queue = signature.options["queue"]
        message = connection.SimpleQueue(queue).get(timeout=5)
        kept = {"body": message.body.decode(), "headers": message.headers, "properties": message.properties}
        return len(json.dumps(kept)), message.decode(), queue


def test_the_message_that_waits_carries_its_window_and_no_further_step() -> None:
    size, (args, kwargs, embedded), queue = message_of(pipeline.window_chain(WINDOW, "nightly"))
    assert args == ["home1", "load_curve", "2024-07-18", "2024-07-25"]
    assert kwargs == {"run_id": WINDOW["run_id"], "claim": WINDOW["claim"]}
    assert not any(embedded.values())
    assert (queue, size < 1400) == ("nightly", True)


@pytest.mark.parametrize("claim", ["load_curve/nightly:2024-07-25", "account/backfill", None])
def test_the_further_steps_go_the_same_way_and_a_history_goes_on(
    monkeypatch: pytest.MonkeyPatch, claim: str | None
) -> None:
    published: list[Any] = []
    recorder = SimpleNamespace(apply_async=lambda args, **options: published.append((args, options)))
    monkeypatch.setattr(pipeline, "filter_known", recorder)
    batch: Any = {**WINDOW, "claim": claim, "readings": []}
    pipeline._hand_on(batch, "nightly")
    ((args, options),) = published
    assert (args, options["queue"]) == ((batch,), "nightly")
    *after, store, aggregate = options["chain"]  # the next one stands last
    assert [step.task for step in (aggregate, store)] == ["tasks.pipeline.aggregate", "tasks.pipeline.store"]
    assert {step.options["queue"] for step in (aggregate, store)} == {"nightly"}
    next_choice = [("tasks.backfill.backfill_account", ("home1",), True)] if claim == "account/backfill" else []
    assert [(step.task, step.args, step.immutable) for step in after] == next_choice


def test_what_is_not_to_be_asked_any_more_ends_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Origin] = []

    def as_of_now(told: Origin) -> None:
        seen.append(told)

    runtime = SimpleNamespace(dispatcher=SimpleNamespace(as_of_now=as_of_now))  # and nobody to ask
    monkeypatch.setattr(pipeline, "get_runtime", lambda: runtime)
    with pytest.raises(Ignore):
        pipeline.fetch.run(
            "home1", "load_curve", "2024-07-18", "2024-07-25", run_id=WINDOW["run_id"], claim=WINDOW["claim"]
        )
    assert seen == [WINDOW]
