"""`releve home`: a token makes accounts, is never shown, and changes nothing that a consent has made."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.own_home import ENDS, GATEWAY, METER, OPAQUE, OTHER_METER, gateway_token
from tests.support.registries import add_ready
from worker.clients.supplier_session import Token
from worker.domain.account import AccountState
from worker.domain.consents import ConsentKind, Proof
from worker.domain.evidence import DatesSource
from worker.domain.series import USUAL_SERIES
from worker.errors import GatewayBanned, TokenRefused, WorkerError
from worker.stores.registry.consents import GivenConsent
from worker.stores.registry.outcomes import RunOutcome

UNTIL = date(2037, 7, 18)


@pytest.fixture
def home(installation: Installation) -> Installation:
    """An empty folder, with a gateway that is a simulator and nothing that says it is a home."""
    return installation.but(gateway_url=GATEWAY)


def add(home: Installation, monkeypatch: pytest.MonkeyPatch, token: str, *words: str) -> list[dict[str, object]]:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"\n{token}\n"))
    rows: list[dict[str, object]] = home.query("home", "add", "--token", "-", *words)["accounts"]
    return rows


def test_a_token_makes_an_account_of_each_of_its_meters(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    token = gateway_token(METER, OTHER_METER)
    rows = add(home, monkeypatch, token)
    assert [(row["meter"], row["state"], row["created"]) for row in rows] == [
        ("…0077", "ready", True),
        ("…0088", "ready", True),
    ]
    assert {row["token_until"] for row in rows} == {"2037-07-18"}
    with home.open() as parts:
        assert parts.stores.settings.is_home and parts.stores.settings.home_mark().exists()
        for meter in (METER, OTHER_METER):
            account = parts.stores.registry.accounts.find("gateway", meter)
            assert account is not None and account.state is AccountState.READY
            assert (account.consent_from, account.consent_until) == (date(2024, 7, 20), UNTIL)
            proof = parts.stores.registry.consents.list_proofs(account.id)[0]
            assert (proof.kind, proof.proof) == (ConsentKind.ASSERTED, Proof.ASSERTED)
            kept = Token.from_text(str(parts.stores.registry.tokens.load(account.id)))
            assert (kept.access, kept.refresh, kept.expires_at) == (token, None, int(ENDS.timestamp()))


def test_the_token_and_the_meter_are_kept_sealed_and_shown_nowhere(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = gateway_token()
    monkeypatch.setattr("sys.stdin", io.StringIO(token))
    added = home.releve("home", "add", "--token", "-")
    shown = home.releve("home")
    account = home.query("home")["accounts"][0]["account"]
    assert account in added.out and "2037-07-18" in shown.out
    for secret in (token, METER):
        assert secret not in added.out + added.err + shown.out + shown.err
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def test_the_registry_of_a_fleet_is_made_no_home(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with home.open() as parts:
        add_ready(parts.stores.registry, "99999999999991")
    monkeypatch.setattr("sys.stdin", io.StringIO(gateway_token()))
    ended = home.run("home", "add", "--token", "-")
    assert ended.code == 2 and "this installation has accounts with Enedis" in ended.error_line
    with home.open() as parts:
        assert not parts.stores.settings.is_home


def test_a_token_on_the_command_line_is_refused(home: Installation) -> None:
    ended = home.but(home="true").run("home", "add", "--token", gateway_token())
    assert ended.code == 2
    assert "stays in the shell's history" in ended.error_line and "eyJ" not in ended.error_line


@pytest.mark.parametrize(
    "token, reason",
    [
        ("hello", "this is not a token"),
        (gateway_token()[:60], "the token is damaged"),
        (gateway_token().replace(".", ".x"), "the token is damaged"),
        (gateway_token(ends=ENDS.replace(year=2023)), "the token expired on 2023-07-18"),
        (gateway_token(sub=[]), "the token names no meter"),
    ],
)
def test_what_is_no_token_makes_neither_an_account_nor_a_home(
    home: Installation, monkeypatch: pytest.MonkeyPatch, token: str, reason: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(token))
    ended = home.run("home", "add", "--token", "-")
    assert ended.code == 1 and reason in ended.error_line and token not in ended.err
    assert not (home.folder / "home").exists()


def test_an_opaque_token_needs_the_meter(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(OPAQUE))
    assert "--usage-point" in home.run("home", "add", "--token", "-").error_line
    (row,) = add(home, monkeypatch, OPAQUE, "--usage-point", METER)
    assert row["created"] is True and row["token_until"] is None
    monkeypatch.setattr("sys.stdin", io.StringIO(gateway_token(METER)))
    assert "other meters" in home.run("home", "add", "--token", "-", "--usage-point", OTHER_METER).error_line


def test_an_account_of_a_consent_at_the_supplier_is_never_joined(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home.but(home="true")
    with home.open() as parts:
        theirs = add_ready(parts.stores.registry, METER)
    monkeypatch.setattr("sys.stdin", io.StringIO(gateway_token(OTHER_METER, METER)))
    ended = home.run("home", "add", "--token", "-")
    assert ended.code == 1 and f"account {theirs} reads this meter with a consent" in ended.error_line
    with home.open() as parts:
        assert [account.id for account in parts.stores.registry.accounts.list_accounts()] == [theirs]
        assert parts.stores.registry.tokens.find_token_id(theirs) is None


def test_an_account_that_a_callback_made_is_never_joined(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home.but(home="true")
    with home.open() as parts:
        account, _ = parts.stores.registry.accounts.add("gateway", METER, parts.stores.now(), token_needed=False)
        given = GivenConsent(kind=ConsentKind.USAGE_POINT, dates_from=DatesSource.REQUESTED)
        with parts.stores.registry.database.writing() as connection:
            parts.stores.registry.consents.record(connection, [account.id], given, parts.stores.now())
    monkeypatch.setattr("sys.stdin", io.StringIO(gateway_token()))
    assert "has a consent of its own" in home.run("home", "add", "--token", "-").error_line


def test_an_account_that_came_by_a_file_gets_its_token(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home.but(home="true")
    with home.open() as parts:
        account, _ = parts.consent.assertion.add(METER, "cli:anna")
        assert parts.stores.registry.tokens.find_token_id(account.id) is None
    (row,) = add(home, monkeypatch, gateway_token())
    assert (row["account"], row["created"], row["state"]) == (account.id, False, "ready")
    assert home.query("home")["accounts"][0]["token"] is True


def test_a_new_token_replaces_the_old_one_and_the_account_is_ready_again(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = add(home, monkeypatch, gateway_token(ends=ENDS.replace(year=2036)))
    with home.open() as parts:
        parts.stores.registry.accounts.set_state(
            str(row["account"]), AccountState.ACTION_NEEDED, TokenRefused.code, now=parts.stores.now()
        )
    newer = gateway_token()
    monkeypatch.setattr("sys.stdin", io.StringIO(newer))
    changed = home.query("home", "add", "--token", "-")["accounts"][0]
    assert (changed["account"], changed["state"], changed["token_until"]) == (row["account"], "ready", "2037-07-18")
    with home.open() as parts:
        assert Token.from_text(str(parts.stores.registry.tokens.load(str(row["account"])))).access == newer
        assert [proof.open for proof in parts.stores.registry.consents.list_proofs(str(row["account"]))] == [
            True,
            False,
        ]
    monkeypatch.setattr("sys.stdin", io.StringIO(gateway_token(OTHER_METER)))
    assert home.query("home", "add", "--token", "-")["accounts"][0]["created"]


def test_an_older_token_does_not_bring_an_erased_meter_back(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = add(home, monkeypatch, gateway_token())
    home.releve("accounts", "remove", str(row["account"]), "--yes")
    monkeypatch.setattr("sys.stdin", io.StringIO(gateway_token()))
    assert "make a new token" in home.run("home", "add", "--token", "-").error_line


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"home": "false"}, "RELEVE_HOME is false"),
        ({"enedis_client_id": "an-application"}, "this installation has Enedis credentials"),
    ],
)
def test_a_fleets_installation_refuses_in_one_line(
    home: Installation, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    for words in (["home"], ["home", "add", "--token", "-"], ["home", "add", "--token", "-"], ["home", "password"]):
        monkeypatch.setattr("sys.stdin", io.StringIO(gateway_token()))
        assert reason in home.but(**settings).run(*words).error_line
    assert not (home.folder / "home").exists()


def test_settings_that_contradict_the_mark_are_one_line(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    add(home, monkeypatch, gateway_token())
    assert "unset RELEVE_HOME" in home.run("status", home="false").error_line
    assert "a home uses a gateway instead of Enedis" in home.run("status", enedis_client_id="an-application").error_line
    gas = {"grdf_client_id": "mine", "grdf_url": "http://127.0.0.1:9"}
    assert home.run("status", **gas).code == 0


def test_pretence_is_refused_with_the_public_gateway(home: Installation) -> None:
    home = home.but(home="true", gateway_url="")
    for gateway in ("", "https://conso.boris.sh", "https://conso.boris.sh./api"):
        assert "RELEVE_GATEWAY_URL" in home.run("status", gateway_url=gateway).error_line
    assert home.run("status", gateway_url=GATEWAY).code == 0
    assert home.run("status", gateway_url="", pretend_now="").code == 0


def test_doctor_says_the_truth_of_a_home(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    add(home, monkeypatch, gateway_token())
    said = home.run("doctor", "--json", pretend_now="").out
    assert "a home, read through the gateway at 127.0.0.1, 60 calls in 12 hours" in said
    assert "each meter of a home has a token" in said
    assert "ENEDIS_CLIENT_ID" not in said and "the simulator's" not in said
    assert "start one with `releve up`" in said


def test_the_summary_tells_what_is_missing_and_when_it_is_asked(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(home, monkeypatch, gateway_token())
    summary = home.query("home")
    assert summary["password"] is False
    daily = summary["accounts"][0]["series"]["daily"]
    assert daily["first"] is None and daily["days_missing"] > 1000 and daily["asked_next"]
    password = home.query("home", "password")["password"]
    assert home.query("home")["password"] is True
    assert home.query("home", "password")["password"] != password


@pytest.mark.parametrize(
    ("error", "told"),
    [(GatewayBanned, "The gateway has blocked this IP address"), (TokenRefused, "refuses this meter’s token")],
)
def test_the_summary_tells_a_ban_and_a_refused_token_until_an_answer_comes(
    home: Installation, monkeypatch: pytest.MonkeyPatch, error: type[WorkerError], told: str
) -> None:
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    (row,) = add(home, monkeypatch, gateway_token())
    account = str(row["account"])

    def record(code: str | None) -> str:
        with home.open() as parts:
            for series in USUAL_SERIES:
                parts.stores.registry.outcomes.record(
                    account,
                    series,
                    "r",
                    parts.stores.now(),
                    RunOutcome(code=code, message="", last_day=None, stored=False),
                )
        return home.releve("home").out

    assert "Active" in (failing := record(error.code)) and failing.count(error.code) == 1 and told in failing
    assert home.query("home")["accounts"][0]["series"]["daily"]["error"] == error.code
    assert error.code not in record(None)


def test_a_home_survives_backup_and_restore(
    home: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (row,) = add(home, monkeypatch, gateway_token())
    archive = tmp_path_factory.mktemp("archive") / "home.zip"
    home.releve("backup", str(archive))
    folder: Path = tmp_path_factory.mktemp("restored")
    for name in ("backup.keys", "token.keys", "erasure.keys", "session.key", "ledger.ndjson"):
        if (home.folder / name).exists():
            (folder / name).write_bytes((home.folder / name).read_bytes())
    restored = Installation(folder, home.redis_url, home.settings)
    restored.releve("restore", str(archive))
    assert restored.query("home")["accounts"][0]["account"] == row["account"]
