"""State of a running simulator, in memory.

One event loop reads and changes it, so nothing in it needs a lock.
"""

from __future__ import annotations

from worker.simulator.bans import Bans
from worker.simulator.clock import SimulatedClock
from worker.simulator.consents import Consents, Tokens
from worker.simulator.faults import InjectedFault
from worker.simulator.gas_switches import GasServiceSwitches
from worker.simulator.homes.gas.meters import GasMeters
from worker.simulator.homes.meters import Meters
from worker.simulator.homes.recordings import RecordedFolder
from worker.simulator.options import SimulatorOptions
from worker.simulator.quota import CallQuota, CallReport
from worker.simulator.rights import Rights
from worker.simulator.switches import ServiceSwitches


class GasState:
    """What there is of gas: its meters, rights, tokens, quota, report and switches.

    ``grants``: the callback that each code of the consent page was sent to.
    """

    def __init__(self, options: SimulatorOptions, recordings: RecordedFolder, clock: SimulatedClock) -> None:
        self.switches = GasServiceSwitches()
        self.meters = GasMeters(recordings.gas, clock, options)
        self.rights = Rights(clock, self.meters, lambda: self.switches)
        self.consents = Consents(clock, options.seed + 1, () if options.invents_homes else sorted(recordings.gas))
        self.tokens = Tokens(clock)
        self.grants: dict[str, str] = {}
        self.quota = CallQuota()
        self.report = CallReport()


class SimulatorState:
    """Options, clock, meters, consents, tokens, quota, report, bans, faults and switches of a simulator; its gas."""

    def __init__(self, options: SimulatorOptions, recordings: RecordedFolder) -> None:
        self.options = options
        self.clock = SimulatedClock(options.pretend_now)
        self.meters = Meters(recordings.meters, self.clock, options)
        self.consents = Consents(self.clock, options.seed, () if options.invents_homes else sorted(recordings.meters))
        self.tokens = Tokens(self.clock)
        self.quota = CallQuota(options.per_second, options.per_hour)
        self.report = CallReport()
        self.bans = Bans()
        self.faults: list[InjectedFault] = []
        self.switches = ServiceSwitches()
        self.gas = GasState(options, recordings, self.clock)
