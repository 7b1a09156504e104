"""Tokens in the registry: sealed, and rotated to a new key, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from tests.support.registries import KEY, add_ready, open_registry
from worker.errors import OperatorFault
from worker.stores.encryption import Sealer, generate_key
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.seals import TOKEN_SEALS, rotate_seals


def test_a_saved_token_is_read_back_and_lies_sealed(registry: AccountRegistry, url: str) -> None:
    account_id = add_ready(registry)
    assert registry.tokens.load(account_id) is None
    for token in ("first-refresh-token", "second-refresh-token"):
        registry.tokens.save(account_id, token)
        assert registry.tokens.load(account_id) == token
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM tokens")).all()
    engine.dispose()
    assert len(rows) == 1
    assert "refresh" not in str(rows)


def test_rotation_goes_on_past_a_token_whose_key_is_lost_and_then_says_so(registry: AccountRegistry, url: str) -> None:
    lost, new_key = generate_key(), generate_key()
    ids = sorted(add_ready(registry, f"{30001640000000 + n}") for n in range(3))
    for account_id, key in zip(ids, (KEY, lost, KEY), strict=True):
        writer = open_registry(url, key)
        writer.tokens.save(account_id, "secret-token")
        writer.close()
    with_new_key = open_registry(url, new_key)
    with pytest.raises(OperatorFault, match="2 tokens are sealed under the first key, 1 can't be read"):
        rotate_seals(registry.database, Sealer([new_key, KEY]), TOKEN_SEALS)
    assert with_new_key.tokens.load(ids[0]) == with_new_key.tokens.load(ids[2]) == "secret-token"
    with pytest.raises(OperatorFault, match="RELEVE_TOKEN_KEYS"):
        with_new_key.tokens.load(ids[1])
    with_new_key.close()
