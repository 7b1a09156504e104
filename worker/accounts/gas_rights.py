"""The rights of households to let their gas data be read: declared, opened as accounts, and withdrawn at the supplier.

Anybody could name a stranger's meter with an e-mail of their own. So a browser declares the meter of an invitation that
it has opened, or any meter where its session shows an account. The right is stored as soon as the supplier has
registered it, in one transaction with the use of the invitation; what the person has typed is dropped with the
request's end.

Where the supplier has a right already, it is looked up. It is the person's own where our declaration of it got no
answer. Any other one proves nothing about the person, not even one of the same day, so it takes an invitation, or an
account of theirs that reads the meter. The page is the same for a meter that another person's account reads. Who
declares a stranger's meter all the same is bounded by the number of new accounts a day.

A right that is active opens the account of a meter that has none. It never opens one that exists, unless the person who
declared it has shown to be that account's person, or was invited as the meter's new holder: the account before is
closed then. A meter that was erased opens by a proof that is younger than the erasure. Account, dates, evidence and the
right's own row are written in one transaction.

Where a household stops its consent or has its account erased, the right waits in its row until the supplier has
withdrawn it, for seven days at most. Then the row goes, and nothing of the meter is left but the keyed hash that
remembers the erasure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
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
    is_fresh,
)
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.clock import Clock, real_clock
from worker.domain.connection_request import ConnectedAccount, ConnectionRequest, RequestEvent
from worker.domain.consents import ConsentKind, Proof, is_younger, last_day_of
from worker.domain.evidence import HOUSEHOLD, DatesSource
from worker.domain.invitation import Invitation, InvitationPurpose, InvitationState
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.errors import (
    OperatorFault,
    RateLimited,
    RightRefused,
    StoreUnavailable,
    TransientError,
    UnknownUsagePoint,
    WorkerError,
)
from worker.logs import fields
from worker.stores.redis.locks import Locks
from worker.stores.redis.pending_consents import ConnectionRequests
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import GivenConsent
from worker.stores.registry.rights import RightTable, new_right_id

log = logging.getLogger("releve.consents")
rights_log = logging.getLogger("releve.rights")
_LONGEST_RIGHT: Final = "P3Y"  # As rights are asked for, where the supplier tells no last day.
_STEP_S: Final = 90.0
_LONGEST_STEP_S: Final = 600.0
_MOST_AT_ONCE: Final = 200
_LONGEST_WAIT: Final = timedelta(days=7)


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
        records = [record for record in clients.rights.list_rights(session, [meter]) if record.meter == meter]
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
        names = () if right.for_new_holder else request.names  # The holder before may have used this browser.
        is_theirs = right.account_id is not None or any(row.browser in names for row in known)
        is_anew = may_be_ours and is_fresh(record, request.begun_on) and not known
        if not (is_theirs or is_anew or invited):
            log.info(
                "right refused: it was given before, and nobody invited the person", extra=fields(request=right.id)
            )
            raise RequestEnded("right_exists")
        was_declared = is_anew or any(row.browser in names and not row.is_found for row in known)
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


def proof_of(right: Right) -> Proof:
    """Return what a right proves: the supplier has asked the holder, or the inviter vouches for one that was there."""
    if right.role is RightRole.OWN:
        return Proof.OWN
    return Proof.INVITED if right.is_found and right.invited_at is not None else Proof.RIGHT


@dataclass(frozen=True, kw_only=True)
class RightWithdrawal:
    """The job that withdraws rights. ``clients_of`` returns a supplier's clients; see ``Runtime``."""

    rights: RightTable
    clients_of: Callable[[str], SupplierClients]
    now: Clock = real_clock

    def run(self) -> int:
        """Withdraw the rights that wait and return their number. Safe to repeat. Raises StoreUnavailable.

        Where the supplier is silent, refuses the application or has us wait, the rest waits for the next run.
        """
        withdrawn = 0
        for right in self.rights.list_to_withdraw(_MOST_AT_ONCE):
            try:
                self._withdraw(right)
                withdrawn += 1
            except StoreUnavailable:
                raise
            except WorkerError as error:
                if right.withdraw_since is not None and self.now() - right.withdraw_since > _LONGEST_WAIT:
                    rights_log.error("right not withdrawn, given up", extra=fields(right=right.id, reason=str(error)))
                    self.rights.delete_withdrawn(right.id)
                    continue
                rights_log.warning("right not withdrawn yet", extra=fields(right=right.id, reason=str(error)))
                if isinstance(error, TransientError | OperatorFault):  # It concerns the other rights, too.
                    break
        return withdrawn

    def _withdraw(self, right: Right) -> None:
        clients = self.clients_of(right.supplier)
        session = clients.application_session()
        if right.supplier_id is not None:
            clients.rights.withdraw(session, right.supplier_id)
        else:  # It was given on the supplier's own page, and no sweep has found it yet.
            records = [
                record for record in clients.rights.list_rights(session, [right.meter]) if record.meter == right.meter
            ]
            while record := best_record(records, *RightRole):
                clients.rights.withdraw(session, record.id)
                records.remove(record)
        self.rights.delete_withdrawn(right.id)
        rights_log.info("right withdrawn", extra=fields(right=right.id))
