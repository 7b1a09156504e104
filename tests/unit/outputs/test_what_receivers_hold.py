"""After any story, and a last delivery that came through, each receiver holds what the store holds.

Of servers of time series that delete nothing, what has gone stays there: exactly on the days that are listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.support.factories import MemoryRecorder, PretendSupplier, content, window_job
from tests.support.fakes import NoLocks, memory_measures
from tests.support.killed_windows import PLACES, KillableOutbox, KillableStore, Killed
from tests.support.line_parser import Point
from tests.support.profiles import examples
from tests.support.receivers import (
    FAILURES,
    TOKEN,
    Broker,
    HomeAssistantInMemory,
    Receiver,
    SeriesServer,
    WebhookReceiver,
)
from tests.support.registries import add_ready, prepare_registry, registry_keys, registry_sealer
from worker.accounts.prices import AccountTariff, load_tariff
from worker.domain.documents import ALL_KEYS, key_of, start_of
from worker.domain.messages import ChangedPart, WindowResult
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, IntervalReading, civil_date, day_length, local_midnight
from worker.outputs import line_protocol, webhook
from worker.outputs.delivery import OutputDelivery
from worker.outputs.home_assistant import HomeAssistant
from worker.outputs.mqtt import MqttOutput
from worker.outputs.output import Output, OutputKind, OutputOptions, OutputParts
from worker.stores.database import Database
from worker.stores.registry import Registry
from worker.stores.registry.outputs import OutputTable
from worker.stores.registry.tables import OUTPUT_REMOVALS
from worker.sync.window import WindowSync

NOW: Final = datetime(2024, 10, 29, 7, 0, tzinfo=UTC)
# Both clock changes of a year, the end of the one before, two days in a row, and yesterday.
DAYS: Final = [date(2023, 12, 31), date(2024, 3, 31), date(2024, 10, 26), date(2024, 10, 27), date(2024, 10, 28)]
EXPIRY: Final = timedelta(minutes=15)
MEASUREMENTS: Final = {
    Doctype.MINUTE: "releve_step",
    Doctype.HOUR: "releve_hour",
    Doctype.DAY: "releve_day",
    Doctype.MONTH: "releve_month",
    Doctype.YEAR: "releve_year",
}
INPUTS: Final = {"releve_step": Series.LOAD_CURVE, "releve_day": Series.DAILY}
IMPOSSIBLE: Final = 10**12
SLOW: Final = "slow"  # The window writes after its note has counted as that of a killed one, and is delivered.
HALF_HOURS, HOURS = (30,), (60,)


class DeliveryOutbox(KillableOutbox):
    """An outbox whose delivery dies before it forgets what it has sent."""

    forgets = True

    def delete_sent(self, *args: Any) -> None:
        if not self.forgets:
            raise Killed
        super().delete_sent(*args)


class World(KillableStore):
    """A home, its store, and one output of each kind to a receiver in memory."""

    def __init__(self, folder: Path) -> None:
        prepare_registry(folder)
        self.at, self.values = NOW, 0
        self.registry = Registry(Database(f"sqlite:///{folder / 'registry.db'}"), registry_keys(), now=lambda: self.at)
        self.outputs = OutputTable(self.registry.database, registry_sealer(), EXPIRY)
        self.outbox = DeliveryOutbox(self.registry.database, lambda: self.at, EXPIRY)
        self.outbox.after_note = self._after_note
        self.account, self.store = add_ready(self.registry), memory_measures()
        self.recorder = MemoryRecorder()
        self.broker, self.webhook, self.home_assistant = Broker(), WebhookReceiver(), HomeAssistantInMemory()
        self.able = [SeriesServer(kind="1"), SeriesServer(kind="2")]
        self.unable = [SeriesServer(kind="1", may_delete=False), SeriesServer(kind="2", may_delete=False)]
        self.others = [SeriesServer(kind="3"), SeriesServer(kind="other")]
        self.receivers: dict[str, Receiver] = {}
        for receiver in (self.broker, self.webhook, self.home_assistant, *self.able, *self.unable, *self.others):
            secret, more = receiver.options() if isinstance(receiver, SeriesServer) else (self.webhook.secret, {})
            options = OutputOptions("https://receiver.example", secret, more)
            kind = type(receiver).__name__
            self.receivers[self.outputs.insert(kind, asdict(options), self.at)] = receiver
        locks: Any = NoLocks(TOKEN)
        self.delivery = OutputDelivery(
            outputs=self.outputs,
            outbox=self.outbox,
            accounts=self.registry.accounts,
            kinds={
                kind: OutputKind(name=kind, title="", url_help="", build=self._build)
                for kind in map(_name, self.receivers.values())
            },
            parts=OutputParts(measures=self.store, now=lambda: self.at, tariff_of=self.tariff_of),
            locks=locks,
            now=lambda: self.at,
            notify=lambda state, now: None,
        )
        self.reached: Receiver = self.broker

    def tariff_of(self, account_id: str) -> AccountTariff | None:
        return load_tariff(self.registry, self.store, self.registry.accounts.get(account_id))

    def _build(self, options: OutputOptions, parts: OutputParts) -> Output:
        """Build the output to the receiver that is delivered to."""
        receiver, measures, now = self.reached, parts.measures, parts.now
        broker: Any = receiver
        match receiver:
            case Broker():
                return MqttOutput(broker=broker, measures=measures, now=now, tariff_of=parts.tariff_of)
            case WebhookReceiver():
                return replace(webhook.build(options, parts), most_readings=40)
            case HomeAssistantInMemory():
                return HomeAssistant(
                    broker, "en", measures, now, parts.tariff_of, rows_a_message=30, wait=lambda _: None
                )
            case _:
                return replace(line_protocol.build(options, parts), most_lines=60)

    @contextmanager
    def open_session(self, adapter: object) -> Iterator[Any]:
        """Open what both outputs over HTTP call in the place of a session."""
        yield self.reached

    def _after_note(self) -> None:
        self.die("note")
        if self.place == SLOW:
            self.place = ""
            self.deliver_all()

    # -- What a story is made of

    def serve(self, day: date, grid: Sequence[int], place: str = "", corrected: int | None = None) -> None:
        """Serve a day by steps of so many minutes, again and again; a negative number is a hole.

        ``corrected``: the number of a step that gets another value than before.
        """
        self.values += 1
        at, end, number, readings = local_midnight(day).astimezone(UTC), day_length(day), 0, []
        end_at = at + end
        while at < end_at:
            length = min(timedelta(minutes=abs(grid[number % len(grid)])), end_at - at)
            if grid[number % len(grid)] > 0:
                amount = 1000 * (100 + number + (self.values if number == corrected else 0))
                readings.append(IntervalReading(at.astimezone(PARIS), length, amount))
            at, number = at + length, number + 1
        self._run(Series.LOAD_CURVE, day, readings, place)

    def serve_daily(self, day: date, what: str = "good", place: str = "") -> None:
        """Serve a daily value, or none; one that is impossible is stored as in the days before the limit."""
        self.values += 1
        amount = IMPOSSIBLE if what == "impossible" else 1000 * (9_000 + self.values)
        readings = [IntervalReading(local_midnight(day), day_length(day), amount)] if what != "none" else []
        self._run(Series.DAILY, day, readings, place, IMPOSSIBLE if what == "impossible" else 900)

    def _run(
        self, series: Series, day: date, readings: Sequence[IntervalReading], place: str, limit_kwh: float = 900
    ) -> None:
        self.at += timedelta(seconds=1)
        self.place, self.outbox.dead = place, False
        world, recorder = self, self.recorder

        class Recorder(MemoryRecorder):
            def record_result(self, result: WindowResult) -> None:
                recorder.record_result(result)
                world.die("result")

        window_sync = WindowSync(
            accounts=self.registry.accounts,
            supplier_of=lambda _: PretendSupplier(),
            measures=self,  # type: ignore[arg-type]
            recorder=Recorder(recent=recorder.recent),
            now=lambda: self.at,
            outbox=self.outbox,
            daily_limit_kwh=limit_kwh,
        )
        job = window_job(DateWindow(day, day + ONE_DAY), series, self.account)
        with suppress(Killed):
            fetched = window_sync.receive(job, readings, self.at)
            window_sync.store(window_sync.aggregate(window_sync.filter_known(fetched)))
        self.place, self.outbox.dead = "", False

    def deliver(self, number: int, calls: int | None = None, failure: str = "", *, forgets: bool = True) -> None:
        output_id, receiver = list(self.receivers.items())[number % len(self.receivers)]
        receiver.calls, receiver.failure = calls, failure
        self.reached, self.outbox.forgets = receiver, forgets
        self.outputs.end_wait(output_id)
        with suppress(Killed):
            self.delivery.deliver(output_id)
        receiver.calls, self.outbox.forgets = None, True

    def deliver_all(self) -> None:
        """Wait until every killed window counts as killed, and deliver all that waits."""
        self.at += EXPIRY + timedelta(seconds=1)
        for number, output_id in enumerate(self.receivers):
            self.deliver(number)
            assert self.outbox.next_changes(output_id) == [], self.outputs.get(output_id).error

    # -- What is compared

    def stored(self) -> Mapping[Doctype, Mapping[str, float]]:
        return content(self.store, self.account)

    def expected_points(self) -> dict[tuple[str, int], float]:
        """Return the Wh of each point, by measurement and time."""
        return {
            (MEASUREMENTS[doctype], _time(key)): 1000 * load
            for doctype, loads in self.stored().items()
            for key, load in loads.items()
        }

    def output_of(self, receiver: Receiver) -> str:
        return next(output_id for output_id, one in self.receivers.items() if one is receiver)

    def listed(self, receiver: Receiver) -> list[str]:
        """Return the days that `releve outputs list` shows to be deleted."""
        return self.outbox.days_to_delete().get(self.output_of(receiver), {}).get(self.account, [])

    def extra(self, server: SeriesServer) -> set[tuple[str, int]]:
        """Return what the server has beside the store's points, each of which it has."""
        names = MEASUREMENTS.values()
        held = {_place(point): point.fields["wh"] for point in server.points.values() if point.measurement in names}
        expected = self.expected_points()
        assert {place: held.get(place) for place in expected} == pytest.approx(expected)
        return held.keys() - expected.keys()

    def check(self) -> None:
        stored = self.stored()
        self.check_webhook(stored)
        self.check_mqtt(stored)
        self.check_home_assistant(stored)
        for server in self.able:
            assert self.extra(server) == set()
            assert self.listed(server) == []
        for server in (*self.unable, *self.others):
            extra = {(name, time) for name, time in self.extra(server) if name in INPUTS}
            # What had gone again before it was first sent has never been there, which nobody knows.
            ever = {(key[0], key[-1]) for key in server.ever}
            gone = self.gone(server)
            assert extra == gone & ever
            assert self.listed(server) == sorted({str(civil_date(_moment(time))) for _, time in gone})

    def gone(self, server: SeriesServer) -> set[tuple[str, int]]:
        """Return the points of which an output knows that they may stand there."""
        names = {series: name for name, series in INPUTS.items()}
        of = OUTPUT_REMOVALS.c
        query = select(of.series, of.key).where(of.output_id == self.output_of(server))
        return {(names[series], _time(key)) for series, key in self.registry.database.fetch(query)}

    def check_webhook(self, stored: Mapping[Doctype, Mapping[str, float]]) -> None:
        for series in INPUTS.values():
            held = {start: value for start, (value, _) in self.webhook.readings.get(series.value, {}).items()}
            assert held == {_moment(_time(key)): load for key, load in stored[series.inputs].items()}

    def check_mqtt(self, stored: Mapping[Doctype, Mapping[str, float]]) -> None:
        if days := stored[Doctype.DAY]:
            state = json.loads(self.broker.retained[f"releve/{self.account}/state"])
            held = [state[f"consumption_{name}"] for name in ("yesterday", "month", "year", "last_day")]
            month, year = stored[Doctype.MONTH].get("2024-10"), stored[Doctype.YEAR].get("2024")
            assert held == [days.get("2024-10-28"), month, year, max(days)]

    def check_home_assistant(self, stored: Mapping[Doctype, Mapping[str, float]]) -> None:
        identifier = f"releve:{self.account}_consumption"
        days, hours = stored[Doctype.DAY], stored[Doctype.HOUR]
        expected: dict[str, float] = {}
        for key, load in hours.items():
            day = str(civil_date(datetime.fromisoformat(key)))
            expected[day] = expected.get(day, 0) + load
        expected |= days
        held = self.home_assistant.server.changes_by_day(identifier)
        assert {day: change for day, change in held.items() if change} == pytest.approx(expected)
        for start, row in self.home_assistant.server.rows[identifier].items():
            if str(civil_date(start)) not in days:
                assert row.state == pytest.approx(hours.get(f"{start:%Y-%m-%dT%H:00Z}"))


def _name(receiver: Receiver) -> str:
    return type(receiver).__name__


def _moment(time: int) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def _time(key: str) -> int:
    start = datetime.fromisoformat(key) if "T" in key else local_midnight(date.fromisoformat(f"{key}-01-01"[:10]))
    return int(start.timestamp())


def _place(point: Point) -> tuple[str, int]:
    return point.measurement, point.time


@contextmanager
def world() -> Iterator[World]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        made = World(Path(folder))
        for module in (line_protocol, webhook):
            patched.setattr(module, "open_session", made.open_session)
        yield made
        made.registry.database.close()


day_numbers = st.integers(0, len(DAYS) - 1)
places = st.sampled_from(("", "", "", SLOW, *PLACES))
# Finer, coarser, mixed, hours that begin at half past, and holes.
grids = st.lists(st.sampled_from([60, 30, 15, -30, -60]), min_size=1, max_size=5).map(tuple) | st.sampled_from(
    [HALF_HOURS, HOURS, (15,), (30, *[60] * 23, 30)]
)
CURVE = st.tuples(day_numbers, grids, places, st.none() | st.integers(0, 50))
EVENT = st.one_of(
    st.tuples(st.just("curve"), CURVE),
    st.tuples(st.just("daily"), day_numbers, st.sampled_from(["good", "impossible", "none"]), places),
    st.tuples(st.just("crossing"), st.integers(0, 8), CURVE),
    st.tuples(st.just("right"), st.booleans()),
    st.tuples(
        st.just("deliver"), st.integers(0, 8), st.none() | st.integers(0, 6), st.sampled_from(FAILURES), st.booleans()
    ),
    st.tuples(st.just("deliver all")),
    st.tuples(st.just("wait"), st.integers(1, 20)),
)
FINE, COARSE = ("curve", (3, HALF_HOURS, "")), ("curve", (3, HOURS, ""))
COARSER: Final = [FINE, ("deliver all",), COARSE]
PARTLY: Final = [(30, 30, *[60] * 23), (*[60] * 23, 30, 30)]


def tell(made: World, events: Sequence[Any]) -> None:
    for kind, *what in events:
        match kind:
            case "curve":
                made.serve(DAYS[what[0][0]], *what[0][1:])
            case "daily":
                made.serve_daily(DAYS[what[0]], *what[1:])
            case "crossing":
                receiver = list(made.receivers.values())[what[0] % len(made.receivers)]
                day, *curve = what[1]
                receiver.meanwhile = lambda day=day, curve=curve: made.serve(DAYS[day], *curve)
                made.deliver(what[0])
                receiver.meanwhile = None
            case "right":
                for server in made.unable:
                    server.may_delete = what[0]
            case "deliver":
                made.deliver(what[0], what[1], what[2], forgets=what[3])
            case "deliver all":
                for number in range(len(made.receivers)):
                    made.deliver(number)
            case "wait":
                made.at += timedelta(minutes=what[0])


@pytest.mark.rest
@settings(max_examples=examples(60, desk=3), suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, max_size=14))
@example(COARSER)
@example([*COARSER, ("deliver all",), FINE])
@example([*COARSER, FINE, *(("crossing", number, (3, HOURS, "")) for number in (3, 5))])
@example([FINE, ("deliver all",), ("curve", (3, HOURS, SLOW))])
@example([*COARSER, ("deliver all",), ("right", True), ("curve", (3, PARTLY[0], "")), ("curve", (3, HOURS, ""))])
@example([*COARSER, ("deliver all",), ("right", True), ("curve", (3, PARTLY[1], "")), ("deliver all",)])
@example([("daily", 0, "impossible", ""), ("deliver all",), ("daily", 0, "none", "")])
@example([("daily", 0, "impossible", ""), ("deliver all",), ("daily", 0, "none", "half"), ("daily", 1, "good", "")])
@example([*COARSER, ("deliver", 3, 1, "killed after", True), ("deliver", 4, 1, "answer lost", True)])
@example([*COARSER, ("deliver", 3, None, "", False)])
@example([*COARSER[:2], ("curve", (3, HOURS, "write")), ("wait", 20), COARSE])
@example([("curve", (4, (-60, 30, -30), "")), ("deliver all",), ("curve", (4, (-30, 60, -30), ""))])
def test_each_receiver_holds_what_the_store_holds_and_elsewhere_the_listed_days_differ(events: Sequence[Any]) -> None:
    with world() as made:
        tell(made, events)
        made.deliver_all()
        made.check()

        # The right is given, or the listed days are deleted by hand.
        for server in made.unable:
            server.may_delete = True
            made.outbox.enqueue_all(made.output_of(server))
        for server in made.others:
            days = made.listed(server)
            gone = [key for key, point in server.points.items() if str(civil_date(_moment(point.time))) in days]
            if any(name in ("releve_month", "releve_year") for name, _ in made.extra(server)):
                gone = list(server.points)
            for key in gone:
                del server.points[key]
            made.outbox.enqueue_all(made.output_of(server), deleted=True)
        made.deliver_all()
        for server in (*made.unable, *made.others):
            assert (made.extra(server), made.listed(server)) == (set(), [])


def test_a_day_of_coarser_steps_is_whole_at_influxdb_and_listed_where_it_can_t_be_deleted() -> None:
    with world() as made:
        tell(made, [*COARSER, ("deliver all",)])
        for server in made.able:
            assert sum(point.measurement == "releve_step" for point in server.points.values()) == 25
        for server in (*made.unable, *made.others):
            assert made.listed(server) == ["2024-10-27"]
            assert len(made.extra(server)) == 25
        tell(made, [FINE, ("deliver all",)])
        for server in (*made.unable, *made.others):
            assert (made.listed(server), made.extra(server)) == ([], set())


def test_a_total_that_goes_after_its_readings_is_deleted_too() -> None:
    """A process that dies between readings and totals leaves totals of nothing, which a later run removes."""
    with world() as made:
        tell(made, [("daily", 0, "impossible", ""), ("curve", (3, HALF_HOURS, "")), ("deliver all",)])
        for series in INPUTS.values():
            documents = made.store.read(made.account, {series.inputs: ALL_KEYS})[series.inputs]
            starts = sorted(start_of(key_of(document)) for document in documents)
            with made.outbox.noting(made.account, series) as note:
                note(ChangedPart(starts[0], starts[-1], frozenset(map(key_of, documents))))
                made.store.write({}, {series.inputs: documents})
        made.deliver_all()
        assert {kind.name for kind, loads in made.stored().items() if loads} == {"HOUR", "MONTH", "YEAR"}
        tell(made, [("daily", 0, "none", ""), ("curve", (3, (-30,), ""))])
        assert {kind.name for kind, loads in made.stored().items() if loads} == set()
        made.deliver_all()
        assert [made.extra(server) for server in made.able] == [set(), set()]


def test_nothing_is_deleted_where_nothing_went() -> None:
    with world() as made:
        for day in DAYS:
            made.serve(day, HALF_HOURS)
            made.serve_daily(day)
        made.deliver_all()
        made.serve(DAYS[2], (15,))
        made.serve_daily(DAYS[2])
        made.deliver_all()
        for output_id in made.receivers:
            made.outbox.enqueue_all(output_id)
        made.deliver_all()
        assert [server.asked for server in made.able] == [0, 0]


def test_a_resend_alone_does_not_take_a_day_off_the_list() -> None:
    with world() as made:
        tell(made, [*COARSER, ("deliver all",)])
        for server in made.others:
            made.outbox.enqueue_all(made.output_of(server))
        made.deliver_all()
        assert [made.listed(server) for server in made.others] == [["2024-10-27"]] * 2


def test_a_server_that_refuses_is_asked_once_in_a_delivery() -> None:
    with world() as made:
        for grid in (HALF_HOURS, HOURS):
            for day in DAYS:
                made.serve(day, grid)
            made.deliver_all()
        assert [server.asked for server in made.unable] == [1, 1]
        assert [len(made.listed(server)) for server in made.unable] == [5, 5]
        assert [server.asked for server in made.able] == [5, 5]
