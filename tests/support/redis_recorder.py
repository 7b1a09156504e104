"""Hears all that is said to a Redis: every message, event, result and note, however short-lived."""

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
_QUIT: Final = "that-was-all"


@dataclass
class Overheard:
    """``commands`` as they came, ``tasks`` and ``events`` what Celery's messages carry: unpacked, as text."""

    commands: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def take(self, command: str) -> None:
        self.commands.append(command)
        for body in _BODY.findall(command):
            messages = self.tasks if '"argsrepr"' in command else self.events
            messages.append(_unpacked(base64.b64decode(body)))


@contextmanager
def overhear(url: str) -> Iterator[Overheard]:
    """From here to the end of the block; what was said is complete when it ends."""
    heard = Overheard()
    parts = urlsplit(url)
    with (
        redis.Redis.from_url(url) as client,
        socket.create_connection((parts.hostname or "", parts.port or 0)) as line,
        line.makefile("rwb") as stream,
    ):
        stream.write(f"AUTH {parts.password}\r\nMONITOR\r\n".encode())
        stream.flush()
        assert [stream.readline(), stream.readline()] == [b"+OK\r\n"] * 2
        listener = threading.Thread(target=_listen, args=(stream, heard), daemon=True)
        listener.start()
        try:
            yield heard
        finally:
            client.echo(_QUIT)
            listener.join(20)
            assert not listener.is_alive()


def _listen(stream: Iterator[bytes], heard: Overheard) -> None:
    for said in stream:
        command = said.decode("unicode_escape")  # signs beyond ASCII are escaped, as are quotes
        if _QUIT in command:
            return
        heard.take(command)


def _unpacked(body: bytes) -> str:
    with suppress(zlib.error):  # small ones and events are sent as they are
        body = zlib.decompress(body)
    return json.dumps(json.loads(body), ensure_ascii=False)
