"""Tables of the command line: rows are printed when they come, fit 80 columns, and no word is cut."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

import pytest

import worker.cli
from worker.cli.parameters import print_rows
from worker.cli.printing import print_table
from worker.cli.resources import Listing
from worker.domain.audit_entry import AuditAction

Captured = pytest.CaptureFixture[str]
AT: Final = "2024-07-25T06:30:00+00:00"
# By the end of a value's name: its longest value, or a free text longer than any room.
LONGEST: Final[dict[str, Any]] = {
    **dict.fromkeys(("at", "last_seen", "since", "began", "ended"), AT),
    **dict.fromkeys(("until", "_on", "copied_on", "first", "last", "day"), "2024-07-25"),
    **dict.fromkeys(("device", "detail", "error", "remark", "title"), "a text of many words " * 9),
    **dict.fromkeys(("place", "client", "who"), "x" * 99),
    **dict.fromkeys(("waiting", "meters", "days_left", "new_rows", "sessions", "grants"), 10_000),
    **dict.fromkeys(("times", "accounts", "failed_calls", "windows_failed", "windows_held", "rounds"), 10_000),
    **dict.fromkeys(("recipients", "chosen", "mailed", "opened", "asked", "connected", "left", "per_day"), 10_000),
    **dict.fromkeys(("account", "account_id", "closes"), "k3qd0fr2mw7x"),
    **dict.fromkeys(("id", "invitation", "right", "session"), "h4t8q2mxk0ra"),
    **dict.fromkeys(("second_factor", "webhook", "pkce", "strict"), False),
    **dict.fromkeys(("digits", "scopes", "uris"), ["write:accounts"] * 9),
    **dict.fromkeys(("usage_point", "meter"), "…0011"),
    "vouched_by": "token:k3q7d0fr2mxx",
    "created_by": "token:k3q7d0fr2mxx",
    "name": "n" * 32,
    "role": "support",
    "owner": "o" * 32,
    "tenant": "t" * 32,
    "purpose": "new_holder",
    "state": "action_needed",
    "supplier": "enedis",
    "proof": "register",
    "request": "r" * 32,
    "reason": "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST",
    "outcome": "ok",
    "subject": "s" * 40,
    "address": "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "how": "by_hand",
    "refused": "a reason",  # This sentence is nowhere else, so it may be broken.
    "series": "production_load_curve",
    "action": max(AuditAction, key=len),
    "source": "confirmed",
    "reference": "r" * 64,
}
# The same names with other values in some tables.
ELSEWHERE: Final[dict[str, dict[str, Any]]] = {
    "quarantine": {"id": "f" * 16, "kind": "impossible_value"},
    "no incident": {"kind": "application"},
    "outputs": {"kind": "home_assistant"},
    "prices": {"kind": "electricity", "owner": "contract", "tariff": "regulated tempo, 12 kVA"},
    "tenants": {"id": "t" * 32},
    "sessions": {"kind": "household"},
    "campaigns": {"state": "running", "refused": 10_000},
    "mailed yet": {"refused": 10_000, "address_refused": 10_000},
    "requests": {"reason": "gas without an invitation", "accounts": ["k3qd0fr2mw7x"] * 9},
}


def listings() -> dict[str, Listing]:
    """Return all tables of commands, by their columns."""
    found: dict[str, Listing] = {}
    for module in pkgutil.iter_modules(worker.cli.__path__, "worker.cli."):
        for value in vars(import_module(module.name)).values():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, Listing):
                    found[one.columns] = one
    return found


def longest_value(listing: Listing, name: str) -> Any:
    """Return the longest value of a column of this table."""
    values = LONGEST | next((values for word, values in ELSEWHERE.items() if word in listing.empty), {})
    return values[name] if name in values else next(value for end, value in values.items() if name.endswith(end))


@pytest.mark.parametrize("has_tenants", [False, True])
@pytest.mark.parametrize("columns, listing", listings().items(), ids=listings())
def test_p16_each_row_of_a_list_is_one_line_of_80_columns(
    capsys: Captured, columns: str, listing: Listing, has_tenants: bool
) -> None:
    names = [text.rpartition("=")[2].rstrip("?…") for text in columns.split(", ")]
    row = {name: longest_value(listing, name) for name in names}
    listing.print_all([row] * 2, as_json=False, has_tenants=has_tenants)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == lines[-2] and "06:30" not in lines[-1]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_table_has_a_dash_for_no_value_and_tells_moments_as_clocks_do(capsys: Captured) -> None:
    rows = [
        {"name": "a", "at": "2024-07-25T06:30:00Z", "scopes": ("read", "write")},
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
