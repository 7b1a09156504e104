"""What a consent needs until it is proven, in Redis: connection requests, consent flows, and the files of a proof.

A lost key means that the person starts again, or that the operator uploads the files again.

Connection requests are sealed and live for seven days at most, one a browser. Each takes the start of a consent, which
is bounded by address, and so is their number. They are not counted by meter: strangers who name a meter would take its
holder's place, or fill the places before. The registry knows nothing of a request before it is proven.

    connection_request:<id>                sealed JSON of a ConnectionRequest
    connection_requests:browser:<hash>     the id of the request whose outcome is for the browser with this name
    connection_requests:opened:<name>      what has opened a session, which it does once: the hash of a browser's name,
                                           or the id of an invitation; with the id of the session
    connection_requests:about:<digest>     sorted set of ids of the last requests that name a meter, an account or a
                                           browser, by the second of their start
    connection_requests:due                sorted set of ids by the second of their next try
    connection_requests:held               sorted set of ids that wait for the operator, by the second of their start

A consent flow is what is needed when the browser returns from the supplier's consent page. The supplier returns a
``state`` of at most 100 characters; everything else is stored here under it, for 15 minutes. A state works once: the
callback becomes a connection request.

    consent_flow:<state>       {"supplier":"enedis","browser":"…","begun_on":"2024-07-25",…}: the flow, deleted by
                               the first callback
    proxy_code:<hash of code>  sealed text: what a code of the proxy stands for; a code works once

The files of a proof are on their way from the operator's page to the worker that sends them, sealed, for a day at most.

    proof_files:<right>        list: a sealed JSON for each file, {"name": "consent.pdf", "content": "<base64>"}
    proof_files:waiting        set of the ids of rights with files
    proof_files:fault:<right>  the code with which the supplier has refused the last files; empty for another fault
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
# A page that is loaded again finds what came of the request for this long.
_OUTCOME_LIFE_S: Final = 900
_FLOW_LIFE_S: Final = 900
_FILES_LIFE_S: Final = 24 * 3600
# What a final request forgets: the meter, the token, and what the person has typed.
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

    ``digest`` hashes what a request is about under a key of ours: a meter's number is easily guessed from a plain hash.
    """

    def __init__(self, redis: Redis, sealer: Sealer, digest: Callable[[str], str]) -> None:
        super().__init__(redis)
        self._sealer, self._digest = sealer, digest

    def create(self, request: ConnectionRequest) -> bool:
        """Store a new request; False where it is stored already: the same callback came before.

        It takes the place of those of its browser, by any of its names, and of no others. What something came of stays.
        """
        key = self._key("connection_request", request.id)
        if not self._redis.set(key, self._seal(request), ex=_REQUEST_LIFE_S, nx=True):
            return False
        for request_id in self._ids_of(request.names):
            self._drop(request_id)
        self.bind(request)
        self._index(request)
        return True

    def get(self, request_id: str) -> ConnectionRequest | None:
        """Return the request; None where it is unknown, too old, replaced, or sealed under a key that is gone."""
        sealed = self._redis.get(self._key("connection_request", request_id))
        if sealed is None:
            return None
        try:
            return _REQUEST_JSON.validate_json(self._sealer.unseal(str(sealed), _request_place(request_id)))
        except OperatorFault:
            return None

    def of_browser(self, names: Sequence[str]) -> ConnectionRequest | None:
        """Return the last request of the browser with these names, the newest first; None where there is none any more.

        ``names``: their hashes.
        """
        requests = (self.get(request_id) for request_id in self._ids_of(names))
        return next((request for request in requests if request is not None and request.browser in names), None)

    def bind(self, request: ConnectionRequest) -> None:
        """Let the browser with the request's name find it, and an erasure by all names of this browser."""
        with self._redis.pipeline() as pipe:
            pipe.set(self._key("connection_requests", "browser", request.browser), request.id, ex=_REQUEST_LIFE_S)
            self._note(pipe, request, [f"browser {name}" for name in request.names])
            pipe.execute()

    def mark_opened(self, name: str) -> bool:
        """Note that a session is opened by this name of a browser or this invitation; False where one was before.

        The browser's cookie lives no longer than this note.
        """
        return bool(self._redis.set(self._key("connection_requests", "opened", name), "", ex=_REQUEST_LIFE_S, nx=True))

    def note_session(self, name: str, session_id: str) -> None:
        """Note the session that was opened by this name of a browser or this invitation."""
        self._redis.set(self._key("connection_requests", "opened", name), session_id, ex=_REQUEST_LIFE_S)

    def find_session(self, name: str) -> str:
        """Return the id of the session that was opened by this name; empty where none was, or a crash came first."""
        return str(self._redis.get(self._key("connection_requests", "opened", name)) or "")

    def unmark_opened(self, name: str) -> None:
        """Forget that a session is opened: none was."""
        self._redis.delete(self._key("connection_requests", "opened", name))

    def save(self, request: ConnectionRequest) -> None:
        """Store what became of a request, unless it was replaced meanwhile.

        A final one forgets the meter, the token and what the person has typed. Where the operator has accepted it,
        nobody waits for what comes of it, so that lasts as long as the request.
        """
        if request.is_final:
            request = replace(request, **_FORGOTTEN)
        key = self._key("connection_request", request.id)
        is_stored = self._redis.set(key, self._seal(request), xx=True, keepttl=True)
        if is_stored and request.is_final and request.vouched_by is None:
            self._redis.expire(key, _OUTCOME_LIFE_S)
        self._index(request)

    def list_due(self, now: datetime, limit: int) -> list[str]:
        """Return the ids of requests whose next try has come, the longest waiting first."""
        ids = self._redis.zrange(
            self._key("connection_requests", "due"), 0, int(now.timestamp()), byscore=True, offset=0, num=limit
        )
        return [str(request_id) for request_id in ids]

    def list_held(self) -> list[ConnectionRequest]:
        """Return the requests that wait for the operator, the oldest first."""
        return [request for _, request in self._index_of_held() if request is not None]

    def clean_held(self) -> None:
        """Take out of the index of held requests those that wait for the operator no more."""
        for request_id in [request_id for request_id, request in self._index_of_held() if request is None]:
            self._redis.zrem(self._key("connection_requests", "held"), request_id)

    def _index_of_held(self) -> Iterator[tuple[str, ConnectionRequest | None]]:
        """Yield the ids of the index, each with its request; None where that waits for the operator no more."""
        for request_id in map(str, self._redis.zrange(self._key("connection_requests", "held"), 0, -1)):
            request = self.get(request_id)
            yield request_id, request if request is not None and request.state is RequestState.HELD else None

    def forget(self, request_id: str) -> None:
        """Take an id that is gone out of the index of those that are due."""
        self._redis.zrem(self._key("connection_requests", "due"), request_id)

    def end_for(self, account_id: str, usage_point_id: str | None, browser: str | None) -> int:
        """Delete the requests and outcomes that name an account or its meter, and return their number.

        Of the browser that brought the account, one that is not final and names no meter is deleted too. A meter has
        the last 50.
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
        """Delete all requests and return the number of keys; scans all keys."""
        return self._unlink_kinds({"connection_request", "connection_requests"})

    def _ids_of(self, names: Sequence[str]) -> list[str]:
        """Return the ids of the requests that are bound to these names of a browser, in their order."""
        if not names:
            return []
        keys = [self._key("connection_requests", "browser", name) for name in names]
        return [str(request_id) for request_id in self._redis.mget(keys) if request_id is not None]

    def _about(self, name: str) -> str:
        return self._key("connection_requests", "about", self._digest(name))

    def _drop(self, request_id: str | None) -> None:
        request = self.get(request_id) if request_id else None
        if request is not None and not request.is_final:
            self._redis.delete(self._key("connection_request", request.id))
            self.forget(request.id)

    def _index(self, request: ConnectionRequest) -> None:
        due, held = self._key("connection_requests", "due"), self._key("connection_requests", "held")
        with self._redis.pipeline() as pipe:
            if request.state is RequestState.ASKING:
                at = request.next_try_at or request.created_at
                pipe.zadd(due, {request.id: math.ceil(at.timestamp())})  # Never listed before it is due.
            else:
                pipe.zrem(due, request.id)
            if request.state is RequestState.HELD:
                pipe.zadd(held, {request.id: int(request.created_at.timestamp())})
            else:
                pipe.zrem(held, request.id)
            meters = [f"meter {number}" for number in request.names_meters]
            # An erased account ends what its session has declared, too.
            accounts = [one.id for one in request.accounts] + list(request.session if request.declaration else ())
            self._note(pipe, request, [*meters, *(f"account {account_id}" for account_id in accounts)])
            pipe.execute()

    def _note(self, pipe: Pipeline, request: ConnectionRequest, subjects: Sequence[str]) -> None:
        """Note what an erasure finds the request by."""
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

    ``browser``: SHA-256 of the name that the browser got when it started it.  ``invitation``: the id of the invitation
    that it was begun with, whose ``tenant`` it has.  ``begun_on``: the day in Europe/Paris, ISO 8601.  ``begun_at``:
    the real moment, ISO 8601; empty where it is not known.  ``caller``: the client of the proxy that asked.
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
    """Consent flows in Redis, by state."""

    def start(self, flow: ConsentFlow) -> str:
        """Store a new flow and return its state: 43 random characters."""
        state = secrets.token_urlsafe(32)
        self._redis.set(self._key("consent_flow", state), _FLOW_JSON.dump_json(flow).decode(), ex=_FLOW_LIFE_S)
        return state

    def read(self, state: str) -> ConsentFlow | None:
        """Return the flow without taking it; None for a state that is unknown, used or expired."""
        text = self._redis.get(self._key("consent_flow", state))
        return None if text is None else _FLOW_JSON.validate_json(str(text))

    def end(self, state: str) -> None:
        """Delete a flow whose callback has become a connection request."""
        self._redis.delete(self._key("consent_flow", state))

    def forget_all(self) -> int:
        """Delete all flows and codes, and return the number of keys; scans all keys."""
        return self._unlink_kinds({"consent_flow", "proxy_code"})

    # -- Codes of the consent proxy

    def store_code(self, code: str, sealed: str) -> None:
        """Store for 15 minutes the sealed facts that a code redeems, whether it is new or was redeemed."""
        self._redis.set(self._key("proxy_code", _digest(code)), sealed, ex=_FLOW_LIFE_S)

    def redeem_code(self, code: str, check: Callable[[str], _Facts]) -> _Facts | None:
        """Spend a code, and return to the first caller what ``check`` makes of its sealed facts; None to others.

        It is one step: where ``check`` raises an error, the code stays as it was.
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
    """Return the place to which the facts of a code are sealed."""
    return f"proxy_code/{_digest(code)}"


def _digest(code: str) -> str:
    """Hash a code, because callers send codes of any length and with any characters."""
    return hashlib.sha256(code.encode()).hexdigest()


class ProofFiles(PrefixedKeys):
    """The files that wait to be sent, by our own id of their right."""

    def __init__(self, redis: Redis, sealer: Sealer, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._sealer = sealer

    def put(self, right_id: str, files: Sequence[ProofFile]) -> None:
        """Keep the files of a right in place of those before."""
        key = self._key("proof_files", right_id)
        texts = [{"name": name, "content": base64.b64encode(content).decode()} for name, content in files]
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(key, self._key("proof_files", "fault", right_id))
            pipe.rpush(key, *(self._sealer.seal(json.dumps(text), _files_place(right_id)) for text in texts))
            pipe.expire(key, _FILES_LIFE_S)
            pipe.sadd(self._key("proof_files", "waiting"), right_id)
            pipe.execute()

    def list_waiting(self) -> list[str]:
        """Return the ids of the rights whose files wait to be sent, in order."""
        return sorted(str(right_id) for right_id in self._redis.smembers(self._key("proof_files", "waiting")))

    def get(self, right_id: str) -> list[ProofFile]:
        """Return the files of a right; none where they are gone. Raises OperatorFault where their key is missing."""
        texts = self._redis.lrange(self._key("proof_files", right_id), 0, -1)
        files = [json.loads(self._sealer.unseal(str(text), _files_place(right_id))) for text in texts]
        return [(str(file["name"]), base64.b64decode(file["content"])) for file in files]

    def end(self, right_id: str, fault: str | None = None) -> None:
        """Forget the files of a right, which were sent, or refused with a ``fault``."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._key("proof_files", right_id))
            pipe.srem(self._key("proof_files", "waiting"), right_id)
            if fault is not None:
                pipe.set(self._key("proof_files", "fault", right_id), fault, ex=_FILES_LIFE_S)
            pipe.execute()

    def is_waiting(self, right_id: str) -> bool:
        """Return whether files of a right wait to be sent."""
        return bool(self._redis.sismember(self._key("proof_files", "waiting"), right_id))

    def was_refused(self, right_id: str) -> bool:
        """Return whether the last files of a right were refused."""
        return bool(self._redis.exists(self._key("proof_files", "fault", right_id)))


def _files_place(right_id: str) -> str:
    return f"proof_files/{right_id}"
