"""A session with a supplier: it counts calls for the quota, renews a refused token, and raises refusals as our errors.

Callers never see a status code. No request is sent without a permit from the quota, and no other module sends requests
to a supplier. A ``Transport`` may be used by several threads and after a fork, because each thread and each process has
its own connections. A ``Reply`` is one complete HTTP answer. ``Permits`` and ``TokenProvider`` are the interfaces of
the quota and of the token's source.

``SplitFetch`` fetches a window in several requests if the supplier finds it too long, too early or too late.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import cached_property, partial
from typing import Any, Final, Literal, Protocol, TypeVar, assert_never
from urllib.parse import urlsplit

import requests
from oauthlib.oauth2 import Client, WebApplicationClient
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from worker import errors, tracing
from worker.clients.endpoints import Endpoints, TokenMode
from worker.clients.http_calls import MOST_BYTES, BoundedHttp, one_large_reader
from worker.clients.ndjson import StreamedValues, StreamLimits, read_values
from worker.domain.answers import Answer, AnswerKind, Json
from worker.domain.lanes import current_lane
from worker.domain.retry import quota_wait_s
from worker.domain.windows import ONE_DAY, DateWindow, split_window
from worker.metrics import ANSWERS, CALL_SECONDS, CALLS, NO_ANSWER, OTHER, TOKEN_REFUSED, error_kind

ResultT = TypeVar("ResultT")
FetchPiece = Callable[[DateWindow], Answer]
# The limits for answers to calls that change something, and for answers of the token endpoint.
SHORT_ANSWER: Final = StreamLimits(stream_bytes=64 * 1024)
# These codes come from OAuth, and from WSO2, which is the API gateway of many suppliers.
BAD_TOKEN_CODES: Final = {"900901", "900902", "900903", "unauthorized", "invalid-token"}
REFUSED_FOR_GOOD: Final = "the gateway refuses the token: make a new one on its page, then run `releve home add`"
_LONGEST_PAGE: Final = 20_000
_CHUNK: Final = 16 * 1024
# The pattern skips strings. The possessive repetitions need no memory in proportion to the length of a string. An
# unterminated string matches up to the end of the body, so the body is scanned only once.
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]')
# A code is written to logs and messages, so it must consist of words and a short number; a meter or a token doesn't
# match.
_CODE_FORM: Final = re.compile(r"(?=.{1,40}$)[a-z]{2,24}(-[a-z]{2,24}){0,5}(-?[0-9]{1,7})?|[0-9]{1,6}")
_NESTING: Final = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_LOGIN_FAILED: Final = "{} refused the token again right after its renewal: the holder must consent again"
_APPLICATION_REFUSED: Final = "{} refuses the application's fresh token: check its credentials and subscriptions"
# At DEBUG, the first two loggers write tokens and secrets. Those of urllib3 write queries, which contain the meter's
# number: each query at DEBUG, and at WARNING the query of a repeated request, or of an answer with a malformed header.
# These levels hide no failure, because failures are raised as our own errors.
_LEVELS: Final = {"requests_oauthlib": logging.INFO, "oauthlib": logging.INFO, "urllib3": logging.ERROR}
for _name, _level in _LEVELS.items():
    logging.getLogger(_name).setLevel(_level)


# This dataclass has no slots, because cached_property needs a __dict__.
@dataclass(frozen=True)
class Reply:
    """A complete HTTP answer. The names in ``headers`` are case-insensitive, as in the library ``requests``.

    ``streamed``: the values of an answer that was read value by value. If it isn't None, ``body`` is empty, or contains
    the beginning of a refusal.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    streamed: StreamedValues | None = field(default=None, repr=False)

    @cached_property
    def json(self) -> Json:
        """The parsed body; None if it isn't JSON, is ``null``, or is nested deeper than any real answer."""
        try:
            return None if _is_too_deep(self.body) else json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def envelope(self) -> Mapping[str, Json]:
        """The supplier's own error object, taken out of the envelopes of gateways; empty if there is none."""
        envelope = self.json if isinstance(self.json, dict) else {}
        for _ in range(3):
            inner = (envelope.get(key) for key in ("error", "fault", "enedis_return"))
            envelope = next((value for value in inner if isinstance(value, dict)), envelope)
        return envelope

    @cached_property
    def code(self) -> str:
        """The supplier's code in lower case, with ``-`` for ``_``, safe to log; empty if there is no readable code."""
        for key in ("error", "code", "error_code", "errorCode"):
            value = self.envelope.get(key)
            if isinstance(value, str | int) and not isinstance(value, bool):
                code = re.sub("[_ ]", "-", str(value)[:64].strip().lower())
                return code if _CODE_FORM.fullmatch(code) else ""
        return ""

    @property
    def digest(self) -> str:
        """The SHA-256 of the answer's bytes, in hexadecimal."""
        return self.streamed.digest if self.streamed else hashlib.sha256(self.body).hexdigest()

    @property
    def meant_status(self) -> int:
        """The status of an error that a proxy puts into the body of a success; for other answers, the HTTP status."""
        inner = self.json.get("status") if isinstance(self.json, dict) else None
        return inner if 200 <= self.status < 300 and isinstance(inner, int) and 400 <= inner < 600 else self.status


def token_refused(reply: Reply, mode: TokenMode) -> bool:
    """Return whether a reply refuses the token, and not something else.

    With a user's token (v4), a 403 with an empty body, or with ``invalid_token`` in a header, refuses the token; any
    other 403 refuses the consent. A gateway's own 401 refuses the token. If a gateway passes on a 401 from Enedis,
    Enedis refuses the gateway, not the token.
    """
    if mode == "bearer":
        return reply.status == 401 and (reply.json is None or reply.envelope is reply.json)
    if mode == "user" and reply.status == 403:
        return not reply.body.strip() or "invalid_token" in reply.headers.get("WWW-Authenticate", "")
    return reply.status == 401 or (reply.status < 500 and reply.code in BAD_TOKEN_CODES)


def wait_of(reply: Reply, now: datetime) -> float:
    """Return the seconds to wait after a 429. If the reply is a gateway's HTML page, its text may name the time."""
    page = {"description": reply.body[:_LONGEST_PAGE].decode("utf-8", "replace")} if reply.json is None else {}
    return quota_wait_s(reply.headers, reply.envelope or page, now)


def _is_too_deep(body: bytes, most: int = StreamLimits().depth) -> bool:
    """Return whether lists and objects in a JSON text are nested more than ``most`` levels deep."""
    depth = 0
    for match in _STRUCTURE.finditer(body):
        depth += _NESTING.get(match[0], 0)
        if depth > most:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, when it expires (seconds since 1970), and the refresh token that is exchanged for new tokens."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_at: int | None = field(default=None, repr=False)

    def ends_within(self, seconds: float) -> bool:
        # Tokens expire in real time, even if the system's time is simulated.
        return self.expires_at is not None and self.expires_at <= time.time() + seconds

    def to_text(self) -> str:
        """Return the token as JSON. The text is a secret, so the store must encrypt it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Token:
        """Read a token that ``to_text`` wrote. Raises ValueError, whose text doesn't quote the token."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            # "from None", because the library's error quotes the text, which is a secret.
            raise ValueError("this is not a token that Relève stored") from None


class TokenProvider(Protocol):
    """The source of the token for a session. Both methods raise TransientError, AccountError or OperatorFault."""

    def current(self) -> Token:
        """Return a token for the next calls."""

    def renew(self, refused: Token | None) -> Token:
        """Return a token other than ``refused``, which the supplier has refused."""


class Permits(Protocol):
    """The quota of the application, shared by all workers; QuotaLedger implements it."""

    def take_permit(self, api: str) -> str:
        """Take a permit for one request to ``api``, after at most a short wait, and return the permit's text.

        Raises RateLimited, with the time to wait, if no permit is free soon enough.
        """

    def release_permit(self, permit: str) -> None:
        """Give back a permit whose request was never sent, so the supplier can't have counted the request."""

    def close_gate(self, retry_after_s: float, permit: str, code: str = "") -> None:
        """Stop all requests for a while, because the supplier has refused a request.

        ``permit``: the permit of the refused request. ``code``: the code of the error that the refusal was turned into.
        """


class SupplierSession:
    """Sends requests with the token of one account (v4) or of the whole application (v5, 2026).

    A session is cheap to create, because the connections belong to ``transport``, which all sessions share.
    """

    def __init__(self, endpoints: Endpoints, transport: Transport, tokens: TokenProvider, permits: Permits) -> None:
        self._endpoints = endpoints
        self._transport = transport
        self._tokens = tokens
        self._permits = permits

    def get(
        self,
        path: str,
        params: Mapping[str, str],
        interpret: Callable[[Reply], ResultT],
        limits: StreamLimits | None = None,
    ) -> ResultT:
        """Send a GET; return the result of ``interpret`` for its reply.

        With ``limits``, the answer is read value by value, and only as far as the limits allow. Raises RateLimited,
        SupplierUnavailable, LoginFailed (for a user's token), TokenNeeded or TokenRefused (for a gateway's token),
        OperatorFault (for the application's token), and the errors of ``interpret``. If ``interpret`` raises
        RateLimited, all workers' requests are stopped for a while (``close_gate``) before the error is passed on.
        """
        # A GET has no Content-Type, because the API of 2026 answered 500 to a GET that had one.
        return self._request("GET", path, interpret, limits, params=params)

    def post(
        self, path: str, body: Json, interpret: Callable[[Reply], ResultT], limits: StreamLimits | None = None
    ) -> ResultT:
        """Send a POST with a JSON body; otherwise like ``get``."""
        return self._request("POST", path, interpret, limits, json=body)

    def put(self, path: str, body: Json, interpret: Callable[[Reply], ResultT]) -> ResultT:
        """Send a PUT with a JSON body, and read a short answer; otherwise like ``get``."""
        return self._request("PUT", path, interpret, SHORT_ANSWER, json=body)

    def patch(self, path: str, body: Json, interpret: Callable[[Reply], ResultT]) -> ResultT:
        """Send a PATCH with a JSON body, and read a short answer; otherwise like ``get``."""
        return self._request("PATCH", path, interpret, SHORT_ANSWER, json=body)

    def put_files(
        self, path: str, name: str, files: Sequence[tuple[str, bytes]], interpret: Callable[[Reply], ResultT]
    ) -> ResultT:
        """Send a PUT with files, each as a field ``name`` of one form; otherwise like ``get``.

        Each file is a pair of name and content. The answer is short.
        """
        return self._request("PUT", path, interpret, SHORT_ANSWER, files=[(name, file) for file in files])

    @one_large_reader()
    def _request(
        self, method: str, path: str, interpret: Callable[[Reply], ResultT], limits: StreamLimits | None, **content: Any
    ) -> ResultT:
        with tracing.span("supplier call", supplier=self._endpoints.preset.name):
            result = self._exchange(method, path, interpret, limits, **content)
            outcome = result.kind if isinstance(result, Answer) else OTHER
            ANSWERS.labels(outcome, current_lane()).inc()
            tracing.note(outcome=outcome)
            return result

    def _exchange(
        self, method: str, path: str, interpret: Callable[[Reply], ResultT], limits: StreamLimits | None, **content: Any
    ) -> ResultT:
        preset, url, permit = self._endpoints.preset, self._endpoints.base_url + path, ""
        mode = preset.token_mode

        def send(token: Token) -> Reply | None:
            """Return the reply; None if it refuses the token."""
            nonlocal permit
            with tracing.span("quota permit"):
                permit = self._permits.take_permit(preset.quota_of(path))
            release = partial(self._permits.release_permit, permit)
            reply = self._transport.send(method, url, token, limits, on_unsent=release, **content)
            if not token_refused(reply, mode):
                return reply
            ANSWERS.labels(TOKEN_REFUSED, current_lane()).inc()
            return None

        token = self._tokens.current()
        reply = send(token) or send(self._tokens.renew(token))
        if reply is None:
            if mode == "user":
                raise errors.LoginFailed(_LOGIN_FAILED.format(preset.title))
            if mode == "bearer":
                raise errors.TokenRefused(REFUSED_FOR_GOOD)
            raise errors.ApplicationRefused(_APPLICATION_REFUSED.format(preset.title))
        try:
            return interpret(reply)
        except errors.WorkerError as error:
            ANSWERS.labels(error_kind(error), current_lane()).inc()
            if isinstance(error, errors.RateLimited):
                self._permits.close_gate(error.retry_after_s or 0.0, permit, error.code)
            raise


class Transport:
    """The connections to one supplier, with timeouts and a session per thread; it turns network errors into ours.

    ``token_url`` may be on a host other than ``base_url``. Both may begin with ``http://`` if the supplier is
    simulated. ``Preset.endpoints`` refuses ``http://`` for public hosts. ``timeouts``: the most seconds to connect, and
    between two bytes of the answer. ``user_agent``: None means the library's own.
    """

    def __init__(
        self,
        base_url: str,
        timeouts: tuple[float, float] = (5.0, 20.0),
        token_url: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        self.timeouts = timeouts
        self._headers = {"Accept": "application/json"} | ({"User-Agent": user_agent} if user_agent else {})
        self._plain_hosts = {
            urlsplit(url).netloc for url in (base_url, token_url or base_url) if url.startswith("http://")
        }
        self._local = threading.local()

    def send(
        self,
        method: str,
        url: str,
        token: Token,
        limits: StreamLimits | None = None,
        *,
        on_unsent: Callable[[], None] = lambda: None,
        **content: Any,
    ) -> Reply:
        """Send one request with the token, and read the answer; redirects are not followed.

        Of a refusal, only the beginning is read. With ``limits``, a success is read value by value, as far as the
        limits allow. If an answer isn't read to its end, the connection is closed. Raises SupplierUnavailable if there
        is no answer; if the request wasn't even sent, ``on_unsent`` is called first.
        """
        # A forked child must not use its parent's connection.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.pid, self._local.session = os.getpid(), self._new_session(WebApplicationClient(""), "data")
        session: OAuth2Session = self._local.session
        # The token's expiry is left out, so that the supplier, not the local clock, decides whether the token is valid.
        session.token = {"access_token": token.access, "token_type": "Bearer"}
        with tracing.span("supplier request", api="data"), _network_errors(on_unsent):
            response = session.request(
                method,
                as_signed(url),
                headers=self._headers,
                timeout=self.timeouts,
                allow_redirects=False,
                stream=limits is not None,
                **content,
            )
            if limits is not None:
                return _read_bounded(response, limits)
        return Reply(response.status_code, response.headers, response.content)

    @contextmanager
    def token_session(self, client: Client, on_unsent: Callable[[], None]) -> Iterator[OAuth2Session]:
        """Open a session for one exchange with the token endpoint. No other session shares its state.

        ``client`` must have no scope. Otherwise oauthlib would compare this scope with the scope of the answer and, if
        the supplier has added a word, raise a Warning; the token would then be lost.
        """
        with (
            tracing.span("supplier request", api="token"),
            _network_errors(on_unsent),
            self._new_session(client, "token") as session,
        ):
            yield session

    def _new_session(self, client: Client, api: Literal["data", "token"]) -> OAuth2Session:
        session = OAuth2Session(client=client)
        session.mount("https://", _CountedHttp(api))
        for host in self._plain_hosts:
            session.mount(f"https://{host}/", _CountedHttp(api, scheme="http"))
            # A simulator is reached directly, even if the environment names a proxy.
            session.trust_env = False
        return session


class _CountedHttp(BoundedHttp):
    """An HTTP adapter that counts each request by the class of its status code, and measures its duration."""

    def __init__(self, api: str, scheme: str = "https") -> None:
        self._api = api
        self._scheme = scheme
        super().__init__(SHORT_ANSWER.stream_bytes if api == "token" else MOST_BYTES)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = f"{self._scheme}://" + (request.url or "").removeprefix("https://")
        began, status = time.perf_counter(), NO_ANSWER
        try:
            response = super().send(request, *args, **kwargs)
            status = "429" if response.status_code == 429 else f"{response.status_code // 100}xx"
        finally:
            tracing.note(status=status)
            CALLS.labels(self._api, status, current_lane()).inc()
            CALL_SECONDS.labels(self._api).observe(time.perf_counter() - began)
        return response


def _read_bounded(response: requests.Response, limits: StreamLimits) -> Reply:
    """Return the reply with its values in ``streamed``. Of a refusal, only the beginning is read; it is in ``body``."""
    # If the answer was read to its end, closing returns the connection to the pool; otherwise it cuts the connection.
    with closing(response):
        body = b"" if response.status_code // 100 == 2 else response.content
        values = read_values(response.iter_content(_CHUNK), limits)
    return Reply(response.status_code, response.headers, body, values)


@contextmanager
def _network_errors(on_unsent: Callable[[], None]) -> Iterator[None]:
    """Turn each OSError, which includes all errors of the package requests, into SupplierUnavailable."""
    try:
        yield
    except OSError as error:
        reason = getattr(error.args[0], "reason", None) if error.args else None
        # In these two cases there was no connection, so the supplier got nothing of the request.
        is_unsent = isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)
        if is_unsent:
            # If Redis is down, the call stays counted, which errs on the safe side.
            with suppress(errors.StoreUnavailable):
                on_unsent()
        # "from None", because the text of the library's error contains the URL, and with it the meter's number.
        raise _unavailable(error, is_connected=not is_unsent) from None


def _unavailable(error: OSError, *, is_connected: bool) -> errors.SupplierUnavailable:
    """Return our error for an error of the package requests, according to how far the call got."""
    name = type(error).__name__
    if not is_connected or isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return errors.SupplierUnreachable(f"no connection to the supplier ({name})")
    # If an answer pauses in its body, requests raises no Timeout, but a ConnectionError with a ReadTimeoutError in it.
    if isinstance(error, requests.Timeout) or any(isinstance(cause, ReadTimeoutError) for cause in error.args):
        return errors.SupplierTooSlow(f"the supplier did not answer in time ({name})")
    return errors.AnswerBrokenOff(f"the supplier's answer broke off ({name})")


def as_signed(url: str) -> str:
    """Return the address with https://, as oauthlib requires.

    oauthlib refuses plain http:// unless OAUTHLIB_INSECURE_TRANSPORT switches the check off for the whole process. So
    a plain address is signed as https://, and ``_CountedHttp`` changes it back before sending.
    """
    return "https://" + url.removeprefix("http://") if url.startswith("http://") else url


@dataclass
class SplitFetch:
    """Fetches one window in pieces; collects their payloads and the range of days for which the supplier answers.

    ``data_from``: the first day that may be requested; earlier days count as before the history. ``payloads``: each
    payload, with the days for which it was requested. ``floor``: the first day for which the supplier answers, if the
    window began before this day. ``end``: the day after the last day that could be requested.
    """

    fetch_piece: FetchPiece = field(repr=False)  # It contains the meter's number, which no ``repr`` may show.
    data_from: date | None = None
    payloads: list[tuple[DateWindow, Json]] = field(default_factory=list, repr=False)
    floor: date | None = None
    end: date = date.min

    def fetch(self, window: DateWindow) -> SplitFetch:
        """Request the whole window, in as many pieces as necessary; return self. Raises ``fetch_piece``'s errors."""
        self.end = window.end
        if self.data_from is not None and window.start < self.data_from:
            self.floor = min(self.data_from, window.end)
            if window.end <= self.data_from:
                return self
            window = DateWindow(self.data_from, window.end)
        self._handle(window, self.fetch_piece(window))
        return self

    def _handle(self, window: DateWindow, answer: Answer) -> None:
        match answer.kind:
            case AnswerKind.DATA:
                self.payloads.append((window, answer.payload))
            case AnswerKind.BEFORE_HISTORY:
                self.floor = window.end
                for piece, piece_answer in find_floor(self.fetch_piece, window):
                    self.floor = piece.start
                    self._handle(piece, piece_answer)
            case AnswerKind.TOO_LONG:
                for part in split_window(window, _next_length(window)):
                    self._handle(part, self.fetch_piece(part))
            case AnswerKind.END_TOO_LATE if window.days > 1:
                self.end = window.end - ONE_DAY
                earlier = DateWindow(window.start, self.end)
                self._handle(earlier, self.fetch_piece(earlier))
            case AnswerKind.NO_DATA | AnswerKind.END_TOO_LATE:
                pass
            case _:
                assert_never(answer.kind)


def find_floor(fetch_piece: FetchPiece, refused_window: DateWindow) -> Iterator[tuple[DateWindow, Answer]]:
    """Find, by bisection, the first day for which the supplier answers; yield each accepted piece, newest first.

    ``refused_window`` was answered BEFORE_HISTORY: some day in it lies before activation, consent or the supplier's
    history, and the supplier does not say which. No day is yielded twice; a window of 365 days takes at most 9 calls.
    """
    low, high = refused_window.start, refused_window.end
    while high - low > ONE_DAY:
        piece = DateWindow(low + (high - low) // 2, high)
        answer = fetch_piece(piece)
        if answer.kind is AnswerKind.BEFORE_HISTORY:
            low = piece.start
        else:
            high = piece.start
            yield piece, answer


def _next_length(window: DateWindow) -> int:
    """Return the length of the next pieces: half the window, rounded up.

    Only a window of 7 days is split after 6 days, because Enedis sometimes refuses exactly 7 days.
    """
    if window.days == 1:
        raise errors.RequestRefused("the supplier says that a window of one day is too long")
    return 6 if window.days == 7 else (window.days + 1) // 2
