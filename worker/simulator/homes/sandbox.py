"""Nine fictitious customers of the Enedis sandbox; their meter numbers are public test ids.

Source: Enedis Data Connect, page of the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from worker.simulator.switches import MeterSwitches


class SandboxMeter(NamedTuple):
    """Meter of a sandbox customer, with the switches that make it behave as its page says."""

    usage_point: str
    consumes: bool
    switches: MeterSwitches


def _meter(usage_point: str, consumes: bool = True, **switches: Any) -> SandboxMeter:
    usual: dict[str, Any] = {"activated_on": date(2015, 12, 1), "panels_wp": 0}
    return SandboxMeter(usage_point, consumes, MeterSwitches(**usual | switches))


CUSTOMERS: Final[Mapping[int, tuple[SandboxMeter, ...]]] = {
    0: (_meter("22516914714270"),),
    1: (_meter("11453290002823", activated_on=date(2019, 8, 27)),),
    2: (_meter("32320647321714", curve_enabled=False),),
    3: (_meter("12345678901234"), _meter("10284856584123", consumes=False, panels_wp=6_000)),
    4: (_meter("42900589957123", weekday_holes=(1, 2)),),  # Tuesdays and Wednesdays.
    5: (_meter("24880057139941", consumes=False, panels_wp=6_000),),
    6: (_meter("12655648759651", panels_wp=3_000),),
    7: (_meter("64975835695673"), _meter("63695879465986"), _meter("22315546958763")),
    8: (_meter("26584978546985", consent_revoked=True),),
}

METERS: Final[Mapping[str, SandboxMeter]] = {
    meter.usage_point: meter for meters in CUSTOMERS.values() for meter in meters
}


def usage_points_of(state: str) -> tuple[str, ...] | None:
    """Return the meters of the customer that the last digit of ``state`` picks; None where no digit from 0 to 8."""
    meters = CUSTOMERS.get(int(state[-1])) if state and state[-1] in "012345678" else None
    return tuple(meter.usage_point for meter in meters) if meters else None
