"""The only place that sends to a supplier: time-outs, one session a thread, no foreign error let out.

Safe with threads and after a fork: a connection is never shared by either.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal, TypeVar

import requests
from oauthlib.oauth2 import Client, WebApplicationClient
from requests.adapters import HTTPAdapter
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import NewConnectionError

from worker.clients.enedis.errors import Reply
from worker.clients.tokens import Token
from worker.domain.fleet.lanes import current_lane
from worker.domain.measures.answers import Answer, Json
from worker.errors import StoreUnavailable, SupplierUnavailable, WorkerError
from worker.metrics import ANSWERS, CALL_SECONDS, CALLS, NO_ANSWER, OTHER, TOKEN_REFUSED, kind_of

Api = Literal["data", "token"]
Judged = TypeVar("Judged")
_TOO_MANY: Final = 429


class CountedHttp(HTTPAdapter):
    """Sends, and counts each request with the class of its answer's status."""

    def __init__(self, api: Api) -> None:
        self._api = api
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        began, status = time.perf_counter(), NO_ANSWER
        try:
            response = super().send(request, *args, **kwargs)
            status = _status_class(response.status_code)
        finally:
            CALLS.labels(self._api, status, current_lane()).inc()
            CALL_SECONDS.labels(self._api).observe(time.perf_counter() - began)
        return response


def judge_and_count(judge: Callable[[Reply], Judged], reply: Reply) -> Judged:
    """What ``judge`` says of the answer."""
    try:
        judged = judge(reply)
    except WorkerError as error:
        ANSWERS.labels(kind_of(error), current_lane()).inc()
        raise
    ANSWERS.labels(judged.verdict if isinstance(judged, Answer) else OTHER, current_lane()).inc()
    return judged


def count_refused_token() -> None:
    ANSWERS.labels(TOKEN_REFUSED, current_lane()).inc()


def _status_class(status: int) -> str:
    return str(status) if status == _TOO_MANY else f"{status // 100}xx"


Timeouts = tuple[float, float]  # seconds to connect, seconds between two bytes
DEFAULT_TIMEOUTS: Final[Timeouts] = (5.0, 20.0)

# At DEBUG the first two write tokens and secrets, the third the query with the meter's number; the third
# does so at WARNING too, where headers are malformed.  What they have to tell comes out as our errors.
for _name, _level in (
    ("requests_oauthlib", logging.INFO),
    ("oauthlib", logging.INFO),
    ("urllib3.connectionpool", logging.ERROR),
):
    logging.getLogger(_name).setLevel(_level)


class Transport:
    """Sends requests to one supplier.

    ``base_url`` may begin with ``http://`` where the supplier is a pretend one (``Preset.at`` says which may).
    """

    def __init__(self, base_url: str, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> None:
        self._base_url = base_url
        self._timeouts = timeouts
        self._local = threading.local()

    def send(
        self,
        method: str,
        url: str,
        token: Token,
        *,
        params: Mapping[str, str] | None = None,
        json: Json = None,
        on_unsent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """The answer to one signed request, read to its end; no redirect is followed.

        Raises SupplierUnavailable where none came; tells ``on_unsent`` first where the supplier saw nothing of it.
        """
        session = self._session()
        # Without its expiry: the supplier decides, not the local clock.
        session.token = {"access_token": token.access, "token_type": "Bearer"}
        with no_answer_is_unavailable(on_unsent):
            response = session.request(
                method,
                as_signed(url),
                params=params,
                json=json,
                headers={"Accept": "application/json"},
                timeout=self._timeouts,
                allow_redirects=False,
            )
        return Reply(response.status_code, response.headers, response.content)

    @contextmanager
    def token_session(self, client: Client, on_unsent: Callable[[], None] = lambda: None) -> Iterator[OAuth2Session]:
        """A session of its own for one exchange with the token endpoint; it shares no signing state.

        Its client has no scope, ever: oauthlib then has nothing to compare, and a supplier that widens the
        scope costs no token (upstream-apis, part 3).
        """
        with no_answer_is_unavailable(on_unsent), self._new_session(client, "token") as session:
            yield session

    def close(self) -> None:
        """Close the connections of the calling thread."""
        if session := getattr(self._local, "session", None):
            session.close()
            del self._local.session

    @property
    def timeouts(self) -> Timeouts:
        return self._timeouts

    def _session(self) -> OAuth2Session:
        if getattr(self._local, "pid", None) != os.getpid():  # a forked child must not use its parent's connection
            self._local.session = None
            self._local.pid = os.getpid()
        if getattr(self._local, "session", None) is None:
            self._local.session = self._new_session(WebApplicationClient(""), "data")
        session: OAuth2Session = self._local.session
        return session

    def _new_session(self, client: Client, api: Api) -> OAuth2Session:
        session = OAuth2Session(client=client)
        session.mount("https://", CountedHttp(api))
        if self._base_url.startswith("http://"):
            session.mount(as_signed(self._base_url) + "/", _PlainHttp(api))
            session.trust_env = False  # a machine of our own is reached without the proxies of the environment
        return session


@contextmanager
def no_answer_is_unavailable(on_unsent: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turn every failure of the network (all of requests' errors are OSErrors) into SupplierUnavailable."""
    try:
        yield
    except OSError as error:
        if _never_left(error):
            with suppress(StoreUnavailable):  # then the call stays counted: the safe side
                on_unsent()
        # "from None": the text of the foreign error holds the URL, and so the meter's number.
        raise SupplierUnavailable(f"the supplier did not answer ({type(error).__name__})") from None


def _never_left(error: OSError) -> bool:
    """Whether no connection came about."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)


def as_signed(url: str) -> str:
    """The address as oauthlib takes it.

    It refuses plain http:// unless OAUTHLIB_INSECURE_TRANSPORT switches that check off for the whole
    process.  We sign https:// instead and unwrap it on the way out, for the one configured address.
    """
    return "https://" + url.removeprefix("http://") if url.startswith("http://") else url


class _PlainHttp(CountedHttp):
    """The way out to a pretend supplier: mounted for the configured address alone."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = "http://" + (request.url or "").removeprefix("https://")
        return super().send(request, *args, **kwargs)
