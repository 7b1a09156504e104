"""Meters of the operator's own: their contract is ours, so nobody has to consent, and the operator vouches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from worker.accounts.assertion import MeterErased, check_tenant_of
from worker.accounts.rights.opening import RightOpenings
from worker.clients.suppliers import SupplierClients
from worker.domain.access_right import (
    ProofState,
    Right,
    RightDeclaration,
    RightRecord,
    RightRole,
    RightState,
    best_record,
)
from worker.domain.account import Account, AccountState
from worker.domain.clock import Clock, real_clock
from worker.domain.consents import Proof, is_asserted_younger, last_day_of
from worker.domain.windows import civil_date
from worker.errors import ConsentEnded, DataError, RightChanging, RightEnded, SupplierFault
from worker.stores.registry.rights import RightTable, new_right_id


class DeclarationNeeded(DataError):
    """The supplier has no active right for this meter: postcode and holder are needed to declare one."""

    remedy = "Declare it with `releve accounts add --pce … --own --postcode … --name …` (or `--company …`)."


class UnknownRight(DataError):
    """No right has this id, or it is being withdrawn."""

    remedy = "`releve rights` shows the rights."


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnHolder:
    """Who holds the contract: exactly one of ``name`` and ``company``, and the meter's postcode; kept nowhere."""

    postcode: str
    name: str | None = None
    company: str | None = None


@dataclass(frozen=True, kw_only=True)
class OwnRights:
    """The use case that adds accounts of own meters, and sends proofs of consents."""

    clients_of: Callable[[str], SupplierClients]
    openings: RightOpenings
    rights: RightTable
    now: Clock
    real_now: Clock = real_clock

    def add(
        self, supplier: str, meter: str, by: str, *, tenant: str, holder: OwnHolder | None = None, anew: bool = False
    ) -> tuple[Right, Account | None]:
        """Return the right of a meter and its account; None where the right is not active yet.

        An active right is looked up first and used; else ``holder`` declares one. An own meter whose right has ended
        keeps its account. ``by``: who vouches. ``anew``: the data of the meter were erased, and it is added again. The
        caller enqueues the history. Raises DeclarationNeeded, MeterErased, MeterElsewhere, RightRefused,
        UnknownUsagePoint, what the client raises, and StoreUnavailable; RightChanging while a right of the meter
        is withdrawn; ValueError where the meter has an account that is read, or that was a household's.
        """
        account = self.openings.outcomes.registry.find(supplier, meter)
        if account is not None:
            check_tenant_of(account, tenant)
            if not self._may_renew(account):
                raise ValueError(f"account {account.id} has this meter already")
        now = self.now()
        right = Right(
            id=new_right_id(),
            supplier=supplier,
            tenant=tenant,
            meter=meter,
            state=RightState.PENDING,
            state_since=now,
            role=RightRole.OWN,
            account_id=account.id if account else None,
            vouched_by=by,
            begun_at=self.real_now(),
            declared_at=now,
        )
        record = self._look_up(supplier, meter)
        is_there = record is not None and record.state is RightState.ACTIVE
        if record is not None and is_there:
            right = _with_record(right, record)
        elif holder is None:
            raise DeclarationNeeded(
                "the supplier has no active right for this meter: to declare one, give --postcode and either --name "
                "or --company"
            )
        self._check_not_erased(right, anew=anew)
        if self.rights.is_being_withdrawn(supplier, meter):
            raise RightChanging("the last right of this meter is being withdrawn: try again in a few minutes")
        if holder is not None and not is_there:
            right, record = self._declare(right, holder), None
            self._check_not_erased(right, anew=anew)  # One that was there and waits may be older.
        return self._store_and_open(right, record)

    def _may_renew(self, account: Account) -> bool:
        """Return whether an account waits for a right, and was opened by the operator's word for an own meter."""
        proofs = self.openings.outcomes.consents.list_proofs(account.id)
        waits = account.state is AccountState.ACTION_NEEDED and account.reason in (RightEnded.code, ConsentEnded.code)
        return waits and bool(proofs) and proofs[0].proof is Proof.OWN

    def _look_up(self, supplier: str, meter: str) -> RightRecord | None:
        """Return the right of a meter that is worth most; None where all have ended."""
        clients = self.clients_of(supplier)
        listed = clients.rights.list(clients.application_session(), [meter])
        return best_record([record for record in listed if record.meter == meter], *RightRole)

    def _declare(self, right: Right, holder: OwnHolder) -> Right:
        """Declare an own right, and return it as the supplier has registered it."""
        clients, today = self.clients_of(right.supplier), civil_date(self.now())
        last_day = last_day_of(today, clients.endpoints.preset.consent_duration)
        declared = clients.rights.declare(
            clients.application_session(),
            RightDeclaration(
                meter=right.meter,
                role=RightRole.OWN,
                postcode=holder.postcode,
                first_day=today,
                last_day=last_day,
                data_from=today - timedelta(days=clients.rights.history_days),
                name=holder.name,
                company=holder.company,
            ),
        )
        if declared.id is None:  # It was there already, and waits.
            record = self._look_up(right.supplier, right.meter)
            if record is None:
                raise SupplierFault("the supplier has a right for this meter, but does not list it yet: try again")
            return _with_record(right, record)
        return replace(
            right,
            supplier_id=declared.id,
            state=declared.state,
            first_day=today,
            last_day=last_day,
            line=declared.line,
            digest=declared.digest,
        )

    def upload_proof(self, right_id: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Send one to three files, by name and content, as the proof of a right's consent.

        Raises UnknownRight, RightRefused, what the client raises, and StoreUnavailable.
        """
        right = self.rights.find(right_id)
        if right is None or right.supplier_id is None:
            raise UnknownRight("no right has this id: `releve rights` shows the ids")
        clients = self.clients_of(right.supplier)
        clients.rights.upload(clients.application_session(), right.supplier_id, files)
        self.rights.save_check(right, replace(right, proof=ProofState.IN_REVIEW))

    def _store_and_open(self, right: Right, record: RightRecord | None) -> tuple[Right, Account | None]:
        known = self.rights.of_meter(right.supplier, right.meter)
        same = [row.id for row in known if row.supplier_id == right.supplier_id]
        with self.openings.outcomes.registry.database.writing() as connection:
            self.rights.insert(connection, right, instead_of=same)
        if right.state is not RightState.ACTIVE:
            return right, None
        # The operator's word was compared with the erasure already.
        account = self.openings.open(right, record.covers if record else None, anew=True)
        return right, account

    def _check_not_erased(self, right: Right, *, anew: bool) -> None:
        erasures = self.openings.outcomes.erasures
        with self.openings.outcomes.registry.database.reading() as connection:
            erased_at = erasures.find(connection, right.supplier, right.meter)
        if erased_at is None:
            return
        given_on = right.first_day if right.is_found else civil_date(self.now())
        if not is_asserted_younger(self._fleet_day(erased_at), given_on, anew=anew):
            raise MeterErased("the data of this meter were erased, and its right at the supplier is older than that")

    def _fleet_day(self, moment: datetime) -> date:
        return civil_date(moment + (self.now() - self.real_now()))


def _with_record(right: Right, record: RightRecord) -> Right:
    """Return a right that was there before, as the supplier lists it; it counts as an own one."""
    return replace(right.after(record, right.state_since), role=RightRole.OWN, is_found=True)
