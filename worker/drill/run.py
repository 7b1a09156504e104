"""One drill from its start to its report: faults and work, then a last look-back, then the comparison."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from worker.drill.faults import FaultInjector, Undo
from worker.drill.fleet import DrillFleet
from worker.drill.recovery import RecoveryTracker, run_unless_unavailable
from worker.drill.report import DrillReport, count_repeats
from worker.drill.schedule import KILLS, WORK_CONTINUES, FaultKind, PlannedFault
from worker.drill.servers import DrillServers

_TICK_S: Final = 0.1
_PROGRESS_EVERY_S: Final = 10.0
_SETTLE_S: Final = 120.0
_LONG_S: Final = 35.0  # A recovery that takes longer is printed.


class Drill:
    """Drill over running servers; its result goes into ``report``."""

    def __init__(
        self,
        servers: DrillServers,
        fleet: DrillFleet,
        report: DrillReport,
        planned: list[PlannedFault],
        print_line: Callable[[str], object],
    ):
        self._servers, self._fleet, self._report, self._print_line = servers, fleet, report, print_line
        self._planned_faults = planned
        self._seconds = report.minutes * 60
        self._tracker = RecoveryTracker(servers.runtime.redis, fleet, self.elapsed_s)
        self._injector = FaultInjector(
            servers.processes, servers.redis, servers.couchdb, servers.simulator, servers.folder / "measures.db"
        )
        self._injector.empty_redis = self._empty_redis
        servers.processes.report_end = self.record_end
        self._active_faults: list[tuple[float, FaultKind, Undo]] = []
        self._expected_ends: dict[int, FaultKind] = {}  # By process id.
        # Redis may be down just now, so that a recovery can begin only later.
        self._unrecorded_ends: list[tuple[FaultKind, int, float]] = []
        self._started_s = time.monotonic()

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started_s

    def record_end(self, name: str, pid: int, code: int) -> None:
        """Record that a process has ended: by a fault, or with an error of its own."""
        kind = self._expected_ends.pop(pid, None)
        if kind is not None:
            self._report.kills += kind is not FaultKind.TERM_WORKER
            self._unrecorded_ends.append((kind, pid, self.elapsed_s()))
        elif code > 0:
            self._report.ended_by_themselves[f"{name}: {code}"] = (
                self._report.ended_by_themselves.get(f"{name}: {code}", 0) + 1
            )

    def run(self) -> None:
        """Run faults and work until the time is over, wait for all recoveries, then fill the report."""
        self._started_s = time.monotonic()
        next_progress_s = _PROGRESS_EVERY_S
        while self.elapsed_s() < self._seconds:
            self._inject_due_faults()
            self._tick()
            run_unless_unavailable(lambda: self._fleet.tick(self.elapsed_s()))
            if self.elapsed_s() >= next_progress_s:
                self._print_line(self._progress_line())
                next_progress_s += _PROGRESS_EVERY_S
            time.sleep(_TICK_S)
        while self._active_faults:
            self._end_fault(self._active_faults.pop())
        self._settle()
        self._fill_report()
        self._report.seconds = self.elapsed_s()

    def _inject_due_faults(self) -> None:
        now_s = self.elapsed_s()
        for lasting in [lasting for lasting in self._active_faults if lasting[0] <= now_s]:
            self._active_faults.remove(lasting)
            self._end_fault(lasting)
        while self._planned_faults and self._planned_faults[0].at_s <= now_s:
            fault = self._planned_faults.pop(0)
            if fault.kind in KILLS:
                self._kill(fault)
            else:
                self._print_line(
                    f"{now_s:5.0f} s  {fault.kind}{f' for {fault.lasts_s:.0f} s' if fault.lasts_s else ''}"
                )
                self._tracker.record_ongoing_fault()
                self._active_faults.append((fault.at_s + fault.lasts_s, fault.kind, self._injector.start(fault)))

    def _kill(self, fault: PlannedFault) -> None:
        if (target := self._injector.kill(fault)) is None:
            # No worker runs just now, so the kill waits a second.
            self._planned_faults.insert(0, replace(fault, at_s=fault.at_s + 1.0))
            self._planned_faults.sort()
            return
        self._print_line(f"{self.elapsed_s():5.0f} s  {fault.kind}: {target[0]}")
        self._expected_ends[target[1]] = fault.kind
        if fault.kind is FaultKind.KILL_CHILD:
            self.record_end(*target, -signal.SIGKILL)

    def _end_fault(self, lasting: tuple[float, FaultKind, Undo]) -> None:
        _, kind, undo = lasting
        undo()
        if kind is not FaultKind.REDIS_EMPTIED:
            self._unrecorded_ends.append((kind, 0, self.elapsed_s()))

    def _empty_redis(self) -> None:
        accounts = [home.account_id for home in self._fleet.homes]
        self._servers.runtime.redis.flushall()
        self._tracker.record_emptied_redis(FaultKind.REDIS_EMPTIED, accounts)

    def _tick(self) -> None:
        self._servers.processes.tick()
        if any(kind not in WORK_CONTINUES for _, kind, _ in self._active_faults):
            self._tracker.record_ongoing_fault()
        run_unless_unavailable(self._update_recoveries)

    def _update_recoveries(self) -> None:
        while self._unrecorded_ends:
            kind, pid, at_s = self._unrecorded_ends[0]
            if kind is FaultKind.KILL_BEAT:
                self._tracker.record_harmless_end(kind)
            elif kind in KILLS:
                self._tracker.record_kill(kind, pid, at_s)
            else:
                self._tracker.record_fault_end(kind)
            self._unrecorded_ends.pop(0)
        for recovery in self._tracker.tick():
            if (took_s := recovery.took_s) > _LONG_S:
                self._print_line(
                    f"{self.elapsed_s():5.0f} s  recovered from '{recovery.kind}' after {took_s:.0f} s: "
                    f"{recovery.last_finished}"
                )

    def _settle(self) -> None:
        """Wait until all recoveries are over, every history is loaded and a last look-back of all is stored."""
        begun_s = self.elapsed_s()
        self._print_line(f"{begun_s:5.0f} s  calm; a last night for all")
        run, settles_from = "drill-last", self._fleet.now()
        requests, requested_s = 0, -1e9
        unfinished = {home.account_id for home in self._fleet.homes}
        while self.elapsed_s() - begun_s < _SETTLE_S:
            self._tick()
            if self._tracker.all_recovered and not unfinished:
                break
            run_unless_unavailable(self._fleet.renew_consents)
            if self.elapsed_s() - requested_s > 5:
                requests, requested_s = requests + 1, self.elapsed_s()
                run_unless_unavailable(partial(self._fleet.request_look_backs, unfinished, f"{run}:{requests}"))
            run_unless_unavailable(
                lambda: unfinished.difference_update(self._finished_accounts(unfinished, settles_from))
            )
            time.sleep(_TICK_S)
        self._report.settled_s = self.elapsed_s() - begun_s
        self._report.stuck = len(
            unfinished | {home.account_id for home in self._fleet.homes if not self._fleet.is_healthy(home.account_id)}
        )
        for line in self._tracker.describe_pending():
            self._print_line(f"not recovered: {line}")

    def _finished_accounts(self, accounts: set[str], since: datetime) -> list[str]:
        fleet = self._fleet
        return [
            account_id
            for account_id in sorted(accounts)
            if fleet.is_stored_since(account_id, since) and fleet.is_history_loaded(account_id)
        ]

    def _fill_report(self) -> None:
        report = self._report
        report.faults = [recovery.as_json() for recovery in self._tracker.recoveries]
        report.accounts = len(self._fleet.homes)
        for home in self._fleet.homes:
            differences, documents = self._fleet.compare_store(home)
            report.differences += differences
            report.documents += documents
            if differences:
                self._print_line(f"account {home.account_id}: {differences.as_json()}")
        calls = self._servers.simulator.admin("GET", "report")["data_calls"]
        fleet = self._fleet
        done = {"nights": fleet.nights, "corrections": fleet.corrected, "consents_given_again": fleet.consented_again}
        report.repeated = count_repeats(self._servers.folder / "logs", calls) | done

    def _progress_line(self) -> str:
        done = sum(recovery.done_s is not None for recovery in self._tracker.recoveries)
        return (
            f"{self.elapsed_s():5.0f} s  {self._report.kills} kills, {done} of {len(self._tracker.recoveries)} faults "
            f"recovered from, {len(self._fleet.homes)} accounts"
        )
