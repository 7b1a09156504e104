"""A recorder of every command that a Redis receives: messages, events, results and keys, however short-lived."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import redis

_BODY: Final = re.compile(r'"body": "([A-Za-z0-9+/=]*)"')
_LAST_COMMAND: Final = "that-was-all"


@dataclass
class RedisTraffic:
    """Recorded commands as text, and the bodies of Celery's messages in them, unpacked: tasks and events."""

    commands: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def add_command(self, command: str) -> None:
        self.commands.append(command)
        for body in _BODY.findall(command):
            messages = self.tasks if '"argsrepr"' in command else self.events
            messages.append(_unpack(base64.b64decode(body)))


@contextmanager
def record_traffic(url: str) -> Iterator[RedisTraffic]:
    """Record all commands until the end of the block; the recording is complete after it."""
    traffic = RedisTraffic()
    parts = urlsplit(url)
    with (
        redis.Redis.from_url(url) as client,
        socket.create_connection((parts.hostname or "", parts.port or 0)) as connection,
        connection.makefile("rwb") as stream,
    ):
        stream.write(f"AUTH {parts.password}\r\nMONITOR\r\n".encode())
        stream.flush()
        assert [stream.readline(), stream.readline()] == [b"+OK\r\n"] * 2
        listener = threading.Thread(target=_listen, args=(stream, traffic), daemon=True)
        listener.start()
        try:
            yield traffic
        finally:
            client.echo(_LAST_COMMAND)
            listener.join(20)
            assert not listener.is_alive()


def _listen(stream: Iterator[bytes], traffic: RedisTraffic) -> None:
    for line in stream:
        command = line.decode("unicode_escape")  # MONITOR escapes quotes and bytes beyond ASCII.
        if _LAST_COMMAND in command:
            return
        traffic.add_command(command)


def _unpack(body: bytes) -> str:
    with suppress(zlib.error):  # Events and small messages are not compressed.
        body = zlib.decompress(body)
    return json.dumps(json.loads(body), ensure_ascii=False)
