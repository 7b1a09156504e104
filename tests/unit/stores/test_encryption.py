"""Encryption of tokens: texts sealed under any of the keys are readable, and errors show neither key nor text."""

from __future__ import annotations

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import OperatorFault, WorkerError
from worker.stores.encryption import KeyedHashes, Sealer, generate_key

OLD, NEW = generate_key(), generate_key()


@given(st.text())
def test_what_was_sealed_is_read_back(text: str) -> None:
    sealer = Sealer([OLD])
    assert sealer.unseal(sealer.seal(text)) == text


def test_a_seal_shows_nothing_of_its_text() -> None:
    sealed = Sealer([OLD]).seal("refresh-token-of-somebody")
    assert "refresh" not in sealed
    assert sealed != Sealer([OLD]).seal("refresh-token-of-somebody")


def test_a_text_sealed_under_the_old_key_is_read_while_the_old_key_is_given() -> None:
    assert Sealer([NEW, OLD]).unseal(Sealer([OLD]).seal("token")) == "token"


def test_a_rotated_text_needs_the_new_key_only() -> None:
    rotated = Sealer([NEW, OLD]).rotate(Sealer([OLD]).seal("token"))
    assert Sealer([NEW]).unseal(rotated) == "token"
    with pytest.raises(WorkerError):
        Sealer([OLD]).unseal(rotated)


@pytest.mark.parametrize(
    "sealed", [pytest.param(Sealer([OLD]).seal("token"), id="under another key"), "", "no seal", "é", "gAAAAA=="]
)
def test_what_no_key_opens_tells_to_put_the_old_key_back(sealed: str) -> None:
    sealer = Sealer([NEW])
    for read in (sealer.unseal, sealer.rotate):
        with pytest.raises(OperatorFault, match="put the old key back into RELEVE_TOKEN_KEYS") as caught:
            read(sealed)
        assert NEW not in "".join(traceback.format_exception(caught.value))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "bad", ["", "secret-pass-phrase", pytest.param(OLD[:-4], id="a key cut short"), "é" * 44, "*" * 44]
)
def test_a_bad_key_is_named_by_its_place_and_not_shown(bad: str) -> None:
    with pytest.raises(ValueError, match="key 2 is not a Fernet key") as caught:
        Sealer([OLD, bad])
    message = "".join(traceback.format_exception(caught.value)).split("ValueError", 1)[1]
    assert OLD not in message
    assert not bad or bad not in message


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(ValueError, match="RELEVE_TOKEN_KEYS"):
        Sealer([])


def test_a_sealer_does_not_show_its_keys() -> None:
    sealer = Sealer([NEW, OLD])
    for text in (repr(sealer), str(sealer), f"{sealer}"):
        assert NEW not in text
        assert OLD not in text


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
