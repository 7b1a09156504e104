"""The declaration of a right by a household: who may declare which meter, and what the supplier makes of it.

Anybody could name a stranger's meter with an e-mail of their own. So a browser declares the meter of an invitation that
it has opened, or any meter where its session shows an account. The right is stored as soon as the supplier has
registered it, in one transaction with the use of the invitation; what the person has typed is dropped with the
request's end.

Where the supplier has a right already, it is looked up. It is the person's own where our declaration of it got no
answer. Any other one proves nothing about the person, not even one of the same day, so it takes an invitation, or an
account of theirs that reads the meter. The page is the same for a meter that another person's account reads. Who
declares a stranger's meter all the same is bounded by the number of new accounts a day.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from worker.accounts.proven_requests import Invited, ProvenRequests, RequestEnded
from worker.accounts.rights.opening import RightOpenings
from worker.clients.suppliers import SupplierClients
from worker.domain.access_right import (
    HouseholdDeclaration,
    Right,
    RightDeclaration,
    RightRecord,
    RightRole,
    RightState,
    best_record,
    is_fresh,
)
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.clock import Clock, real_clock
from worker.domain.connection_request import ConnectedAccount, ConnectionRequest, RequestEvent
from worker.domain.consents import Proof, is_younger, last_day_of
from worker.domain.invitation import Invitation, InvitationPurpose, InvitationState
from worker.domain.windows import civil_date
from worker.errors import RateLimited, RightRefused, UnknownUsagePoint
from worker.logs import fields
from worker.stores.redis.locks import Locks
from worker.stores.redis.pending_consents import ConnectionRequests
from worker.stores.registry.rights import RightTable, new_right_id

log = logging.getLogger("releve.consents")
_STEP_S: Final = 90.0
_LONGEST_STEP_S: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class RightDeclarations:
    """The use case that declares rights. ``clients_of`` returns a supplier's clients; see ``Runtime``."""

    clients_of: Callable[[str], SupplierClients]
    outcomes: ProvenRequests
    openings: RightOpenings
    rights: RightTable
    requests: ConnectionRequests
    locks: Locks
    now: Clock
    real_now: Clock = real_clock

    def begin(
        self,
        supplier: str,
        declaration: HouseholdDeclaration,
        *,
        browser: str,
        address: str,
        session: Mapping[str, int],
        known_as: Sequence[str] = (),
        invitation: Invitation | None = None,
        account_id: str | None = None,
    ) -> ConnectionRequest:
        """Store a request that declares a right, and return it: to be concluded, or ended where nobody vouches.

        ``browser``: the hash of a name that the browser gets with this, and ``known_as`` those of the names that it
        has; ``session``: the accounts of its session with their numbers; ``invitation``: one that it has opened, or
        ``account_id``: the account of the session on whose page the form was, whose service will read the data. The
        caller has checked the declaration's form. Asks no supplier. Raises StoreUnavailable.
        """
        names = (browser, *known_as)
        is_for_meter = invitation is not None and self._is_usable(invitation, supplier, names, declaration.meter)
        kept = invitation if invitation is not None and is_for_meter else None
        own = self._own_accounts(session)
        vouching = next((account for account in own if account.id == account_id), next(iter(own), None))
        tenant = kept.tenant if kept else vouching.tenant if vouching else DEFAULT_TENANT
        request = ConnectionRequest(
            id=new_right_id(),
            supplier=supplier,
            browser=browser,
            begun_on=civil_date(self.now()),
            created_at=self.real_now(),
            begun_at=self.real_now(),
            known_as=tuple(known_as),
            address=address,
            invitation_id=kept.id if kept else None,
            tenant=tenant,
            session=session,
            declaration=declaration,
        )
        page = ""
        if kept is None and not own:
            page = "invitation_over" if invitation is not None else "unproven"
        elif kept is None and self.outcomes.are_too_many(request, 1):
            page = "right_too_many"
        if page:
            request = replace(request, declaration=None).after(RequestEvent.REFUSED, page=page)
        self.requests.create(request)
        return request

    def conclude(self, request: ConnectionRequest, declaration: HouseholdDeclaration) -> ConnectionRequest:
        """Declare the right, or return the request with what it waits for.

        Raises RequestEnded with the page that says why there is no right, what the client raises, and StoreUnavailable.
        """
        name = f"right:{self.rights.lock_name(request.supplier, declaration.meter)}"
        with self.locks.lock(name, _STEP_S, most_s=_LONGEST_STEP_S):
            right = self.rights.of_request(request.id)  # This step has stored it before a crash.
            if right is None:
                if self.rights.is_being_withdrawn(request.supplier, declaration.meter):
                    return request.waiting("unavailable", self.real_now())
                right = self._declare(request, declaration)
        if right is None:
            return request.waiting("not_there", self.real_now())
        account = self.openings.open(right) if right.state is RightState.ACTIVE else None
        connected = (ConnectedAccount(account.id, account.session_number),) if account else ()
        return request.after(RequestEvent.DECLARED, accounts=connected, page="")

    # Who may declare it.

    def _is_usable(self, invitation: Invitation, supplier: str, names: Sequence[str], meter: str) -> bool:
        is_open = invitation.state_at(self.real_now()) is InvitationState.OPENED and invitation.browser in names
        return is_open and invitation.supplier == supplier and self.outcomes.registry.meter_of(invitation) == meter

    def _own_accounts(self, session: Mapping[str, int]) -> list[Account]:
        """Return the accounts of a session that are still its own, in its order."""
        known = self.outcomes.registry.get_many(list(session))
        mine = [known[id_] for id_, number in session.items() if id_ in known and known[id_].session_number == number]
        return [account for account in mine if account.state not in (AccountState.CLOSED, AccountState.DELETED)]

    def _find_vouching(self, request: ConnectionRequest, meter: str) -> Invited | None:
        """Return the invitation that vouches; None where a session does. Raises RequestEnded where neither does."""
        invited = self.outcomes.find_invited(request)
        if invited and self._is_usable(invited.invitation, request.supplier, request.names, meter):
            return invited
        if request.invitation_id is not None:
            raise RequestEnded("invitation_over")
        if not self._own_accounts(request.session):
            raise RequestEnded("unproven")
        return None

    # The declaration.

    def _declare(self, request: ConnectionRequest, declaration: HouseholdDeclaration) -> Right | None:
        """Declare the right and store it; None where the supplier says that there is one, and doesn't list it yet."""
        meter = declaration.meter
        invited = self._find_vouching(request, meter)
        account = self.outcomes.registry.find(request.supplier, meter)
        is_own = account is not None and self.outcomes.is_same_person(account, request, invited)
        for_new_holder = invited is not None and invited.invitation.purpose is InvitationPurpose.NEW_HOLDER
        if account is not None and (not (is_own or for_new_holder) or self._is_elsewhere(account, invited)):
            raise RequestEnded("right_exists")
        self._check_not_erased(request, meter)
        is_taken_over = account is not None and not is_own
        told = self._to_right_declaration(request.supplier, declaration, from_today=is_taken_over)
        clients = self.clients_of(request.supplier)
        session = clients.application_session()
        may_be_ours = self.requests.note_declaration(request.id)
        try:
            declared = clients.rights.declare(session, told)
        except RateLimited:
            if not may_be_ours:
                self.requests.forget_declaration(request.id)
            raise
        except (RightRefused, UnknownUsagePoint) as error:
            page = _page_of(error)
            extra = fields(request=request.id, page=page, reason=str(error))
            log.info("right refused by the supplier", extra=extra)
            raise RequestEnded(page) from None
        right = Right(
            id=request.id,
            supplier=request.supplier,
            tenant=request.tenant,
            meter=meter,
            supplier_id=declared.id,
            state=declared.state,
            state_since=self.now(),
            account_id=account.id if account is not None and is_own else None,
            first_day=told.first_day,
            last_day=told.last_day,
            vouched_by=invited.invitation.created_by if invited else None,
            invited_at=invited.invitation.created_at if invited else None,
            for_new_holder=for_new_holder,
            browser=request.browser,
            begun_at=request.begun_at,
            declared_at=self.now(),
            line=declared.line,
            digest=declared.digest,
        )
        if declared.id is not None:
            return self._store(request, right, invited)
        if not may_be_ours:  # It was there before our first declaration.
            self.requests.forget_declaration(request.id)
        records = [record for record in clients.rights.list(session, [meter]) if record.meter == meter]
        return self._store_existing(request, right, invited, records, may_be_ours=may_be_ours)

    def _is_elsewhere(self, account: Account, invited: Invited | None) -> bool:
        """Return whether another tenant's account reads the meter than the one whose invitation it is."""
        return invited is not None and account.tenant != invited.invitation.tenant

    def _to_right_declaration(
        self, supplier: str, declaration: HouseholdDeclaration, *, from_today: bool
    ) -> RightDeclaration:
        today, clients = civil_date(self.now()), self.clients_of(supplier)
        return RightDeclaration(
            meter=declaration.meter,
            role=RightRole.AUTHORIZED,
            postcode=declaration.postcode,
            first_day=today,
            last_day=last_day_of(today, clients.endpoints.preset.consent_duration),
            data_from=today if from_today else today - timedelta(days=clients.rights.history_days),
            name=declaration.name,
            company=declaration.company,
            email=declaration.email,
        )

    def _store_existing(
        self,
        request: ConnectionRequest,
        right: Right,
        invited: Invited | None,
        records: Sequence[RightRecord],
        *,
        may_be_ours: bool,
    ) -> Right | None:
        """Store a right that the supplier has registered before; None where it doesn't list one yet.

        ``may_be_ours``: whether a declaration of this request may have registered it, of which no answer came.
        """
        record = best_record(records, RightRole.AUTHORIZED)
        if record is None:
            if records:  # All of them have ended, or are for a role of ours that is not the household's.
                raise RequestEnded("right_exists")
            return None
        known = [row for row in self.rights.of_meter(right.supplier, right.meter) if row.supplier_id == record.id]
        is_theirs = right.account_id is not None or any(row.browser in request.names for row in known)
        is_anew = may_be_ours and is_fresh(record, request.begun_on) and not known
        if not (is_theirs or is_anew or invited):
            log.info(
                "right refused: it was given before, and nobody invited the person", extra=fields(request=right.id)
            )
            raise RequestEnded("right_exists")
        was_declared = is_anew or any(row.browser in request.names and not row.is_found for row in known)
        right = replace(right.after(record, self.now()), is_found=not was_declared)
        return self._store(request, right, invited, instead_of=[row.id for row in known])

    def _store(
        self, request: ConnectionRequest, right: Right, invited: Invited | None, instead_of: Sequence[str] = ()
    ) -> Right:
        """Store the right and use the invitation up. Raises RequestEnded where the person's proof has ended meanwhile.

        What was registered just now is withdrawn then.
        """
        page, is_new = "", not (right.is_found or instead_of)
        with self.outcomes.registry.database.writing() as connection:
            if self._is_erased(self.outcomes.erasures.find(connection, right.supplier, right.meter), request):
                page = "erased_since"
            elif invited and not self.outcomes.invitations.use(connection, invited.invitation.id):
                page = "invitation_over"
            if not page or is_new:
                stored = replace(right, withdraw_since=self.real_now()) if page else right
                self.rights.insert(connection, stored, instead_of=instead_of)
        if page:
            raise RequestEnded(page)
        log.info("right declared", extra=fields(right=right.id, state=right.state, is_found=right.is_found))
        return right

    def _check_not_erased(self, request: ConnectionRequest, meter: str) -> None:
        with self.outcomes.registry.database.reading() as connection:
            if self._is_erased(self.outcomes.erasures.find(connection, request.supplier, meter), request):
                raise RequestEnded("erased_since")

    def _is_erased(self, erased_at: datetime | None, request: ConnectionRequest) -> bool:
        """Return whether the meter was erased since the person began."""
        return erased_at is not None and not is_younger(Proof.RIGHT, erased_at, request.begun_at, None)


def _page_of(error: RightRefused | UnknownUsagePoint) -> str:
    """Return the name of the page that says why the supplier registers no right."""
    if isinstance(error, UnknownUsagePoint):
        return "right_unknown_meter"
    return error.code if error.code.startswith("right_") else "refused"
