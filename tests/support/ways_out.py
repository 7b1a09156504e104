"""What each way out of Relève says of an account, read as its readers do: only by texts, fields and drawings.

Energies are whole milliwatt-hours (mWh), as the plain reference has them, so a text whose last places are lost differs
from it. Times are minutes since 1970.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from fastapi.testclient import TestClient

from tests.support.home_assistant_server import HomeAssistantServer
from tests.support.line_parser import Point
from tests.support.plain_reference import KWH, PARIS, StatisticRow, midnight, minute_of

PAGE: Final = 500  # Documents of a page of the API.
UNKNOWN: Final = "–"
Document = dict[str, Any]
NUMBERS: Final = ("year", "month", "day", "hour", "minute", "fold")
COUNTS: Final = ("days", "expected_days", "minutes", "expected_minutes")
TEXTS: Final = ("ends_on",)


@dataclass
class Comparison:
    """What was read at one way out against what the reference says: how many values were compared, and what differs."""

    way: str
    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def same(self, where: str, read: Any, expected: Any) -> None:
        """Compare two values; of two lists or two mappings each value is one."""
        if isinstance(read, Mapping) and isinstance(expected, Mapping):
            for key in [*expected, *(key for key in read if key not in expected)]:
                self.same(f"{where} {key}", read.get(key, "nothing"), expected.get(key, "nothing"))
        elif isinstance(read, tuple | list) and isinstance(expected, tuple | list):
            if len(read) != len(expected):
                self.differences.append(f"{where}: {len(read)} instead of {len(expected)}")
            for number, (one, other) in enumerate(zip(read, expected, strict=False)):
                self.same(f"{where} {number}", one, other)
        else:
            self.compared += 1
            if read != expected:
                self.differences.append(f"{where}: {read} instead of {expected}")

    def near(self, where: str, read: Sequence[float], expected: Sequence[float], within: float) -> None:
        """Compare lengths of a drawing, which has a resolution."""
        far = [abs(one - other) > within for one, other in zip(read, expected, strict=False)]
        self.compared += len(far)
        if any(far) or len(read) != len(expected):
            self.differences.append(f"{where}: {read} instead of {expected}")

    def conclude(self, at_least: int) -> None:
        """Fail where something differs, or less was compared than there was."""
        first = "\n".join(self.differences[:12])
        assert not self.differences, f"{self.way}: {len(self.differences)} of {self.compared} differ\n{first}"
        assert self.compared >= at_least > 0, f"{self.way}: only {self.compared} values were compared"


def to_mwh(kwh: str | float | None) -> int | None:
    """Return a number of kWh in mWh; None for an unknown one. Raises ValueError if it has more decimals."""
    if kwh is None or kwh in ("", UNKNOWN):
        return None
    amount = Decimal(str(kwh)) * KWH
    if amount != int(amount):
        raise ValueError(f"{kwh} kWh are no whole mWh")
    return int(amount)


def plain_number(text: str, language: str) -> str | None:
    """Return a number of a page, such as ``−1 234,5`` or ``−1,234.5``, as Python writes it; None for an unknown one."""
    groups, point = _SIGNS[language]
    text = text.strip()
    return None if text in ("", UNKNOWN) else text.translate(groups).replace(point, ".")


_SIGNS: Final = {
    "fr": (str.maketrans("\N{MINUS SIGN}", "-", "\u202f\u00a0 "), ","),
    "en": (str.maketrans("\N{MINUS SIGN}", "-", ","), "."),
}


# -- Programs: API, command line


def api_documents(client: TestClient, account: str, series: str, by: str) -> list[Document]:
    """Return the documents of all pages of the API's answer."""
    documents: list[Document] = []
    path: str | None = f"/api/accounts/{account}/measures?series={series}&by={by}&limit={PAGE}"
    while path:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        documents += answer.json(parse_float=Decimal)["documents"]
        path = answer.json()["next"]
    return list(map(_of_fields, documents))


def api_rows(client: TestClient, account: str, series: str, by: str, limit: int | None = None) -> list[Document]:
    """Return the same of the CSV: of the whole file, or of its pages."""
    text, path = "", f"/api/accounts/{account}/measures?series={series}&by={by}&format=csv"
    path += f"&limit={limit}" if limit else ""
    while path:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        text += answer.text if not text else answer.text.partition("\n")[2]
        path = answer.links.get("next", {}).get("url", "")
    return csv_rows(text)


def csv_rows(text: str) -> list[Document]:
    return [_of_fields(row) for row in csv.DictReader(io.StringIO(text))]


def json_documents(text: str) -> list[Document]:
    return list(map(_of_fields, json.loads(text, parse_float=Decimal)))


def _of_fields(fields: Mapping[str, Any]) -> Document:
    """Return a document's energy in mWh, its local time, and what it was computed from, if it says so."""
    document: Document = {"load": to_mwh(fields["load"])}
    document |= {name: int(fields.get(name) or 0) for name in NUMBERS}
    document |= {name: int(fields[name]) for name in COUNTS if fields.get(name) not in (None, "")}
    document |= {name: fields[name] for name in TEXTS if fields.get(name)}
    return document | {"computed": str(fields.get("computed")).lower() == "true"}


def table_rows(text: str) -> list[tuple[str, int | None, list[int]]]:
    """Return the period and the energy of each row that `releve show` prints, and the whole numbers behind them."""
    row = re.compile(r"^ *(\d{4}(?:-\d\d(?:-\d\d(?: \d\d:\d\d)?)?)?(?: \(winter time\))?) +(\d[\d.]*)((?: .*)?)$")
    return [
        (match[1], to_mwh(match[2]), [int(word) for word in match[3].split() if word.isdigit()])
        for line in text.splitlines()
        if (match := row.match(line))
    ]


# -- Households: files and pages


def spreadsheet_rows(browser: TestClient, account: str, series: str, by: str, language: str) -> list[list[str]]:
    """Return the cells of a file for a spreadsheet, without its heading; decimals with a point."""
    path = f"/accounts/{account}/download/file?series={series}&by={by}&format=csv"
    answer = browser.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200 and answer.text.startswith("\ufeff"), answer.text[:200]
    sign = ";" if language == "fr" else ","
    _, *rows = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")), delimiter=sign)
    return [[cell.replace(",", ".") if language == "fr" else cell for cell in row] for row in rows]


@dataclass(frozen=True)
class PageRow:
    """A row of the table below a chart; ``begins`` and ``ends``: what its label says of the time."""

    begins: str
    ends: str
    energy: int | None
    before: int | None
    fed: int | None = None
    balance: int | None = None


@dataclass(frozen=True)
class Drawing:
    """The bars of a chart, in order: the height of each in the unit of its axis, and the slot that it stands in.

    ``pixel``: how many units one pixel is, ``slots``: how many there are.
    """

    slots: int
    pixel: float
    now: list[tuple[int, float]]
    before: list[tuple[int, float]]
    fed: list[tuple[int, float]]


@dataclass(frozen=True)
class Page:
    """An account's page: the figures as they are written, the rows and drawings of its chart.

    ``figures``: of the last day, its month and its year, each with the view and the day that it leads to. ``change``:
    in percent. ``known``: such as (333, 365).
    """

    total: str
    fed: str
    known: tuple[int, int] | None
    change: int | None
    balance: str
    rows: list[PageRow]
    drawings: list[Drawing]
    figures: list[tuple[str, date, str, str, tuple[int, int] | None, int | None]]


def read_page(browser: TestClient, account: str, view: str, day: date, language: str) -> Page:
    answer = browser.get(f"/accounts/{account}?by={view}&at={day}", headers={"Accept-Language": language})
    assert answer.status_code == 200, answer.text[:500]
    page = html.unescape(answer.text)
    chart = _between(page, '<section id="chart"', "</section>")
    flows = re.findall(r"<dd>([^<]*)</dd>", _between(chart, '<dl class="flows">', "</dl>"))
    total = flows or re.findall(r'<p class="chart-total">\s*<strong>([^<]*)</strong>', chart)
    head = chart.partition("<table")[0]
    return Page(
        total=_energy(total[0], language),
        fed=_energy(flows[1], language) if flows else "",
        known=_known(head),
        change=_change(head),
        balance=_energy(_between(head, '<p class="balance">', "</p>"), language),
        rows=list(_rows(_between(chart, "<tbody>", "</tbody>"), view, language, has_fed=bool(flows))),
        drawings=[
            _drawing(svg, language) for svg in re.findall(r"<svg [^>]*class=\"chart .*?</svg>", chart, re.DOTALL)
        ],
        figures=[_figure(text, language) for text in re.findall(r'<a class="card figure".*?</a>', page, re.DOTALL)],
    )


def _between(text: str, first: str, last: str) -> str:
    return text.partition(first)[2].partition(last)[0]


def _energy(text: str, language: str) -> str:
    """Return the number before "kWh" as Python writes it; empty if there is none."""
    match = re.search(r"([−-]?\d[\d\s.,\u202f\u00a0]*)\s*kWh", text)
    return (plain_number(match[1], language) or "") if match else ""


def _known(text: str) -> tuple[int, int] | None:
    match = re.search(r'class="(?:flows-change )?known">(\d+) (?:jours? sur|of) (\d+)', text)
    return (int(match[1]), int(match[2])) if match else None


def _change(text: str) -> int | None:
    """Return the percents of a comparison; 0 if it says that both are alike, None if nothing is compared."""
    match = re.search(r'class="trend trend-(\w+)">([^<]*)', text)
    if match is None or match[1] == "none":
        return None
    percents = re.search(r"([+−-])([\d,\u202f\u00a0]+)\s?%", match[2])
    if percents is None:
        return 0
    return int(re.sub(r"\D", "", percents[2])) * (1 if percents[1] == "+" else -1)


def _figure(text: str, language: str) -> tuple[str, date, str, str, tuple[int, int] | None, int | None]:
    view, day = re.findall(r'href="\?by=(\w+)&at=([\d-]+)', text)[0]
    total = re.findall(r'class="figure-energy">([^<]*)<', text)[0]
    fed = _between(text, 'class="figure-fed"', "</a>")
    return view, date.fromisoformat(day), _energy(total, language), _energy(fed, language), _known(text), _change(text)


def _rows(body: str, view: str, language: str, *, has_fed: bool) -> Iterator[PageRow]:
    for number, (label, cells) in enumerate(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', body), start=1):
        text = re.sub(r"<[^>]*>", "", label)
        begins, _, ends = text.partition(" – ") if view == "day" else ("".join(re.findall(r"\d+", text)), "", "")
        values = [
            to_mwh(plain_number(cell, language)) for cell in re.findall(r'<td class="number">([^<]*)</td>', cells)
        ]
        fed, balance = values[1:3] if has_fed else (None, None)
        yield PageRow(str(number) if view == "year" else begins, ends, values[0], values[-1], fed, balance)


def _drawing(svg: str, language: str) -> Drawing:
    """Return the bars of a chart, measured as with a ruler against the lines of its axis."""
    lines = [(float(y), float(plain_number(label, language) or 0)) for y, label in _TICK.findall(svg)]
    zero = next(y for y, value in lines if not value)
    far, value = max(lines, key=lambda line: abs(line[0] - zero))
    pixel = value / abs(far - zero)
    slots = [(float(x), float(x) + float(width)) for x, width in _SLOT.findall(svg)]

    def bars(name: str) -> list[tuple[int, float]]:
        found = []
        for left, base, tip, bend, *_ in _BAR.findall(_between(svg, f'<g class="serie-{name}">', "</g>")):
            assert float(base) == zero, "a bar stands on the axis"
            place = next(number for number, (x, end) in enumerate(slots) if x - 0.1 <= float(left) < end)
            found.append((place, abs(float(tip) + float(bend) - zero) * pixel))
        return found

    return Drawing(len(slots), pixel, bars("1"), bars("0"), bars("fed"))


_TICK: Final = re.compile(r'<path class="tick" d="M[\d.]+ ([\d.]+)H[^>]*/><text [^>]*>([^<]*)</text>')
_SLOT: Final = re.compile(r'<rect class="hit" [^>]*x="([\d.]+)" y="[\d.]+" width="([\d.]+)"')
_BAR: Final = re.compile(r'd="M([\d.]+) ([\d.]+)V([\d.]+)q0 (-?[\d.]+)( [^"]*)"')


# -- Outputs


def webhook_readings(bodies: Iterable[bytes], account: str) -> dict[str, dict[int, tuple[int | None, int | None]]]:
    """Return what a receiver of the webhook holds, by series and start: value and step.

    Each body replaces all that it holds of the body's time.
    """
    held: dict[str, dict[int, tuple[int | None, int | None]]] = {}
    for body in (json.loads(content, parse_float=Decimal) for content in bodies):
        if body["kind"] != "measures" or body["account"] != account:
            continue
        first, end = (minute_of(datetime.fromisoformat(body[name])) for name in ("from", "until"))
        known = held.setdefault(body["series"], {})
        for start in [start for start in known if first <= start < end]:
            del known[start]
        for reading in body["readings"]:
            known[minute_of(datetime.fromisoformat(reading["start"]))] = to_mwh(reading["value"]), reading["step"]
    return held


def line_values(points: Iterable[Point], account: str) -> dict[str, dict[int, Mapping[str, float]]]:
    """Return the fields of an account's points by measurement, with its direction, and start."""
    held: dict[str, dict[int, Mapping[str, float]]] = {}
    for point in points:
        if point.tags["account"] == account:
            name = " ".join(filter(None, [point.measurement, point.tags.get("direction", "")]))
            held.setdefault(name, {})[point.time // 60] = point.fields
    return held


_COUNTS_OF_STATE: Final = ("month_days", "month_expected_days", "year_days", "year_expected_days")


def mqtt_figures(retained: Mapping[str, Any], account: str) -> dict[str, Document]:
    """Return the figures of each kind of energy, as the account's state has them."""
    state = retained[f"releve/{account}/state"]
    names = [key.removesuffix("_last_day") for key in state if key.endswith("_last_day")]
    return {
        name: {
            **{period: to_mwh(state[f"{name}_{period}"]) for period in ("yesterday", "month", "year")},
            **{key: state[f"{name}_{key}"] for key in _COUNTS_OF_STATE if f"{name}_{key}" in state},
            "last_day": date.fromisoformat(state[f"{name}_last_day"]),
        }
        for name in names
    }


def statistic_rows(server: HomeAssistantServer, identifier: str) -> dict[int, StatisticRow]:
    """Return what Home Assistant holds of a statistic: the amount of each hour and the sum up to its end."""
    return {
        minute_of(start): StatisticRow(to_mwh(row.state), to_mwh(row.sum) or 0)
        for start, row in server.rows[identifier].items()
    }


def start_of_row(cell: str, offset: str = "") -> int:
    """Return the start of a spreadsheet's row: a date, or a local time with its offset from UTC in hours."""
    if not offset:
        return midnight(date.fromisoformat(cell))
    return minute_of(datetime.fromisoformat(f"{cell}{int(offset):+03}:00").astimezone(PARIS))
