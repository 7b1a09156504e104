"""Rights at the supplier: the sweep that checks them, rights for the operator's own meters, and waiting proofs.

The supplier doesn't report changes of rights, so it is asked with lists of meters: every quarter of an hour about the
rights that wait for the holder, and once a day about all rights. A right that has become active opens its account. An
account without an active right is suspended at once, because the supplier itself says that the right has ended. If the
supplier lists so many ended rights that it must be wrong, that is an incident, and no account is suspended
(``accounts.refusals``).

The contract of an own meter is the operator's. So nobody else has to consent, and the operator vouches. The proof of a
consent that a supplier demands is uploaded on the operator's page, and waits in encrypted form until a worker sends it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final, TypeVar

from worker.accounts.asserted_accounts import MeterErased, check_tenant_of
from worker.accounts.gas_rights import open_by_right
from worker.accounts.opening import ProvenRequests
from worker.accounts.refusals import RefusalPolicy
from worker.clients.suppliers import SupplierClients
from worker.domain.access_right import (
    REGISTERING,
    OurState,
    ProofState,
    Right,
    RightDeclaration,
    RightRecord,
    RightRole,
    RightState,
    best_record,
)
from worker.domain.account import Account, AccountState
from worker.domain.consents import Proof, is_asserted_younger, last_day_of
from worker.domain.notice import NoticeKind
from worker.domain.windows import civil_date
from worker.errors import ConsentEnded, DataError, RightChanging, RightEnded, SupplierFault
from worker.logs import fields
from worker.stores.database import new_id
from worker.stores.redis.pending_consents import ProofFiles

log = logging.getLogger("releve.rights")
consents_log = logging.getLogger("releve.consents")
_Listed = TypeVar("_Listed", Right, RightRecord)
REMINDER: Final = timedelta(days=3)  # How long before a proof's last day the operator is reminded.


@dataclass(slots=True)
class RightSummary:
    """What a sweep has found. ``opened``: the accounts whose history is to be loaded."""

    checked: int = 0
    opened: list[str] = field(default_factory=list)
    ended: int = 0  # The number of accounts that were suspended.


@dataclass(frozen=True, kw_only=True)
class RightSweep:
    """Checks the rights at the suppliers that are set up; ``suppliers``: the clients of these suppliers, by name."""

    suppliers: Mapping[str, SupplierClients]
    outcomes: ProvenRequests
    refusals: RefusalPolicy

    def run(self, *, pending_only: bool = False) -> RightSummary:
        """Check the rights at each supplier that registers rights, and return what was found. Safe to repeat.

        ``pending_only``: check only the rights that wait for the holder. Raises what the client raises.
        """
        summary = RightSummary()
        for name, clients in self.suppliers.items():
            if name in REGISTERING:
                self._check_supplier(name, clients, summary, pending_only=pending_only)
        if summary.opened or summary.ended:
            counts = fields(checked=summary.checked, opened=len(summary.opened), ended=summary.ended)
            log.info("rights checked", extra=counts)
        return summary

    def _check_supplier(
        self, name: str, clients: SupplierClients, summary: RightSummary, *, pending_only: bool
    ) -> None:
        without: list[Account] = [] if pending_only else self.outcomes.registry.rights.list_accounts_without(name)
        by_meter = _by_meter(self.outcomes.registry.rights.of_supplier(name, pending_only=pending_only))
        meters = [*by_meter, *(account.usage_point_id for account in without if account.usage_point_id)]
        checked: list[Right] = []
        session, longest = clients.application_session(), clients.rights.longest_list
        for first in range(0, len(meters), longest):
            batch = list(dict.fromkeys(meters[first : first + longest]))
            records = _by_meter(clients.rights.list_rights(session, batch))
            for meter in batch:
                checked += self._follow(by_meter[meter], records[meter], summary)
            for account in (one for one in without if one.usage_point_id in batch):
                checked += self._adopt(account, records[account.usage_point_id or ""])
        summary.checked += len(checked)
        if not pending_only:
            summary.ended += self._set_aside(checked)

    def _follow(self, rights: Sequence[Right], records: Sequence[RightRecord], summary: RightSummary) -> list[Right]:
        """Store and return a meter's rights as the supplier lists them now; open accounts for newly active rights."""
        by_id = {record.id: record for record in records}
        followed = []
        for right in rights:
            record = by_id.get(right.supplier_id or "")
            if record is None:  # The supplier doesn't list this right, which says nothing about its state.
                followed.append(right)
                continue
            after = right.after(record, self.outcomes.now())
            self._announce_proof(after)
            # The right's new state is stored last, so that after a crash the next run opens the account.
            if self._should_open(after) and (account := open_by_right(self.outcomes, after, record.covers)):
                summary.opened.append(account.id)
            self.outcomes.registry.rights.save_check(right, after)
            followed.append(after)
        return followed

    def _should_open(self, right: Right) -> bool:
        """Return whether a right is active and must open its account.

        It must do so if it has never opened an account, or if the account was suspended or paused because its last
        right had ended.
        """
        if not right.is_in_force(civil_date(self.outcomes.now())):
            return False
        if right.ours is not OurState.OPENED or right.account_id is None:
            return True
        account = self.outcomes.registry.accounts.get(right.account_id)
        return account.state in (AccountState.ACTION_NEEDED, AccountState.PAUSED) and account.reason == RightEnded.code

    def _adopt(self, account: Account, records: Sequence[RightRecord]) -> list[Right]:
        """Store and return the right that the supplier lists for an account that has none in the registry.

        The holder has given such a right on the supplier's own page. Returns an empty list if the supplier lists no
        right.
        """
        record = best_record(records, RightRole.AUTHORIZED, RightRole.OWN) or next(iter(records), None)
        adopted = self.outcomes.registry.rights.adopt(account, record, self.outcomes.now()) if record else None
        return [adopted] if adopted else []

    def _announce_proof(self, right: Right) -> None:
        """Notify the operator of an awaited proof, once more shortly before its last day, and of a rejected proof."""
        if right.proof is ProofState.REJECTED:
            self.refusals.tell_operator(NoticeKind.RIGHT_PROOF_REJECTED, right.id, right.proof_until)
        elif right.proof is ProofState.AWAITED:
            self.refusals.tell_operator(NoticeKind.RIGHT_PROOF_AWAITED, right.id, right.proof_until)
            if right.proof_until is not None and civil_date(self.outcomes.now()) >= right.proof_until - REMINDER:
                self.refusals.tell_operator(NoticeKind.RIGHT_PROOF_ENDS, right.id, right.proof_until)

    def _set_aside(self, rights: Collection[Right]) -> int:
        """Suspend the accounts that have no active right any more, and return how many were suspended."""
        today = civil_date(self.outcomes.now())
        good = {one.account_id for one in rights if one.is_in_force(today)}
        # A right that has just opened its account is not ``OPENED`` yet in this list.
        opened = {one.account_id for one in rights if one.account_id is not None and one.ours is OurState.OPENED}
        ended = [account_id for account_id in opened if account_id not in good]
        checked = {one.account_id for one in rights if one.state is RightState.TO_CHECK and not one.is_over(today)}
        return self.refusals.set_aside_without_right(ended, len(opened), checked=checked) if ended else 0


def _by_meter(rights: Sequence[_Listed]) -> defaultdict[str, list[_Listed]]:
    by_meter = defaultdict(list)
    for right in rights:
        by_meter[right.meter].append(right)
    return by_meter


class DeclarationNeeded(DataError):
    """The supplier has no active right for this meter: postcode and holder are needed to declare one."""

    remedy = "Declare it with `releve accounts add --pce … --own --postcode … --name …` (or `--company …`)."


class UnknownRight(DataError):
    """No right has this id, or the right is being withdrawn."""

    remedy = "`releve consents --rights` shows the rights."


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnHolder:
    """The holder of the contract: either ``name`` or ``company``, and the meter's postcode. None of this is stored."""

    postcode: str
    name: str | None = None
    company: str | None = None


@dataclass(frozen=True, kw_only=True)
class OwnRights:
    """Adds accounts for the operator's own meters, and sends the supplier the proofs of consents."""

    clients_of: Callable[[str], SupplierClients]
    outcomes: ProvenRequests

    def add(
        self, supplier: str, meter: str, by: str, *, tenant: str, holder: OwnHolder | None = None, anew: bool = False
    ) -> tuple[Right, Account | None]:
        """Add an own meter, and return its right and its account; the account is None if the right is not active yet.

        If the supplier already has an active right for the meter, that right is used; otherwise a right is declared
        with ``holder``. If the right of an own meter has ended, its account is kept and renewed. ``by``: who vouches.
        ``anew``: whether a meter whose data were erased is to be added again. The caller must enqueue the backfill.

        Raises DeclarationNeeded, MeterErased, MeterElsewhere, RightRefused, UnknownUsagePoint and the errors of the
        client. Raises RightChanging while a right of the meter is being withdrawn. Raises ValueError if the meter has
        an account, unless it is an own meter's account whose right or consent has ended.
        """
        account = self.outcomes.registry.accounts.find(supplier, meter)
        if account is not None:
            check_tenant_of(account, tenant)
            if not self._may_renew(account):
                raise ValueError(f"account {account.id} has this meter already")
        now = self.outcomes.now()
        right = Right(
            id=new_id(),
            supplier=supplier,
            tenant=tenant,
            meter=meter,
            state=RightState.PENDING,
            state_since=now,
            role=RightRole.OWN,
            account_id=account.id if account else None,
            vouched_by=by,
            begun_at=self.outcomes.real_now(),
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
        if self.outcomes.registry.rights.is_being_withdrawn(supplier, meter):
            raise RightChanging("the last right of this meter is being withdrawn: try again in a few minutes")
        if holder is not None and not is_there:
            right, record = self._declare(right, holder), None
            self._check_not_erased(right, anew=anew)  # The supplier may have returned an older, pending right.
        known = self.outcomes.registry.rights.of_meter(supplier, meter)
        same = [row.id for row in known if row.supplier_id == right.supplier_id]
        with self.outcomes.registry.database.writing() as connection:
            self.outcomes.registry.rights.insert(connection, right, instead_of=same)
        if right.state is not RightState.ACTIVE:
            return right, None
        # An erasure was looked for above, so the account is opened without looking again.
        return right, open_by_right(self.outcomes, right, record.covers if record else None, anew=True)

    def _may_renew(self, account: Account) -> bool:
        """Return whether the account of an own meter (``Proof.OWN``) waits because its right or consent has ended."""
        proofs = self.outcomes.registry.consents.list_proofs(account.id)
        waits = account.state is AccountState.ACTION_NEEDED and account.reason in (RightEnded.code, ConsentEnded.code)
        return waits and bool(proofs) and proofs[0].proof is Proof.OWN

    def _look_up(self, supplier: str, meter: str) -> RightRecord | None:
        """Return the right that the supplier lists for this meter, an active one first; None if all have ended."""
        clients = self.clients_of(supplier)
        listed = clients.rights.list_rights(clients.application_session(), [meter])
        return best_record([record for record in listed if record.meter == meter], *RightRole)

    def _declare(self, right: Right, holder: OwnHolder) -> Right:
        """Declare an own right, and return it as the supplier has registered it."""
        clients, today = self.clients_of(right.supplier), civil_date(self.outcomes.now())
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
        if declared.id is None:  # The right existed before, and is pending.
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

        Raises UnknownRight, RightRefused, and what the client raises.
        """
        right = self.outcomes.registry.rights.find(right_id)
        if right is None or right.supplier_id is None:
            raise UnknownRight("no right has this id: `releve consents --rights` shows the ids")
        clients = self.clients_of(right.supplier)
        clients.rights.upload(clients.application_session(), right.supplier_id, files)
        self.outcomes.registry.rights.save_check(right, replace(right, proof=ProofState.IN_REVIEW))

    def _check_not_erased(self, right: Right, *, anew: bool) -> None:
        with self.outcomes.registry.database.reading() as connection:
            erased_at = self.outcomes.registry.erasures.find(connection, right.supplier, right.meter)
        if erased_at is None:
            return
        erased_on = civil_date(erased_at + (self.outcomes.now() - self.outcomes.real_now()))
        given_on = right.first_day if right.is_found else civil_date(self.outcomes.now())
        if not is_asserted_younger(erased_on, given_on, anew=anew):
            raise MeterErased("the data of this meter were erased, and its right at the supplier is older than that")


def _with_record(right: Right, record: RightRecord) -> Right:
    """Return ``right`` with the data of ``record``, as an own right that the supplier had before it was added here."""
    return replace(right.after(record, right.state_since), role=RightRole.OWN, is_found=True)


@dataclass(frozen=True, slots=True)
class AwaitedProof:
    """A right whose proof the supplier awaits.

    ``until``: the last day for the proof. ``state``: ``awaited``, ``waiting`` (uploaded and to be sent to the supplier)
    or ``refused``.
    """

    right_id: str
    digits: str
    until: date | None
    state: str


@dataclass(frozen=True, kw_only=True)
class ProofUploads:
    """Sends the proofs that wait in ``files``, where the web has put them."""

    files: ProofFiles
    rights: OwnRights

    def list_awaited(self) -> list[AwaitedProof]:
        """Return the proofs that suppliers are waiting for, nearest deadline first."""
        rows = [
            AwaitedProof(right.id, right.last_digits, right.proof_until, self._state_of(right.id))
            for right in self.rights.outcomes.registry.rights.list_awaiting_proof()
        ]
        return sorted(rows, key=lambda row: (row.until or date.max, row.right_id))

    def send_waiting(self) -> None:
        """Send all waiting proofs to the supplier. Safe to repeat.

        A proof that the supplier refuses is dropped, and the operator's page says so. Raises what the client raises;
        the other proofs then wait for the next run.
        """
        for right_id in self.files.list_waiting():
            contents = self.files.get(right_id)
            fault = None
            try:
                if contents:
                    self.rights.upload_proof(right_id, contents)
            except DataError as error:
                fault = error.code
                consents_log.warning("proof refused", extra=fields(right=right_id, code=error.code))
            self.files.end(right_id, fault)

    def _state_of(self, right_id: str) -> str:
        if self.files.is_waiting(right_id):
            return "waiting"
        return "refused" if self.files.was_refused(right_id) else "awaited"
