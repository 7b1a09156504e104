"""`releve show`: what it lists has all its places."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from worker.cli.show import plot_loads, table_of_loads
from worker.domain.exports import to_csv_fields
from worker.domain.series import Doctype

CIVIL = {"year": 2024, "month": 7, "day": 24, "hour": 0, "minute": 0}


def printed(table: object) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("period", "loads", "texts"),
    [
        (Doctype.MINUTE, [0.0625, 0.125], ["0.0625", "0.1250"]),
        (Doctype.MINUTE, [0.083333, 0.5], ["0.083333", "0.500000"]),
        (Doctype.DAY, [10.125, 5.0], ["10.125", "5.000"]),
        (Doctype.MONTH, [303.75], ["303.750"]),
    ],
)
def test_what_is_listed_has_all_its_places(period: Doctype, loads: list[float], texts: list[str]) -> None:
    rows = [{"load": load, **CIVIL} for load in loads]
    for table in (table_of_loads(rows, period), plot_loads(rows, period)):
        assert [line.split()[-1] for line in printed(table)[1:]] == texts


def test_a_table_says_what_totals_are_made_of_and_a_plot_does_not() -> None:
    rows = [{"load": 5.0, **CIVIL, "days": days, "expected_days": 31} for days in (24, 31)]
    lines = printed(table_of_loads(rows, Doctype.MONTH))
    assert [line.split() for line in lines] == [
        ["month", "kWh", "days", "expected"],
        ["days"],
        ["2024-07", "5.000", "24", "31"],
        ["2024-07", "5.000", "31", "31"],
    ]
    assert "31" not in "".join(printed(plot_loads(rows, Doctype.MONTH)))


def test_a_table_of_days_says_which_were_computed_where_one_was() -> None:
    rows: list[dict[str, object]] = [{"load": 5.0, **CIVIL}, {"load": 6.0, **CIVIL, "step": 1440}]
    assert [line.split()[2:] for line in printed(table_of_loads(rows, Doctype.DAY))] == [["computed"], [], ["true"]]
    assert printed(table_of_loads(rows[:1], Doctype.DAY))[0].split() == ["day", "kWh"]


@pytest.mark.parametrize(
    ("load", "text"), [(5.0, "5.000"), (0.0625, "0.0625"), (5e-05, "0.00005"), (1e-06, "0.000001")]
)
def test_a_csv_has_energy_without_an_exponent(load: float, text: str) -> None:
    fields = to_csv_fields({"_id": "a:2024-07-24", "load": load, **CIVIL, "fold": 1}, Doctype.DAY)
    assert fields == {**CIVIL, "load": text, "fold": 1}
