"""The audit trail of the command line, and `releve audit`, which shows that of all doors (L3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.backups import fill, installation_with_keys
from tests.support.installation import Installation

METER, OTHER = "30001640000011", "30001640000022"


@pytest.fixture
def cli(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("SUDO_USER", "anna")
    return installation.but(preset="enedis-v5")


def trail(cli: Installation, *words: str) -> list[dict[str, Any]]:
    """Return the entries, the oldest first."""
    return list(reversed(cli.query_rows("audit", *words)))


def told(cli: Installation, *words: str) -> list[tuple[Any, ...]]:
    return [(row["action"], row["account"], row["subject"], row["outcome"]) for row in trail(cli, *words)]


def test_l3_what_is_done_to_an_account_by_hand_names_the_user(cli: Installation) -> None:
    account = cli.query("accounts", "add", "--usage-point", METER, "--consented")["account"]
    cli.releve("accounts", "pause", account)
    cli.releve("accounts", "resume", account)
    cli.releve("accounts", "series", account)  # It only shows.
    cli.releve("accounts", "series", account, "--on", "max_power")
    invitation = cli.query("invite", account)["invitation"]
    cli.releve("consents", "revoke", invitation)
    cli.releve("accounts", "add", "--usage-point", METER, code=1)
    cli.releve("accounts", "pause", "nobody", code=1)
    cli.releve("accounts", "pause", METER, code=1)
    cli.releve("accounts", "remove", account, "--yes")
    cli.releve("accounts", "show", account)
    unknown = cli.releve("audit", "--limit", "3", "--json").out
    assert METER not in unknown
    assert [row[:1] + row[1:2] + row[3:] for row in told(cli)] == [
        ("account.add", account, "ok"),
        ("account.pause", account, "ok"),
        ("account.resume", account, "ok"),
        ("account.series", account, "ok"),
        ("invitation.create", account, "ok"),
        ("invitation.revoke", None, "ok"),
        ("account.add", account, "refused"),
        ("account.pause", "nobody", trail(cli)[7]["outcome"]),
        ("account.pause", None, trail(cli)[7]["outcome"]),  # A meter's number is kept nowhere.
        ("account.erase", account, "ok"),
    ]
    assert trail(cli)[7]["outcome"] not in ("ok", "")
    assert [row["subject"] for row in trail(cli)[4:6]] == [invitation, invitation]
    assert {(row["actor_kind"], row["actor"], row["address"]) for row in trail(cli)} == {("command", "anna", None)}
    assert {row["tenant"] for row in trail(cli, "--account", account)} == {"default"}


def test_l3_tokens_made_and_revoked_leave_their_ids(cli: Installation) -> None:
    cli.releve("tenants", "kilowatt", "--title", "Kilowatt Club")
    token = cli.query("access", "add-token", "--name", "dash", "--scope", "read:accounts", "--tenant", "kilowatt")
    cli.releve("access", "remove", "token", token["id"])
    cli.releve("access", "remove", "token", token["token"], code=1)
    client = cli.query("access", "add-client", "Cozy", "--redirect-uri", "https://cozy.example/back")
    cli.releve("access", "remove", "client", client["id"])
    assert [row[:1] + row[2:] for row in told(cli)] == [
        ("tenant.set", "kilowatt", "ok"),
        ("token.create", token["id"], "ok"),
        ("token.revoke", token["id"], "ok"),
        ("token.revoke", None, trail(cli)[3]["outcome"]),
        ("proxy_client.create", client["id"], "ok"),
        ("proxy_client.revoke", client["id"], "ok"),
    ]
    assert trail(cli)[3]["outcome"] != "ok"
    assert [row["action"] for row in trail(cli, "--tenant", "kilowatt")] == ["tenant.set", "token.create"]
    assert token["token"].split("_", 2)[2] not in cli.releve("audit", "--json").out


def test_l3_a_secret_that_is_shown_leaves_an_entry(cli: Installation, tmp_path: Path) -> None:
    (tmp_path / "registry.db").unlink()
    folder = tmp_path / "secrets"
    cli.releve("secrets", "add", str(folder))
    nowhere = cli.releve("secrets", "show", "token_keys", "--folder", str(folder))
    # Where there is no registry, as in the container of the secrets, a line says so, and none is made.
    assert "not recorded in the audit trail: no registry was found" in nowhere.err
    assert not (tmp_path / "registry.db").exists()
    cli.releve("access", "list", "--kind", "token")
    shown = cli.releve("secrets", "show", "token_keys", "--folder", str(folder))
    assert (shown.out, shown.err) == (nowhere.out, "")
    cli.releve("secrets", "show", "token_keys", "--folder", str(tmp_path / "empty"), code=2)
    assert told(cli) == [
        ("secret.show", None, "token_keys", "ok"),
        ("secret.show", None, "token_keys", "config"),
    ]
    assert shown.out.strip() not in cli.releve("audit", "--json").out


def test_l3_a_backup_and_its_restore_are_recorded(redis_url: str, tmp_path: Path) -> None:
    old, new = (installation_with_keys(tmp_path / name, redis_url, tmp_path / "ledger") for name in ("old", "new"))
    with old.open() as parts:
        fill(parts)  # It has an entry of the trail, too.
    old.releve("backup", str(tmp_path / "backup.zip"))
    assert [row["action"] for row in trail(old)] == ["account.pause", "backup.make"]
    new.releve(
        "access", "list", "--kind", "token"
    )  # It makes a registry; without one, a refusal leaves nothing behind.
    new.releve("restore", str(tmp_path / "nothing.zip"), code=1)  # Its entry does not keep the next one from it.
    new.releve("restore", str(tmp_path / "backup.zip"))
    again = new.releve("restore", str(tmp_path / "backup.zip")).out  # As after an interruption.
    assert again.startswith("an earlier run restored the registry; restored 0 documents now from ")
    found = [(row["action"], row["outcome"] == "ok") for row in trail(new)]
    # The trail up to the backup came along.
    assert found == [
        ("account.pause", True),
        ("backup.restore", False),
        ("backup.restore", True),
        ("backup.restore", True),
    ]


def test_the_trail_is_read_by_filters(cli: Installation) -> None:
    first = cli.query("accounts", "add", "--usage-point", METER)["account"]
    second = cli.query("accounts", "add", "--usage-point", OTHER)["account"]
    cli.releve("accounts", "pause", first)
    assert [row["account"] for row in trail(cli, "--account", second)] == [second]
    assert [row["account"] for row in trail(cli, "--action", "account.add")] == [first, second]
    assert len(trail(cli, "--actor", "anna")) == len(trail(cli, "--actor", "command")) == 3
    assert trail(cli, "--actor", "household") == trail(cli, "--until", "2024-07-25") == []
    assert [row["action"] for row in trail(cli, "--since", "2024-07-25", "--limit", "1")] == ["account.pause"]
    table = cli.releve("audit").out
    assert "command anna" in table and "account.pause" in table
    assert "no entries" in cli.releve("audit", "--actor", "nobody").out
    cli.releve("audit", "--action", "fly", code=2)
