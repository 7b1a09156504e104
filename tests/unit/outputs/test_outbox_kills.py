"""The outbox as a model: windows are killed anywhere, deliveries fail, and the receiver has the store's state at last.

A window that was killed after its write is run again and finds nothing to change (rule K3): without the note before the
write, nobody would send what it wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.factories import NOW, MemoryRecorder, PretendSupplier, content, serving_days, window_job
from tests.support.fakes import memory_measures
from tests.support.killed_windows import PLACES, KillableOutbox, KillableStore, Killed
from tests.support.profiles import examples
from tests.support.registries import add_ready, prepare_registry, registry_keys, registry_sealer
from worker.domain.documents import ALL_KEYS, key_of, start_of
from worker.domain.messages import WindowResult
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.outputs.output import Change, OutputAccount
from worker.stores.database import Database
from worker.stores.registry import Registry
from worker.stores.registry.outputs import OutputTable
from worker.sync.window import WindowSync

DAYS: Final = [date(2024, 7, 10) + number * ONE_DAY for number in range(6)]
EXPIRY: Final = timedelta(minutes=15)


class World(KillableStore):
    """A registry with one account and one output, a store, a supplier, and a receiver that keeps what it is sent."""

    def __init__(self, folder: Path, *, noting: bool = True) -> None:
        prepare_registry(folder)
        self.at, self.place, self.values = NOW, "", 0
        self.registry = Registry(Database(f"sqlite:///{folder / 'registry.db'}"), registry_keys())
        self.outputs = OutputTable(self.registry.database, registry_sealer(), EXPIRY)
        self.outbox = KillableOutbox(self.registry.database, lambda: self.at, EXPIRY)
        self.outbox.after_note = lambda: self.die("note")
        self.account = add_ready(self.registry)
        self.output = self.outputs.insert("webhook", {}, NOW)
        self.store = memory_measures()
        self.supplier: dict[date, int] = {}
        self.received: dict[str, float] = {}
        self.noting = noting

    def window(self, first: int, length: int, place: str = "") -> None:
        """Run a window, which is killed after ``place``; a killed one is not run again by itself."""
        self.place, self.outbox.dead = place, False
        world, recorder = self, MemoryRecorder()

        class Recorder(MemoryRecorder):
            def record_result(self, result: WindowResult) -> None:
                recorder.record_result(result)
                world.die("result")

        supplier = PretendSupplier(daily=serving_days(dict(self.supplier)))
        window = DateWindow(DAYS[first], DAYS[min(first + length, len(DAYS)) - 1] + ONE_DAY)
        window_sync = WindowSync(
            accounts=self.registry.accounts,
            supplier_of=lambda _: supplier,
            measures=self,  # type: ignore[arg-type]
            recorder=Recorder(),
            now=lambda: self.at,
            outbox=self.outbox if self.noting else None,
        )
        try:
            window_sync.sync_window(window_job(window, Series.DAILY, self.account))
        except Killed:
            pass
        finally:
            self.place, self.outbox.dead = "", False

    def send(self, changes: Sequence[Change], meanwhile: Callable[[], None]) -> None:
        for change in changes:
            documents = self.store.read(self.account, {Doctype.DAY: ALL_KEYS})[Doctype.DAY]
            meanwhile()
            in_part = {key: load for key, load in self.received.items() if change.first <= start_of(key) <= change.last}
            for key in in_part:
                del self.received[key]
            for document in documents:
                if change.first <= start_of(key_of(document)) <= change.last:
                    self.received[key_of(document)] = document["load"]

    def deliver(self, meanwhile: Callable[[], None] = lambda: None, *, fails: bool = False) -> bool:
        waiting = self.outbox.next_changes(self.output)
        account = OutputAccount(self.account, self.account)
        self.send([Change(account, row.series, row.first, row.last) for row in waiting], meanwhile)
        if waiting and not fails:
            self.outbox.delete_sent(waiting)
        return bool(waiting)

    def settle(self) -> None:
        """Wait until every killed window counts as killed, and deliver all that waits."""
        self.at += EXPIRY + timedelta(seconds=1)
        for _ in range(3):
            self.deliver()
        assert not self.deliver()

    def stored(self) -> dict[str, float]:
        return content(self.store, self.account)[Doctype.DAY]


WINDOW = st.tuples(st.integers(0, 5), st.integers(1, 6), st.sampled_from(("", *PLACES)))
EVENT = st.one_of(
    st.tuples(st.just("corrects"), st.integers(0, 5)),
    st.tuples(st.just("window"), WINDOW),
    st.tuples(st.just("delivers"), st.sampled_from((False, True)), st.one_of(st.none(), WINDOW)),
    st.tuples(st.just("waits"), st.integers(1, 20)),
)


def run_events(world: World, events: Sequence[Any]) -> None:
    for kind, *what in events:
        world.at += timedelta(seconds=1)
        match kind:
            case "corrects":
                world.values += 1
                world.supplier[DAYS[what[0]]] = 1000 * world.values
            case "window":
                world.window(*what[0])
            case "delivers":
                fails, window = what
                meanwhile = (lambda window=window: world.window(*window)) if window else (lambda: None)
                world.deliver(meanwhile, fails=fails)
            case "waits":
                world.at += timedelta(minutes=what[0])
        rows = world.outputs.get(world.output).waiting
        assert rows <= 1, "the outbox grows"


KILLED_AND_DONE_AGAIN: Final = [("corrects", 1), ("window", (0, 6, "write")), ("window", (0, 6, ""))]


@settings(max_examples=examples(100), suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, max_size=12))
@example([*KILLED_AND_DONE_AGAIN, ("delivers", False, None)])
@example([("corrects", 1), ("window", (0, 6, "half")), ("waits", 20), ("delivers", False, (0, 6, ""))])
@example([("corrects", 1), ("window", (0, 6, "")), ("corrects", 1), ("delivers", False, (0, 6, "write"))])
@example([("corrects", 1), ("window", (0, 6, "note")), ("waits", 20), ("delivers", True, None)])
def test_whatever_is_killed_the_receiver_has_the_state_of_the_store_at_last(events: Sequence[Any]) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        run_events(world, events)
        world.settle()
        assert world.received == world.stored()
        world.registry.database.close()


def test_a_window_that_finds_nothing_to_change_would_not_have_told(tmp_path: Path) -> None:
    """Show that the test above can fail: without a note, what a killed window has written is never sent."""
    world = World(tmp_path, noting=False)
    run_events(world, KILLED_AND_DONE_AGAIN)
    world.settle()
    assert world.stored() == {"2024-07-11": 1.0} and world.received == {}
    world.registry.database.close()


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_window_is_sent_once_it_counts_as_killed(tmp_path: Path, place: str) -> None:
    world = World(tmp_path)
    world.supplier[DAYS[2]] = 7000
    world.window(0, 6, place)
    assert not world.deliver()  # Nobody knows whether it writes still.
    world.settle()
    assert world.received == world.stored()
    world.registry.database.close()


def test_what_did_not_change_is_not_sent(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.supplier = dict.fromkeys(DAYS, 5000)
    world.window(0, 6)
    world.settle()
    world.window(0, 6)
    assert world.outbox.next_changes(world.output) == []
    world.supplier[DAYS[3]] = 6000
    world.window(0, 6)
    (change,) = world.outbox.next_changes(world.output)
    assert change.first == change.last == start_of("2024-07-13")
    world.registry.database.close()
