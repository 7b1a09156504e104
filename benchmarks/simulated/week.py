"""A week of a fleet: the real house around a simulated clock, a pretend supplier and a deque for each queue."""

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
from benchmarks.simulated.nobody import Nobody
from benchmarks.simulated.supplier import API, Supplier
from tasks.schedule import MORE_SOON_S
from worker.domain.fleet.lanes import current_quota_lane
from worker.domain.fleet.planning import Plan
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.errors import RateLimited
from worker.quota.ledger import MAX_WAIT_S, QuotaLedger
from worker.runtime.process import Runtime
from worker.sync.incidents import Incidents
from worker.sync.probes import Probing
from worker.sync.results import MOST_COST, TRY

FIRST_DAY: Final = date(2024, 7, 22)  # a Monday; no change of clocks is near
DAY_BEGINS: Final = 8  # o'clock in Paris


@dataclass(frozen=True, slots=True)
class Options:
    accounts: int
    days: float = 7
    per_hour: int = 10_000
    per_second: int = 5
    new_percent: float = 0.5  # of the fleet, a week
    old_windows: int = 20_000
    troubles: bool = True
    max_seconds: float = 3600.0

    @property
    def hours(self) -> int:
        return round(24 * self.days)

    @property
    def nights(self) -> int:
        return math.ceil(self.days)


class TooLong(Exception):
    """The time that was given is over."""


@dataclass
class Week:
    """``hours``: for each, how fresh the fleet is, and whether something was wrong with the supplier."""

    options: Options
    plan: Plan
    clock: SimulatedClock
    supplier: Supplier
    workers: Workers
    nights: Nights
    homes: Homes
    ages: dict[Series, Ages]
    nobody: Nobody
    runtime: Runtime
    ledger: QuotaLedger
    incidents: Incidents
    probing: Probing = field(init=False)
    freshness: dict[Series, list[dict[str, int]]] = field(default_factory=lambda: {series: [] for series in Series})
    troubled: set[int] = field(default_factory=set)
    redis_bytes: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_rss_mb: dict[str, float | None] = field(default_factory=dict)

    def run(self) -> None:
        """In a context of its own: whoever is in a lane leaves it with us."""
        copy_context().run(self._run)

    def _run(self) -> None:
        began = time.perf_counter()
        begin_us, end_us = self.clock.begin_us, self.clock.begin_us + self.options.hours * HOUR_US

        def in_time() -> None:
            if self.clock.hour % 24 == 0:
                print(f"day {self.clock.hour // 24} is over: {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if time.perf_counter() - began > self.options.max_seconds:
                raise TooLong(f"hour {self.clock.hour} of {self.options.hours} after {self.options.max_seconds:.0f} s")

        self.peak_rss_mb["seeding"] = processes.peak_rss_mb(os.getpid())
        processes.forget_peak()
        self.clock.at(begin_us, self._minute)
        self.clock.at(begin_us, self._soon)
        for hour in range(1, self.options.hours + 1):
            self.clock.at(begin_us + hour * HOUR_US - 1, self._hour)
        self.clock.run(end_us, in_time)
        self.nights.flush()
        self.workers.waiting.close()
        self.peak_rss_mb["week"] = processes.peak_rss_mb(os.getpid())
        self.seconds["simulated"] = round(time.perf_counter() - began, 1)

    def ask(self, origin: WindowJob) -> None:
        """What a canary's walk comes to: one call, with its permit."""
        decision = self.ledger.take(API, MAX_WAIT_S)
        if decision.permit is None:
            raise RateLimited("no permit in time", retry_after_s=decision.come_again_s)
        at_us = self.clock.us + round(decision.wait_s * SECOND_US)
        self.clock.at(at_us, self.supplier.answer, at_us, current_quota_lane())  # counted in the order of time
        trouble = self.supplier.trouble_at(at_us)
        self.workers.tally["canaries"] += 1
        if trouble is None:
            self.incidents.answered(origin, usable=True)
            return
        error = trouble.error(at_us)
        if isinstance(error, RateLimited):
            self.workers.close(error, decision.permit)
        self.incidents.failed(origin, error)
        raise error

    def held(self) -> bool:
        """As ``tasks.schedule`` asks it."""
        return self.ledger.held() or self.incidents.is_open()

    def _minute(self) -> None:
        self.clock.after(60, self._minute)
        if any(self.incidents.is_held(series) for series in Series):
            self.probing.run()
            self.incidents.replayed()  # what it would start is below
        if self.supplier.trouble_at(self.clock.us) or self.incidents.is_open() or self._gate_narrow():
            self.troubled.add(self.clock.hour)
        if self.homes.waiting and not self.held():
            self.homes.put_waiting()
        self.nights.mend()

    def _gate_narrow(self) -> bool:
        """Closed, or reopening: it is asked only where it was closed lately."""
        lately = self.clock.us - self.workers.shut_us < 4 * HOUR_US
        return lately and self.ledger.gate.state()[1] < 1

    def _soon(self) -> None:
        self.clock.after(MORE_SOON_S, self._soon)
        self.nights.more()

    def _hour(self) -> None:
        night = (self.clock.local() - timedelta(hours=DAY_BEGINS)).date()
        for series, ages in self.ages.items():
            self.freshness[series].append(ages.at(night))
        self.redis_bytes.append(used_memory(self.runtime.redis))

    def spent_tries(self) -> int:
        """Windows that have failed so often that nobody tries them any more today."""
        keys = list(self.runtime.redis.scan_iter("releve:attempts:*", count=1000))
        return sum(int(tries or 0) > MOST_COST - TRY for tries in (self.runtime.redis.mget(keys) if keys else ()))
