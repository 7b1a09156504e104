"""One drill from its start to its report: faults and work, then a last look-back, then the comparison."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from worker.drill.faults import FaultInjector, Undo
from worker.drill.fleet import DrillFleet
from worker.drill.recovery import RecoveryTracker
from worker.drill.report import DrillReport, count_repeats
from worker.drill.schedule import KILLS, WORK_CONTINUES, FaultKind, PlannedFault
from worker.drill.servers import DrillServers
from worker.errors import TransientError

_TICK_S: Final = 0.1
_PROGRESS_EVERY_S: Final = 10.0
_ASK_AGAIN_S: Final = 5.0
_SETTLE_S: Final = 120.0


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
        self._servers, self._fleet, self._report = servers, fleet, report
        self._planned_faults = planned
        self._print_line = print_line
        self._tracker = RecoveryTracker(servers.runtime.redis, fleet, self.elapsed_s)
        report.recoveries = self._tracker.recoveries
        self._injector = FaultInjector(servers)
        self._active_faults: list[tuple[float, FaultKind, Undo]] = []
        self._expected_ends: dict[int, FaultKind] = {}  # By process id.
        # Redis may be down just now, so that a recovery can begin only later.
        self._unrecorded_ends: list[tuple[FaultKind, int, float]] = []
        self._started_s = time.monotonic()

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started_s

    def _print(self, text: str) -> None:
        self._print_line(f"{self.elapsed_s():5.0f} s  {text}")

    def run(self) -> None:
        """Run faults and work until the time is over, wait for all recoveries, then fill the report."""
        self._started_s = time.monotonic()
        next_progress_s = _PROGRESS_EVERY_S
        while self.elapsed_s() < self._report.minutes * 60:
            self._inject_due_faults()
            self._tick()
            with suppress(TransientError):
                self._fleet.tick(self.elapsed_s())
            if self.elapsed_s() >= next_progress_s:
                self._print_progress()
                next_progress_s += _PROGRESS_EVERY_S
            time.sleep(_TICK_S)
        while self._active_faults:
            self._end_fault(self._active_faults.pop())
        self._settle()
        self._deliver_rest()
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
                self._print(f"{fault.kind}{f' for {fault.lasts_s:.0f} s' if fault.lasts_s else ''}")
                self._tracker.restart_all_clocks()
                self._active_faults.append((fault.at_s + fault.lasts_s, fault.kind, self._injector.start(fault)))

    def _kill(self, fault: PlannedFault) -> None:
        if (target := self._injector.kill(fault)) is None:
            # No worker runs just now, so the kill waits a second.
            self._planned_faults.append(replace(fault, at_s=fault.at_s + 1.0))
            self._planned_faults.sort()
            return
        self._print(f"{fault.kind}: {target[0]}")
        self._expected_ends[target[1]] = fault.kind
        if fault.kind is FaultKind.KILL_CHILD:
            self._record_end(*target, -signal.SIGKILL)

    def _record_end(self, name: str, pid: int, code: int) -> None:
        """Record that a process has ended: by a fault, or with an error of its own."""
        kind = self._expected_ends.pop(pid, None)
        if kind is not None:
            self._report.kills += kind is not FaultKind.TERM_WORKER
            self._unrecorded_ends.append((kind, pid, self.elapsed_s()))
        elif code > 0:
            self._report.ended_by_themselves[f"{name}: {code}"] += 1

    def _end_fault(self, lasting: tuple[float, FaultKind, Undo]) -> None:
        _, kind, undo = lasting
        undo()
        self._unrecorded_ends.append((kind, 0, self.elapsed_s()))

    def _tick(self) -> None:
        for end in self._servers.processes.tick():
            self._record_end(*end)
        if any(kind not in WORK_CONTINUES for _, kind, _ in self._active_faults):
            self._tracker.restart_all_clocks()
        with suppress(TransientError):
            self._update_recoveries()

    def _update_recoveries(self) -> None:
        while self._unrecorded_ends:
            self._tracker.begin(*self._unrecorded_ends[0])
            self._unrecorded_ends.pop(0)
        self._tracker.tick()

    def _settle(self) -> None:
        """Wait until all recoveries are over and every history is loaded, then for a last look-back of all."""
        begun_s, requested_s = self.elapsed_s(), -_ASK_AGAIN_S
        self._print("no more faults; a last nightly sync")
        fleet, unfinished = self._fleet, {home.account_id for home in self._fleet.homes}
        last_night_at: datetime | None = None
        while unfinished and self.elapsed_s() - begun_s < _SETTLE_S:
            self._tick()
            with suppress(TransientError):
                fleet.renew_consents()
                if last_night_at is not None:
                    unfinished -= {account for account in unfinished if fleet.is_asked_since(account, last_night_at)}
                elif not (self._tracker.open or self._unrecorded_ends) and all(map(fleet.is_loaded, unfinished)):
                    last_night_at, requested_s = fleet.now(), -_ASK_AGAIN_S
                if self.elapsed_s() - requested_s > _ASK_AGAIN_S:
                    requested_s = self.elapsed_s()
                    recovering = {account for recovery in self._tracker.open for account in recovery.pending}
                    fleet.request_look_backs(unfinished if last_night_at else recovering)
            time.sleep(_TICK_S)
        self._report.settled_s = self.elapsed_s() - begun_s
        ill = {home.account_id for home in fleet.homes if not fleet.is_healthy(home.account_id)}
        self._report.stuck = len(unfinished | ill)
        for recovery in self._tracker.open:
            self._print(f"not recovered from {recovery.kind}: {recovery.pending}")

    def _deliver_rest(self) -> None:
        """Wait until the receiver of measures has been sent all that waits."""
        begun_s = self.elapsed_s()
        while self.elapsed_s() - begun_s < _SETTLE_S:
            self._tick()
            with suppress(TransientError):
                if self._servers.receiver.deliver_rest(self._servers.runtime):
                    return
            time.sleep(_TICK_S)

    def _fill_report(self) -> None:
        report, fleet = self._report, self._fleet
        report.accounts = len(fleet.homes)
        for home in fleet.homes:
            differences, documents = fleet.compare_store(home)
            report.differences += differences
            report.documents += documents
            if differences:
                self._print(f"account {home.account_id}: {dict(differences)}")
        accounts = [home.account_id for home in fleet.homes]
        report.not_sent = self._servers.receiver.count_differences(self._servers.runtime, accounts)
        calls = self._servers.simulator.admin("GET", "report")["data_calls"]
        done = {"nights": fleet.nights, "corrections": fleet.corrected, "consents_given_again": fleet.consented_again}
        sent = {"measures_sent": self._servers.receiver.requests}
        report.repeated = count_repeats(self._servers.folder / "logs", calls) | done | sent

    def _print_progress(self) -> None:
        faults = len(self._tracker.recoveries)
        self._print(
            f"{self._report.kills} kills, {faults - len(self._tracker.open)} of {faults} faults recovered from, "
            f"{len(self._fleet.homes)} accounts"
        )
