"""The audit trail of the web service: each request that changes something leaves an entry, done or refused.

The entry is written in one place, after the route has answered. The code that authenticates a request names its actor
(``note_actor``), and a route names what it made (``note_subject``). A route that opens something in some
cases only, such as a callback, notes each opening as a separate event (``note_event``).

The name of a route that changes something is the audit action of its requests; a test finds the routes without one.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from worker.domain.audit_entry import DONE, Actor, ActorKind, AuditAction, AuditEntry, new_entry
from worker.domain.clock import real_clock
from worker.errors import StoreUnavailable, WorkerError
from worker.logs import fields
from worker.runtime.stores import Stores
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.client_addresses import client_address

log = logging.getLogger("releve.audit")
# Path parameters that name a request's subject.
_SUBJECTS: Final = ("invitation_id", "right_id", "key_id", "grant_id", "campaign_id")
# An entry is kept for 400 days, so refused attempts must not fill the registry. What a known actor has done is always
# recorded. This limit is for a known actor's refused attempts, and for all attempts of unknown visitors at an address.
TRIES: Final = Rate("audit-tries", calls=60, window_s=3600)
REFUSED_VISITORS: Final = Rate("audit-visitors", calls=1000, window_s=3600)  # Refusals of all visitors together.
# While Redis is down, this process limits the refused attempts of all callers together, by the times of the last ones.
_WITHOUT_REDIS: Final = deque[datetime](maxlen=TRIES.calls)


@dataclass
class AuditNote:
    """What is noted about a request while it is served; none of it is taken from the caller's own claims.

    ``events``: each with its account, if it has one.
    """

    actor_kind: ActorKind = ActorKind.VISITOR
    actor: str = ""
    tenant: str | None = None
    account_id: str | None = None
    subject: str | None = None
    refusal: str = ""
    is_left_out: bool = False
    events: list[tuple[AuditAction, str | None]] = field(default_factory=list)


def note_actor(request: Request, kind: ActorKind, actor: str, tenant: str | None = None) -> None:
    """Note who acts, once the request is authenticated. ``tenant``: the owner of the program, if a program acts.

    Every page loads the household's session, even if the same browser's operator acts. So a household doesn't replace
    another actor.
    """
    note = _note_of(request)
    if kind is not ActorKind.HOUSEHOLD or note.actor_kind in (ActorKind.VISITOR, ActorKind.HOUSEHOLD):
        note.actor_kind, note.actor, note.tenant = kind, actor, tenant


def note_subject(
    request: Request, subject: str | None = None, *, account_id: str | None = None, tenant: str | None = None
) -> None:
    """Note what a request has made or changed; needed only if the path doesn't name it."""
    note = _note_of(request)
    note.subject, note.account_id = subject or note.subject, account_id or note.account_id
    note.tenant = note.tenant or tenant


def note_refusal(request: Request, code: str) -> None:
    """Note why a request is refused; the first code counts."""
    note = _note_of(request)
    note.refusal = note.refusal or code


def note_event(request: Request, action: AuditAction, *, account_id: str | None = None) -> None:
    """Note an event. It gets an entry of its own, even if the request's method is GET."""
    _note_of(request).events.append((action, account_id))


def leave_out(request: Request) -> None:
    """Leave a request that changes nothing important out of the trail. If it is refused, it still gets an entry."""
    _note_of(request).is_left_out = True


async def record_request(request: Request, status: int) -> None:
    """Write the entries of a request that was answered with this status.

    An entry that can't be written is only logged. This is rare: without the registry, most requests fail too.
    """
    entries = _to_entries(request, status)
    if entries:
        await run_in_threadpool(_write, request.app.state.stores, entries)


def _note_of(request: Request) -> AuditNote:
    note: AuditNote | None = getattr(request.state, "audit", None)
    if note is None:
        note = request.state.audit = AuditNote()
    return note


def _to_entries(request: Request, status: int) -> list[AuditEntry]:
    note, action = _note_of(request), getattr(request.scope.get("route"), "name", "")
    made: list[tuple[AuditAction, str | None, str | None, str]]
    made = [(event, account_id, None, DONE) for event, account_id in note.events]
    if isinstance(action, AuditAction) and (status >= 400 or not note.is_left_out):
        parameters = request.path_params
        account_id = note.account_id or parameters.get("account_id")
        subject = note.subject or next((parameters[name] for name in _SUBJECTS if name in parameters), None)
        outcome = DONE if status < 400 else note.refusal or f"status_{status}"
        made.insert(0, (action, account_id, subject, outcome))
    actor = Actor(note.actor_kind, note.actor, client_address(request))
    # Each entry has its own time, so that entries are listed in order.
    return [
        new_entry(real_clock(), actor, done, outcome, tenant=note.tenant, account_id=account_id, subject=subject)
        for done, account_id, subject, outcome in made
    ]


def _write(stores: Stores, entries: list[AuditEntry]) -> None:
    for entry in entries:
        try:
            if _may_record(RateLimiter(stores.redis), entry):
                stores.registry.audit.append(entry)
        except WorkerError as error:
            extra = fields(action=entry.action, outcome=entry.outcome, account_id=entry.account_id, reason=str(error))
            log.error("audit entry not written", extra=extra)


def _may_record(limiter: RateLimiter, entry: AuditEntry) -> bool:
    """Return whether an entry is within the limits, and count it."""
    is_done = entry.outcome == DONE
    try:
        if entry.actor:
            return is_done or not limiter.count_call(TRIES, f"{entry.actor_kind}:{entry.actor}")
        if limiter.count_call(TRIES, str(entry.address)):
            return False
        return is_done or not limiter.count_call(REFUSED_VISITORS, "all")
    except StoreUnavailable:
        is_full = len(_WITHOUT_REDIS) == _WITHOUT_REDIS.maxlen
        if is_done or (is_full and (entry.at - _WITHOUT_REDIS[0]).total_seconds() < TRIES.window_s):
            return is_done
        _WITHOUT_REDIS.append(entry.at)
        return True
