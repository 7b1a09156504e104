"""How a proven connection request ends: with accounts, or with a code for the proxy's client that asked.

1. Each meter's account is found or made. Another person's account is closed, and its household notified, if the new
   person has asked for this or was invited as the meter's new holder. If the proof is a typed reading, which may be a
   guess, the operator must approve this. If another person's account belongs to another tenant, the request ends as
   unproven, so that nobody learns who reads a meter. The number of new accounts without an invitation is limited.
   If a campaign has mailed the invitation to an unconfirmed address, the consent for another person's account is
   recorded, but the account opens only by a proof of the meter itself, or when the operator approves.
2. If a meter's data were erased, only a proof newer than the erasure opens an account for the meter.
3. Accounts, token, dates, evidence and the use of the invitation are written in one transaction. After a crash, the
   step is repeated; if the transaction was committed, the evidence shows that this browser opened the accounts.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection

from worker.accounts.notice_channels import NoticeChannels
from worker.accounts.proxy_grants import ProxyCode, ProxyCodes
from worker.clients.supplier import SupplierConsents
from worker.domain.account import Account
from worker.domain.clock import Clock, real_clock
from worker.domain.connection_request import (
    ConnectedAccount,
    ConnectionRequest,
    ProvenMeters,
    RequestEvent,
    RequestState,
)
from worker.domain.consents import EndReason, Proof, is_younger, last_day_of
from worker.domain.evidence import HOUSEHOLD, DatesSource
from worker.domain.invitation import Invitation, InvitationPurpose, InvitationState
from worker.domain.notice import NoticeKind
from worker.domain.oauth_proxy import ProxyCaller
from worker.domain.windows import civil_date
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.stores.erasure_ledger import LedgerEntry, LedgerKind
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.redis.pending_consents import ConnectionRequests
from worker.stores.registry import Registry, account_rows
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import GivenConsent
from worker.stores.registry.known_ledger import KnownLedger
from worker.stores.registry.notices import build_notices, insert_notices
from worker.stores.registry.rights import forget_rights

log = logging.getLogger("releve.consents")
_A_DAY_S: Final = 86_400
_ONCE: Final = Rate("new-accounts", 1, _A_DAY_S)  # Keyed by request id: each request counts only once.
# The page of a request that waits for the operator: only a reading proves it, and it would close another account.
HELD_READING: Final = "held_reading"
# The page of a request whose consent is recorded, but whose account opens only by a proof or by the operator's yes.
HELD_HISTORY: Final = "held_history"


@dataclass(frozen=True, slots=True)
class NewAccountLimits:
    """How many new accounts a day are allowed without an invitation; beyond these limits the operator decides."""

    by_browser: int
    by_address: int
    in_all: int

    def rates(self, request: ConnectionRequest) -> list[tuple[Rate, str]]:
        """Return each limit as a rate, with the subject that is limited: this browser, this address or ``all``."""
        return [
            (Rate("new-accounts-browser", self.by_browser, _A_DAY_S), request.names[-1]),  # The browser's oldest name.
            (Rate("new-accounts-address", self.by_address, _A_DAY_S), request.address),
            (Rate("new-accounts", self.in_all, _A_DAY_S), "all"),
        ]


class RequestEnded(Exception):
    """The end of a request; ``page`` is the name of the page that says why."""

    def __init__(self, page: str) -> None:
        super().__init__(page)
        self.page = page


@dataclass(frozen=True, slots=True)
class Invited:
    """The invitation with which a request was begun. The meter is None if the invitation no longer names a meter."""

    invitation: Invitation
    usage_point_id: str | None = field(repr=False)

    @property
    def is_for_new_holder(self) -> bool:
        return self.invitation.purpose is InvitationPurpose.NEW_HOLDER

    def is_confirmed_for(self, account: Account, request: ConnectionRequest) -> bool:
        """Return whether more than the link says that a listed invitation is for this account's person.

        The operator must have accepted the request, or the meter must be proven without the invitation. A request that
        waits with an account's history opens no other account, even if another one has taken over the meter.
        """
        meter = (self.invitation.supplier, self.usage_point_id)
        if not self.invitation.is_listed or (account.supplier, account.usage_point_id) != meter:
            return False
        if request.accounts and account.id not in [one.id for one in request.accounts]:
            return False
        proof = request.proven.proof if request.proven else None
        return request.vouched_by is not None or proof in (Proof.EXCHANGE, Proof.REGISTER)


@dataclass(frozen=True, kw_only=True)
class ProvenRequests:
    """Concludes proven requests.

    ``suppliers``: by name, the ``SupplierConsents`` of each supplier that has a consent page.
    """

    suppliers: Mapping[str, SupplierConsents]
    registry: Registry
    ledger: KnownLedger
    requests: ConnectionRequests
    proxy_codes: ProxyCodes
    limiter: RateLimiter
    limits: NewAccountLimits
    channels: NoticeChannels
    now: Clock
    real_now: Clock = real_clock

    def find_invited(self, request: ConnectionRequest) -> Invited | None:
        """Return the request's invitation with the meter that it names; None if this browser has no valid invitation.

        A used invitation counts as valid, because this request may have used it before a crash. A revoked or expired
        invitation, or an invitation that another browser opened, doesn't count. But it may expire while a declaration
        waits for the operator.
        """
        invitation = self.registry.invitations.get(request.invitation_id) if request.invitation_id else None
        if invitation is None or invitation.browser not in request.names:
            return None
        valid = {InvitationState.OPENED, InvitationState.USED}
        if request.declaration is not None and request.vouched_by is not None:
            valid.add(InvitationState.EXPIRED)
        if invitation.state_at(self.real_now()) not in valid:
            return None
        if invitation.created_by == HOUSEHOLD:  # It renews its own consent, and must still be signed in.
            account = self.registry.accounts.account_of(invitation)
            if account is None or request.session.get(account.id) != account.session_number:
                return None
        return Invited(invitation, self.registry.accounts.meter_of(invitation))

    def conclude(self, request: ConnectionRequest) -> ConnectionRequest:
        """Conclude a proven request and return it: connected, handed over to a client, waiting, or unproven."""
        proven = request.proven
        if proven is None:
            raise ValueError("a request without a proof makes no account")
        invited = self.find_invited(request)
        if invited is None and proven.proof is Proof.INVITED:
            raise RequestEnded("invitation_over")
        if request.caller is not None:
            return self._hand_over(request, request.caller, proven, invited)
        if invited is not None and invited.usage_point_id not in proven.usage_points:
            invited = None  # The proof is for other meters than the invitation.
        if invited is not None and invited.is_for_new_holder and invited.usage_point_id is not None:
            # The invitation makes this person the new holder of one meter only, so the answer's other meters are left
            # out. Otherwise this person's own accounts of the other meters would be closed like a previous holder's.
            proven = replace(proven, usage_points=(invited.usage_point_id,))
        before = {number: self.registry.accounts.find(request.supplier, number) for number in proven.usage_points}
        known = [account for account in before.values() if account]
        others = [account for account in known if not self.is_same_person(account, request, invited)]
        # With an invitation, every account must belong to the invitation's tenant. Without one, persons may renew their
        # own account at any tenant.
        bound = others if request.invitation_id is None else known
        if any(account.tenant != request.tenant for account in bound):
            log.info("another tenant's account reads the meter", extra=fields(request=request.id))
            return request.after(RequestEvent.NOT_PROVEN, proven=None, page="")
        used = invited.invitation if invited and invited.invitation.used_at else None
        # A used invitation is accepted only if it has opened one of these accounts, because then this step has used it
        # before a crash.
        if used and not any(self._has_used(used, account, request) for account in known):
            raise RequestEnded("invitation_over")
        expected = invited is not None and invited.is_for_new_holder
        held = request.state is RequestState.HELD
        # A listed invitation closes nobody's account: the consent is recorded, and the history waits.
        waits = bool(others) and invited is not None and invited.invitation.is_listed and proven.proof is Proof.INVITED
        others = [] if waits else others
        if others and not expected and (waiting := self._ask_about(request, others, proven.proof)):
            return waiting
        new = sum(account is None or account in others for account in before.values())
        if new and invited is None and not held and self.count_new_accounts(request, new):
            log.warning("connection request waits for the operator", extra=fields(request=request.id))
            return request.after(RequestEvent.TOO_MANY, page="held")
        accounts = self._write(request, proven, invited, before, others, opens=not waits)
        event = RequestEvent.LET_IN if held else RequestEvent.PROVEN
        return request.after(
            RequestEvent.HISTORY_HELD if waits else event,
            accounts=tuple(ConnectedAccount(account.id, account.session_number) for account in accounts),
            page=HELD_HISTORY if waits else "",
        )

    def _ask_about(
        self, request: ConnectionRequest, others: Sequence[Account], proof: Proof
    ) -> ConnectionRequest | None:
        """Return the request, now waiting for permission to close these accounts; None if permission was given."""
        if proof is not Proof.REGISTER:
            return None if request.new_holder else request.after(RequestEvent.OTHER_PERSON, page="other_person")
        if request.state is RequestState.HELD and request.page == HELD_READING:
            return None
        with self.registry.database.writing() as connection:
            for account in others:
                self._tell_household(connection, NoticeKind.METER_REQUESTED, account, self.now())
        log.warning("connection request waits for the operator", extra=fields(request=request.id))
        return request.after(RequestEvent.OTHER_BY_READING, page=HELD_READING)

    def _tell_household(self, connection: Connection, kind: NoticeKind, account: Account, now: datetime) -> None:
        """Insert a notice about an account; each kind is inserted at most once a day."""
        channels = self.channels.names_for_account(account.tenant)
        day = civil_date(now).isoformat()
        insert_notices(connection, build_notices(channels, kind, "", day, now, account.id))

    def _hand_over(
        self, request: ConnectionRequest, caller: ProxyCaller, proven: ProvenMeters, invited: Invited | None
    ) -> ConnectionRequest:
        """Mark the invitation as used, and give the client a code for the invited meter.

        Raises RequestEnded if the invitation has ended or is listed, or the meter's data were erased after the
        invitation was made.
        """
        if invited is None or invited.usage_point_id is None or invited.invitation.used_at is not None:
            raise RequestEnded("invitation_over")
        if invited.invitation.is_listed:  # With the code, the client could read the meter's past.
            raise RequestEnded("invitation_over")
        meter, now = invited.usage_point_id, self.now()
        account = self.registry.accounts.find(request.supplier, meter)
        if account is not None and account.tenant != invited.invitation.tenant:
            return request.after(RequestEvent.NOT_PROVEN, proven=None, page="")  # So nobody learns who reads a meter.
        others = [account] if account and invited.is_for_new_holder else []
        code = ProxyCode(
            caller=caller,
            supplier=request.supplier,
            begun_at=request.begun_at,
            usage_points=(meter,),
            autorisation_id=proven.reference,
            proof=proven.proof,
            vouched_by=invited.invitation.created_by,
            browser=request.browser,
            data_from=self.first_day(request.supplier, [meter], others, now),
            consent_until=self._consent_days(request, proven, now)[1],
        )
        with self.registry.database.writing() as connection:
            self._prepare(connection, request=request, invited=invited, before={meter: account}, others=others, now=now)
            self._check_not_erased(connection, request, invited)
            self.record_closures(connection, others, now, code.vouched_by)
            # The code is stored before the commit, so that a crash in between doesn't cost the person the invitation.
            after = self.proxy_codes.hand_over(request, code)
            self.requests.save(after)
        log.info("consent handed over", extra=fields(client=caller.client_id, proof=proven.proof.value))
        return after

    def is_same_person(self, account: Account, request: ConnectionRequest, invited: Invited | None) -> bool:
        """Return whether the account belongs to the request's person, known by session, browser or the inviter's word.

        If the inviter says that the holder is new, session and browser don't count, because the previous holder may
        have left them behind. Then the account is the person's only if this same invitation has opened it. This happens
        if the step is repeated after a crash.
        """
        if invited is not None and invited.is_for_new_holder:
            return self.has_opened(invited.invitation, account, request.names)
        if request.session.get(account.id) == account.session_number:
            return True
        if invited is not None and (
            invited.invitation.account_id == account.id or invited.is_confirmed_for(account, request)
        ):
            return True
        return self.registry.consents.browser_of(account.id) in request.names

    def _has_used(self, used: Invitation, account: Account, request: ConnectionRequest) -> bool:
        """Return whether this request, or its browser, has used the invitation for the account before."""
        if self.has_opened(used, account, request.names) or account.id in [one.id for one in request.accounts]:
            return True
        newest = self.registry.consents.newest_proofs([account.id]).get(account.id)
        return used.is_listed and newest is not None and newest.vouched_by == used.created_by

    def has_opened(self, invitation: Invitation, account: Account, names: Sequence[str]) -> bool:
        """Return whether this invitation was used to open the account, by the browser that has these names.

        ``names``: newest first.
        """
        is_used = invitation.used_at is not None
        return is_used and self.registry.consents.browser_of(account.id) in invitation.names_of_invited(names)

    def count_new_accounts(self, request: ConnectionRequest, new: int) -> bool:
        """Count a request's new accounts unless they were counted before; return whether a limit is exceeded."""
        rates = self.limits.rates(request)
        if self.limiter.count_call(_ONCE, request.id):
            # The accounts were counted before a crash, so they aren't counted again. ``closed_for_s`` also reports a
            # limit that is reached but not exceeded, so it is called with limits that are one higher.
            bounds = [(replace(rate, calls=rate.calls + 1), subject) for rate, subject in rates]
            return any(self.limiter.closed_for_s(bound, subject) for bound, subject in bounds)
        waits_s = [self.limiter.count_call(rate, subject) for _ in range(new) for rate, subject in rates]
        return any(waits_s)

    def _write(
        self,
        request: ConnectionRequest,
        proven: ProvenMeters,
        invited: Invited | None,
        before: Mapping[str, Account | None],
        others: Sequence[Account],
        *,
        opens: bool = True,
    ) -> list[Account]:
        """Write accounts, evidence and closures in one transaction, and return the accounts.

        ``opens``: whether the request's browser may open the accounts from now on. Raises RequestEnded if the
        invitation was used or revoked meanwhile, or a meter's data were erased after the proof.
        """
        now = self.now()
        first_day, last_day = self._consent_days(request, proven, now)
        token_needed = self.suppliers[request.supplier].account_tokens
        consent = NewConsent(
            first_day,
            last_day,
            proven.token,
            proven.token_expires_at,
            token_needed,
            self.first_day(request.supplier, proven.usage_points, others, now),
            proven.offered,
        )
        given = GivenConsent(
            kind=proven.kind,
            consent_from=first_day,
            consent_until=last_day,
            dates_from=DatesSource.SUPPLIER if proven.since and proven.until else DatesSource.REQUESTED,
            reference=proven.reference,
            proof=proven.proof,
            vouched_by=(request.vouched_by or invited.invitation.created_by) if invited else None,
            browser=request.browser if opens else None,
            line=proven.line,
            answer_digest=proven.answer_digest,
        )

        def finish(connection: Connection, account_ids: Sequence[str]) -> None:
            # By now the accounts are locked, so no erasure can come between this check and the commit. The ledger,
            # which is written last, gets no entry for a request that is refused here.
            self._check_not_erased(connection, request, invited)
            # These rights belong to an earlier consent. The sweep looks up which rights the supplier has now.
            forget_rights(connection, account_ids)
            # Recording evidence locks the chain of evidence. After that, only evidence and ledger entries may be
            # written, because other locks could cause a deadlock.
            self.registry.consents.record(connection, account_ids, given, now)
            self.record_closures(connection, others, now, given.vouched_by or HOUSEHOLD)

        accounts = self.registry.accounts.add_all(
            request.supplier,
            proven.usage_points,
            now,
            consent,
            before=partial(self._prepare, request=request, invited=invited, before=before, others=others, now=now),
            on_accounts=finish,
            tenant=request.tenant,
        )
        for account, _ in accounts:
            log.info("consent given", extra=fields(account_id=account.id, proof=proven.proof.value))
        return [account for account, _ in accounts]

    def _consent_days(self, request: ConnectionRequest, proven: ProvenMeters, now: datetime) -> tuple[date, date]:
        """Return the consent's first and last day: as given by the supplier, or else as requested."""
        first_day = proven.since or civil_date(now)
        return first_day, proven.until or last_day_of(first_day, self.suppliers[request.supplier].consent_duration())

    def first_day(
        self, supplier: str, usage_points: Sequence[str], others: Sequence[Account], now: datetime
    ) -> date | None:
        """Return the first day whose data the person may see; None if there is no limit.

        If accounts of other persons are closed (``others``), this day is today. Otherwise it is the first day of the
        meter's present holder, as far as the proxy's grants show it.
        """
        if others:
            return civil_date(now)
        meters = [digest for number in usage_points for digest in self.registry.erasures.digests(supplier, number)]
        return self.registry.proxy_grants.first_day_of(meters)

    def _prepare(
        self,
        connection: Connection,
        *,
        request: ConnectionRequest,
        invited: Invited | None,
        before: Mapping[str, Account | None],
        others: Sequence[Account],
        now: datetime,
    ) -> None:
        """Mark the invitation as used, and close the accounts of other persons.

        Raises what ``lock_meters`` raises, and RequestEnded if the invitation was used or revoked meanwhile.
        """
        but_of = request.names if request.caller is None else None
        self.lock_meters(connection, request.supplier, before, but_of)
        # If the invitation is already used, this step used it before a crash.
        if (
            invited is not None
            and invited.invitation.used_at is None
            and not self.registry.invitations.use(connection, invited.invitation.id)
        ):
            raise RequestEnded("invitation_over")
        self.close_others(connection, others, now)

    def lock_meters(
        self,
        connection: Connection,
        supplier: str,
        before: Mapping[str, Account | None],
        browser: Collection[str] | None,
    ) -> None:
        """Lock the meters' accounts; for a meter without an account, end the proxy's grants given in other browsers.

        ``browser``: the names of the connecting browser; None if no grant is to end. Raises StoreUnavailable if a meter
        got another account since it was looked up; the step is then repeated.
        """
        for number, account in sorted(before.items()):
            known = account_rows.find_locked(connection, supplier, number)
            if known != (account.id if account else None):
                raise StoreUnavailable("a meter got another account in the meantime: try again", retry_after_s=1)
            if browser is not None and account is None:
                # A client of the proxy may still read for the previous holder, who used another browser.
                meters = self.registry.erasures.digests(supplier, number)
                self.registry.proxy_grants.end_for(connection, meters, EndReason.HOLDER_CHANGED, but_of=browser)

    def close_others(self, connection: Connection, others: Sequence[Account], now: datetime) -> None:
        """Close the accounts of other persons, notify them, and end the proxy's grants for their meters."""
        for account in others:
            self.registry.consents.close(connection, account.id, now)
            self._tell_household(connection, NoticeKind.ACCOUNT_CLOSED, account, now)
            meters = self.registry.erasures.digests(account.supplier, account.usage_point_id or "")
            self.registry.proxy_grants.end_for(connection, meters, EndReason.HOLDER_CHANGED)
            log.info("account closed: another person holds its meter", extra=fields(account_id=account.id))

    def record_closures(
        self, connection: Connection, others: Sequence[Account], now: datetime, actor: str | None
    ) -> None:
        """Record the ends of the other persons' consents as evidence, then write the closures to the ledger."""
        for account in others:
            self.registry.consents.end_closed(connection, account.id, now, actor)
        for account in others:
            self.ledger.append(LedgerEntry(LedgerKind.CLOSED, account.id, now), connection)

    def _check_not_erased(self, connection: Connection, request: ConnectionRequest, invited: Invited | None) -> None:
        """Raise RequestEnded if the proof is older than an erasure of one of its meters."""
        proven = request.proven
        invited_at = invited.invitation.created_at if invited else None
        for number in proven.usage_points if proven else ():
            erased_at = self.registry.erasures.find(connection, request.supplier, number)
            if proven and erased_at and not is_younger(proven.proof, erased_at, request.begun_at, invited_at):
                log.info("proof refused: the meter was erased since", extra=fields(request=request.id))
                raise RequestEnded("erased_since")
