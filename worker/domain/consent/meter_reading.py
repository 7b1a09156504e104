"""Proof P4: what a person reads off the meter's display, compared with the supplier's registers (pure).

A display shows each register in whole kWh. Who stands before the meter reads what it shows now: no less than at the
last midnight that the supplier has told, and no more than the subscribed power allows until now. A number that is
guessed is rarely within these bounds, and tries are few (``MOST_TRIES_A_DAY``, ``MOST_WRONG``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

MOST_TRIES_A_DAY: Final = 3  # For one meter, over all people who try.
MOST_WRONG: Final = 10  # For one meter, until an operator opens it again.
LARGEST_POWER_VA: Final = 36_000  # The largest connection that a home may have, where the contract tells no power.
# The tariff periods that a Linky display names, by contract: base, peak and off-peak hours, Tempo.
# Source: the Enedis files and the answers that docs/reference/simulator.md names.
DISPLAYED_PERIODS: Final[Mapping[str, tuple[str, ...]]] = {
    "base": ("BASE",),
    "peak": ("HC", "HP"),
    "tempo": ("BUHC", "BUHP", "BCHC", "BCHP", "RHC", "RHP"),
}
_WH_PER_KWH: Final = 1000
_HOUR: Final = timedelta(hours=1)
_MOST_DIGITS: Final = 9


def parse_displayed(text: str) -> int | None:
    """Return the whole kWh of a display, such as ``012 345``; None for anything else."""
    digits = "".join(text.split()).removesuffix("kWh")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def confirms(
    displayed: Mapping[str, int], registers: Mapping[str, int], midnight: datetime, power_va: int, now: datetime
) -> bool:
    """Return whether a display can show this now, each register by itself and all of them together.

    ``displayed``: whole kWh by tariff period. ``registers``: Wh by tariff period at ``midnight``. ``power_va``: the
    subscribed power.
    """
    if not registers or displayed.keys() != registers.keys() or now < midnight:
        return False
    most_wh = power_va * ((now - midnight) / _HOUR)
    # A display cuts the Wh off.
    least_wh = {name: kwh * _WH_PER_KWH for name, kwh in displayed.items()}
    if any(least_wh[name] + _WH_PER_KWH <= wh for name, wh in registers.items()):
        return False
    return sum(max(0, least_wh[name] - wh) for name, wh in registers.items()) <= most_wh
