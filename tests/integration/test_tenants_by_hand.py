"""`releve tenants`, and the option --tenant of the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.parts import Parts
from worker.stores.registry.api_tokens import WebhookTarget

METER, OTHER = "30001640000011", "30001640000022"


@pytest.fixture
def cli(installation: Installation) -> Installation:
    return installation.but(preset="enedis-v5")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("between them and us, and nobody else\n")
    return path


def test_a_tenant_is_made_changed_and_listed_without_its_secrets(cli: Installation, secret_file: Path) -> None:
    assert "default" in cli.releve("tenants").out
    cli.releve("tenants", "kilowatt", "--title", "Kilowatt Club")
    url = "https://kilowatt.example/hook-with-a-secret/"
    webhook = ("--webhook-url", url, "--webhook-secret-file", str(secret_file))
    said = cli.releve("tenants", "kilowatt", *webhook)
    assert "Kilowatt Club; with a webhook" in said.out
    cli.releve("tenants", "default", "--title", "Our service")
    rows = cli.query_rows("tenants")
    assert [(row["id"], row["title"], row["has_webhook"]) for row in rows] == [
        ("default", "Our service", False),
        ("kilowatt", "Kilowatt Club", True),
    ]
    listed = cli.releve("tenants").out + str(rows)
    assert "hook-with-a-secret" not in listed and "between them" not in listed
    with cli.open() as parts:
        assert parts.stores.registry.tenants.find_webhook("kilowatt") == WebhookTarget(
            url.rstrip("/"), "between them and us, and nobody else"
        )
        assert parts.stores.registry.tenants.title_of("default") == "Our service"
    cli.releve("tenants", "kilowatt", "--no-webhook")
    with cli.open() as parts:
        assert not parts.stores.registry.tenants.has_webhook("kilowatt")


@pytest.mark.parametrize(
    "words, said",
    [
        (["Kilo Watt", "--title", "x"], "1 to 32"),
        (["kilowatt", "--title", " "], "--title"),
        (["kilowatt", "--title", "x" * 101], "--title"),
        (["kilowatt", "--title", "two\nlines"], "--title"),
        (["kilowatt", "--title", "x", "--webhook-url", "https://x.example"], "go together"),
        (["kilowatt", "--title", "x", "--webhook-url", "ftp://a-secret", "--webhook-secret-file", "{file}"], "http"),
        (
            ["kilowatt", "--title", "x", "--webhook-url", "https://x.example", "--webhook-secret-file", "{empty}"],
            "secret",
        ),
        (["default", "--no-webhook"], "RELEVE_WEBHOOK_URL"),
    ],
)
def test_misuse_makes_no_tenant(
    cli: Installation, secret_file: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "empty").touch()
    files = {"file": str(secret_file), "empty": str(tmp_path / "empty")}
    refused = cli.releve("tenants", *(word.format(**files) for word in words), code=2)
    assert said in refused.err and "a-secret" not in refused.err
    assert [row["id"] for row in cli.query_rows("tenants")] == ["default"]


def test_a_new_tenant_needs_a_title(cli: Installation) -> None:
    assert "--title" in cli.releve("tenants", "kilowatt", code=1).err


@pytest.mark.parametrize(
    "words",
    [
        ["access", "add-token", "--name", "x", "--scope", "read:accounts"],
        ["accounts", "add", "--usage-point", METER],
        ["accounts", "list"],
        ["invite", "--usage-point", METER],
        ["consents", "--invitations"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_tenant_that_was_not_set_up_is_refused_in_one_line(cli: Installation, words: list[str]) -> None:
    refused = cli.releve(*words, "--tenant", "kilowatt", code=1)
    (line,) = [line for line in refused.err.splitlines() if "PRETENDING" not in line]
    assert "`releve tenants kilowatt --title" in line
    assert (
        cli.query_rows("accounts", "list")
        == cli.query_rows("access", "list", "--kind", "token")
        == cli.query_rows("consents", "--invitations")
        == []
    )


def test_tables_have_a_column_of_tenants_only_where_there_are_several_and_json_always(
    cli: Installation, parts: Parts
) -> None:
    lists = (["accounts", "list"], ["access", "list", "--kind", "token"], ["consents", "--invitations"])

    def make(meter: str, *tenant: str) -> None:
        account, _ = parts.stores.registry.accounts.add(
            "enedis", meter, parts.stores.now(), tenant=tenant[1] if tenant else "default"
        )
        cli.releve("invite", account.id)
        cli.releve("access", "add-token", "--name", "x", "--scope", "read:accounts,erase:accounts", *tenant)

    make(METER)
    assert "tenant" not in cli.releve("accounts", "show", parts.stores.registry.accounts.list_accounts()[0].id).out
    for words in lists:
        assert "tenant" not in cli.releve(*words).out
        assert [row["tenant"] for row in cli.query_rows(*words)] == ["default"]
    cli.releve("tenants", "kilowatt", "--title", "Kilowatt Club")
    make(OTHER, "--tenant", "kilowatt")
    for words in lists:
        table = cli.releve(*words).out
        assert "tenant" in table and "kilowatt" in table
        assert sorted(row["tenant"] for row in cli.query_rows(*words)) == ["default", "kilowatt"]
    for words in (lists[0], lists[2]):
        assert [row["tenant"] for row in cli.query_rows(*words, "--tenant", "kilowatt")] == ["kilowatt"]


def test_an_account_stays_in_its_tenant(cli: Installation, parts: Parts) -> None:
    account, _ = parts.stores.registry.accounts.add("enedis", METER, parts.stores.now())
    assert "--usage-point" in cli.releve("invite", account.id, "--tenant", "default", code=2).err


def test_the_operator_is_told_which_tenant_reads_a_meter_and_nothing_is_changed(
    cli: Installation, parts: Parts
) -> None:
    cli.releve("tenants", "kilowatt", "--title", "Kilowatt Club")
    account, _ = parts.stores.registry.accounts.add("enedis", METER, parts.stores.now(), tenant="kilowatt")
    for words in (["accounts", "add"], ["invite"], ["invite", "--new-holder"]):
        refused = cli.releve(*words, "--usage-point", METER, code=1)
        assert "METER_ELSEWHERE" in refused.err and "tenant kilowatt" in refused.err
        assert account.id not in refused.err and METER not in refused.err
    assert (
        parts.stores.registry.accounts.list_accounts() == [account]
        and parts.stores.registry.invitations.list_invitations() == []
    )
