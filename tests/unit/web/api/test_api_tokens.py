"""Tokens of the API's clients: shown once, hashed at rest, good until their end; and the command that makes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import get_settings
from tests.support.factories import NOW
from tests.support.profiles import examples
from tests.support.registries import prepare_registry, registry_keys
from worker.cli.main import cli
from worker.domain.sessions import Scope
from worker.stores.database import Database
from worker.stores.encryption import generate_key
from worker.stores.registry import Registry
from worker.stores.registry.api_tokens import ApiTokenTable, UnknownToken

READING = {Scope.READ_ACCOUNTS, Scope.READ_MEASURES}


class Clock:
    at = NOW

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> Iterator[ApiTokenTable]:
    prepare_registry(tmp_path)
    registry = Registry(Database(f"sqlite:///{tmp_path / 'registry.db'}"), registry_keys(generate_key()))
    yield ApiTokenTable(registry.database, clock)
    registry.database.close()


def test_a_token_is_found_by_its_text_with_its_scopes(tokens: ApiTokenTable) -> None:
    token, text = tokens.create("dashboard", READING)
    assert tokens.find(text) == token
    assert token.scopes == {"read:accounts", "read:measures"}


def test_neither_the_text_nor_the_secret_is_in_the_file(tokens: ApiTokenTable, tmp_path: Path) -> None:
    _, text = tokens.create("dashboard", READING)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"dashboard" in content
    assert text.split("_", 2)[2].encode() not in content


@pytest.mark.parametrize("place", [-1, -20, -43])
def test_one_letter_changed_opens_nothing(tokens: ApiTokenTable, place: int) -> None:
    _, text = tokens.create("dashboard", READING)
    letter = "A" if text[place] != "A" else "B"
    changed = text[:place] + letter + (text[place + 1 :] if place != -1 else "")
    assert tokens.find(changed) is None


def test_the_secret_of_one_token_does_not_open_another(tokens: ApiTokenTable) -> None:
    (one, _), (_, text) = tokens.create("one", READING), tokens.create("other", READING)
    assert tokens.find(f"releve_{one.id}_{text.split('_', 2)[2]}") is None


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_no_other_text_opens_anything(tokens: ApiTokenTable, text: str) -> None:
    assert tokens.find(text) is None


def test_a_token_ends_on_time(tokens: ApiTokenTable, clock: Clock) -> None:
    _, text = tokens.create("dashboard", READING, timedelta(days=90))
    clock.at = NOW + timedelta(days=90) - timedelta(seconds=1)
    assert tokens.find(text) is not None
    clock.at = NOW + timedelta(days=90)
    assert tokens.find(text) is None


def test_a_revoked_token_opens_nothing_and_the_first_moment_stays(tokens: ApiTokenTable, clock: Clock) -> None:
    token, text = tokens.create("dashboard", READING)
    assert tokens.revoke(token.id).revoked_at == NOW
    clock.at = NOW + timedelta(hours=1)
    assert tokens.revoke(token.id).revoked_at == NOW
    assert tokens.find(text) is None


def test_revoking_what_never_was_says_so_without_repeating_it(tokens: ApiTokenTable) -> None:
    _, text = tokens.create("dashboard", READING)
    with pytest.raises(UnknownToken) as refused:
        tokens.revoke(text)
    assert text not in str(refused.value)


def test_last_use_is_noted_to_the_minute(tokens: ApiTokenTable, clock: Clock) -> None:
    _, text = tokens.create("dashboard", READING)
    for seconds, stored in ((0, 0), (30, 0), (61, 61), (100, 61)):
        clock.at = NOW + timedelta(seconds=seconds)
        token = tokens.find(text)
        assert token is not None
        tokens.record_use(token)
        assert tokens.list_tokens()[0].last_used_at == NOW + timedelta(seconds=stored)


def test_l8_tokens_that_end_soon_and_those_without_an_end_are_found(tokens: ApiTokenTable, clock: Clock) -> None:
    endless, _ = tokens.create("of before", READING)
    soon, _ = tokens.create("dashboard", READING, timedelta(days=90))
    revoked, _ = tokens.create("revoked", READING, timedelta(days=90))
    tokens.revoke(revoked.id)
    tokens.create("later", READING, timedelta(days=91))
    assert [tokens.list_ending(), tokens.list_endless()] == [[], [endless]]
    clock.at = NOW + timedelta(days=76)
    assert tokens.list_ending() == [soon]
    clock.at = NOW + timedelta(days=90)
    assert [token.name for token in tokens.list_ending()] == ["later"]
    assert tokens.count_open() == 2


def test_l8_an_open_token_is_known_by_its_id_until_it_ends(tokens: ApiTokenTable, clock: Clock) -> None:
    token, text = tokens.create("dashboard", READING, timedelta(days=1))
    assert tokens.is_open(token.id) and tokens.list_tokens()[0].last_used_at is None
    assert tokens.find_named(f"{text[:-1]}{'a' if text[-1] != 'a' else 'b'}") == token.id
    assert tokens.find_named("releve_aaaaaaaaaaaa_" + "a" * 43) is tokens.find_named("x") is None
    clock.at = NOW + timedelta(days=1)
    assert not tokens.is_open(token.id)
    assert not tokens.is_open("aaaaaaaaaaaa")


# The command


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    monkeypatch.setenv("RELEVE_DATA_DIR", str(tmp_path))
    get_settings.cache_clear()
    yield CliRunner()
    get_settings.cache_clear()


def test_a_new_token_is_printed_alone_and_once(run: CliRunner) -> None:
    result = run.invoke(
        cli, ["access", "add-token", "--name", "dash", "--scope", "read:measures,read:accounts", "--expires", "90d"]
    )
    assert result.exit_code == 0
    text = result.stdout.strip()
    assert text.startswith("releve_")
    assert text not in result.stderr
    listed = run.invoke(cli, ["access", "list", "--kind", "token", "--json"])
    assert text.split("_", 2)[2] not in listed.stdout
    row = json.loads(listed.stdout)
    assert (row["name"], row["scopes"]) == ("dash", ["read:accounts", "read:measures"])
    life = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["created_at"])
    assert life == timedelta(days=90)


@pytest.mark.parametrize(
    "words",
    [
        ["--scope", "read:measures", "--scope", "read:accounts"],
        ["--scope", "read:measures, read:accounts"],
        ["--scope", "read:measures read:accounts"],
        ["--scope", "read:measures,read:accounts", "--scope", "read:accounts"],
    ],
)
def test_s4_a_token_gets_all_scopes_that_are_given(run: CliRunner, words: list[str]) -> None:
    result = run.invoke(cli, ["access", "add-token", "--name", "d", "--json", *words])
    assert json.loads(result.stdout)["scopes"] == ["read:accounts", "read:measures"]


def test_l8_a_token_ends_after_ninety_days_unless_another_number_is_given(run: CliRunner) -> None:
    for words, days in ([], 90), (["--expires", "366d"], 366):
        result = run.invoke(cli, ["access", "add-token", "--name", "d", "--scope", "read:accounts", "--json", *words])
        token = json.loads(result.stdout)
        life = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["created_at"])
        assert life == timedelta(days=days)


def test_a_token_is_revoked_by_its_id(run: CliRunner) -> None:
    token = json.loads(
        run.invoke(cli, ["access", "add-token", "--name", "d", "--scope", "write:accounts", "--json"]).stdout
    )
    assert run.invoke(cli, ["access", "remove", "token", token["id"]]).exit_code == 0
    row = json.loads(run.invoke(cli, ["access", "list", "--kind", "token", "--json"]).stdout)
    assert row["revoked_at"] is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", "d", "--scope", "read:everything"],
        ["--name", "d", "--scope", ","],
        ["--name", " ", "--scope", "read:accounts"],
        ["--name", "d" * 101, "--scope", "read:accounts"],
        ["--name", "d", "--scope", "read:accounts", "--expires", "soon"],
        ["--name", "d", "--scope", "read:accounts", "--expires", "0d"],
        ["--name", "d", "--scope", "read:accounts", "--expires", "367d"],
        ["--name", "d", "--scope", "read:accounts", "--expires", "never"],
        ["--scope", "read:accounts"],
    ],
)
def test_misuse_makes_no_token(run: CliRunner, arguments: list[str]) -> None:
    assert run.invoke(cli, ["access", "add-token", *arguments]).exit_code == 2
    assert run.invoke(cli, ["access", "list", "--kind", "token", "--json"]).stdout == ""
