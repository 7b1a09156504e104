"""Beat's schedule: the task by which beat is heard of is due at once, whether beat's file is new or old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from worker.ops.startup import BeatScheduler


class RecordingScheduler(BeatScheduler):
    """A scheduler that sends nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.sent: list[str] = []
        super().__init__(*args, **options)

    def apply_async(self, entry: Any, *_: Any, **__: Any) -> None:
        self.sent.append(entry.name)


@pytest.mark.parametrize("starts", [1, 2])
def test_the_tick_alone_is_due_at_the_start_and_then_a_minute_later(tmp_path: Path, starts: int) -> None:
    app = Celery("beat", broker="memory://", set_as_current=False)
    entry = {"task": "tasks.any", "schedule": 60.0}
    app.conf.beat_schedule = {"tick": entry, "another": entry}
    for _ in range(starts):
        scheduler = RecordingScheduler(app, schedule_filename=str(tmp_path / "new folder" / "schedule"))
        waits = [scheduler.tick() for _ in range(3)]
        scheduler.close()
        assert scheduler.sent == ["tick"] and waits[0] == 0 and waits[-1] > 0
