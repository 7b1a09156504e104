"""Commands that list: the summary of `status`, its filters, tables of 80 columns, and one shape of ``--json``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import click
import pytest

from tests.support.installation import Installation
from tests.support.registries import METER, OTHER_METER, add_ready, record_outcome
from worker.cli import status
from worker.cli.gas_option import REFERENCE
from worker.cli.main import cli
from worker.domain.account import AccountState
from worker.domain.completeness import DayMark, DayState
from worker.domain.series import Doctype, Series
from worker.stores.registry.supplier_answers import Correction

LAST = "30001640000033"
DAY = "2024-07-24"
LONG_CODE = "VENDOR_DOWN.ANSWER_BROKEN_OFF"
REASON = "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST"  # The longest one.

# Commands with --json that start servers or wait for those of others, each with what holds its shape instead.
NOT_RUN = {
    "access add-client": ["Cozy", "--redirect-uri", "https://cozy.example/back"],
    "access add-operator": ["bob", "--password", "-", "--no-second-factor"],
    "access add-token": ["--name", "dash", "--scope", "read:accounts"],
    "access list": [],
    "access remove": ["session", "--all"],
    "outputs remove": "tests/integration/test_outputs_by_hand.py",
    "outputs resend": "tests/integration/test_outputs_by_hand.py",
    "outputs test": "tests/integration/test_outputs_by_hand.py",
    "restore": "tests/integration/test_restore.py",
    "import": "tests/integration/test_import_by_hand.py",
    "demo": "the types: print_json takes an object",
    "drill": "tests/acceptance/test_drill.py",
    **dict.fromkeys(
        (f"campaigns {word}" for word in ("add", "list", "show")), "tests/integration/test_campaigns_by_hand.py"
    ),
    "consents check": "tests/integration/test_rights_by_hand.py",
    "consents proof": "tests/integration/test_rights_by_hand.py",
    **dict.fromkeys(
        ("cost", *(f"prices {word}" for word in ("remove", "set", "show", "tempo", "update"))),
        "tests/integration/test_prices_by_hand.py",
    ),
    **dict.fromkeys(("home", "home add", "home password"), "tests/integration/test_home_by_hand.py"),
}
# The words of the others; ACCOUNT stands for an account, FOLDER for a folder of the test.
RUN = {
    "access add-client": ["Cozy", "--redirect-uri", "https://cozy.example/back"],
    "access add-operator": ["bob", "--password", "-", "--no-second-factor"],
    "access add-token": ["--name", "dash", "--scope", "read:accounts"],
    "access list": [],
    "access remove": ["session", "--all"],
    "accounts add": ["--usage-point", LAST],
    "accounts list": [],
    "accounts remove": ["ACCOUNT", "--yes"],
    "accounts series": ["ACCOUNT"],
    "accounts show": ["ACCOUNT"],
    "audit": [],
    "backup": ["FOLDER/saved.zip"],
    "consents": [],
    "consents verify": [],
    "doctor": [],
    "explain": ["ACCOUNT", DAY],
    "incidents": ["--open"],
    "invite": ["ACCOUNT"],
    "migrate": [],
    "outputs add": ["webhook", "--url", "https://service.example/measures", "--secret", "-", "--no-check"],
    "outputs list": [],
    "plan": ["--accounts", "10"],
    "quarantine": [],
    "replay": ["--all"],
    "secrets add": ["FOLDER/secrets"],
    "status": ["--all"],
    "sync": ["ACCOUNT"],
    "tenants": [],
    "verify": ["--all"],
}
LISTS = {
    "access list",
    "accounts list",
    "audit",
    "consents",
    "doctor",
    "incidents",
    "migrate",
    "outputs list",
    "status",
}
LISTS |= {"tenants"}
EMPTY = {"quarantine"}


def json_commands(group: click.Group, context: click.Context, path: str = "") -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{path} {name}".strip()
        if any("--json" in parameter.opts for parameter in command.params):
            yield words
        if isinstance(command, click.Group):
            yield from json_commands(command, click.Context(command, info_name=name, parent=context), words)


def test_d33_every_command_with_json_prints_one_object_or_one_a_line(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [*json_commands(cli, click.Context(cli, info_name="releve", obj=REFERENCE))]
    assert sorted(known) == sorted({*RUN, *NOT_RUN}), "add a new command with --json to RUN"
    with installation.open() as parts:
        account, other = add_ready(parts.stores.registry), add_ready(parts.stores.registry, OTHER_METER)
    # What is made comes before what is listed, and what erases at the end.
    order = sorted(known, key=lambda path: (path == "accounts remove", path in LISTS, path))
    for path in order:
        if path in NOT_RUN:
            continue
        monkeypatch.setattr("sys.stdin", io.StringIO("a long and good password, or secret 7391\n"))
        folder = str(installation.folder)
        words = [word.replace("ACCOUNT", account).replace("FOLDER", folder) for word in RUN[path]]
        ended = installation.run(*path.split(), *words, "--json")
        assert "Traceback" not in ended.err and "a bug in Relève" not in ended.err, path
        objects = ended.rows
        assert all(isinstance(one, dict) for one in objects), (path, ended.out)
        assert len(objects) >= 1 or path in EMPTY, (path, ended.err)
        if path not in LISTS | EMPTY:
            assert len(objects) == 1, path
    assert other


@pytest.fixture
def fleet(installation: Installation) -> dict[str, str]:
    """Three accounts: one that fails in a narrower code, one that waits for its owner, and one that is paused."""
    with installation.open() as parts:
        registry = parts.stores.registry
        failing, waiting, paused = (add_ready(registry, meter) for meter in (METER, OTHER_METER, LAST))
        record_outcome(registry, failing, "1", code=LONG_CODE, message="no answer", series=Series.LOAD_CURVE)
        complete = {date(2024, 7, 24): DayMark(DayState.COMPLETE)}
        record_outcome(registry, failing, "1", last_day=date(2024, 7, 24), days=complete)
        registry.accounts.set_state(waiting, AccountState.ACTION_NEEDED, REASON, now=parts.stores.now())
        registry.accounts.set_state(paused, AccountState.PAUSED, now=parts.stores.now())
    return {"failing": failing, "waiting": waiting, "paused": paused}


def test_d3_status_alone_is_a_summary_that_looks_at_no_account(
    installation: Installation, fleet: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an account was looked at")

    monkeypatch.setattr(status, "status_of", refuse)
    summary = installation.query("status")
    expected = {"new": 0, "ready": 1, "paused": 1, "action_needed": 1, "closed": 0}
    assert summary["accounts"] == expected
    assert {(row["code"], row["accounts"]) for row in summary["errors"]} == {(LONG_CODE, 1), (REASON, 1)}
    assert summary["freshness"]["daily"] == {"day": DAY, "active": 1, "complete": 1}
    assert summary["quota"]["enedis"]["gate_opens_in_seconds"] == 0
    assert summary["incidents"] == []
    early = "2024-07-26T08:29:00+02:00"  # The day's values come a minute later at the earliest.
    assert installation.query("status", pretend_now=early)["freshness"]["daily"] == summary["freshness"]["daily"]
    monkeypatch.setattr(status, "_FEW", 2)  # Three accounts are too many to be listed below it.
    printed = installation.releve("status").out
    assert "1 ready, 1 paused, 1 action_needed" in printed and LONG_CODE in printed and DAY in printed
    assert fleet["failing"] not in printed


def test_d3_a_closed_gate_and_an_incident_are_in_the_summary(installation: Installation, fleet: dict[str, str]) -> None:
    assert fleet
    with installation.open() as parts:
        parts.sync.ledger.close_gate(600)
    installation.releve("incidents", "--open")
    summary = installation.query("status")
    assert 0 < summary["quota"]["enedis"]["gate_opens_in_seconds"] <= 600
    assert {row["kind"] for row in summary["incidents"]} == {"by_hand"}
    printed = installation.releve("status").out
    assert "gate       enedis: closed, opens at 2024-07-25 " in printed and "incident " in printed


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--error", "VENDOR_DOWN"], ["failing"]),
        (["--error", LONG_CODE.lower()], ["failing"]),
        (["--error", "VENDOR"], []),
        (["--error", "USER_ACTION_NEEDED.OAUTH_OUTDATED"], ["waiting"]),
        (["--state", "paused"], ["paused"]),
        (["--state", "ready", "--error", "OAUTH_OUTDATED"], []),
        (["--all"], ["failing", "waiting", "paused"]),
    ],
    ids=" ".join,
)
def test_d3_status_lists_the_accounts_of_an_error_or_a_state(
    installation: Installation, fleet: dict[str, str], words: list[str], expected: list[str]
) -> None:
    ids = {fleet[name] for name in expected}
    assert {row["account"] for row in installation.query_rows("status", *words)} == ids
    printed = installation.releve("status", *words).out
    assert {account for account in fleet.values() if account in printed} == ids
    assert expected or printed == "no such account\n"


def test_d13_lists_take_a_state_and_a_limit(installation: Installation, fleet: dict[str, str]) -> None:
    for words in (["accounts", "list"], ["consents"], ["status"]):
        assert len(installation.query_rows(*words, "--limit", "2")) == 2
        (row,) = installation.query_rows(*words, "--state", "paused", "--limit", "2")
        assert row["account"] == fleet["paused"]
    assert "--limit" in installation.releve("accounts", "list", "--limit", "0", code=2).error_line


def test_d32_consents_take_a_number_of_days_with_or_without_its_letter(installation: Installation) -> None:
    with installation.open() as parts:
        until = parts.sync.history.today() + timedelta(days=20)
        account, _ = parts.stores.registry.accounts.add(
            "enedis", METER, parts.stores.now(), consent_until=until, token_needed=False
        )
    for days in ("30", "30d"):
        assert [row["account"] for row in installation.query_rows("consents", "--expiring", days)] == [account.id]
    assert installation.query_rows("consents", "--expiring", "10") == []


def test_d24_status_and_history_fit_80_columns_and_cut_no_code(
    installation: Installation, fleet: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    account = fleet["failing"]
    with installation.open() as parts:
        at = datetime(2024, 7, 25, 6, 0, tzinfo=UTC)
        for series in (Series.DAILY, Series.LOAD_CURVE):
            record_outcome(
                parts.stores.registry, account, "2", code=LONG_CODE, message="no answer", series=series, now=at
            )
        day = Correction(account, Doctype.DAY, DAY, 1000, 2000, at, at, "20240725T070000.000000")
        half_hour = replace(day, doctype=Doctype.MINUTE, key="2024-07-24T08:00Z")
        parts.stores.registry.corrections.record([day, half_hour])
    for words in (
        ["status", account],
        ["status", "--all"],
        ["accounts", "list"],
        ["consents"],
        ["explain", account, DAY, "--corrections"],
    ):
        lines = installation.releve(*words).out.splitlines()
        table = [line for line in lines if not line.startswith((f"{LONG_CODE}: ", f"{REASON}: "))]
        assert max(map(len, table)) <= 80, words
    assert REASON in installation.releve("accounts", "list").out
    assert sum(LONG_CODE in line for line in installation.releve("status", account).out.splitlines()) == 3
    assert installation.releve("explain", account, DAY, "--corrections").out.count("20240725T070000.000000") == 1


@pytest.mark.parametrize("answer", ["n\n", "\n", ""], ids=["no", "nothing", "end of input"])
def test_d12_saying_no_to_a_removal_is_told_as_what_it_is(
    installation: Installation, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.open() as parts:
        account = add_ready(parts.stores.registry)
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    ended = installation.run("accounts", "remove", account)
    assert ended.code == 1 and ended.err.endswith("releve: nothing was erased\n")
    assert "interrupted" not in ended.err
    assert json.loads(installation.releve("status", account, "--json").out)["state"] == "ready"


def test_d12_without_a_terminal_a_removal_asks_for_yes(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.open() as parts:
        account = add_ready(parts.stores.registry)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ended = installation.run("accounts", "remove", account)
    assert ended.code == 1 and "nothing was erased" in ended.error_line and "--yes" in ended.error_line
    assert len(installation.query_rows("accounts", "list")) == 1
