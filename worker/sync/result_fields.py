"""Facts that the result of a window implies, and the fields of its states and log lines."""

from __future__ import annotations

from datetime import date, datetime

from worker.domain.fleet.outcomes import Call, classify_answer, run_of
from worker.domain.measures.messages import WindowResult, night_of, split_run, window_fields, window_of
from worker.domain.measures.readings import ONE_DAY


def floor_of(result: WindowResult) -> date | None:
    """Return the first day for which the supplier has data, if this window found it out."""
    floor = result["facts"]["floor"]
    return date.fromisoformat(floor) if floor else None


def night_served(result: WindowResult) -> date | None:
    """Return the latest night that this look-back serves; None if the claim is of another kind.

    It serves its own night. If it was asked for after midnight and brought the reading of the day before, it also
    serves the night of the new day, which then needs no call.
    """
    night, window, last_day = (
        night_of(result["claim"]),
        window_of(result),
        result["facts"]["last_day"],
    )
    if night is None or last_day is None or date.fromisoformat(last_day) < window.end - ONE_DAY:
        return night
    return max(night, window.end)


def finished_run_fields(result: WindowResult) -> dict[str, str]:
    """Return the fields that name the run as finished for the series; none for a window of the history."""
    scope, run = split_run(result["claim"] or "")
    return {"last_run": f"{scope}/{run}", f"last_{run.partition(':')[0]}": run} if scope == result["series"] else {}


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
