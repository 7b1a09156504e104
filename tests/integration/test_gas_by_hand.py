"""Gas on the command line: show, explain, history, verify, completeness and freshness of an account of gas."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.support.gas_entries import gas_day, gas_period
from tests.support.gas_homes import OTHER_PCE, GasHome, add_gas
from tests.support.gas_household import ABSENT, DAILY, FIRST, PUBLISHED, TODAY, GasHousehold
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.registries import prepare_registry
from worker.domain.documents import Entry, to_document
from worker.domain.windows import DateWindow

WITH_GAS = {"grdf_client_id": "id", "grdf_client_secret": "secret", "grdf_url": "http://127.0.0.1:9"}


@pytest.fixture
def installation(installation: Installation) -> Installation:
    prepare_registry(installation.folder)
    return installation.but(**WITH_GAS)


@pytest.fixture
def parts(installation: Installation) -> Iterator[Parts]:
    with installation.open() as parts:
        yield parts


@pytest.fixture
def home(parts: Parts) -> GasHousehold:
    return GasHousehold(parts)


def test_days_are_shown_with_their_numbers_in_every_form(installation: Installation, home: GasHousehold) -> None:
    words = ("show", home.account, "--by", "day", "--format")
    days = json.loads(installation.releve(*words, "json", "--series", "gas_daily").out)
    assert len(days) == len(home.days)
    assert days[0] == {
        "load": 33.0,
        "year": 2024,
        "month": 6,
        "day": 1,
        "hour": 0,
        "minute": 0,
        "volume": 2.9,
        "coefficient": 11.16,
        "quality": "measured",
        "status": "final",
    }
    assert json.loads(installation.releve(*words, "json").out) == days, "an account of gas has gas without --series"
    rows = list(csv.DictReader(io.StringIO(installation.releve(*words, "csv").out)))
    assert [rows[0][name] for name in ("load", "volume", "coefficient", "index_start")] == [
        "33.000",
        "2.9",
        "11.16",
        "",
    ]
    table = installation.releve(*words, "table").out.splitlines()
    assert "kWh" in table[0].split() and "coefficient" in table[0].split()
    assert "Enedis" not in installation.releve(*words, "plot").out


def test_a_table_of_all_numbers_fits_a_terminal_of_80_columns(installation: Installation) -> None:
    with installation.open() as parts:
        account = add_gas(parts, GasHome(TODAY - timedelta(days=3)), OTHER_PCE)
    lines = installation.releve("show", account, "--from", "2024-07-20").out.splitlines()
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)
    (day,) = [line for line in lines if line.split()[:1] == ["2024-07-22"]]
    assert day.split()[-2:] == ["measured", "provisional"] and day.split()[3] == "11.16"
    explained = installation.releve("explain", account, "2024-07-22").out
    assert re.search(r"volume \d+, coefficient 11.16, index_start \d+, index_end \d+,", explained), explained


def test_a_series_of_another_supplier_is_refused_in_one_line(installation: Installation, home: GasHousehold) -> None:
    for name in ("daily", "contract"):
        line = installation.run("show", home.account, "--series", name).error_line
        assert f"{name}: use --series gas_daily or gas_published" in line


def test_periods_are_shown_by_the_day_of_their_beginning_and_their_months_are_computed(
    installation: Installation, home: GasHousehold
) -> None:
    words = ("show", home.account, "--series", "gas_published", "--format")
    periods = json.loads(installation.releve(*words, "json").out)
    assert [(one["day"], one["load"], one["ends_on"]) for one in periods] == [
        (1, 66.0, "2024-06-03"),
        (3, 921.5, "2024-07-01"),
    ]
    assert len(installation.releve(*words, "table").out.splitlines()) == 3, "a table shows all of them"
    months = json.loads(installation.releve(*words, "json", "--by", "month").out)
    assert months == [
        {
            "load": 987.5,
            "year": 2024,
            "month": 6,
            "begins_on": "2024-06-01",
            "ends_on": "2024-07-01",
            "days": 30,
            "whole": True,
        }
    ]
    assert installation.releve(*words, "csv", "--by", "month").out.splitlines() == [
        "load,year,month,begins_on,ends_on,days,whole",
        "987.500,2024,6,2024-06-01,2024-07-01,30,True",
    ]
    assert "use --by day or month" in installation.releve(*words, "json", "--by", "year", code=2).err


def test_verify_tells_a_deviation_and_late_provisional_days_and_repairs_neither(
    installation: Installation, parts: Parts
) -> None:
    home = GasHousehold(parts, june_kwh="970")
    home.sync(DAILY, [gas_day("2024-05-31", "33", "provisional")], DateWindow(FIRST.replace(month=5), FIRST))
    lines = installation.releve("verify", home.account, "--repair").out.splitlines()
    assert lines == [
        f"{home.account} 2024-06: 990.000 kWh by days, 970.000 kWh published: they differ by more than 1 m³ (11.160 "
        "kWh), which is not an error",
        f"{home.account} gas_daily 2024-05-31: note, still provisional, but should be final by now",
        "1 accounts (0 at fault), 59 documents, 1 months differ",
    ]
    report = installation.query("verify", home.account)
    assert (report["accounts_at_fault"], report["deviations"], report["faults"]) == (0, 1, [])
    assert [sorted(note) for note in report["notes"]] == [
        ["account", "deviation"],
        ["account", "provisional", "series"],
    ]
    assert report["notes"][0]["deviation"]["published_kwh"] == 970.0


def test_verify_finds_a_wrong_month_and_periods_that_overlap_and_mends_them(
    installation: Installation, parts: Parts, home: GasHousehold
) -> None:
    month = parts.stores.measures.read(home.account, {DAILY.totals[0]: ("2024-06", "2024-07")})[DAILY.totals[0]][0]
    assert parts.stores.measures.write({DAILY.totals[0]: [month | {"load": 1.0}]}) == {DAILY.totals[0]: []}
    details = {"ends_on": "2024-06-20", "status": "final"}
    stray = to_document(
        home.account, PUBLISHED.inputs, Entry("2024-06-10", 5_000_000, details=details), parts.stores.now()
    )
    stray["updated_at"] = "2020-01-01T00:00:00+00:00"
    assert parts.stores.measures.write({PUBLISHED.inputs: [stray]}) == {PUBLISHED.inputs: []}
    out = installation.releve("verify", home.account, code=1).out
    assert f"{home.account} 2024-06: days make the month, 990.000 kWh, stored is 1.000 kWh" in out
    assert f"{home.account} gas_published 2024-06-10: no two steps overlap" in out
    installation.releve("verify", home.account, "--repair")
    assert "at fault" in installation.releve("verify", home.account).out
    assert len(parts.stores.measures.read(home.account, {PUBLISHED.inputs: ("0", "~")})[PUBLISHED.inputs]) == 2


def test_a_value_that_becomes_final_is_a_correction_only_where_its_energy_changes(
    installation: Installation, home: GasHousehold
) -> None:
    changed = [gas_day("2024-07-01", "33", "final", volume=2.9), gas_day("2024-07-02", "34.5", "final", volume=3.1)]
    result = home.sync(DAILY, changed, DateWindow(TODAY.replace(day=1), TODAY.replace(day=3)))
    assert result["updated"] == 2 + 2, "two days, their month and their year"
    assert (
        "no value of 2024-07-01 was corrected"
        in installation.releve("explain", "--corrections", home.account, "2024-07-01").out
    )
    [correction] = installation.query("explain", "--corrections", home.account, "2024-07-02")["corrections"]
    assert (correction["was_kwh"], correction["became_kwh"]) == (33.0, 34.5)
    assert (
        installation.releve("explain", "--corrections", home.account, "2024-07-02").out.splitlines()[2].split()[0]
        == "day"
    )
    [stored] = json.loads(
        installation.releve(
            *("show", home.account, "--from", "2024-07-01", "--to", "2024-07-01", "--format", "json")
        ).out
    )
    assert (stored["load"], stored["status"]) == (33.0, "final"), "the new status is written all the same"


def test_a_period_that_changes_is_found_from_any_of_its_days(installation: Installation, home: GasHousehold) -> None:
    home.sync(PUBLISHED, [gas_period("2024-06-03", "2024-07-01", "900")], DateWindow(FIRST, TODAY))
    [correction] = installation.query("explain", "--corrections", home.account, "2024-06-20")["corrections"]
    assert (correction["key"], correction["was_kwh"], correction["became_kwh"]) == ("2024-06-03", 921.5, 900.0)
    assert "2024-06-03" in installation.releve("explain", "--corrections", home.account, "2024-06-20").out


def test_no_sentence_of_an_account_of_gas_speaks_of_another_supplier(
    installation: Installation, home: GasHousehold
) -> None:
    for day in (str(ABSENT), "2024-07-24", "2024-06-05", "2019-01-01"):
        out = installation.releve("explain", home.account, day).out
        assert "Enedis" not in out and "curve" not in out and "half-hours" not in out
    completeness = installation.releve("explain", "--days", home.account).out
    assert "from 2024-07-01 on: not published yet, waiting for the meter's next reading" in completeness
    assert f"{ABSENT}" in completeness
    assert "gas_daily" in installation.releve("status", home.account).out
    assert "gas_daily" in installation.releve("status", "--freshness").out


def test_a_plan_has_a_part_of_each_supplier(installation: Installation, home: GasHousehold, parts: Parts) -> None:
    parts.stores.registry.accounts.add("enedis", "30001640000011", parts.stores.now(), token_needed=False)
    lines = installation.releve("plan").out
    assert "enedis-2026, 1000 calls an hour" in lines and "grdf-adict, 3600 calls an hour, 6000 a day" in lines
    report = installation.query("plan")
    assert [report["preset"], *(one["preset"] for one in report["others"])] == ["enedis-2026", "grdf-adict"]
    assert report["series"] == {"daily": 1, "load_curve": 1}
    assert report["others"][0]["series"] == {"gas_contract": 1, "gas_daily": 1, "gas_published": 1}
    alone = installation.query("plan", "--preset", "grdf-adict", "--accounts", "3000")
    assert (alone["calls_a_night"], alone["calls_per_day"], alone["fits"]) == (3_234, 6_000, True)
    assert (
        "grdf-adict" in installation.releve("plan", "--preset", "grdf-adict", "--accounts", "3", "--apply", code=2).err
    )
    assert (
        "plan each separately"
        in installation.releve("plan", "--accounts", "3", "--series", "daily,gas_daily", code=2).err
    )


@pytest.mark.parametrize("words", [("show",), ("accounts", "series")])
def test_where_there_is_no_gas_no_command_names_its_series(installation: Installation, words: tuple[str, ...]) -> None:
    wrong = (*words, "x", "--series" if words == ("show",) else "--on", "nonsense")
    assert "gas_daily" in installation.run(*words, "--help").out
    assert "gas_daily" in installation.run(*wrong).error_line
    without = Installation(installation.folder, installation.redis_url, {})
    assert "gas" not in without.run(*words, "--help").out and "load_curve" in without.run(*words, "--help").out
    assert "gas" not in without.run(*wrong).error_line and "load_curve" in without.run(*wrong).error_line
