"""Keys that seal change while work goes on: what an interruption leaves, and that no renewal is lost to it."""

from __future__ import annotations

import threading
from datetime import date
from uuid import uuid4

import pytest

from tests.support.registries import KEY, METER, NOW, OTHER_METER, opened
from worker.accounts.token_store import ApplicationTokenStore
from worker.clients.tokens import Token
from worker.errors import OperatorFault
from worker.stores.encryption import Sealer, new_key
from worker.stores.redis.connection import connect
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry, NewConsent

ROTATE = Sealer.rotate


def consented(registry: AccountRegistry, *meters: str, token: str = "old") -> list[str]:
    consent = NewConsent(date(2024, 7, 25), date(2025, 7, 24), token)
    return [account.id for account, _ in registry.add_all("enedis", meters, NOW, consent)]


def test_a_token_of_several_accounts_is_sealed_anew_once_and_serves_them_all(
    registry: AccountRegistry, url: str
) -> None:
    ids, young = consented(registry, METER, OTHER_METER, token="shared"), new_key()
    with_both, with_young = opened(url, young, KEY), opened(url, young)
    assert with_both.rotate_tokens() == 1
    assert [with_young.load_token(account_id) for account_id in ids] == ["shared", "shared"]
    with_both.close()
    with_young.close()


def test_an_interrupted_rotation_leaves_all_readable_and_the_next_ends_it(
    registry: AccountRegistry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.encryption.PAGE", 2)
    ids = [consented(registry, f"{30001640000000 + n}", token=f"token {n}")[0] for n in range(5)]
    young, calls = new_key(), [0]
    with_both, with_young = opened(url, young, KEY), opened(url, young)

    def killed_at_the_fourth(sealer: Sealer, sealed: str) -> str:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return ROTATE(sealer, sealed)

    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "rotate", killed_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            with_both.rotate_tokens()
    texts = [f"token {n}" for n in range(5)]
    assert [with_both.load_token(account_id) for account_id in ids] == texts
    assert sum(readable(with_young, account_id) for account_id in ids) == 2  # the page that was whole
    assert with_both.rotate_tokens() == 5
    assert [with_young.load_token(account_id) for account_id in ids] == texts
    with_both.close()
    with_young.close()


def readable(registry: AccountRegistry, account_id: str) -> bool:
    try:
        return registry.load_token(account_id) is not None
    except OperatorFault:
        return False


def test_a_renewal_in_the_middle_of_a_rotation_is_not_lost(
    registry: AccountRegistry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (account,), young = consented(registry, METER), new_key()
    token_id = registry.tokens.id_of(account)
    assert token_id is not None
    with_both, with_young = opened(url, young, KEY), opened(url, young)
    renewal = threading.Thread(target=lambda: with_both.tokens.renewed(token_id, "renewed"))

    def rotate_while_it_is_renewed(sealer: Sealer, sealed: str) -> str:
        renewal.start()
        renewal.join(0.3)  # where rotation locks the row, it waits for us; where not, it is done by now
        return ROTATE(sealer, sealed)

    monkeypatch.setattr(Sealer, "rotate", rotate_while_it_is_renewed)
    assert with_both.rotate_tokens() == 1
    renewal.join(30)
    assert not renewal.is_alive()
    assert with_young.load_token(account) == "renewed"
    with_both.close()
    with_young.close()


def test_the_applications_token_under_a_key_that_is_gone_counts_as_none_and_is_replaced(redis_url: str) -> None:
    with connect(redis_url) as redis:
        state, young = ProgressStore(redis, f"test-{uuid4().hex}:"), new_key()
        old_vault, vault = (
            ApplicationTokenStore("enedis", Sealer([KEY]), state),
            ApplicationTokenStore("enedis", Sealer([young]), state),
        )
        old_vault.save(Token("of-old"))
        both = ApplicationTokenStore("enedis", Sealer([young, KEY]), state)
        assert both.load() == Token("of-old")  # as long as the old key is given
        assert vault.load() is None  # then it costs one call
        vault.save(Token("of-now"))
        assert (vault.load(), both.load()) == (Token("of-now"), Token("of-now"))
        assert not [
            text for text in (repr(vault), repr(Token("of-now", "refresh"))) if "of-now" in text or young in text
        ]
