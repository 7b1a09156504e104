"""Messages between tasks: they are compact JSON, and what is unpacked equals what was packed."""

from __future__ import annotations

import json
from datetime import date, timedelta

from tests.support.factories import end_labels, v5_answer, window_job
from worker.domain.measures.documents import entry_of
from worker.domain.measures.messages import job_of, series_of, window_of
from worker.domain.measures.readings import DateWindow, Period, Series
from worker.domain.parsing.enedis import parse_load_curve

WINDOW = DateWindow(date(2024, 10, 24), date(2024, 10, 31))


def test_a_batch_tells_its_window_and_nothing_more_of_its_origin() -> None:
    asked = window_job(WINDOW, Series.LOAD_CURVE, claim="account/backfill")
    assert (series_of(asked), window_of(asked)) == (Series.LOAD_CURVE, WINDOW)
    assert job_of({**asked, "readings": []}) == asked  # type: ignore[typeddict-unknown-key]


def test_a_full_window_of_half_hours_stays_a_small_message() -> None:
    days = [WINDOW.start + timedelta(days=number) for number in range(WINDOW.days)]
    rows = [[label, "12345"] for day in days for label in end_labels(day)]
    entries = [entry_of(reading, Period.MINUTE)[:3] for reading in parse_load_curve(v5_answer(rows)).readings]
    assert len(entries) == 338
    assert len(json.dumps(entries, separators=(",", ":"))) < 12_000
