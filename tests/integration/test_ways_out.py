"""The same numbers wherever they are read: three homes, eight ways out, and a reference that imports nothing of ours.

The homes come in through answers and files as suppliers make them, and are read as people and programs read them. How
many values each way out gave is compared with how many it must give at least, so that none says nothing unnoticed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import plain_reference
from tests.support.compared_homes import (
    AUTUMN,
    CURVE_OF,
    DAILY_OF,
    FILES_ALONE,
    NOW,
    SPRING,
    TODAY,
    Home,
    at,
    curve_alone,
    days_export,
    files_of_hours,
    gas,
    made_steps,
    open_house,
    panels,
    without,
)
from tests.support.gas_homes import GAS_SETTINGS
from tests.support.mosquitto import Mosquitto
from tests.support.plain_reference import (
    KWH,
    ONE_DAY,
    PERIODS,
    Chart,
    Flow,
    chart,
    days_between,
    local,
    midnight,
    span_of,
    statistics,
)
from tests.support.registries import METER
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

pytestmark = pytest.mark.sockets

LANGUAGES: Final = ("fr", "en")
OF_DAYS: Final = ("day", "month", "year")
VIEWS: Final = ("day", "week", "month", "year")
TOTALS: Final = ("hour", "month", "year")


# -- The ways out

Way = Callable[[Home, Comparison], None]


def kept(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return these fields of a document, and what it is made of."""
    counts = ("days", "expected_days", "minutes", "expected_minutes")
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
            "load": one.energy,
            "year": one.start.year,
            "month": one.start.month,
            "day": one.start.day,
            "hour": 0,
            "minute": 0,
            "fold": 0,
            "ends_on": str(one.end),
            "computed": False,
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
        titles = [(title_of(one, by), one["load"], list(kept(one).values())) for one in expected]
        read = [(*row, numbers if by in TOTALS else []) for *row, numbers in table]
        comparison.same(f"{series} {by} table", read, titles)


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
                offset, counts = row[3:4] if by in ("minute", "hour") else [], row[-2:] if by in TOTALS else []
                read.append((start_of_row(row[0], *offset), row[1], to_mwh(row[2]), list(map(int, counts))))
            expected = [
                (one["start"], end_of(one, by), one["load"], list(kept(one).values())) for one in flow.documents(by)
            ]
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
    # Without a single daily value, figures and charts of several days count the whole days of the curve.
    of_days = home.flow if home.flow.days() else replace(home.flow, unfetchable=None)
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
            flow = home.flow if view == "day" else of_days
            compare_chart(where, page, chart(view, day, flow, home.fed), view, comparison)
            # A tile for the last known day, its month and its year.
            last = max(of_days.days(), default=None)
            tiles = [(view, span_of(view, last)[0]) for view in ("day", "month", "year")] if last else []
            comparison.same(f"{where} tiles", [tile[:2] for tile in page.figures], tiles)
            for of_tile, first, *read in page.figures:
                told = chart(of_tile, first, of_days, home.fed, with_steps=False)
                expected = [shown(told.total, of_tile), shown(told.fed, of_tile), told.known, told.change]
                comparison.same(f"{where} tile of {of_tile} {first}", read, expected)


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
            known = [(place, height) for place, slot in enumerate(slots) if (height := slot.heights[which])]
            about = f"{where} {size} bars {which}"
            comparison.same(f"{about} places", [place for place, _ in bars], [place for place, _ in known])
            # Nothing has no bar, and little has one of a pixel; ends are rounded to a tenth of one.
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
    for billed in home.flow.periods:
        fields = {"kwh": billed.energy / KWH, "m3": billed.volume, "days": (billed.end - billed.start).days}
        expected.setdefault("releve_gas_billed", {})[midnight(billed.start)] = fields
    comparison.same("line", line_values(home.house.lines.points.values(), home.account), expected)


def compare_mqtt(home: Home, comparison: Comparison) -> None:
    read = mqtt_figures(home.house.broker.retained(), home.account)
    expected = {flow.name: flow.figures(TODAY) for flow in home.flows if flow.days()}
    comparison.same("kinds of energy", ", ".join(sorted(read)), ", ".join(sorted(expected)))
    comparison.same("figures", read, expected)


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

# How many values each way out gives of each home, at least; the last number: of the spans that are compared.
_NUMBERS: Final = {
    "panels": (15_900, 86_000, 21_500, 64_500, 9, 5_800, 5_700, 2_600, 131),
    "gas": (4_400, 7_000, 2_300, 5_300, 5, 580, 570, 1_140, 6),
    "curve alone": (19_100, 39_800, 9_900, 29_900, 1, 3_100, 2_800, 430, 45),
    "files of hours": (2_700, 57_300, 14_300, 43_000, 1, 3_500, 2_300, 2_700, 35),
    "before late days": (10_100, 23_000, 5_700, 17_200, 1, 1_700, 1_500, 380),
    "after late days": (11_000, 23_200, 5_800, 17_400, 5, 1_700, 1_500, 380),
    "later file of days": (4_100, 57_600, 14_400, 43_200, 5, 3_500, 2_400, 2_700),
}
AT_LEAST: Final = {name: dict(zip((*WAYS, "spans"), numbers, strict=False)) for name, numbers in _NUMBERS.items()}


def compare(name: str, home: Home, way: str) -> None:
    comparison = Comparison(way)
    WAYS[way](home, comparison)
    comparison.conclude(AT_LEAST[name][way])


@pytest.fixture(scope="module")
def supplied(
    redis_url: str, mosquitto_broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Home]]:
    """Yield the homes of suppliers, with all that was delivered of them."""
    with open_house(tmp_path_factory.mktemp("supplied"), redis_url, mosquitto_broker, **GAS_SETTINGS) as house:
        homes = {"panels": panels(house), "gas": gas(house), "curve alone": curve_alone(house)}
        house.deliver()
        yield homes


@pytest.fixture(scope="module")
def of_files(redis_url: str, mosquitto_broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with open_house(tmp_path_factory.mktemp("files"), redis_url, mosquitto_broker, **FILES_ALONE) as house:
        home = files_of_hours(house)
        house.deliver()
        yield home


@pytest.mark.rest
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["panels", *(pytest.param(name, marks=pytest.mark.rest) for name in ("gas", "curve alone"))]
)
def test_a_supplied_home_is_the_same_wherever_it_is_read(supplied: dict[str, Home], name: str, way: str) -> None:
    compare(name, supplied[name], way)


@pytest.mark.rest
@pytest.mark.parametrize("way", WAYS)
def test_a_home_of_files_of_hours_is_the_same_wherever_it_is_read(of_files: Home, way: str) -> None:
    compare("files of hours", of_files, way)


@pytest.mark.rest
def test_daily_values_that_a_supplier_tells_late_come_everywhere(
    redis_url: str, mosquitto_broker: Mosquitto, tmp_path: Path
) -> None:
    with open_house(tmp_path, redis_url, mosquitto_broker) as house:
        account, _ = house.parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)
        flow = Flow("consumption")
        home = Home(house, account.id, [flow], days_between(AUTUMN - ONE_DAY, TODAY))
        for day in home.days:
            hole = (at(day, 4), at(day, 5)) if day == AUTUMN + ONE_DAY else (at(day, 4), at(day, 4))
            home.tell_steps(flow, without(made_steps(day, (30, 10), 340), hole))
        house.deliver()
        for way in WAYS:
            compare("before late days", home, way)

        home.tell_days(flow, {day: day_of_steps(flow, day) + 12_000 for day in home.days[:-1]})
        house.deliver()
        for way in WAYS:
            compare("after late days", home, way)


@pytest.mark.rest
def test_daily_values_of_a_later_file_take_the_place_of_computed_ones(
    redis_url: str, mosquitto_broker: Mosquitto, tmp_path: Path
) -> None:
    with open_house(tmp_path, redis_url, mosquitto_broker, **FILES_ALONE) as house:
        home = files_of_hours(house)
        house.deliver()
        told = {day: half_kwh(day_of_steps(home.flow, day)) for day in days_between(SPRING, SPRING + 4 * ONE_DAY)}
        told |= {date(2024, 10, 13): 5_000_000, TODAY - ONE_DAY: half_kwh(day_of_steps(home.flow, TODAY - ONE_DAY))}
        (tmp_path / "days.csv").write_text(days_export(told), encoding="utf-8")
        house.installation.releve("import", str(tmp_path / "days.csv"))
        home.flow.take_days(told)
        house.deliver()
        for way in WAYS:
            compare("later file of days", home, way)


def day_of_steps(flow: Flow, day: date) -> int:
    return sum(step.energy for step in flow.steps_of(day))


def half_kwh(energy: int) -> int:
    """Return an energy that is nearly that of the steps, as a meter that rounds would tell it."""
    return energy // 500_000 * 500_000


@pytest.mark.rest
@pytest.mark.parametrize("name", ["panels", "gas", "curve alone", "files of hours"])
def test_the_day_the_week_the_month_and_the_year_of_one_time_never_contradict_each_other(
    supplied: dict[str, Home], of_files: Home, name: str
) -> None:
    comparison = Comparison("spans")
    compare_spans(({**supplied, "files of hours": of_files}[name]), comparison)
    comparison.conclude(AT_LEAST[name]["spans"])


def compare_spans(home: Home, comparison: Comparison) -> None:
    """Compare an account's pages with each other, without a reference of what is right."""
    browser = home.house.service.browser(home.account)

    @cache
    def page_of(view: str, first: date) -> Page:
        return read_page(browser, home.account, view, first, "en")

    for day in home.days:
        of_day, week, month, year = (page_of(view, span_of(view, day)[0]) for view in VIEWS)
        for flow, which, total in zip(home.flows, ("energy", "fed"), (of_day.total, of_day.fed), strict=False):
            in_week, in_month = value_in(week, day.weekday(), which), value_in(month, day.day - 1, which)
            comparison.same(f"{day} {which}: week and month", in_week, in_month)
            known = [energy for row in month.rows if (energy := getattr(row, which)) is not None]
            in_year = value_in(year, day.month - 1, which)
            comparison.same(f"{day} {which}: month and year", in_year, sum(known) if known else None)
            of_steps = [getattr(row, which) for row in of_day.rows]
            is_whole = bool(of_steps) and None not in of_steps
            if in_week is not None or (is_whole and not flow.can_come(day)):
                comparison.same(f"{day} {which}: day and week", total, shown(in_week, "day"))
        for view, page in (("week", week), ("month", month), ("year", year)):
            known = [row.energy for row in page.rows if row.energy is not None]
            comparison.same(f"{view} of {day}: rows and total", page.total, shown(sum(known) if known else None, view))


def value_in(page: Page, place: int, which: str) -> int | None:
    """Return a value of a row; a page that knows nothing has no rows."""
    value: int | None = getattr(page.rows[place], which) if page.rows else None
    return value


@pytest.mark.parametrize(
    ("read", "least", "words"),
    [
        ({}, 1, "only 0 values were compared"),
        ({"a": 1}, 2, "only 1 values were compared"),
        ({"a": 2}, 1, "home a: 2 instead of 1"),
        ({"a": 1, "b": 2}, 1, "home b: 2 instead of nothing"),
    ],
)
def test_a_way_out_that_says_too_little_or_something_else_fails(read: dict[str, int], least: int, words: str) -> None:
    comparison = Comparison("way")
    comparison.same("home", read, {"a": 1} if read else {})
    with pytest.raises(AssertionError, match=words):
        comparison.conclude(least)


def test_the_reference_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(plain_reference.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in imports for name in _imported(node)}
    assert names and names <= sys.stdlib_module_names


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return [name.partition(".")[0] or "." for name in names]
