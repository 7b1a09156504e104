"""Relève's side: the same syncs by the walk without the queue, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.common import TODAY, morning
from benchmarks.original.theirs import Sync
from config.settings import Settings
from worker.domain.accounts import Account
from worker.domain.answers import Answer
from worker.domain.batches import Report
from worker.domain.documents import key_of
from worker.domain.readings import DateWindow, Period, Series
from worker.inline import Inline
from worker.runtime import SUPPLIER, Runtime
from worker.sync import Supplier
from worker.truth import Content

METER: Final = "30000000000001"


@dataclass
class AtHand:
    """The supplier's answers to each window, as the original has its rows: asked for once, then free."""

    known: dict[tuple[Series, DateWindow], Answer] = field(default_factory=dict)

    def before(self, supplier_of: Callable[[Account], Supplier]) -> Callable[[Account], Supplier]:
        return lambda account: _Remembering(supplier_of(account), self.known)


@dataclass
class _Remembering:
    supplier: Supplier
    known: dict[tuple[Series, DateWindow], Answer]

    def daily_consumption(self, usage_point_id: str, window: DateWindow) -> Answer:
        return self._answer(Series.DAILY, window, lambda: self.supplier.daily_consumption(usage_point_id, window))

    def load_curve(self, usage_point_id: str, window: DateWindow) -> Answer:
        return self._answer(Series.LOAD_CURVE, window, lambda: self.supplier.load_curve(usage_point_id, window))

    def _answer(self, series: Series, window: DateWindow, ask: Callable[[], Answer]) -> Answer:
        if (series, window) not in self.known:
            self.known[series, window] = ask()
        return self.known[series, window]


@dataclass(frozen=True)
class House:
    """One new account in an empty registry; its measures are wherever ``settings`` says."""

    runtime: Runtime
    account_id: str

    def first(self) -> Sync:
        """The whole history."""
        return self._sync(Inline.history)

    def unchanged(self) -> Sync:
        """A night's windows."""
        return self._sync(Inline.look_back)

    def content(self) -> Content:
        stored = {period: store.read(self.account_id, "0", "~") for period, store in self.runtime.measures.items()}
        return {period: {key_of(found): found["load"] for found in stored[period]} for period in Period}

    def _sync(self, walk: Callable[[Inline, str], Iterator[Report]]) -> Sync:
        here = Inline(self.runtime, say=lambda line: None)
        began, used = time.perf_counter(), time.process_time()
        reports = list(walk(here, self.account_id))
        sync = Sync(time.perf_counter() - began, time.process_time() - used, sum(done["created"] for done in reports))
        if here.failures:
            raise RuntimeError(f"the sync failed: {here.failures}")
        return sync


@contextmanager
def house(folder: Path, settings: Mapping[str, Any], at_hand: AtHand | None = None) -> Iterator[House]:
    """With ``at_hand`` no time goes into asking the supplier, but for what is not known yet."""
    given = {"data_dir": folder, "pretend_now": morning(TODAY), "calls_per_second": 0, "calls_per_hour": 0, **settings}
    with Runtime(Settings.from_env(_env_file=None, **given)) as runtime:
        if at_hand is not None:
            runtime.walk = replace(runtime.walk, supplier_of=at_hand.before(runtime.walk.supplier_of))
        account, _ = runtime.registry.add(SUPPLIER, METER, runtime.now(), token_needed=False)
        yield House(runtime, account.id)
