"""A real InfluxDB takes the lines, gives the right sums back, and answers each query of the dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.support.factories import content
from tests.support.fakes import memory_measures
from tests.support.home_dashboard import DASHBOARD, queries
from tests.support.influxdb import DATABASE, PASSWORD, USER, InfluxDB, influxdb
from tests.support.missing import or_skip
from tests.support.output_home import FIRST, LAST, NOW, change_of, fill_home, put_days
from tests.support.whole_homes import curve_of_day, sync_entries
from worker.domain.documents import entry_of
from worker.domain.series import Doctype, Series
from worker.domain.windows import DateWindow, local_midnight
from worker.outputs.line_protocol import LineProtocolOutput, build
from worker.outputs.output import OutputAccount, OutputOptions, OutputParts, OutputRefused
from worker.stores.measures.measure_store import MeasureStore

pytestmark = [pytest.mark.sockets, pytest.mark.rest]


@pytest.fixture(scope="module")
def server() -> Iterator[InfluxDB]:
    with or_skip(influxdb()) as running:
        yield running


@pytest.fixture(scope="module")
def sent(server: InfluxDB) -> MeasureStore:
    """Return the store of a home that was sent whole, then corrected downwards, and the correction sent."""
    measures = fill_home()
    output = output_to(server, measures)
    for series in Series:
        output.send([change_of(series)])
    day = date(2024, 10, 1)
    put_days(measures, Series.DAILY, {day: 1_000})
    output.send([change_of(Series.DAILY, day, day)])
    return measures


def output_to(
    server: InfluxDB, measures: MeasureStore, database: str = DATABASE, password: str = PASSWORD
) -> LineProtocolOutput:
    options = OutputOptions(server.url, password, {"database": database, "user": USER})
    return build(options, OutputParts(measures=measures, now=lambda: NOW))


@pytest.mark.parametrize(
    ("measurement", "field", "direction", "doctype"),
    [
        ("releve_day", "wh", "consumption", Doctype.DAY),
        ("releve_day", "wh", "production", Doctype.PRODUCTION_DAY),
        ("releve_month", "wh", "consumption", Doctype.MONTH),
        ("releve_year", "wh", "consumption", Doctype.YEAR),
        ("releve_step", "wh", "consumption", Doctype.MINUTE),
        ("releve_hour", "wh", "consumption", Doctype.HOUR),
        ("releve_gas_day", "kwh", None, Doctype.GAS_DAY),
        ("releve_gas_month", "kwh", None, Doctype.GAS_MONTH),
        ("releve_gas_billed", "kwh", None, Doctype.GAS_PUBLISHED),
    ],
)
def test_its_sums_are_those_of_the_store_also_after_a_correction(
    server: InfluxDB, sent: MeasureStore, measurement: str, field: str, direction: str | None, doctype: Doctype
) -> None:
    chosen = f" WHERE direction = '{direction}'" if direction else ""
    (series,) = server.query(f"SELECT sum({field}) FROM {measurement}{chosen}")
    unit = 1 if field == "kwh" else 1000
    assert series["values"][0][1] == pytest.approx(unit * sum(content(sent)[doctype].values()))


def test_its_days_are_those_of_the_meter_s_zone_on_the_day_of_the_clock_change(
    server: InfluxDB, sent: MeasureStore
) -> None:
    times = f"time >= {int(local_midnight(LAST - timedelta(days=2)).timestamp())}s AND time < {int(NOW.timestamp())}s"
    (series,) = server.query(f"SELECT count(wh) FROM releve_step WHERE {times} GROUP BY time(1d) tz('Europe/Paris')")
    assert [steps for _, steps in series["values"]][:3] == [48, 50, 48]


@pytest.mark.parametrize("query", queries())
def test_it_answers_each_query_of_the_dashboard_with_values(server: InfluxDB, sent: MeasureStore, query: str) -> None:
    begin, end = int(local_midnight(FIRST).timestamp()), int(NOW.timestamp())
    asked = query.replace("$account", "home1").replace("$timeFilter", f"time >= {begin}s and time <= {end}s")
    series = server.query(asked.replace("$__interval", "30m"))
    values = [row[1] for one in series for row in one["values"] if row[1] is not None]
    if "releve_step" in query and "production" in query:
        assert values == [], "this home has no curve of its production"
        return
    assert values
    if '"period"' in query:
        assert {one["tags"]["period"] for one in series} == {"HC", "HP"}


def test_the_points_of_steps_that_went_are_deleted(server: InfluxDB) -> None:
    """Half-hours, then the same day by hours: 27 October 2024 has 25."""
    measures, account, day = memory_measures(), OutputAccount("coarser", "coarser"), date(2024, 10, 27)
    window = DateWindow(day, day + timedelta(days=1))
    sums = []
    for minutes in (30, 60):
        before = content(measures, account.id)[Doctype.MINUTE].keys()
        entries = [entry_of(step, Doctype.MINUTE) for step in curve_of_day(day, minutes, [7])]
        sync_entries(measures, Series.LOAD_CURVE, entries, window, account.id)
        gone = sorted(before - content(measures, account.id)[Doctype.MINUTE].keys())
        change = replace(change_of(Series.LOAD_CURVE, day, day), account=account, removed=gone)
        assert output_to(server, measures).send([change]) == []
        (series,) = server.query("SELECT sum(wh), count(wh) FROM releve_step WHERE account = 'coarser'")
        sums.append(series["values"][0][1:])
    server.forget(account.id)
    assert len(gone) == 25
    assert sums == [[25 * 420, 50], [25 * 420, 25]]


def test_the_right_to_write_is_the_one_to_delete_too(server: InfluxDB) -> None:
    measures = fill_home()
    output = output_to(server, measures)
    gone = replace(change_of(Series.LOAD_CURVE, LAST, LAST), removed=["2024-10-28T05:10Z"])
    try:
        server.allow("READ")
        with pytest.raises(OutputRefused, match="may not write"):
            output.send([gone])
        server.allow("WRITE")
        assert output.send([gone]) == []
    finally:
        server.allow("ALL")


def test_it_lists_the_accounts_to_choose_from(server: InfluxDB, sent: MeasureStore) -> None:
    series = server.query(DASHBOARD["templating"]["list"][1]["query"])
    assert {value for one in series for _, value in one["values"]} == {"home1"}


def test_it_refuses_a_wrong_password_and_a_database_that_it_does_not_have(server: InfluxDB) -> None:
    measures = fill_home()
    assert "accepts data" in output_to(server, measures).check()
    with pytest.raises(OutputRefused, match="refuses the credentials"):
        output_to(server, measures, password="wr0ng").check()
    with pytest.raises(OutputRefused, match=r"credentials|no such database"):
        output_to(server, measures, database="another").check()
