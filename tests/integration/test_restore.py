"""N3: a restore brings back neither what was erased, stopped or closed since, nor anything that lets somebody in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.backups import (
    DAYS,
    PAUSED_METER,
    days_of,
    fill,
    installation_with_keys,
    members_in_zip,
    read_members,
    registry_rows,
    write_zip,
)
from tests.support.installation import Installation
from tests.support.own_home import GATEWAY
from tests.support.parts import Parts
from tests.support.registries import METER, NOW, prepare_registry, record_consent
from worker.domain.account import DEFAULT_TENANT, AccountState
from worker.domain.connection_request import ConnectionRequest
from worker.domain.consents import ConsentKind
from worker.domain.series import Doctype
from worker.errors import ConsentStopped
from worker.ops import backup as creating
from worker.ops import backup as restoring
from worker.ops.backup import back_up, restore
from worker.ops.backup_format import BackupRefused, pack, to_line
from worker.runtime.consent_parts import erase, stop_consent
from worker.stores.encryption import KeyedHashes, Purpose, Sealer, generate_key
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerKind, LedgerRefused
from worker.stores.measures.measure_store import Document
from worker.stores.measures.sql import SqlStore
from worker.stores.redis.pending_consents import ConsentFlow, ConsentFlows
from worker.stores.registry.account_details import PRICES
from worker.stores.registry.households import Household
from worker.web.dependencies import Session, open_session

LATER = NOW + timedelta(hours=1)
FORGET_ON = date(2027, 7, 24)


class Lost:
    """An installation that was backed up and lives on, until its registry is lost; the ledger is beside the backup."""

    def __init__(self, folder: Path, redis_url: str, ids: Mapping[str, str], hashes: KeyedHashes) -> None:
        self.folder, self.redis_url, self.ids, self.hashes = folder, redis_url, ids, hashes
        self.ledger_path, self.file = folder / "ledger.ndjson", folder / "backup.zip"
        self.ledger = LedgerFile(self.ledger_path, hashes)
        self.installation = installation_with_keys(folder / "old", redis_url, self.ledger_path)
        self.new = installation_with_keys(folder / "new", redis_url, self.ledger_path)

    def open_new(self) -> Parts:
        """Return a parts on the empty installation, with the tables of this version."""
        prepare_registry(self.new.folder)
        return self.new.open()

    def note(self, kind: LedgerKind, account: str, at: datetime = LATER, meter: str | None = None) -> None:
        self.ledger.append(LedgerEntry(kind, account, at, meter, FORGET_ON if meter else None))

    def note_erasure(self, parts: Parts, account: str, meter: str) -> None:
        """Write what an erasure writes to the ledger. An entry may stand in it twice."""
        self.note(LedgerKind.ERASED, account, meter=parts.stores.registry.erasures.digests("enedis", meter)[0])

    def is_remembered(self, parts: Parts, meter: str) -> bool:
        with parts.stores.registry.database.reading() as connection:
            return parts.stores.registry.erasures.find(connection, "enedis", meter) is not None


@pytest.fixture(scope="module")
def filled(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Lost:
    """Return an installation that no test changes: to fill it and back it up takes longer than most tests."""
    folder = tmp_path_factory.mktemp("filled")
    with installation_with_keys(folder / "old", redis_url, folder / "ledger.ndjson").open() as parts:
        lost = Lost(folder, redis_url, fill(parts, DAYS[:5]), parts.stores.keys.hashes)
        back_up(parts.stores, lost.file)
    return lost


@pytest.fixture
def lost(filled: Lost, tmp_path: Path) -> Lost:
    """Return a copy of the filled installation, for one test."""
    shutil.copytree(filled.folder, tmp_path, dirs_exist_ok=True)
    return Lost(tmp_path, filled.redis_url, filled.ids, filled.hashes)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.rest)])
def new(request: pytest.FixtureRequest, lost: Lost) -> Installation:
    """Return an empty installation, on either kind of server."""
    if request.param == "sqlite":
        prepare_registry(lost.new.folder)
        return lost.new
    return lost.new.but(registry_url=request.getfixturevalue("postgres_database"))


def test_n3_a_token_revoked_and_an_account_erased_since_do_not_come_back(lost: Lost, new: Installation) -> None:
    """As the review ran it."""
    first = lost.ids["first"]
    with lost.installation.open() as parts:
        (token,) = parts.stores.registry.api_tokens.list_tokens()
        parts.stores.registry.api_tokens.revoke(token.id)
        lost.note_erasure(parts, first, METER)
        erase(parts.stores, first)
    with new.open() as parts:
        operator = parts.access.operators.add("alice")
        summary = restore(parts.stores.settings, lost.file)
        assert parts.access.operators.list_operators() == [operator], "one who was made before the restore stays"
        (token,) = parts.stores.registry.api_tokens.list_tokens()
        assert token.revoked_at is not None
        account = parts.stores.registry.accounts.get(first)
        assert (account.state, account.usage_point_id) == (AccountState.DELETED, None)
        assert days_of(parts, first) == [] != days_of(parts, lost.ids["paused"])
        assert lost.is_remembered(parts, METER)
        with parts.stores.registry.database.reading() as connection:
            erasure = parts.stores.registry.erasures.find_last(connection, "enedis", METER)
        assert erasure is not None and erasure[1] == DEFAULT_TENANT, "the ledger keeps whose the account was"
        assert all(
            not proof.names_meter and not proof.open for proof in parts.stores.registry.consents.list_proofs(first)
        )
        rows = registry_rows(parts)
        named = [name for name in rows if first in json.dumps(rows[name])]
        assert set(named) <= {"accounts", "consent_proofs", "consent_evidence"}
        assert parts.stores.registry.tokens.load(first) is None
        assert parts.stores.registry.tokens.load(lost.ids["second"]) is not None, (
            "the token is the other account's, too"
        )
        assert (summary.since_backup.erased, summary.ended.api_tokens, summary.erasures_unknown_since) == (1, 1, None)


def test_n3_measures_of_an_erased_account_are_never_written(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    lost.note(LedgerKind.ERASED, lost.ids["first"])
    accounts = set[str]()
    write = SqlStore.write

    def watched(store: SqlStore, documents: dict[Doctype, list[Document]], *options: Any) -> Any:
        accounts.update(row["_id"].partition(":")[0] for rows in documents.values() for row in rows)
        return write(store, documents, *options)

    with lost.open_new() as parts:
        monkeypatch.setattr(SqlStore, "write", watched)
        restore(parts.stores.settings, lost.file)
    assert accounts == {lost.ids["paused"]}


def test_n3_measures_that_an_interrupted_erasure_left_are_erased(lost: Lost) -> None:
    lost.note(LedgerKind.ERASED, lost.ids["first"])
    with lost.new.but(measures_url=f"sqlite:///{lost.installation.folder / 'measures.db'}").open() as parts:
        assert days_of(parts, lost.ids["first"])
        restore(parts.stores.settings, lost.file)
        assert days_of(parts, lost.ids["first"]) == []


def test_n3_an_account_erased_after_it_was_made_after_the_backup_is_remembered(lost: Lost) -> None:
    with lost.open_new() as parts:
        lost.note_erasure(parts, "hhhhhhhhhhhh", "30001640000077")
        assert restore(parts.stores.settings, lost.file).since_backup.erased == 0
        assert lost.is_remembered(parts, "30001640000077")


@pytest.mark.parametrize("since, waiting", [(LATER, ["right"]), (NOW - timedelta(hours=1), [])])
def test_n3_a_right_that_waited_for_a_meter_erased_since_is_withdrawn(
    lost: Lost, since: datetime, waiting: list[str]
) -> None:
    """Its account was opened after the backup and erased; the backup knows the right alone, with the meter's number."""
    with lost.open_new() as parts:
        lost.note(
            LedgerKind.ERASED,
            "opened-later",
            since,
            parts.stores.registry.erasures.digests("grdf", "12345678901234")[0],
        )
        restore(parts.stores.settings, lost.file)
        assert [right.id for right in parts.stores.registry.rights.list_to_withdraw()] == waiting


def test_n3_a_consent_stopped_since_stays_stopped(lost: Lost, new: Installation) -> None:
    first, paused = lost.ids["first"], lost.ids["paused"]
    for account in (first, paused):
        lost.note(LedgerKind.STOPPED, account)
    with new.open() as parts:
        assert restore(parts.stores.settings, lost.file).since_backup.stopped == 2
        account = parts.stores.registry.accounts.get(first)
        assert (account.state, account.reason) == (AccountState.ACTION_NEEDED, ConsentStopped.code)
        assert parts.stores.registry.accounts.get(paused).refusal_on(NOW.date()) is not None
        assert parts.stores.registry.tokens.load(first) is None
        assert not any(proof.open for proof in parts.stores.registry.consents.list_proofs(first))
        assert days_of(parts, first), "what was read stays the household's"
        parts.stores.registry.accounts.get(lost.ids["second"])


def test_n3_a_consent_that_the_backup_knows_to_be_younger_than_the_stop_is_kept(lost: Lost) -> None:
    lost.note(LedgerKind.STOPPED, lost.ids["first"], NOW - timedelta(days=1))
    with lost.open_new() as parts:
        assert restore(parts.stores.settings, lost.file).since_backup.stopped == 0
        assert parts.stores.registry.accounts.get(lost.ids["first"]).state is AccountState.READY


def test_n3_a_meter_that_changed_hands_since_stays_closed(lost: Lost, new: Installation) -> None:
    first = lost.ids["first"]
    lost.note(LedgerKind.STOPPED, first)
    lost.note(LedgerKind.CLOSED, first, LATER + timedelta(hours=1))
    with new.open() as parts:
        assert restore(parts.stores.settings, lost.file).since_backup.closed == 1
        account = parts.stores.registry.accounts.get(first)
        assert (account.state, account.usage_point_id) == (AccountState.CLOSED, None)
        assert parts.stores.registry.accounts.find("enedis", METER) is None
        assert parts.stores.registry.tokens.load(first) is None
        assert not any(proof.open for proof in parts.stores.registry.consents.list_proofs(first))
        told = dict(parts.stores.registry.account_details.iterate(PRICES))
        assert told == {lost.ids["second"]: {"option": "base"}}


def test_n3_no_session_invitation_or_grant_of_before_lets_anybody_in(lost: Lost, new: Installation) -> None:
    with lost.installation.open() as parts:
        before = parts.stores.registry.accounts.get(lost.ids["first"])
        _, secret = parts.stores.registry.invitations.create(
            parts.stores.registry.invitations.list_invitations()[0].purpose,
            "enedis",
            "operator",
            usage_point_id="30001640000101",
        )
        back_up(parts.stores, lost.folder / "second.zip")
    session = Session(household=Household("h", NOW, {before.id: before.session_number}))
    with new.open() as parts:
        restore(parts.stores.settings, lost.folder / "second.zip")
        after = parts.stores.registry.accounts.get(before.id)
        assert session.shows(before) and not session.shows(after)
        assert after.session_number < 2**31
        assert parts.stores.registry.invitations.open(secret, "b" * 64) is None
        rows = registry_rows(parts)
        assert all(row["revoked_at"] and row["sealed_usage_point"] is None for row in rows["invitations"])
        assert [row["end_reason"] for row in rows["proxy_grants"]] == ["restored"]
        assert rows["proxy_clients"][0]["revoked_at"] is not None


def test_n3_no_code_and_no_mail_address_of_before_lets_anybody_in(lost: Lost, new: Installation) -> None:
    """Even the same session key opens none: they are not in a backup."""
    same = {"session_key": "the same key before and after the restore"}
    with lost.installation.open(**same) as parts:
        account = parts.stores.registry.accounts.get(lost.ids["first"])
        session, _ = open_session(parts.access, Session(), [account], "Firefox")
        assert session.key and session.household
        code = session.key.details["code"]
        assert parts.access.ways_back.addresses.set(session.household.id, "anne@example.org", "fr")
        back_up(parts.stores, lost.folder / "second.zip")
    with new.open(**same) as parts:
        restore(parts.stores.settings, lost.folder / "second.zip")
        ways_back = parts.access.ways_back
        assert ways_back.use_code(code) is None and ways_back.addresses.find("anne@example.org") == []


def test_n3_a_second_restore_ends_the_sessions_of_the_first(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = list[int]()
    for second in range(2):
        installation = installation_with_keys(lost.folder / f"new-{second}", lost.redis_url, lost.ledger_path)
        monkeypatch.setattr(
            restoring, "real_clock", lambda second=second: datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
        )
        with installation.open() as parts:
            restore(parts.stores.settings, lost.file)
            numbers.append(parts.stores.registry.accounts.get(lost.ids["first"]).session_number)
    assert numbers[0] < numbers[1]


def test_n3_requests_and_flows_of_before_are_forgotten(lost: Lost) -> None:
    with lost.open_new() as parts:
        request = ConnectionRequest(id="r1", supplier="enedis", browser="b", begun_on=NOW.date(), created_at=NOW)
        assert parts.consent.requests.create(request)
        flows = ConsentFlows(parts.stores.redis)
        state, code = flows.start(ConsentFlow("enedis", "b")), "code"
        flows.store_code(code, "sealed")
        restore(parts.stores.settings, lost.file)
        assert parts.consent.requests.get("r1") is None
        assert parts.consent.requests.list_due(NOW + timedelta(days=1), 10) == []
        assert flows.read(state) is None and flows.redeem_code(code, str) is None


def test_n3_a_planted_token_is_refused(lost: Lost) -> None:
    """As the review ran it; without a key of ours, sums can't be computed again."""
    members = members_in_zip(lost.file)
    rows = read_members(lost.file)["registry/api_tokens"]
    lines = b"".join(to_line({**row, "hash": "0" * 64}) for row in rows)
    forged = pack(lines, Sealer([generate_key()], Purpose.BACKUP), "registry/api_tokens/0")
    write_zip(lost.file, {**members, "registry/api_tokens": len(forged).to_bytes(4, "big") + forged})
    with lost.open_new() as parts:
        with pytest.raises(BackupRefused, match="was changed in registry/api_tokens"):
            restore(parts.stores.settings, lost.file)
        assert not any(registry_rows(parts).values())


# -- The ledger


def missing(lost: Lost) -> None:
    lost.ledger_path.unlink()


def another(lost: Lost) -> None:
    lost.ledger_path.unlink()
    lost.ledger.position()


def shorter(lost: Lost) -> None:
    lines = lost.ledger_path.read_text().splitlines(keepends=True)
    with lost.installation.open() as parts:
        lost.note(LedgerKind.STOPPED, "hhhhhhhhhhhh")
        lost.file.unlink()
        back_up(parts.stores, lost.file)
    lost.ledger_path.write_text("".join(lines[:1]))


def damaged(lost: Lost) -> None:
    lost.note(LedgerKind.STOPPED, lost.ids["first"])
    lost.ledger_path.write_text(lost.ledger_path.read_text().replace("stopped", "closed"))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (missing, "there is no ledger"),
        (another, "is another ledger"),
        (shorter, "has lost entries"),
        (damaged, "was changed"),
    ],
)
def test_without_its_ledger_a_backup_is_refused_before_anything_is_written(
    lost: Lost, spoil: Callable[[Lost], None], text: str
) -> None:
    spoil(lost)
    error = lost.new.releve("restore", str(lost.file), code=1).error_line
    assert text in error and "--without-ledger" in error and "nothing was changed" in error
    assert list(lost.new.folder.iterdir()) == []
    if spoil is missing:
        assert not lost.ledger_path.exists(), "a new one would hide that the old one is gone"


def test_o6_a_ledger_without_its_middle_line_is_refused_and_no_erased_account_comes_back(lost: Lost) -> None:
    """As the review ran it: a backup, three erasures, and the second one's line is taken out."""
    with lost.installation.open() as parts:
        before = len(lost.ledger_path.read_text().splitlines())
        for name in ("first", "second", "paused"):
            erase(parts.stores, lost.ids[name])
        assert_knows_end(parts, before + 2)
    lines = lost.ledger_path.read_text().splitlines(keepends=True)
    assert len(lines) == before + 3
    lost.ledger_path.write_text("".join(lines[: before + 1] + lines[before + 2 :]))
    error = lost.new.releve("restore", str(lost.file), code=1).error_line
    assert f"line {before + 2} of" in error and "nothing was changed" in error and "--without-ledger" in error
    assert list(lost.new.folder.iterdir()) == []
    refused = lost.installation.releve("backup", str(lost.folder / "next.zip"), code=1).error_line
    assert "has lost entries" in refused and "`releve backup --without-ledger`" in refused
    lost.installation.releve("backup", str(lost.folder / "next.zip"), "--without-ledger")
    lost.installation.releve("backup", str(lost.folder / "and-on.zip"))


def assert_knows_end(parts: Parts, entries: int) -> None:
    known = parts.stores.erasure_ledger.find()
    assert known == parts.stores.erasure_ledger.file.position() and known.entries == entries


def test_o6_each_end_of_an_account_is_counted_in_the_registry(lost: Lost) -> None:
    with lost.installation.open() as parts:
        entries = parts.stores.erasure_ledger.file.position().entries
        stop_consent(parts.stores, lost.ids["first"])
        assert_knows_end(parts, entries + 1)
        erase(parts.stores, lost.ids["second"])
        assert_knows_end(parts, entries + 2)
        lost.note(LedgerKind.ERASED, lost.ids["paused"])  # Its commit failed: the registry knows one fewer, rightly.
        back_up(parts.stores, lost.folder / "next.zip")


def test_o6_after_a_loss_the_ledger_is_taken_as_it_is_by_the_operators_word(lost: Lost) -> None:
    with lost.installation.open() as parts:
        erase(parts.stores, lost.ids["first"])
        lost.ledger_path.unlink()
        with pytest.raises(LedgerRefused, match="there is no ledger"):
            back_up(parts.stores, lost.folder / "refused.zip")
        back_up(parts.stores, lost.folder / "next.zip", without_ledger=True)
        assert_knows_end(parts, 0)
        erase(parts.stores, lost.ids["paused"])
        assert_knows_end(parts, 1)
    with lost.open_new() as parts:
        summary = restore(parts.stores.settings, lost.folder / "next.zip")
        assert (summary.since_backup.erased, summary.erasures_unknown_since) == (1, None)
        assert_knows_end(parts, 1)


@pytest.mark.parametrize("spoil", [missing, another, shorter])
def test_where_only_an_archive_is_left_it_goes_on_and_says_what_it_cannot_know(
    lost: Lost, spoil: Callable[[Lost], None]
) -> None:
    spoil(lost)
    out = lost.new.releve("restore", str(lost.file), "--without-ledger").out
    made_at = json.loads(members_in_zip(lost.file)["releve.json"])["made_at"]
    assert (
        f"without the ledger of erasures, accounts erased after {made_at} have been restored" in out
        and "releve accounts remove" in out
    )
    with lost.new.open() as parts:
        assert parts.stores.registry.accounts.get(lost.ids["removed"]).state is AccountState.DELETED
        assert any(row["meter"] == "e" * 64 for row in registry_rows(parts)["erasures"])
        assert parts.stores.erasure_ledger.file.position().id, "a ledger is there from now on"
        back_up(parts.stores, lost.folder / "next.zip")


def test_without_ledger_a_damaged_one_is_still_refused(lost: Lost) -> None:
    damaged(lost)
    with lost.open_new() as parts, pytest.raises(LedgerRefused, match="was changed"):
        restore(parts.stores.settings, lost.file, without_ledger=True)


def test_without_ledger_what_the_ledger_that_is_there_knows_is_applied(lost: Lost) -> None:
    """A ledger that was begun after a loss knows later erasures; and the right one is never passed over."""
    lost.note(LedgerKind.ERASED, lost.ids["first"])
    with lost.open_new() as parts:
        summary = restore(parts.stores.settings, lost.file, without_ledger=True)
        assert (summary.since_backup.erased, summary.erasures_unknown_since) == (1, None)
    another(lost)
    lost.note(LedgerKind.ERASED, lost.ids["paused"])
    newer = installation_with_keys(lost.folder / "newer", lost.redis_url, lost.ledger_path)
    with newer.open() as parts:
        summary = restore(parts.stores.settings, lost.file, without_ledger=True)
        assert summary.since_backup.erased == 1 and summary.erasures_unknown_since is not None
        assert parts.stores.registry.accounts.get(lost.ids["paused"]).state is AccountState.DELETED
        assert parts.stores.registry.accounts.find("enedis", PAUSED_METER) is None


def test_a_backup_without_a_readable_ledger_is_not_made(lost: Lost) -> None:
    damaged(lost)
    error = lost.installation.releve("backup", str(lost.folder / "b.zip"), code=1).error_line
    assert "ledger.ndjson" in error
    assert not (lost.folder / "b.zip").exists()


# -- What is refused, and homes


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def without_backup_key(_lost: Lost) -> dict[str, str]:
    return {"backup_keys": ""}


def another_backup_key(_lost: Lost) -> dict[str, str]:
    return {"backup_keys": generate_key()}


def without_token_key(_lost: Lost) -> dict[str, str]:
    return {"token_keys": ""}


def without_erasure_key(_lost: Lost) -> dict[str, str]:
    return {"erasure_keys": ""}


def damaged_file(lost: Lost) -> dict[str, str]:
    content = lost.file.read_bytes()
    lost.file.write_bytes(content[: len(content) // 2])
    return {}


def filled_registry(lost: Lost) -> dict[str, str]:
    """With no key of it at hand, and no sealed value in the backup that would ask for one."""
    empty = installation_with_keys(lost.folder / "empty", lost.redis_url, lost.ledger_path)
    lost.file.unlink()
    empty.releve("backup", str(lost.file), "--allow-empty")
    return {"registry_url": f"sqlite:///{lost.installation.folder / 'registry.db'}", "token_keys": ""}


@pytest.mark.parametrize(
    "spoil",
    [without_backup_key, another_backup_key, without_token_key, without_erasure_key, damaged_file, filled_registry],
)
def test_a_refused_restore_leaves_nothing_behind(lost: Lost, spoil: Callable[[Lost], dict[str, str]]) -> None:
    folder = lost.folder / "nowhere"
    before = files_below(lost.new.folder), lost.ledger_path.read_bytes()
    changes = {"data_dir": str(folder), "redis_url": "", **spoil(lost)}
    ended = lost.new.run("restore", str(lost.file), **changes)
    assert ended.code in (1, 2) and ended.error_line
    assert not folder.exists()
    assert (files_below(lost.new.folder), lost.ledger_path.read_bytes()) == before


def test_a_homes_backup_is_restored_as_a_home(lost: Lost) -> None:
    assert " by a home, " in lost.installation.releve("backup", "--show", str(back_up_home(lost))).out
    new = lost.new.but(gateway_url=GATEWAY)
    assert not new.read_settings().is_home
    for again in (False, True):
        out = new.releve("restore", str(lost.file)).out
        assert "so is this data folder now" in out and out.startswith("an earlier run") is again
        assert new.read_settings().is_home
        new.read_settings().home_mark().unlink()  # As if the first run had been interrupted.


@pytest.mark.parametrize("settings", [{"home": "false"}, {"enedis_client_id": "of-a-fleet"}], ids=str)
def test_a_homes_backup_is_refused_by_the_settings_of_a_fleet(lost: Lost, settings: dict[str, str]) -> None:
    back_up_home(lost)
    lost.new.releve("restore", str(lost.file), code=2, **settings)
    assert list(lost.new.folder.iterdir()) == []


def back_up_home(lost: Lost) -> Path:
    lost.file.unlink(missing_ok=True)
    lost.installation.releve("backup", str(lost.file), home="true", gateway_url=GATEWAY)
    return lost.file


def test_a_backup_that_says_nothing_of_a_home_is_restored_as_before(
    lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 0.2 made such ones, of homes too."""
    lost.file.unlink()
    with lost.installation.open() as parts, monkeypatch.context() as patch:
        facts = creating._facts
        patch.setattr(creating, "_facts", lambda *about: {k: v for k, v in facts(*about).items() if k != "home"})
        back_up(parts.stores, lost.file)
    out = lost.new.releve("restore", str(lost.file)).out
    assert "data folder" not in out and not lost.new.read_settings().is_home
    assert lost.new.releve("backup", "--show", str(lost.file)).out.startswith("made ")


# -- Twice and interrupted


def test_twice_is_once_with_a_ledger_and_ended_tokens_too(lost: Lost, new: Installation) -> None:
    lost.note(LedgerKind.ERASED, lost.ids["first"])
    with new.open() as parts:
        restore(parts.stores.settings, lost.file)
        before = registry_rows(parts)
        for _ in range(2):
            again = restore(parts.stores.settings, lost.file)
            assert again.registry_was_there and again.documents == 0
            assert registry_rows(parts) == before
        out = new.releve("restore", str(lost.file)).out
        assert "an earlier run restored the registry" in out and "ended:" not in out


def test_prices_fetched_before_a_restore_or_since_are_in_the_way_of_none(lost: Lost, new: Installation) -> None:
    with new.open() as parts:
        for is_there in (False, True):
            parts.stores.registry.public_files.save("Option_Base.csv", f"newer, {is_there}", LATER.date())
            assert restore(parts.stores.settings, lost.file).registry_was_there is is_there


@pytest.mark.parametrize("change", ["a longer ledger", "a lost Redis", "a newer backup"])
def test_where_it_cannot_be_the_same_restore_it_is_refused(lost: Lost, change: str) -> None:
    with lost.open_new() as parts:
        restore(parts.stores.settings, lost.file)
        before = registry_rows(parts)
        if change == "a longer ledger":
            lost.note(LedgerKind.ERASED, lost.ids["first"])
        elif change == "a lost Redis":
            parts.stores.redis.flushdb()
        else:
            lost.file.unlink()
            with lost.installation.open() as old:
                record_consent(
                    old.stores.registry.consents, lost.ids["paused"], ConsentKind.AUTORISATION, NOW, reference="4712"
                )
                back_up(old.stores, lost.file)
        with pytest.raises(BackupRefused, match="already has accounts"):
            restore(parts.stores.settings, lost.file)
        assert registry_rows(parts) == before


def test_a_ledger_that_cannot_be_applied_leaves_the_registry_empty(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    lost.note(LedgerKind.ERASED, lost.ids["first"])
    with lost.open_new() as parts:
        with monkeypatch.context() as patch:
            patch.setattr("worker.stores.registry.consents.ConsentTable.erase_after_removal", dying)
            with pytest.raises(KeyboardInterrupt):
                restore(parts.stores.settings, lost.file)
        assert not any(registry_rows(parts).values())
        assert restore(parts.stores.settings, lost.file).since_backup.erased == 1


def dying(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_command_says_what_is_ended_and_how_people_come_back(lost: Lost) -> None:
    lost.note(LedgerKind.ERASED, lost.ids["first"])
    out = lost.new.releve("restore", str(lost.file)).out
    assert "applied the ledger of erasures: 1 accounts erased, 0 closed and 0 stopped" in out
    assert "ended: 1 API tokens, 1 invitations, 1 proxy clients with 1 grants, and all sessions" in out
    assert "releve access add-token" in out and "releve invite ACCOUNT" in out
