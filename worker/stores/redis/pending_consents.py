"""Data in Redis before a consent is proven: connection requests, consent flows, and the files of a proof.

If a key is lost, the person starts again, or the operator uploads the files again.

Connection requests are encrypted and live for at most seven days; a browser has at most one. A request comes from a
browser that has started a consent or that declares a right. Starts and declarations are limited by IP address. There is
no limit per meter, because strangers who name a meter could use up the limit of its holder. The registry contains
nothing about a request before the request is proven.

    connection_request:<id>                sealed JSON of a ConnectionRequest
    connection_requests:browser:<hash>     the id of the request of the browser whose name has this hash
    connection_requests:opened:<name>      the id of the one session that <name> has opened; <name> is the hash of a
                                           browser's name, or the id of an invitation
    connection_requests:about:<digest>     sorted set of ids of the last requests that name a meter, an account or a
                                           browser, by the second of their start
    connection_requests:due                sorted set of ids by the second of their next try
    connection_requests:held               sorted set of ids that wait for the operator, by the second of their start

A consent flow is the data for the browser's return from the supplier's consent page. The supplier returns only a
``state`` of at most 100 characters; everything else is stored here under the state, for 15 minutes. A state works once:
the first callback with it becomes a connection request.

    consent_flow:<state>       {"supplier":"enedis","browser":"…","begun_on":"2024-07-25",…}: the flow, deleted by
                               the first callback
    proxy_code:<hash of code>  encrypted text: the facts behind a code of the consent proxy; a code works once

The files that prove a consent wait here for at most a day, between the operator's page and the worker that sends them.

    proof_files:<right>        list: an encrypted JSON for each file, {"name": "consent.pdf", "content": "<base64>"}
    proof_files:waiting        set of the ids of rights with files
    proof_files:fault:<right>  the code of the error if the last files were refused; empty if the error has no code
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeVar, cast

from pydantic import TypeAdapter
from redis import Redis
from redis.client import Pipeline

from worker.domain.account import DEFAULT_TENANT
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.consents import REQUEST_LIFE
from worker.domain.oauth_proxy import ProxyCaller
from worker.errors import OperatorFault
from worker.stores.encryption import Sealer
from worker.stores.redis.connection import PrefixedKeys

_MOST_ABOUT: Final = 50
_REQUEST_LIFE_S: Final = int(REQUEST_LIFE.total_seconds())
# A page that is loaded again still shows the outcome of the request for this long.
_OUTCOME_LIFE_S: Final = 900
_FLOW_LIFE_S: Final = 900
_FILES_LIFE_S: Final = 24 * 3600
# The fields that are emptied when a request becomes final: the meter, the token, and the person's input.
_FORGOTTEN: Final[Mapping[str, Any]] = {
    "usage_points": (),
    "autorisation_id": None,
    "code": None,
    "proven": None,
    "readings": {},
    "declaration": None,
}
_REQUEST_JSON: Final = TypeAdapter(ConnectionRequest)
_Facts = TypeVar("_Facts")
ProofFile = tuple[str, bytes]  # Name and content.


class ConnectionRequests(PrefixedKeys):
    """Connection requests by id.

    ``digest`` hashes the subjects of a request with our key, because a plain hash of a meter number is easily reversed.
    """

    def __init__(self, redis: Redis, sealer: Sealer, digest: Callable[[str], str]) -> None:
        super().__init__(redis)
        self._sealer, self._digest = sealer, digest

    def create(self, request: ConnectionRequest) -> bool:
        """Store a new request; return False if it is stored already, because the same callback came before.

        The request replaces the browser's earlier requests that are not final, even those stored under an earlier name
        of the browser.
        """
        key = self._key("connection_request", request.id)
        if not self._redis.set(key, self._seal(request), ex=_REQUEST_LIFE_S, nx=True):
            return False
        for earlier in map(self.get, self._ids_of(request.names)):
            if earlier is not None and not earlier.is_final:
                self._redis.delete(self._key("connection_request", earlier.id))
                self.forget(earlier.id)
        self.bind(request)
        self._index(request)
        return True

    def get(self, request_id: str) -> ConnectionRequest | None:
        """Return the request; None if it is unknown, too old, replaced, or sealed with a key that is gone."""
        sealed = self._redis.get(self._key("connection_request", request_id))
        if sealed is None:
            return None
        try:
            return _REQUEST_JSON.validate_json(self._sealer.unseal(str(sealed), _request_place(request_id)))
        except OperatorFault:
            return None

    def of_browser(self, names: Sequence[str]) -> ConnectionRequest | None:
        """Return the last request from the browser with these names; None if there is none.

        ``names``: the hashes of the browser's names, the newest first.
        """
        requests = (self.get(request_id) for request_id in self._ids_of(names))
        return next((request for request in requests if request is not None and request.browser in names), None)

    def bind(self, request: ConnectionRequest) -> None:
        """Index the request by its browser's present name for ``of_browser``, and by all names for ``end_for``."""
        with self._redis.pipeline() as pipe:
            pipe.set(self._key("connection_requests", "browser", request.browser), request.id, ex=_REQUEST_LIFE_S)
            self._note(pipe, request, [f"browser {name}" for name in request.names])
            pipe.execute()

    def mark_opened(self, name: str) -> bool:
        """Record that a browser's name or an invitation opens a session; return False if it was recorded before.

        The record lives at least as long as the browser's cookie.
        """
        return bool(self._redis.set(self._key("connection_requests", "opened", name), "", ex=_REQUEST_LIFE_S, nx=True))

    def note_session(self, name: str, session_id: str) -> None:
        """Record which session was opened by this browser's name or invitation."""
        self._redis.set(self._key("connection_requests", "opened", name), session_id, ex=_REQUEST_LIFE_S)

    def find_session(self, name: str) -> str:
        """Return the id of the session that this browser's name or invitation opened.

        Empty if none was opened, or if the process crashed before it recorded the session.
        """
        return str(self._redis.get(self._key("connection_requests", "opened", name)) or "")

    def unmark_opened(self, name: str) -> None:
        """Undo ``mark_opened``, because no session was opened after all."""
        self._redis.delete(self._key("connection_requests", "opened", name))

    def save(self, request: ConnectionRequest) -> None:
        """Store the new state of a request, unless it was replaced meanwhile.

        A final request is stored without the meter, the token and the person's input. It is kept for a short time, so
        that the waiting page can show its outcome. If the operator has accepted the request, the person has left the
        page, so the request is kept until its seven days are over.
        """
        if request.is_final:
            request = replace(request, **_FORGOTTEN)
        key = self._key("connection_request", request.id)
        is_stored = self._redis.set(key, self._seal(request), xx=True, keepttl=True)
        if is_stored and request.is_final and request.vouched_by is None:
            self._redis.expire(key, _OUTCOME_LIFE_S)
        self._index(request)

    def list_due(self, now: datetime, limit: int) -> list[str]:
        """Return the ids of requests whose next try is due, longest due first."""
        ids = self._redis.zrange(
            self._key("connection_requests", "due"), 0, int(now.timestamp()), byscore=True, offset=0, num=limit
        )
        return [str(request_id) for request_id in ids]

    def list_held(self) -> list[ConnectionRequest]:
        """Return the requests that wait for the operator, the oldest first."""
        return [request for _, request in self._index_of_held() if request is not None]

    def clean_held(self) -> None:
        """Clean the index of held requests: only requests that still wait for the operator stay in it."""
        for request_id in [request_id for request_id, request in self._index_of_held() if request is None]:
            self._redis.zrem(self._key("connection_requests", "held"), request_id)

    def _index_of_held(self) -> Iterator[tuple[str, ConnectionRequest | None]]:
        """Yield the ids in the index of held requests, each with its request.

        The request is None if it is gone or no longer waits for the operator.
        """
        for request_id in map(str, self._redis.zrange(self._key("connection_requests", "held"), 0, -1)):
            request = self.get(request_id)
            yield request_id, request if request is not None and request.state is RequestState.HELD else None

    def forget(self, request_id: str) -> None:
        """Remove a request that no longer exists from the index of due requests."""
        self._redis.zrem(self._key("connection_requests", "due"), request_id)

    def end_for(self, account_id: str, usage_point_id: str | None, browser: str | None) -> int:
        """Delete the requests and outcomes that name an account or its meter, and return their number.

        A request from the account's ``browser`` that is not final and names no meter is deleted too. Of each account,
        meter and browser, only the last 50 requests are found.
        """
        keys = [self._about(f"account {account_id}")]
        keys += [self._about(f"meter {usage_point_id}")] if usage_point_id else []
        ids = {str(request_id) for key in keys for request_id in self._redis.zrange(key, 0, -1)}
        if browser is not None:
            mine = [self.get(str(id_)) for id_ in self._redis.zrange(self._about(f"browser {browser}"), 0, -1)]
            ids |= {request.id for request in mine if request and not (request.is_final or request.names_meters)}
        deleted = 0
        for request_id in sorted(ids):
            deleted += int(self._redis.delete(self._key("connection_request", request_id)))
            self.forget(request_id)
            self._redis.zrem(self._key("connection_requests", "held"), request_id)
        self._redis.delete(*keys)
        return deleted

    def forget_all(self) -> int:
        """Delete all requests and their indexes, and return the number of deleted keys. It scans all keys."""
        return self._unlink_kinds({"connection_request", "connection_requests"})

    def _ids_of(self, names: Sequence[str]) -> list[str]:
        """Return the ids of the requests bound to these names of a browser, in the order of the names."""
        if not names:
            return []
        keys = [self._key("connection_requests", "browser", name) for name in names]
        return [str(request_id) for request_id in self._redis.mget(keys) if request_id is not None]

    def _about(self, name: str) -> str:
        return self._key("connection_requests", "about", self._digest(name))

    def _index(self, request: ConnectionRequest) -> None:
        due, held = self._key("connection_requests", "due"), self._key("connection_requests", "held")
        with self._redis.pipeline() as pipe:
            if request.state is RequestState.ASKING:
                at = request.next_try_at or request.created_at
                pipe.zadd(due, {request.id: math.ceil(at.timestamp())})  # Rounded up: not listed too early.
            else:
                pipe.zrem(due, request.id)
            if request.state is RequestState.HELD:
                pipe.zadd(held, {request.id: int(request.created_at.timestamp())})
            else:
                pipe.zrem(held, request.id)
            meters = [f"meter {number}" for number in request.names_meters]
            # A declaration also belongs to the accounts of its browser's session: their erasure deletes the request.
            accounts = [one.id for one in request.accounts] + list(request.session if request.declaration else ())
            self._note(pipe, request, [*meters, *(f"account {account_id}" for account_id in accounts)])
            pipe.execute()

    def _note(self, pipe: Pipeline, request: ConnectionRequest, subjects: Sequence[str]) -> None:
        """Add the request to the indexes of its subjects, in which an erasure searches."""
        for key in map(self._about, subjects):
            pipe.zadd(key, {request.id: int(request.created_at.timestamp())})
            pipe.zremrangebyrank(key, 0, -_MOST_ABOUT - 1)
            pipe.expire(key, _REQUEST_LIFE_S)

    def _seal(self, request: ConnectionRequest) -> str:
        return self._sealer.seal(_REQUEST_JSON.dump_json(request).decode(), _request_place(request.id))


def _request_place(request_id: str) -> str:
    return f"connection_request/{request_id}"


@dataclass(frozen=True, slots=True)
class ConsentFlow:
    """A consent flow in progress.

    ``browser``: SHA-256 of the name that the browser got at the start. ``invitation``: the id of the invitation with
    which the flow was begun; ``tenant``: the tenant of the invitation. ``begun_on``: the day of the start in
    Europe/Paris, ISO 8601. ``begun_at``: the moment of the start, ISO 8601, in real time even if the fleet's time is
    simulated; empty if unknown. ``caller``: the client that requested the consent through our proxy.
    """

    supplier: str
    browser: str = field(default="", repr=False)
    invitation: str | None = None
    tenant: str = DEFAULT_TENANT
    begun_on: str = ""
    begun_at: str = ""
    caller: ProxyCaller | None = None


_FLOW_JSON: Final = TypeAdapter(ConsentFlow)


class ConsentFlows(PrefixedKeys):
    """The consent flows in Redis, by their ``state``."""

    def start(self, flow: ConsentFlow) -> str:
        """Store a new flow and return its state, a text of 43 random characters."""
        state = secrets.token_urlsafe(32)
        self._redis.set(self._key("consent_flow", state), _FLOW_JSON.dump_json(flow).decode(), ex=_FLOW_LIFE_S)
        return state

    def read(self, state: str) -> ConsentFlow | None:
        """Return the flow without deleting it; None for a state that is unknown, used or expired."""
        text = self._redis.get(self._key("consent_flow", state))
        return None if text is None else _FLOW_JSON.validate_json(str(text))

    def end(self, state: str) -> None:
        """Delete a flow whose callback has become a connection request."""
        self._redis.delete(self._key("consent_flow", state))

    def forget_all(self) -> int:
        """Delete all flows and codes, and return the number of deleted keys. It scans all keys."""
        return self._unlink_kinds({"consent_flow", "proxy_code"})

    # -- Codes of the consent proxy

    def store_code(self, code: str, sealed: str) -> None:
        """Store the encrypted facts behind a code for 15 minutes; a code that was redeemed becomes valid again."""
        self._redis.set(self._key("proxy_code", _digest(code)), sealed, ex=_FLOW_LIFE_S)

    def redeem_code(self, code: str, check: Callable[[str], _Facts]) -> _Facts | None:
        """Redeem a code: the first caller gets the result of ``check`` for the sealed facts, later callers get None.

        This is atomic: if ``check`` raises an error, the code can still be redeemed.
        """
        key = self._key("proxy_code", _digest(code))

        def spend(pipe: Pipeline) -> Any:
            sealed = pipe.get(key)
            facts = None if sealed is None else check(str(sealed))
            pipe.multi()
            pipe.delete(key)
            return facts

        return cast("_Facts | None", self._redis.transaction(spend, key, value_from_callable=True))


def place_of_code(code: str) -> str:
    """Return the place to pass to ``encryption.Sealer`` for the facts behind a code."""
    return f"proxy_code/{_digest(code)}"


def _digest(code: str) -> str:
    """Return the hash of a code, because callers may send codes of any length and with any characters."""
    return hashlib.sha256(code.encode()).hexdigest()


class ProofFiles(PrefixedKeys):
    """The files that wait to be sent as proof of rights; ``right_id`` is our own id of the right."""

    def __init__(self, redis: Redis, sealer: Sealer) -> None:
        super().__init__(redis)
        self._sealer = sealer

    def put(self, right_id: str, files: Sequence[ProofFile]) -> None:
        """Store the files of a right; they replace the right's earlier files."""
        key = self._key("proof_files", right_id)
        texts = [{"name": name, "content": base64.b64encode(content).decode()} for name, content in files]
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(key, self._key("proof_files", "fault", right_id))
            pipe.rpush(key, *(self._sealer.seal(json.dumps(text), _files_place(right_id)) for text in texts))
            pipe.expire(key, _FILES_LIFE_S)
            pipe.sadd(self._key("proof_files", "waiting"), right_id)
            pipe.execute()

    def list_waiting(self) -> list[str]:
        """Return the ids of the rights whose files wait to be sent, sorted."""
        return sorted(str(right_id) for right_id in self._redis.smembers(self._key("proof_files", "waiting")))

    def get(self, right_id: str) -> list[ProofFile]:
        """Return the files of a right; empty if they are gone.

        Raises OperatorFault if the key that sealed them is missing.
        """
        texts = self._redis.lrange(self._key("proof_files", right_id), 0, -1)
        files = [json.loads(self._sealer.unseal(str(text), _files_place(right_id))) for text in texts]
        return [(str(file["name"]), base64.b64decode(file["content"])) for file in files]

    def end(self, right_id: str, fault: str | None = None) -> None:
        """Delete the files of a right after they were sent or are gone.

        ``fault``: the code of the error if the files were refused, empty if the error has no code; None without error.
        """
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._key("proof_files", right_id))
            pipe.srem(self._key("proof_files", "waiting"), right_id)
            if fault is not None:
                pipe.set(self._key("proof_files", "fault", right_id), fault, ex=_FILES_LIFE_S)
            pipe.execute()

    def is_waiting(self, right_id: str) -> bool:
        return bool(self._redis.sismember(self._key("proof_files", "waiting"), right_id))

    def was_refused(self, right_id: str) -> bool:
        return bool(self._redis.exists(self._key("proof_files", "fault", right_id)))


def _files_place(right_id: str) -> str:
    return f"proof_files/{right_id}"
