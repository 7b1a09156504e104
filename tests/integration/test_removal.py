"""Removal of an account: it leaves a deleted row, the proof of consent as long as the policy says, and a receipt."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from tasks import upkeep
from tests.support.factories import window_job
from tests.support.fakes import ByDoctype
from tests.support.installation import Installation
from tests.support.parts import Parts, use_parts
from tests.support.registries import record_consent
from worker.domain.account import AccountState
from worker.domain.answers import RawAnswer
from worker.domain.consents import ConsentKind
from worker.domain.documents import ALL_KEYS, Entry, to_document
from worker.domain.series import Doctype, Series
from worker.domain.windows import PARIS, DateWindow
from worker.errors import ConsentRevoked, LoginFailed
from worker.runtime.consent_parts import erase
from worker.stores.database import Database
from worker.stores.erasure_ledger import LedgerEntry, LedgerKind
from worker.stores.registry.account_details import PRICES

METER = "30001640000011"
NOW = datetime(2024, 7, 25, 9, 0, tzinfo=PARIS)
UNTIL = date(2024, 8, 10)
WINDOW = DateWindow(NOW.date() - timedelta(days=30), NOW.date())


def add_filled_account(parts: Parts, meter: str = METER) -> str:
    """Add an account with rows in every table that a removal touches, and return its id."""
    account = parts.stores.registry.accounts.add("enedis", meter, NOW, token="{}", token_needed=False)[0].id
    parts.stores.registry.raw_answers.record_answer(
        account, RawAnswer(Series.DAILY, NOW, WINDOW, [(WINDOW, {"idPrm": meter})])
    )
    record_consent(
        parts.stores.registry.consents, account, ConsentKind.AUTORISATION, NOW, reference="4711", consent_until=UNTIL
    )
    for period, keys in ((Doctype.DAY, ("2024-07-23", "2024-07-24")), (Doctype.MONTH, ("2024-07",))):
        documents = [to_document(account, period, Entry(key, 5_000_000, None), NOW) for key in keys]
        assert ByDoctype(parts.stores.measures)[period].write(documents) == []
    for error in (ConsentRevoked("gone"), LoginFailed("no"), ConsentRevoked("gone")):
        parts.sync.results.record_failure(window_job(WINDOW, Series.DAILY, account), error)
    parts.stores.registry.accounts.set_state(account, AccountState.READY, now=NOW)
    parts.sync.results.record_failure(window_job(WINDOW, Series.DAILY, account), ConsentRevoked("gone"))
    parts.stores.registry.account_details.save(account, PRICES, {"option": "base"})
    return account


def test_a_removal_erases_all_but_the_proof_and_says_so(installation: Installation) -> None:
    with installation.open() as parts:
        account, other = add_filled_account(parts), add_filled_account(parts, "30001640000022")
        receipt = erase(parts.stores, account)
        assert receipt.pop("state_keys") >= 1
        assert receipt == {
            "documents": 3,
            "usage_points": 1,
            "tokens": 1,
            "outcomes": 2,
            "raw_answers": 1,
            "account_details": 1,
            "pending_refusals": 1,
            "notices": 1,
            "consent_proofs_erased": 0,
            "consent_proofs_kept": 1,
        }
        assert {name: number for name, number in erase(parts.stores, account).items() if number} == {
            "consent_proofs_kept": 1
        }
        (proof,) = parts.stores.registry.consents.list_proofs(account)
        assert (proof.reference, proof.consent_until, proof.names_meter) == (None, UNTIL, False)
        assert ByDoctype(parts.stores.measures)[Doctype.DAY].read(account, "0", "~") == []
        assert len(ByDoctype(parts.stores.measures)[Doctype.DAY].read(other, "0", "~")) == 2
        assert len(parts.sync.refusals.registry.pending_refusals.list_for_account(other)) == 1
    files = [path.read_bytes() for path in installation.folder.rglob("*") if path.is_file()]
    assert files and METER.encode() not in b"".join(files)


def test_the_hourly_upkeep_takes_from_the_measures_log_what_an_erasure_had_to_leave(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.open() as parts, installation.open() as other:
        use_parts(monkeypatch, parts)
        account = add_filled_account(parts)
        reader = Database(parts.stores.settings.measures())
        with reader.reading() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM measure_day").all()
            erase(parts.stores, account)
            assert measure_files_that_name(installation, account), "a reader holds the log"
        reader.close()
        assert other.stores.measures.read(account, {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}
        upkeep.prune_raw_answers()
        assert measure_files_that_name(installation, account) == []


def test_the_hourly_upkeep_keeps_the_end_of_a_ledger_that_an_older_version_has_written(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.open() as parts:
        use_parts(monkeypatch, parts)
        upkeep.prune_raw_answers()
        assert parts.stores.erasure_ledger.find() is None, "there is no ledger yet"
        parts.stores.erasure_ledger.file.append(LedgerEntry(LedgerKind.CLOSED, "acc", parts.stores.now()))
        upkeep.prune_raw_answers()
        known = parts.stores.erasure_ledger.find()
        assert known is not None and known == parts.stores.erasure_ledger.file.position()


def measure_files_that_name(installation: Installation, account: str) -> list[str]:
    return [file.name for file in installation.folder.glob("measures.db*") if account.encode() in file.read_bytes()]


def test_the_policy_decides_how_long_a_proof_stays(installation: Installation) -> None:
    with installation.open(keep_consent_proof_days="0") as parts:
        receipt = erase(parts.stores, add_filled_account(parts))
        assert (receipt["consent_proofs_erased"], receipt["consent_proofs_kept"]) == (1, 0)
    with installation.open() as parts:
        account = add_filled_account(parts)
        erase(parts.stores, account)
        assert parts.sync.refusals.apply_retention(10) == (0, 0)
        assert len(parts.stores.registry.consents.list_proofs(account)) == 1
    with installation.open(pretend_now=(NOW + timedelta(days=11)).isoformat()) as parts:
        assert parts.sync.refusals.apply_retention(10) == (0, 1)
        assert parts.stores.registry.consents.list_proofs(account) == []


def test_a_removal_that_died_half_way_is_finished_by_the_next(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.open() as parts:
        account = add_filled_account(parts)
        steps: list[tuple[Any, str]] = [
            (parts.stores.registry.consents, "erase_after_removal"),
            (parts.stores.measures, "erase"),
            (parts.stores.windows, "forget"),
        ]
        for owner, step in steps:
            with monkeypatch.context() as patch:
                patch.setattr(type(owner), step, _killed)
                with pytest.raises(KeyboardInterrupt):
                    erase(parts.stores, account)
            assert parts.stores.registry.accounts.get(account).state is AccountState.DELETED
        assert erase(parts.stores, account)["consent_proofs_kept"] == 1
        assert all(store.read(account, "0", "~") == [] for store in ByDoctype(parts.stores.measures).values())


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_commands_tell_the_calendar_and_the_receipt(installation: Installation) -> None:
    with installation.open() as parts:
        account = add_filled_account(parts)
        undated = parts.stores.registry.accounts.add("enedis", "30001640000022", NOW, token_needed=False)[0].id
    (row,) = installation.query_rows("consents", "--expiring", "30d")
    assert row == {
        "account": account,
        "state": "ready",
        "reason": "",
        "consent_from": None,
        "consent_until": "2024-08-10",
        "days_left": 16,
        "proof": "none",
        "vouched_by": None,
        "reference": "4711",
    }
    assert installation.query_rows("consents", "--expiring", "15d") == []
    assert [row["account"] for row in installation.query_rows("consents")] == [account, undated]
    assert account in installation.releve("consents").out
    receipt = installation.query("accounts", "remove", account, "--yes")
    assert (receipt["account"], receipt["kept"], receipt["erased"]["documents"]) == (account, {"consent_proofs": 1}, 3)
    assert "was removed" in installation.releve("invite", account, code=1).err
    assert "write it like 30" in installation.releve("consents", "--expiring", "soon", code=2).err
    assert "proofs of consent encrypted again" in installation.releve("secrets", "rotate").out
