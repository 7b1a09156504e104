"""A server with Home Assistant's WebSocket protocol, which refuses the same commands as Home Assistant.

Source: homeassistant/components/{websocket_api,recorder} of 2025.10, 2025.11 and 2026.2, whose answers it imitates, and
the changes announced for 2026.11 (developers.home-assistant.io/blog/2025/10/16/recorder-statistics-api-changes).
"""

from __future__ import annotations

import json
import re
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from worker.domain.windows import PARIS

TOKEN = "long-lived-token-of-the-tests"
NEWEST = "2026.11.0"
_STATISTIC_ID = re.compile(r"(?!.+__)(?!_)[\da-z_]+(?<!_):(?!_)[\da-z_]+(?<!_)")
_UNITS = {"energy": {"Wh", "kWh", "MWh"}, "volume": {"L", "m³", "ft³"}, None: None}
_HOUR = timedelta(hours=1)

Message = dict[str, Any]


class StoredRow(NamedTuple):
    state: float | None
    sum: float | None


class Refused(Exception):
    """A command that Home Assistant refuses: its code, and the text."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


@dataclass
class HomeAssistantServer:
    """The server's data, and the behaviour that a test has chosen.

    ``rows``: by identifier and hour, in UTC. ``messages``: every received command. ``closes_after``: how many commands
    of ``recorder/import_statistics`` are answered before it closes the connection in the middle of one, which is
    written if ``writes_last``. ``reads_until_written``: the number of reads before accepted rows are written.
    """

    version: str = NEWEST
    state: str = "RUNNING"
    is_admin: bool = True
    has_recorder: bool = True
    closes_after: int | None = None
    writes_last: bool = False
    reads_until_written: int = 0
    greeting: str | None = None
    url: str = ""
    rows: dict[str, dict[datetime, StoredRow]] = field(default_factory=lambda: defaultdict(dict))
    metadata: dict[str, Message] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    unwritten: list[Message] = field(default_factory=list)

    def changes_by_day(self, identifier: str) -> dict[str, float]:
        """Return the energy dashboard's value of each local day: the growth of the sum in its hours."""
        changes: dict[str, float] = defaultdict(float)
        before = 0.0
        for start, row in sorted(self.rows[identifier].items()):
            assert row.sum is not None
            changes[start.astimezone(PARIS).date().isoformat()] += row.sum - before
            before = row.sum
        return {day: round(change, 6) for day, change in changes.items()}

    def serve_connection(self, socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            self._serve(socket)

    def _serve(self, socket: ServerConnection) -> None:
        if self.greeting is not None:
            socket.send(self.greeting)
            socket.recv()
            return
        socket.send(json.dumps({"type": "auth_required", "ha_version": self.version}))
        if json.loads(socket.recv()) != {"type": "auth", "access_token": TOKEN}:
            socket.send(json.dumps({"type": "auth_invalid", "message": "Invalid access token or password"}))
            return
        socket.send(json.dumps({"type": "auth_ok", "ha_version": self.version}))
        last_id = 0
        while True:
            message = json.loads(socket.recv())
            if type(message.get("id")) is not int or message["id"] <= last_id:
                raise AssertionError("identifiers must rise")
            last_id = message["id"]
            self.messages.append(message)
            if (answer := self.answer(message)) is None:
                return
            socket.send(json.dumps({"id": last_id, "type": "result", **answer}))

    def answer(self, message: Message) -> Message | None:
        """Return the answer to a command; None if the connection closes instead."""
        commands: dict[str, Callable[[Message], Any]] = {
            "get_config": lambda _: {"version": self.version, "state": self.state, "location_name": "Home"},
            "auth/current_user": lambda _: {"id": "u", "name": "Tester", "is_admin": self.is_admin},
        }
        if self.has_recorder:
            commands |= {
                "recorder/info": lambda _: {"recording": True, "thread_running": True, "backlog": 0},
                "recorder/list_statistic_ids": lambda _: list(self.metadata.values()),
                "recorder/get_statistics_metadata": self._describe,
                "recorder/statistics_during_period": self._read,
                "recorder/import_statistics": self._import,
            }
        if message["type"] == "recorder/import_statistics" and self.closes_after is not None:
            if self.closes_after == 0:
                if self.writes_last:
                    self._import(message)
                return None
            self.closes_after -= 1
        try:
            if message["type"] not in commands:
                raise Refused("unknown_command")
            return {"success": True, "result": commands[message["type"]](message)}
        except Refused as error:
            return {"success": False, "error": {"code": error.code, "message": error.text}}

    def _import(self, message: Message) -> None:
        if not self.is_admin:
            raise Refused("unauthorized")
        metadata, stats = message["metadata"], message["stats"]
        if set(message) != {"id", "type", "metadata", "stats"}:
            raise Refused("invalid_format", "extra keys not allowed")
        self._check_metadata(metadata)
        for row in stats:
            _check_row(row)
        self.unwritten.append(message)
        if not self.reads_until_written:
            self._write()

    def _check_metadata(self, metadata: Message) -> None:
        year, month = map(int, self.version.split(".")[:2])
        needed = {"has_sum", "name", "source", "statistic_id", "unit_of_measurement"}
        if (year, month) < (2025, 11):
            needed.add("has_mean")
        else:
            needed |= {"mean_type", "unit_class"}
        if set(metadata) != needed:
            raise Refused("invalid_format", f"not as in {self.version}: {sorted(set(metadata) ^ needed)}")
        if metadata.get("mean_type", 0) not in (0, 1, 2) or type(metadata["has_sum"]) is not bool:
            raise Refused("invalid_format")
        if not _STATISTIC_ID.fullmatch(metadata["statistic_id"]):
            raise Refused("home_assistant_error", "Invalid statistic_id")
        if metadata["source"] != metadata["statistic_id"].partition(":")[0]:
            raise Refused("home_assistant_error", "Invalid source")
        unit_class = metadata.get("unit_class")
        if unit_class not in _UNITS:
            raise Refused("home_assistant_error", "Unsupported unit_class")
        if (units := _UNITS[unit_class]) is not None and metadata["unit_of_measurement"] not in units:
            raise Refused("home_assistant_error", "Unsupported unit_of_measurement")

    def _write(self) -> None:
        for message in self.unwritten:
            identifier = message["metadata"]["statistic_id"]
            self.metadata[identifier] = message["metadata"]
            for row in message["stats"]:
                start = datetime.fromisoformat(row["start"]).astimezone(UTC)
                self.rows[identifier][start] = StoredRow(row.get("state"), row.get("sum"))
        self.unwritten.clear()

    def _describe(self, message: Message) -> list[Message]:
        if set(message) != {"id", "type", "statistic_ids"}:
            raise Refused("invalid_format")
        return [self.metadata[one] for one in message["statistic_ids"] if one in self.metadata]

    def _read(self, message: Message) -> dict[str, list[Message]]:
        if self.reads_until_written:
            self.reads_until_written -= 1
        if not self.reads_until_written:
            self._write()
        if message["period"] != "hour" or not message["statistic_ids"]:
            raise Refused("invalid_format")
        first = datetime.fromisoformat(message["start_time"])
        end = datetime.fromisoformat(message.get("end_time", "9999-01-01T00:00:00+00:00"))
        return {
            identifier: [
                {"start": _ms(start), "end": _ms(start + _HOUR), "state": row.state, "sum": row.sum}
                for start, row in sorted(self.rows[identifier].items())
                if first <= start < end
            ]
            for identifier in message["statistic_ids"]
            if identifier in self.rows
        }


def _check_row(row: Message) -> None:
    if "start" not in row or not set(row) <= {"start", "mean", "min", "max", "last_reset", "state", "sum"}:
        raise Refused("invalid_format")
    if any(type(row[name]) not in (int, float) for name in ("state", "sum") if name in row):
        raise Refused("invalid_format")
    start = datetime.fromisoformat(row["start"])
    if start.tzinfo is None:
        raise Refused("home_assistant_error", "Naive timestamp: no or invalid timezone info provided")
    if start.minute or start.second or start.microsecond:
        raise Refused("home_assistant_error", "Invalid timestamp: timestamps must be from the top of the hour")


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@contextmanager
def home_assistant_server(context: ssl.SSLContext | None = None, **options: Any) -> Iterator[HomeAssistantServer]:
    """Run a server at a free port of this machine; ``url`` is the address of its pages."""
    home_assistant = HomeAssistantServer(**options)
    with serve(home_assistant.serve_connection, "127.0.0.1", 0, ssl=context) as server:
        scheme, port = "https" if context else "http", server.socket.getsockname()[1]
        home_assistant.url = f"{scheme}://127.0.0.1:{port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield home_assistant
        finally:
            server.shutdown()
            thread.join()
