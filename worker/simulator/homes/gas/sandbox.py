"""Fictitious meters of GRDF's sandbox ("bas") and their rights; their numbers are public test ids.

Source: the table of requests to the sandbox of the public client lowatt-grdf.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from worker.domain.consent.rights import RightState
from worker.simulator.gas_switches import GasMeterSwitches

ALL_SCOPES: Final = frozenset({"informatives", "publiees", "contractuelles", "techniques"})


class SandboxPce(NamedTuple):
    """A meter of the sandbox: its switches, and its right, whose state None stands for no right at all.

    ``covers``: what the right covers.  ``ended_by``: who ended it.  ``data_from``: the first day that may be read.
    """

    switches: GasMeterSwitches
    state: RightState | None = RightState.ACTIVE
    covers: frozenset[str] = ALL_SCOPES
    ended_by: str | None = None
    data_from: date | None = None
    last_day: date | None = None


def _pce(
    state: RightState | None = RightState.ACTIVE,
    without: str = "",
    ended_by: str | None = None,
    data_from: date | None = None,
    last_day: date | None = None,
    **switches: Any,
) -> SandboxPce:
    usual: dict[str, Any] = {"frequency": "1M", "communicating_from": date(2019, 1, 1)}
    covers = ALL_SCOPES - set(without.split())
    return SandboxPce(GasMeterSwitches(**usual | switches), state, covers, ended_by, data_from, last_day)


SANDBOX_METERS: Final[Mapping[str, SandboxPce]] = {
    "GI151947": _pce(),  # Daily values.
    "GI999947": _pce(frequency="MM"),  # The rules on dates.
    "09999999900617": _pce(activated_on=date(2021, 8, 2)),
    "GI999055": _pce(without="techniques", frequency="JJ"),
    "GI999159": _pce(frequency="JJ"),
    "09999999900112": _pce(state=None),
    "09999999930215": _pce(state=RightState.OBSOLETE, last_day=date(2023, 8, 31)),  # Expired.
    "09999999932770": _pce(state=RightState.REVOKED, ended_by="TITULAIRE"),
    "09999999970626": _pce(state=RightState.REVOKED, ended_by="TIERS"),
    "09999999975102": _pce(without="informatives contractuelles", frequency="6M", data_from=date(2021, 11, 15)),
    "GI999092": _pce(moved_out=True),
    "GI999602": _pce(state=RightState.TO_CHECK),
    "GI999054": _pce(failing_days=(date(2023, 6, 1),), frequency="MM"),  # It fails in the middle of the stream.
    "09999999928289": _pce(replaced_on=date(2023, 3, 29), communicating_from=date(2023, 8, 14)),
}
