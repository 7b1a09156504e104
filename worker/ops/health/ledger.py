"""Check of the ledger of erasures: without it nothing can be erased, stopped or closed."""

from __future__ import annotations

from collections.abc import Iterator

from worker.errors import WorkerError
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, fail, ok
from worker.runtime.keys import build_erasure_hashes
from worker.stores.ledger_file import LedgerFile


def check_ledger(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the ledger can be written, and that each of its lines is as it was written."""
    path = connections.settings.ledger()
    try:
        position = LedgerFile(path, build_erasure_hashes(connections.settings)).position()
    except WorkerError as error:
        yield fail(str(error))
        return
    yield ok(f"{path}: {position.entries} entries")
