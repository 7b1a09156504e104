"""TCP relay in front of a server, which forwards, refuses, cuts or stalls connections."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

_CHUNK: Final = 65536


class RelayMode(StrEnum):
    """What the relay does with data.

    ``REFUSE`` ends all connections at once, also the open ones.  ``STALL`` holds all data back without an error.
    """

    PASS = "pass"  # noqa: S105 - a mode, no secret
    REFUSE = "refuse"
    STALL = "stall"


class TcpRelay:
    """Relay that listens on its own port inside its ``with`` block; the server behind it may stop and start again."""

    def __init__(self, port: int) -> None:
        """Prepare a relay to this port of 127.0.0.1."""
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._mode = RelayMode.PASS
        self._flow_event = asyncio.Event()
        self._flow_event.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set_mode(self, mode: RelayMode) -> None:
        """Change the mode, for open and new connections."""
        self._run(self._set_mode(mode))

    def cut(self) -> int:
        """Abort every open connection and return how many there were."""
        return int(self._run(self._cut()))

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _set_mode(self, mode: RelayMode) -> None:
        self._mode = mode
        if mode is RelayMode.STALL:
            self._flow_event.clear()
        else:
            self._flow_event.set()
        if mode is RelayMode.REFUSE:
            await self._cut()

    async def _cut(self) -> int:
        count = len(self._writers) // 2
        for writer in list(self._writers):
            writer.transport.abort()
        return count

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        self._flow_event.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this callback in a task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._mode is RelayMode.REFUSE:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            # The server is stopped.
            writer.transport.abort()
            return
        ends = {writer, server_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._pump(reader, server_writer), self._pump(server_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(_CHUNK):
                await self._flow_event.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort() if writer.transport.is_closing() else writer.close()
