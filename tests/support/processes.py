"""Processes for tests of what several do at once: they inherit nothing of the test's own process but its arguments."""

from __future__ import annotations

import multiprocessing
from typing import Final

# The modules that they run are imported once, in the process that all are forked from.
NEW_PROCESSES: Final = multiprocessing.get_context("forkserver")
NEW_PROCESSES.set_forkserver_preload(
    [
        "tests.contract.test_registry_database",
        "tests.contract.test_store_processes",
        "tests.unit.stores.test_ledger_file",
    ]
)
