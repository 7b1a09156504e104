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
from worker.cli.totals_check import Content
from worker.domain.consent.accounts import Account
from worker.domain.measures.answers import Answer
from worker.domain.measures.documents import key_of
from worker.domain.measures.messages import WindowResult
from worker.domain.measures.readings import DateWindow, Period, Series
from worker.runtime.process import SUPPLIER, Runtime
from worker.sync.inline import Inline
from worker.sync.window import SupplierClient

METER: Final = "30000000000001"


@dataclass
class AtHand:
    """The supplier's answers to each window, as the original has its rows: asked for once, then free."""

    known: dict[tuple[Series, DateWindow], Answer] = field(default_factory=dict)

    def before(self, supplier_of: Callable[[Account], SupplierClient]) -> Callable[[Account], SupplierClient]:
        return lambda account: _Remembering(supplier_of(account), self.known)


@dataclass
class _Remembering:
    supplier: SupplierClient
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
    """New accounts in an empty registry; their measures are wherever ``settings`` says."""

    runtime: Runtime
    account_ids: list[str]

    @property
    def account_id(self) -> str:
        """Of the home that everything but an unchanged sync is about."""
        return self.account_ids[0]

    def first(self) -> Sync:
        """The whole history."""
        return self._sync(lambda here: here.history(self.account_id))

    def unchanged(self) -> Sync:
        """A night's windows of all homes in one go."""
        return self._sync(lambda here: here.look_back(*self.account_ids))

    def spread(self) -> None:
        """All homes have the same consumption, straight into the stores."""
        for store in self.runtime.measures.values():
            documents = [
                {name: value for name, value in found.items() if name != "_rev"}
                for found in store.read(self.account_id, "0", "~")
            ]
            for home in self.account_ids[1:]:
                named = {"source_account": home}
                store.write([{**each, "_id": f"{home}:{key_of(each)}", **named} for each in documents])

    def content(self, account_id: str | None = None) -> Content:
        home = account_id or self.account_id
        stored = {period: store.read(home, "0", "~") for period, store in self.runtime.measures.items()}
        return {period: {key_of(found): found["load"] for found in stored[period]} for period in Period}

    def _sync(self, walk: Callable[[Inline], Iterator[WindowResult]]) -> Sync:
        here = Inline(self.runtime, say=lambda line: None)
        began, used = time.perf_counter(), time.process_time()
        reports = list(walk(here))
        sync = Sync(time.perf_counter() - began, time.process_time() - used, sum(done["created"] for done in reports))
        if here.failures:
            raise RuntimeError(f"the sync failed: {here.failures}")
        return sync


@contextmanager
def house(folder: Path, settings: Mapping[str, Any], at_hand: AtHand | None = None, homes: int = 1) -> Iterator[House]:
    """With ``at_hand`` no time goes into asking the supplier, but for what is not known yet."""
    given = {"data_dir": folder, "pretend_now": morning(TODAY), "calls_per_second": 0, "calls_per_hour": 0, **settings}
    with Runtime(Settings.from_env(_env_file=None, **given)) as runtime:
        if at_hand is not None:
            runtime.walk = replace(runtime.walk, supplier_of=at_hand.before(runtime.walk.supplier_of))
        meters = (f"{int(METER) + number:014}" for number in range(homes))
        added = [runtime.registry.add(SUPPLIER, meter, runtime.now(), token_needed=False) for meter in meters]
        yield House(runtime, [account.id for account, _ in added])
