"""State of a running simulator, in memory.

One event loop reads and changes it, so nothing in it needs a lock.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.simulator.clock import SimulatedClock
from worker.simulator.consents import Consents, Tokens
from worker.simulator.faults import InjectedFaults
from worker.simulator.homes.meters import Meters
from worker.simulator.homes.recordings import read_folder
from worker.simulator.options import SimulatorOptions
from worker.simulator.quota import CallQuota, CallReport
from worker.simulator.switches import ServiceSwitches


@dataclass(slots=True)
class SimulatorState:
    """Options, clock, meters, consents, tokens, quota, report, faults and switches of one simulator."""

    options: SimulatorOptions
    clock: SimulatedClock
    meters: Meters
    consents: Consents
    tokens: Tokens
    quota: CallQuota
    report: CallReport
    faults: InjectedFaults
    switches: ServiceSwitches

    @property
    def token_life_s(self) -> int:
        """Validity of an access token, in seconds."""
        life_s = self.switches.token_life_s
        return self.options.token_life_s if life_s is None else life_s


def build_state(options: SimulatorOptions) -> SimulatorState:
    """Return a fresh state, with the recorded series of ``data_dir``.  Raises BrokenRecording."""
    clock = SimulatedClock(options.pretend_now)
    recorded_meters = read_folder(options.data_dir) if options.data_dir is not None else {}
    return SimulatorState(
        options=options,
        clock=clock,
        meters=Meters(recorded_meters, clock, options.seed),
        consents=Consents(clock, options.seed),
        tokens=Tokens(clock, options.code_life_s),
        quota=CallQuota(options.per_second, options.per_hour),
        report=CallReport(),
        faults=InjectedFaults(),
        switches=ServiceSwitches(),
    )
