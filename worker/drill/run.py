"""One drill from start to verdict."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from worker.drill.faults import FaultInjector, Undo
from worker.drill.fleet import DrillFleet
from worker.drill.recovery import FaultWatch, patiently
from worker.drill.report import DrillReport, repeats
from worker.drill.schedule import BESIDE, KILLS, FaultKind, Planned
from worker.drill.servers import DrillServers

_TICK_S: Final = 0.1
_TELL_EVERY_S: Final = 10.0
_SETTLE_S: Final = 120.0
_LONG_S: Final = 35.0  # worth a line


class Drill:
    def __init__(
        self,
        house: DrillServers,
        fleet: DrillFleet,
        outcome: DrillReport,
        planned: list[Planned],
        say: Callable[[str], object],
    ):
        self._house, self._fleet, self._outcome, self._say = house, fleet, outcome, say
        self._planned = planned
        self._seconds = outcome.minutes * 60
        self._watch = FaultWatch(house.runtime.redis, fleet, self.elapsed_s)
        self._faults = FaultInjector(
            house.crew, house.redis, house.couch, house.simulator, house.folder / "measures.db"
        )
        self._faults.emptied = self._empty_redis
        self._lasting: list[tuple[float, FaultKind, Undo]] = []
        self._hit: dict[int, FaultKind] = {}  # process: what it is about to die of
        self._deaths: list[tuple[FaultKind, int, float]] = []  # not yet looked into: Redis may be away just now
        self._begun = time.monotonic()

    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    def died(self, name: str, pid: int, code: int) -> None:
        """A process of the crew has ended."""
        kind = self._hit.pop(pid, None)
        if kind is not None:
            self._outcome.kills += kind is not FaultKind.TERM_WORKER
            self._deaths.append((kind, pid, self.elapsed_s()))
        elif code > 0:
            self._outcome.ended_by_themselves[f"{name}: {code}"] = (
                self._outcome.ended_by_themselves.get(f"{name}: {code}", 0) + 1
            )

    # -- the run

    def run(self) -> None:
        """Faults and work until the time is over; then calm, and the verdict."""
        self._begun = time.monotonic()
        next_word_s = _TELL_EVERY_S
        while self.elapsed_s() < self._seconds:
            self._strike()
            self._tend()
            patiently(lambda: self._fleet.tend(self.elapsed_s()))
            if self.elapsed_s() >= next_word_s:
                self._say(self._word())
                next_word_s += _TELL_EVERY_S
            time.sleep(_TICK_S)
        while self._lasting:
            self._end(self._lasting.pop())
        self._settle()
        self._judge()
        self._outcome.seconds = self.elapsed_s()

    def _strike(self) -> None:
        now_s = self.elapsed_s()
        for lasting in [each for each in self._lasting if each[0] <= now_s]:
            self._lasting.remove(lasting)
            self._end(lasting)
        while self._planned and self._planned[0].at_s <= now_s:
            fault = self._planned.pop(0)
            if fault.kind in KILLS:
                self._kill(fault)
            else:
                self._say(f"{now_s:5.0f} s  {fault.kind}{f' for {fault.lasts_s:.0f} s' if fault.lasts_s else ''}")
                self._watch.storming()
                self._lasting.append((fault.at_s + fault.lasts_s, fault.kind, self._faults.start(fault)))

    def _kill(self, fault: Planned) -> None:
        if (hit := self._faults.kill(fault)) is None:  # nobody is there to be killed just now: in a while then
            self._planned.insert(0, replace(fault, at_s=fault.at_s + 1.0))
            self._planned.sort()
            return
        self._say(f"{self.elapsed_s():5.0f} s  {fault.kind}: {hit[0]}")
        self._hit[hit[1]] = fault.kind
        if fault.kind is FaultKind.KILL_CHILD:
            self.died(*hit, -signal.SIGKILL)

    def _end(self, lasting: tuple[float, FaultKind, Undo]) -> None:
        _, kind, undo = lasting
        undo()
        if kind is not FaultKind.REDIS_EMPTIED:
            self._deaths.append((kind, 0, self.elapsed_s()))

    def _empty_redis(self) -> None:
        accounts = [home.account_id for home in self._fleet.homes]
        self._house.runtime.redis.flushall()
        self._watch.emptied(FaultKind.REDIS_EMPTIED, accounts)

    def _tend(self) -> None:
        self._house.crew.tend()
        if any(kind not in BESIDE for _, kind, _ in self._lasting):
            self._watch.storming()
        patiently(self._look)

    def _look(self) -> None:
        while self._deaths:
            kind, pid, at_s = self._deaths[0]
            if kind is FaultKind.KILL_BEAT:
                self._watch.over(kind)
            elif kind in KILLS:
                self._watch.killed(kind, pid, at_s)
            else:
                self._watch.calm(kind)
            self._deaths.pop(0)
        for recovery in self._watch.tend():
            if (took_s := recovery.took_s) > _LONG_S:
                self._say(
                    f"{self.elapsed_s():5.0f} s  recovered from '{recovery.kind}' after {took_s:.0f} s: {recovery.last}"
                )

    # -- its end

    def _settle(self) -> None:
        """Until all recoveries are told, every history is loaded and a last look-back of all is stored."""
        begun_s = self.elapsed_s()
        self._say(f"{begun_s:5.0f} s  calm; a last night for all")
        run = "drill-last"
        asked, asked_s = 0, -1e9
        undone = {home.account_id for home in self._fleet.homes}
        while self.elapsed_s() - begun_s < _SETTLE_S:
            self._tend()
            if self._watch.quiet and not undone:
                break
            patiently(self._fleet.tend_owners)
            if self.elapsed_s() - asked_s > 5:
                asked, asked_s = asked + 1, self.elapsed_s()
                patiently(partial(self._fleet.look_back_all, undone, f"{run}:{asked}"))
            patiently(lambda: undone.difference_update(self._done(undone, run)))
            time.sleep(_TICK_S)
        self._outcome.settled_s = self.elapsed_s() - begun_s
        self._outcome.stuck = len(
            undone | {home.account_id for home in self._fleet.homes if not self._fleet.well(home.account_id)}
        )
        for line in self._watch.waiting():
            self._say(f"not recovered: {line}")

    def _done(self, accounts: set[str], run: str) -> list[str]:
        return [each for each in sorted(accounts) if self._fleet.has_run(each, run) and self._fleet.loaded(each)]

    def _judge(self) -> None:
        outcome = self._outcome
        outcome.faults = [recovery.as_json() for recovery in self._watch.recoveries]
        outcome.accounts = len(self._fleet.homes)
        for home in self._fleet.homes:
            found, documents = self._fleet.differences(home)
            outcome.differences += found
            outcome.documents += documents
            if found:
                self._say(f"account {home.account_id}: {found.as_json()}")
        calls = self._house.simulator.admin("GET", "report")["data_calls"]
        fleet = self._fleet
        done = {"nights": fleet.nights, "corrections": fleet.corrected, "consents_given_again": fleet.consented_again}
        outcome.repeated = repeats(self._house.folder / "logs", calls) | done

    def _word(self) -> str:
        done = sum(recovery.done_s is not None for recovery in self._watch.recoveries)
        return (
            f"{self.elapsed_s():5.0f} s  {self._outcome.kills} kills, {done} of {len(self._watch.recoveries)} faults "
            f"recovered from, {len(self._fleet.homes)} accounts"
        )
