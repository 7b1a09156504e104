"""Rights to read the gas data of households: declared, opened as accounts, and withdrawn at the supplier.

Anybody could declare a stranger's meter with their own e-mail address, and being signed in proves nothing about this
meter. So a declaration needs an invitation for the meter, opened in the same browser, or the operator's approval.
Without an invitation, the declaration waits in encrypted form for the operator, and counts towards the limit of new
accounts per day. With a listed invitation it waits, too: the holder may consent at GRDF to what another person has
declared. The right is stored as soon as the supplier has registered it, in one transaction with the use of the
invitation. What the person has typed is dropped when the request ends.

If the supplier already has a right for the meter, that right is looked up and used, because the answer to our
declaration may have been lost. A declaration that only the operator has approved doesn't use a right that another
browser has declared here, unless that right belongs to the person's own account.

An active right opens an account for a meter that has none. It renews an existing account if the person who declared the
right has shown that the account is theirs. If the person was invited as the meter's new holder, the previous account is
closed and a new one is opened. A meter whose data were erased needs a proof newer than the erasure. Account, dates,
evidence and the right's own row are written in one transaction.

When a household stops its consent or has its account erased, the right's row stays until the supplier has withdrawn the
right, but not for more than seven days. Then the row is deleted. After an erasure, only the keyed hash that remembers
the erasure is left of the meter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from worker.accounts.opening import Invited, ProvenRequests, RequestEnded
from worker.clients.suppliers import SupplierClients
from worker.domain.access_right import (
    HouseholdDeclaration,
    Right,
    RightDeclaration,
    RightRecord,
    RightRole,
    RightState,
    best_record,
)
from worker.domain.account import Account
from worker.domain.clock import Clock, real_clock
from worker.domain.connection_request import ConnectedAccount, ConnectionRequest, RequestEvent
from worker.domain.consents import ConsentKind, Proof, is_younger, last_day_of
from worker.domain.evidence import HOUSEHOLD, DatesSource
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.errors import (
    OperatorFault,
    RightRefused,
    StoreUnavailable,
    TransientError,
    UnknownUsagePoint,
    WorkerError,
)
from worker.logs import fields
from worker.stores.redis.locks import Locks
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import GivenConsent
from worker.stores.registry.rights import RightTable

log = logging.getLogger("releve.consents")
rights_log = logging.getLogger("releve.rights")
_LONGEST_RIGHT: Final = "P3Y"  # The duration that we request; used if the supplier gives no last day.
_STEP_S: Final = 90.0
_LONGEST_STEP_S: Final = 600.0
_MOST_AT_ONCE: Final = 200
_LONGEST_WAIT: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class RightDeclarations:
    """Declares the rights of households at the supplier, or holds the declarations for the operator.

    ``clients_of``: returns, for a supplier's name, its clients.
    """

    clients_of: Callable[[str], SupplierClients]
    outcomes: ProvenRequests
    locks: Locks

    def begin(self, request: ConnectionRequest) -> ConnectionRequest:
        """Store a request that declares a right, and return it: to be declared, held for the operator, or ended.

        The caller must have checked the declaration's form. No supplier is asked.
        """
        if request.invitation_id is None and self.outcomes.count_new_accounts(request, 1):
            request = replace(request, declaration=None).after(RequestEvent.REFUSED, page="right_too_many")
        elif self._needs_operator(request):
            request = _hold(request)
        self.outcomes.requests.create(request)
        return request

    def conclude(self, request: ConnectionRequest, declaration: HouseholdDeclaration) -> ConnectionRequest:
        """Declare the right, and return the request: declared, held for the operator, or waiting for its next try.

        Raises RequestEnded if no right can be declared; the error has the name of the page that says why. Also raises
        the errors of the client.
        """
        rights = self.outcomes.registry.rights
        name = f"right:{rights.lock_name(request.supplier, declaration.meter)}"
        with self.locks.lock(name, _STEP_S, most_s=_LONGEST_STEP_S):
            right = rights.of_request(request.id)  # Not None if this step stored the right before a crash.
            if right is None:
                if request.vouched_by is None and self._needs_operator(request):
                    return _hold(request)  # Begun in an earlier release, which demanded less.
                if rights.is_being_withdrawn(request.supplier, declaration.meter):
                    return request.waiting("unavailable", self.outcomes.real_now())
                right = self._declare(request, declaration)
        if right is None:
            return request.waiting("not_there", self.outcomes.real_now())
        account = open_by_right(self.outcomes, right) if right.state is RightState.ACTIVE else None
        connected = (ConnectedAccount(account.id, account.session_number),) if account else ()
        return request.after(RequestEvent.DECLARED, accounts=connected, page="")

    def _needs_operator(self, request: ConnectionRequest) -> bool:
        if request.invitation_id is None:
            return True
        invitation = self.outcomes.registry.invitations.get(request.invitation_id)
        return invitation is not None and invitation.is_listed

    def _declare(self, request: ConnectionRequest, declaration: HouseholdDeclaration) -> Right | None:
        """Declare the right and store it; None if the supplier says that the right exists but doesn't list it yet."""
        meter = declaration.meter
        invited = self.outcomes.find_invited(request)
        named = (invited.invitation.supplier, invited.usage_point_id) if invited else None
        is_used = invited is not None and invited.invitation.used_at is not None
        if request.vouched_by is None and (is_used or named != (request.supplier, meter)):
            raise RequestEnded("invitation_over")
        account = self.outcomes.registry.accounts.find(request.supplier, meter)
        is_own = account is not None and self.outcomes.is_same_person(account, request, invited)
        if invited is not None and invited.invitation.is_listed:
            invited = None  # From here on, only the operator's yes counts.
        for_new_holder = invited is not None and invited.is_for_new_holder
        if account is not None and (not (is_own or for_new_holder) or account.tenant != request.tenant):
            raise RequestEnded("right_exists")
        with self.outcomes.registry.database.reading() as connection:
            if self._is_erased(self.outcomes.registry.erasures.find(connection, request.supplier, meter), request):
                raise RequestEnded("erased_since")
        clients, today = self.clients_of(request.supplier), civil_date(self.outcomes.now())
        session, is_taken_over = clients.application_session(), account is not None and not is_own
        told = RightDeclaration(
            meter=meter,
            role=RightRole.AUTHORIZED,
            postcode=declaration.postcode,
            first_day=today,
            last_day=last_day_of(today, clients.endpoints.preset.consent_duration),
            data_from=today if is_taken_over else today - timedelta(days=clients.rights.history_days),
            name=declaration.name,
            company=declaration.company,
            email=declaration.email,
        )
        try:
            declared = clients.rights.declare(session, told)
        except (RightRefused, UnknownUsagePoint) as error:
            page = _page_of(error)
            log.info("right refused by the supplier", extra=fields(request=request.id, page=page, reason=str(error)))
            raise RequestEnded(page) from None
        right = Right(
            id=request.id,
            supplier=request.supplier,
            tenant=request.tenant,
            meter=meter,
            supplier_id=declared.id,
            state=declared.state,
            state_since=self.outcomes.now(),
            account_id=account.id if account is not None and is_own else None,
            first_day=told.first_day,
            last_day=told.last_day,
            vouched_by=invited.invitation.created_by if invited else request.vouched_by,
            invited_at=invited.invitation.created_at if invited else request.begun_at,
            for_new_holder=for_new_holder,
            browser=request.browser,
            begun_at=request.begun_at,
            declared_at=self.outcomes.now(),
            line=declared.line,
            digest=declared.digest,
        )
        if declared.id is not None:
            return self._store(request, right, invited)
        records = [record for record in clients.rights.list_rights(session, [meter]) if record.meter == meter]
        return self._store_existing(request, right, invited, records)

    def _store_existing(
        self, request: ConnectionRequest, right: Right, invited: Invited | None, records: Sequence[RightRecord]
    ) -> Right | None:
        """Store a right that the supplier had registered before; None if the supplier doesn't list the right yet."""
        record = best_record(records, RightRole.AUTHORIZED)
        if record is None:
            if records:  # All listed rights have ended, or give us a role other than the household's.
                raise RequestEnded("right_exists")
            return None
        rows = self.outcomes.registry.rights.of_meter(right.supplier, right.meter)
        known = [row for row in rows if row.supplier_id == record.id]
        foreign = [row for row in known if row.browser not in request.names]
        if invited is None and any(row.account_id is None or row.account_id != right.account_id for row in foreign):
            raise RequestEnded("right_exists")
        right = replace(right.after(record, self.outcomes.now()), is_found=True)
        return self._store(request, right, invited, instead_of=[row.id for row in known])

    def _store(
        self, request: ConnectionRequest, right: Right, invited: Invited | None, instead_of: Sequence[str] = ()
    ) -> Right:
        """Store the right, and mark the invitation as used.

        Raises RequestEnded if the invitation was used or revoked, or the meter's data were erased, in the meantime. In
        that case, a right that was registered just now is marked to be withdrawn.
        """
        page = ""
        with self.outcomes.registry.database.writing() as connection:
            if self._is_erased(self.outcomes.registry.erasures.find(connection, right.supplier, right.meter), request):
                page = "erased_since"
            elif invited and not self.outcomes.registry.invitations.use(connection, invited.invitation.id):
                page = "invitation_over"
            if not page or not right.is_found:
                stored = replace(right, withdraw_since=self.outcomes.real_now()) if page else right
                self.outcomes.registry.rights.insert(connection, stored, instead_of=instead_of)
        if page:
            raise RequestEnded(page)
        log.info("right declared", extra=fields(right=right.id, state=right.state, is_found=right.is_found))
        return right

    def _is_erased(self, erased_at: datetime | None, request: ConnectionRequest) -> bool:
        """Return whether the meter's data were erased after the person began this request."""
        return erased_at is not None and not is_younger(Proof.RIGHT, erased_at, request.begun_at, None)


def _hold(request: ConnectionRequest) -> ConnectionRequest:
    log.warning("connection request waits for the operator", extra=fields(request=request.id))
    return request.after(RequestEvent.UNVOUCHED, page="right_held")


def _page_of(error: RightRefused | UnknownUsagePoint) -> str:
    """Return the name of the page that says why the supplier registers no right."""
    if isinstance(error, UnknownUsagePoint):
        return "right_unknown_meter"
    return error.code if error.code.startswith("right_") else "refused"


def open_by_right(
    outcomes: ProvenRequests, right: Right, covers: Collection[Series] | None = None, *, anew: bool = False
) -> Account | None:
    """Open or renew the account of an active right, and return it; None if the right must not open an account.

    ``covers``: the series that the right covers; None if unknown. ``anew``: whether the person who declares the right
    vouches that the holder has consented since the meter's data were erased. The caller must start the backfill. Safe
    to repeat.
    """
    registry, now = outcomes.registry, outcomes.now()
    before = registry.accounts.find(right.supplier, right.meter)
    is_own = before is not None and before.id == right.account_id
    if before is not None and not (is_own or (right.for_new_holder and before.tenant == right.tenant)):
        log.info("right opens nothing: its meter has an account", extra=fields(right=right.id))
        return None
    others = [before] if before is not None and not is_own else []
    # The consent's first and last day as given by the supplier, or else as declared.
    first_day = right.first_day or civil_date(now)
    last_day = right.last_day or last_day_of(first_day, _LONGEST_RIGHT)
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
        outcomes.lock_meters(connection, right.supplier, {right.meter: before}, [right.browser or ""])
        if not registry.rights.lock(connection, right):
            raise RequestEnded("right_withdrawn")
        outcomes.close_others(connection, others, now)

    def finish(connection: Connection, account_ids: Sequence[str]) -> None:
        erased_at = None if anew else registry.erasures.find(connection, right.supplier, right.meter)
        if erased_at and not is_younger(proof_of(right), erased_at, right.begun_at, right.invited_at):
            raise RequestEnded("erased_since")
        registry.rights.mark_opened(connection, right.id, account_ids[0], now)
        # Recording evidence locks the chain of evidence. After that, only evidence and ledger entries may be written,
        # because other locks could cause a deadlock.
        registry.consents.record(connection, account_ids, given, now)
        outcomes.record_closures(connection, others, now, right.vouched_by or HOUSEHOLD)

    try:
        ((account, created),) = registry.accounts.add_all(
            right.supplier,
            [right.meter],
            now,
            NewConsent(
                first_day,
                last_day,
                token_needed=False,
                data_from=outcomes.first_day(right.supplier, [right.meter], others, now),
                offered={} if covers is None else {right.meter: covers},
            ),
            before=prepare,
            on_accounts=finish,
            tenant=right.tenant,
        )
    except RequestEnded:
        log.info(
            "right opens nothing: its meter was erased, or it is withdrawn or opened meanwhile",
            extra=fields(right=right.id),
        )
        return None
    log.info("consent given", extra=fields(account_id=account.id, proof=proof_of(right), new=created))
    return account


def proof_of(right: Right) -> Proof:
    """Return which kind of proof a right gives.

    A right of the role ``OWN`` is a proof of its own kind. If a household declares a right that the supplier already
    has, the proof is the word of the inviter or the operator. For any other right, the supplier itself has asked the
    holder.
    """
    if right.role is RightRole.OWN:
        return Proof.OWN
    return Proof.INVITED if right.is_found and right.invited_at is not None else Proof.RIGHT


def withdraw_rights(rights: RightTable, clients_of: Callable[[str], SupplierClients], now: Clock = real_clock) -> int:
    """Withdraw the rights that are marked to be withdrawn, and return how many were withdrawn. Safe to repeat.

    If the supplier doesn't answer, refuses the application or makes us wait, the other rights wait for the next run. A
    right that could not be withdrawn for seven days is deleted from the registry only.
    """
    withdrawn = 0
    for right in rights.list_to_withdraw(_MOST_AT_ONCE):
        try:
            _withdraw(right, clients_of(right.supplier))
            rights.delete_withdrawn(right.id)
            rights_log.info("right withdrawn", extra=fields(right=right.id))
            withdrawn += 1
        except StoreUnavailable:
            raise
        except WorkerError as error:
            if right.withdraw_since is not None and now() - right.withdraw_since > _LONGEST_WAIT:
                rights_log.error("right not withdrawn, given up", extra=fields(right=right.id, reason=str(error)))
                rights.delete_withdrawn(right.id)
                continue
            rights_log.warning("right not withdrawn yet", extra=fields(right=right.id, reason=str(error)))
            if isinstance(error, TransientError | OperatorFault):  # The error concerns the other rights, too.
                break
    return withdrawn


def _withdraw(right: Right, clients: SupplierClients) -> None:
    session = clients.application_session()
    if right.supplier_id is not None:
        clients.rights.withdraw(session, right.supplier_id)
        return
    # The right was given on the supplier's own page, and no sweep has found its id yet.
    listed = clients.rights.list_rights(session, [right.meter])
    records = [record for record in listed if record.meter == right.meter]
    while record := best_record(records, *RightRole):
        clients.rights.withdraw(session, record.id)
        records.remove(record)
