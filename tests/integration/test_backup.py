"""Backup and restore with every kind of store: content, refusals and interruptions."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from tests.support.factories import window_job
from tests.support.fakes import ByDoctype
from tests.support.installation import Installation, new_installation
from tests.support.registries import METER, NOW, OTHER_METER, record_consent
from worker.domain.consent.accounts import AccountState
from worker.domain.consent.consents import ConsentKind
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.completeness import COMPLETE, DayLedger
from worker.domain.measures.deviations import Deviation, DeviationKind
from worker.domain.measures.documents import Entry, to_document
from worker.domain.measures.readings import ONE_DAY, DateWindow, Period, Series
from worker.errors import ConsentRevoked, LoginFailed, StoreUnavailable
from worker.ops.backup import back_up, restore
from worker.ops.backup_file import MANIFEST, BackupRefused
from worker.runtime.process import Runtime
from worker.stores.encryption import generate_key
from worker.stores.measures.sql import SqlStore
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.completeness import HourFreshness
from worker.stores.registry.corrections import Correction
from worker.stores.registry.dump import TABLES, open_snapshot, read_rows

KEY = generate_key()
PAUSED_METER, REMOVED_METER = "30001640000033", "30001640000044"
# These are more documents than one page has.
DAYS = [f"{year}-{month:02}-{day:02}" for year in (2023, 2024) for month in range(1, 13) for day in range(1, 29)]


@pytest.fixture(scope="module")
def old(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return an installation that is filled and backed up once; tests only read it."""
    installation = new_installation(tmp_path_factory.mktemp("old"), redis_url, token_keys=KEY)
    with installation.open() as runtime:
        fill(runtime)
        back_up(runtime, installation.folder / "backup.zip")
    return installation


@pytest.fixture
def archive(old: Installation, tmp_path: Path) -> Path:
    return Path(shutil.copy(old.folder / "backup.zip", tmp_path))


@pytest.fixture
def new(redis_url: str, tmp_path: Path) -> Installation:
    return new_installation(tmp_path / "new", redis_url, token_keys=KEY)


def fill(runtime: Runtime) -> dict[str, str]:
    """Write something to every table: two accounts of one consent, a paused account, a removed account."""
    consent = NewConsent(date(2024, 7, 25), date(2025, 7, 24), '{"access_token": "a"}', NOW + timedelta(hours=3))
    both = runtime.registry.add_all("enedis", [METER, OTHER_METER], NOW, consent)
    paused, _ = runtime.registry.add("enedis", PAUSED_METER, NOW, token_needed=False)
    removed, _ = runtime.registry.add("enedis", REMOVED_METER, NOW, token_needed=False)
    first = both[0][0].id
    runtime.registry.set_state(paused.id, AccountState.PAUSED, now=NOW)
    record_consent(
        runtime.consents, first, ConsentKind.AUTORISATION, NOW, reference="4711", consent_until=date(2025, 7, 24)
    )
    window = DateWindow(NOW.date() - timedelta(days=30), NOW.date())
    for error in (LoginFailed("no"), ConsentRevoked("gone")):
        runtime.results.record_failure(window_job(window, Series.DAILY, first), error)
        runtime.registry.set_state(first, AccountState.READY, now=NOW)
    record_days(runtime, first)
    runtime.api_tokens.create("dashboard", ["read"], timedelta(days=30))
    runtime.inviter.invite_meter("enedis", "30001640000099", "operator")
    runtime.registry.policies.apply(FleetPolicy(1, 3), NOW.date(), NOW, {"accounts": 12_000})
    for account_id in (first, paused.id, removed.id):
        written = [to_document(account_id, Period.DAY, Entry(key, 1_234_000), NOW) for key in DAYS]
        written_curve = [to_document(account_id, Period.MINUTE, Entry("2024-07-24T10:00Z", 1, 10), NOW)]
        assert (
            ByDoctype(runtime.measures)[Period.DAY].write(written)
            == ByDoctype(runtime.measures)[Period.MINUTE].write(written_curve)
            == []
        )
    runtime.erase(removed.id)
    return {"first": first, "paused": paused.id, "removed": removed.id}


def record_days(runtime: Runtime, account_id: str) -> None:
    runtime.registry.completeness.replace_if_unchanged(
        account_id, Series.DAILY, DayLedger(), DayLedger(NOW.date(), [COMPLETE])
    )
    runtime.registry.completeness.save_freshness(HourFreshness(NOW, Series.DAILY, 3, 2))
    runtime.corrections.record([Correction(account_id, Period.DAY, DAYS[0], 1_000, 2_000, NOW, NOW, "r1")])
    runtime.raw_answers.record_answer(
        account_id, RawAnswer(Series.DAILY, NOW, DateWindow(NOW.date(), NOW.date() + ONE_DAY), [])
    )
    runtime.unknown_answers.record(
        Deviation(DeviationKind.FIELD, "meter_reading.colour"), 1, "enedis-v5", NOW, lambda _: []
    )


def registry_rows(runtime: Runtime) -> dict[str, list[dict[str, Any]]]:
    with open_snapshot(runtime.registry.database) as connection:
        return {table: list(read_rows(connection, table)) for table in TABLES}


def documents(runtime: Runtime) -> list[dict[str, Any]]:
    """Return all stored documents of the accounts that are not removed, without revisions."""
    without_revisions = [
        {name: value for name, value in document.items() if name != "_rev"}
        for account in runtime.registry.list()
        for period in Period
        for document in ByDoctype(runtime.measures)[period].read(account.id, "0", "~")
    ]
    return sorted(without_revisions, key=lambda document: (document["_id"], document["year"]))


@pytest.fixture(params=["sqlite to couchdb", "sqlite to postgresql", "plain to packed"])
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
    with old.open() as runtime:
        before = registry_rows(runtime), documents(runtime)
    with elsewhere.open() as runtime:
        summary = restore(runtime, archive)
        assert (registry_rows(runtime), documents(runtime)) == before
        assert (summary.accounts, summary.documents, summary.kept) == (4, 2 * (len(DAYS) + 1), 0)
        assert json.loads(runtime.registry.tokens.load(before[0]["token_users"][0]["account_id"]) or "") == {
            "access_token": "a"
        }
        back_up(runtime, tmp_path / "again.zip")
    assert read_manifest(archive)["members"] == read_manifest(tmp_path / "again.zip")["members"]


def test_no_table_is_left_out_and_every_one_is_tried_here(old: Installation, archive: Path) -> None:
    engine = create_engine(f"sqlite:///{old.folder / 'registry.db'}")
    tables = set(inspect(engine).get_table_names()) - {"alembic_version"}
    engine.dispose()
    members = read_manifest(archive)["members"]
    assert {name for name in members if name.startswith("registry/")} == {f"registry/{name}.ndjson" for name in tables}
    # The consents of older versions are moved into the evidence when a registry is opened.
    filled = tables - {"consent_proofs"}
    assert [name for name in filled if not members[f"registry/{name}.ndjson"]["lines"]] == []


def test_a_removed_account_leaves_no_measure_and_no_token_its_text_and_only_the_owner_may_read_it(
    archive: Path,
) -> None:
    with zipfile.ZipFile(archive) as file:
        text = b"".join(file.read(name) for name in file.namelist()).decode()
    assert REMOVED_METER not in text
    assert "access_token" not in text
    assert PAUSED_METER in text  # The account is found again by it.
    assert archive.stat().st_mode & 0o077 == 0


def test_an_account_removed_while_its_measures_were_saved_does_not_come_back(
    new: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replace(new, folder=tmp_path / "removing").open() as runtime:
        ids = fill(runtime)
        read = SqlStore.read

        def removing(store: SqlStore, account_id: str, *bounds: Any) -> Any:
            page = read(store, account_id, *bounds)
            if account_id == ids["paused"] and any(len(rows) == 500 for rows in page.values()):
                runtime.erase(account_id)
            return page

        monkeypatch.setattr(SqlStore, "read", removing)
        back_up(runtime, tmp_path / "backup.zip")
        monkeypatch.undo()
    assert read_manifest(tmp_path / "backup.zip")["members"]["measures/com.grandlyon.enedis.day.ndjson"]["lines"] > len(
        DAYS
    )
    with new.open() as runtime:
        restore(runtime, tmp_path / "backup.zip")
        assert all(store.read(ids["paused"], "0", "~") == [] for store in ByDoctype(runtime.measures).values())


def test_twice_is_once_and_what_is_younger_in_the_store_stays(new: Installation, archive: Path) -> None:
    with new.open() as runtime:
        first = restore(runtime, archive)
        before = registry_rows(runtime), documents(runtime)
        again = restore(runtime, archive)
        assert (registry_rows(runtime), documents(runtime)) == before
        assert (again.documents, again.kept) == (0, first.documents)
        account, store = before[1][0]["source_account"], ByDoctype(runtime.measures)[Period.DAY]
        (stored,) = store.read(account, "2023-01-01", "2023-01-02")
        corrected = {**stored, "load": 9.0, "updated_at": "2024-07-26T00:00:00+00:00"}
        assert store.write([corrected]) == []
        assert restore(runtime, archive).documents == 0
        assert store.read(account, "2023-01-01", "2023-01-02")[0]["load"] == 9.0


def test_an_interrupted_restore_leaves_the_registry_empty_and_the_next_goes_on(
    new: Installation, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new.open() as runtime:
        with monkeypatch.context() as patch:
            patch.setattr(SqlStore, "write", dying_at(3, SqlStore.write))
            with pytest.raises(KeyboardInterrupt):
                restore(runtime, archive)
        assert not any(registry_rows(runtime).values())
        summary = restore(runtime, archive)
        assert summary.kept > 0
        assert summary.documents + summary.kept == len(documents(runtime)) == 2 * (len(DAYS) + 1)


def dying_at(time: int, write: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def dying(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == time:
            raise KeyboardInterrupt
        return write(*args)

    return dying


def test_a_restore_forgets_what_redis_knew_of_another_store(new: Installation, archive: Path) -> None:
    with new.open() as runtime:
        runtime.progress.mark_done("home1", "daily", DateWindow.parse("2024-01-01/2024-02-01"))
        restore(runtime, archive)
        assert runtime.progress.coverage("home1", "daily").windows == []


def test_an_interrupted_backup_leaves_nothing(
    new: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "saved"
    with new.open() as runtime:
        fill(runtime)
        monkeypatch.setattr(SqlStore, "read", dying_at(3, SqlStore.read))
        with pytest.raises(KeyboardInterrupt):
            back_up(runtime, folder / "backup.zip")
    assert list(folder.iterdir()) == []


def test_a_registry_in_use_is_not_touched(new: Installation, archive: Path) -> None:
    with new.open() as runtime:
        restore(runtime, archive)
        runtime.registry.add("enedis", "30001640000055", NOW, token_needed=False)
        before = registry_rows(runtime)
        with pytest.raises(BackupRefused, match=r"holds accounts already.*RELEVE_REGISTRY_URL"):
            restore(runtime, archive)
        assert registry_rows(runtime) == before


def test_without_the_keys_of_its_tokens_it_is_refused(new: Installation, archive: Path) -> None:
    with new.but(token_keys=generate_key()).open() as runtime:
        with pytest.raises(BackupRefused, match="RELEVE_TOKEN_KEYS"):
            restore(runtime, archive)
        assert not any(registry_rows(runtime).values())
        assert all(store.read("", "0", "~") == [] for store in ByDoctype(runtime.measures).values())
    with new.but(token_keys=f"{generate_key()},{KEY}").open() as runtime:
        assert restore(runtime, archive).accounts == 4


def without_a_member(path: Path) -> None:
    rewrite(path, lambda name, text: None if name == "registry/tokens.ndjson" else text)


def no_archive(path: Path) -> None:
    path.write_text("something else")


def of_a_later_program(path: Path) -> None:
    rewrite(path, lambda name, text: json.dumps({**json.loads(text), "schema": "9999"}) if name == MANIFEST else text)


def of_a_later_format(path: Path) -> None:
    rewrite(path, lambda name, text: json.dumps({**json.loads(text), "format": 2}) if name == MANIFEST else text)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (without_a_member, "is damaged in registry/tokens.ndjson"),
        (no_archive, "is damaged, or no backup"),
        (of_a_later_program, r"another version \(schema 9999\): restore it with that one"),
        (of_a_later_format, "format 2.*update Relève first"),
        (Path.unlink, "can't be read: No such file"),
    ],
)
def test_what_is_damaged_or_too_new_is_refused_before_anything_is_written(
    new: Installation, archive: Path, spoil: Callable[[Path], None], text: str
) -> None:
    """See tests/unit/ops/test_backup_file.py for each wrong byte and each length."""
    spoil(archive)
    with new.open() as runtime:
        with pytest.raises(BackupRefused, match=text) as caught:
            restore(runtime, archive)
        assert "\n" not in str(caught.value)
        assert not any(registry_rows(runtime).values())


def test_a_store_that_others_write_to_is_named(
    new: Installation, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new.open() as runtime:
        monkeypatch.setattr(SqlStore, "write", lambda _, documents, *__: documents)
        with pytest.raises(StoreUnavailable, match="stop the workers"):
            restore(runtime, archive)


def test_a_file_that_is_there_is_not_written_over(old: Installation, archive: Path) -> None:
    before = archive.read_bytes()
    with old.open() as runtime, pytest.raises(BackupRefused, match="exists already"):
        back_up(runtime, archive)
    assert archive.read_bytes() == before


def read_manifest(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as file:
        content: dict[str, Any] = json.loads(file.read(MANIFEST))
    return content


def rewrite(path: Path, change: Callable[[str, str], str | None]) -> None:
    """Change the text of each member of the archive, or leave the member out."""
    with zipfile.ZipFile(path) as file:
        texts = {name: change(name, file.read(name).decode()) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, text in texts.items():
            if text is not None:
                file.writestr(name, text)
