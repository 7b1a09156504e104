"""Relève's side: the same syncs in this process, without the queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.common import TODAY, morning
from benchmarks.original.theirs import SyncMeasurement
from config.settings import Settings
from drill.expected_documents import Loads
from tests.support.parts import Parts
from worker.clients.enedis import ENEDIS
from worker.clients.supplier import SupplierClient
from worker.domain.account import Account
from worker.domain.answers import Answer
from worker.domain.documents import ALL_KEYS, key_of
from worker.domain.messages import WindowResult
from worker.domain.series import Doctype, Series
from worker.domain.windows import DateWindow
from worker.runtime.sync_parts import build_inline
from worker.sync.inline import Inline

METER: Final = "30000000000001"


@dataclass
class AnswerCache:
    """The supplier's answer to each window, requested once; the original has its rows in memory as well."""

    answers: dict[tuple[Series, DateWindow], Answer] = field(default_factory=dict)

    def wrap(self, supplier_of: Callable[[Account], SupplierClient]) -> Callable[[Account], SupplierClient]:
        return lambda account: _CachingSupplier(supplier_of(account), self.answers)


@dataclass
class _CachingSupplier:
    supplier: SupplierClient
    answers: dict[tuple[Series, DateWindow], Answer]

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        if (series, window) not in self.answers:
            self.answers[series, window] = self.supplier.ask(series, usage_point_id, window)
        return self.answers[series, window]


@dataclass(frozen=True)
class ReleveHome:
    """A new account in an empty registry; the settings say where its measures are."""

    parts: Parts
    account_id: str

    def first_sync(self) -> SyncMeasurement:
        """Load the whole history."""
        return self._sync(lambda inline: inline.run_history(self.account_id))

    def unchanged_sync(self) -> SyncMeasurement:
        """Sync a night's windows."""
        return self._sync(lambda inline: inline.run_look_back(self.account_id))

    def content(self) -> Loads:
        stored = self.parts.stores.measures.read(self.account_id, dict.fromkeys(Doctype, ALL_KEYS))
        return {doctype: {key_of(document): document["load"] for document in stored[doctype]} for doctype in Doctype}

    def _sync(self, start_sync: Callable[[Inline], Iterator[WindowResult]]) -> SyncMeasurement:
        inline = build_inline(self.parts.stores, self.parts.sync, print_line=lambda line: None)
        started_at, cpu_before = time.perf_counter(), time.process_time()
        reports = list(start_sync(inline))
        sync = SyncMeasurement(
            time.perf_counter() - started_at,
            time.process_time() - cpu_before,
            sum(report["created"] for report in reports),
        )
        if inline.failures:
            raise RuntimeError(f"the sync failed: {inline.failures}")
        return sync


@contextmanager
def open_home(
    folder: Path, settings: Mapping[str, Any], answer_cache: AnswerCache | None = None
) -> Iterator[ReleveHome]:
    """Yield an account in parts of its own; with ``answer_cache`` the supplier is asked once for each window."""
    settings_here = {
        "data_dir": folder,
        "pretend_now": morning(TODAY),
        "calls_per_second": 0,
        "calls_per_hour": 0,
        **settings,
    }
    with Parts(Settings.from_env(_env_file=None, **settings_here)) as parts:
        if answer_cache is not None:
            parts.sync.window = replace(parts.sync.window, supplier_of=answer_cache.wrap(parts.sync.window.supplier_of))
        account, _ = parts.stores.registry.accounts.add(ENEDIS.name, METER, parts.stores.now(), token_needed=False)
        yield ReleveHome(parts, account.id)
