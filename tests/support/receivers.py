"""Receivers of outputs, in memory: each does what its documentation says, refuses all else, and fails on demand.

Sources: docs.influxdata.com (v1 query and write, v2 write and delete), VictoriaMetrics lib/influxutils/influxutils.go,
docs/reference/measures-webhook.schema.json, and Home Assistant's as in ``home_assistant_server``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import requests

from tests.support.home_assistant_server import HomeAssistantServer
from tests.support.killed_windows import Killed
from tests.support.line_parser import Point, parse_lines
from worker.clients.http_calls import sign_body
from worker.errors import NotDelivered
from worker.outputs.mqtt_client import RetainedMessage

TOKEN: Final = "t0ken-of-series"
FAILURES: Final = ("refused", "answer lost", "killed before", "killed after")
_TIME: Final = r"'(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)'"
_INFLUXQL: Final = re.compile(
    rf"DELETE FROM (\w+) WHERE account = '(\w+)'(?: AND direction = '(\w+)')? AND time >= {_TIME} AND time < {_TIME}"
)


@dataclass
class Receiver:
    """``calls``: how many come through before one fails; None for all. ``failure``: in which way.

    ``meanwhile``: is done before the next call, once.
    """

    calls: int | None = None
    failure: str = ""
    meanwhile: Callable[[], None] | None = None

    def take(self, do: Callable[[], Any]) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        if self.calls is None:
            return do()
        self.calls -= 1
        if self.calls >= 0:
            return do()
        self.calls = None
        if self.failure in ("answer lost", "killed after"):
            do()
        raise Killed if self.failure.startswith("killed") else NotDelivered("it can't be reached")


def _answer(status: int, body: str = "") -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer._content = status, body.encode()
    return answer


@dataclass
class SeriesServer(Receiver):
    """A server of time series. ``kind``: ``1``, ``2``, ``3`` for InfluxDB, ``other`` for VictoriaMetrics' ways.

    ``may_delete``: whether the credentials may. ``asked``: how often they tried. ``ever``: the keys of all points that
    ever came.
    """

    kind: str = "1"
    may_delete: bool = True
    points: dict[Any, Point] = field(default_factory=dict)
    ever: set[Any] = field(default_factory=set)
    asked: int = 0

    def options(self) -> tuple[str | None, dict[str, str]]:
        """Return the secret and the further options of an output to it."""
        return {
            "1": (TOKEN, {"database": "home", "user": "releve"}),
            "2": (TOKEN, {"bucket": "home", "org": "us"}),
            "3": (TOKEN, {"database": "home"}),
            "other": (None, {}),
        }[self.kind]

    def post(self, url: str, params: Mapping[str, str], data: bytes, headers: Mapping[str, str], **_: Any) -> Any:
        return self.take(lambda: self._answer(urlsplit(url).path, dict(params), data, dict(headers)))

    def _answer(self, path: str, parameters: dict[str, str], body: bytes, headers: dict[str, str]) -> requests.Response:
        scheme = {"1": "Basic", "2": "Token", "3": "Bearer"}.get(self.kind)
        if headers.get("Authorization", "").partition(" ")[0] != (scheme or ""):
            return _answer(401)
        named = {"1": {"db"}, "2": {"org", "bucket"}, "3": {"db"}, "other": set[str]()}[self.kind]
        assert named <= set(parameters), "the database is not named"
        match self.kind, path:
            case ("1" | "other", "/write") | ("2", "/api/v2/write") | ("3", "/api/v3/write_lp"):
                for point in parse_lines(body):
                    self.points[point.key] = point
                    self.ever.add(point.key)
                return _answer(204)
            case "1", "/query":
                self.asked += 1
                return self._query(parse_qs(body.decode(), strict_parsing=True)["q"][0])
            case "2", "/api/v2/delete":
                self.asked += 1
                return self._delete_by_predicate(json.loads(body))
            case "other", "/query":
                names = '[{"name":"databases","columns":["name"],"values":[["_internal"]]}]'
                return _answer(200, f'{{"results":[{{"statement_id":0,"series":{names}}}]}}')
            case _:
                return _answer(404)

    def _query(self, text: str) -> requests.Response:
        if not self.may_delete:
            return _answer(403, '{"error":"\\"releve\\" user is not authorized to execute statement"}')
        found = _INFLUXQL.fullmatch(text)
        assert found, f"not InfluxQL as it is documented: {text}"
        name, account, direction, since, until = found.groups()
        tags = {"account": account, **({"direction": direction} if direction else {})}
        self._delete(name, tags, lambda time: _seconds(since) <= time < _seconds(until))
        return _answer(200, '{"results":[{"statement_id":0}]}\n')

    def _delete_by_predicate(self, asked: dict[str, str]) -> requests.Response:
        if not self.may_delete:
            return _answer(403, '{"code":"forbidden","message":"insufficient permissions to delete"}')
        assert set(asked) == {"start", "stop", "predicate"}
        pairs = [re.fullmatch(r'(\w+)="(\w+)"', part) for part in asked["predicate"].split(" AND ")]
        assert all(pairs), f"not a predicate as it is documented: {asked['predicate']}"
        tags = dict(pair.groups() for pair in pairs if pair)
        since, until = _seconds(asked["start"]), _seconds(asked["stop"])
        self._delete(tags.pop("_measurement"), tags, lambda time: since <= time <= until)
        return _answer(204)

    def _delete(self, name: str, tags: Mapping[str, str], is_between: Callable[[int], bool]) -> None:
        for key, point in list(self.points.items()):
            if point.measurement == name and tags.items() <= point.tags.items() and is_between(point.time):
                del self.points[key]


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@dataclass
class WebhookReceiver(Receiver):
    """A service that replaces its data of a request's days. ``readings``: of each series, by their start."""

    readings: dict[str, dict[datetime, tuple[float, int | None]]] = field(default_factory=dict)
    secret: str = "s" * 32

    def post(self, url: str, data: bytes, headers: Mapping[str, str], **_: Any) -> Any:
        return self.take(lambda: self._answer(data, headers))

    def _answer(self, body: bytes, headers: Mapping[str, str]) -> Any:
        signature = next(value for name, value in headers.items() if "ignature" in name)
        assert signature == sign_body(self.secret, int(signature.split(",")[0].removeprefix("t=")), body)
        message = json.loads(body)
        assert message["kind"] == "measures"
        begin, until = (datetime.fromisoformat(message[name]) for name in ("from", "until"))
        held = self.readings.setdefault(message["series"], {})
        for start in [start for start in held if begin <= start < until]:
            del held[start]
        for reading in message["readings"]:
            start = datetime.fromisoformat(reading["start"])
            assert begin <= start < until
            held[start] = reading["value"], reading["step"]
        return nullcontext(_answer(204))


@dataclass
class Broker(Receiver):
    """An MQTT broker that retains messages."""

    retained: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def connect(self, will: RetainedMessage | None = None) -> Iterator[Broker]:
        yield self

    def publish(self, message: RetainedMessage) -> None:
        self.take(lambda: self._retain(message))

    def _retain(self, message: RetainedMessage) -> None:
        self.retained[message.topic] = message.payload
        if not message.payload:  # Nothing of the topic is retained any more.
            del self.retained[message.topic]


@dataclass
class HomeAssistantInMemory(Receiver):
    """A Home Assistant without its socket, as address and session in one."""

    server: HomeAssistantServer = field(default_factory=HomeAssistantServer)
    version: tuple[int, int] = (2026, 11)

    @contextmanager
    def open(self) -> Iterator[HomeAssistantInMemory]:
        yield self

    def call(self, command: str, **parameters: Any) -> Any:
        answer = self.take(lambda: self.server.answer({"id": 1, "type": command, **parameters}))
        assert answer is not None
        assert answer["success"], answer
        return answer["result"]
