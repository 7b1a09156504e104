"""Nine fictitious customers of the Enedis sandbox; their meter numbers are public test ids.

Source: Enedis Data Connect, page of the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final

from worker.simulator.homes.series import Direction
from worker.simulator.switches import MeterSwitches

_CONSUMPTION: Final = frozenset({Direction.CONSUMPTION})
_PRODUCTION: Final = frozenset({Direction.PRODUCTION})
_ROLL_OUT: Final = date(2015, 12, 1)


@dataclass(frozen=True, slots=True)
class SandboxMeter:
    """Meter of a sandbox customer, with the switches that make it behave as its page says."""

    usage_point: str
    switches: MeterSwitches
    directions: frozenset[Direction] = _CONSUMPTION


def _meter(usage_point: str, **switches: object) -> SandboxMeter:
    return SandboxMeter(usage_point, MeterSwitches.from_json({"activated_on": str(_ROLL_OUT)} | switches))


CUSTOMERS: Final[Mapping[int, tuple[SandboxMeter, ...]]] = MappingProxyType(
    {
        0: (_meter("22516914714270"),),
        1: (_meter("11453290002823", activated_on="2019-08-27"),),
        2: (_meter("32320647321714", curve_enabled=False),),
        3: (
            _meter("12345678901234"),
            SandboxMeter("10284856584123", MeterSwitches(activated_on=_ROLL_OUT), _PRODUCTION),
        ),
        4: (_meter("42900589957123", weekday_holes=[1, 2]),),  # Tuesdays and Wednesdays.
        5: (SandboxMeter("24880057139941", MeterSwitches(activated_on=_ROLL_OUT), _PRODUCTION),),
        6: (SandboxMeter("12655648759651", MeterSwitches(activated_on=_ROLL_OUT), _CONSUMPTION | _PRODUCTION),),
        7: (_meter("64975835695673"), _meter("63695879465986"), _meter("22315546958763")),
        8: (_meter("26584978546985", consent_revoked=True),),
    }
)

METERS: Final[Mapping[str, SandboxMeter]] = MappingProxyType(
    {meter.usage_point: meter for meters in CUSTOMERS.values() for meter in meters}
)


def usage_points_of(state: str) -> tuple[str, ...] | None:
    """Return the meters of the customer that the last digit of ``state`` picks; None where no digit from 0 to 8."""
    meters = CUSTOMERS.get(int(state[-1])) if state and state[-1] in "012345678" else None
    return tuple(meter.usage_point for meter in meters) if meters else None
