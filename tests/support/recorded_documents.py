"""The documents that each recorded home beside the project gives, as text, to compare two versions of the code.

    python -m tests.support.recorded_documents write FOLDER [PART]     # with the code of this checkout
    python -m tests.support.recorded_documents compare BEFORE AFTER

``write`` makes a file a home: a document a line, in order, without revision, times and the account's id. A home comes
as answers (days before the curve, after it, and none), through the simulator and the commands, and from files. What a
second pass changes and what ``verify`` finds stands there, too. ``compare`` prints what differs, home by home.

It runs in a checkout of commit 9262099f, too, to which it is copied: the names that it imports stand in both.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.integration.test_real_recordings import body, recording, table
from tests.integration.test_recorded_gas import ends_on, serve, told_of
from tests.support import factories, servers
from tests.support.factories import PretendSupplier, make_window_sync, serving_curves, serving_days, window_job
from tests.support.fakes import packed_memory_measures
from tests.support.gas_answers import absent, day, period
from tests.support.installation import Installation, new_installation
from tests.support.own_home import SETTINGS as OWN_HOME
from tests.support.recorded_gas import DAILY, PUBLISHED, number, recorded_gas
from tests.support.recordings import RECORDINGS, RESPONSES
from tests.support.simulators import SimulatorOptions, serve_in_background

# Of factories: their names are where they were, although the code behind them has moved.
Series, Doctype, DateWindow, ALL_KEYS = (
    vars(factories)[name] for name in ("Series", "Doctype", "DateWindow", "ALL_KEYS")
)
ACCOUNT: Final = "home1"
NOW: Final = datetime(2026, 11, 1, 8, tzinfo=UTC)  # After all that was recorded.
PCE: Final = "09900000000001"
METERS: Final = {name: f"3000164000030{number}" for number, name in enumerate("acegu")}
_COMPUTED: Final = re.compile(r'"computed": true|"step": 1\d\d\d')  # A day that is as long as its steps together.
TOLD: Final = ("series", "days_new", "days_same", "days_different", "wh")
LEFT_OUT: Final = ("_id", "_rev", "created_at", "updated_at")
CURVES: Final = {"household_a": "household_a", "household_c": "household_c", "uci_sceaux": "uci_sceaux_hourly"}
DAYS: Final = ("household_a", "household_e", "household_g", "uci_sceaux")
_DAY: Final = timedelta(days=1)
_SERIES_OF_NAMES: Final = {
    "max_power": Series.MAX_POWER,
    "contrat": Series.CONTRACT,
    "contracts": Series.CONTRACT,
    "production_points": Series.PRODUCTION_LOAD_CURVE,
    "load_curve": Series.LOAD_CURVE,
    "courbe_de_charge": Series.LOAD_CURVE,
    "_PT": Series.LOAD_CURVE,
    "production": Series.PRODUCTION_DAILY,
    "consommation": Series.DAILY,
    "daily_consumption": Series.DAILY,
}
_DATE: Final = re.compile(r"(?<!\d)20[0-2]\d-[01]\d-[0-3]\d(?!\d)")

Lines = list[str]


# Homes that come as answers


def homes() -> Iterator[tuple[str, Callable[[], Lines]]]:
    """Yield each home by its name, with what makes its lines."""
    for name in sorted({*CURVES, *DAYS}):
        both = name in CURVES and name in DAYS
        orders = ("days, curve", "curve, days", "curve") if both else ("all",)
        for order in orders:
            for layout in ("plain", "packed") if order == orders[0] else ("plain",):
                yield f"{name}, answers, {order}, {layout}", lambda n=name, o=order, k=layout: from_answers(n, o, k)
    yield "gas_home, answers", gas_from_answers
    for file in sorted(RESPONSES.glob("*.json")):
        series = next((one for part, one in _SERIES_OF_NAMES.items() if part in file.name), None)
        if series is not None and ("_200_" in file.name or "_v4_" in file.name):
            yield f"response {file.stem}", lambda f=file.name, s=series: from_response(f, s)
    for name in sorted({*CURVES, *DAYS}):
        yield f"{name}, simulator", lambda n=name: from_simulator(n)
    yield "household_a, simulator, curve alone", lambda: from_simulator("household_a", series="load_curve")
    yield "gas_home, simulator", gas_from_simulator
    yield "files", from_files


def from_answers(name: str, order: str, layout: str) -> Lines:
    days = {date.fromisoformat(day): value or None for day, value in table(f"{name}.daily")} if name in DAYS else {}
    rows = recording(CURVES[name]).rows if name in CURVES else {}
    asked: dict[str, tuple[Any, Any, int]] = {"days": (Series.DAILY, days, 365), "curve": (Series.LOAD_CURVE, rows, 7)}
    measures = factories.memory_measures() if layout == "plain" else packed_memory_measures()
    known = {day: value for day, value in days.items() if value is not None}
    supplier = PretendSupplier(daily=serving_days(known), curve=serving_curves(rows))
    sync, passes = make_window_sync(supplier, measures, now=lambda: NOW), []
    for _ in range(2):
        counts: Counter[str] = Counter()
        for part in ("days", "curve") if order == "all" else order.split(", "):
            series, values, length = asked[part]
            for window in _windows(values, length):
                count(counts, sync.sync_window(window_job(window, series, ACCOUNT)))
        passes.append(counts)
    return [*lines_of(measures, ACCOUNT), second_pass(passes[1])]


def _windows(values: dict[date, Any], length: int) -> Iterator[Any]:
    start, end = (min(values), max(values) + _DAY) if values else (date.max, date.max)
    while start < end:
        yield DateWindow(start, min(start + length * _DAY, end))
        start += length * _DAY


def gas_from_answers() -> Lines:
    home, measures, passes = recorded_gas(), factories.memory_measures(), []
    days = {one: _gas_day(one, row) for one, row in home.days.items()}
    periods = {one: _gas_period(one, row) for one, row in home.periods.items()}
    for _ in range(2):
        counts: Counter[str] = Counter()
        for series, records in ((DAILY, days), (PUBLISHED, periods)):
            supplier = PretendSupplier(others={series: serve(records, ends_on)})
            sync = make_window_sync(supplier, measures, now=lambda: NOW)
            for window in _windows(records, 365):
                count(counts, sync.sync_window(window_job(window, series, ACCOUNT)))
        passes.append(counts)
    return [*lines_of(measures, ACCOUNT), second_pass(passes[1])]


def _gas_day(first: date, row: Any) -> Any:
    return day(first, number(row["energy_kwh"]), **told_of(row)) if row["energy_kwh"] else absent(first)


def _gas_period(first: date, row: Any) -> Any:
    return period(first, row["end"], number(row["energy_kwh"]), **told_of(row))


def from_response(name: str, series: Any) -> Lines:
    payload, measures = body(name), factories.memory_measures()
    days = sorted(date.fromisoformat(text) for text in set(_DATE.findall(json.dumps(payload) + name)))
    window = DateWindow(date(2026, 9, 30), date(2026, 10, 1))
    if series is not Series.CONTRACT:
        window = DateWindow(days[0] - _DAY, days[-1] + _DAY)
    supplier = PretendSupplier(daily=payload, curve=payload, others=dict.fromkeys(Series, payload))
    try:
        make_window_sync(supplier, measures, now=lambda: NOW).sync_window(window_job(window, series, ACCOUNT))
    except Exception as error:  # noqa: BLE001 - the kind of error is compared
        return [f"refused {type(error).__name__}"]
    return lines_of(measures, ACCOUNT)


# Homes that come through the commands


def from_simulator(name: str, **settings: str) -> Lines:
    """Return the documents of a recorded meter that is asked when its recording has just ended."""
    meter, end = METERS[name.removeprefix("household_")[0]], ""
    with TemporaryDirectory() as folder, new_home(Path(folder), **settings) as installation:
        (recordings := Path(folder, "recordings")).mkdir()
        for series, source in {"daily": name if name in DAYS else "", "load_curve": CURVES.get(name, "")}.items():
            if source:
                content = gzip.decompress((RECORDINGS / f"{source}.{series}.csv.gz").read_bytes())
                (recordings / f"{meter}.{series}.csv").write_bytes(content)
                end = max(end, *_DATE.findall(content.decode()))
        now = datetime.fromisoformat(f"{end}T08:00:00+00:00") + 2 * _DAY
        with serve_in_background(SimulatorOptions(data_dir=recordings, pretend_now=now)) as address:
            asking = installation.but(enedis_url=address, pretend_now=now.isoformat(), history_load_days="745")
            consented = ("--consented", "2000-01-01", "--reference", "recorded", "--by", "me")
            account = asking.query("accounts", "add", "--usage-point", meter, *consented)["account"]
            return synced(asking, account, meter)


def gas_from_simulator() -> Lines:
    gas, lines = RECORDINGS / "gas", list[str]()
    with TemporaryDirectory() as folder, new_home(Path(folder)) as installation:
        (recordings := Path(folder, "recordings")).mkdir()
        shutil.copy(gas / "gas_home.days.csv.gz", recordings / f"{PCE}.gas_daily.csv.gz")
        shutil.copy(gas / "gas_home.published.csv.gz", recordings / f"{PCE}.gas_published.csv.gz")
        account = ""
        for now in (datetime(2021, 11, 26, 9, tzinfo=UTC), datetime(2021, 12, 9, 9, tzinfo=UTC)):
            with serve_in_background(SimulatorOptions(data_dir=recordings, pretend_now=now)) as address:
                asking = installation.but(grdf_url=address, pretend_now=now.isoformat())
                account = account or asking.query("accounts", "add", "--pce", PCE, "--own")["account"]
                lines += synced(asking, account, f"{now:%Y-%m-%d}")
    return lines


def synced(installation: Installation, account: str, name: str) -> Lines:
    installation.releve("sync", "--history", account, "--inline")
    installation.releve("sync", account, "--inline")
    again = installation.query("sync", account, "--inline")
    verified = installation.run("verify", account, "--json")
    found = [f"{name} verify {json.dumps(json.loads(verified.out)['findings'])}"]
    with installation.open() as parts:
        lines = [f"{name} {line}" for line in lines_of(parts.stores.measures, account)]
    return [*lines, f"{name} {second_pass(again)}", *found]


def from_files() -> Lines:
    """Return the documents of all files, imported twice into a home's installation."""
    files = [*sorted((RECORDINGS / "exports").glob("*.csv.gz")), *sorted((RECORDINGS / "gas").glob("*.xlsx"))]
    lines: Lines = []
    with TemporaryDirectory() as folder, new_home(Path(folder), **OWN_HOME) as made:
        installation = made.but(pretend_now=NOW.isoformat())
        for again in (False, True):
            for file in files:
                (plain := Path(folder, file.name.removesuffix(".gz"))).write_bytes(_content(file))
                point = ("--usage-point", PCE) if file.suffix == ".xlsx" else ()
                result = installation.run("import", str(plain), *point, "--json")
                told = [{name: row.get(name) for name in TOLD} for row in result.rows]
                lines.append(f"{'again ' * again}{plain.name} {result.code} {json.dumps(told)}")
        with installation.open() as parts:
            meters = {account.id: account.usage_point_id for account in parts.stores.registry.accounts.iterate()}
            for account, meter in sorted(meters.items(), key=lambda pair: str(pair[1])):
                lines += [f"{meter} {line}" for line in lines_of(parts.stores.measures, account)]
    return lines


def _content(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


@contextmanager
def new_home(folder: Path, **settings: str) -> Iterator[Installation]:
    """Yield an installation with SQLite that asks without a limit."""
    unlimited = dict.fromkeys(("calls_per_second", "calls_per_hour", "grdf_calls_per_second"), "0")
    gas = {"grdf_client_id": "releve-simulator", "grdf_url": "http://127.0.0.1:9"}
    with ExitStack() as opened:
        redis_url = opened.enter_context(servers.redis_server())
        installation = new_installation(folder, redis_url, **{**unlimited, **({} if settings else gas), **settings})
        installation.releve("migrate", pretend_now="")
        yield installation


# Lines


def lines_of(measures: Any, account: str) -> Lines:
    """Return a line a document, without what differs from run to run."""
    lines = []
    for doctype, documents in measures.read(account, dict.fromkeys(Doctype, ALL_KEYS)).items():
        for document in documents:
            kept = {name: value for name, value in document.items() if name not in LEFT_OUT and value != account}
            key = document["_id"].partition(":")[2]
            lines.append(f"{doctype.value} {key} {json.dumps(kept, sort_keys=True, ensure_ascii=False)}")
    return sorted(lines)


def count(counts: Counter[str], result: Any) -> None:
    for name in ("created", "updated", "removed"):
        counts[name] += result[name]


def second_pass(counts: Any) -> str:
    told = {name: counts[name] for name in ("created", "updated", "removed")}
    return f"second pass {json.dumps(told)}"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write(folder: Path, part: str = "") -> None:
    """Write the files of the homes in whose names this part is."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = 0
    for name, make in homes():
        if part not in name:
            continue
        lines = make()
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        number_of = sum('"load": ' in line for line in lines)
        documents += number_of
        say(f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {number_of:6} {name}")
    say(f"{documents} documents")


def compare(before: Path, after: Path) -> None:
    """Print by home what is gone, changed or new, by the kind of document; computed days by themselves."""
    total: Counter[str] = Counter()
    old_names, new_names = ({file.name for file in folder.glob("*.txt")} for folder in (before, after))
    for name in sorted(old_names ^ new_names):
        say(f"{name}: not compared, it is in one of both alone")
    names = sorted(old_names & new_names)
    for name in names:
        old, new = (_read(folder / name) for folder in (before, after))
        found: Counter[str] = Counter()
        for key in old.keys() | new.keys():
            kind = " ".join(word for word in key.split() if not word[0].isdigit())
            if key not in new:
                found[f"gone: {kind}"] += 1
            elif key not in old:
                found[f"{'computed' if _COMPUTED.search(new[key]) else 'new'}: {kind}"] += 1
            elif old[key] != new[key]:
                found[f"changed: {kind}"] += 1
        total += found
        if found:
            say(f"{name}: {dict(sorted(found.items()))}")
    lines = sum(len(_read(before / name)) for name in names)
    say(f"{len(names)} homes, {lines} lines before; differences: {dict(sorted(total.items())) or 'none'}")


def _read(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {key: rest for key, _, rest in (line.partition(" {") for line in lines)}


if __name__ == "__main__":
    words = sys.argv[2:]
    if sys.argv[1] == "write":
        write(Path(words[0]), *words[1:])
    else:
        compare(*map(Path, words))
