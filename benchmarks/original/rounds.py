"""One round of the comparison: a first sync on empty databases, then unchanged ones, then those of an older home."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests

from benchmarks import processes
from benchmarks.original import ours, theirs
from benchmarks.original.aged import age_ours, age_theirs
from tests.support.counting_proxy import CountingProxy, counting_proxy
from worker.cli.totals_check import Content
from worker.stores.measures.factory import open_measures

FIRST, UNCHANGED, AGED = KINDS = ("first", "unchanged", "unchanged in an older home")
CURVE_DAYS: Final = 28
_RUNS: Final = 3  # unchanged ones in a row
_TIMEOUT_S: Final = 60


class WrongContent(RuntimeError):
    """What is stored is not what the home measured: nothing was compared."""


@dataclass
class Outcome:
    """Each sync's seconds by the clock and of the processor (its own, the stand-in's and the server's).

    Where they were counted, the requests of one sync, by what they were sent to.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    cpu_seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    requests: dict[str, dict[str, int]] = field(default_factory=dict)


class Wires:
    """Counts on the wire where ``counting``; else nothing stands between a contestant and its server."""

    def __init__(self, counting: bool, opened: ExitStack) -> None:
        self._counting, self._opened = counting, opened
        self._proxies: dict[str, CountingProxy] = {}

    def to(self, name: str, url: str) -> str:
        """Where to send what is meant for ``url``."""
        if not self._counting:
            return url
        self._proxies[name] = self._opened.enter_context(counting_proxy(url))
        return self._proxies[name].url

    def taken(self) -> dict[str, int]:
        """Requests since the last time."""
        counts = {name: len(proxy.requests) for name, proxy in self._proxies.items()}
        for proxy in self._proxies.values():
            proxy.clear()
        return counts


@dataclass(frozen=True)
class Place:
    """Where both work: ``couchdb`` is the server's http:// address, ``truth`` what must be stored in the end."""

    couchdb: str
    couchdb_pids: list[int]
    settings: dict[str, Any]
    rows: theirs.Rows
    truth: Content
    at_hand: ours.AtHand
    aged_days: int  # of load curve that the older home holds

    def theirs(self, flow: str, counting: bool = False) -> Outcome:
        later = self.rows.of_a_later_run()
        with ExitStack() as opened:
            wires = Wires(counting, opened)
            stack = opened.enter_context(theirs.stack(wires.to("couchdb", self.couchdb)))
            url = wires.to("stack", stack.url)
            return self._round(
                wires,
                [*self.couchdb_pids, stack.pid],
                first=lambda: theirs.sync(flow, self.rows, url),
                unchanged=lambda: theirs.sync(flow, later, url),
                content=lambda: theirs.content(self.couchdb),
                age=lambda: age_theirs(self.couchdb, self.aged_days, CURVE_DAYS),
            )

    def ours(self, asking: bool, counting: bool = False, **settings: Any) -> Outcome:
        """``asking``: the supplier is asked over HTTP, instead of its answers lying ready."""
        with ExitStack() as opened:
            wires = Wires(counting, opened)
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-benchmark-")))
            given = {**self.settings, **settings, "measures_url": "couchdb+" + wires.to("couchdb", self.couchdb)}
            house = opened.enter_context(ours.house(folder, given, None if asking else self.at_hand))
            return self._round(
                wires,
                self.couchdb_pids,
                first=house.first,
                unchanged=house.unchanged,
                content=house.content,
                age=lambda: age_ours(house, self.aged_days, CURVE_DAYS),
            )

    def ours_together(self, homes: int, rounds: int, **settings: Any) -> Outcome:
        """Unchanged syncs of so many homes in one go; counted once, after all that are timed."""
        self._empty()
        outcome = Outcome()
        with ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-benchmark-")))
            given = {**self.settings, **settings, "measures_url": "couchdb+" + self.couchdb}
            house = opened.enter_context(ours.house(folder, given, self.at_hand, homes))
            house.first()
            house.spread()
            house.unchanged()  # a new process finds out what its server can do
            for _ in range(rounds * _RUNS):
                before = processes.cpu_s(self.couchdb_pids)
                done = house.unchanged()
                outcome.seconds[UNCHANGED].append(done.seconds)
                used = processes.cpu_s(self.couchdb_pids) - before
                outcome.cpu_seconds[UNCHANGED].append(done.cpu_seconds + used)
            wires = Wires(True, opened)
            counted = open_measures("couchdb+" + wires.to("couchdb", self.couchdb), layout=given.get("layout", "plain"))
            house.runtime.walk = replace(house.runtime.walk, measures=counted)
            for _ in range(2):  # the same holds for these
                wires.taken()
                house.unchanged()
            outcome.requests[UNCHANGED] = wires.taken()
            for account_id in house.account_ids:
                self._check(house.content(account_id))
        return outcome

    def _round(
        self,
        wires: Wires,
        helpers: list[int],
        first: Callable[[], theirs.Sync],
        unchanged: Callable[[], theirs.Sync],
        content: Callable[[], Content],
        age: Callable[[], None],
    ) -> Outcome:
        self._empty()
        outcome = Outcome()

        def walk(kind: str, sync: Callable[[], theirs.Sync]) -> None:
            wires.taken()  # what was asked between two syncs is nobody's
            before = processes.cpu_s(helpers)
            done = sync()
            outcome.seconds[kind].append(done.seconds)
            outcome.cpu_seconds[kind].append(done.cpu_seconds + processes.cpu_s(helpers) - before)
            outcome.requests[kind] = wires.taken()

        walk(FIRST, first)
        self._check(content())
        for _ in range(_RUNS):
            walk(UNCHANGED, unchanged)
        self._check(content())
        age()
        for _ in range(_RUNS):
            walk(AGED, unchanged)
        return outcome

    def _empty(self) -> None:
        """Each round begins with no database; the pages of those before weigh on nobody."""
        for name in requests.get(f"{self.couchdb}/_all_dbs", timeout=_TIMEOUT_S).json():
            if not name.startswith("_"):
                requests.delete(f"{self.couchdb}/{quote(name, safe='')}", timeout=_TIMEOUT_S).raise_for_status()

    def _check(self, stored: Content) -> None:
        for period, loads in self.truth.items():
            wrong = {key for key in loads.keys() | stored[period].keys() if loads.get(key) != stored[period].get(key)}
            if wrong:
                raise WrongContent(f"{len(wrong)} documents of {period.value} are not what was measured: {min(wrong)}")
