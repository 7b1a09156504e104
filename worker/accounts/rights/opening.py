"""The opening of an account by a right that is active: a new account, or a new consent of the same person.

A right opens the account of a meter that has none. It never opens one that exists, unless the person who declared it
has shown to be that account's person, or was invited as the meter's new holder: the account before is closed then. A
meter that was erased opens by a proof that is younger than the erasure. Account, dates, evidence and the right's own
row are written in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection

from worker.accounts.proven_requests import ProvenRequests, RequestEnded
from worker.domain.access_right import Right, RightRole
from worker.domain.account import Account
from worker.domain.clock import Clock, real_clock
from worker.domain.consents import ConsentKind, Proof, is_younger, last_day_of
from worker.domain.evidence import HOUSEHOLD, DatesSource
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.logs import fields
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import GivenConsent
from worker.stores.registry.rights import RightTable

log = logging.getLogger("releve.consents")
_LONGEST_RIGHT: Final = "P3Y"  # As rights are asked for, where the supplier tells no last day.


def proof_of(right: Right) -> Proof:
    """Return what a right proves: the supplier has asked the holder, or the inviter vouches for one that was there."""
    if right.role is RightRole.OWN:
        return Proof.OWN
    return Proof.INVITED if right.is_found and right.invited_at is not None else Proof.RIGHT


@dataclass(frozen=True, kw_only=True)
class RightOpenings:
    """The use case that opens accounts by rights. Every method raises StoreUnavailable."""

    outcomes: ProvenRequests
    rights: RightTable
    now: Clock
    real_now: Clock = real_clock

    def open(self, right: Right, covers: Collection[Series] | None = None, *, anew: bool = False) -> Account | None:
        """Return the account that an active right has opened or renewed; None where it may open none.

        ``covers``: the series that it covers, None where that isn't known. ``anew``: the person who declares it vouches
        for a consent since the meter's data were erased. The caller starts the history. Safe to repeat.
        """
        before = self.outcomes.registry.find(right.supplier, right.meter)
        if before is not None and not self._may_open(right, before):
            log.info("right opens nothing: its meter has an account", extra=fields(right=right.id))
            return None
        is_own = before is not None and before.id == right.account_id
        others = [before] if before is not None and not is_own else []
        try:
            return self._write(right, before, others, covers, anew=anew)
        except RequestEnded:
            log.info(
                "right opens nothing: its meter was erased, or it is withdrawn or opened meanwhile",
                extra=fields(right=right.id),
            )
            return None

    def _may_open(self, right: Right, account: Account) -> bool:
        return account.id == right.account_id or (right.for_new_holder and account.tenant == right.tenant)

    def _write(
        self,
        right: Right,
        before: Account | None,
        others: Sequence[Account],
        covers: Collection[Series] | None,
        *,
        anew: bool,
    ) -> Account:
        now = self.now()
        first_day, last_day = self._days(right, now)
        given = GivenConsent(
            kind=ConsentKind.RIGHT,
            consent_from=first_day,
            consent_until=last_day,
            dates_from=DatesSource.SUPPLIER if right.first_day and right.last_day else DatesSource.REQUESTED,
            reference=right.supplier_id,
            proof=proof_of(right),
            vouched_by=right.vouched_by,
            browser=right.browser,
            line=right.line,
            answer_digest=right.digest,
        )

        def prepare(connection: Connection) -> None:
            self.outcomes.lock_meters(connection, right.supplier, {right.meter: before}, [right.browser or ""])
            if not self.rights.lock(connection, right):
                raise RequestEnded("right_withdrawn")
            self.outcomes.close_others(connection, others, now)

        def finish(connection: Connection, account_ids: Sequence[str]) -> None:
            if not anew:
                self._check_not_erased(connection, right)
            self.rights.mark_opened(connection, right.id, account_ids[0], now)
            # Evidence locks its chain, which nothing but evidence may follow.
            self.outcomes.consents.record(connection, account_ids, given, now)
            self.outcomes.record_closures(connection, others, now, right.vouched_by or HOUSEHOLD)

        ((account, created),) = self.outcomes.registry.add_all(
            right.supplier,
            [right.meter],
            now,
            NewConsent(first_day, last_day, token_needed=False),
            before=prepare,
            on_accounts=finish,
            data_from=self.outcomes.first_day(right.supplier, [right.meter], others, now),
            tenant=right.tenant,
            offered=None if covers is None else {right.meter: covers},
        )
        log.info("consent given", extra=fields(account_id=account.id, proof=proof_of(right), new=created))
        return account

    def _days(self, right: Right, now: datetime) -> tuple[date, date]:
        """Return the consent's first and last day, as the supplier told them or as they were declared."""
        first_day = right.first_day or civil_date(now)
        return first_day, right.last_day or last_day_of(first_day, _LONGEST_RIGHT)

    def _check_not_erased(self, connection: Connection, right: Right) -> None:
        erased_at = self.outcomes.erasures.find(connection, right.supplier, right.meter)
        if erased_at and not is_younger(proof_of(right), erased_at, right.begun_at, right.invited_at):
            raise RequestEnded("erased_since")
