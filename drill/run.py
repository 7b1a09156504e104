"""One drill from its start to its report: faults and work, then a last look-back, then the comparison.

Recovery is timed from the end of a fault until the accounts that it left unfinished are stored again. Unfinished are
the accounts with a claim in Redis whose message the fault hit; new work is a look-back of one account, requested when
the fault is over. A history in flight must have progressed too. A later fault that hits the same accounts restarts the
clock; such a recovery is called *overlapped*. Both durations are reported: from the end of the last fault that hit an
account, and from the end of the first.

The report also counts repeated work in the workers' logs.
"""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any, Final

from redis import Redis

from drill.expected_documents import DIFFERENCES, Differences
from drill.fault_injection import FaultInjector, Undo
from drill.faults import KILLS, WORK_CONTINUES, FaultKind, PlannedFault
from drill.fleet import DrillFleet
from drill.servers import DrillServers
from worker.domain.lanes import BROKER_PREFIX
from worker.errors import TransientError
from worker.runtime.output_parts import build_outputs
from worker.stores.redis.connection import redis_errors
from worker.stores.redis.heartbeats import UNACKED
from worker.sync.claims import HISTORY_LANES, LANES

_ASK_AGAIN: Final = timedelta(seconds=5)  # A fault may lose a request for a look-back.
_NO_HISTORY: Final = -1
_RECOVER_S: Final = 60.0
# Example of such a line: "window stored account_id=… series=daily … fetched=30 … updated=2".
_STORED: Final = re.compile(r"window stored (account_id=\w+ series=\w+ .*?) fetched=.* updated=(\d+)")
_TICK_S: Final = 0.1
_PROGRESS_EVERY_S: Final = 10.0
_ASK_AGAIN_S: Final = 5.0
_SETTLE_S: Final = 120.0
# A window that has lost three workers is retried after minutes; the drill waits for it as usual.
_GIVEN_UP: Final = "WORKER_LOST"
_SETTLE_AFTER_LOSS_S: Final = 1200.0


@dataclass
class Recovery:
    """Recovery from one fault; moments are seconds since the drill's start.

    ``pending``: accounts to be stored since ``noticed_at``, in the drill's pretended time; for each the number of its
    history's loaded days, or -1 if no history was in flight.
    """

    kind: FaultKind
    ended_s: float
    noticed_at: datetime
    pending: dict[str, int]
    counted_from_s: float
    overlapped: bool = False
    done_s: float | None = None

    @property
    def took_s(self) -> float | None:
        """Seconds since the end of the last fault that hit the same accounts; None while not recovered."""
        return None if self.done_s is None else round(self.done_s - self.counted_from_s, 1)

    @property
    def took_in_all_s(self) -> float | None:
        """Seconds since the end of the fault itself; None while not recovered."""
        return None if self.done_s is None else round(self.done_s - self.ended_s, 1)


class RecoveryTracker:
    """Recoveries from all faults of a drill; ``clock`` returns the seconds since its start."""

    def __init__(self, redis: Redis, fleet: DrillFleet, clock: Callable[[], float]) -> None:
        self._redis, self._fleet, self._clock = redis, fleet, clock
        self.recoveries: list[Recovery] = []
        self._requested_at: datetime | None = None  # The moment of the last request for new work.

    @property
    def open(self) -> list[Recovery]:
        """Recoveries that are not over."""
        return [recovery for recovery in self.recoveries if recovery.done_s is None]

    def begin(self, kind: FaultKind, pid: int, at_s: float) -> None:
        """Begin the recovery from a fault that ended at ``at_s``; a kill has a ``pid``. Raises StoreUnavailable."""
        histories: Collection[str] = ()
        if kind is FaultKind.REDIS_EMPTIED:
            affected = {home.account_id for home in self._fleet.homes}
        elif kind in (FaultKind.KILL_BEAT, FaultKind.KILL_WEB, FaultKind.BEAT_PAUSED):
            affected = set()
        else:
            affected = self._fleet.accounts_in_flight(LANES)
            histories = self._fleet.accounts_in_flight(HISTORY_LANES.values())
            if kind in KILLS:
                affected = self._lost_with(pid, affected)
        self._restart_clocks(affected)
        pending = {
            account: self._fleet.count_history_days(account)[0] if account in histories else _NO_HISTORY
            for account in affected
        }
        if probe := self._fleet.probe_account:
            pending.setdefault(probe, _NO_HISTORY)
        self.recoveries.append(Recovery(kind, at_s, self._fleet.now(), pending, at_s))

    def restart_all_clocks(self) -> None:
        """Restart the clock of every open recovery, because a fault that affects everything continues."""
        self._restart_clocks(None)

    def _restart_clocks(self, accounts: set[str] | None) -> None:
        """Restart the clock of the recoveries that wait for one of these accounts; None stands for all."""
        for recovery in self.open:
            if accounts is None or recovery.pending.keys() & accounts:
                recovery.counted_from_s, recovery.overlapped = self._clock(), True

    def tick(self) -> None:
        """Check every open recovery and end those that are over.  Raises StoreUnavailable."""
        self._request_new_work()
        for recovery in self.open:
            for account in sorted(recovery.pending):
                if self._is_stored(account, recovery):
                    del recovery.pending[account]
            if not recovery.pending:
                recovery.done_s = self._clock()

    def _is_stored(self, account: str, recovery: Recovery) -> bool:
        if not self._fleet.is_stored_since(account, recovery.noticed_at):
            return False
        if (days_before := recovery.pending[account]) == _NO_HISTORY:
            return True
        return self._fleet.count_history_days(account)[0] > days_before or self._fleet.is_loaded(account)

    def _request_new_work(self) -> None:
        """Request a look-back: one serves all faults that were over when it was requested."""
        waiting = [recovery for recovery in self.open if self._fleet.probe_account in recovery.pending]
        last, now = self._requested_at, self._fleet.now()
        if waiting and (last is None or now - last > _ASK_AGAIN or any(last < item.noticed_at for item in waiting)):
            self._fleet.request_look_backs([self._fleet.probe_account])
            self._requested_at = now

    @redis_errors()
    def _lost_with(self, pid: int, accounts: set[str]) -> set[str]:
        """Return those accounts that occur in the killed worker's messages, or in no message at all.

        Celery writes the arguments as one text (``argsrepr``), so an account id is searched in the whole message.
        """
        unacked = {
            str(key): " ".join(map(str, self._redis.hvals(key)))
            for key in self._redis.scan_iter(f"{BROKER_PREFIX}{UNACKED}:*", count=1000)
        }
        queues = self._redis.scan_iter(f"{BROKER_PREFIX}*", _type="list")
        waiting = [str(raw) for key in queues for raw in self._redis.lrange(key, 0, -1)]
        of_worker = " ".join(text for key, text in unacked.items() if f"-{pid}-" in key)
        of_all = " ".join([*unacked.values(), *waiting])
        return {account for account in accounts if account in of_worker or account not in of_all}


@dataclass
class DrillReport:
    """Result of a drill, with the fields of ``--json``."""

    seed: int
    minutes: float
    store: str
    preset: str
    accounts: int = 0
    documents: int = 0
    seconds: float = 0.0
    kills: int = 0
    recoveries: list[Recovery] = field(default_factory=list)
    differences: Differences = field(default_factory=Differences)
    stuck: int = 0
    not_sent: int = 0
    settled_s: float = 0.0
    repeated: dict[str, int] = field(default_factory=dict)
    ended_by_themselves: Counter[str] = field(default_factory=Counter)
    possible: Collection[FaultKind] = ()
    asked_for: Collection[FaultKind] = ()
    injected: set[FaultKind] = field(default_factory=set)

    @property
    def left_out(self) -> str:
        """One line with the kinds of fault that this run left out, and why."""
        kinds = [
            (FaultKind, self.possible, "not possible with this store"),
            (self.possible, self.asked_for, "not asked for"),
        ]
        parts = [*kinds, (self.asked_for, self.injected, "no time or no process for")]
        told = [f"{why}: {', '.join(missing)}" for all_kinds, of, why in parts if (missing := _without(all_kinds, of))]
        return "; ".join(told) or "no kind of fault"

    def longest(self, name: str) -> float | None:
        """Return the longest recovery, ``took_s`` or ``took_in_all_s``; None while none is over."""
        lengths: list[float | None] = [getattr(recovery, name) for recovery in self.recoveries]
        return max((length for length in lengths if length is not None), default=None)

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, doubled or wrong, no account is stuck, and the receiver has what is stored."""
        return not self.differences and not self.stuck and not self.not_sent

    def summarize_faults(self) -> dict[str, dict[str, Any]]:
        """Return for each kind its count and the seconds to recover, median and longest."""
        by_kind = sorted(self.recoveries, key=_name_of)
        return {kind: _summarize(list(recoveries)) for kind, recoveries in groupby(by_kind, key=_name_of)}

    def as_json(self) -> dict[str, Any]:
        """Return the report as ``--json`` prints it."""
        names = ("seed", "minutes", "store", "preset", "accounts", "documents", "kills")
        return {
            "ok": self.ok,
            **{name: getattr(self, name) for name in names},
            **{name: self.differences[name] for name in DIFFERENCES},
            "stuck": self.stuck,
            "not_sent": self.not_sent,
            "left_out": self.left_out,
            "longest_s": self.longest("took_s"),
            "longest_in_all_s": self.longest("took_in_all_s"),
            "recovered_in_time": all(item.took_s is not None and item.took_s < _RECOVER_S for item in self.recoveries),
            "settled_s": round(self.settled_s, 1),
            "seconds": round(self.seconds, 1),
            "repeated": self.repeated,
            "ended_by_themselves": self.ended_by_themselves,
            "faults": self.summarize_faults(),
        }


def _without(kinds: Iterable[FaultKind], of: Collection[FaultKind]) -> list[str]:
    return [kind.value for kind in kinds if kind not in of]


def count_repeats(logs: Path, calls: int) -> dict[str, int]:
    """Count the work done more than once, from the workers' logs and the supplier's number of ``calls``.

    A window is one run over the days of one account; a window that the logs name twice was stored twice.
    """
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in logs.glob("worker*.log"))
    # The first group is account, series, window and run.
    stored = [match for text in texts for match in _STORED.findall(text)]
    windows = len({window for window, _ in stored})
    return {
        "windows": windows,
        "windows_stored_again": len(stored) - windows,
        "calls": calls,
        "calls_beyond_one_a_window": calls - windows,
        "documents_updated": sum(int(updated) for _, updated in stored),
    }


def _name_of(recovery: Recovery) -> str:
    return recovery.kind.name.lower()


def _summarize(recoveries: list[Recovery]) -> dict[str, Any]:
    alone = [recovery.took_s for recovery in recoveries if recovery.took_s is not None]
    in_all = [recovery.took_in_all_s for recovery in recoveries if recovery.took_in_all_s is not None]
    return {
        "count": len(recoveries),
        "overlapped": sum(recovery.overlapped for recovery in recoveries),
        "not_recovered": len(recoveries) - len(alone),
        "median_s": median(alone) if alone else None,
        "longest_s": max(alone, default=None),
        "longest_in_all_s": max(in_all, default=None),
    }


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
        self._tracker = RecoveryTracker(servers.stores.redis, fleet, self.elapsed_s)
        report.recoveries = self._tracker.recoveries
        self._injector = FaultInjector(servers, lambda: [home.account_id for home in fleet.homes])
        self._active_faults: list[tuple[float, FaultKind, Undo]] = []
        self._expected_ends: dict[int, FaultKind] = {}  # By process id.
        # Redis may be down just now, so that a recovery can begin only later.
        self._unrecorded_ends: list[tuple[FaultKind, int, float]] = []
        self._overwritten: int | None = None
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
        """Begin and end the faults that are due, in the order of their times, even if this tick is late."""
        now_s = self.elapsed_s()
        while self._planned_faults and self._planned_faults[0].at_s <= now_s:
            fault = self._planned_faults.pop(0)
            self._end_faults(fault.at_s)
            if fault.kind in KILLS:
                self._kill(fault)
            else:
                self._print(f"{fault.kind}{f' for {fault.lasts_s:.0f} s' if fault.lasts_s else ''}")
                self._tracker.restart_all_clocks()
                self._report.injected.add(fault.kind)
                self._active_faults.append((fault.at_s + fault.lasts_s, fault.kind, self._injector.start(fault)))
        self._end_faults(now_s)

    def _end_faults(self, until_s: float) -> None:
        for lasting in sorted((one for one in self._active_faults if one[0] <= until_s), key=itemgetter(0)):
            self._active_faults.remove(lasting)
            self._end_fault(lasting)

    def _kill(self, fault: PlannedFault) -> None:
        if (target := self._injector.kill(fault)) is None:
            # No worker runs just now, so the kill waits a second.
            self._planned_faults.append(replace(fault, at_s=fault.at_s + 1.0))
            self._planned_faults.sort()
            return
        self._print(f"{fault.kind}: {target[0]}")
        self._report.injected.add(fault.kind)
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
        for end in self._servers.tick():
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
        """Wait until all recoveries are over and every due call is made, then for a last look-back of all accounts."""
        begun_s, requested_s = self.elapsed_s(), -_ASK_AGAIN_S
        self._print("no more faults; a last nightly sync")
        fleet, unfinished = self._fleet, {home.account_id for home in self._fleet.homes}
        last_night_at: datetime | None = None
        settled = False
        give_up_s, begin_again_s = begun_s + _SETTLE_S, begun_s + _SETTLE_AFTER_LOSS_S
        while not settled and self.elapsed_s() < give_up_s:
            self._tick()
            with suppress(TransientError):
                fleet.renew_consents()
                fleet.take_in_households()
                if last_night_at is not None:
                    unfinished -= {account for account in unfinished if fleet.is_asked_since(account, last_night_at)}
                    settled = not unfinished
                elif self._is_all_done():
                    unfinished = {home.account_id for home in fleet.homes}
                    last_night_at, requested_s = fleet.now(), -_ASK_AGAIN_S
                if fleet.has_given_up(_GIVEN_UP):
                    give_up_s = min(begin_again_s, self.elapsed_s() + _SETTLE_S)
                if self.elapsed_s() - requested_s > _ASK_AGAIN_S:
                    requested_s = self.elapsed_s()
                    recovering = {account for recovery in self._tracker.open for account in recovery.pending}
                    fleet.request_look_backs(unfinished if last_night_at else recovering)
            time.sleep(_TICK_S)
        self._report.settled_s = self.elapsed_s() - begun_s
        ill = {home.account_id for home in fleet.homes if not fleet.is_healthy(home.account_id)}
        self._report.stuck = len(unfinished | ill) + fleet.count_unknown() + (not settled and not unfinished)
        for recovery in self._tracker.open:
            self._print(f"not recovered from {recovery.kind}: {recovery.pending}")

    def _is_all_done(self) -> bool:
        """Return whether nothing is left that a fault may have delayed.  Raises TransientError."""
        if self._tracker.open or self._unrecorded_ends:
            return False
        fleet, elapsed_s = self._fleet, self.elapsed_s()
        are_loaded = fleet.is_complete and all(fleet.is_loaded(home.account_id) for home in fleet.homes)
        if not (fleet.finish_crossed_days(elapsed_s) and are_loaded and self._injector.is_repaired()):
            return False
        if self._overwritten is None:
            self._overwritten = fleet.count_overwritten(elapsed_s)
        return self._overwritten is not None and fleet.are_doubts_settled(elapsed_s)

    def _deliver_rest(self) -> None:
        """Wait until the receiver of measures has been sent all that waits."""
        begun_s = self.elapsed_s()
        while self.elapsed_s() - begun_s < _SETTLE_S:
            self._tick()
            with suppress(TransientError):
                if self._servers.receiver.deliver_rest(self._servers.stores, build_outputs(self._servers.stores)):
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
        if self._overwritten:
            self._print(f"{self._overwritten} days and months that were asked for by hand lost an update")
            report.differences += Differences(wrong_totals=self._overwritten)
        accounts = [home.account_id for home in fleet.homes]
        report.not_sent = self._servers.receiver.count_differences(self._servers.stores.measures, accounts)
        calls = self._servers.simulator.admin("GET", "report")["data_calls"]
        done = {"nights": fleet.nights, "corrections": fleet.corrected, "consents_given_again": fleet.consented_again}
        done |= fleet.count_by_hand()
        sent = {"measures_sent": self._servers.receiver.requests}
        report.repeated = count_repeats(self._servers.folder / "logs", calls) | done | sent

    def _print_progress(self) -> None:
        faults = len(self._tracker.recoveries)
        self._print(
            f"{self._report.kills} kills, {faults - len(self._tracker.open)} of {faults} faults recovered from, "
            f"{len(self._fleet.homes)} accounts"
        )
