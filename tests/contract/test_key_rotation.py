"""Rotation of the encryption keys while workers run: interruptions, and renewals at the same time."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Column, select

from tests.support.registries import (
    KEY,
    METER,
    NOW,
    add_ready,
    open_registry,
    opened_registry,
    prepare_registry,
    registry_sealer,
)
from worker.errors import OperatorFault
from worker.stores.encryption import Purpose, Sealer, generate_key
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.connection import connect
from worker.stores.registry import Registry
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.key_rotation import SEALED_COLUMNS, TOKEN_SEALS, WEB_SEALS, SealedColumn, rotate_seals
from worker.stores.token_store import ApplicationTokenStore

ROTATE = Sealer.rotate


def add_accounts(registry: Registry, *meters: str, token: str = "old") -> list[str]:
    consent = NewConsent(date(2024, 7, 25), date(2025, 7, 24), token)
    return [account.id for account, _ in registry.accounts.add_all("enedis", meters, NOW, consent)]


def test_an_interrupted_rotation_leaves_all_readable_and_the_next_ends_it(
    registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.registry.key_rotation.PAGE", 2)
    ids = [add_accounts(registry, f"{30001640000000 + n}", token=f"token {n}")[0] for n in range(5)]
    new_key, calls = generate_key(), [0]
    with_both_keys, with_new_key = open_registry(url, new_key, KEY), open_registry(url, new_key)

    def interrupt_at_the_fourth(sealer: Sealer, sealed: str, place: str) -> str:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return ROTATE(sealer, sealed, place)

    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "rotate", interrupt_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            rotate_seals(registry.database, registry_sealer(new_key, KEY), TOKEN_SEALS)
    texts = [f"token {n}" for n in range(5)]
    assert [with_both_keys.tokens.load(account_id) for account_id in ids] == texts
    assert sum(readable(with_new_key, account_id) for account_id in ids) == 2  # The first page of two was committed.
    assert rotate_seals(registry.database, registry_sealer(new_key, KEY), TOKEN_SEALS) == 5
    assert [with_new_key.tokens.load(account_id) for account_id in ids] == texts
    with_both_keys.database.close()
    with_new_key.database.close()


def readable(registry: Registry, account_id: str) -> bool:
    try:
        return registry.tokens.load(account_id) is not None
    except OperatorFault:
        return False


def test_a_renewal_in_the_middle_of_a_rotation_is_not_lost(
    registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (account,), new_key = add_accounts(registry, METER), generate_key()
    token_id = registry.tokens.find_token_id(account)
    assert token_id is not None
    with_both_keys, with_new_key = open_registry(url, new_key, KEY), open_registry(url, new_key)
    renewal = threading.Thread(target=lambda: with_both_keys.tokens.save_renewed(token_id, "renewed"))

    def rotate_while_it_is_renewed(sealer: Sealer, sealed: str, place: str) -> str:
        renewal.start()
        renewal.join(0.3)  # It waits for the rotation if the row is locked, else it is done by now.
        return ROTATE(sealer, sealed, place)

    monkeypatch.setattr(Sealer, "rotate", rotate_while_it_is_renewed)
    assert rotate_seals(registry.database, registry_sealer(new_key, KEY), TOKEN_SEALS) == 1
    renewal.join(30)
    assert not renewal.is_alive()
    assert with_new_key.tokens.load(account) == "renewed"
    with_both_keys.database.close()
    with_new_key.database.close()


def test_rotation_goes_on_past_a_token_whose_key_is_lost_and_then_says_so(registry: Registry, url: str) -> None:
    lost, new_key = generate_key(), generate_key()
    ids = sorted(add_ready(registry, f"{30001640000000 + n}") for n in range(3))
    for account_id, key in zip(ids, (KEY, lost, KEY), strict=True):
        writer = open_registry(url, key)
        writer.tokens.save(account_id, "secret-token")
        writer.database.close()
    with_new_key = open_registry(url, new_key)
    with pytest.raises(OperatorFault, match="2 tokens are encrypted with the first key, 1 can't be read"):
        rotate_seals(registry.database, registry_sealer(new_key, KEY), TOKEN_SEALS)
    assert with_new_key.tokens.load(ids[0]) == with_new_key.tokens.load(ids[2]) == "secret-token"
    with pytest.raises(OperatorFault, match="RELEVE_TOKEN_KEYS"):
        with_new_key.tokens.load(ids[1])
    with_new_key.database.close()


@pytest.mark.parametrize("column", [*SEALED_COLUMNS, *WEB_SEALS], ids=lambda column: str(column.seals))
def test_every_column_is_sealed_anew_at_its_place_and_what_was_moved_is_not_mended(
    tmp_path: Path, column: SealedColumn
) -> None:
    purpose = Purpose.WEB_ACCESS if column in WEB_SEALS else Purpose.REGISTRY
    new_key, is_text = generate_key(), column.seals.type.python_type is str
    of_old, both, of_new = (Sealer(keys, purpose) for keys in ([KEY], [new_key, KEY], [new_key]))
    names = [one.name for one in column.key]
    place = column.place_of(*("a" for _ in names))
    moved: str | bytes = of_old.seal("secret", place) if is_text else of_old.seal_bytes(b"secret", place)
    prepare_registry(tmp_path)
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        for row_key in ("a", "b"):
            row = {one.name: value_of(one, row_key) for one in column.seals.table.columns if not one.nullable}
            row |= {**dict.fromkeys(names, row_key), column.seals.name: moved}
            marks = ", ".join("?" * len(row))
            connection.execute(
                f"INSERT INTO {column.seals.table.name} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
            )
        connection.commit()
    with opened_registry(f"sqlite:///{tmp_path}/registry.db") as registry:
        if column.is_kept:
            with pytest.raises(OperatorFault, match=rf"1 {column.label} .*1 can't be read: .*{purpose.setting}"):
                rotate_seals(registry.database, both, column)
        else:
            assert rotate_seals(registry.database, both, column) == 1
        sealed = registry.database.fetch(select(column.seals).where(column.key[0] == "a"))[0][0]
    opened = of_new.unseal(sealed, place) if is_text else of_new.unseal_bytes(sealed, place)
    assert opened in ("secret", b"secret")


def value_of(column: Column[Any], row_key: str) -> object:
    """Return a value that the column takes; the rotation reads none of them."""
    kind = column.type.python_type
    if kind is int and column.primary_key:
        return ord(row_key)
    return {int: ord(row_key), bool: 0, bytes: b"", datetime: "2024-07-25 07:00:00", date: "2024-07-25"}.get(
        kind, row_key
    )


def test_the_applications_token_under_a_key_that_is_gone_counts_as_none_and_is_replaced(redis_url: str) -> None:
    with connect(redis_url) as redis:
        state, new_key = ProgressStore(redis, f"test-{uuid4().hex}:"), generate_key()
        old_tokens, tokens = (
            ApplicationTokenStore("enedis", Sealer([KEY], Purpose.REDIS), state),
            ApplicationTokenStore("enedis", Sealer([new_key], Purpose.REDIS), state),
        )
        old_tokens.save("of-old", None)
        both = ApplicationTokenStore("enedis", Sealer([new_key, KEY], Purpose.REDIS), state)
        assert both.load() == "of-old"  # The old key is still there.
        assert tokens.load() is None  # Without the old key it costs one request.
        tokens.save("of-now", None)
        assert (tokens.load(), both.load()) == ("of-now", "of-now")
        assert new_key not in repr(tokens)
