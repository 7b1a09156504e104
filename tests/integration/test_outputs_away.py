"""An output that is away for an hour, or for a week, loses nothing, and comes back in order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import content
from tests.support.fakes import NoLocks, memory_measures
from tests.support.line_server import TOKEN, LineServer, line_server
from tests.support.mosquitto import PASSWORD, USER, Mosquitto
from tests.support.output_home import put_curve, put_days
from tests.support.registries import METER, OTHER_METER, add_ready, new_registry, registry_sealer
from worker.domain.messages import ChangedPart
from worker.domain.series import Doctype, Series
from worker.domain.windows import PARIS, civil_date, local_midnight
from worker.outputs.delivery import OutputDelivery
from worker.outputs.kinds import KINDS
from worker.outputs.output import OutputOptions, OutputParts
from worker.stores.registry import Registry
from worker.stores.registry.outputs import OutboxTable, OutputTable, count_waiting_by_kind

BEGIN = datetime(2024, 10, 21, 5, 30, tzinfo=UTC)
MORNING_HOUR = 7  # In Europe/Paris; the clock begins then.
EXPIRY = timedelta(minutes=15)


class Home:
    """Two accounts whose days come each morning, an outbox and its delivery, on a clock that the test turns."""

    def __init__(self, registry: Registry) -> None:
        self.at, self.registry, self.measures = BEGIN, registry, memory_measures()
        self.accounts = [add_ready(registry, METER), add_ready(registry, OTHER_METER)]
        self.outputs = OutputTable(registry.database, registry_sealer(), EXPIRY)
        self.outbox = OutboxTable(registry.database, self.now, EXPIRY)
        locks: Any = NoLocks(TOKEN)
        self.delivery = OutputDelivery(
            outputs=self.outputs,
            outbox=self.outbox,
            accounts=registry.accounts,
            kinds=KINDS,
            parts=OutputParts(measures=self.measures, now=self.now),
            locks=locks,
            now=self.now,
            notify=lambda state, now: None,
        )
        self._random, self._collected = random.Random(22), civil_date(BEGIN)

    def now(self) -> datetime:
        return self.at

    def add(self, kind: str, options: OutputOptions) -> str:
        return self.outputs.insert(kind, asdict(options), self.at)

    def pass_hours(self, hours: int, every: int = 1) -> None:
        """Let time pass, and deliver ``every`` so many hours; each morning yesterday comes, and a day changes."""
        for _ in range(0, hours, every):
            self.at += timedelta(hours=every)
            if self.at.astimezone(PARIS).hour >= MORNING_HOUR and self._collected < civil_date(self.at):
                self._collected = civil_date(self.at)
                self._collect(self._collected - timedelta(days=1))
                self.delivery.note_daily()
            self.deliver()

    def deliver(self) -> None:
        for output_id in self.outputs.list_due(self.at):
            self.delivery.deliver(output_id)

    def waiting(self) -> int:
        return sum(count_waiting_by_kind(self.registry.database).values())

    def _collect(self, yesterday: date) -> None:
        corrected = yesterday - timedelta(days=self._random.randint(1, 9))
        for account_id in self.accounts:
            watt_hours = {day: self._random.randint(1_000, 30_000) for day in (corrected, yesterday)}
            with self.outbox.noting(account_id, Series.DAILY) as note:
                note(ChangedPart(local_midnight(corrected), local_midnight(yesterday)))
                put_days(self.measures, Series.DAILY, watt_hours, account_id=account_id)
            with self.outbox.noting(account_id, Series.LOAD_CURVE) as note:
                last = local_midnight(yesterday + timedelta(days=1)).astimezone(UTC) - timedelta(minutes=30)
                note(ChangedPart(local_midnight(yesterday), last))
                put_curve(self.measures, [yesterday], self._random.randint(100, 900), account_id)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with new_registry(tmp_path) as registry:
        yield Home(registry)


def require_same(home: Home, server: LineServer) -> None:
    """Require that the server's sums are those of the store, for each account and granularity."""
    names = {
        Doctype.DAY: "day",
        Doctype.MONTH: "month",
        Doctype.YEAR: "year",
        Doctype.MINUTE: "step",
        Doctype.HOUR: "hour",
    }
    for account_id in home.accounts:
        stored = content(home.measures, account_id)
        sent = {doctype: server.total(f"releve_{name}", account_id) for doctype, name in names.items()}
        assert sent == {doctype: pytest.approx(1000 * sum(stored[doctype].values())) for doctype in names}
    assert home.waiting() == 0


@pytest.mark.sockets
@pytest.mark.parametrize(("hours", "every"), [(1, 1), (7 * 24, 6)], ids=["an hour", "a week"])
def test_a_time_series_server_that_was_away_has_everything_in_order(home: Home, hours: int, every: int) -> None:
    with line_server() as server:
        home.add("line-protocol", OutputOptions(server.url, TOKEN, {"bucket": "home"}))
        home.pass_hours(26, 2)
        require_same(home, server)
        home.pass_hours(21, 3)
        server.away, before = True, len(server.writes)  # In the night: each time a morning lies in between.
        home.pass_hours(hours, every)
        assert server.refused and len(server.writes) == before
        assert 0 < home.waiting() <= 4, "a row for each account and series, however long it lasts"
        server.away = False
        home.pass_hours(2)  # More than the longest wait between two tries.
        require_same(home, server)
        for points in server.writes[before:]:
            for name in {point.measurement for point in points}:
                times = [point.time for point in points if point.measurement == name]
                assert times == sorted(times)


@pytest.mark.parametrize(("hours", "every"), [(1, 1), (7 * 24, 6)], ids=["an hour", "a week"])
def test_a_broker_that_was_away_has_the_newest_figures(
    home: Home, mosquitto_broker: Mosquitto, hours: int, every: int
) -> None:
    url = f"mqtt://127.0.0.1:{mosquitto_broker.port}"
    home.add("mqtt", OutputOptions(url, PASSWORD, {"user": USER}))
    home.pass_hours(47)
    mosquitto_broker.stop()
    try:
        home.pass_hours(hours, every)
        assert 0 < home.waiting() <= 4
    finally:
        mosquitto_broker.start()
    home.pass_hours(2)
    assert home.waiting() == 0
    retained = mosquitto_broker.retained()
    yesterday = (civil_date(home.at) - timedelta(days=1)).isoformat()
    for account_id in home.accounts:
        stored, state = content(home.measures, account_id), retained[f"releve/{account_id}/state"]
        assert state["consumption_yesterday"] == stored[Doctype.DAY][yesterday]
        assert state["consumption_month"] == stored[Doctype.MONTH][yesterday[:7]]
        assert state["consumption_last_day"] == yesterday
        assert retained[f"releve/{account_id}/availability"] == "online"


def test_a_day_that_passes_without_a_measure_is_told(home: Home, mosquitto_broker: Mosquitto) -> None:
    home.add("mqtt", OutputOptions(f"mqtt://127.0.0.1:{mosquitto_broker.port}", PASSWORD, {"user": USER}))
    home.pass_hours(30)
    (account_id, _), known = home.accounts, civil_date(home.at) - timedelta(days=1)
    topic = f"releve/{account_id}/state"
    assert mosquitto_broker.retained()[topic]["consumption_yesterday"] is not None
    home.at += timedelta(days=1)  # Nothing is collected.
    home.delivery.note_daily()
    home.deliver()
    state = mosquitto_broker.retained()[topic]
    assert (state["consumption_yesterday"], state["consumption_last_day"]) == (None, known.isoformat())
