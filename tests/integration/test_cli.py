"""Errors of the command: every wrong use and every server out of reach is one line that says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from tests.support.commands import CommandResult
from tests.support.installation import Installation
from tests.support.registries import METER as REGISTRY_METER
from tests.support.registries import OTHER_METER, add_ready, record_outcome
from worker.cli.main import cli
from worker.errors import RateLimited
from worker.runtime.consent_parts import stop_consent
from worker.stores.child_processes import free_port
from worker.stores.registry.outcomes import DueChanges

METER = "60000000000001"
Releve = Callable[..., CommandResult]


@pytest.fixture
def releve(installation: Installation) -> Releve:
    """Return a function that runs ``releve WORD …`` in this process."""
    return installation.run


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_every_command_explains_itself_with_an_example(releve: Releve, words: tuple[str, ...]) -> None:
    ended = releve(*words, "--help")
    assert ended.code == 0
    assert "Example" in ended.out
    assert f"releve {' '.join(words)}" in ended.out.partition("Example")[2]


@pytest.mark.parametrize(
    "words, message",
    [
        (("nothing",), "No such command 'nothing'"),
        (("sync",), "give one ACCOUNT, or --all"),
        (("sync", "abc", "--all"), "give one ACCOUNT, or --all"),
        (("sync", "--all", "--inline", "--wait"), "give either --inline or --wait"),
        (("sync", "--history"), "give one ACCOUNT, or --all"),
        (("verify", "abc", "--repair", "--rebuild-days"), "give either --repair or --rebuild-days"),
        (("explain", "abc", "--days", "--corrections"), "give --corrections or --days"),
        (("explain", "--all"), "--all needs --days"),
        (("explain",), "give one ACCOUNT, or --all"),
        (("status", "abc", "--freshness"), "give one ACCOUNT"),
        (("quarantine", "--raw"), "give an ID with --raw or --remove"),
        (("backup",), "give a FILE or DIR to write, or --show FILE"),
        (("migrate", "--account", "abc"), "--account needs --layout"),
        (("consents", "--requests", "--invitations"), "give only one of"),
        (("access", "list", "--kind", "token", "--account", "abc"), "--account is for sessions and grants"),
        (("access", "remove", "token"), "give the ID"),
        (("access", "remove", "token", "--all"), "give the ID"),
        (("access", "remove", "session", "abc", "--all"), "give one of ID, --account and --all"),
        (("tenants", "--title", "Club"), "give the NAME of the tenant"),
        (("secrets", "add"), "give a FOLDER, or --key"),
        (("accounts", "list", "--meter", METER, "--limit", "1"), "--meter needs no"),
        (("accounts", "list", "--meter", METER, "--reference", "4711"), "--meter needs no"),
        (("accounts", "add"), "Missing option '--usage-point'"),
        (("accounts", "add", "--usage-point", "123"), "14 digits"),
        (("accounts", "add", "--usage-point", "6000000000000x"), "14 digits"),
        (("accounts", "add", "--usage-point", METER, "--token-file", "absent.json"), "does not exist"),
        (("show", "abc", "--by", "week"), "'week' is not one of"),
        (("show", "abc", "--from", "yesterday"), "'yesterday' is not a day: write it like 2024-07-25"),
        (("show", "abc", "--from", "2024-02-30"), "is not a day"),
        (("simulate", "--data", "absent"), "does not exist"),
        (("simulate", "--per-second", "0"), "--per-second"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_misuse_is_told_in_one_line_with_exit_code_2(releve: Releve, words: tuple[str, ...], message: str) -> None:
    ended = releve(*words)
    assert message in ended.error_line
    assert (ended.code, ended.out) == (2, "")
    assert "6000000000000x" not in ended.err  # The error doesn't repeat the meter's number.


@pytest.mark.parametrize(
    "words",
    [
        ("accounts", "show", "nobody"),
        ("accounts", "pause", "nobody"),
        ("accounts", "resume", "nobody"),
        ("accounts", "remove", "nobody", "--yes"),
        ("sync", "nobody"),
        ("sync", "nobody", "--inline"),
        ("sync", "nobody", "--history"),
        ("sync", "nobody", "--history", "--inline"),
        ("status", "nobody"),
        ("show", "nobody"),
        ("show", "nobody", "--format", "json"),
    ],
    ids=" ".join,
)
def test_an_unknown_account_is_told_with_exit_code_1(releve: Releve, words: tuple[str, ...]) -> None:
    ended = releve(*words)
    assert "nobody" in ended.error_line
    assert (ended.code, ended.out) == (1, "")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"measures_url": "couchdb+http://"}, "RELEVE_MEASURES_URL"),
        ({"measures_url": "nonsense"}, "RELEVE_MEASURES_URL"),
        ({"registry_url": "nonsense"}, "RELEVE_REGISTRY_URL"),
        ({"token_keys": "no-key"}, "RELEVE_TOKEN_KEYS"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_with_exit_code_2(releve: Releve, settings: dict[str, str], message: str) -> None:
    ended = releve("status", **settings)
    assert message in ended.error_line
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize(
    "words, code",
    [("doctor", 0), ("--help", 0), (f"accounts add --usage-point {METER}", 130)],  # The last one may be cut short.
)
def test_p26_a_reader_that_has_enough_lines_is_no_failure(tmp_path: Path, words: str, code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        command = [sys.executable, "-m", "worker", *words.split()]
        env = {**os.environ, "RELEVE_DATA_DIR": str(tmp_path), "RELEVE_ENEDIS_URL": "http://127.0.0.1:9"}
        ended = subprocess.run(command, env=env, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, "interrupted" in ended.stderr) == (code, code > 0), ended.stderr
    assert code or not ended.stderr


def test_rotating_keys_names_a_wrong_registry_too(releve: Releve) -> None:
    ended = releve("secrets", "rotate", registry_url="nonsense")
    assert "RELEVE_REGISTRY_URL" in ended.error_line
    assert ended.code == 2


def test_all_wrong_settings_are_named_at_once(releve: Releve) -> None:
    ended = releve("status", preset="x", nightly_at="x", log_level="x")
    named = [line.split(":")[1].strip() for line in ended.err.splitlines()]
    assert sorted(named) == ["RELEVE_LOG_LEVEL", "RELEVE_NIGHTLY_AT", "RELEVE_PRESET"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"redis_url": "redis://:hidden@127.0.0.1:{port}/0"}, "Redis"),
        ({"registry_url": "postgresql://user:hidden@127.0.0.1:{port}/registry"}, "registry"),
        ({"registry_url": "sqlite:////proc/registry.db"}, "registry"),
    ],
    ids=str,
)
def test_a_server_out_of_reach_is_named_and_its_password_is_not(
    releve: Releve, settings: dict[str, str], message: str
) -> None:
    ended = releve("status", **{name: value.format(port=free_port()) for name, value in settings.items()})
    assert message in ended.error_line
    assert "hidden" not in ended.err
    assert (ended.code, ended.out) == (1, "")


@pytest.mark.parametrize(
    "url", ["couchdb+http://user:hidden@127.0.0.1:{port}/", "postgresql://user:hidden@127.0.0.1:{port}/x"]
)
def test_a_measure_store_out_of_reach_is_told(releve: Releve, url: str) -> None:
    account = json.loads(releve("accounts", "add", "--usage-point", METER, "--json").out)["account"]
    ended = releve("show", account, measures_url=url.format(port=free_port()))
    assert (ended.code, ended.out) == (1, "")
    assert "hidden" not in ended.error_line


def test_a_supplier_out_of_reach_is_told_and_the_account_stays_as_it_was(
    releve: Releve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sync.inline.MOST_TRIES", 1)
    account = json.loads(releve("accounts", "add", "--usage-point", METER, "--json").out)["account"]
    ended = releve("sync", account, "--inline", "--json")
    summary = json.loads(ended.out)
    assert (ended.code, summary["ok"]) == (1, False)
    assert [failure["code"] for failure in summary["failures"]] == ["VENDOR_DOWN.UNREACHABLE"] * 2
    assert METER not in ended.out + ended.err
    assert "Traceback" not in ended.err
    (row,) = releve("status", "--all", "--json").rows
    assert row["state"] == "new"


def test_our_own_pacing_is_told_as_such_with_the_next_try(installation: Installation, releve: Releve) -> None:
    with installation.open() as parts:
        account_id = add_ready(parts.stores.registry)
        turn = DueChanges(again_at=datetime(2024, 7, 25, 12, 10, tzinfo=UTC))
        record_outcome(
            parts.stores.registry, account_id, "1", code=RateLimited.code, message="no permit", due_changes=turn
        )
    out = " ".join(releve("status", account_id).out.split())
    assert (
        "RATE_LIMITED: No action needed. The supplier limits the number of calls per hour" in out
        and "VENDOR_DOWN" not in out
    )
    assert out.endswith("Next try: 2024-07-25 14:10.")


def test_a_consent_that_is_over_is_named_and_nothing_is_enqueued_for_it(
    installation: Installation, releve: Releve
) -> None:
    with installation.open() as parts:
        over, stopped = add_ready(parts.stores.registry), add_ready(parts.stores.registry, OTHER_METER)
        yesterday = parts.sync.history.today() - timedelta(days=1)
        parts.stores.registry.accounts.add(
            "enedis", REGISTRY_METER, parts.stores.now(), consent_until=yesterday, token_needed=False
        )
        stop_consent(parts.stores, stopped)
    for words in (("sync",), ("sync", "--history"), ("accounts", "resume")):
        ended = releve(*words, over)
        assert ended.code == 1 and "the consent ended on 2024-07-24" in ended.error_line
        ended = releve(*words, stopped)
        assert ended.code == 1 and "its holder has stopped the consent" in ended.error_line
    ended = releve("sync", over, "--inline", "--json")
    assert ended.code == 1
    assert {failure["code"] for failure in json.loads(ended.out)["failures"]} == {"CONSENT_ENDED"}
    ended = releve("sync", "--all", "--inline")
    assert (ended.code, ended.out.strip()) == (0, "nothing to do")
    codes = {row["account"]: row["reason"] for row in releve("status", "--all", "--json").rows}
    assert codes == {over: "CONSENT_ENDED", stopped: "CONSENT_STOPPED"}


def test_the_history_of_all_active_accounts_is_queued(installation: Installation, releve: Releve) -> None:
    with installation.open() as parts:
        accounts = [add_ready(parts.stores.registry), add_ready(parts.stores.registry, OTHER_METER)]
        stop_consent(parts.stores, add_ready(parts.stores.registry, "30001640000099"))
    assert json.loads(releve("sync", "--all", "--history", "--json").out)["enqueued"] == sorted(accounts)


def test_waiting_without_a_worker_says_so_at_once(releve: Releve) -> None:
    account = json.loads(releve("accounts", "add", "--usage-point", METER, "--json").out)["account"]
    for words in (("sync", "--all"), ("sync", "--history", account)):
        ended = releve(*words, "--wait")
        assert "no worker is running" in ended.error_line
        assert ended.code == 1


def test_an_account_that_is_paused_is_not_enqueued_in_silence(releve: Releve) -> None:
    account = json.loads(releve("accounts", "add", "--usage-point", METER, "--json").out)["account"]
    assert releve("accounts", "pause", account).code == 0
    for words in (("sync",), ("sync", "--history")):
        ended = releve(*words, account)
        assert f"releve accounts resume {account}" in ended.error_line
        assert ended.code == 1


def test_an_account_that_was_removed_is_gone_for_every_command(releve: Releve) -> None:
    account = json.loads(releve("accounts", "add", "--usage-point", METER, "--json").out)["account"]
    erased = json.loads(releve("accounts", "remove", account, "--yes", "--json").out)["erased"]
    assert erased["usage_points"] == 1
    for words in (("status", account), ("show", account), ("sync", account), ("accounts", "resume", account)):
        ended = releve(*words)
        assert "was removed" in ended.error_line
        assert ended.code == 1
    assert releve("accounts", "list", "--json").rows == []


def test_who_adds_an_account_vouches_for_it_and_each_command_tells_so(releve: Releve) -> None:
    added = releve("accounts", "add", "--usage-point", METER, "--by", "ada", "--reference", "contract 4711")
    assert "state new, waiting for the supplier's first answer" in added.out
    (account,) = (row["account"] for row in releve("accounts", "list", "--json").rows)
    evidence = {"proof": "asserted", "vouched_by": "cli:ada", "reference": "contract 4711"}
    shown = json.loads(releve("accounts", "show", account, "--json").out)
    assert shown.items() >= {**evidence, "state": "new", "consent_from": None}.items()
    (row,) = releve("consents", "--json").rows
    assert row.items() >= evidence.items()
    assert "waiting for the supplier's first answer" in releve("status").out
    assert "has not answered yet" in releve("explain", account, "2024-07-10", "--lang", "en").out
    ended = releve("accounts", "add", "--usage-point", METER, "--consented")
    assert (ended.code, ended.out) == (1, "")
    assert f"releve invite {account}" in ended.error_line and METER not in ended.err
    assert json.loads(releve("accounts", "show", account, "--json").out) == shown


@pytest.mark.parametrize("named, day", [("2024-07-01", "2024-07-01"), (None, "2024-07-25")])
def test_a_consent_that_was_given_makes_the_account_ready_at_once(
    releve: Releve, monkeypatch: pytest.MonkeyPatch, named: str | None, day: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "grace")
    now = {"pretend_now": "2024-07-25T09:00+02:00"}
    consented = ("--consented", named) if named else ("--consented",)
    added = json.loads(releve("accounts", "add", "--usage-point", METER, *consented, "--json", **now).out)
    assert added["state"] == "ready"
    shown = json.loads(releve("accounts", "show", added["account"], "--json", **now).out)
    assert (shown["consent_from"], shown["vouched_by"]) == (day, "cli:grace")


def test_an_account_is_added_by_a_user_without_a_name(releve: Releve, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", fail)
    account = json.loads(releve("accounts", "add", "--usage-point", METER, "--json").out)["account"]
    vouched_by = json.loads(releve("accounts", "show", account, "--json").out)["vouched_by"]
    assert vouched_by == f"cli:uid {os.getuid()}"


@pytest.mark.parametrize("words", [("--reference", f"meter {METER}"), ("--consented", "2999-01-01")])
def test_evidence_that_can_not_be_kept_is_refused(releve: Releve, words: tuple[str, ...]) -> None:
    ended = releve("accounts", "add", "--usage-point", METER, *words)
    assert ended.code == 2
    assert METER not in ended.err
    assert releve("accounts", "list", "--json").rows == []


def test_a_v4_account_without_its_holders_token_is_refused(releve: Releve, tmp_path: Path) -> None:
    ended = releve("accounts", "add", "--usage-point", METER, preset="enedis-v4")
    assert ended.code == 2
    assert "--token-file" in ended.error_line
    assert releve("accounts", "list", "--json", preset="enedis-v4").rows == []
    wrong = tmp_path / "token.json"
    wrong.write_text('{"access_token": "canary"}')
    ended = releve("accounts", "add", "--usage-point", METER, "--token-file", str(wrong), preset="enedis-v4")
    assert '"access_token" and "refresh_token"' in ended.error_line
    assert ended.code == 2
    assert "canary" not in ended.err


def test_a_taken_port_and_a_broken_recording_are_told(releve: Releve, tmp_path: Path, redis_url: str) -> None:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    ended = releve("simulate", "--port", port)
    assert f"can't listen on 127.0.0.1:{port}" in ended.error_line
    assert ended.code == 1
    (tmp_path / f"{METER}.daily.csv").write_text("date,wh\n2024-01-01,many\n")
    ended = releve("simulate", "--data", str(tmp_path))
    assert "line 2" in ended.error_line
    assert ended.code == 1
