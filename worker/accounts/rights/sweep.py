"""The sweep over all rights: the supplier tells nobody when one changes, so it is asked, in lists of meters.

Rights that wait for the holder are asked for every quarter of an hour, and all of them once a day. One that has become
active opens its account. An account without an active right is set aside at once: the supplier says so itself. Where so
many have ended that the supplier must be wrong, that is an incident, and none is (``accounts.refusals``).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from worker.accounts.refusals import RefusalPolicy
from worker.accounts.rights.opening import RightOpenings
from worker.clients.suppliers import SupplierClients
from worker.domain.access_right import ProofState, Right, RightRecord, RightRole, RightState, best_record
from worker.domain.account import Account, AccountState
from worker.domain.clock import Clock
from worker.domain.consents import NoticeKind
from worker.domain.windows import civil_date
from worker.errors import RightEnded
from worker.logs import fields
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.rights import RightTable

log = logging.getLogger("releve.rights")
REMINDER: Final = timedelta(days=3)  # Before the last day for a proof, the operator is told once more.


@dataclass(slots=True)
class RightSummary:
    """What a sweep has found. ``opened``: the accounts whose history is to be loaded."""

    checked: int = 0
    opened: list[str] = field(default_factory=list)
    ended: int = 0  # Accounts that were set aside.


@dataclass(frozen=True, kw_only=True)
class RightSweep:
    """The job that checks rights. ``suppliers``: the clients of those that are set up, by name."""

    suppliers: Mapping[str, SupplierClients]
    rights: RightTable
    openings: RightOpenings
    accounts: AccountRegistry
    refusals: RefusalPolicy
    now: Clock

    def run(self, *, pending_only: bool = False) -> RightSummary:
        """Check the rights of each supplier that registers any, and return what was found. Safe to repeat.

        ``pending_only``: those that wait for the holder. Raises what the client does, and StoreUnavailable.
        """
        summary = RightSummary()
        for name, clients in self.suppliers.items():
            if name in self.rights.suppliers:
                self._check_supplier(name, clients, summary, pending_only=pending_only)
        if summary.opened or summary.ended:
            counts = fields(checked=summary.checked, opened=len(summary.opened), ended=summary.ended)
            log.info("rights checked", extra=counts)
        return summary

    def _check_supplier(
        self, name: str, clients: SupplierClients, summary: RightSummary, *, pending_only: bool
    ) -> None:
        without: list[Account] = [] if pending_only else self.rights.list_accounts_without(name)
        rights = list(self._pages(name, pending_only=pending_only))
        by_meter: dict[str, list[Right]] = {right.meter: [] for right in rights}
        for right in rights:
            by_meter[right.meter].append(right)
        meters = [*by_meter, *(account.usage_point_id for account in without if account.usage_point_id)]
        checked: list[Right] = []
        session, longest = clients.application_session(), clients.rights.longest_list
        for first in range(0, len(meters), longest):
            batch = list(dict.fromkeys(meters[first : first + longest]))
            records = _group(clients.rights.list(session, batch))
            for meter in batch:
                checked += self._follow(by_meter.get(meter, []), records.get(meter, []), summary)
            for account in (one for one in without if one.usage_point_id in batch):
                checked += self._adopt(account, records.get(account.usage_point_id or "", []))
        summary.checked += len(checked)
        if not pending_only:
            summary.ended += self._set_aside(checked)

    def _pages(self, supplier: str, *, pending_only: bool) -> Iterator[Right]:
        after = ""
        while page := self.rights.page(supplier, after, pending_only=pending_only):
            yield from page
            after = page[-1].id

    # One meter.

    def _follow(self, rights: Sequence[Right], records: Sequence[RightRecord], summary: RightSummary) -> list[Right]:
        """Store what the supplier says of a meter's rights, and open what has become active."""
        by_id = {record.id: record for record in records}
        followed = []
        for right in rights:
            record = by_id.get(right.supplier_id or "")
            if record is None:  # It says nothing of this one: no state follows from that.
                followed.append(right)
                continue
            after = right.after(record, self.now())
            self._announce_proof(after)
            # Its state is stored last: after a crash the next run opens it.
            if self._should_open(after) and (account := self.openings.open(after, record.covers)):
                summary.opened.append(account.id)
            self.rights.save_check(right, after)
            followed.append(after)
        return followed

    def _should_open(self, right: Right) -> bool:
        """Return whether a right is active and its account doesn't have the consent: never yet, or it was set aside."""
        if right.state is not RightState.ACTIVE or _is_over(right, civil_date(self.now())):
            return False
        if right.opened_at is None or right.account_id is None:
            return True
        account = self.accounts.get(right.account_id)
        return account.state in (AccountState.ACTION_NEEDED, AccountState.PAUSED) and account.reason == RightEnded.code

    def _adopt(self, account: Account, records: Sequence[RightRecord]) -> list[Right]:
        """Find the right of an account that has none here, because it was given on the supplier's own page."""
        record = best_record(records, RightRole.AUTHORIZED, RightRole.OWN) or next(iter(records), None)
        adopted = self.rights.adopt(account, record, self.now()) if record else None
        return [adopted] if adopted else []

    def _announce_proof(self, right: Right) -> None:
        """Tell the operator of a proof that is awaited, once and again near its end, and of one that was rejected."""
        if right.proof is ProofState.REJECTED:
            self.refusals.tell_operator(NoticeKind.RIGHT_PROOF_REJECTED, right.id, right.proof_until)
        elif right.proof is ProofState.AWAITED:
            self.refusals.tell_operator(NoticeKind.RIGHT_PROOF_AWAITED, right.id, right.proof_until)
            if right.proof_until is not None and civil_date(self.now()) >= right.proof_until - REMINDER:
                self.refusals.tell_operator(NoticeKind.RIGHT_PROOF_ENDS, right.id, right.proof_until)

    # All accounts.

    def _set_aside(self, rights: Collection[Right]) -> int:
        """Set aside the accounts of which no right is active any more, and return their number."""
        today = civil_date(self.now())
        of_accounts = [right for right in rights if right.account_id is not None and right.opened_at is not None]
        states: dict[str, bool] = {}
        for right in of_accounts:
            is_good = right.state is RightState.ACTIVE and not _is_over(right, today)
            states[str(right.account_id)] = states.get(str(right.account_id), False) or is_good
        ended = [account_id for account_id, is_good in states.items() if not is_good]
        return self.refusals.set_aside_without_right(ended, asked=len(states)) if ended else 0


def _is_over(right: Right, today: date) -> bool:
    return right.last_day is not None and right.last_day < today


def _group(records: Sequence[RightRecord]) -> dict[str, list[RightRecord]]:
    by_meter: dict[str, list[RightRecord]] = {}
    for record in records:
        by_meter.setdefault(record.meter, []).append(record)
    return by_meter
