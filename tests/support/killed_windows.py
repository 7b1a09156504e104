"""Windows that are killed at any place, with the outbox and the store of such a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from worker.stores.measures.measure_store import NO_ROWS, Rows
from worker.stores.registry.outputs import OutboxTable

PLACES: Final = ("note", "half", "write", "result")  # A window is killed after one of these.


class Killed(BaseException):
    """The sudden end of a worker, after which no more of its code runs."""


class KillableOutbox(OutboxTable):
    """An outbox in which a dead worker closes nothing."""

    dead = False
    after_note: Callable[[], None] = staticmethod(lambda: None)

    def _upsert(self, *args: Any, **options: Any) -> list[str]:
        if self.dead:
            return []
        ids = super()._upsert(*args, **options)
        self.after_note()
        return ids


class KillableStore:
    """A replacement of WindowSync's store; the window dies after ``place``."""

    store: Any
    outbox: KillableOutbox
    place = ""

    def die(self, place: str) -> None:
        if self.place == place:
            self.outbox.dead = True
            raise Killed

    def read(self, *args: Any) -> Any:
        return self.store.read(*args)

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> Any:
        if self.place == "half":
            self.store.write({doctype: rows[: len(rows) // 2] for doctype, rows in documents.items()})
            self.die("half")
        lost = self.store.write(documents, removals)
        self.die("write")
        return lost

    def erase(self, account_id: str) -> int:
        erased: int = self.store.erase(account_id)
        return erased
