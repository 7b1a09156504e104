"""The messages of a window: the chain that begins it, and the sealed messages between its steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from celery import Celery, current_app
from celery.exceptions import Ignore
from kombu.utils.imports import symbol_by_name

from config import celery_options
from tasks import base, pipeline
from tests.support.factories import window_job
from tests.support.parts import use_parts
from worker.domain.messages import WindowJob
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import StoreUnavailable
from worker.stores.encryption import Purpose, Sealer, generate_key

WINDOW = window_job(
    DateWindow(date(2024, 7, 18), date(2024, 7, 25)), Series.LOAD_CURVE, claim="nightly/1721890000123456"
)
LINE = "home1 load_curve 2024-07-18/2024-07-25 20240725T070000 nightly/1721890000123456"
READING = 739193918
BATCH = {**WINDOW, "readings": [[28833000, 30, READING]] * 336}
LATER_STEPS = pytest.mark.parametrize(
    "step", [pipeline.filter_known, pipeline.aggregate, pipeline.store], ids=lambda step: step.name
)


@pytest.fixture
def published() -> Iterator[Callable[[Any, str], Any]]:
    """Publish a signature with our options, and return the message in the queue that it went to."""
    former = current_app._get_current_object()
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.update(
        task_compression=celery_options.task_compression,
        task_routes=celery_options.task_routes,
        task_create_missing_queues=True,
    )

    def publish(signature: Any, queue: str) -> Any:
        with app.connection_for_write() as connection:
            messages = connection.SimpleQueue(queue)
            messages.clear()  # All of the process share the queues in memory.
            signature.apply_async(connection=connection)
            return messages.get(timeout=5)

    app.set_current()
    yield publish
    former.set_current()


def parts_with_key(sealer: Sealer) -> Any:
    return Mock(stores=SimpleNamespace(keys=SimpleNamespace(broker=sealer)))


@pytest.fixture
def sealer(monkeypatch: pytest.MonkeyPatch) -> Sealer:
    sealer = Sealer([generate_key()], Purpose.BROKER)
    use_parts(monkeypatch, parts_with_key(sealer))
    return sealer


def size_in_redis(message: Any) -> int:
    stored = {"body": message.body.decode(), "headers": message.headers, "properties": message.properties}
    return len(json.dumps(stored))


@pytest.mark.parametrize(
    "claim, queue",
    [("nightly/1721890000123456", "nightly"), ("backfill/1721890000123456", "backfill"), (None, "repair")],
)
def test_a_window_is_a_chain_of_four_steps_and_a_history_goes_on(published: Any, claim: str | None, queue: str) -> None:
    message = published(pipeline.window_chain(cast(WindowJob, {**WINDOW, "claim": claim})), queue)
    args, kwargs, embedded = message.decode()
    assert args == ["home1", "load_curve", "2024-07-18", "2024-07-25"]
    assert kwargs == {"run_id": WINDOW["run_id"], "claim": claim}
    assert size_in_redis(message) < 2_300
    steps = [(step["task"].rpartition(".")[2], step["args"]) for step in reversed(embedded["chain"])]
    next_choice = [("backfill_account", ["home1"])] if claim == "backfill/1721890000123456" else []
    assert steps == [("filter_known", []), ("aggregate", []), ("store", []), *next_choice]


@LATER_STEPS
def test_a_step_goes_to_its_own_queue_and_its_message_shows_no_reading(
    published: Any, sealer: Sealer, step: Any
) -> None:
    message = published(step.s(base.seal(cast(WindowJob, BATCH), step.name.rpartition(".")[2])), "steps")
    (sealed,), _, _ = message.decode()
    assert base.unseal(sealed, step.name.rpartition(".")[2]) == BATCH
    assert {name: sealed[name] for name in WINDOW} == WINDOW
    assert str(READING) not in json.dumps(sealed)
    assert size_in_redis(message) < 3_000
    request = symbol_by_name(step.Request)(message, app=step.app, task=step)
    assert request.info()["args"] == LINE
    assert not [safe for safe in (True, False) if sealed["sealed"][:40] in str(request.info(safe=safe))]


def test_a_fetch_shows_the_window_and_the_run(published: Any) -> None:
    message = published(pipeline.fetch.s("home1", "load_curve", "2024-07-18", "2024-07-25", run_id="r1"), "nightly")
    info = symbol_by_name(pipeline.fetch.Request)(message, app=pipeline.fetch.app, task=pipeline.fetch).info()
    assert (info["args"], info["kwargs"]) == ("home1 load_curve 2024-07-18 2024-07-25", "{'run_id': 'r1'}")


@pytest.mark.usefixtures("sealer")
@LATER_STEPS
def test_a_message_under_a_key_that_is_gone_is_a_foreseen_error_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    sealed = base.seal(cast(WindowJob, BATCH), step.name.rpartition(".")[2])
    use_parts(monkeypatch, parts_with_key(Sealer([generate_key()], Purpose.BROKER)))
    with pytest.raises(StoreUnavailable, match="RELEVE_TOKEN_KEYS") as caught:
        step.run(sealed)
    assert str(READING) not in str(caught.value)


def test_what_is_not_to_be_asked_any_more_ends_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[WindowJob] = []

    def confirm(job: WindowJob) -> None:
        jobs.append(job)

    parts = SimpleNamespace(
        sync=SimpleNamespace(claims=SimpleNamespace(confirm=confirm))
    )  # There is no supplier to call.
    use_parts(monkeypatch, parts)
    with pytest.raises(Ignore):
        pipeline.fetch.run(
            "home1", "load_curve", "2024-07-18", "2024-07-25", run_id=WINDOW["run_id"], claim=WINDOW["claim"]
        )
    assert jobs == [WINDOW]
