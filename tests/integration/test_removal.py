"""What is left of an account that is removed: a tombstone, the proof of its consent by policy, and a receipt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis

from config.settings import PREFIX, Settings
from tests.support.commands import Ended, run_here
from tests.support.factories import origin
from worker.domain.consent.accounts import AccountState
from worker.domain.consent.consents import ConsentKind
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.documents import Entry, to_document
from worker.domain.measures.readings import PARIS, DateWindow, Period, Series
from worker.errors import ConsentRevoked, RefreshTokenDead
from worker.runtime.process import Runtime

METER = "30001640000011"
NOW = datetime(2024, 7, 25, 9, 0, tzinfo=PARIS)
UNTIL = date(2024, 8, 10)
WINDOW = DateWindow(NOW.date() - timedelta(days=30), NOW.date())


@dataclass
class House:
    settings: dict[str, str]

    @contextmanager
    def open(self, **changes: str) -> Iterator[Runtime]:
        with Runtime(Settings.from_env(_env_file=None, **(self.settings | changes))) as runtime:
            yield runtime

    def releve(self, *words: str, code: int = 0) -> Ended:
        env = {PREFIX + name.upper(): value for name, value in self.settings.items()}
        ended = run_here(Path(self.settings["data_dir"]), env, *words)
        assert ended.code == code, ended.err
        return ended

    def files(self) -> bytes:
        """All that lies in the data folder."""
        folder = Path(self.settings["data_dir"])
        return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.fixture
def house(redis_url: str, tmp_path: Path) -> House:
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    told = {"data_dir": str(tmp_path), "redis_url": redis_url, "enedis_url": "http://127.0.0.1:9"}
    return House({**told, "pretend_now": NOW.isoformat(), "public_url": "https://releve.example"})


def filled(runtime: Runtime, meter: str = METER) -> str:
    """An account with something in every drawer."""
    account = runtime.registry.add("enedis", meter, NOW, token="{}", token_needed=False)[0].id
    runtime.raw_vault.answered(account, RawAnswer(Series.DAILY, NOW, WINDOW, [(WINDOW, {"idPrm": meter})]))
    runtime.consents.record(account, ConsentKind.AUTORISATION, NOW, reference="4711", consent_until=UNTIL)
    for period, keys in ((Period.DAY, ("2024-07-23", "2024-07-24")), (Period.MONTH, ("2024-07",))):
        documents = [to_document(account, period, Entry(key, 5_000_000, None), NOW) for key in keys]
        assert runtime.measures[period].write(documents) == []
    for error in (ConsentRevoked("gone"), RefreshTokenDead("dead"), ConsentRevoked("gone")):
        runtime.journal.failed(origin(WINDOW, Series.DAILY, account), error)
    runtime.registry.set_state(account, AccountState.READY, now=NOW)
    runtime.journal.failed(origin(WINDOW, Series.DAILY, account), ConsentRevoked("gone"))
    return account


def test_a_removal_erases_all_but_the_proof_and_says_so(house: House) -> None:
    with house.open() as runtime:
        account, other = filled(runtime), filled(runtime, "30001640000022")
        receipt = runtime.remove(account)
        assert receipt.pop("state_keys") >= 1
        assert receipt == {
            "documents": 3,
            "usage_points": 1,
            "tokens": 1,
            "outcomes": 1,
            "raw_answers": 1,
            "doubts": 1,
            "notices": 1,
            "consent_proofs_erased": 0,
            "consent_proofs_kept": 1,
        }
        assert {name: number for name, number in runtime.remove(account).items() if number} == {
            "consent_proofs_kept": 1
        }
        (proof,) = runtime.consents.of(account)
        assert (proof.reference, proof.consent_until, proof.names_meter) == ("4711", UNTIL, False)
        assert runtime.measures[Period.DAY].read(account, "0", "~") == []
        assert len(runtime.measures[Period.DAY].read(other, "0", "~")) == 2
        assert len(runtime.desk.doubts.of(other)) == 1
    assert METER.encode() not in house.files()


def test_the_policy_decides_how_long_a_proof_stays(house: House) -> None:
    with house.open(keep_consent_proof_days="0") as runtime:
        receipt = runtime.remove(filled(runtime))
        assert (receipt["consent_proofs_erased"], receipt["consent_proofs_kept"]) == (1, 0)
    with house.open() as runtime:
        account = filled(runtime)
        runtime.remove(account)
        assert runtime.desk.tidy(10) == (0, 0)
        assert len(runtime.consents.of(account)) == 1
    with house.open(pretend_now=(NOW + timedelta(days=11)).isoformat()) as runtime:
        assert runtime.desk.tidy(10) == (0, 1)
        assert runtime.consents.of(account) == []


def test_a_removal_that_died_half_way_is_finished_by_the_next(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with house.open() as runtime:
        account = filled(runtime)
        steps: list[tuple[Any, str]] = [
            (runtime.consents, "removed"),
            (runtime.measures[Period.DAY], "erase"),
            (runtime.state, "forget"),
        ]
        for owner, step in steps:
            with monkeypatch.context() as patch:
                patch.setattr(type(owner), step, _killed)
                with pytest.raises(KeyboardInterrupt):
                    runtime.remove(account)
            assert runtime.registry.get(account).state is AccountState.DELETED
        assert runtime.remove(account)["consent_proofs_kept"] == 1
        assert all(store.read(account, "0", "~") == [] for store in runtime.measures.values())


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_commands_tell_the_calendar_the_link_and_the_receipt(house: House) -> None:
    with house.open() as runtime:
        account = filled(runtime)
        undated = runtime.registry.add("enedis", "30001640000022", NOW, token_needed=False)[0].id
    ask: Callable[..., Any] = lambda *words: json.loads(house.releve(*words, "--json").out)  # noqa: E731
    (row,) = ask("consents", "--expiring", "30d")
    assert row == {
        "account": account,
        "state": "ready",
        "reason": "",
        "consent_from": None,
        "consent_until": "2024-08-10",
        "days_left": 16,
    }
    assert ask("consents", "--expiring", "15d") == []
    assert [row["account"] for row in ask("consents")] == [account, undated]
    assert account in house.releve("consents").out
    link = house.releve("consents", "link", account).out.strip()
    assert urlsplit(link).netloc == "releve.example"
    with house.open() as runtime:
        assert runtime.signer.renewed_account(link.rpartition("/")[2]) == account
    receipt = ask("accounts", "remove", account, "--yes")
    assert (receipt["account"], receipt["kept"], receipt["erased"]["documents"]) == (account, {"consent_proofs": 1}, 3)
    assert "was removed" in house.releve("consents", "link", account, code=1).err
    assert "write it like 30d" in house.releve("consents", "--expiring", "soon", code=2).err
    assert "proofs of consent sealed anew" in house.releve("keys", "rotate").out
