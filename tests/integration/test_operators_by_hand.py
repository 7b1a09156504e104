"""`releve access` and the questions that commands ask on a terminal (L4)."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pyotp
import pytest

from config.settings import Settings
from config.unknown_settings import removed_settings
from tests.support.commands import CommandResult
from tests.support.installation import Installation, new_installation
from tests.support.parts import Parts
from worker.domain.sessions import KeyKind
from worker.stores.encryption import generate_key

PASSWORD = "marmotte vapeur tuile 12"
KEY = pyotp.random_base32()


class Terminal(io.StringIO):
    """Standard input as a person types it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def installation(tmp_path: Path, redis_url: str) -> Installation:
    return new_installation(tmp_path, redis_url)


def add(
    installation: Installation, patch: pytest.MonkeyPatch, name: str, *options: str, password: str = PASSWORD
) -> CommandResult:
    patch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
    return installation.run("access", "add-operator", name, "--password", "-", *options)


def test_a_script_adds_an_operator_and_gets_the_key_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = json.loads(add(installation, monkeypatch, "Alice", "--json").out)
    assert row["name"] == "alice" and pyotp.TOTP(row["totp_key"]).now()
    assert row["totp_address"].startswith("otpauth://totp/Rel%C3%A8ve:alice?secret=")
    (listed,) = installation.query_rows("access", "list", "--kind", "operator")
    assert listed["has_second_factor"] and listed["sessions"] == 0 and listed["signed_in_at"] is None
    assert row["totp_key"] not in json.dumps(listed)
    again = add(installation, monkeypatch, "alice")
    assert again.code == 1 and "there is an operator alice already" in again.err


@pytest.mark.parametrize(
    ("password", "said"), [("a", "too short"), ("password1234", "easy to guess"), ("alice loves tiles", "name")]
)
def test_l4_a_weak_password_makes_no_operator(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, password: str, said: str
) -> None:
    refused = add(installation, monkeypatch, "alice", password=password)
    assert refused.code == 1 and said in refused.error_line
    assert len(password) < 2 or password not in refused.err
    assert installation.query_rows("access", "list", "--kind", "operator") == []


def test_a_person_types_the_password_twice_and_a_first_code(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter([PASSWORD, PASSWORD])
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: next(typed))
    monkeypatch.setattr("worker.domain.sessions.new_totp_key", lambda: KEY)
    codes = iter(["000000", pyotp.TOTP(KEY).now()])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: next(codes))
    monkeypatch.setattr(sys, "stdin", Terminal())
    answer = installation.releve("access", "add-operator", "alice")
    assert KEY in answer.out and "otpauth://totp/" in answer.out
    assert "wrong code" in answer.err and PASSWORD not in answer.out + answer.err
    assert [row["name"] for row in installation.query_rows("access", "list", "--kind", "operator")] == ["alice"]


def test_three_wrong_codes_make_no_operator(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: PASSWORD)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "000000")
    monkeypatch.setattr(sys, "stdin", Terminal())
    refused = installation.run("access", "add-operator", "alice")
    assert refused.code == 1 and "no operator was added" in refused.err
    assert installation.query_rows("access", "list", "--kind", "operator") == []


def test_one_without_a_second_factor_is_told_where_it_works(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "on this machine only" in add(installation, monkeypatch, "bob", "--no-second-factor").out


def test_a_password_in_the_command_or_from_nowhere_is_refused(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = installation.run("access", "add-operator", "alice", "--password", PASSWORD)
    assert seen.code == 2 and "standard input" in seen.error_line and PASSWORD not in seen.err
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    nowhere = installation.run("access", "add-operator", "alice", "--no-second-factor")
    assert nowhere.code == 2 and "--password -" in nowhere.error_line


def test_a_new_password_a_link_and_the_end(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    none = installation.releve("access", "list", "--kind", "operator").out
    assert "add one with `releve access add-operator NAME`" in none
    row = json.loads(add(installation, monkeypatch, "alice", "--json").out)
    link = installation.releve("access", "link", "alice").out.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/operator/link#operator_link_[a-z0-9]{12}_[\w-]{43}", link)
    with Parts(installation.read_settings()) as parts:
        keys = parts.access.keys
        keys.create(KeyKind.OPERATOR_SESSION, row["id"])
        assert installation.query_rows("access", "list", "--kind", "operator")[0]["sessions"] == 1
        monkeypatch.setattr(sys, "stdin", io.StringIO("girafe lundi moquette 7\n"))
        installation.releve("access", "password", "alice", "--password", "-")
        assert keys.list_keys([row["id"]], set(KeyKind)) == []
        assert parts.access.operators.check("alice", "girafe lundi moquette 7")
        keys.create(KeyKind.OPERATOR_SESSION, row["id"])
        add(installation, monkeypatch, "bob")
        assert "is removed" in installation.releve("access", "remove", "operator", "alice").out
        assert keys.list_keys([row["id"]], set(KeyKind)) == []
    gone = installation.run("access", "remove", "operator", "alice")
    assert gone.code == 1 and "releve access list --kind operator" in gone.error_line


def test_a_role_is_given_to_a_new_operator_or_later_and_the_last_administrator_keeps_theirs(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(installation, monkeypatch, "alice")
    assert json.loads(add(installation, monkeypatch, "bob", "--role", "support", "--json").out)["role"] == "support"
    for words in (("role", "alice", "support"), ("remove", "operator", "alice")):
        refused = installation.releve("access", *words, code=1)
        assert "alice is the last administrator: add one" in refused.error_line
    assert installation.releve("access", "role", "bob", "admin").out == "operator bob has the role admin\n"
    installation.releve("access", "role", "alice", "support")
    listed = installation.query_rows("access", "list", "--kind", "operator")
    assert {row["name"]: row["role"] for row in listed} == {"alice": "support", "bob": "admin"}
    assert installation.run("access", "role", "bob", "boss").code == 2
    entries = installation.query_rows("audit", "--action", "operator.role")
    assert {(row["subject"], row["outcome"] == "ok") for row in entries} == {
        ("alice", False),
        ("bob", True),
        ("alice", True),
    }


def test_where_the_session_key_is_not_nothing_is_made(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = installation.but(registry_url=f"sqlite:///{installation.folder / 'registry.db'}")
    refused = elsewhere.run("access", "list", "--kind", "operator")
    assert refused.code == 2 and "docker compose exec web releve …" in refused.error_line
    assert not list(installation.folder.glob("session.key*"))
    elsewhere.releve("access", "list", "--kind", "operator", session_key=generate_key())


@pytest.mark.parametrize(
    "words",
    [
        ("access", "remove", "operator", "alice"),
        ("secrets", "show", "flower_password", "--folder", "secrets"),
        ("restore", "monday.zip"),
    ],
)
def test_on_a_terminal_a_command_asks_first_and_names_what_it_will_do(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    add(installation, monkeypatch, "alice")
    installation.releve("secrets", "add", "secrets")
    questions: list[str] = []
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: questions.append(text) or "n")
    monkeypatch.setattr(sys, "stdin", Terminal())
    (installation.folder / "monday.zip").touch()
    refused = installation.run(*words)
    assert refused.code == 1 and not refused.out
    (question,) = questions
    assert any(word in question + refused.err for word in ("alice", "flower_password", "monday.zip"))
    asked = len(questions)
    installation.run(*words, "--yes")
    assert len(questions) == asked


def test_an_old_password_in_the_environment_is_named_with_what_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELEVE_OPERATOR_PASSWORD", "RELEVE_OPERATOR_PASSWORD_FILE"):
        monkeypatch.setenv(name, "something")
        (line,) = removed_settings()
        assert "has no effect any more" in line and "releve access add-operator NAME" in line
        assert "something" not in line
        monkeypatch.delenv(name)
    assert "operator_password" not in Settings.model_fields


def test_where_the_session_key_is_missing_all_but_the_operators_are_listed(installation: Installation) -> None:
    apart = installation.but(registry_url=f"sqlite:///{installation.folder}/apart.db")
    apart.releve("access", "add-token", "--name", "dashboard", "--scope", "read:accounts")
    listed = apart.releve("access", "list", "--json")
    assert [row["access"] for row in listed.rows] == ["token"]
    assert "operators are not listed: the session key is missing" in listed.err
    assert "operators\n" not in apart.releve("access", "list").out
    alone = apart.releve("access", "list", "--kind", "operator", code=2)
    assert alone.out == "" and "the session key is missing" in alone.error_line


def test_an_operator_is_told_of_by_the_stored_name_and_a_name_of_nobody_is_not_repeated(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob", "carol"):
        add(installation, monkeypatch, name, "--no-second-factor")
    assert installation.releve("access", "remove", "operator", " Alice").out == "operator alice is removed\n"
    assert installation.query("access", "remove", "operator", "BOB ")["id"] == "bob"
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    unknown = installation.releve("access", "remove", "operator", PASSWORD, code=1)
    assert PASSWORD not in unknown.out + unknown.err and "no operator has this name" in unknown.error_line
