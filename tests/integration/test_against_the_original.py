"""The comparison with the original: both sides do the same work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from benchmarks.original import theirs
from drill.expected_documents import Truth
from tests.support import servers

pytestmark = pytest.mark.rest


def measured(days: int) -> Truth:
    """Return the last days before today, at 600 W and slowly more."""
    first = date(2024, 7, 25) - timedelta(days=days)
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(hours=2)
    starts = [midnight + number * timedelta(minutes=30) for number in range(48 * days)]
    curve = [(f"{start:%Y-%m-%dT%H:%M:%SZ}", 30, 600 + 2 * number) for number, start in enumerate(starts)]
    daily = {
        (first + timedelta(days=n)).isoformat(): sum(w for _, _, w in curve[48 * n :][:48]) / 2 for n in range(days)
    }
    return Truth(daily, curve)


def test_rows_are_labelled_with_local_ends_and_a_call_brings_seven_days() -> None:
    rows = theirs.Rows.from_truth(measured(days=10))
    assert [len(call) for call in rows.curves] == [7 * 48, 3 * 48]
    assert (rows.curves[0][0], rows.curves[1][-1][0]) == (["2024-07-15 00:30:00", 600], "2024-07-25 00:00:00")
    assert rows.daily[0][0] == "2024-07-15"
    assert rows.for_later_run() == theirs.Rows(rows.daily, rows.curves[-1:])


@pytest.fixture(scope="module")
def couchdb() -> Iterator[str]:
    """Yield a CouchDB address where the original's library is installed; only the comparison needs it."""
    try:
        theirs.version()
        with servers.couchdb_server() as url:
            yield url.removeprefix("couchdb+").rstrip("/")
    except servers.NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("flow", theirs.FLOWS)
def test_the_originals_library_stores_what_was_measured_and_finds_nothing_new_later(flow: str, couchdb: str) -> None:
    truth, prefix = measured(days=2), f"{flow}-"
    daily, [steps] = theirs.Rows.from_truth(truth).daily, theirs.Rows.from_truth(truth).curves
    # Two calls meet within an hour, for which the konnector's second total replaces the first one.
    rows = theirs.Rows(daily, [steps[:49], steps[49:]])
    with theirs.stack(couchdb, prefix) as stack:
        first, later = theirs.sync(flow, rows, stack.url), theirs.sync(flow, rows.for_later_run(), stack.url)
    stored = theirs.content(couchdb, prefix)
    assert stored == truth.expected_loads()
    assert (first.added, later.added) == (96 + 48 + 2 + 1 + 1 + (flow == "konnector"), 0)
