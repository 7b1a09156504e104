"""Tables of the command line: rows are printed when they come, fit 80 columns, and no word is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from worker.cli.parameters import print_rows
from worker.cli.printing import print_table

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_table_has_a_dash_for_no_value_and_tells_moments_as_clocks_do(capsys: Captured) -> None:
    rows = [
        {"name": "a", "at": "2024-07-25T06:30:00Z", "scopes": ["read", "write"]},
        {"name": "bcd", "at": None, "scopes": []},
    ]
    print_table(rows, {"name": "name", "made at": "at", "may": "scopes"})
    assert capsys.readouterr().out.splitlines() == [
        "name  made at           may",
        "a     2024-07-25 08:30  read write",
        "bcd   -",
    ]


def test_d24_long_texts_are_broken_at_blanks_and_codes_never(capsys: Captured) -> None:
    code, text = "USER_ACTION_NEEDED.OAUTH_OUTDATED", "of a household that has moved out " * 3
    print_table([{"account": "k3qd0fr2mw7x", "reason": code, "text": text.strip(), "until": "2026-11-25"}])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert code in lines[1] and "k3qd0fr2mw7x" in lines[1] and "2026-11-25" in lines[1]
    assert " ".join(" ".join(lines[2:]).split()) in text


def test_d24_a_code_without_room_stands_below_its_row(capsys: Captured) -> None:
    code = "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST"
    row = {"account": "k3qd0fr2mw7x", "state": "action_needed", "last day": "2026-11-25", "error": ""}
    print_table([{**row, "error": "VENDOR_DOWN"}] * 300 + [{**row, "error": code}])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].endswith("VENDOR_DOWN") and lines[-1] == f"  {code}" and lines[-2].endswith("2026-11-25")


def rows_of(number: int, asked: list[int]) -> Iterator[dict[str, Any]]:
    for each in range(number):
        asked.append(each)
        yield {"account": f"a{each}"}


@pytest.mark.parametrize("as_json", [False, True])
def test_d3_rows_are_printed_while_more_come(capsys: Captured, as_json: bool) -> None:
    asked: list[int] = []
    printed_at: list[int] = []

    def watched() -> Iterator[dict[str, Any]]:
        for row in rows_of(1000, asked):
            if capsys.readouterr().out:
                printed_at.append(len(asked))
            yield row

    print_rows(watched(), {"account": "account"}, as_json=as_json, empty="none")
    assert printed_at and printed_at[0] < 300


def test_d33_a_list_as_json_is_one_object_a_line(capsys: Captured) -> None:
    print_rows(iter([{"account": "é"}, {"account": None}]), {}, as_json=True, empty="none")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"account": "é"}, {"account": None}]
    print_rows(iter(()), {"account": "account"}, as_json=True, empty="none")
    assert capsys.readouterr().out == ""
    print_rows(iter(()), {"account": "account"}, as_json=False, empty="none")
    assert capsys.readouterr().out == "none\n"
