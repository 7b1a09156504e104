"""Keep the messages of a few windows as the workers of this version publish them, for the upgrades to later ones.

``python -m tests.golden.keep_messages 0.2.0``, with the code of that version, writes
``tests/golden/release_0.2.0/messages.json`` once, after ``keep_installation`` has made its folder;
``test_kept_messages.py`` reads it. During an upgrade workers of both versions take from one queue, so a step of one is
followed by a step of the other. The meters are made up; sealed values differ from run to run, the rest is the same. Of
each window:

- ``job``, ``asked_at`` and ``answer``: what was asked for and when, and what the supplier said.
- ``before`` and ``recent``: what was stored then, and the answers known lately.
- ``published``: by step, its message at the broker, with its queue, headers, arguments and the rest of the chain.
- ``messages``: by step, what is sealed in it.
- ``after`` and ``corrections``: what was stored in the end, without revisions, and the values that were replaced.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import pytest
from celery import Celery, current_app
from kombu.utils.imports import symbol_by_name

from config import celery_options
from tasks import base, pipeline
from tests.golden.keep_installation import FOLDER, KEYS, documents_of
from tests.support import gas_answers
from tests.support.factories import NOW, MemoryRecorder, PretendSupplier, make_window_sync, v5_answer, window_job
from tests.support.fakes import memory_measures
from tests.support.parts import use_parts
from worker.domain.comparison import RecentAnswers
from worker.domain.messages import WindowJob
from worker.domain.series import Doctype, Series
from worker.domain.windows import DateWindow
from worker.stores.encryption import Purpose, Sealer

HOME: Final = "home1"
STEPS: Final = {step: f"tasks.pipeline.{step}" for step in ("fetch", "filter_known", "aggregate", "store")}
NEXT_CHOICE: Final = "next choice"  # The message after those of the steps, where the window is one of a history.
_HOUR: Final = timedelta(hours=1)
_IDS: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # Of tasks and processes.


class Window(NamedTuple):
    """A window to keep: its answer, and those that were stored before it.

    ``hours_ago``: when it was asked for; the others were asked for an hour ago.
    """

    series: Series
    window: str
    answer: Any
    before: tuple[Any, ...] = ()
    claim: str | None = None
    hours_ago: int = 0

    @property
    def job(self) -> WindowJob:
        return window_job(DateWindow.parse(self.window), self.series, HOME, claim=self.claim)


def _half_hours(*watts: int | None, minutes: int = 30) -> Any:
    """Return a curve from midnight on; None stands for a step that the answer lacks."""
    labels = [
        f"2024-07-24 {minutes * (number + 1) // 60:02}:{minutes * (number + 1) % 60:02}:00" for number in range(8)
    ]
    rows = zip(labels, watts, strict=False)
    return v5_answer([(label, str(value), f"PT{minutes}M") for label, value in rows if value is not None], "W")


def _gas_days(*days: tuple[str, float, dict[str, Any]]) -> Any:
    return {"records": [gas_answers.day(day, energy, **fields) for day, energy, fields in days]}


_FINAL: Final = {"statut_conso": "Définitive"}
WINDOWS: Final = {
    # A day changes, one is as it was, one is new, one has no value, and one can't be (rule K7).
    "daily": Window(
        Series.DAILY,
        "2024-07-18/2024-07-25",
        v5_answer(
            [
                ("2024-07-18", "5000"),
                ("2024-07-19", "6100"),
                ("2024-07-20", "7000"),
                ("2024-07-21", None),
                ("2024-07-22", "99999999"),
            ],
            "Wh",
        ),
        before=(v5_answer([("2024-07-18", "5000"), ("2024-07-19", "6000")], "Wh"),),
        claim="nightly/1721890000123456",
    ),
    "changed curve": Window(
        Series.LOAD_CURVE,
        "2024-07-24/2024-07-25",
        _half_hours(800, 1200, 500, 520, 300),
        before=(_half_hours(800, 1200, 500, 510),),
        claim="again/1721890000123457",
    ),
    "steps of other bounds": Window(
        Series.LOAD_CURVE,
        "2024-07-24/2024-07-25",
        _half_hours(1000, 505, minutes=60),
        before=(_half_hours(800, 1200, 500, 510, 300),),
    ),
    "late answer": Window(
        Series.DAILY,
        "2024-07-18/2024-07-21",
        v5_answer([("2024-07-18", "4000"), ("2024-07-19", "4100")], "Wh"),
        before=(v5_answer([("2024-07-19", "6000"), ("2024-07-20", "7000")], "Wh"),),
        claim="repair/1721890000123458",
        hours_ago=2,
    ),
    "maximum power": Window(
        Series.MAX_POWER,
        "2024-07-01/2024-07-03",
        v5_answer([("2024-07-01 12:06:20", "4638"), ("2024-07-02 19:00:00", "4100"), ("2024-07-02 07:15:10", "5120")]),
        before=(v5_answer([("2024-07-01 11:00:00", "4600")]),),
        claim="look-back/1721890000123459",
    ),
    "gas days": Window(
        Series.GAS_DAILY,
        "2024-07-20/2024-07-23",
        _gas_days(("2024-07-20", 31, _FINAL), ("2024-07-21", 12, _FINAL), ("2024-07-22", 0.5, {})),
        before=(_gas_days(("2024-07-20", 33, {}), ("2024-07-21", 12, {})),),
        claim="nightly/1721890000123460",
    ),
    "gas periods": Window(
        Series.GAS_PUBLISHED,
        "2024-01-01/2024-03-01",
        {
            "records": [
                gas_answers.period("2024-01-01", "2024-01-03", 21),
                gas_answers.period("2024-01-03", "2024-02-03", 330.5),
            ]
        },
        before=({"records": [gas_answers.period("2024-01-01", "2024-02-01", 300, type_qualif_conso="Estimé")]},),
        claim="catch-up/1721890000123461",
    ),
    "contract": Window(
        Series.CONTRACT,
        "2024-07-22/2024-07-25",
        {
            "situation_contrat": [{"segment": "C5", "subscribed_power": {"unit": "kVA", "value": "9"}}],
            "synth_contrat": {"consumption_last_activation_date": "2013-08-14T00:00:00+0200", "services_level": "com"},
        },
        claim="nightly/1721890000123463",
    ),
    "history": Window(
        Series.DAILY,
        "2022-12-30/2023-01-03",
        v5_answer([("2022-12-31", "9000"), ("2023-01-01", "8000")], "Wh"),
        claim="backfill/1721890000123462",
    ),
}


def main(version: str) -> None:
    """Write the messages into the folder of a version."""
    kept = {name: _keep(window) for name, window in WINDOWS.items()}
    parts = (f"{_to_json(name)}: {{\n{_to_lines(window)}\n}}" for name, window in kept.items())
    target = FOLDER / f"release_{version}" / "messages.json"
    target.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _keep(window: Window) -> dict[str, Any]:
    asked_at = NOW - window.hours_ago * _HOUR
    kept: dict[str, Any] = {"job": window.job, "asked_at": asked_at.isoformat(), "answer": window.answer}
    with Workers.of(kept) as workers:
        for answer in window.before:
            before = PretendSupplier(others={window.series: answer})
            sync = make_window_sync(before, workers.measures, recorder=workers.recorder, now=lambda: NOW - _HOUR)
            sync.sync_window({**window.job, "claim": None})
        kept["before"] = {doctype.value: list(rows) for doctype, rows in workers.stored().items()}
        kept["recent"] = str(workers.recorder.recent_answers(window.job))
        workers.recorder.corrections.clear()
        kept["published"], kept["messages"] = {}, {}
        pipeline.publish([window.job])
        for step in STEPS:
            message = kept["published"][step] = workers.take()
            if step != "fetch":
                kept["messages"][step] = workers.unseal(message, step)
            workers.run(message)
        if message := workers.take():
            kept["published"][NEXT_CHOICE] = message
        kept |= workers.outcome()
    return kept


class Workers:
    """Workers with our options, at a broker and stores in memory: each message is taken and run when a test says so."""

    def __init__(self, kept: Mapping[str, Any], app: Celery, patch: pytest.MonkeyPatch) -> None:
        self.measures, self.recorder, self._app = memory_measures(), MemoryRecorder(), app
        self._asked_at = datetime.fromisoformat(kept["asked_at"])
        self._now, self._ids = NOW, dict[str, str]()
        self._restore(kept)
        supplier = PretendSupplier(others={Series(kept["job"]["series"]): kept["answer"]})
        sync = SimpleNamespace(
            claims=SimpleNamespace(confirm=lambda job: job),
            steps=SimpleNamespace(running=lambda step, process: nullcontext()),
            window=make_window_sync(supplier, self.measures, recorder=self.recorder, now=lambda: self._now),
        )
        keys = SimpleNamespace(broker=Sealer([KEYS["token_keys"]], Purpose.BROKER))
        use_parts(patch, SimpleNamespace(sync=sync, stores=SimpleNamespace(keys=keys)))
        for name in STEPS.values():
            patch.setattr(app.tasks[name], "__trace__", None)  # It remembers the app of its first run.

    @classmethod
    @contextmanager
    def of(cls, kept: Mapping[str, Any]) -> Iterator[Workers]:
        """Yield workers that find what was stored before a kept window."""
        former = current_app._get_current_object()
        app = Celery("kept", broker="memory://", set_as_current=False)
        app.config_from_object(celery_options)
        app.conf.update(broker_url="memory://", broker_transport_options={})
        app.set_current()
        app.loader.import_default_modules()
        try:
            with pytest.MonkeyPatch.context() as patch, app.connection_for_write() as connection:
                for queue in app.amqp.queues.values():
                    queue(connection.default_channel).declare()
                    queue(connection.default_channel).purge()
                yield cls(kept, app, patch)
        finally:
            former.set_current()

    def _restore(self, kept: Mapping[str, Any]) -> None:
        for doctype, documents in kept.get("before", {}).items():
            self.measures[Doctype(doctype)].documents = {document["_id"]: document for document in documents}
        if recent := kept.get("recent"):
            self.recorder.recent[kept["job"]["account_id"], kept["job"]["series"]] = RecentAnswers.parse(recent)

    def take(self) -> dict[str, Any] | None:
        """Take the only message from the broker, or return None; ids have short names, in the order of appearance."""
        with self._app.connection_for_read() as connection:
            found = [
                (queue.name, message)
                for queue in self._app.amqp.queues.values()
                if (message := queue(connection.default_channel).get(no_ack=True))
            ]
        if not found:
            return None
        ((queue, message),) = found
        args, kwargs, embedded = message.decode()
        headers = {name: value for name, value in message.headers.items() if name != "origin"}  # A computer's name.
        headers["releve_published_at"] *= 0  # It must be there; its value differs from run to run.
        fields = {"headers": headers, "args": args, "kwargs": kwargs, "embedded": embedded}
        text = _IDS.sub(lambda found: self._ids.setdefault(found[0], f"id{len(self._ids) + 1}"), json.dumps(fields))
        return {"queue": queue, "content_type": message.content_type, **json.loads(text)}

    def run(self, published: Mapping[str, Any]) -> None:
        """Run a step as a worker does that takes its message; the step publishes the next one."""
        with self._app.connection_for_write() as connection:
            queue = self._app.amqp.queues[published["queue"]](connection.default_channel)
            headers = {name: value for name, value in published["headers"].items() if name != "compression"}
            connection.Producer().publish(
                [published["args"], published["kwargs"], published["embedded"]],
                exchange=queue.exchange,
                routing_key=queue.routing_key,
                headers=headers,
                serializer="json",
                compression=celery_options.task_compression,
            )
            message = queue.get(no_ack=True)
        task = self._app.tasks[published["headers"]["task"]]
        self._now = self._asked_at if task.name == STEPS["fetch"] else NOW
        symbol_by_name(task.Request)(message, app=self._app, task=task, on_ack=lambda *_: None).execute()

    def unseal(self, published: Mapping[str, Any] | None, step: str) -> Any:
        """Return what is sealed in the message to a step."""
        assert published is not None
        return base.unseal(published["args"][0], step)

    def stored(self) -> dict[Doctype, list[Any]]:
        """Return the documents with their revisions."""
        return {
            doctype: [dict(document) for document in memory.documents.values()]
            for doctype, memory in self.measures.items()
            if memory.documents
        }

    def outcome(self) -> dict[str, Any]:
        """Return what is stored in the end, and the values that were replaced."""
        return {"after": documents_of(self.measures, [HOME]), "corrections": self.recorder.corrections}


def _to_lines(window: Mapping[str, Any]) -> str:
    """Return JSON with a line for each field, and for each step and doctype of one."""
    lines = []
    for name, value in window.items():
        text = _to_json(value)
        if name in ("before", "published", "messages", "after") and value:
            text = "{\n  " + ",\n  ".join(f"{_to_json(key)}: {_to_json(each)}" for key, each in value.items()) + "\n }"
        lines.append(f" {_to_json(name)}: {text}")
    return ",\n".join(lines)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main(sys.argv[1])
