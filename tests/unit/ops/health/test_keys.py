"""Keys: those in use, those of old, those that are lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.fernet import Fernet

from tests.unit.ops.health.conftest import Premises, assert_told
from worker.ops.health.keys import session_key, token_keys
from worker.ops.health.results import Level
from worker.stores.encryption import Sealer, new_key, sealed_at
from worker.stores.registry.accounts import AccountRegistry

NOW = datetime(2024, 7, 25, 9, tzinfo=UTC)


def registry_with_token(folder: Path, key: str) -> str:
    url = f"sqlite:///{folder / 'registry.db'}"
    registry = AccountRegistry(url, Sealer([key]))
    registry.migrate()
    registry.add("enedis", "30001640000011", NOW, token="a token")
    registry.close()
    return url


def test_keys_are_made_by_who_needs_them_and_not_by_who_looks(premises: Premises, tmp_path: Path) -> None:
    assert_told(token_keys(premises()), Level.OK, "none yet")
    assert_told(session_key(premises()), Level.OK, "none yet")
    assert list(tmp_path.iterdir()) == []


def test_the_newest_key_that_opens_everything_is_well(premises: Premises, tmp_path: Path) -> None:
    key = new_key()
    visit = premises(token_keys=key, registry_url=registry_with_token(tmp_path, key))
    assert_told(token_keys(visit), Level.OK, "RELEVE_TOKEN_KEYS: 1", "the oldest of 1 seals looked at is 0 days old")


def test_a_token_under_a_key_of_old_is_to_be_sealed_anew(premises: Premises, tmp_path: Path) -> None:
    old = new_key()
    visit = premises(token_keys=f"{new_key()},{old}", registry_url=registry_with_token(tmp_path, old))
    assert_told(token_keys(visit), Level.WARN, "1 of 1 seals", "`releve keys rotate`")


def test_a_token_whose_key_is_gone_is_a_fault(premises: Premises, tmp_path: Path) -> None:
    visit = premises(token_keys=new_key(), registry_url=registry_with_token(tmp_path, new_key()))
    assert_told(token_keys(visit), Level.FAIL, "1 of 1 stored tokens and proofs", "put the key", "back into")


def test_a_key_file_tells_its_age_and_is_for_its_owner_alone(premises: Premises, tmp_path: Path) -> None:
    file = tmp_path / "token.keys"
    file.write_text(f"{new_key()}\n{new_key()}")
    file.chmod(0o600)
    assert_told(token_keys(premises()), Level.OK, f"{file}: 2, 0 days old", "nothing is sealed yet")
    file.chmod(0o640)
    assert_told(token_keys(premises()), Level.WARN, "chmod 600 it")


def test_a_session_key_must_be_long(premises: Premises, tmp_path: Path) -> None:
    assert_told(session_key(premises(session_key="k" * 31)), Level.FAIL, "at least 32", "has 31", "RELEVE_SESSION_KEY")
    assert_told(session_key(premises(session_key="k" * 32)), Level.OK, "32 characters")
    (tmp_path / "session.key").write_text("k" * 40)
    (tmp_path / "session.key").chmod(0o644)
    assert_told(session_key(premises()), Level.WARN, "others may read")


def test_a_seal_tells_when_it_was_made_even_after_a_change_of_keys() -> None:
    moment = NOW - timedelta(days=400)
    old, new = new_key(), new_key()
    sealed = Fernet(old).encrypt_at_time(b"token", int(moment.timestamp())).decode()
    sealer = Sealer([new, old])
    assert not sealer.is_newest(sealed)
    rotated = sealer.rotate(sealed)
    assert sealer.is_newest(rotated)
    assert sealed_at(sealed) == sealed_at(rotated) == moment
