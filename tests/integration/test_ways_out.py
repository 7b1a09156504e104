"""The same numbers wherever they are read: three homes, eight ways out, and a reference that imports nothing of ours.

The homes come in through answers and files as suppliers make them, and are read as people and programs read them. How
many values each way out gave is compared with how many it must give at least, so that none says nothing unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient

from tests.support import gas_answers
from tests.support.api_service import ApiService
from tests.support.canned_server import CannedServer, answer, canned_server
from tests.support.factories import PretendSupplier, answer_2026
from tests.support.gas_homes import GAS_SETTINGS, PCE
from tests.support.home_assistant_server import TOKEN, HomeAssistantServer, home_assistant_server
from tests.support.installation import Installation, new_installation, prepare_installation
from tests.support.line_server import TOKEN as LINE_TOKEN
from tests.support.line_server import LineServer, line_server
from tests.support.mosquitto import PASSWORD, USER, Mosquitto
from tests.support.plain_reference import (
    KWH,
    PARIS,
    PERIODS,
    Chart,
    Flow,
    GasPeriod,
    Step,
    at,
    chart,
    days_between,
    local,
    made_steps,
    made_sun,
    midnight,
    span_of,
    statistics,
    without,
)
from tests.support.registries import METER, switch_on
from tests.support.ways_out import (
    Comparison,
    Page,
    api_documents,
    api_rows,
    csv_rows,
    json_documents,
    line_values,
    mqtt_figures,
    read_page,
    spreadsheet_rows,
    start_of_row,
    statistic_rows,
    table_rows,
    to_mwh,
    webhook_readings,
)
from worker.domain.series import Series, of_supplier
from worker.domain.windows import DateWindow
from worker.runtime.process import Runtime
from worker.web.asgi import create_app

pytestmark = pytest.mark.sockets

# Totals with `days` and `expected_days`, hours with `minutes` and `expected_minutes` (P2 of issue 40).
TOTALS_SAY_THEIR_DAYS: Final = False
# Days that no daily value can come of, and that their steps cover whole (HH1 of issue 40).
DAYS_FROM_THE_CURVE: Final = False

NOW: Final = datetime(2024, 11, 3, 7, 0, tzinfo=UTC)  # A Sunday, a week after the autumn change.
TODAY: Final = date(2024, 11, 3)
ONE_DAY: Final = timedelta(days=1)
SECRET: Final = "between us and the receiver of measures"
FILES_ALONE: Final = {"home": "true", "gateway_url": "http://127.0.0.1:9"}
LANGUAGES: Final = ("fr", "en")
SPRING, AUTUMN = date(2024, 3, 31), date(2024, 10, 27)
DAILY_OF: Final = {"consumption": "daily", "production": "production_daily", "gas": "gas_daily"}
CURVE_OF: Final = {"consumption": "load_curve", "production": "production_load_curve"}
OF_DAYS: Final = ("day", "month", "year")


@dataclass
class House:
    """A running installation, and who listens to it."""

    installation: Installation
    runtime: Runtime
    broker: Mosquitto
    webhook: CannedServer
    lines: LineServer
    assistant: HomeAssistantServer
    answers: int = 0

    def __post_init__(self) -> None:
        self.service = ApiService(self.runtime, create_app(self.runtime))
        more = {"bucket": "home"}
        options: dict[str, dict[str, Any]] = {
            "webhook": {"url": self.webhook.url, "secret": SECRET},
            "line-protocol": {"url": self.lines.url, "secret": LINE_TOKEN, "more": more},
            "home-assistant": {"url": self.assistant.url, "secret": TOKEN},
            "mqtt": {"url": f"mqtt://127.0.0.1:{self.broker.port}", "secret": PASSWORD, "more": {"user": USER}},
        }
        self.outputs = [self.runtime.outputs.insert(kind, of_kind, NOW) for kind, of_kind in options.items()]

    def sync(self, account: str, series: Series, first: date, end: date, payload: Any) -> None:
        """Let a supplier answer a window with this, a minute after the answer before."""
        self.answers += 1
        asked_at = NOW - timedelta(hours=6) + self.answers * timedelta(minutes=1)
        supplier = PretendSupplier(others={series: payload})
        sync = replace(self.runtime.window_sync, supplier_of=lambda _: supplier, now=lambda: asked_at)
        sync.sync_window(self.runtime.claims.to_job(account, series, DateWindow(first, end)))

    def deliver(self) -> None:
        for output in self.outputs:
            self.runtime.output_delivery.deliver(output)
        failed = [(state.kind, state.error) for state in self.runtime.outputs.list_outputs() if state.error]
        assert not failed and not any(state.waiting for state in self.runtime.outputs.list_outputs())


@contextmanager
def open_house(folder: Path, redis_url: str, broker: Mosquitto, **settings: str) -> Iterator[House]:
    prepare_installation(folder)
    usual = {"pretend_now": NOW.isoformat(), "api_calls_per_minute": "100000", "keep_raw_answers": "false"}
    installation = new_installation(folder, redis_url, **usual, **settings)
    with (
        installation.open() as runtime,
        canned_server(*[answer(204, "")] * 2000) as webhook,
        line_server() as lines,
        home_assistant_server() as assistant,
    ):
        runtime.redis.flushdb()
        yield House(installation, runtime, broker, webhook, lines, assistant)
        runtime.redis.flushdb()


@dataclass
class Home:
    """An account, and what the reference knows of it. ``days``: of which a chart is read."""

    house: House
    account: str
    flows: list[Flow]
    days: list[date] = field(default_factory=list)

    @property
    def flow(self) -> Flow:
        return self.flows[0]

    @property
    def fed(self) -> Flow | None:
        return self.flows[1] if len(self.flows) > 1 else None

    def tell_days(self, flow: Flow, energies: Mapping[date, int | None]) -> None:
        """Let the supplier tell days (mWh), and the reference know it."""
        first, end = min(energies), max(energies) + ONE_DAY
        rows = [[str(day), None if one is None else str(Decimal(one) / 1000)] for day, one in energies.items()]
        series = Series(DAILY_OF[flow.name])
        self.house.sync(self.account, series, first, end, answer_2026(rows, series))
        flow.take_days(energies)

    def tell_steps(self, flow: Flow, steps: Sequence[Step]) -> None:
        """Let the supplier tell steps of some days in a row, by the local times of their ends."""
        first, end = steps[0].day, steps[-1].day + ONE_DAY
        rows = [
            [f"{local(step.end):%Y-%m-%d %H:%M:%S}", str(step.milliwatts // 1000), f"PT{step.length}M"] for step in steps
        ]
        series = Series(CURVE_OF[flow.name])
        self.house.sync(self.account, series, first, end, answer_2026(rows, series))
        flow.take_steps(steps)


# -- The homes


def panels(house: House) -> Home:
    """Return a home with panels: steps of all lengths, hours that begin at half past, holes and corrections."""
    account, _ = house.runtime.registry.add("enedis", METER, NOW, token_needed=False)
    switch_on(house.runtime.registry, account.id, Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE)
    drawn, fed = Flow("consumption"), Flow("production")
    home = Home(house, account.id, [drawn, fed])

    lacking = {date(2024, 2, 29), *days_between(date(2024, 6, 10), date(2024, 6, 13)), date(2024, 10, 30)}
    days: dict[date, int | None] = {}
    for day in days_between(date(2023, 9, 20), TODAY):
        days[day] = None if day in lacking else 1000 * (9_001 + day.toordinal() * 37 % 4_999)
    days |= {date(2024, 7, 14): 0, date(2024, 5, 1): 10_412_500, date(2024, 5, 2): 9_999_499}
    for first, end in ((date(2023, 9, 20), date(2024, 3, 1)), (date(2024, 3, 1), TODAY)):
        home.tell_days(drawn, {day: days[day] for day in days_between(first, end)})
    sun: dict[date, int | None] = {}
    for day in days_between(date(2024, 2, 10), TODAY):
        missing = day == date(2024, 10, 29) or date(2024, 6, 11) <= day < date(2024, 6, 21)
        sun[day] = None if missing else 1000 * (3_003 + day.toordinal() * 53 % 9_001)
    home.tell_days(fed, sun)

    mixed = (5, 30, 60, 10, 15)
    spring = days_between(date(2024, 3, 29), date(2024, 4, 3))
    for day, lengths in zip(spring, ((30,), mixed, (60, 10, 15), (60,), (15,)), strict=True):
        steps = made_steps(day, lengths, 203, at_half_past=lengths == (60,))
        if day == date(2024, 4, 2):  # An hour of the day before reaches into it.
            steps = without(steps, (at(day, 0), at(day, 0, 30)))
        home.tell_steps(drawn, steps)
    for day, lengths in zip(spring, ((60,), (30,), (15, 30), (30,), (10,)), strict=True):
        home.tell_steps(fed, made_sun(made_steps(day, lengths, 0), 2_477))

    autumn = days_between(date(2024, 10, 25), TODAY)
    cycles = ((10,), (60,), (30, 15, 5, 60), (5,), (30,), (60,), (30, 10), (15,), (30,))
    for day, lengths in zip(autumn, cycles, strict=True):
        steps = made_steps(day, lengths, 187, at_half_past=day == date(2024, 10, 26))
        if day == AUTUMN:
            steps = without(steps, (at(day, 0), at(day, 0, 30)))
        if day == date(2024, 10, 28):
            steps = without(steps, (at(day, 10, 5), at(day, 12, 40)))
        if day == date(2024, 10, 30):
            steps = without(steps, (at(day, 0), at(day, 6)), (at(day, 22), at(day, 23)))
        home.tell_steps(drawn, steps)
    cycles = ((60,), (15,), (30, 60), (15,), (5, 10), (30,), (30,), (30,), (15,))
    for day, lengths in zip(autumn, cycles, strict=True):
        steps = made_sun(made_steps(day, lengths, 0), 1_733)
        hole = (at(day, 12), at(day, 13)) if day == date(2024, 11, 2) else (at(day, 0), at(day, 0))
        home.tell_steps(fed, without(steps, hole))

    # The supplier corrects itself: finer steps, longer steps that cover less, a day, a day to zero.
    home.tell_steps(drawn, made_steps(date(2024, 10, 29), (15,), 301))
    home.tell_steps(drawn, without(made_steps(date(2024, 11, 1), (60,), 350), (at(date(2024, 11, 1), 8), at(date(2024, 11, 1), 9))))
    home.tell_days(drawn, {date(2024, 8, 1): 7_777_000, date(2024, 8, 2): 0})
    home.days = [*spring, *autumn, date(2024, 7, 14)]
    return home


def gas(house: House) -> Home:
    """Return a home with gas: decimals, a zero, days that lack, billed periods."""
    account, _ = house.runtime.registry.add("grdf", PCE, NOW, token_needed=False)
    switch_on(house.runtime.registry, account.id, *of_supplier("grdf"))
    flow = Flow("gas", is_gas=True)
    records = []
    for day in days_between(date(2024, 1, 20), date(2024, 11, 1)):
        if day in (date(2024, 5, 5), date(2024, 10, 9)):
            records.append(gas_answers.absent(day))
            continue
        flow.take_days({day: 0 if day.month == 8 else KWH * (20 + day.toordinal() % 17) + day.toordinal() * 1_234_567 % KWH})
        flow.volumes[day] = day.toordinal() % 5
        records.append(gas_answers.day(day, str(Decimal(flow.told[day]) / KWH), volume_brut=flow.volumes[day]))
    first, end = date(2024, 1, 1), TODAY
    house.sync(account.id, Series.GAS_DAILY, first, end, {"records": records})
    flow.periods = [
        GasPeriod(date(2024, 9, 1), date(2024, 9, 3), 66 * KWH, 6),
        GasPeriod(date(2024, 9, 3), date(2024, 10, 1), 987_500_000, 88),
    ]
    billed = [
        gas_answers.period(one.start, one.end, str(Decimal(one.energy) / KWH), volume_brut=one.volume)
        for one in flow.periods
    ]
    house.sync(account.id, Series.GAS_PUBLISHED, first, end, {"records": billed})
    return Home(house, account.id, [flow], [date(2024, 10, 31)])


def files_of_hours(house: House) -> Home:
    """Return a home that nobody asks for: two files of hours, with both clock changes and holes."""
    flow = Flow("consumption", unfetchable=None if DAYS_FROM_THE_CURVE else ())
    spring = [step for day in days_between(date(2024, 3, 20), date(2024, 4, 8)) for step in made_steps(day, (60,), 97)]
    spring = without(spring, (at(date(2024, 3, 25), 5), at(date(2024, 3, 25), 9)))
    autumn = [step for day in days_between(date(2024, 10, 1), TODAY) for step in made_steps(day, (60,), 211)]
    autumn = without(autumn, (at(date(2024, 10, 12), 0), at(date(2024, 10, 14), 1)))
    autumn = [step._replace(milliwatts=step.milliwatts + 500) for step in autumn]  # Tenths of a kW and their half.
    folder = house.installation.folder
    for name, text in (("hours.csv", old_export(spring)), ("curve.csv", new_export(autumn))):
        (folder / name).write_text(text, encoding="utf-8")
        house.installation.releve("import", str(folder / name))
    flow.take_steps([*spring, *autumn])
    (account,) = house.runtime.registry.page()
    days = [SPRING, date(2024, 3, 25), date(2024, 10, 13), date(2024, 10, 14), AUTUMN, AUTUMN + ONE_DAY, TODAY - ONE_DAY]
    return Home(house, account.id, [flow], days)


def old_export(steps: Iterable[Step]) -> str:
    """Return an export of Enedis' customer site until 2024: labels are the ends of steps, with their offset."""
    head = "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;Unite"
    about = f"{METER};Courbe de charge;20/03/2024;08/04/2024;Energie active;Consommation;Comptage Brut;W;60"
    rows = [f"{local(step.end).isoformat()};{step.milliwatts // 1000}" for step in steps]
    return "\n".join([f"{head};Pas en minutes", about, "Horodate;Valeur", *rows])


def new_export(steps: Iterable[Step]) -> str:
    """Return an export since 2025: starts and ends in local time, powers in kW with a comma."""
    head = f"Point Référence Mesure (PRM) :;{METER};Type de comptage :;Consommation"
    times = "%d/%m/%Y %H:%M:%S"
    rows = [
        f"{local(step.start):{times}};{local(step.end):{times}};{Decimal(step.milliwatts) / KWH}".replace(".", ",")
        for step in steps
    ]
    return "\n".join([head, "Début;Fin;Valeur (en kW)", *rows])


# -- The ways out

Way = Callable[[Home, Comparison], None]


def kept(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return these fields of a document, and what it is made of where that is told."""
    counts = ("days", "expected_days", "minutes", "expected_minutes") if TOTALS_SAY_THEIR_DAYS else ()
    return {name: document[name] for name in (*names, *counts) if name in document}


def documents_of(flow: Flow, by: str) -> list[dict[str, Any]]:
    """Return what the reference has of a period, as programs read it."""
    names = ("load", "year", "month", "day", "hour", "minute", "fold")
    return [{**kept(one, *names), "computed": one.get("computed", False)} for one in flow.documents(by)]


def series_of(home: Home) -> Iterator[tuple[Flow, str, str]]:
    """Yield each flow with its series, and the periods that it has."""
    for flow in home.flows:
        for by in OF_DAYS if flow.is_gas else PERIODS:
            yield flow, DAILY_OF[flow.name], by


def billed_of(home: Home) -> list[dict[str, Any]]:
    return [
        {
            **{"load": one.energy, "year": one.start.year, "month": one.start.month, "day": one.start.day},
            **{"hour": 0, "minute": 0, "fold": 0, "ends_on": str(one.end), "computed": False},
        }
        for one in home.flow.periods
    ]


def compare_api(home: Home, comparison: Comparison) -> None:
    client = home.house.service.client()
    for flow, series, by in series_of(home):
        expected = documents_of(flow, by)
        comparison.same(f"{series} {by} json", api_documents(client, home.account, series, by), expected)
        comparison.same(f"{series} {by} csv", api_rows(client, home.account, series, by), expected)
        comparison.same(f"{series} {by} csv in pages", api_rows(client, home.account, series, by, 700), expected)
    if home.flow.periods:
        billed = api_documents(client, home.account, "gas_published", "day")
        comparison.same("billed", billed, billed_of(home))


def compare_show(home: Home, comparison: Comparison) -> None:
    for flow, series, by in series_of(home):
        expected, words = documents_of(flow, by), ("show", home.account, "--series", series, "--by", by, "--format")
        comparison.same(f"{series} {by} json", json_documents(run(home, *words, "json")), expected)
        comparison.same(f"{series} {by} csv", csv_rows(run(home, *words, "csv")), expected)
        table = table_rows(run(home, *words, "table", "--from", "2023-01-01", "--to", "2024-12-31"))
        comparison.same(f"{series} {by} table", table, [(title_of(one, by), one["load"]) for one in expected])


def run(home: Home, *words: str) -> str:
    return home.house.installation.releve(*words).out


def title_of(document: Mapping[str, Any], by: str) -> str:
    """Return a period as `releve show` writes it."""
    place = PERIODS[::-1].index(by)
    text = "-".join([str(document["year"]), *(f"{document[name]:02}" for name in ("month", "day")[: min(place, 2)])])
    if place > 2:
        text += f" {document['hour']:02}:{document['minute']:02}"
    return text + " (winter time)" * document["fold"]


def compare_files(home: Home, comparison: Comparison) -> None:
    browser = home.house.service.browser(home.account)
    for flow, series, by in series_of(home):
        for language in LANGUAGES:
            rows = spreadsheet_rows(browser, home.account, series, by, language)
            read = []
            for row in rows:
                offset = row[3] if by in ("minute", "hour") else ""
                read.append((start_of_row(row[0], offset), row[1], to_mwh(row[2])))
            expected = [(one["start"], end_of(one, by), one["load"]) for one in flow.documents(by)]
            comparison.same(f"{series} {by} {language}", read, expected)
            if flow.is_gas and by == "day":
                volumes = [Decimal(row[3]) for row in rows]
                comparison.same(f"{series} volumes", volumes, [Decimal(flow.volumes[day]) for day in sorted(flow.told)])


def end_of(document: Mapping[str, Any], by: str) -> str:
    """Return the end of a period as a spreadsheet has it: local time without an offset, or a date."""
    end = local(document["end"])
    return f"{end:%Y-%m-%d %H:%M}" if by in ("minute", "hour") else f"{end:%Y-%m-%d}"


def compare_pages(home: Home, comparison: Comparison) -> None:
    browser = home.house.service.browser(home.account)
    months = {span_of("month", day)[0] for day in home.days} | {span_of("month", day)[0] for day in home.flow.days()}
    spans = [("day", day) for day in home.days]
    spans += sorted({("week", span_of("week", day)[0]) for day in home.days})
    spans += [("month", month) for month in sorted(months)]
    spans += sorted({("year", span_of("year", day)[0]) for day in months})
    for number, (view, day) in enumerate(spans):
        # Both languages of the days of a clock change, one by turns else.
        both = view == "year" or day in (SPRING, AUTUMN)
        for language in LANGUAGES if both else [LANGUAGES[number % 2]]:
            page = read_page(browser, home.account, view, day, language)
            where = f"{view} {day} {language}"
            compare_chart(where, page, chart(view, day, home.flow, home.fed), view, comparison)
            for of_figure, first, total, fed, known, change in page.figures:
                expected = chart(of_figure, first, home.flow, home.fed, with_steps=False)
                wanted = (shown(expected.total, of_figure), shown(expected.fed, of_figure), expected.known, expected.change)
                comparison.same(f"{where} figure of {of_figure} {first}", (total, fed, known, change), wanted)


def compare_chart(where: str, page: Page, expected: Chart, view: str, comparison: Comparison) -> None:
    comparison.same(f"{where} total", page.total, shown(expected.total, view))
    comparison.same(f"{where} fed", page.fed, shown(expected.fed, view))
    comparison.same(f"{where} known", page.known, expected.known)
    comparison.same(f"{where} change", page.change, expected.change)
    balance = None if expected.balance is None else abs(expected.balance)
    comparison.same(f"{where} balance", page.balance, shown(balance, view))
    slots = expected.slots
    is_empty = all(slot.energy is None and slot.fed is None for slot in slots)
    for number, slot in enumerate([] if is_empty else slots):
        read = page.rows[number] if number < len(page.rows) else None
        wanted = (slot.begins, slot.ends, slot.energy, slot.before, slot.fed, slot.balance)
        row = read and (read.begins, read.ends, read.energy, read.before, read.fed, read.balance)
        comparison.same(f"{where} row {number} {slot.begins}", row, wanted)
    comparison.same(f"{where} rows", len(page.rows), 0 if is_empty else len(slots))
    comparison.same(f"{where} drawings", len(page.drawings), 0 if is_empty else 2)
    for size, drawing in zip(("wide", "narrow"), page.drawings, strict=False):
        comparison.same(f"{where} {size} slots", drawing.slots, len(slots))
        for which, bars in enumerate((drawing.now, drawing.before, drawing.fed)):
            known = [(place, height) for place, slot in enumerate(slots) if (height := slot.heights[which]) is not None]
            about = f"{where} {size} bars {which}"
            comparison.same(f"{about} places", [place for place, _ in bars], [place for place, _ in known])
            # A bar of nothing is a line of one pixel; ends are rounded to a tenth of one.
            heights = [max(height / KWH, drawing.pixel) for _, height in known]
            comparison.near(about, [height for _, height in bars], heights, 0.5 * drawing.pixel)


def shown(energy: int | None, view: str) -> str:
    """Return an energy as a figure has it: with about three digits, of a day with two decimals, half up."""
    if energy is None:
        return ""
    places = 2 if view == "day" else 0 if energy >= 100 * KWH else 1 if energy >= 10 * KWH else 2
    unit = 10 ** (6 - places)
    return f"{Decimal((2 * abs(energy) + unit) // (2 * unit)).scaleb(-places):f}"


def compare_webhook(home: Home, comparison: Comparison) -> None:
    held = webhook_readings(home.house.webhook.bodies, home.account)
    expected: dict[str, dict[int, tuple[int | None, int | None]]] = {}
    for flow in home.flows:
        if flow.steps:
            expected[CURVE_OF[flow.name]] = {step.start: (step.energy, step.length) for step in flow.steps}
        if flow.days():
            expected[DAILY_OF[flow.name]] = {midnight(day): (energy, None) for day, energy in flow.days().items()}
        if flow.periods:
            expected["gas_published"] = {midnight(one.start): (one.energy, None) for one in flow.periods}
    comparison.same("webhook", held, expected)


def compare_lines(home: Home, comparison: Comparison) -> None:
    expected: dict[str, dict[int, Any]] = {}
    for flow, _, by in series_of(home):
        name = f"releve_gas_{by}" if flow.is_gas else f"releve_{'step' if by == 'minute' else by} {flow.name}"
        unit, factor = ("kwh", KWH) if flow.is_gas else ("wh", 1000)
        points = {}
        for one in flow.documents(by):
            fields = {unit: one["load"] / factor}
            if by == "minute":
                fields["w"] = one["load"] / factor * 60 / (one["end"] - one["start"])
            if flow.is_gas and by == "day":
                fields["m3"] = flow.volumes[local(one["start"]).date()]
            points[one["start"]] = fields | kept(one)
        if points:
            expected[name] = points
    for one in home.flow.periods:
        fields = {"kwh": one.energy / KWH, "m3": one.volume, "days": (one.end - one.start).days}
        expected.setdefault("releve_gas_billed", {})[midnight(one.start)] = fields
    comparison.same("line", line_values(home.house.lines.points.values(), home.account), expected)


def compare_mqtt(home: Home, comparison: Comparison) -> None:
    retained = home.house.broker.retained()
    for flow in home.flows:
        if flow.days():
            read = mqtt_figures(retained, home.account, flow.name)
            comparison.same(flow.name, read, flow.figures(TODAY))


def compare_assistant(home: Home, comparison: Comparison) -> None:
    for flow in home.flows:
        for volume in (False, True) if flow.volumes else (False,):
            name = f"releve:{home.account}_{flow.name}{'_volume' * volume}"
            comparison.same(name, statistic_rows(home.house.assistant, name), statistics(flow, volume=volume))


WAYS: Final[dict[str, Way]] = {
    "pages": compare_pages,
    "API": compare_api,
    "CSV downloads": compare_files,
    "releve show": compare_show,
    "MQTT": compare_mqtt,
    "line protocol": compare_lines,
    "webhook": compare_webhook,
    "Home Assistant": compare_assistant,
}


# -- The tests


@pytest.fixture(scope="module")
def supplied(
    redis_url: str, mosquitto_broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Home]]:
    """Yield the homes of suppliers, with all that was delivered of them."""
    with open_house(tmp_path_factory.mktemp("supplied"), redis_url, mosquitto_broker, **GAS_SETTINGS) as house:
        homes = {"panels": panels(house), "gas": gas(house)}
        house.deliver()
        yield homes


@pytest.fixture(scope="module")
def of_files(redis_url: str, mosquitto_broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with open_house(tmp_path_factory.mktemp("files"), redis_url, mosquitto_broker, **FILES_ALONE) as house:
        home = files_of_hours(house)
        house.deliver()
        yield home


@pytest.mark.parametrize("way", WAYS)
def test_a_home_with_panels_is_the_same_wherever_it_is_read(supplied: dict[str, Home], way: str) -> None:
    comparison = Comparison(way)
    WAYS[way](supplied["panels"], comparison)
    comparison.conclude(1)


@pytest.mark.parametrize("way", WAYS)
def test_a_home_with_gas_is_the_same_wherever_it_is_read(supplied: dict[str, Home], way: str) -> None:
    comparison = Comparison(way)
    WAYS[way](supplied["gas"], comparison)
    comparison.conclude(1)


@pytest.mark.parametrize("way", WAYS)
def test_a_home_of_files_of_hours_is_the_same_wherever_it_is_read(of_files: Home, way: str) -> None:
    comparison = Comparison(way)
    WAYS[way](of_files, comparison)
    comparison.conclude(1)
