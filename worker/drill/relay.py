"""A relay in front of a TCP server: what comes is passed on, until it is told to refuse, to cut or to stall."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

_CHUNK: Final = 65536


class Line(StrEnum):
    PASS = "pass"  # noqa: S105 - a mode, no secret
    REFUSE = "refuse"  # connections end at once, those that are open too
    STALL = "stall"  # nothing moves, and nobody is told


class TcpRelay:
    """Listens on a port of its own from ``with`` on; the server may go and come back behind it."""

    def __init__(self, port: int) -> None:
        """``port``: the server's, on 127.0.0.1."""
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._line = Line.PASS
        self._moving = asyncio.Event()
        self._moving.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set_line(self, line: Line) -> None:
        self._do(self._set_line(line))

    def cut(self) -> int:
        """End every connection that is open, in the middle of whatever it carries; how many there were."""
        return int(self._do(self._cut()))

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set_line(self, line: Line) -> None:
        self._line = line
        if line is Line.STALL:
            self._moving.clear()
        else:
            self._moving.set()
        if line is Line.REFUSE:
            await self._cut()

    async def _cut(self) -> int:
        count = len(self._open) // 2
        for writer in list(self._open):
            writer.transport.abort()
        return count

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        self._moving.set()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server's callback runs in one
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        if self._line is Line.REFUSE:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is away
            writer.transport.abort()
            return
        ends = {writer, back}
        self._open |= ends
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(_CHUNK):
                await self._moving.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort() if writer.transport.is_closing() else writer.close()
