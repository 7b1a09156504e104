"""`releve access`: a client is made, listed and revoked; its secret is shown once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.settings import get_settings
from worker.cli.main import cli

ADDRESS = "https://oauthcallback.mycozy.cloud/accounts/enedis/redirect"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELEVE_DATA_DIR", str(tmp_path))
    get_settings.cache_clear()
    yield CliRunner()
    get_settings.cache_clear()


def test_a_client_is_made_listed_and_revoked(run: CliRunner) -> None:
    made = run.invoke(cli, ["access", "add-client", " My Cozy ", "--redirect-uri", ADDRESS])
    assert made.exit_code == 0 and "can't be shown again" in made.stderr
    (id_name, client_id), (secret_name, secret) = [line.split() for line in made.stdout.splitlines()]
    assert (id_name, secret_name) == ("client_id", "client_secret") and secret.startswith(f"proxyclient_{client_id}_")
    row = json.loads(run.invoke(cli, ["access", "list", "--kind", "client", "--json"]).stdout)
    assert row["redirect_uris"] == [ADDRESS] and row["tenant"] == "default"
    assert (row["pkce"], row["strict"], row["numbers_in_redirect"]) == (True, True, False)
    assert row["name"] == "My Cozy" and "secret" not in json.dumps(row)
    revoked = run.invoke(cli, ["access", "remove", "client", client_id])
    assert revoked.exit_code == 0 and "is revoked" in revoked.stdout
    row = json.loads(run.invoke(cli, ["access", "list", "--kind", "client", "--json"]).stdout)
    assert row["revoked_at"] is not None
    table = run.invoke(cli, ["access", "list", "--kind", "client"])
    assert table.exit_code == 0 and client_id in table.stdout


def test_a_client_of_a_tenant_with_several_addresses(run: CliRunner) -> None:
    addresses = ["--redirect-uri", ADDRESS, "--redirect-uri", "http://localhost:8080/back"]
    words = ["access", "add-client", "Stack", *addresses, "--tenant", "energy", "--json"]
    assert run.invoke(cli, words).exit_code == 1, "there is no such tenant yet"
    assert run.invoke(cli, ["tenants", "energy", "--title", "Energy"]).exit_code == 0
    made = run.invoke(cli, words)
    client = json.loads(made.stdout)
    assert client["tenant"] == "energy" and client["redirect_uris"] == addresses[1::2]
    assert client["client_secret"].startswith(f"proxyclient_{client['id']}_")


@pytest.mark.parametrize(
    ("options", "pkce", "numbers"),
    [
        ([], True, False),
        (["--pkce"], True, False),
        (["--no-pkce", "--numbers-in-redirect"], False, True),
    ],
)
def test_new_and_set_have_the_same_switches(run: CliRunner, options: list[str], pkce: bool, numbers: bool) -> None:
    def shown() -> tuple[bool, bool, bool]:
        row = json.loads(run.invoke(cli, ["access", "list", "--kind", "client", "--json"]).stdout)
        return row["strict"], row["pkce"], row["numbers_in_redirect"]

    made = run.invoke(cli, ["access", "add-client", "Cozy", "--redirect-uri", ADDRESS, "--json", *options])
    assert shown() == (True, pkce, numbers)
    client_id = json.loads(made.stdout)["id"]
    assert run.invoke(cli, ["access", "set-client", client_id, "--no-pkce"]).exit_code == 0
    assert shown() == (True, False, False)
    done = run.invoke(cli, ["access", "set-client", client_id, *options])
    assert "follows the rules of new clients" in done.stdout and shown() == (True, pkce, numbers)


@pytest.mark.parametrize(
    "words",
    [
        ["Stack"],
        ["Stack", "--redirect-uri", "https://*.cozy.example/"],
        ["Stack", "--redirect-uri", "http://stack.example/"],
        ["Stack", "--redirect-uri", ADDRESS, "--tenant", "Ünknown"],
        ["  ", "--redirect-uri", ADDRESS],
        ["x" * 101, "--redirect-uri", ADDRESS],
    ],
)
def test_what_can_be_no_client_is_refused(run: CliRunner, words: list[str]) -> None:
    assert run.invoke(cli, ["access", "add-client", *words]).exit_code == 2
    assert run.invoke(cli, ["access", "list", "--kind", "client"]).stdout == "no proxy clients yet\n"


def test_an_unknown_client_is_told_so_without_its_text(run: CliRunner) -> None:
    for word in ("revoke", "set"):
        result = run.invoke(cli, ["proxy-clients", word, "proxyclient_secret"])
        assert "no client has this id" in str(result.exception) and "proxyclient_secret" not in str(result.exception)
