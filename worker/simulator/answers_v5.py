"""Measures as v4 and v5 send them (upstream-apis, 1.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.domain.measures.answers import Json
from worker.simulator.answers import Row
from worker.simulator.api.requests import Question
from worker.simulator.homes.series import Kind

_READING_TYPES: Final = {
    Kind.LOAD_CURVE: {"unit": "W", "measurement_kind": "power", "aggregate": "average"},
    Kind.DAILY: {"unit": "Wh", "measurement_kind": "energy", "aggregate": "sum", "measuring_period": "P1D"},
    Kind.MAX_POWER: {
        "unit": "VA",
        "measurement_kind": "power",
        "aggregate": "maximum",
        "measuring_period": "P1D",
    },
}


def body_v5(question: Question, rows: Sequence[Row], quality: str) -> Json:
    return {
        "meter_reading": {
            "usage_point_id": question.usage_point,
            "start": question.start.isoformat(),
            "end": question.end.isoformat(),
            "quality": quality,
            "reading_type": _READING_TYPES[question.resource.kind],
            "interval_reading": [_row(row) for row in rows],
        }
    }


def _row(row: Row) -> Json:
    if not row.minutes:
        return {"value": row.value, "date": row.label}
    return {
        "value": row.value,
        "date": row.label,
        "interval_length": f"PT{row.minutes}M",
        "measure_type": row.marks[0],
    }
