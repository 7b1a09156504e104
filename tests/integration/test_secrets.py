"""`releve secrets`: files that only one service can read, made once."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.support.commands import CommandResult, run_releve
from worker.ops.installation_secrets import RELEVE_USER, SECRETS, SERVICE_USERS


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in SECRETS:
        monkeypatch.delenv(secret.variable, raising=False)


def make(folder: Path, *words: str, **variables: str) -> CommandResult:
    return run_releve(folder, variables, "secrets", "add", str(folder / "secrets"), *words)


def files(folder: Path) -> dict[str, str]:
    root = folder / "secrets"
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = json.loads(make(tmp_path, "--json").out)
    before = files(tmp_path)
    assert {name for name, source in first.items() if source == "none"} == {
        "rte_client_secret",
        "webhook_secret",
        "notify_url",
        "influxdb_password",
    }
    assert set(first.values()) == {"made", "none"}
    again = json.loads(make(tmp_path, "--json").out)
    assert set(again.values()) == {"kept", "none"}
    assert files(tmp_path) == before


def test_what_is_printed_is_no_secret(tmp_path: Path) -> None:
    output = make(tmp_path).out
    assert not any(text.strip() in output for text in files(tmp_path).values() if text)


def test_files_are_for_their_readers_alone(tmp_path: Path) -> None:
    make(tmp_path)
    for path in (tmp_path / "secrets").rglob("*"):
        status = path.stat()
        assert status.st_mode & 0o077 == 0, path
        if os.geteuid() == 0:  # Without root, all files belong to this user.
            reader = path.relative_to(tmp_path / "secrets").parts[0]
            assert status.st_uid == (0 if reader == "kept" else SERVICE_USERS.get(reader, RELEVE_USER)), path


def test_what_the_operator_gives_reaches_each_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    monkeypatch.setenv("REDIS_PASSWORD", "given-by-the-operator")
    sources = json.loads(make(tmp_path, "--json", "--redis", "elsewhere:1").out)
    assert sources["redis_password"] == "taken from REDIS_PASSWORD"
    texts = files(tmp_path)
    digest = hashlib.sha256(b"given-by-the-operator").hexdigest()
    assert f"user worker on #{digest} " in texts["redis/redis.conf"]
    assert texts["worker/redis_url"] == "redis://worker:given-by-the-operator@elsewhere:1/0"
    assert "given-by-the-operator" not in texts["beat/redis_url"] + texts["web/redis_url"] + texts["redis/redis.conf"]


def test_l13_a_webhooks_secret_comes_and_goes_with_its_variable(tmp_path: Path) -> None:
    given = "given-by-the-operator-with-40-characters"
    first = json.loads(make(tmp_path, "--json", RELEVE_WEBHOOK_SECRET=given).out)
    assert first["webhook_secret"] == "taken from RELEVE_WEBHOOK_SECRET"
    assert files(tmp_path)["worker/webhook_secret"] == files(tmp_path)["web/webhook_secret"] == given
    assert json.loads(make(tmp_path, "--json").out)["webhook_secret"] == "kept"
    assert json.loads(make(tmp_path, "--json", RELEVE_WEBHOOK_SECRET="").out)["webhook_secret"] == "none"
    assert files(tmp_path)["worker/webhook_secret"] == files(tmp_path)["kept/webhook_secret"] == ""


def test_s6_the_operators_secrets_come_from_a_file_as_compose_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(
        "# a comment\nREDIS_PASSWORD=given-by-the-operator # why\nINFLUXDB_PASSWORD='p$a word'\n"
        'RELEVE_NOTIFY_URL="ntfys://host.example/a?b=c"\nRELEVE_WEBHOOK_SECRET=\nREDIS_WEB_PASSWORD=\n'
    )
    words = ("--json", "--env-file", str(file))
    first = json.loads(make(tmp_path, *words, RELEVE_WEBHOOK_SECRET="of the environment: " + "x" * 40).out)
    assert first["redis_password"] == "taken from REDIS_PASSWORD" and first["webhook_secret"] == "none"
    texts = files(tmp_path)
    assert texts["kept/redis_password"] == "given-by-the-operator"
    assert texts["grafana/influxdb_password"] == "p$a word"
    assert texts["worker/notify_url"] == "ntfys://host.example/a?b=c"
    file.write_text("")
    again = json.loads(make(tmp_path, *words).out)
    assert again["redis_password"] == "kept" and again["notify_url"] == again["influxdb_password"] == "none"


@pytest.mark.parametrize(
    ("line", "known", "says"),
    [
        ("REDIS_PASSWORD=given$$by-the-operator", "", "single quotes"),
        ('RELEVE_NOTIFY_URL="ntfys://host.example/$TOPIC"', "", "single quotes"),
        ("REDIS_PASSWORD=", "COUCHDB_PASSWORD REDIS_PASSWORD", "write it into .env"),
    ],
)
def test_s6_what_compose_would_read_otherwise_is_refused(tmp_path: Path, line: str, known: str, says: str) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"{line}\nCOUCHDB_PASSWORD=given-by-the-operator\n")
    refusal = make(tmp_path, "--env-file", str(file), SECRETS_SET=known)
    assert refusal.code == 2 and says in refusal.error_line and line.partition("=")[0] in refusal.error_line
    assert "$" not in refusal.error_line.replace("contains $ between", "") and files(tmp_path) == {}


def test_a_refusal_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    before = files(tmp_path)
    monkeypatch.setenv("REDIS_PASSWORD", "given-by-the-operator")
    monkeypatch.setenv("COUCHDB_ADMIN_PASSWORD", "another-administrator")
    refusal = make(tmp_path)
    assert refusal.code == 2
    assert "COUCHDB_ADMIN_PASSWORD" in refusal.error_line and "another-administrator" not in refusal.error_line
    assert files(tmp_path) == before


def test_one_is_shown_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path / "secrets"))
    early = run_releve(tmp_path, {}, "secrets", "show", "flower_password", *folder)
    assert early.code == 2 and "releve secrets add" in early.error_line
    make(tmp_path)
    shown = run_releve(tmp_path, {}, "secrets", "show", "flower_password", *folder)
    assert shown.out.strip() == files(tmp_path)["kept/flower_password"]
    assert run_releve(tmp_path, {}, "secrets", "show", "nothing", *folder).code == 2


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file")
    refusal = make(tmp_path)
    assert refusal.code == 2
    assert str(tmp_path / "secrets") in refusal.error_line
