"""Measures for a service: signed POST requests, each with at most 5 000 readings of one series of an account.

A request has all stored readings of the span from ``from`` to ``until``. The receiver replaces its readings of this
span: a reading that the request doesn't contain no longer exists. docs/reference/measures-webhook.schema.json describes
the body. Notices have a separate webhook (``accounts.notice_channels``).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import requests

from worker.clients.http_calls import TIMEOUTS_S, BoundedHttp, open_session, post_signed
from worker.domain.documents import USUAL_STEP_MINUTES, Document, key_of, key_range, start_of
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, civil_date, local_midnight
from worker.errors import NotDelivered
from worker.outputs.output import Change, OutputKind, OutputOptions, OutputParts, OutputRefused
from worker.stores.measures.measure_store import MeasureStore

MOST_READINGS: Final = 5_000
SHORTEST_SECRET: Final = 32
_REFUSED: Final = {401: "refuses the signature", 403: "refuses the signature", 404: "has no such path", 410: "is gone"}


@dataclass(frozen=True, kw_only=True)
class MeasuresWebhook:
    """A service that gets the readings of the days with changes."""

    url: str = field(repr=False)  # The path may be a secret of the receiver.
    secret: str = field(repr=False)
    measures: MeasureStore
    most_readings: int = MOST_READINGS
    timeouts_s: tuple[float, float] = TIMEOUTS_S

    def check(self) -> str:
        """Send a signed request of kind ``test``, without readings."""
        with open_session(BoundedHttp()) as session:
            self._post(session, {"id": uuid4().hex, "kind": "test"})
        return "the receiver accepts signed requests"

    def send(self, changes: Sequence[Change]) -> None:
        with open_session(BoundedHttp()) as session:
            for change in changes:
                for body in self._bodies(change):
                    self._post(session, body)

    def _bodies(self, change: Change) -> Iterator[dict[str, Any]]:
        """Yield the bodies for the days of a change; each body begins where the previous body ends."""
        inputs = change.series.inputs
        days = DateWindow(civil_date(change.first), civil_date(change.last) + ONE_DAY)
        (key, end_key), begin = key_range(days, inputs), local_midnight(days.start)
        while True:
            # One more reading than is sent shows where the next request begins.
            page = self.measures.read(change.account.id, {inputs: (key, end_key)}, self.most_readings + 1)[inputs]
            rest = page[self.most_readings :]
            until = start_of(key_of(rest[0])) if rest else local_midnight(days.end)
            yield _to_body(change, begin, until, page[: self.most_readings])
            if not rest:
                return
            key, begin = key_of(rest[0]), until

    def _post(self, session: requests.Session, body: dict[str, Any]) -> None:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        now = int(time.time())  # The real time, because receivers compare it with their own clocks.
        status = post_signed(session, self.url, self.secret, content, now, self.timeouts_s)
        if 200 <= status < 300:
            return
        if status in _REFUSED:
            raise OutputRefused(f"the receiver {_REFUSED[status]} (status {status})")
        if 300 <= status < 400:
            raise OutputRefused(f"the receiver redirects (status {status}): give the final address")
        raise NotDelivered(f"the receiver answers with status {status}")


def _to_body(change: Change, begin: datetime, until: datetime, documents: Sequence[Document]) -> dict[str, Any]:
    series = change.series
    return {
        "id": _identify(change, begin, until, documents),
        "kind": "measures",
        "account": change.account.id,
        "series": series.value,
        "unit": series.description.quantity.load_unit,
        "from": _to_text(begin),
        "until": _to_text(until),
        "readings": [
            {
                "start": _to_text(start_of(key_of(document))),
                "value": document["load"],
                "step": document.get("step", USUAL_STEP_MINUTES) if series.has_steps else None,
            }
            for document in documents
        ],
    }


def _identify(change: Change, begin: datetime, until: datetime, documents: Sequence[Document]) -> str:
    """Return an id that is the same whenever the same state of the same time span is sent.

    A value that was removed and stored again changes the id, because the time of writing is part of the id. Without
    readings the id is random.
    """
    if not documents:
        return uuid4().hex
    of_documents = [[document["_id"], document["load"], document["updated_at"]] for document in documents]
    content = json.dumps([change.series.value, begin.isoformat(), until.isoformat(), of_documents])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _to_text(moment: datetime) -> str:
    return moment.astimezone(PARIS).isoformat(timespec="seconds")


def build(options: OutputOptions, parts: OutputParts) -> MeasuresWebhook:
    """Build the output of these options. Raises ValueError if they are wrong."""
    address = urlsplit(options.url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("the address must be an https:// URL")
    if len(options.secret or "") < SHORTEST_SECRET:
        raise ValueError(
            f"the secret needs at least {SHORTEST_SECRET} characters: make one with `openssl rand -hex 32`"
        )
    return MeasuresWebhook(url=options.url, secret=options.secret or "", measures=parts.measures)


KIND: Final = OutputKind(
    name="webhook",
    title="signed POST requests to a service",
    url_help="the address that gets the requests, such as https://service.example/measures",
    secret="secret that signs the requests, of 32 characters or more",  # noqa: S106 - what is asked for
    build=build,
)
