"""Check of the ledger of erasures: without it nothing can be erased, stopped or closed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from worker.errors import WorkerError
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, fail, ok
from worker.runtime.keys import ERASURE_KEYS, build_erasure_hashes
from worker.stores.erasure_ledger import LedgerFile


def check_ledger(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the ledger can be written, and that each of its lines is as it was written. Makes no file."""
    settings = connections.settings
    path = settings.ledger()
    if not path.exists():
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        if os.access(folder, os.W_OK | os.X_OK):
            yield ok(f"none yet: {path} is created at first use")
        else:
            yield fail(f"nothing can be erased, because {path} can't be created: let Relève write to {folder}")
        return
    if not settings.erasure_keys and not (settings.data_dir / ERASURE_KEYS).exists():
        yield fail(f"the keys of {path} are missing: set RELEVE_ERASURE_KEYS, or restore {ERASURE_KEYS}")
        return
    try:
        position = LedgerFile(path, build_erasure_hashes(settings)).position()
    except WorkerError as error:
        yield fail(str(error))
        return
    yield ok(f"{path}: {position.entries} entries")
