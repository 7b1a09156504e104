"""A week of a fleet: the real parts on a simulated clock, with a pretend supplier and a deque for each queue."""

from __future__ import annotations

import math
import os
import sys
import time
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from benchmarks import processes
from benchmarks.fleet_seed import used_memory
from benchmarks.simulated.ages import Ages
from benchmarks.simulated.clock import HOUR_US, SECOND_US, SimulatedClock
from benchmarks.simulated.homes import Homes
from benchmarks.simulated.lanes import Workers
from benchmarks.simulated.nights import Nights
from benchmarks.simulated.null_tables import NullTables
from benchmarks.simulated.supplier import API, Supplier
from tasks.nightly import MORE_SOON_S
from worker.domain.fleet.lanes import current_quota_lane
from worker.domain.fleet.planning import Plan
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.errors import RateLimited
from worker.quota.ledger import MAX_WAIT_S, QuotaLedger
from worker.runtime.process import Runtime
from worker.sync.attempts import ATTEMPT_COST, MAX_ATTEMPT_COST
from worker.sync.incidents import Incidents
from worker.sync.probes import IncidentProber

FIRST_DAY: Final = date(2024, 7, 22)  # A Monday without a clock change near.
DAY_BEGINS: Final = 8  # Hour of the day in Paris.


@dataclass(frozen=True, slots=True)
class Options:
    """Size of the fleet, quota and length of a simulated week."""

    accounts: int
    days: float = 7
    per_hour: int = 10_000
    per_second: int = 5
    new_percent: float = 0.5  # Per cent of the fleet in a week.
    old_windows: int = 20_000
    troubles: bool = True
    max_seconds: float = 3600.0

    @property
    def hours(self) -> int:
        return round(24 * self.days)

    @property
    def nights(self) -> int:
        return math.ceil(self.days)


class DeadlinePassed(Exception):
    """The simulation took longer than ``max_seconds``."""


@dataclass
class Week:
    """A simulated week with its parts and its results.

    ``freshness`` has the fleet's ages at each hour, ``troubled_hours`` the hours in which the supplier had troubles.
    """

    options: Options
    plan: Plan
    clock: SimulatedClock
    supplier: Supplier
    workers: Workers
    nights: Nights
    homes: Homes
    ages: dict[Series, Ages]
    null_tables: NullTables
    runtime: Runtime
    ledger: QuotaLedger
    incidents: Incidents
    prober: IncidentProber = field(init=False)
    freshness: dict[Series, list[dict[str, int]]] = field(default_factory=lambda: {series: [] for series in Series})
    troubled_hours: set[int] = field(default_factory=set)
    redis_bytes: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_rss_mb: dict[str, float | None] = field(default_factory=dict)

    def run(self) -> None:
        """Simulate the week in a context of its own, since the lanes of calls are context variables."""
        copy_context().run(self._run)

    def _run(self) -> None:
        started_at = time.perf_counter()
        begin_us, end_us = self.clock.begin_us, self.clock.begin_us + self.options.hours * HOUR_US

        def check_time() -> None:
            if self.clock.hour % 24 == 0:
                print(f"day {self.clock.hour // 24} is over: {time.perf_counter() - started_at:.0f} s", file=sys.stderr)
            if time.perf_counter() - started_at > self.options.max_seconds:
                raise DeadlinePassed(
                    f"hour {self.clock.hour} of {self.options.hours} after {self.options.max_seconds:.0f} s"
                )

        self.peak_rss_mb["seeding"] = processes.peak_rss_mb(os.getpid())
        processes.reset_peak()
        self.clock.schedule_at(begin_us, self._minute)
        self.clock.schedule_at(begin_us, self._soon)
        for hour in range(1, self.options.hours + 1):
            self.clock.schedule_at(begin_us + hour * HOUR_US - 1, self._hour)
        self.clock.run(end_us, check_time)
        self.nights.flush()
        self.workers.waiting_time.finish()
        self.peak_rss_mb["week"] = processes.peak_rss_mb(os.getpid())
        self.seconds["simulated"] = round(time.perf_counter() - started_at, 1)

    def probe_window(self, origin: WindowJob) -> None:
        """Do what a probe's window sync comes to: one call, with its permit."""
        decision = self.ledger.try_permit(API, MAX_WAIT_S)
        if decision.permit is None:
            raise RateLimited("no permit in time", retry_after_s=decision.retry_in_s)
        at_us = self.clock.us + round(decision.wait_s * SECOND_US)
        self.clock.schedule_at(
            at_us, self.supplier.answer, at_us, current_quota_lane()
        )  # Calls count in the order of time.
        trouble = self.supplier.trouble_at(at_us)
        self.workers.counts["canaries"] += 1
        if trouble is None:
            self.incidents.record_answer(origin, usable=True)
            return
        error = trouble.error(at_us)
        if isinstance(error, RateLimited):
            self.workers.close_gate(error, decision.permit)
        self.incidents.record_failure(origin, error)
        raise error

    def is_held(self) -> bool:
        """Return whether nothing may be published now, as ``tasks.nightly`` decides it."""
        return self.ledger.is_gate_closed() or self.incidents.is_open()

    def _minute(self) -> None:
        self.clock.schedule_after(60, self._minute)
        if any(self.incidents.is_held(series) for series in Series):
            self.prober.run()
            self.incidents.clear_replay()  # What the replay would start is below.
        if self.supplier.trouble_at(self.clock.us) or self.incidents.is_open() or self._is_gate_reopening():
            self.troubled_hours.add(self.clock.hour)
        if self.homes.waiting and not self.is_held():
            self.homes.publish_waiting()
        self.nights.publish_missing()

    def _is_gate_reopening(self) -> bool:
        """Return whether the gate is closed or reopening; the ledger is asked only when it was closed recently."""
        lately = self.clock.us - self.workers.gate_closed_at_us < 4 * HOUR_US
        return lately and self.ledger.gate.state()[1] < 1

    def _soon(self) -> None:
        self.clock.schedule_after(MORE_SOON_S, self._soon)
        self.nights.feed()

    def _hour(self) -> None:
        night = (self.clock.local() - timedelta(hours=DAY_BEGINS)).date()
        for series, ages in self.ages.items():
            self.freshness[series].append(ages.percentiles_at(night))
        self.redis_bytes.append(used_memory(self.runtime.redis))

    def count_exhausted_windows(self) -> int:
        """Return the number of windows that have failed so often that they are not tried again today."""
        keys = list(self.runtime.redis.scan_iter("releve:attempts:*", count=1000))
        return sum(
            int(count or 0) > MAX_ATTEMPT_COST - ATTEMPT_COST
            for count in (self.runtime.redis.mget(keys) if keys else ())
        )
