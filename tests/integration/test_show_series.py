"""`releve show --series`: every series as JSON, CSV, table and plot, and what it was before without one."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.api_service import TODAY
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.panel_homes import PanelHome, store_home
from tests.support.registries import prepare_registry
from worker.domain.series import Period, of_supplier, periods_of

HOME = PanelHome(TODAY - timedelta(days=1), days=40)


@pytest.fixture
def home(installation: Installation) -> str:
    prepare_registry(installation.folder)
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False)
        store_home(parts, account.id, HOME)
    return account.id


def test_every_series_is_shown_in_every_form_with_its_unit(installation: Installation, home: str) -> None:
    for series in of_supplier("enedis"):
        unit = series.description.quantity.load_unit
        words = ("show", home, "--series", series.value, "--format")
        documents = json.loads(installation.releve(*words, "json").out)
        rows = list(csv.DictReader(io.StringIO(installation.releve(*words, "csv").out)))
        assert len(documents) == len(rows) > 0
        assert [float(row["load"]) for row in rows] == [document["load"] for document in documents]
        for form in ("table", "plot"):
            lines = installation.releve(*words, form).out.splitlines()
            assert unit in lines[0].split() and len(lines) > 1, form


def test_a_period_that_a_series_does_not_have_is_refused_in_one_line(installation: Installation, home: str) -> None:
    for series in of_supplier("enedis"):
        for by in set(Period) - set(periods_of(series)):
            ended = installation.releve("show", home, "--series", series.value, "--by", by.value, code=2)
            assert f"series {series} has no documents by {by}: use --by day" in ended.err
    assert "'gas' is not one of" in installation.releve("show", home, "--series", "gas", code=2).err


def test_without_a_series_the_consumption_is_shown(installation: Installation, home: str) -> None:
    for by in Period:
        usual = installation.releve("show", home, "--by", by.value, "--format", "csv").out
        assert usual == installation.releve("show", home, "--series", "daily", "--by", by.value, "--format", "csv").out
        last = {Period.MINUTE: "", Period.HOUR: ",minutes,expected_minutes", Period.DAY: ",computed"}
        assert usual.splitlines()[0] == "load,year,month,day,hour,minute,fold" + last.get(by, ",days,expected_days")


def test_a_table_has_the_further_fields_and_says_where_nothing_is_stored(installation: Installation, home: str) -> None:
    power = installation.releve("show", home, "--series", "max_power").out.splitlines()
    va, at = HOME.peak(HOME.last)
    assert power[0].split() == ["day", "kVA", "at"]
    assert power[-1].split() == [str(HOME.last), f"{va / 1000:.3f}", at.isoformat()]
    heads = installation.releve("show", home, "--series", "registers").out.splitlines()[0].split()
    assert heads == ["day", "kWh", "calendar", "registers.HC", "registers.HP"]
    empty = installation.releve("show", home, "--series", "registers", "--from", "2020-01-01", "--to", "2020-01-02").out
    assert empty == "nothing stored of registers by day from 2020-01-01 to 2020-01-02\n"


def test_a_total_says_in_each_form_what_it_is_made_of(installation: Installation, home: str) -> None:
    days = {6: 16, 7: 24}  # Of June the days from the 15th on, of July those before today.
    for series in ("daily", "production_daily"):
        words = ("show", home, "--series", series, "--by", "month", "--format")
        documents = json.loads(installation.releve(*words, "json").out)
        rows = list(csv.DictReader(io.StringIO(installation.releve(*words, "csv").out)))
        table = installation.releve(*words, "table").out.splitlines()
        told = [(one["month"], one["days"], one["expected_days"]) for one in documents]
        assert told == [(month, known, 30 if month == 6 else 31) for month, known in days.items()]
        assert [(int(row["month"]), int(row["days"]), int(row["expected_days"])) for row in rows] == told
        assert [tuple(map(int, line.split()[-2:])) for line in table[2:]] == [one[1:] for one in told]
    (hour, *_) = json.loads(installation.releve("show", home, "--by", "hour", "--format", "json").out)
    assert (hour["minutes"], hour["expected_minutes"]) == (60, 60)


def test_a_contract_is_shown_however_old_it_is(installation: Installation, home: str) -> None:
    shown = installation.releve("show", home, "--series", "contract").out
    assert "6.000" in shown and "9.000" in shown


def test_a_curve_becomes_the_file_that_comparators_read(installation: Installation, home: str, tmp_path: Path) -> None:
    for series in ("daily", "production_load_curve"):
        text = installation.releve("show", home, "--series", series, "--format", "enedis").out
        assert "30001640" not in text and ";00000000000011;" not in text and "\n00000000000011;" in text
        (file := tmp_path / f"{series}.csv").write_text(text, encoding="utf-8")
        read = installation.releve("import", str(file), "--usage-point", "30001640000011", "--dry-run").out
        assert f": 0 days new, {HOME.curve_days} the same, 0 different" in read


def test_without_a_curve_no_file_for_comparators_is_begun(installation: Installation, home: str) -> None:
    for words in (("--series", "max_power"), ("--to", "2020-01-31")):
        ended = installation.releve("show", home, "--format", "enedis", *words, code=1)
        assert ended.out == "" and ended.err.endswith(": no load curve is stored for these days\n")
