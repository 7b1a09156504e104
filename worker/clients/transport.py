"""The HTTP transport to a supplier: time-outs, one session a thread, metrics, and network errors made ours.

No other module sends requests to a supplier. It is safe with threads and after a fork, as neither shares a
connection.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal

import requests
from oauthlib.oauth2 import Client, WebApplicationClient
from requests.adapters import HTTPAdapter
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import NewConnectionError

from worker.clients.enedis.errors import Reply
from worker.clients.tokens import Token
from worker.domain.fleet.lanes import current_lane
from worker.domain.measures.answers import Json
from worker.errors import StoreUnavailable, SupplierUnavailable
from worker.metrics import CALL_SECONDS, CALLS, NO_ANSWER

Api = Literal["data", "token"]


class CountedHttp(HTTPAdapter):
    """An HTTP adapter that counts each request with the class of its answer's status."""

    def __init__(self, api: Api) -> None:
        self._api = api
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        began, status = time.perf_counter(), NO_ANSWER
        try:
            response = super().send(request, *args, **kwargs)
            status = "429" if response.status_code == 429 else f"{response.status_code // 100}xx"
        finally:
            CALLS.labels(self._api, status, current_lane()).inc()
            CALL_SECONDS.labels(self._api).observe(time.perf_counter() - began)
        return response


# The seconds to connect, and the seconds between two bytes of the answer.
Timeouts = tuple[float, float]
DEFAULT_TIMEOUTS: Final[Timeouts] = (5.0, 20.0)

# At DEBUG the first two loggers write tokens and secrets, and the third the query with the meter's number. With
# malformed headers the third does so at WARNING too. Nothing is lost: failures are raised as our errors.
for _name, _level in (
    ("requests_oauthlib", logging.INFO),
    ("oauthlib", logging.INFO),
    ("urllib3.connectionpool", logging.ERROR),
):
    logging.getLogger(_name).setLevel(_level)


class Transport:
    """The connections to one supplier.

    ``base_url`` may begin with ``http://`` for a simulated supplier; ``Preset.endpoints`` checks where it may.
    """

    def __init__(self, base_url: str, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> None:
        self.timeouts = timeouts
        self._base_url = base_url
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
        """Send one signed request and read its answer to the end; no redirect is followed.

        Raises SupplierUnavailable if there is no answer. If the request was not even sent, it calls ``on_unsent``
        before.
        """
        session = self._session()
        # The expiry is left out, so that the supplier decides about the token and not the local clock.
        session.token = {"access_token": token.access, "token_type": "Bearer"}
        with network_errors(on_unsent):
            response = session.request(
                method,
                as_signed(url),
                params=params,
                json=json,
                headers={"Accept": "application/json"},
                timeout=self.timeouts,
                allow_redirects=False,
            )
        return Reply(response.status_code, response.headers, response.content)

    @contextmanager
    def token_session(self, client: Client, on_unsent: Callable[[], None] = lambda: None) -> Iterator[OAuth2Session]:
        """Open a session for one exchange with the token endpoint; it shares no signing state with others.

        ``client`` must have no scope. With one, oauthlib compares it with the scope of the answer, and raises a
        Warning that loses the token if the supplier has added a word.
        """
        with network_errors(on_unsent), self._new_session(client, "token") as session:
            yield session

    def close(self) -> None:
        """Close the connections of the calling thread."""
        if session := getattr(self._local, "session", None):
            session.close()
            del self._local.session, self._local.pid

    def _session(self) -> OAuth2Session:
        # A forked child must not use its parent's connection.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.pid, self._local.session = os.getpid(), self._new_session(WebApplicationClient(""), "data")
        session: OAuth2Session = self._local.session
        return session

    def _new_session(self, client: Client, api: Api) -> OAuth2Session:
        session = OAuth2Session(client=client)
        session.mount("https://", CountedHttp(api))
        if self._base_url.startswith("http://"):
            session.mount(as_signed(self._base_url) + "/", _PlainHttp(api))
            # A machine of our own is reached without the proxies of the environment.
            session.trust_env = False
        return session


@contextmanager
def network_errors(on_unsent: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turn every failure of the network into SupplierUnavailable; all errors of requests are OSErrors."""
    try:
        yield
    except OSError as error:
        if _was_not_sent(error):
            # If Redis is away, the call stays counted, which is the safe side.
            with suppress(StoreUnavailable):
                on_unsent()
        # "from None": the text of the foreign error holds the URL, and with it the meter's number.
        raise SupplierUnavailable(f"the supplier did not answer ({type(error).__name__})") from None


def _was_not_sent(error: OSError) -> bool:
    """Return whether there was no connection, so that the supplier saw nothing of the request."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)


def as_signed(url: str) -> str:
    """Return the address with https://, as oauthlib wants it.

    oauthlib refuses plain http:// unless OAUTHLIB_INSECURE_TRANSPORT switches the check off for the whole process.
    So a plain address is signed as https://, and ``_PlainHttp`` changes it back before it is sent.
    """
    return "https://" + url.removeprefix("http://") if url.startswith("http://") else url


class _PlainHttp(CountedHttp):
    """The adapter for a simulated supplier without TLS, mounted for its configured address alone."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = "http://" + (request.url or "").removeprefix("https://")
        return super().send(request, *args, **kwargs)
