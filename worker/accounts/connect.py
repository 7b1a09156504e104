"""Connecting accounts: from the callback of the supplier's consent page to accounts in the registry.

``AccountConnector.conclude`` takes a request one step further:

1. The supplier is asked, unless its answer can't be part of a proof. A code of API v4 is exchanged for the holder's
   tokens, or an authorisation of API 2026 for its meters. This takes one call, which the web never makes. The answer is
   stored with the request before anything else is done, because a code works only once.
2. A proof is sought with ``find_proof`` and, if the person has typed what the meter shows, with ``MeterReadings``.
   Without a proof, the request ends here as unproven.
3. ``opening.ProvenRequests`` concludes the request. Either the accounts are written in one transaction and the request
   is saved as connected, or the request waits for the person or the operator.

A request from a client of the proxy makes no account: once it is proven, the client gets a code. A request that
declares a right makes no account either: the supplier asks the holder, and ``gas_rights.RightDeclarations`` takes over.

For proof P4 (a typed reading), the supplier is asked for the registers of one meter, which are compared with what the
person has typed. These calls are made only after a reading was typed, and with the small quota of ``Lane.STRANGERS``,
even if the person was invited. The answers are dropped, because nobody has consented to keeping them yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from worker.accounts.gas_rights import RightDeclarations
from worker.accounts.opening import ProvenRequests, RequestEnded
from worker.accounts.proxy_grants import ProxyCode
from worker.clients.endpoints import Callback
from worker.clients.supplier import SupplierClient
from worker.domain.answers import AnswerKind
from worker.domain.clock import Clock, real_clock
from worker.domain.connection_request import (
    MOST_UNKNOWN,
    ConnectionRequest,
    ProvenMeters,
    RequestEvent,
    RequestState,
    find_proof,
)
from worker.domain.consents import ConsentKind, Proof, SharedMeter, confirms
from worker.domain.parsing import parse
from worker.domain.series import registers_of
from worker.domain.windows import DateWindow, civil_date
from worker.errors import (
    AccountError,
    DataError,
    OperatorFault,
    RateLimited,
    RefreshTokenDead,
    StoreUnavailable,
    TransientError,
    WorkerError,
)
from worker.logs import fields
from worker.stores.redis.locks import Locks
from worker.stores.registry.erased_meters import ReadingTryTable

log = logging.getLogger("releve.consents")
# The lifetime of a step's lock. It is longer than the supplier's slowest answer; if the process is killed, other
# processes wait this long. A running step extends its lock up to _LONGEST_STEP_S.
_STEP_S: Final = 90.0
_LONGEST_STEP_S: Final = 600.0
# A reading is compared with registers at midnight. An answer's newest registers are normally those of yesterday or,
# until the supplier publishes in the morning, of the day before. With older registers, too wide a range of readings
# would be accepted.
_OLDEST_NEWEST: Final = timedelta(days=2)
# Earlier midnights are requested, too, because the range also depends on the home's highest use in a day.
_LOOK_BACK: Final = timedelta(days=15)


@dataclass(frozen=True, kw_only=True)
class AccountConnector:
    """Turns a callback into accounts.

    The caller of ``conclude`` must enqueue the backfill of the connected accounts. A lost message does no harm, because
    the reconciler sends it again.
    """

    outcomes: ProvenRequests
    declarations: RightDeclarations
    locks: Locks
    meter_readings: MeterReadings
    real_now: Clock = real_clock

    def receive(self, callback: Callback, request: ConnectionRequest) -> ConnectionRequest:
        """Return the request with the values of its callback. A callback can also end the request. Does no I/O."""
        if callback.failure:
            return request.after(RequestEvent.REFUSED, page=callback.failure)
        takes_code = self.outcomes.suppliers[request.supplier].takes_code
        if takes_code and callback.code is None:
            return request.after(RequestEvent.REFUSED, page="no_usage_point")
        if not takes_code and request.invitation_id is None:
            # Without an invitation, no answer of API v5 or 2026 can prove the request, so the supplier is not asked.
            return replace(request, usage_points=callback.usage_points, autorisation_id=callback.autorisation_id).after(
                RequestEvent.NOT_PROVEN
            )
        return replace(
            request,
            usage_points=callback.usage_points,
            autorisation_id=None if takes_code else callback.autorisation_id,
            code=callback.code if takes_code else None,
        )

    def conclude(self, request_id: str) -> ConnectionRequest | None:
        """Take a request one step further and return it; None if no such request exists. Safe to repeat.

        Two calls at the same time do no harm. The supplier's errors are not raised: they change the state of the
        request.
        """
        with self._lock(request_id):
            request = self.outcomes.requests.get(request_id)
            if request is None:
                self.outcomes.requests.forget(request_id)
                return None
            if not request.is_due(self.real_now()):
                return request
            after = self._step(request)
            self.outcomes.requests.save(after)
            return after

    def choose_new_holder(self, request_id: str, names: Sequence[str]) -> ConnectionRequest | None:
        """Connect the request of a person who has asked to close the previous holder's account, and return the request.

        Returns None if the request doesn't wait for this choice or is not this browser's. ``names``: the hashes of the
        browser's names.
        """
        request = self._load(request_id, names, RequestState.CHOICE)
        return request and self._finish_saved(replace(request, new_holder=True))

    def compare_reading(
        self, names: Sequence[str], readings: Mapping[str, int], *, browser: str, session: Mapping[str, int]
    ) -> ConnectionRequest | None:
        """Save the typed reading with the browser's unproven request, for one more try, and return the request.

        The request now belongs to the person who typed the reading. Returns None if the browser has no request that a
        reading can prove (see ``find_unproven``). ``names``: the hashes of the browser's names. ``readings``: whole kWh
        by tariff period. ``browser``: the hash of the browser's new name. ``session``: the accounts of this person's
        session.
        """
        unproven = self.find_unproven(names)
        if unproven is None:
            return None
        with self._lock(unproven.id):
            request = self.find_unproven(names)  # A step may have changed the request meanwhile.
            if request is None or request.id != unproven.id:
                return None
            own = replace(request, browser=browser, known_as=tuple(names), session=session, next_try_at=None)
            after = own.after(RequestEvent.READING_TYPED, readings=dict(readings), page="", tries=0)
            self.outcomes.requests.save(after)
            self.outcomes.requests.bind(after)
        return after

    def find_unproven(self, names: Sequence[str]) -> ConnectionRequest | None:
        """Return this browser's request if a reading of the meter can prove it, else None.

        ``names``: the browser's names, as hashes.
        """
        request = self.outcomes.requests.of_browser(names)
        if request is None or request.caller is not None:
            return None
        if request.state is not RequestState.UNPROVEN and not request.holds_history:
            return None
        return request if self.meter_readings.offered and not request.was_unknown else None

    def let_in(self, request_id: str, *, by: str) -> ConnectionRequest | None:
        """Accept a request that waits for the operator, and return it; None if no waiting request has this id.

        If the request declares a right, the supplier must be asked next, and the caller must enqueue the request. Any
        other request is connected at once.
        """
        request = self._load(request_id, None, RequestState.HELD)
        if request is None:
            return None
        log.info("connection request let in", extra=fields(request=request_id, by=by))
        request = replace(request, vouched_by=by)
        if request.declaration is not None:
            request = request.after(RequestEvent.VOUCHED, page="")
            self.outcomes.requests.save(request)
            return request
        return self._finish_saved(request)

    def turn_away(self, request_id: str) -> ConnectionRequest | None:
        """Refuse a request that waits for the operator, and return it; None if no waiting request has this id."""
        request = self._load(request_id, None, RequestState.HELD)
        if request is not None:
            page = "history_refused" if request.holds_history else "turned_away"
            request = request.after(RequestEvent.TURNED_AWAY, page=page)
            self.outcomes.requests.save(request)
        return request

    def _lock(self, request_id: str) -> AbstractContextManager[None]:
        """Lock the request for one step, which may be long: comparing a reading takes up to four supplier calls."""
        return self.locks.lock(f"connection_request:{request_id}", _STEP_S, most_s=_LONGEST_STEP_S)

    def _load(self, request_id: str, names: Sequence[str] | None, state: RequestState) -> ConnectionRequest | None:
        request = self.outcomes.requests.get(request_id)
        if request is None or request.state is not state or (names is not None and request.browser not in names):
            return None
        return request

    def _finish_saved(self, request: ConnectionRequest) -> ConnectionRequest:
        with self._lock(request.id):
            try:
                after = self.outcomes.conclude(request)
            except RequestEnded as refusal:
                after = request.after(RequestEvent.REFUSED, page=refusal.page)
            self.outcomes.requests.save(after)
            return after

    def _step(self, request: ConnectionRequest) -> ConnectionRequest:
        try:
            if request.declaration is not None:
                return self.declarations.conclude(request, request.declaration)
            if request.caller is not None and request.keeps_code:
                # The supplier is asked when the client redeems our code, so that only the client gets the token.
                return self.outcomes.proxy_codes.hand_over(
                    request,
                    ProxyCode(
                        caller=request.caller,
                        supplier=request.supplier,
                        begun_at=request.begun_at,
                        usage_points=request.usage_points,
                        supplier_code=request.code,
                        browser=request.browser,
                    ),
                )
            if request.needs_proof:
                request = self._prove(request)
            is_proven = request.proven is not None and request.state is RequestState.ASKING
            return self.outcomes.conclude(request) if is_proven else request
        except RequestEnded as refusal:
            return request.after(RequestEvent.REFUSED, page=refusal.page)
        except RefreshTokenDead:
            return request.after(RequestEvent.REFUSED, page="code_refused")
        except AccountError as error:
            log.info("consent without a usable meter", extra=fields(code=error.code, reason=str(error)))
            return request.after(RequestEvent.REFUSED, page="no_usage_point")
        except StoreUnavailable:
            raise
        except TransientError as error:
            log.info("consent not concluded yet", extra=fields(tries=request.tries + 1, reason=str(error)))
            page = "waiting_turn" if isinstance(error, RateLimited) else "unavailable"
            return request.waiting(page, self.real_now(), error.retry_after_s)
        except WorkerError as error:
            log.error("consent can't be concluded", extra=fields(code=error.code, reason=str(error)))
            return request.after(RequestEvent.REFUSED, page="unusable")

    def _prove(self, request: ConnectionRequest) -> ConnectionRequest:
        """Seek a proof in the supplier's answer or the typed reading, and return the request with the outcome."""
        if request.supplier not in self.outcomes.suppliers:
            raise OperatorFault(f"{request.supplier} is not set up any more")
        answer = self.outcomes.suppliers[request.supplier].ask(request)
        kind = answer.kind
        if kind is ConsentKind.AUTORISATION and not answer.meters:
            request = replace(request, was_unknown=True)
            if not request.readings:
                if request.tries >= MOST_UNKNOWN:
                    raise RequestEnded("no_usage_point")
                return request.waiting("not_there", self.real_now())
        invited = self.outcomes.find_invited(request)
        # A reading must show what a listed invitation alone can't.
        by_link = invited is not None and not (request.readings and invited.invitation.is_listed)
        invited_meter = invited.usage_point_id if invited and by_link else None
        found = find_proof(kind, answer.meters, request.begun_on, invited_meter)
        if found is None and request.readings:
            confirmed = self.meter_readings.confirm(request, answer.meters)
            found = (Proof.REGISTER, (confirmed,)) if confirmed else None
        meters = [meter.usage_point_id for meter in answer.meters]
        is_plain = request.caller is None and not request.readings
        if is_plain and found is None and invited and meters and invited.usage_point_id not in (None, *meters):
            return request.for_other_meter(kind, answer.meters)
        if found is None:
            page = "reading_wrong" if request.readings else ""
            event = RequestEvent.HISTORY_HELD if request.accounts else RequestEvent.NOT_PROVEN
            return request.after(event, readings={}, page=page)
        proof, proven = found
        token = answer.grant.token if answer.grant else None
        expires_s = token.expires_at if token else None
        request = replace(
            request,
            proven=ProvenMeters(
                proof,
                kind,
                tuple(meter.usage_point_id for meter in proven),
                reference=None if request.autorisation_id is None else str(request.autorisation_id),
                since=proven[0].since,
                until=proven[0].until,
                token=token.to_text() if token else None,
                token_expires_at=None if expires_s is None else datetime.fromtimestamp(expires_s, UTC),
                line=answer.line,
                answer_digest=answer.digest,
                offered={meter.usage_point_id: meter.offered for meter in proven if meter.offered is not None},
            ),
            code=None,
            readings={},
        )
        self.outcomes.requests.save(request)
        return request


@dataclass(frozen=True, kw_only=True)
class MeterReadings:
    """Compares a typed reading with the meter's registers.

    ``client_of``: returns, for a supplier's name, a client with the application's token. ``offered``: whether the
    supplier serves registers.
    """

    client_of: Callable[[str], SupplierClient]
    tries: ReadingTryTable
    locks: Locks
    now: Clock
    offered: bool

    def confirm(self, request: ConnectionRequest, meters: Sequence[SharedMeter]) -> SharedMeter | None:
        """Return the meter that the request's reading proves; None if the reading proves no meter or can't be compared.

        The consent must name exactly one meter, and must begin on the day on which the person was sent to the supplier.
        If the consent begins earlier, it is an old one, whose id the supplier has returned again. If it begins later,
        it did not exist on that day. Raises TransientError if the supplier can't answer now; such a try is not counted.
        """
        meter = meters[0] if len(meters) == 1 else None
        if not self.offered or meter is None or meter.since != request.begun_on:
            return None
        today = civil_date(self.now())
        # One comparison at a time per meter, so that parallel tries can't exceed the limit.
        lock_name = f"meter_reading:{self.tries.lock_name(request.supplier, meter.usage_point_id)}"
        with self.locks.lock(lock_name, _STEP_S, most_s=_LONGEST_STEP_S):
            if not self.tries.may_try(request.supplier, meter.usage_point_id, today):
                return None
            is_right = self._compare(request, meter.usage_point_id, today)
            if is_right:
                self.tries.forget(request.supplier, meter.usage_point_id)
                return meter
            if is_right is not None and self.tries.count_wrong(request.supplier, meter.usage_point_id, today):
                log.warning("proof by reading closed: too many wrong ones", extra=fields(request=request.id))
        return None

    def _compare(self, request: ConnectionRequest, meter: str, today: date) -> bool | None:
        """Return whether the reading is right; None if the supplier gives no recent registers to compare it with.

        None does not count as a try.
        """
        midnights = self._ask_midnights(request.supplier, meter, DateWindow(today - _LOOK_BACK, today))
        if not midnights or civil_date(max(midnights)) < today - _OLDEST_NEWEST:
            return None
        return confirms(request.readings, midnights, self.now())

    def _ask_midnights(self, supplier: str, meter: str, window: DateWindow) -> Mapping[datetime, Mapping[str, int]]:
        """Fetch the registers in one call, and return each midnight's registers in Wh; empty if there are none."""
        series = registers_of()
        try:
            answer = self.client_of(supplier).ask(series, meter, window)
            if answer.kind is not AnswerKind.DATA:
                return {}
            readings = parse(answer.payload, series, window).clip_to(window).readings
        except TransientError:
            raise
        except (AccountError, DataError) as error:
            log.info("a reading can't be compared", extra=fields(series=series.value, code=error.code))
            return {}
        return {reading.start: reading.details["registers"] for reading in readings if reading.details}
