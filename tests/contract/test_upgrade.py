"""An upgrade from a kept release to this version and to made-up later ones, on a SQLite file and on PostgreSQL."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import MetaData, create_engine, insert, inspect
from sqlalchemy.exc import DatabaseError, IntegrityError

from tests.golden.keep_installation import (
    ADDRESS,
    KEYS,
    OPERATOR,
    PASSWORD,
    documents_of,
    installation_of,
)
from tests.support.backups import without_ended
from tests.support.factories import NOW
from tests.support.former_release import extract_code, restore_saved
from tests.support.installation import Installation
from tests.support.kept_installation import (
    KEPT,
    create_kept_tables,
    find_lost_rows,
    kept_document_stores,
    load_kept,
    load_redis,
    read_all_rows,
    write_steps,
)
from tests.support.parts import Parts
from worker.domain.account import AccountState
from worker.domain.consents import EndReason
from worker.domain.series import Series
from worker.domain.sessions import KeyKind
from worker.errors import OperatorFault, StoreUnavailable
from worker.ops.backup import restore
from worker.ops.backup_format import FORMAT, HEADER, Archive, BackupRefused
from worker.stores.database import Database
from worker.stores.encryption import Purpose, Sealer, SecretTexts
from worker.stores.registry import migrations
from worker.stores.registry.access_keys import AccessKeyTable, OperatorTable
from worker.stores.registry.api_tokens import ApiTokenTable
from worker.stores.registry.dump import TABLES
from worker.stores.registry.invitations import InvitationTable
from worker.stores.registry.migrations import require_schema, upgrade_schema

STEPS = Path(migrations.__file__).parent
ADD = 'op.add_column("accounts", sa.Column("nickname", sa.String(40)))'
FILL = "op.execute(\"UPDATE accounts SET nickname = 'home of ' || id\")"
TIGHTEN = 'with op.batch_alter_table("accounts") as table: table.alter_column("nickname", nullable=False)'
LATER = {"expand_9001": ADD, "fill_9002": FILL, "tighten_9003": TIGHTEN}
LOSE = "op.execute(\"DELETE FROM invitations WHERE purpose = 'account'\")"
ORPHAN = "op.execute(\"DELETE FROM accounts WHERE state = 'ready'\")"

Later = Callable[..., None]


@pytest.fixture
def kept(empty_url: str, tmp_path: Path) -> Installation:
    """Return the kept installation; its Redis is the one that the test loads."""
    create_kept_tables(empty_url)
    ledger = tmp_path / "ledger.ndjson"
    ledger.write_bytes((KEPT / "ledger.ndjson").read_bytes())
    return installation_of(tmp_path, "redis://127.0.0.1:9", registry_url=empty_url, measures_url=empty_url)


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Later:
    """Give this version made-up later steps."""

    def add(**steps: str) -> None:
        monkeypatch.setattr(migrations, "_FOLDER", write_steps(tmp_path, STEPS, **steps))

    return add


def url_of(installation: Installation) -> str:
    return installation.settings["registry_url"]


def step_of(url: str) -> str | None:
    database = Database(url)
    with database.reading() as connection:
        step = migrations.current_step(connection)
    database.close()
    return step


def lost_of(installation: Installation) -> dict[str, int]:
    """Return what the installation has no longer of what was kept."""
    return find_lost_rows(
        {**load_kept("registry"), **load_kept("measures")["sql"]}, read_all_rows(url_of(installation))
    )


def saved_registries(installation: Installation) -> list[Path]:
    return list(installation.folder.glob("releve-registry-*.zip"))


# The kept installation


@pytest.mark.parametrize("name", ["registry", "redis", "messages"])
def test_release_0_2_0_holds_nothing_that_only_older_versions_wrote(name: str) -> None:
    """So its upgrade needs no reader of Fernet texts, and no import of consents."""
    text = json.dumps(load_kept(name))
    assert '"AgAAAA' in text and "gAAAAA" not in text
    assert load_kept("registry")["consent_proofs"] == []
    with zipfile.ZipFile(KEPT / "backup.zip") as file:
        assert json.loads(file.read(HEADER))["format"] == FORMAT


def test_one_migrate_brings_the_kept_installation_to_this_version(kept: Installation) -> None:
    assert lost_of(kept) == {}
    steps = {step["what"]: step["done"] for step in kept.query_rows("migrate")}
    assert step_of(url_of(kept)) == migrations.newest_step()
    assert steps[f"registry tables at step {migrations.newest_step()}"] in ("there", "changed")
    (references,) = [what for what in steps if what.startswith("references of ")]
    assert steps[references] == "made" and references.endswith(" accounts, for a search")
    assert not [what for step in kept.query_rows("migrate") if "references" in (what := step["what"])]
    assert lost_of(kept) == {}


def test_o6_migrate_keeps_the_count_and_the_last_signature_of_the_kept_ledger(kept: Installation) -> None:
    *_, last = (kept.folder / "ledger.ndjson").read_text().splitlines()
    for done in ("made", "there"):
        steps = {step["what"]: step["done"] for step in kept.query_rows("migrate")}
        assert steps["ledger of erasures: 1 entries"] == done
    (known,) = read_all_rows(url_of(kept))["ledger_end"]
    assert (known["entries"], known["signature"]) == (1, json.loads(last)["signature"])


def test_later_steps_add_fill_and_tighten_and_the_registry_is_saved_first(kept: Installation, later: Later) -> None:
    later(**LATER)
    steps = {step["what"]: step["done"] for step in kept.query_rows("migrate")}
    assert steps["registry tables at step 9003"] == "changed"
    assert lost_of(kept) == {}
    accounts = read_all_rows(url_of(kept))["accounts"]
    assert [row["nickname"] for row in accounts] == [f"home of {row['id']}" for row in accounts]
    engine = create_engine(url_of(kept))
    (nickname,) = [column for column in inspect(engine).get_columns("accounts") if column["name"] == "nickname"]
    engine.dispose()
    assert not nickname["nullable"]
    (saved,) = saved_registries(kept)
    assert load_kept("secrets")["step"] in saved.name and f"{saved}" in next(iter(steps))
    with Archive.open(saved, Sealer([KEYS["backup_keys"]], Purpose.BACKUP)) as archive:
        archive.check()
        kept_rows = {name: rows for name, rows in load_kept("registry").items() if name in TABLES}
        assert {name: list(archive.rows(f"registry/{name}")) for name in kept_rows} == kept_rows
        assert archive.manifest["schema"] == load_kept("secrets")["step"]
    assert kept.query_rows("migrate")[0]["done"] == "there" and saved_registries(kept) == [saved]


def test_l3_an_upgraded_database_changes_no_entry_of_the_audit_log(kept: Installation, later: Later) -> None:
    later(**LATER)
    kept.releve("migrate")  # It leaves an entry of its own.
    database = Database(url_of(kept))
    for statement in ("UPDATE audit_log SET outcome = 'ok'", "DELETE FROM audit_log"):
        with pytest.raises(DatabaseError, match="append-only"), database.writing() as connection:
            connection.exec_driver_sql(statement)
    database.close()


def test_the_comparison_finds_a_row_that_a_step_loses(kept: Installation, later: Later) -> None:
    later(fill_9001=LOSE)
    kept.releve("migrate")
    assert lost_of(kept) == {"invitations": 1}


def test_a_row_that_others_refer_to_is_not_lost(kept: Installation, later: Later) -> None:
    later(fill_9001=ORPHAN)
    with pytest.raises((OperatorFault, IntegrityError), match=r"missing rows of accounts|violates foreign key"):
        upgrade_schema(Database(url_of(kept)))
    assert lost_of(kept) == {} and step_of(url_of(kept)) != "9001"


def test_a_step_that_fails_leaves_those_before_it_and_the_next_run_goes_on(
    kept: Installation, later: Later, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(expand_9001=ADD, fill_9002='raise OSError("the power went")')
    database = Database(url_of(kept))
    with pytest.raises(OSError, match="the power went"):
        upgrade_schema(database)
    assert step_of(url_of(kept)) == "9001"
    monkeypatch.setattr(migrations, "_FOLDER", write_steps(tmp_path / "mended", STEPS, **LATER))
    assert upgrade_schema(database) == ("9001", "9003")
    database.close()
    assert lost_of(kept) == {}


def test_nothing_is_changed_where_the_registry_can_not_be_saved(
    kept: Installation, later: Later, tmp_path: Path
) -> None:
    later(**LATER)
    (tmp_path / "ledger.ndjson").write_text("no ledger\n")
    result = kept.run("migrate")
    assert result.code != 0 and "ledger.ndjson" in result.error_line
    assert step_of(url_of(kept)) == load_kept("secrets")["step"]


def test_only_migrate_changes_older_tables(kept: Installation, later: Later) -> None:
    later(**LATER)
    assert (
        "run `releve migrate`, which makes a backup first" in kept.run("access", "list", "--kind", "token").error_line
    )
    assert step_of(url_of(kept)) == load_kept("secrets")["step"]


@pytest.mark.parametrize("step, words", [("0003", "from before the first release"), ("9999", "a newer version")])
def test_a_step_that_nobody_can_begin_from_is_said_in_one_line(kept: Installation, step: str, words: str) -> None:
    database = Database(url_of(kept))
    with database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{step}'")
    for call in (upgrade_schema, require_schema):
        with pytest.raises(OperatorFault, match=words):
            call(database)
    database.close()
    assert words in kept.run("migrate").error_line


@pytest.mark.sockets
def test_without_its_keys_a_postgresql_is_not_saved_and_that_is_said(
    postgres_database: str, later: Later, tmp_path: Path
) -> None:
    create_kept_tables(postgres_database)
    later(**LATER)
    keys = dict.fromkeys(KEYS, "")
    installation = installation_of(tmp_path, "", registry_url=postgres_database, measures_url=postgres_database, **keys)
    first, second = installation.query_rows("migrate")[:2]
    assert first["done"] == "left" and "`releve backup`" in first["what"]
    assert second["done"] == "changed"
    assert saved_registries(installation) == [] and not (tmp_path / "backup.keys").exists()


@pytest.mark.sockets
def test_a_step_does_not_wait_long_for_a_table_that_workers_use(
    postgres_database: str, later: Later, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_kept_tables(postgres_database)
    later(**LATER)
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT", "50ms")
    worker, owner = Database(postgres_database), Database(postgres_database)
    with worker.reading() as connection:
        connection.exec_driver_sql("SELECT 1 FROM accounts")
        with pytest.raises(StoreUnavailable, match="run `releve migrate` again, or stop the workers first"):
            upgrade_schema(owner)
    assert step_of(postgres_database) != "9001"
    assert upgrade_schema(owner)[1] == "9003"
    for database in (worker, owner):
        database.close()


# What its holders have still works


@pytest.fixture(params=["this version", pytest.param("a later one", marks=pytest.mark.rest)])
def upgraded(request: pytest.FixtureRequest, kept: Installation, later: Later, redis_url: str) -> Installation:
    if request.param == "a later one":
        later(**LATER)
    kept.releve("migrate")
    load_redis(redis_url)
    return Installation(kept.folder, redis_url, kept.settings)


def test_everything_is_read_after_an_upgrade(upgraded: Installation) -> None:
    secrets = load_kept("secrets")
    with upgraded.open() as parts:
        states = {row["id"]: row["state"] for row in load_kept("registry")["accounts"]}
        assert set(states.values()) == set(AccountState)
        assert {account_id: parts.stores.registry.accounts.get(account_id).state for account_id in states} == states
        assert json.loads(parts.stores.registry.tokens.load(secrets["accounts"]["first"]) or "") == {
            "access_token": "a"
        }
        assert_evidence_is_whole(parts)
        assert_holders_get_in(parts)
        assert_redis_is_read(parts, secrets["accounts"]["second"])
        assert documents_of(parts.stores.measures, sorted(states)) == kept_documents(sorted(states))


def assert_evidence_is_whole(parts: Parts) -> None:
    faults: list[str] = []
    summary = parts.stores.registry.evidence.verify(faults.append)
    assert faults == [] and summary.rows == len(load_kept("registry")["consent_evidence"])


def assert_holders_get_in(parts: Parts) -> None:
    secrets, database, access = load_kept("secrets"), parts.stores.registry.database, parts.access
    keys = AccessKeyTable(database, access.sealer, lambda: NOW)
    session = keys.find(KeyKind.HOUSEHOLD_SESSION, secrets["session"])
    assert session is not None and session.owner == secrets["household"]
    assert keys.find(KeyKind.RECOVERY_CODE, secrets["recovery_code"]) is not None
    household = access.households.load(secrets["household"])
    assert household is not None and list(household.accounts) == [secrets["accounts"]["second"]]
    address = access.ways_back.addresses.load(household.id)
    assert address is not None and address.address == ADDRESS
    operators = OperatorTable(database, access.sealer, lambda: NOW)
    operator = operators.check(OPERATOR, PASSWORD)
    assert operator is not None and operator.id == secrets["operator"]
    assert operators.use_code(operator.id, pyotp.TOTP(secrets["totp_key"]).at(NOW))
    token = ApiTokenTable(database, lambda: NOW).find(secrets["api_token"])
    assert token is not None and token.scopes == {"read"}
    invitations = InvitationTable(database, parts.stores.keys.registry, lambda: NOW)
    assert invitations.find(secrets["invitation_link"].rpartition("#")[2]) is not None
    assert parts.stores.registry.proxy_clients.authenticate(*secrets["proxy_client"]) is not None


def assert_redis_is_read(parts: Parts, account_id: str) -> None:
    assert parts.stores.windows.task_state(account_id, Series.DAILY.value)["state"] == "failed"
    assert parts.stores.keys.redis.unseal(parts.stores.windows.get_secret("made-up") or "", "made-up") == "made up"
    assert [incident.id for incident in parts.sync.incidents.store.open_incidents().values()] == ["i1"]
    request = parts.consent.requests.get("made-up")
    assert request is not None and request.usage_points == ("30001640000104",)


def kept_documents(account_ids: list[str]) -> dict[str, list[dict[str, object]]]:
    """Return the kept documents of both layouts, which are the same to a reader."""
    plain, packed = (documents_of(store, account_ids) for store in kept_document_stores().values())
    assert plain == packed and plain
    return plain


def test_clients_and_grants_of_0_2_0_keep_their_ways(kept: Installation, redis_url: str) -> None:
    """What 0.2.0 wrote of a client without --pkce and of its grant stands in the tables before the upgrade."""
    (_, client_hash, secret), (_, access_hash, access), (_, refresh_hash, refresh) = (
        SecretTexts(prefix).create(f"{prefix[5]}" * 12) for prefix in ("proxyclient", "proxyaccess", "proxyrefresh")
    )
    client_id, grant_id = "c" * 12, "a" * 12
    refresh, now = refresh.replace("r" * 12, grant_id), datetime.now(UTC)
    database = Database(url_of(kept))
    tables = MetaData()
    with database.writing() as connection:
        tables.reflect(connection, only=["proxy_clients", "proxy_grants", "proxy_refresh_tokens"])
        rows = {
            "proxy_clients": {
                "id": client_id,
                "tenant": "default",
                "name": "Cozy",
                "hash": client_hash,
                "pkce": False,
                "redirect_uris": "https://stack.example/back",
                "created_at": now,
            },
            "proxy_grants": {
                "id": grant_id,
                "client_id": client_id,
                "supplier": "enedis",
                "meter": "d" * 64,
                "proof": "invited",
                "granted_at": now,
                "access_hash": access_hash,
                "access_expires_at": now + timedelta(hours=1),
                "end_reason": "",
            },
            "proxy_refresh_tokens": {"hash": refresh_hash, "grant_id": grant_id, "issued_at": now},
        }
        for name, row in rows.items():
            connection.execute(insert(tables.tables[name]).values(row))
    database.close()
    kept.releve("migrate")
    with Installation(kept.folder, redis_url, kept.settings).open() as parts:
        client = parts.stores.registry.proxy_clients.authenticate(client_id, secret)
        assert client is not None and (client.strict, client.pkce, client.numbers_in_redirect) == (False, False, True)
        grants = parts.stores.registry.proxy_grants
        grant = grants.find_by_access_token(access)
        assert grant is not None and (grant.last_used_on, grant.ended_at) == (None, None)
        tokens = grants.rotate(client_id, refresh, parts.sync.history.today())
        assert tokens is not None and grants.find_by_access_token(tokens.access) is not None
        assert grants.end(grant_id, EndReason.OPERATOR_ENDED)
        assert grants.rotate(client_id, tokens.refresh, parts.sync.history.today()) is None


def test_the_kept_backup_comes_back_by_its_own_version(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.ndjson").write_bytes((KEPT / "ledger.ndjson").read_bytes())
    with installation_of(tmp_path, redis_url).open() as parts:
        if migrations.newest_step() != load_kept("secrets")["step"]:
            with pytest.raises(BackupRefused, match="restore it with that version, then upgrade"):
                restore(parts.stores.settings, KEPT / "backup.zip")
            return
        restore(parts.stores.settings, KEPT / "backup.zip")
        assert_evidence_is_whole(parts)
        accounts = sorted(account.id for account in parts.stores.registry.accounts.list_accounts())
        assert documents_of(parts.stores.measures, accounts) == kept_documents(accounts)


def test_release_0_2_0_restores_what_migrate_has_saved(kept: Installation, redis_url: str, tmp_path: Path) -> None:
    """A documented rollback, by the code of that release; measures stay in their store meanwhile."""
    before = read_all_rows(url_of(kept))
    kept.releve("migrate")
    (saved,) = saved_registries(kept)
    empty = kept.folder / "before.db"
    older = Installation(kept.folder, redis_url, {**kept.settings, "registry_url": f"sqlite:///{empty}"})
    restore_saved(extract_code(tmp_path / "code"), older.environment(), saved)
    rows = {name: rows for name, rows in before.items() if name in load_kept("registry") and name in TABLES}
    restored = read_all_rows(f"sqlite:///{empty}")
    assert find_lost_rows(without_ended(rows), without_ended(restored)) == {}
    assert restored["alembic_version"] == [{"version_num": load_kept("secrets")["step"]}]
    assert find_lost_rows(load_kept("measures")["sql"], read_all_rows(url_of(kept))) == {}


def test_the_version_before_restores_what_migrate_has_saved(
    kept: Installation, later: Later, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.releve("migrate")  # To this version, which is the one before the made-up one.
    later(**LATER)
    kept.releve("migrate", pretend_now=(NOW + timedelta(hours=1)).isoformat())
    saved = max(saved_registries(kept))
    monkeypatch.setattr(migrations, "_FOLDER", STEPS)
    settings = {"ledger_file": str(tmp_path / "ledger.ndjson"), "measures_url": url_of(kept)}
    before = installation_of(tmp_path / "before", redis_url, **settings)
    with before.open() as parts:
        assert restore(parts.stores.settings, saved).documents == 0
    kept_rows = {name: rows for name, rows in load_kept("registry").items() if name in TABLES}
    restored = read_all_rows(f"sqlite:///{before.folder}/registry.db")
    assert find_lost_rows(without_ended(kept_rows), without_ended(restored)) == {}
