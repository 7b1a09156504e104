"""Keep a home with outputs of every kind to which all was delivered, for tests of what a later version sends them.

Made at commit 9262099f, the last one before outputs could tell what a total is made of, with that commit's own code:

    git worktree add ../before 9262099f
    cp tests/golden/keep_outputs.py ../before/tests/golden/
    (cd ../before && python -m tests.golden.keep_outputs outputs_9262099f)
    cp -r ../before/tests/golden/outputs_9262099f tests/golden/

So this file imports only what both have under one name. ``tests/integration/test_upgraded_outputs.py`` reads the
folder. The home is made up: daily values, a load curve with the autumn's clock change, production and gas. Keys and
secrets are made up too and open nothing else. Ids and sealed values differ from run to run, the rest is the same.

- ``recordings/``: what the suppliers have of the home, as the simulator reads it.
- ``registry.sql`` and ``measures.sql``: both databases once everything was delivered.
- ``sent.json``: what the outputs were sent, by stage and output: at ``first``, at a ``restart``, by an ``unchanged``
  sync, by one after a ``half-hour`` was corrected with its day, and by one after a ``day`` without a curve was, too.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, Final
from zoneinfo import ZoneInfo

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.golden.keep_installation import KEYS
from tests.support import home_assistant_server, servers
from tests.support.certificates import make_certificates
from tests.support.installation import Installation, new_installation
from tests.support.mosquitto import PASSWORD, USER, Mosquitto, mosquitto
from tests.support.simulators import SimulatorOptions, serve_in_background

WEBHOOK_SECRET: Final = "made up for tests: between us and the receiver"
SERIES_TOKEN: Final = "made-up-token-of-a-bucket"
METER, PCE = "30001640000177", "21546000000177"
PARIS: Final = ZoneInfo("Europe/Paris")
NOW: Final = datetime(2024, 10, 29, 7, tzinfo=UTC)
LAST: Final = date(2024, 10, 28)
CLOCK_DAY, DAY_WITHOUT_CURVE = date(2024, 10, 27), date(2024, 10, 9)
KEPT: Final = Path(__file__).parent / "outputs_9262099f"
DATABASES: Final = ("registry", "measures")
CORRECTIONS: Final = ("half-hour", "day")  # In this order, one after the other.
_DAY: Final = timedelta(days=1)
_HALF_HOUR: Final = timedelta(minutes=30)
_DAYS, _CURVE_DAYS, _DAYS_FED_IN, _GAS_DAYS = 32, 7, 28, 28
_CORRECTED_AT: Final = "2024-10-27T02:30:00+01:00"  # The end of a half-hour of the second of two alike hours.
_MORE_WATTS: Final = 240
_ANSWER: Final = b'{"results":[{"statement_id":0}]}'  # What InfluxDB 1 says to a command.

Sent = dict[str, list[Any]]


# What the suppliers have


def write_recordings(folder: Path) -> None:
    """Write the files of the home that the simulator serves."""
    folder.mkdir(parents=True)
    steps = list(_steps())
    days = {day: 9_000 + day.toordinal() % 3_000 for day in _dates(_DAYS)}
    for day in _dates(_CURVE_DAYS):
        days[day] = sum(watts // 2 for end, watts in steps if (end - _HALF_HOUR).date() == day)
    curve = (f"{end.isoformat()},{watts}" for end, watts in steps)
    _write(folder / f"{METER}.load_curve.csv", "date_end_local,watts", curve)
    _write(folder / f"{METER}.daily.csv", "date,wh", (f"{day},{energy}" for day, energy in days.items()))
    _write_production(folder)
    _write_gas(folder)


def correct_recordings(folder: Path, stage: str) -> None:
    """Correct what the supplier corrects in this stage, ``half-hour`` or ``day``."""
    half_hour = [("load_curve", _CORRECTED_AT, _MORE_WATTS), ("daily", str(CLOCK_DAY), _MORE_WATTS // 2)]
    for name, key, more in half_hour if stage == "half-hour" else [("daily", str(DAY_WITHOUT_CURVE), 1_000)]:
        file = folder / f"{METER}.{name}.csv"
        rows = [line.split(",") for line in file.read_text().splitlines()]
        (row,) = (row for row in rows if row[0] == key)
        row[1] = str(int(row[1]) + more)
        file.write_text("".join(f"{','.join(row)}\n" for row in rows))


def _dates(number: int) -> list[date]:
    return [LAST - age * _DAY for age in reversed(range(number))]


def _steps() -> Iterator[tuple[datetime, int]]:
    """Yield the end and the mean power of each half-hour; the days have 48 of them, and the clock day 50."""
    first, last = (datetime.combine(day, datetime.min.time(), PARIS) for day in (_dates(_CURVE_DAYS)[0], LAST + _DAY))
    end, number = first.astimezone(UTC) + _HALF_HOUR, 0
    while end <= last:
        yield end.astimezone(PARIS), 300 + 2 * (number * 37 % 400)
        end, number = end + _HALF_HOUR, number + 1


def _write_production(folder: Path) -> None:
    midnights = [*_dates(_DAYS_FED_IN), LAST + _DAY]
    head = [
        "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;"
        "Unite",
        f"{METER};Index;{midnights[0]:%d/%m/%Y};{midnights[-1]:%d/%m/%Y};Energie active;Production;Comptage Brut;Wh",
    ]
    index, rows = 6_658_820, []
    for day in midnights:
        at = datetime.combine(day, datetime.min.time(), PARIS)
        rows.append(f"{at.isoformat()};Arrêté quotidien;;;{index}")
        index += 4_000 + day.toordinal() % 500
    name = f"Enedis_Prod_Jour_{midnights[0]:%Y%m%d}-{midnights[-1]:%Y%m%d}_{METER}.csv"
    _write(folder / name, "\ufeff" + "\n".join(head), ["Horodate;Type de releve;EAS F1;EAS T;EAI T", *rows])


def _write_gas(folder: Path) -> None:
    facts, index, rows = "index_start,index_end,volume_m3,energy_kwh,coefficient,quality", 1_204, []
    for day in _dates(_GAS_DAYS):
        volume = 1 + day.toordinal() % 4
        rows.append(f"{day},{index},{index + volume},{volume},{volume * 11},11.16,Mesuré")
        index += volume
    _write(folder / f"{PCE}.gas_daily.csv", f"gas_day,{facts}", rows)
    period = "2024-09-03,2024-10-01,1170,1230,60,670,11.16,Mesuré"
    _write(folder / f"{PCE}.gas_published.csv", f"start,end,{facts}", [period])


def _write(file: Path, head: str, rows: Iterator[str] | list[str]) -> None:
    file.write_text("".join(f"{row}\n" for row in [head, *rows]), encoding="utf-8")


# The receivers


@dataclass
class Receivers:
    """A receiver of every kind. ``sent``: what came, by kind and in order, since it was last taken."""

    broker: Mosquitto
    home_assistant: home_assistant_server.HomeAssistantServer
    requests: dict[str, list[Any]] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    messages: list[list[str]] = field(default_factory=list)
    settle: Callable[[], None] = lambda: None

    def outputs(self) -> dict[str, tuple[str, str, str, dict[str, str]]]:
        """Return the kind, address, secret and options of each output, by the name under which it is recorded."""
        broker, series = f"mqtt://127.0.0.1:{self.broker.port}", "line-protocol"
        return {
            "home-assistant": ("home-assistant", self.home_assistant.url, home_assistant_server.TOKEN, {}),
            "mqtt": ("mqtt", broker, PASSWORD, {"user": USER}),
            "webhook": ("webhook", self.urls["webhook"], WEBHOOK_SECRET, {}),
            "influxdb 2": (series, self.urls["influxdb 2"], SERIES_TOKEN, {"bucket": "home", "org": "us"}),
            "influxdb 1": (series, self.urls["influxdb 1"], "made-up", {"database": "home", "user": "us"}),
        }

    def take(self) -> Sent:
        """Return what has come since the last time; commands that only read from Home Assistant don't count."""
        self.settle()
        written = [
            {"metadata": message["metadata"], "stats": message["stats"]}
            for message in self.home_assistant.messages
            if message["type"] == "recorder/import_statistics"
        ]
        sent: Sent = {"home-assistant": written, "mqtt": [*self.messages]}
        sent |= {name: [*requests] for name, requests in self.requests.items()}
        for kept in (self.home_assistant.messages, self.messages, *self.requests.values()):
            kept.clear()
        return sent


@contextmanager
def receivers(broker: Mosquitto) -> Iterator[Receivers]:
    """Run a receiver of every kind; the broker retains nothing of it afterwards."""
    with ExitStack() as opened:
        home_assistant = opened.enter_context(home_assistant_server.home_assistant_server())
        running = Receivers(broker, home_assistant)
        for name in ("webhook", "influxdb 2", "influxdb 1"):
            running.requests[name] = []
            running.urls[name] = opened.enter_context(_http_receiver(running.requests[name], name == "webhook"))
        running.settle = opened.enter_context(_listening(broker, running.messages))
        yield running


@contextmanager
def _http_receiver(requests: list[Any], has_json: bool) -> Iterator[str]:
    """Take every request: of JSON its body, of others method, path and lines; a write without a point is a test."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            taken = json.loads(body) if has_json else [self.command, self.path, body.splitlines()]
            if taken[2] != ["# Releve"] if isinstance(taken, list) else taken["kind"] != "test":
                requests.append(taken)
            answer = _ANSWER if self.path.startswith("/query") else b""
            self.send_response(200 if answer else 204)
            if answer:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_DELETE = do_POST

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), name="receiver")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _listening(broker: Mosquitto, messages: list[list[str]]) -> Iterator[Callable[[], None]]:
    """Keep each message that is published meanwhile; yield what waits until all of before have come."""
    end, subscribed, settled, topics = "releve-test/settled", Event(), Event(), set[str]()

    def keep(client: Client, userdata: Any, message: MQTTMessage) -> None:
        if message.topic == end:
            settled.set()
        elif not message.retain:
            topics.add(message.topic)
            messages.append([message.topic, message.payload.decode()])

    def settle() -> None:
        settled.clear()
        client.publish(end, "", qos=1)
        assert settled.wait(servers.START_TIMEOUT_S)

    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(USER, PASSWORD)
    client.on_connect = lambda *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = keep
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        assert subscribed.wait(servers.START_TIMEOUT_S)
        yield settle
        for topic in topics:
            client.publish(topic, "", qos=1, retain=True).wait_for_publish(servers.START_TIMEOUT_S)
    finally:
        client.disconnect()
        client.loop_stop()


# The installation and what it does


def installation_of(folder: Path, redis_url: str) -> Installation:
    """Return an installation with the made-up keys, which collects gas; its suppliers are named where it asks them."""
    databases = {f"{name}_url": f"sqlite:///{folder}/{name}.db" for name in DATABASES}
    settings = {**KEYS, **databases, "history_load_days": str(_CURVE_DAYS), "calls_per_second": "0"}
    settings |= {"calls_per_hour": "0", "grdf_calls_per_second": "0"}
    settings |= {"grdf_client_id": "releve-simulator", "grdf_url": "http://127.0.0.1:9"}
    return new_installation(folder, redis_url, **settings, series="daily,load_curve,production_daily")


@contextmanager
def supplied(installation: Installation, recordings: Path, hours: int) -> Iterator[Installation]:
    """Let the installation ask suppliers that have these recordings, so many hours after ``NOW``."""
    now = NOW + timedelta(hours=hours)
    with serve_in_background(SimulatorOptions(data_dir=recordings, pretend_now=now)) as address:
        yield installation.but(enedis_url=address, grdf_url=address, pretend_now=now.isoformat())


def sync(installation: Installation, *commands: str) -> dict[str, int]:
    """Run these commands for each account, and return what they created, updated and removed in all."""
    counts = dict.fromkeys(("created", "updated", "removed"), 0)
    for account in installation.query_rows("accounts", "list"):
        for command in commands:
            result = installation.query(command, account["account"], "--inline")
            assert result["ok"]
            for name in counts:
                counts[name] += result[name]
    return counts


def deliver(installation: Installation) -> int:
    """Deliver what is due as a worker that has just started does; return the number of series."""
    with installation.open() as parts:
        sent = sum(map(parts.outputs.deliver, parts.stores.registry.outputs.list_due(parts.stores.now())))
    states = installation.query_rows("outputs", "list")
    assert not any(state["waiting"] or state["error"] for state in states), states
    return sent


def main(name: str) -> None:
    """Write the folder of this name, in the place of the one before."""
    target = Path(__file__).parent / name
    shutil.rmtree(target, ignore_errors=True)
    write_recordings(recordings := target / "recordings")
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory()))
        redis_url = opened.enter_context(servers.redis_server())
        broker = opened.enter_context(mosquitto(make_certificates(folder)))
        running = opened.enter_context(receivers(broker))
        installation = installation_of(folder, redis_url)
        sent = {}
        with supplied(installation, recordings, 0) as now:
            _set_up(now, running, folder)
            deliver(now)
            sent["first"] = running.take()
            del sent["first"]["influxdb 1"]  # It has the lines of version 2.
        _dump(folder, target)
        with supplied(installation, recordings, 1) as now:
            deliver(now)
            sent["restart"] = running.take()
            sync(now, "sync")
            deliver(now)
            sent["unchanged"] = running.take()
        shutil.copytree(recordings, corrected := folder / "corrected")
        for hours, stage in enumerate(CORRECTIONS, start=2):
            correct_recordings(corrected, stage)
            with supplied(installation, corrected, hours) as now:
                sync(now, "sync")
                deliver(now)
                sent[stage] = running.take()
        (target / "sent.json").write_text(_to_text(sent), encoding="utf-8")


def _set_up(installation: Installation, running: Receivers, folder: Path) -> None:
    installation.releve("migrate")
    consented = ("--consented", "2024-08-01", "--reference", "made up", "--by", "made up")
    installation.releve("accounts", "add", "--usage-point", METER, *consented)
    installation.releve("accounts", "add", "--pce", PCE, "--own")
    sync(installation, "backfill", "sync")
    for kind, url, secret, options in running.outputs().values():
        (file := folder / "secret").write_text(secret)
        more = [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
        installation.releve("outputs", "add", kind, "--url", url, "--secret-file", str(file), *more)
    running.take()  # Tests of addresses and secrets.


def _dump(folder: Path, target: Path) -> None:
    for name in DATABASES:
        with closing(sqlite3.connect(folder / f"{name}.db")) as database:
            (target / f"{name}.sql").write_text("".join(f"{line}\n" for line in database.iterdump()), encoding="utf-8")


def _to_text(sent: Mapping[str, Sent]) -> str:
    """Return JSON with one message a line, so that a change of it can be read."""
    stages = []
    for stage, by_kind in sent.items():
        kinds = []
        for kind, messages in by_kind.items():
            lines = ",\n".join(json.dumps(message, ensure_ascii=False) for message in messages)
            kinds.append(f"{json.dumps(kind)}: [\n{lines}\n]" if lines else f"{json.dumps(kind)}: []")
        stages.append(f"{json.dumps(stage)}: {{\n" + ",\n".join(kinds) + "\n}")
    return "{\n" + ",\n".join(stages) + "\n}\n"


if __name__ == "__main__":
    main(sys.argv[1])
