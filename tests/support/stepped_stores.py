"""Workers that stop before each touch of the store, so that a test decides who moves next and who dies where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Thread, local
from typing import Final

from worker.stores.measures.base import Document, MeasureStore

LONGEST_WAIT_S: Final = 30.0  # a worker that neither stops nor ends is a fault of the test: fail instead
_here = local()


class Killed(BaseException):
    """The worker died here; nothing in the house may catch it."""


class SteppedWorker:
    """Runs ``work`` in a thread of its own, from one touch of the store to the next, when told to."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: Exception | None = None
        self.ended = False
        self._work = work
        self._go, self._stopped = Event(), Event()
        self._doomed_after: int | None = None  # documents written before death
        Thread(target=self._run, daemon=True).start()
        self._wait()

    def advance(self) -> None:
        """To the next touch of the store, or to its end."""
        if not self.ended:
            self._stopped.clear()
            self._go.set()
            self._wait()

    def kill(self, written_before: int = 0) -> None:
        """It dies at the touch where it stands; of a bulk write the first so many documents are in."""
        self._doomed_after = written_before
        self.finish()

    def finish(self) -> None:
        while not self.ended:
            self.advance()

    def touch(self) -> int | None:
        """Called by the store: stop here until told to go on; None to do it, a number to die of it."""
        self._stopped.set()
        if not self._go.wait(LONGEST_WAIT_S):
            raise TimeoutError("nobody told this worker to go on")
        self._go.clear()
        return self._doomed_after

    def _run(self) -> None:
        _here.worker = self
        try:
            self._work()
        except Killed:
            return
        except Exception as error:  # noqa: BLE001 - raised again by the test that owns us
            self.error = error
        finally:
            self.ended = True
            self._stopped.set()

    def _wait(self) -> None:
        if not self._stopped.wait(LONGEST_WAIT_S):
            raise TimeoutError("this worker neither stopped nor ended")


class SteppedStore:
    """A ConsumptionStore that stops its worker before each touch; a thread that is no such worker goes through."""

    def __init__(self, inner: MeasureStore) -> None:
        self.inner = inner

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        if self._fate() is not None:
            raise Killed
        return self.inner.read(account_id, first_key, end_key, limit)

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        if self._fate() is not None:
            raise Killed
        found: list[Document] = self.inner.look_up(ids)  # type: ignore[attr-defined]  # of packs alone
        return found

    def write(self, documents: Sequence[Document]) -> list[Document]:
        written = self._fate()
        if written is None:
            return self.inner.write(documents)
        self.inner.write(documents[:written])  # a bulk write is not atomic
        raise Killed

    def erase(self, account_id: str) -> int:
        if self._fate() is not None:
            raise Killed
        return self.inner.erase(account_id)

    @staticmethod
    def _fate() -> int | None:
        worker: SteppedWorker | None = getattr(_here, "worker", None)
        return worker.touch() if worker is not None else None
