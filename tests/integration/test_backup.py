"""Backup and restore with every kind of store: content, refusals and interruptions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from tests.support.backups import (
    BACKUP_KEY,
    DAYS,
    ENDED_COLUMNS,
    KEY,
    PAUSED_METER,
    REMOVED_METER,
    change_header,
    documents,
    fill,
    installation_with_keys,
    members_in_zip,
    read_manifest,
    read_members,
    registry_rows,
    without_ended,
    write_zip,
)
from tests.support.fakes import ByDoctype
from tests.support.installation import Installation
from tests.support.registries import NOW, prepare_registry, record_outcome, set_history_due
from worker.domain.completeness import COMPLETE
from worker.domain.series import Doctype, Series
from worker.errors import StoreUnavailable
from worker.ops.backup import back_up, restore
from worker.ops.backup_format import MANIFEST, BackupRefused
from worker.runtime.consent_parts import erase
from worker.stores.encryption import generate_key
from worker.stores.measures.sql import SqlStore
from worker.stores.registry import dump, migrations


@pytest.fixture(scope="module")
def old(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return an installation that is filled and backed up once; tests only read it."""
    folder = tmp_path_factory.mktemp("old")
    installation = installation_with_keys(folder, redis_url, folder / "ledger.ndjson")
    with installation.open() as parts:
        fill(parts)
    with installation.open(pretend_now=(NOW + timedelta(hours=1)).isoformat()) as parts:
        back_up(parts.stores, installation.folder / "backup.zip")
    return installation


@pytest.fixture
def archive(old: Installation, tmp_path: Path) -> Path:
    return Path(shutil.copy(old.folder / "backup.zip", tmp_path))


@pytest.fixture
def new(old: Installation, redis_url: str, tmp_path: Path) -> Installation:
    ledger = Path(shutil.copy(old.folder / "ledger.ndjson", tmp_path))
    installation = installation_with_keys(tmp_path / "new", redis_url, ledger)
    prepare_registry(installation.folder)
    return installation


@pytest.fixture(
    params=[
        "sqlite to postgresql",
        pytest.param("sqlite to couchdb", marks=pytest.mark.rest),
        pytest.param("plain to packed", marks=pytest.mark.rest),
    ]
)
def elsewhere(request: pytest.FixtureRequest, new: Installation) -> Installation:
    """Return the new installation with another layout, or with its data on another kind of server."""
    if request.param.endswith("couchdb") or request.param.endswith("packed"):
        layout = "packed" if request.param.endswith("packed") else "plain"
        return new.but(measures_url=request.getfixturevalue("empty_couchdb_url"), layout=layout)
    url = request.getfixturevalue("postgres_database")
    return new.but(registry_url=url, measures_url=url)


def test_all_comes_back_on_servers_of_another_kind_and_a_backup_of_it_is_the_same(
    old: Installation, elsewhere: Installation, archive: Path, tmp_path: Path
) -> None:
    with old.open() as parts:
        before = registry_rows(parts), documents(parts)
    with elsewhere.open() as parts:
        summary = restore(parts.stores.settings, archive)
        assert without_ended(registry_rows(parts)) == without_ended(before[0])
        assert documents(parts) == before[1]
        assert (summary.accounts, summary.documents, summary.kept) == (4, 2 * (len(DAYS) + 1), 0)
        assert json.loads(parts.stores.registry.tokens.load(before[0]["token_users"][0]["account_id"]) or "") == {
            "access_token": "a"
        }
        back_up(parts.stores, tmp_path / "again.zip")
    first, again = read_manifest(archive), read_manifest(tmp_path / "again.zip")
    assert first["ledger"]["id"] == again["ledger"]["id"]
    changed = {name for name in first["members"] if first["members"][name] != again["members"][name]}
    assert changed == {f"registry/{table}" for table in ENDED_COLUMNS}


def test_no_table_is_left_out_and_every_one_is_tried_here(old: Installation, archive: Path) -> None:
    engine = create_engine(f"sqlite:///{old.folder / 'registry.db'}")
    tables = set(inspect(engine).get_table_names()) - {"alembic_version", *(table.name for table in dump._LEFT_OUT)}
    engine.dispose()
    members = read_manifest(archive)["members"]
    assert {name for name in members if name.startswith("registry/")} == {f"registry/{name}" for name in tables}
    # No version since 0.2.0 writes consents there.
    filled = tables - {"consent_proofs"}
    assert [name for name in filled if not members[f"registry/{name}"]["lines"]] == []


def test_nothing_of_it_can_be_read_without_the_key_and_a_removed_account_is_not_in_it(archive: Path) -> None:
    stored = b"".join(members_in_zip(archive).values())
    assert not any(text.encode() in stored for text in (PAUSED_METER, REMOVED_METER, "access_token", "dashboard"))
    text = json.dumps(read_members(archive))
    assert REMOVED_METER not in text
    assert "access_token" not in text
    assert PAUSED_METER in text  # The account is found again by it.
    assert archive.stat().st_mode & 0o077 == 0


def test_an_account_removed_while_its_measures_were_saved_does_not_come_back(
    new: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new.but(data_dir=str(tmp_path / "removing")).open() as parts:
        ids = fill(parts)
        read = SqlStore.read

        def removing(store: SqlStore, account_id: str, *bounds: Any) -> Any:
            page = read(store, account_id, *bounds)
            if account_id == ids["paused"] and any(len(rows) == 500 for rows in page.values()):
                erase(parts.stores, account_id)
            return page

        monkeypatch.setattr(SqlStore, "read", removing)
        back_up(parts.stores, tmp_path / "backup.zip")
        monkeypatch.undo()
    assert read_manifest(tmp_path / "backup.zip")["members"]["measures/com.grandlyon.enedis.day"]["lines"] > len(DAYS)
    with new.open() as parts:
        restore(parts.stores.settings, tmp_path / "backup.zip")
        assert all(store.read(ids["paused"], "0", "~") == [] for store in ByDoctype(parts.stores.measures).values())


def test_twice_is_once_and_what_is_younger_in_the_store_stays(new: Installation, archive: Path) -> None:
    with new.open() as parts:
        first = restore(parts.stores.settings, archive)
        before = registry_rows(parts), documents(parts)
        again = restore(parts.stores.settings, archive)
        assert (registry_rows(parts), documents(parts)) == before
        assert (again.documents, again.kept) == (0, first.documents)
        account, store = before[1][0]["source_account"], ByDoctype(parts.stores.measures)[Doctype.DAY]
        (stored,) = store.read(account, "2023-01-01", "2023-01-02")
        corrected = {**stored, "load": 9.0, "updated_at": "2024-07-26T00:00:00+00:00"}
        assert store.write([corrected]) == []
        assert restore(parts.stores.settings, archive).documents == 0
        assert store.read(account, "2023-01-01", "2023-01-02")[0]["load"] == 9.0


def test_an_interrupted_restore_leaves_the_registry_empty_and_the_next_goes_on(
    new: Installation, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new.open() as parts:
        with monkeypatch.context() as patch:
            patch.setattr(SqlStore, "write", dying_at(3, SqlStore.write))
            with pytest.raises(KeyboardInterrupt):
                restore(parts.stores.settings, archive)
        assert not any(registry_rows(parts).values())
        summary = restore(parts.stores.settings, archive)
        assert summary.kept > 0
        assert summary.documents + summary.kept == len(documents(parts)) == 2 * (len(DAYS) + 1)


def dying_at(time: int, write: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def dying(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == time:
            raise KeyboardInterrupt
        return write(*args)

    return dying


def test_a_restore_forgets_what_redis_knew_of_another_store(new: Installation, archive: Path) -> None:
    with new.open() as parts:
        parts.stores.windows.note_loaded("home1", "daily", loaded=True)
        restore(parts.stores.settings, archive)
        assert list(parts.stores.redis.scan_iter("releve:history*")) == []


def test_what_was_stored_while_the_backup_was_made_is_asked_for_again(
    new: Installation, redis_url: str, tmp_path: Path
) -> None:
    """The measures are saved before the registry, which knows of days that they lack."""
    with installation_with_keys(tmp_path / "busy", redis_url, tmp_path / "ledger.ndjson").open() as parts:
        first = fill(parts)["first"]
        before = parts.stores.registry.completeness.load_ledger(first, Series.DAILY)
        lacking = {date(2024, 6, 29): COMPLETE, date(2024, 6, 30): COMPLETE}
        set_history_due(parts.stores.registry, first, Series.DAILY, None)
        record_outcome(parts.stores.registry, first, "later", now=parts.stores.now(), days=lacking)
        back_up(parts.stores, tmp_path / "busy.zip")
        made_at = datetime.fromisoformat(str(read_manifest(tmp_path / "busy.zip")["made_at"]))
        assert NOW <= made_at <= parts.stores.now(), "it bears the time of the rows in it"
    with new.open() as parts:
        restore(parts.stores.settings, tmp_path / "busy.zip")
        ledger = parts.stores.registry.completeness.load_ledger(first, Series.DAILY)
        assert [ledger.mark_of(day).asked for day in lacking] == [False, False]
        assert parts.stores.registry.outcomes.load(first)[Series.DAILY].history_due_at is not None, "it goes on"
        assert [day for day, mark in before.days() if mark.complete and not ledger.mark_of(day).complete] == []
        restore(parts.stores.settings, tmp_path / "busy.zip")


def test_an_interrupted_backup_leaves_nothing(
    new: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "saved"
    with new.open() as parts:
        fill(parts)
        monkeypatch.setattr(SqlStore, "read", dying_at(3, SqlStore.read))
        with pytest.raises(KeyboardInterrupt):
            back_up(parts.stores, folder / "backup.zip")
    assert not folder.exists(), "what was made on the way is gone again"


def test_the_backup_names_all_keys_that_a_restore_needs(new: Installation, tmp_path: Path) -> None:
    """The walk of a reader: with backup.keys alone, nothing could be restored."""
    with new.open() as parts:
        fill(parts, DAYS[:1])
    told = new.releve("backup", str(tmp_path / "b.zip")).out
    assert "RELEVE_TOKEN_KEYS, RELEVE_BACKUP_KEYS, RELEVE_ERASURE_KEYS and the newest" in told
    told = new.releve("backup", str(tmp_path / "c.zip"), token_keys="").out
    assert f"RELEVE_BACKUP_KEYS, RELEVE_ERASURE_KEYS, {new.folder}/*.keys and the newest" in told


def test_an_empty_backup_fails_unless_it_is_asked_for(new: Installation, tmp_path: Path) -> None:
    """D23: a backup of nothing was a success."""
    file = tmp_path / "deep" / "down" / "backup.zip"
    error = new.releve("backup", str(file), code=1).error_line
    assert "no account to back up" in error and "--allow-empty" in error and "RELEVE_DATA_DIR" in error
    assert not (tmp_path / "deep").exists()
    assert new.query("backup", str(file), "--allow-empty")["accounts"] == 0
    new.releve("restore", str(file))


def test_a_path_that_ends_in_a_slash_is_a_folder_and_is_made(old: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "backups"
    for _ in range(2):
        old.releve("backup", f"{folder}/")
        (file,) = folder.iterdir()
        assert file.name.startswith("releve-backup-")
        assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, file)] == [0o700, 0o700, 0o600]
        file.unlink()


def test_a_file_is_not_taken_for_a_folder(old: Installation, tmp_path: Path) -> None:
    file = tmp_path / "monday"
    file.touch()
    assert f"{file} is a file: " in old.releve("backup", f"{file}/", code=1).error_line


def test_a_registry_in_use_is_not_touched(new: Installation, archive: Path) -> None:
    with new.open() as parts:
        restore(parts.stores.settings, archive)
        parts.stores.registry.accounts.add("enedis", "30001640000055", NOW, token_needed=False)
        before = registry_rows(parts)
        with pytest.raises(BackupRefused, match=r"already has accounts.*RELEVE_REGISTRY_URL"):
            restore(parts.stores.settings, archive)
        assert registry_rows(parts) == before


def test_without_the_keys_of_its_tokens_it_is_refused(new: Installation, archive: Path) -> None:
    with new.but(token_keys=generate_key()).open() as parts:
        with pytest.raises(BackupRefused, match="RELEVE_TOKEN_KEYS"):
            restore(parts.stores.settings, archive)
        assert not any(registry_rows(parts).values())
        assert all(store.read("", "0", "~") == [] for store in ByDoctype(parts.stores.measures).values())
    with new.but(token_keys=f"{generate_key()},{KEY}").open() as parts:
        assert restore(parts.stores.settings, archive).accounts == 4


def without_a_member(path: Path) -> None:
    members = members_in_zip(path)
    del members["registry/tokens"]
    write_zip(path, members)


def no_archive(path: Path) -> None:
    path.write_text("something else")


def another_zip(path: Path) -> None:
    write_zip(path, {"holidays.txt": b"sun"})


def of_a_later_format(path: Path) -> None:
    change_header(path, format=4)


def without_manifest(path: Path) -> None:
    members = members_in_zip(path)
    del members[MANIFEST]
    write_zip(path, members)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (without_a_member, "is damaged or was changed in registry/tokens"),
        (no_archive, "is damaged, or not a backup"),
        (another_zip, "not a backup of Relève"),
        (without_manifest, "is damaged or was changed in its manifest"),
        (of_a_later_format, "format 4.*update Relève first"),
        (Path.unlink, "can't be read: No such file"),
    ],
)
def test_what_is_damaged_or_too_new_is_refused_before_anything_is_written(
    new: Installation, archive: Path, spoil: Callable[[Path], None], text: str
) -> None:
    """See tests/unit/ops/test_archive.py for each wrong byte and each length."""
    spoil(archive)
    with new.open() as parts:
        with pytest.raises(BackupRefused, match=text) as caught:
            restore(parts.stores.settings, archive)
        assert "\n" not in str(caught.value)
        assert not any(registry_rows(parts).values())


def test_of_another_version_it_is_refused(new: Installation, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = migrations.newest_step()
    with new.open() as parts:
        monkeypatch.setattr("worker.stores.registry.migrations.newest_step", lambda: "9999")
        with pytest.raises(
            BackupRefused, match=rf"another version \(schema {step}\): restore it with that version, then"
        ):
            restore(parts.stores.settings, archive)


def test_without_the_key_it_was_sealed_under_it_is_refused_and_no_key_is_made(new: Installation, archive: Path) -> None:
    for settings in ({"backup_keys": generate_key()}, {"backup_keys": ""}):
        error = new.but(**settings).run("restore", str(archive)).error_line
        assert "RELEVE_BACKUP_KEYS" in error and "backup.keys" in error
    assert not (new.folder / "backup.keys").exists()
    with new.but(backup_keys=f"{generate_key()},{BACKUP_KEY}").open() as parts:
        assert restore(parts.stores.settings, archive).accounts == 4


def test_what_is_in_it_can_be_looked_at_without_restoring_it(new: Installation, archive: Path) -> None:
    (new.folder / "registry.db").unlink()
    manifest = new.query("backup", "--show", str(archive))
    assert manifest["members"]["registry/accounts"]["lines"] == 4
    text = new.releve("backup", "--show", str(archive)).out
    assert manifest["made_at"] in text and "registry/accounts" in text and manifest["ledger"]["id"] in text
    assert not (new.folder / "registry.db").exists()


def test_a_store_that_others_write_to_is_named(
    new: Installation, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new.open() as parts:
        monkeypatch.setattr(SqlStore, "write", lambda _, documents, *__: documents)
        with pytest.raises(StoreUnavailable, match="stop the workers"):
            restore(parts.stores.settings, archive)


def test_a_file_that_is_there_is_not_written_over(old: Installation, archive: Path) -> None:
    before = archive.read_bytes()
    with old.open() as parts, pytest.raises(BackupRefused, match="exists already"):
        back_up(parts.stores, archive)
    assert archive.read_bytes() == before
