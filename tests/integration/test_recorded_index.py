"""Every body of the recordings' own index through client, classification, parser and store.

Each ends in its documented class; none in a traceback, a zero that nobody sent, or a
stored value lost.  Skipped where the recordings are absent; they are never copied into the project.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.support.factories import MemoryRecorder, content, curve_of, memory_measures, v5_answer, window_job
from tests.support.recordings import RESPONSES, needs_recordings
from worker.clients.answer_shapes import find_deviations
from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import ANSWER_SHAPES, PRESETS
from worker.clients.supplier_session import Reply, SupplierSession, Token
from worker.domain.account import Account, AccountState
from worker.domain.answers import Deviation, RawAnswer
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow
from worker.errors import (
    AnswerNotJson,
    ApplicationRefused,
    ConsentRevoked,
    HolderChanged,
    LoginFailed,
    RequestRefused,
    SupplierFault,
    SupplierLimited,
    WorkerError,
    WrongShape,
    WrongUnit,
)
from worker.sync.window import WindowSync

NOW = datetime(2026, 10, 4, 9, 0, tzinfo=PARIS)
METER = "98765432109876"
NOTHING = "nothing"  # a success without a reading
MEASURES = "measures"

pytestmark = needs_recordings

# What each body means, whichever series is asked for; measures have MEASURES.
DOCUMENTED: Mapping[str, str | type[WorkerError]] = {
    "consoapi_403_cloudflare_block.fragment.html": AnswerNotJson,  # HTML: back off, never no-data
    "consoapi_502_cloudflare.fragment.txt": SupplierFault,
    "consoapi_v5_200_consumption_load_curve_2023-04-01_2023-04-02.json": MEASURES,
    "consoapi_v5_200_consumption_max_power_2023-04-01_2023-04-02.json": WrongUnit,  # VA are no energy
    "consoapi_v5_200_daily_consumption_2023-04-01_2023-04-02.json": MEASURES,
    "consoapi_v5_200_daily_consumption_2023-04-01_2023-04-04.json": MEASURES,
    "consoapi_v5_200_daily_production_2023-04-01_2023-04-02.json": MEASURES,  # the body itself doesn't say production
    "consoapi_v5_200_daily_production_2023-04-01_2023-04-04.json": MEASURES,
    "consoapi_v5_400_adam_dc_0007.json": HolderChanged,
    "consoapi_v5_400_adam_err0123.json": NOTHING,  # before the last activation: the history's floor
    "consoapi_v5_400_daily_consumption_2023-04-02_2023-04-01.json": RequestRefused,
    "consoapi_v5_401_invalid_token.json": ApplicationRefused,  # or LoginFailed, for a user's token
    "consoapi_v5_403_adam_dc_0008.json": ConsentRevoked,
    "consoapi_v5_404_no_data_found.json": NOTHING,
    "consoapi_v5_429_900804_throttled.json": SupplierLimited,
    "consoapi_v5_500_technical_error.json": SupplierFault,
    "consoapi_v5_500_unknown.json": SupplierFault,
    "dataconnect_v4_PT10M_points_2020-07-13.fragment.json": MEASURES,
    "dataconnect_v4_PT30M_2020-07-09.fragment.json": MEASURES,
    "dataconnect_v4_PT30M_production_points_2020-06-18.fragment.json": MEASURES,
    "dataconnect_v4_PT60M_2020-08-19.fragment.json": MEASURES,
    "dataconnect_v5_200_consumption_load_curve_2026-09-29_2026-10-01.json": MEASURES,
    "dc2026_200_consommation_quotidienne_2026-09-29_2026-10-01.json": MEASURES,
    "dc2026_200_courbe_de_charge_consommation_2026-09-29_2026-10-01.json": MEASURES,
    "dc2026_200_production_quotidienne_2026-09-29_2026-10-01.json": NOTHING,  # production is no consumption
    "dc2026_200_situation_contrat.json": WrongShape,
    "dc2026_200_synth_contrat.json": WrongShape,
    "dc2026_400_adam_err0123_fr.json": NOTHING,
    "dc2026_400_no_subscribed_service_fr.json": RequestRefused,
    "dc2026_403_900908_not_subscribed.json": ApplicationRefused,
    "enedisgateway_no_data_found.json": NOTHING,
    "enedisgateway_result_400_end_date.json": RequestRefused,
    "med_quota_valid_access_2022.json": SupplierLimited,
    "med_v5_200_consumption_load_curve_2023-03-01_2023-03-08.json": MEASURES,
    "med_v5_200_contracts.json": WrongShape,
    "med_v5_200_daily_consumption_2022-03-08_2023-03-08.json": MEASURES,
    "med_v5_200_valid_access.json": WrongShape,
    "med_v5_200_valid_access_quota_reached.json": SupplierLimited,
}


# -- the index


@dataclass(frozen=True)
class Recorded:
    """``statuses``: the one it was recorded with, or those it may have come with where the index doesn't know."""

    name: str
    statuses: tuple[int, ...]
    daily: bool
    content: bytes = field(repr=False)

    @property
    def body(self) -> Any:
        try:
            return json.loads(self.content)
        except ValueError:
            return None


def index() -> Iterator[Recorded]:
    if not RESPONSES.is_dir():
        return
    with (RESPONSES / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            content = (RESPONSES / row["file"]).read_bytes()
            if "_points_" in row["file"]:  # the excerpt began inside: the envelope is ours
                content = json.dumps({"meter_reading": {"interval_reading": json.loads(content)}}).encode()
            status = row["http_status"]
            daily = "daily" in row["endpoint"] or "quotidienne" in row["endpoint"]
            yield Recorded(row["file"], (int(status),) if status else (200, 400), daily, content)


RECORDED = {recorded.name: recorded for recorded in index()}


def points(body: Any) -> list[tuple[str, str, str | None]]:
    """Value, label and step of each point, read without the program's own parser."""
    if "grandeur" in body:
        return [(row["v"], row["d"], row.get("p")) for row in body["grandeur"][0]["points"]]
    reading = body.get("meter_reading", body)
    return [(row["value"], row["date"], row.get("interval_length")) for row in reading["interval_reading"]]


def expected_loads(recorded: Recorded) -> dict[str, float]:
    """kWh by key, calculated without the program's own arithmetic."""
    loads = {}
    for value, label, step in points(recorded.body):
        if recorded.daily:
            loads[label] = int(value) / 1000
            continue
        minutes = int(str(step)[2:-1])
        start = datetime.fromisoformat(label).replace(tzinfo=PARIS).astimezone(UTC) - timedelta(minutes=minutes)
        loads[start.strftime("%Y-%m-%dT%H:%MZ")] = round(int(value) * minutes / 60_000, 6)
    return loads


def settled(before: Mapping[str, float], recorded: Recorded) -> dict[str, float]:
    """What is stored after the answer: a half-hour goes where the answer covers it, else it stays."""
    answer = expected_loads(recorded)
    if recorded.daily:
        return {**before, **answer}
    lengths = [int(str(step)[2:-1]) for _, _, step in points(recorded.body)]
    steps = {key: minutes_of(key, length) for key, length in zip(answer, lengths, strict=True)}
    half_hours = {key: minutes_of(key, 30) for key in before}
    covered = set[int]().union(*steps.values())
    kept = {key for key, half_hour in half_hours.items() if not covered >= half_hour}
    kept_time = set[int]().union(*(half_hours[key] for key in kept))
    return {
        **{key: before[key] for key in kept},
        **{key: load for key, load in answer.items() if not steps[key] & kept_time},
    }


def minutes_of(key: str, length: int) -> set[int]:
    first = int(datetime.fromisoformat(key).timestamp()) // 60
    return set(range(first, first + length))


def window_of(recorded: Recorded) -> DateWindow:
    """The recorded days for a measure, else any that are over; never ending today, which asks its own question."""
    of_measures = "_200_" in recorded.name or "_v4_" in recorded.name
    if DOCUMENTED[recorded.name] not in (MEASURES, NOTHING) or not of_measures:
        return DateWindow(date(2026, 9, 1), date(2026, 9, 6))
    labels = [date.fromisoformat(label[:10]) for _, label, _ in points(recorded.body)]
    return DateWindow(min(labels), max(labels) + ONE_DAY)


# -- one answer


@dataclass
class SingleAnswerSetup:
    """The window sync over the real client; its supplier always answers ``reply``."""

    recorded: Recorded
    status: int
    preset: str

    def __post_init__(self) -> None:
        self.endpoints = PRESETS[self.preset].endpoints("http://127.0.0.1:9")
        self.reply = Reply(self.status, {}, self.recorded.content)
        self.measures = memory_measures()
        self.deviations: list[Deviation] = []
        self.meter = METER
        if echoed := re.search(rb'"(?:usage_point_id|idPrm)": ?"(\d{14})"', self.recorded.content):
            self.meter = echoed[1].decode()

    def window_sync(self) -> WindowSync:
        session = SupplierSession(self.endpoints, self, self, self)  # type: ignore[arg-type]
        client = EnedisClient(self.endpoints, session, lambda: NOW, self.deviations.append)
        return WindowSync(
            accounts=self,
            supplier_of=lambda account: client,
            measures=self.measures,
            recorder=MemoryRecorder(),
            now=lambda: NOW,
            observe=self.record_answer,
        )

    def prepare(self, series: Series, window: DateWindow) -> None:
        """Something is stored already: of the window's first day and the day before."""
        for day in (window.start - ONE_DAY, window.start):
            rows = [[day.isoformat(), "4321"]] if series is Series.DAILY else curve_of(day, 321)
            raw_answer = RawAnswer(
                series,
                NOW - ONE_DAY,
                DateWindow(day, day + ONE_DAY),
                [(DateWindow(day, day + ONE_DAY), v5_answer(rows))],
            )
            self.window_sync().replay(window_job(raw_answer.window, series), raw_answer)

    # What the client and the window sync ask of their collaborators.

    def get(self, account_id: str) -> Account:
        return Account(account_id, AccountState.READY, "enedis", NOW, self.meter)

    def record_answer(self, account_id: str, raw_answer: RawAnswer) -> None:
        self.deviations += [
            deviation
            for _, body in raw_answer.pieces
            for deviation in find_deviations(body, ANSWER_SHAPES[raw_answer.series])
        ]

    def send(self, *_: Any, **__: Any) -> Reply:
        return self.reply

    def current(self) -> Token:
        return Token("access", "refresh", 0)

    def renew(self, refused: Token) -> Token:
        return Token("another", "refresh", 0)

    def take_permit(self, api: str) -> str:
        return api

    def release_permit(self, permit: str) -> None: ...

    def close_gate(self, retry_after_s: float, permit: str, code: str = "") -> None: ...


@pytest.mark.parametrize(
    "preset",
    [
        "enedis-2026",
        *(pytest.param(name, marks=pytest.mark.other_generation) for name in PRESETS if name != "enedis-2026"),
    ],
)
def test_each_recorded_body_ends_in_its_documented_class_and_costs_no_value(preset: str) -> None:
    different = {
        f"{recorded.name}, {status}, {series}": problems
        for recorded in RECORDED.values()
        for status in recorded.statuses
        for series in USUAL_SERIES
        if (problems := list(_differences(SingleAnswerSetup(recorded, status, preset), series)))
    }
    assert different == {}


def _differences(setup: SingleAnswerSetup, series: Series) -> Iterator[str]:
    """Yield what an answer, asked for as this series, does otherwise than documented."""
    recorded, window = setup.recorded, window_of(setup.recorded)
    setup.prepare(series, window)
    before = content(setup.measures)
    documented = DOCUMENTED[recorded.name]
    same_series = recorded.daily == (series is Series.DAILY)
    if documented is MEASURES and not same_series:
        documented = WrongUnit if _names_its_unit(recorded.body) else NOTHING
    if documented is ApplicationRefused and "401" in recorded.name and PRESETS[setup.preset].token_mode == "user":
        documented = LoginFailed
    try:
        setup.window_sync().sync_window(window_job(window, series))
    except WorkerError as error:
        if type(error) is not documented or setup.meter in str(error) or not str(error):
            yield f"raises {error!r} in place of {documented}"
    else:
        if documented not in (MEASURES, NOTHING):
            yield f"raises nothing in place of {documented}"
    after = content(setup.measures)
    if documented is not MEASURES:
        if after != before:
            yield "changes what is stored"
    else:
        if after[series.inputs] != pytest.approx(settled(before[series.inputs], recorded)):
            yield "stores other readings"
        zeros = {key for key, load in after[series.inputs].items() if load == 0}
        if zeros != {key for key, load in expected_loads(recorded).items() if load == 0}:
            yield f"stores zeros that nobody sent, or loses some: {zeros}"
        for period in series.totals:
            if sum(after[period].values()) != pytest.approx(sum(after[series.inputs].values()), abs=0.01):
                yield f"stores other totals of {period}"
    if documented in (MEASURES, NOTHING) and same_series and setup.deviations:
        yield f"reports {setup.deviations}"


def _names_its_unit(body: Any) -> bool:
    """Fragments have no header: it is their steps that keep a curve's watts out of the days."""
    return "reading_type" in body.get("meter_reading", body)


def test_the_index_names_every_body_and_each_is_documented_here() -> None:
    files = {path.name for path in RESPONSES.iterdir()} - {"INDEX.csv"}
    assert set(RECORDED) == files == set(DOCUMENTED)


def test_no_documented_refusal_is_a_surprise() -> None:
    """But for those that no page documents as an answer to a request for measures."""
    names_with_deviations = set()
    for recorded in RECORDED.values():
        for status in recorded.statuses:
            setup = SingleAnswerSetup(recorded, status, "enedis-2026")
            series = Series.DAILY if recorded.daily else Series.LOAD_CURVE
            with suppress(WorkerError):
                setup.window_sync().sync_window(window_job(window_of(recorded), series))
            names_with_deviations |= {recorded.name} if setup.deviations else set()
    assert names_with_deviations == {
        "consoapi_v5_200_consumption_max_power_2023-04-01_2023-04-02.json",
        "dc2026_200_situation_contrat.json",
        "dc2026_200_synth_contrat.json",
        "med_v5_200_contracts.json",
        "med_v5_200_valid_access.json",
    }
