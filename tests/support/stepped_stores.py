"""Workers that stop before each call to the store, so that a test decides which one goes on and which one is killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Thread, local
from typing import Any, Final

from worker.stores.measures.measure_store import Document

# A worker that neither stops nor ends is an error of the test, which then fails.
LONGEST_WAIT_S: Final = 30.0
_here = local()


class Killed(BaseException):
    """The death of the worker; nothing in the code under test may catch it."""


class SteppedWorker:
    """A worker that runs ``work`` in its own thread, one call to the store at a time."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: Exception | None = None
        self.ended = False
        self._work = work
        self._go, self._stopped = Event(), Event()
        self._writes_before_death: int | None = None
        Thread(target=self._run, daemon=True).start()
        self._wait()

    def advance(self) -> None:
        """Go on to the next call to the store, or to the end."""
        if not self.ended:
            self._stopped.clear()
            self._go.set()
            self._wait()

    def kill(self, written_before: int = 0) -> None:
        """Kill the worker at its current call; of a bulk write, the first ``written_before`` documents are written."""
        self._writes_before_death = written_before
        self.finish()

    def finish(self) -> None:
        while not self.ended:
            self.advance()

    def touch(self) -> int | None:
        """Stop until the test goes on; called by the store.

        Returns None to do the call, or the number of documents to write before the worker dies of it.
        """
        self._stopped.set()
        if not self._go.wait(LONGEST_WAIT_S):
            raise TimeoutError("no test made this worker go on")
        self._go.clear()
        return self._writes_before_death

    def _run(self) -> None:
        _here.worker = self
        try:
            self._work()
        except Killed:
            return
        except Exception as error:  # noqa: BLE001 - The test raises it again.
            self.error = error
        finally:
            self.ended = True
            self._stopped.set()

    def _wait(self) -> None:
        if not self._stopped.wait(LONGEST_WAIT_S):
            raise TimeoutError("this worker neither stopped nor ended")


def stop_at_call(*_: object) -> None:
    """Stop this thread's worker, if it has one, before a call to the store; the worker may die here."""
    if _writes_before_death() is not None:
        raise Killed


def _writes_before_death() -> int | None:
    worker: SteppedWorker | None = getattr(_here, "worker", None)
    return worker.touch() if worker is not None else None


class SteppedStore:
    """A database that stops its worker before each call; other threads are not stopped.

    ``inner`` is a MemoryStore, a CouchDatabase or a view of one doctype.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        stop_at_call()
        documents: list[Document] = self.inner.read(account_id, first_key, end_key, limit)
        return documents

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        stop_at_call()
        documents: list[Document] = self.inner.look_up(ids)
        return documents

    def write(self, documents: Sequence[Document]) -> list[Document]:
        written = _writes_before_death()
        if written is None:
            lost: list[Document] = self.inner.write(documents)
            return lost
        # A bulk write is not atomic.
        self.inner.write(documents[:written])
        raise Killed

    def erase(self, account_id: str) -> int:
        stop_at_call()
        return int(self.inner.erase(account_id))
