"""Messages between the four tasks of one window: compact JSON, which the broker carries sealed.

A table in docs/explanation/processing-pipeline.md shows the fields of each message. A message has the readings of one
window, for example 7 days of a load curve. Each reading is a ``documents.Entry`` as an array:

    ["2024-10-26T22:00Z", 206000, null, "1-a", "2024-10-28T07:31:02+00:00", 198500]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple, TypedDict, cast

from worker.domain.documents import Entry, start_of
from worker.domain.series import Granularity, Series
from worker.domain.windows import DateWindow

_A_SECOND: Final = timedelta(seconds=1)
Row = Sequence[Any]  # An Entry, or its JSON array.
_RUN_ID = "%Y%m%dT%H%M%S.%f"
_OF_FILE: Final = "-file"
# The kinds of runs say why a window is requested. All except REPAIR and BACKFILL request the last days of a series.
NIGHTLY: Final = "nightly"
CATCH_UP: Final = "catch-up"
AGAIN: Final = "again"
LOOK_BACK: Final = "look-back"
REPAIR: Final = "repair"
BACKFILL: Final = "backfill"
LOOK_BACKS: Final = frozenset({NIGHTLY, CATCH_UP, AGAIN, LOOK_BACK})


class WindowJob(TypedDict):
    """The window that a message is about, and the window's run."""

    account_id: str
    series: str
    start: str
    end: str
    run_id: str
    claim: str | None  # The claim that the window's chain of tasks releases at its end: ``nightly/1721890000123456``.


class AnswerFacts(TypedDict):
    """Facts of the answer, such as the numbers of readings and of dropped points.

    All tasks pass these facts on; only ``filter_known`` replaces some.
    """

    fetched: int
    asked_at: float  # Seconds since 1970.
    fetched_at: str  # The same instant as text in UTC, like ``updated_at`` in documents.
    dropped: int
    differing: int
    left_out: int  # Points that another point of the answer replaces (``parsing.values.ParsedAnswer``).
    set_aside: dict[str, int]  # In mWh by day: an impossible daily value, or the sum of impossible steps (rule K7).
    last_day: str | None  # The last local day with a reading.
    floor: str | None  # The first day for which the supplier has data, if this window's calls have found it.
    activated_on: str | None  # The day on which the contract began, if the answer has it.
    lacks: list[str]  # If the answer is a contract: the series that the meter lacks according to this contract.
    open: dict[str, int]  # The stored minutes of each incomplete day (``completeness.open_days``).


class Fetched(WindowJob):
    """The message from ``fetch`` to ``filter_known``."""

    readings: Sequence[Row]  # In time order, in the shortest form (``Entry.reading``).
    facts: AnswerFacts


class _Compared(WindowJob):
    """The results of an answer's comparison with the store."""

    unchanged: int  # How many readings are already stored with the same value.
    left_out: int  # How many readings are rejected because of other stored readings (``documents.settle``).
    seen: str  # The recent answers known at the comparison, as the text of ``comparison.RecentAnswers``.
    late_days: Sequence[str]  # Days on which readings were skipped, or may be out of date, because of a later answer.
    facts: AnswerFacts


class _Changing(_Compared):
    changed: Sequence[Row]
    reshaped: Sequence[str]  # The keys of steps that replace steps with other bounds (``documents.settle``).
    answer: Sequence[Row]  # If steps are reshaped: all readings of the answer, to compare again after a lost race.


class Changes(_Changing):
    """The message from ``filter_known`` to ``aggregate``: the changed inputs, and the data for their totals."""

    replaced: Sequence[Row]  # The stored readings to remove, such as steps with other bounds.
    # The affected totals, with their revisions from BEFORE the inputs were read. If another run writes a total after
    # that, our write fails and the total is computed again.
    stored_totals: dict[str, Sequence[Row]]
    rest: dict[str, dict[str, int]]  # By doctype and key of a total: the sum of the stored inputs that stay.


class Writes(_Changing):
    """The message from ``aggregate`` to ``store``: exactly the documents to write and to remove."""

    totals: dict[str, Sequence[Row]]
    removals: dict[str, Sequence[Row]]  # By doctype: replaced readings, and totals without any reading left.


class WindowResult(_Compared):
    """The result of the window, counted in documents over all doctypes."""

    created: int
    updated: int
    removed: int
    changed_days: Sequence[str]  # The days of the written readings.


class ChangedPart(NamedTuple):
    """A part of a series whose readings change.

    ``first`` and ``last``: when the first and the last changed reading start, zone-aware. ``removed``: the keys of the
    removed readings.
    """

    first: datetime
    last: datetime
    removed: frozenset[str] = frozenset()


class SealedMessage(WindowJob):
    """A message between two tasks in the broker: the window in clear text, and the whole message sealed.

    The seal is bound to the window and the step, so that nobody can store one account's readings under another's id.
    """

    sealed: str  # The message as JSON, compressed, then encrypted, in base64: ``AgAAAABm…``.


def job_of(message: WindowJob) -> WindowJob:
    """Return only the window and run of a message."""
    return cast(WindowJob, {name: value for name, value in message.items() if name in WindowJob.__annotations__})


def to_job(account_id: str, series: Series, window: DateWindow, run_id: str, claim: str | None) -> WindowJob:
    """Return the job of a window; ``claim``: the claim that its chain of tasks holds, if any."""
    return WindowJob(
        account_id=account_id,
        series=series.value,
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        run_id=run_id,
        claim=claim,
    )


def new_run_id(now: datetime) -> str:
    """Return a run id such as ``20240725T070000.000001``; ids sort by time, so a late result can be recognized."""
    return now.astimezone(UTC).strftime(_RUN_ID)


def new_file_run_id(now: datetime) -> str:
    """Return the run id of a file's import, such as ``20240725T070000.000001-file``.

    The ending shows that the corrections of this run come from a file. The id sorts by time among other run ids.
    """
    return f"{new_run_id(now)}{_OF_FILE}"


def is_file_run(run_id: str) -> bool:
    """Return whether a run was the import of a file."""
    return run_id.endswith(_OF_FILE)


def window_fields(job: WindowJob) -> dict[str, str]:
    """Return the fields of a log line that identify the window."""
    return {
        "account_id": job["account_id"],
        "series": job["series"],
        "window_start": job["start"],
        "window_end": job["end"],
        "run": job["run_id"],
    }


def split_claim(claim: str | None) -> tuple[str, str]:
    """Split a claim into the kind of its run and the claim's text in Redis; both are empty for None."""
    kind, _, text = (claim or "").partition("/")
    return kind, text


def run_kind(job: WindowJob) -> str:
    """Return the kind of the window's run; empty without a claim."""
    return split_claim(job["claim"])[0]


def is_look_back(job: WindowJob) -> bool:
    """Return whether the window's run requests the last days of a series."""
    return run_kind(job) in LOOK_BACKS


def is_backfill(job: WindowJob) -> bool:
    """Return whether the window's run loads the history."""
    return run_kind(job) == BACKFILL


def published_at(job: WindowJob) -> datetime:
    """Return when the window's run began, which is the moment in the run's id."""
    return datetime.strptime(job["run_id"], _RUN_ID).replace(tzinfo=UTC)


def series_of(message: WindowJob) -> Series:
    return Series(message["series"])


def window_of(message: WindowJob) -> DateWindow:
    return DateWindow(date.fromisoformat(message["start"]), date.fromisoformat(message["end"]))


def to_entries(rows: Iterable[Row]) -> list[Entry]:
    """Return the entries of a message from their JSON arrays, in their order."""
    return [Entry(*row) for row in rows]


def changed_part(writes: Writes) -> ChangedPart | None:
    """Return the part of the series in which readings are written or removed; None if nothing changes.

    If totals are written but no readings, the part includes the whole window. If a total is removed without any of its
    readings, an earlier run has removed the readings. Then ``removed`` has the key of the total's first possible
    reading. What a changed step, billed period or register stood for may be less now, so it counts as removed, and as
    stored again.
    """
    series = series_of(writes)
    inputs, again = series.inputs.value, {*writes["reshaped"]}
    if series.description.granularity in (Granularity.INTERVAL, Granularity.REGISTER):
        again |= {entry.key for entry in to_entries(writes["changed"]) if entry.replaced_amount is not None}
    readings = {entry[0] for entry in writes["removals"].get(inputs, ())}
    totals = {entry[0] for doctype, entries in writes["removals"].items() if doctype != inputs for entry in entries}
    alone = [key for key in totals if not any(one.startswith(key.removesuffix(":00Z")) for one in readings)]
    removed = frozenset(readings.union(again, (key if "T" in key else f"{key}-01-01"[:10] for key in alone)))
    starts = [start_of(key) for key in (*(entry[0] for entry in writes["changed"]), *removed)]
    if not writes["changed"] and any(writes["totals"].values()):
        first, end = window_of(writes).instants()
        starts += [first, end - _A_SECOND]
    return ChangedPart(min(starts), max(starts), removed) if starts else None
