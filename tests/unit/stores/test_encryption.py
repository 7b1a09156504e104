"""Keys and hashes: what is derived for one purpose tells nothing of another; texts are recognised under older keys."""

from __future__ import annotations

import pytest

from worker.stores.encryption import KeyedHashes, Purpose, Signer, derive_key, generate_key

OLD, NEW = generate_key(), generate_key()


def test_keys_of_two_purposes_of_two_keys_and_of_two_salts_differ() -> None:
    keys = {derive_key(key.encode(), purpose) for key in (OLD, NEW) for purpose in Purpose}
    assert len(keys) == 2 * len(Purpose)
    assert derive_key(OLD.encode(), Purpose.REGISTRY, b"1") != derive_key(OLD.encode(), Purpose.REGISTRY, b"2")


def test_a_form_of_the_old_session_key_is_taken_while_the_old_key_is_given() -> None:
    form = Signer([OLD]).csrf_token("session")
    assert Signer([NEW, OLD]).is_valid_csrf_token("session", form)
    assert not Signer([NEW]).is_valid_csrf_token("session", form)
    assert not Signer([NEW, OLD]).is_valid_csrf_token("another", form)
    assert Signer([NEW]).is_valid_csrf_token("session", Signer([NEW, OLD]).csrf_token("session"))


def test_a_form_is_signed_under_a_key_derived_for_forms_and_not_under_the_session_key_itself() -> None:
    raw = KeyedHashes([OLD]).hash("csrf", "session")
    assert not Signer([OLD]).is_valid_csrf_token("session", raw)


def test_a_keyed_hash_is_recognised_under_an_older_key_and_for_its_purpose_alone() -> None:
    old, new = KeyedHashes(["o" * 32]), KeyedHashes(["n" * 32, "o" * 32])
    kept = old.hash("meter", "30001640000011")
    assert new.matches("meter", "30001640000011", kept)
    assert kept in new.all_hashes("meter", "30001640000011")
    assert new.hash("meter", "30001640000011") != kept
    assert not new.matches("ledger", "30001640000011", kept)
    assert not KeyedHashes(["n" * 32]).matches("meter", "30001640000011", kept)


@pytest.mark.parametrize("keys", [[], ["short"], ["x" * 32, "short"]])
def test_a_short_key_of_hashes_is_refused(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="32 characters"):
        KeyedHashes(keys)
