"""Facts that the result of a window implies, and the fields of its states and log lines."""

from __future__ import annotations

from datetime import date, datetime

from worker.domain.fleet.outcomes import Call, classify_answer, run_of
from worker.domain.measures.messages import WindowResult, window_fields, window_of


def floor_of(result: WindowResult) -> date | None:
    """Return the first day for which the supplier has data, if this window found it out."""
    floor = result["facts"]["floor"]
    return date.fromisoformat(floor) if floor else None


def to_call(result: WindowResult, floor: date | None) -> Call:
    """Return the call to the supplier that the result comes from."""
    facts = result["facts"]
    answer = classify_answer(facts["fetched"], facts["dropped"], floor)
    at = datetime.fromisoformat(facts["fetched_at"])
    return Call(at, window_of(result), answer, run_of(result["claim"]))


def stored_fields(result: WindowResult, now: datetime) -> dict[str, str | int | float]:
    """Return the fields of a stored window's log line; ``duration_s`` counts from the call to the supplier."""
    facts = result["facts"]
    return {
        **window_fields(result),
        "fetched": facts["fetched"],
        "created": result["created"],
        "updated": result["updated"],
        "unchanged": result["unchanged"],
        "dropped": facts["dropped"],
        "differing": facts["differing"],
        "duration_s": round(max(0.0, now.timestamp() - facts["asked_at"]), 3),
        "outcome": "stored",
    }
