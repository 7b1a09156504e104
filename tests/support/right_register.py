"""A supplier's register of rights of access in memory, in the place of the client's calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest

from worker.clients.grdf import GRDF
from worker.clients.supplier import RightCalls
from worker.domain.access_right import DeclaredRight, ProofState, RightDeclaration, RightRecord, RightRole, RightState
from worker.errors import RightPostcodeWrong, SupplierUnavailable, UnknownUsagePoint
from worker.runtime import supplier_settings as supplier

LINE = "grdf-adict PUT /pce/{meter}/droit_acces"


@dataclass
class RightRegister:
    """The register: meters with their postcode, rights by id, and what was asked, in order.

    ``silent``: whether the supplier answers nobody. ``fault``: raised by each call. ``loses``: how many answers to
    declarations get lost on their way.
    """

    postcodes: dict[str, str] = field(default_factory=dict)
    rights: dict[str, RightRecord] = field(default_factory=dict)
    declarations: list[RightDeclaration] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    uploads: list[tuple[str, list[tuple[str, bytes]]]] = field(default_factory=list)
    silent: bool = False
    fault: Exception | None = None
    loses: int = 0
    longest_list: int = 1_000

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let the parts that are opened from now on ask this register."""
        calls = RightCalls(
            declare=self.declare,
            list_rights=self.list_rights,
            withdraw=self.withdraw,
            upload=self.upload,
            longest_list=self.longest_list,
            history_days=1826,
        )
        patch.setattr(supplier, "GRDF", replace(GRDF, rights=calls))

    def grant(self, meter: str, state: RightState = RightState.ACTIVE, **facts: Any) -> RightRecord:
        """Register a right that was not declared here, and return it."""
        usual = {"first_day": date(2024, 1, 1), "last_day": date(2026, 12, 31)}
        record = RightRecord(id=f"uuid-{len(self.rights) + 1}", meter=meter, state=state, **{**usual, **facts})
        self.rights[record.id] = record
        return record

    def change(self, meter: str, **facts: Any) -> None:
        """Change all rights of a meter that have not ended."""
        for record in list(self.rights.values()):
            if record.meter == meter and record.state is not RightState.OBSOLETE:
                self.rights[record.id] = replace(record, **facts)

    def declare(self, session: object, declaration: RightDeclaration) -> DeclaredRight:
        self._answer()
        self.declarations.append(declaration)
        if declaration.meter not in self.postcodes:
            raise UnknownUsagePoint("the supplier knows no such meter")
        if self.postcodes[declaration.meter] != declaration.postcode:
            raise RightPostcodeWrong("the postcode differs")
        living = (RightState.ACTIVE, RightState.PENDING, RightState.TO_CHECK)
        if any(one.meter == declaration.meter and one.state in living for one in self.rights.values()):
            return DeclaredRight(id=None, state=RightState.PENDING, line=LINE, digest="d" * 64)
        own = declaration.role is RightRole.OWN
        state = RightState.ACTIVE if own else RightState.PENDING
        days = {"first_day": declaration.first_day, "last_day": declaration.last_day}
        record = self.grant(declaration.meter, state, role=declaration.role, **days)
        if self.loses:
            self.loses -= 1
            raise SupplierUnavailable("the answer got lost")
        return DeclaredRight(id=record.id, state=state, line=LINE, digest="d" * 64)

    def withdraw(self, session: object, right_id: str) -> None:
        self._answer()
        self.withdrawn.append(right_id)
        if right_id in self.rights:
            self.rights[right_id] = replace(self.rights[right_id], state=RightState.REVOKED)

    def upload(self, session: object, right_id: str, files: Sequence[tuple[str, bytes]]) -> None:
        self._answer()
        self.uploads.append((right_id, [*files]))
        self.rights[right_id] = replace(self.rights[right_id], proof=ProofState.IN_REVIEW)

    def _answer(self) -> None:
        if self.fault is not None:
            raise self.fault
        if self.silent:
            raise SupplierUnavailable("the supplier did not answer")

    # This method is the last one: below it, ``list`` in an annotation would mean the method.
    def list_rights(self, session: object, meters: Sequence[str]) -> Sequence[RightRecord]:
        self._answer()
        assert len(meters) <= self.longest_list and len(set(meters)) == len(meters)
        self.asked.append([*meters])
        return [record for record in self.rights.values() if record.meter in meters]
