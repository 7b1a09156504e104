"""Time series by the line protocol: InfluxDB 1, 2 and 3, and VictoriaMetrics.

The options say which server it is, and so the path and the header of the credentials:

================================== ===================== ======================================
options                            path                  credentials
================================== ===================== ======================================
``bucket``, ``org`` if it has one  ``/api/v2/write``     a token: InfluxDB 2
``database`` and a secret          ``/api/v3/write_lp``  a token: InfluxDB 3
``database`` and ``user``          ``/write``            a password: InfluxDB 1
no ``database``, or no secret      ``/write``            none, or ``user``: VictoriaMetrics
================================== ===================== ======================================

A point that is sent again takes the place of the one before. What a server says about a line stands in no error: it
may quote the line.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from worker.clients.guarded_http import GuardedHttp
from worker.clients.guarded_socket import AddressRefused
from worker.domain.clock import Clock
from worker.domain.networks import HOME_NETWORKS, Network
from worker.domain.retry import retry_after_s
from worker.errors import AnswerTooLarge, NotDelivered, SupplierTooSlow
from worker.outputs.base import Change, OutputRefused
from worker.outputs.options import OutputKind, OutputOptions, OutputParts
from worker.outputs.points import to_lines
from worker.stores.measures.measure_store import MeasureStore

_MOST_LINES: Final = 5_000
_TIMEOUTS_S: Final = (5.0, 20.0)
_COMMENT: Final = "# Releve"  # A write without a point: its answer tells whether the credentials are right.
_BEYOND_RETENTION: Final = "beyond retention policy"
_TYPE_CONFLICT: Final = "field type conflict"
_TOO_LARGE: Final = 413


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """Where lines are written to: the URL's parts, and the credentials."""

    url: str = field(repr=False)
    parameters: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def to_target(options: OutputOptions) -> WriteTarget:
    """Return the target that these options name. Raises ValueError with one line."""
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or parts.query or parts.fragment:
        raise ValueError("the address must look like https://HOST:8086, without parameters")
    if parts.username or parts.password:
        raise ValueError(
            "the address must not contain a user or password: give the option user, and the password as the secret"
        )
    url, more = options.url.rstrip("/"), options.more
    database, bucket, user = (more.get(name) for name in ("database", "bucket", "user"))
    if database and bucket:
        raise ValueError("InfluxDB 2 has a bucket, InfluxDB 1 and 3 a database: give only one of the two options")
    if options.secret and not user and not (options.secret.isascii() and options.secret.isprintable()):
        raise ValueError("a token must have printable ASCII characters only")
    if bucket:
        if not options.secret:
            raise ValueError("a bucket needs a token as the secret")
        names = {"org": more["org"]} if more.get("org") else {}
        headers = {"Authorization": f"Token {options.secret}"}
        return WriteTarget(f"{url}/api/v2/write", {**names, "bucket": bucket, "precision": "s"}, headers)
    if user:
        if not options.secret:
            raise ValueError("the option user needs a password as the secret")
        names = {"db": database} if database else {}
        login = base64.b64encode(f"{user}:{options.secret}".encode()).decode()
        return WriteTarget(f"{url}/write", {**names, "precision": "s"}, {"Authorization": f"Basic {login}"})
    if database and options.secret:
        headers = {"Authorization": f"Bearer {options.secret}"}
        return WriteTarget(f"{url}/api/v3/write_lp", {"db": database, "precision": "second"}, headers)
    if options.secret:
        raise ValueError("a secret needs the option bucket, database or user")
    return WriteTarget(f"{url}/write", {**({"db": database} if database else {}), "precision": "s"})


@dataclass(frozen=True, kw_only=True)
class LineProtocolOutput:
    """A server of time series. ``ca_file``: the certificates that are trusted for it in place of the system's."""

    target: WriteTarget
    measures: MeasureStore
    now: Clock
    networks: Sequence[Network] = ()
    ca_file: str | None = None
    most_lines: int = _MOST_LINES

    def check(self) -> str:
        with self._session() as session:
            answer = self._post(session, [_COMMENT])
        if answer.status_code != requests.codes.bad_request:  # InfluxDB 2 calls a write without a point a bad one.
            self._require_success(answer)
        return "the server accepts data with these options"

    def send(self, changes: Sequence[Change]) -> None:
        lines = chain.from_iterable(to_lines(change, self.measures) for change in changes)
        with self._session() as session:
            for batch in _batches(lines, self.most_lines):
                self._write(session, batch)

    def _write(self, session: requests.Session, lines: Sequence[str]) -> None:
        answer = self._post(session, lines)
        if answer.status_code == _TOO_LARGE and len(lines) > 1:
            middle = len(lines) // 2
            self._write(session, lines[:middle])
            self._write(session, lines[middle:])
            return
        self._require_success(answer)

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # A proxy could call private networks.
        for scheme in ("http://", "https://"):
            session.mount(scheme, GuardedHttp(self.networks))
        return session

    def _post(self, session: requests.Session, lines: Sequence[str]) -> requests.Response:
        target = self.target
        body = "".join(f"{line}\n" for line in lines).encode()
        try:
            return session.post(
                target.url,
                params=target.parameters,
                data=body,
                headers={"Content-Type": "text/plain; charset=utf-8", "User-Agent": "Releve", **target.headers},
                timeout=_TIMEOUTS_S,
                verify=self.ca_file or True,
                allow_redirects=False,  # Another host would get the credentials.
            )
        except AddressRefused as error:
            raise OutputRefused(f"the server has {error}: see RELEVE_WEBHOOK_NETWORKS") from None
        except requests.exceptions.SSLError:
            raise OutputRefused(
                "the server's certificate is not trusted: set the option ca_file to its authority's certificate"
            ) from None
        except (requests.RequestException, HTTPError, SupplierTooSlow, AnswerTooLarge) as error:
            # The text of the error may quote the address.
            raise NotDelivered(f"the server can't be reached: {type(error).__name__}") from None
        except OSError:
            raise OutputRefused("the file of the option ca_file can't be read") from None

    def _require_success(self, answer: requests.Response) -> None:
        status, text = answer.status_code, answer.text[:10_000]
        if 200 <= status < 300 or (400 <= status < 500 and _BEYOND_RETENTION in text):
            return  # Points older than the server keeps are dropped by it, and all others are written.
        if status == requests.codes.too_many_requests:
            raise NotDelivered("the server asks to wait", retry_after_s(answer.headers, self.now()))
        if status >= 500 or status == requests.codes.request_timeout:
            raise NotDelivered(f"the server answers with status {status}")
        raise OutputRefused(_advice(status, text))


def _advice(status: int, text: str) -> str:
    """Return what to do about a refusal, without the server's own text."""
    match status:
        case 401 | 403:
            return f"the server refuses the credentials, or they may not write (status {status})"
        case 404:
            return (
                "the server has no such database or bucket, or the options are for another kind of server (status 404)"
            )
        case 413:
            return "the server refuses even a single line as too large (status 413)"
        case _ if _TYPE_CONFLICT in text:
            return "the measurements have fields of another type: give Relève its own database"
        case _ if 300 <= status < 400:
            return f"the server redirects (status {status}): give the final address"
        case _:
            return f"the server refuses the lines (status {status})"


def _batches(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(islice(lines, size)):
        yield batch


def build(options: OutputOptions, parts: OutputParts) -> LineProtocolOutput:
    """Build the output of these options. Raises ValueError."""
    return LineProtocolOutput(
        target=to_target(options),
        measures=parts.measures,
        now=parts.now,
        networks=(*parts.networks, *HOME_NETWORKS) if parts.any_private else parts.networks,
        ca_file=options.more.get("ca_file"),
    )


KIND: Final = OutputKind(
    name="line-protocol",
    title="InfluxDB, VictoriaMetrics",
    url_help="such as https://influxdb.example:8086",
    secret="password or token; empty for none",  # noqa: S106 - what is asked for
    options={
        "bucket": "InfluxDB 2: the bucket",
        "org": "InfluxDB 2: the organization",
        "database": "InfluxDB 1 and 3: the database",
        "user": "InfluxDB 1, or a proxy in front of the server: the user of the password",
        "ca_file": "file with the certificate of the server's authority",
    },
    build=build,
)
