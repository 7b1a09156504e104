"""One round of the comparison: a first sync on empty databases, unchanged syncs, and those of an older home."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests

from benchmarks import processes
from benchmarks.original import ours, theirs
from benchmarks.original.aged import age_ours, age_theirs
from drill.expected_documents import Loads
from tests.support.counting_proxy import CountingProxy

FIRST, UNCHANGED, AGED = KINDS = ("first", "unchanged", "unchanged in an older home")
CURVE_DAYS: Final = 28
_RUNS: Final = 3  # Unchanged syncs in a row.
_TIMEOUT_S: Final = 60


class WrongContent(RuntimeError):
    """The stored values are not what the home measured, so the comparison has no value."""


@dataclass
class Outcome:
    """Each sync's seconds by the clock and of the processor (its own, the stand-in's and the server's).

    ``requests`` has the counted requests of one sync, by what they were sent to.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    cpu_seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    requests: dict[str, dict[str, int]] = field(default_factory=dict)


class RequestCounters:
    """Counters of requests on the wire when ``counting``; otherwise calls go straight to their server."""

    def __init__(self, counting: bool, opened: ExitStack) -> None:
        self._counting, self._opened = counting, opened
        self._proxies: dict[str, CountingProxy] = {}

    def address_for(self, name: str, url: str) -> str:
        """Return the address to use instead of ``url``."""
        if not self._counting:
            return url
        self._proxies[name] = self._opened.enter_context(CountingProxy(url))
        return self._proxies[name].url

    def take_counts(self) -> dict[str, int]:
        """Return the requests since the last call."""
        counts = {name: len(proxy.requests) for name, proxy in self._proxies.items()}
        for proxy in self._proxies.values():
            proxy.clear()
        return counts


@dataclass(frozen=True)
class Comparison:
    """Servers and data that both sides use: CouchDB's http:// address, and in ``truth`` what must be stored."""

    couchdb: str
    couchdb_pids: list[int]
    settings: dict[str, Any]
    rows: theirs.Rows
    truth: Loads
    answer_cache: ours.AnswerCache
    aged_days: int  # Days of load curve that the older home has.

    def run_original(self, flow: str, counting: bool = False) -> Outcome:
        later_rows = self.rows.for_later_run()
        with ExitStack() as opened:
            counters = RequestCounters(counting, opened)
            stack = opened.enter_context(theirs.stack(counters.address_for("couchdb", self.couchdb)))
            url = counters.address_for("stack", stack.url)
            return self._round(
                counters,
                [*self.couchdb_pids, stack.pid],
                first=lambda: theirs.sync(flow, self.rows, url),
                unchanged=lambda: theirs.sync(flow, later_rows, url),
                content=lambda: theirs.content(self.couchdb),
                age=lambda: age_theirs(self.couchdb, self.aged_days, CURVE_DAYS),
            )

    def run_releve(self, asking: bool, counting: bool = False, **settings: Any) -> Outcome:
        """Run a round of Relève; with ``asking`` the supplier is asked over HTTP instead of the cache."""
        with ExitStack() as opened:
            counters = RequestCounters(counting, opened)
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-benchmark-")))
            settings_here = {
                **self.settings,
                **settings,
                "measures_url": "couchdb+" + counters.address_for("couchdb", self.couchdb),
            }
            home = opened.enter_context(ours.open_home(folder, settings_here, None if asking else self.answer_cache))
            return self._round(
                counters,
                self.couchdb_pids,
                first=home.first_sync,
                unchanged=home.unchanged_sync,
                content=home.content,
                age=lambda: age_ours(home, self.aged_days, CURVE_DAYS),
            )

    def _round(
        self,
        counters: RequestCounters,
        helpers: list[int],
        first: Callable[[], theirs.SyncMeasurement],
        unchanged: Callable[[], theirs.SyncMeasurement],
        content: Callable[[], Loads],
        age: Callable[[], None],
    ) -> Outcome:
        self._delete_databases()
        outcome = Outcome()

        def run_sync(kind: str, sync: Callable[[], theirs.SyncMeasurement]) -> None:
            counters.take_counts()  # Requests between two syncs don't count.
            cpu_before = processes.cpu_s(helpers)
            measurement = sync()
            outcome.seconds[kind].append(measurement.seconds)
            outcome.cpu_seconds[kind].append(measurement.cpu_seconds + processes.cpu_s(helpers) - cpu_before)
            outcome.requests[kind] = counters.take_counts()

        run_sync(FIRST, first)
        self.check_content(content())
        for _ in range(_RUNS):
            run_sync(UNCHANGED, unchanged)
        self.check_content(content())
        age()
        for _ in range(_RUNS):
            run_sync(AGED, unchanged)
        return outcome

    def _delete_databases(self) -> None:
        """Delete all databases, so that each round begins on an empty server."""
        for name in requests.get(f"{self.couchdb}/_all_dbs", timeout=_TIMEOUT_S).json():
            if not name.startswith("_"):
                requests.delete(f"{self.couchdb}/{quote(name, safe='')}", timeout=_TIMEOUT_S).raise_for_status()

    def check_content(self, stored: Loads) -> None:
        for period, loads in self.truth.items():
            wrong = {key for key in loads.keys() | stored[period].keys() if loads.get(key) != stored[period].get(key)}
            if wrong:
                raise WrongContent(f"{len(wrong)} documents of {period.value} are not what was measured: {min(wrong)}")
