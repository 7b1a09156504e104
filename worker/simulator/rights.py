"""Rights of access that GRDF keeps: declared or given on its page, accepted or refused by the holder, and ended.

A declared right waits for its holder. GRDF sends the e-mail in batches, on each quarter hour of the clock; what the
holder then does is a switch, or said by the admin routes. A right changes when it is looked at, by the clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from worker.domain.consent.rights import ProofState, RightState
from worker.domain.measures.readings import ONE_DAY
from worker.simulator.clock import SimulatedClock
from worker.simulator.gas_switches import GasServiceSwitches
from worker.simulator.homes.gas.meters import GasMeters
from worker.simulator.homes.gas.sandbox import ALL_SCOPES, SANDBOX_METERS

AUTHORIZED: Final = "AUTORISE_CONTRAT_FOURNITURE"
OWN: Final = "DETENTEUR_CONTRAT_FOURNITURE"
TIERS_DIRECT: Final = "TIERS_DIRECT"
CLIENT_CONNECT: Final = "CLIENT_CONNECT"
BY_HOLDER, BY_SUPPLIER, BY_THIRD_PARTY = "TITULAIRE", "GRDF", "TIERS"
_EARLIEST: Final = date(2000, 1, 1)
_LATEST: Final = date(2099, 12, 31)
_PROOF_DAYS: Final = 15


@dataclass(slots=True, kw_only=True)
class AccessRight:
    """One right; days are included.  ``covers``: the kinds of data that may be read.  ``ended_by``: who ended it.

    ``sandbox``: seen on the paths of the sandbox alone.
    """

    pce: str
    created_at: datetime
    state: RightState
    role: str = AUTHORIZED
    journey: str = TIERS_DIRECT
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    first_day: date = _EARLIEST
    last_day: date = _LATEST
    data_from: date = _EARLIEST
    data_to: date = _LATEST
    covers: frozenset[str] = ALL_SCOPES
    name: str | None = None
    company: str | None = None
    email: str | None = None
    phone: str | None = None
    postcode: str | None = None
    ended_at: datetime | None = None
    ended_by: str | None = None
    proof: ProofState | None = None
    proof_until: date | None = None
    proofs: int = 0
    sandbox: bool = False

    @property
    def mailed_at(self) -> datetime:
        """The quarter hour at which the holder gets the e-mail."""
        quarter = self.created_at.replace(minute=self.created_at.minute // 15 * 15, second=0, microsecond=0)
        return quarter if quarter == self.created_at else quarter + timedelta(minutes=15)

    @property
    def has_expired(self) -> bool:
        """Whether its last day is over, and nothing else ended it before."""
        return self.state is RightState.OBSOLETE and self.ended_by is None

    @property
    def is_open(self) -> bool:
        """Whether it is active, waits for its holder, or is checked again."""
        return self.state in (RightState.ACTIVE, RightState.PENDING, RightState.TO_CHECK)

    def end(self, state: RightState, by: str | None, at: datetime) -> None:
        """End the right."""
        self.state, self.ended_by, self.ended_at = state, by, at


class Rights:
    """All rights of the application."""

    def __init__(self, clock: SimulatedClock, meters: GasMeters, switches: Callable[[], GasServiceSwitches]) -> None:
        self._clock, self._meters, self._switches = clock, meters, switches
        self._rights: list[AccessRight] = [*self._recorded(), *self._of_sandbox()]

    def all(self, sandbox: bool = False) -> list[AccessRight]:
        """Return the rights in the order of their creation; those of the sandbox's meters only on its paths."""
        for right in self._rights:
            self._settle(right)
        return [right for right in self._rights if sandbox or not right.sandbox]

    def of_pce(self, pce: str, sandbox: bool = False) -> list[AccessRight]:
        """Return the rights of a meter, the newest first."""
        return [right for right in reversed(self.all(sandbox)) if right.pce == pce]

    def find(self, right_id: str) -> AccessRight | None:
        """Return the right with this id, or None."""
        return next((right for right in self.all(sandbox=True) if right.id == right_id), None)

    def add(self, right: AccessRight) -> AccessRight:
        """Add a right and return it as it is now: the holder may accept at once."""
        self._rights.append(right)
        self._settle(right)
        return right

    def grant(self, pce: str) -> AccessRight:
        """Return the active right that the holder gave on the consent page."""
        for right in self.of_pce(pce):
            if right.state is RightState.ACTIVE and right.journey == CLIENT_CONNECT:
                return right
        now, today = self._clock.now(), self._clock.today()
        return self.add(
            AccessRight(
                pce=pce,
                created_at=now,
                state=RightState.ACTIVE,
                journey=CLIENT_CONNECT,
                first_day=today,
                last_day=today.replace(day=1, year=today.year + 3),
                data_from=today.replace(day=1, year=today.year - 5),
                postcode=self._meters.get(pce).postcode,
            )
        )

    def ask_proof(self, right: AccessRight, until: date | None) -> None:
        """Ask for the proof of the consent, until a day: without one, in fifteen days."""
        right.proof = ProofState.AWAITED
        right.proof_until = until or self._clock.today() + _PROOF_DAYS * ONE_DAY

    def clear(self) -> None:
        """Forget all rights but those of the start."""
        self._rights = [*self._recorded(), *self._of_sandbox()]

    def _settle(self, right: AccessRight) -> None:
        """Let happen to a right what the clock has brought since."""
        now, today = self._clock.now(), self._clock.today()
        if right.state is RightState.PENDING:
            self._answer(right, now)
        awaited_until = right.proof_until if right.proof is ProofState.AWAITED else None
        if right.state is RightState.ACTIVE and awaited_until is not None and today > awaited_until:
            right.end(RightState.OBSOLETE, BY_SUPPLIER, now)
        if right.state in (RightState.ACTIVE, RightState.PENDING) and today > right.last_day:
            right.end(RightState.OBSOLETE, None, now)

    def _answer(self, right: AccessRight, now: datetime) -> None:
        """Let the holder answer the e-mail, as the switches say."""
        switches = self._switches()
        holder = self._meters.switches_of(right.pce).holder or switches.holder
        answered_at = right.mailed_at + timedelta(seconds=switches.accept_after_s)
        if holder == "accepts_at_once" or (holder == "accepts" and now >= answered_at):
            right.state = RightState.ACTIVE
        elif holder == "refuses" and now >= answered_at:
            right.end(RightState.REFUSED, BY_HOLDER, now)

    def _recorded(self) -> Iterable[AccessRight]:
        now = self._clock.now()
        for pce in sorted(self._meters.recorded):
            yield AccessRight(pce=pce, created_at=now, state=RightState.ACTIVE, company="EXEMPLE SARL")

    def _of_sandbox(self) -> Iterable[AccessRight]:
        now = self._clock.now()
        for pce, meter in SANDBOX_METERS.items():
            if meter.state is None or not self._meters.knows(pce):
                continue
            right = AccessRight(pce=pce, created_at=now, state=meter.state, covers=meter.covers, sandbox=True)
            right.ended_by, right.data_from = meter.ended_by, meter.data_from or _EARLIEST
            right.last_day, right.ended_at = (
                meter.last_day or _LATEST,
                now if meter.ended_by or meter.last_day else None,
            )
            yield right
