"""Checks of keys in use, old keys and lost keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import update

from tests.support.registries import METER, opened_registry, prepare_registry
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.check_results import Level
from worker.ops.host_checks import check_session_key, check_token_keys
from worker.stores import encryption
from worker.stores.encryption import Purpose, Sealer, generate_key, read_sealing_time
from worker.stores.registry.account_details import PRICES
from worker.stores.registry.tables import ACCOUNT_DETAILS

NOW = datetime(2024, 7, 25, 9, tzinfo=UTC)


def registry_with_token(folder: Path, key: str) -> str:
    prepare_registry(folder)
    url = f"sqlite:///{folder / 'registry.db'}"
    with opened_registry(url, key) as registry:
        registry.accounts.add("enedis", METER, NOW, token="a token")
    return url


def test_keys_are_made_by_who_needs_them_and_not_by_who_looks(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    assert_result(check_token_keys(build_connections()), Level.OK, "none yet")
    assert_result(check_session_key(build_connections()), Level.OK, "none here")
    assert list(tmp_path.iterdir()) == []


def test_the_newest_key_that_opens_everything_is_well(build_connections: BuildConnections, tmp_path: Path) -> None:
    key = generate_key()
    connections = build_connections(token_keys=key, registry_url=registry_with_token(tmp_path, key))
    assert_result(
        check_token_keys(connections),
        Level.OK,
        "RELEVE_TOKEN_KEYS: 1",
        "the oldest of 1 checked texts was encrypted 0 days ago",
    )


def test_a_token_under_a_key_of_old_is_to_be_sealed_anew(build_connections: BuildConnections, tmp_path: Path) -> None:
    old = generate_key()
    connections = build_connections(
        token_keys=f"{generate_key()},{old}", registry_url=registry_with_token(tmp_path, old)
    )
    assert_result(check_token_keys(connections), Level.WARN, "1 of 1 stored texts", "`releve secrets rotate`")


def test_each_detail_of_an_account_is_among_the_checked_texts(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    key = generate_key()
    url = registry_with_token(tmp_path, key)
    connections = build_connections(token_keys=key, registry_url=url)
    with opened_registry(url, key) as registry:
        for kind in (PRICES, "name"):
            registry.account_details.save(registry.accounts.list_accounts()[0].id, kind, {"told": str(kind)})
        assert_result(check_token_keys(connections), Level.OK, "of 3 checked texts")
        registry.database.change(update(ACCOUNT_DETAILS).values(kind=ACCOUNT_DETAILS.c.kind + "2"))
        assert_result(check_token_keys(connections), Level.FAIL, "2 of 3 stored")


def test_a_token_whose_key_is_gone_is_a_fault(build_connections: BuildConnections, tmp_path: Path) -> None:
    connections = build_connections(
        token_keys=generate_key(), registry_url=registry_with_token(tmp_path, generate_key())
    )
    assert_result(
        check_token_keys(connections), Level.FAIL, "1 of 1 stored tokens and proofs", "put their old key", "back into"
    )


def test_a_key_file_tells_its_age_and_is_for_its_owner_alone(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    file = tmp_path / "token.keys"
    file.write_text(f"{generate_key()}\n{generate_key()}")
    file.chmod(0o600)
    assert_result(check_token_keys(build_connections()), Level.OK, f"{file}: 2, 0 days old", "nothing is encrypted yet")
    file.chmod(0o640)
    assert_result(check_token_keys(build_connections()), Level.WARN, "chmod 600")


def test_a_session_key_must_be_long(build_connections: BuildConnections, tmp_path: Path) -> None:
    assert_result(
        check_session_key(build_connections(session_key="k" * 31)),
        Level.FAIL,
        "at least 32",
        "has 31",
        "RELEVE_SESSION_KEY",
    )
    assert_result(check_session_key(build_connections(session_key="k" * 64)), Level.FAIL, "not random")
    key = generate_key()
    assert_result(check_session_key(build_connections(session_key=key)), Level.OK, "in RELEVE_SESSION_KEY")
    assert_result(
        check_session_key(build_connections(session_key=f"{key},{key[::-1]}")), Level.OK, "KEY: 2; remove the"
    )
    (tmp_path / "session.key").write_text(key)
    (tmp_path / "session.key").chmod(0o644)
    assert_result(check_session_key(build_connections()), Level.WARN, "other users can read")


def test_a_seal_tells_when_it_was_made_even_after_a_change_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = NOW - timedelta(days=400)
    old, new = generate_key(), generate_key()
    monkeypatch.setattr(encryption, "datetime", Mock(now=Mock(return_value=moment)))
    sealed = Sealer([old], Purpose.REGISTRY).seal("token", "a/1")
    monkeypatch.undo()
    sealer = Sealer([new, old], Purpose.REGISTRY)
    assert not sealer.is_newest(sealed, "a/1")
    rotated = sealer.rotate(sealed, "a/1")
    assert sealer.is_newest(rotated, "a/1")
    assert read_sealing_time(sealed) == read_sealing_time(rotated) == moment
