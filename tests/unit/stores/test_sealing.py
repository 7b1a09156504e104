"""Sealed texts: read under any of the keys, at their place and for their purpose alone; errors show no key or text."""

from __future__ import annotations

import base64
import pickle
import traceback

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from tests.support.registries import seal_as_before
from worker.errors import OperatorFault
from worker.stores.database import place_of
from worker.stores.encryption import Purpose, Sealer, generate_key, read_sealing_time
from worker.stores.registry.tables import TOKENS

OLD, NEW = generate_key(), generate_key()
PLACE = place_of(TOKENS.c.sealed, "t1")
SEALING = [purpose for purpose in Purpose if purpose is not Purpose.WEB_FORMS]


def sealer(*keys: str, purpose: Purpose = Purpose.REGISTRY) -> Sealer:
    return Sealer(keys or [OLD], purpose)


@given(st.text(), st.text())
def test_what_was_sealed_is_read_back_at_its_place(text: str, place: str) -> None:
    assert sealer().unseal(sealer().seal(text, place), place) == text


@given(st.binary(), st.text())
def test_bytes_are_read_back_and_rotated_as_text_is(content: bytes, place: str) -> None:
    sealed = sealer().seal_bytes(content, place)
    assert sealer().unseal_bytes(sealed, place) == content
    assert sealer(NEW).unseal_bytes(sealer(NEW, OLD).rotate(sealed, place), place) == content


@given(st.text(), st.text(), st.text())
def test_a_text_in_another_place_is_refused(text: str, place: str, other: str) -> None:
    sealed = sealer().seal(text, place)
    assert sealer().can_unseal(sealed, other) == (other == place)


@given(st.data())
def test_a_text_that_was_changed_cut_or_made_longer_is_refused(data: st.DataObject) -> None:
    sealed = sealer().seal("token", PLACE)
    at = data.draw(st.integers(0, len(sealed) - 1))
    letter = data.draw(st.characters())
    for changed in (sealed[:at] + letter + sealed[at + 1 :], sealed[:at], sealed[at + 1 :], sealed + letter):
        assert sealer().can_unseal(changed, PLACE) == (changed == sealed)


@given(st.data())
def test_bytes_that_were_changed_are_refused(data: st.DataObject) -> None:
    sealed = bytearray(sealer().seal_bytes(b"token", PLACE))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(OperatorFault):
        sealer().unseal_bytes(bytes(sealed), PLACE)


@given(st.one_of(st.text(), st.binary().map(lambda content: base64.urlsafe_b64encode(content).decode())))
def test_any_other_text_is_refused_and_no_fault_of_ours(text: str) -> None:
    assert not sealer().can_unseal(text, PLACE)
    assert not sealer().is_newest(text, PLACE)
    with pytest.raises(OperatorFault):
        sealer().unseal(text, PLACE)


@pytest.mark.parametrize("made_for", SEALING, ids=lambda purpose: purpose.label)
@pytest.mark.parametrize("read_for", SEALING, ids=lambda purpose: purpose.label)
def test_what_was_sealed_for_one_purpose_opens_for_no_other(made_for: Purpose, read_for: Purpose) -> None:
    sealed = sealer(purpose=made_for).seal("token", PLACE)
    assert sealer(purpose=read_for).can_unseal(sealed, PLACE) == (made_for is read_for)


def test_every_purpose_has_a_label_of_its_own() -> None:
    assert len({purpose.label for purpose in Purpose}) == len(Purpose)


def test_a_seal_shows_nothing_of_its_text_and_is_another_one_each_time() -> None:
    sealed = sealer().seal("refresh-token-of-somebody", PLACE)
    assert "refresh" not in sealed and b"refresh" not in base64.urlsafe_b64decode(sealed)
    assert sealed != sealer().seal("refresh-token-of-somebody", PLACE)


def test_two_keys_work_at_once_while_they_are_changed() -> None:
    of_old, both, of_new = sealer(OLD), sealer(NEW, OLD), sealer(NEW)
    assert (both.key_count, of_new.key_count) == (2, 1)
    before, between = of_old.seal("token", PLACE), both.seal("token", PLACE)
    assert both.unseal(before, PLACE) == both.unseal(between, PLACE) == of_new.unseal(between, PLACE) == "token"
    assert not of_old.can_unseal(between, PLACE) and not of_new.can_unseal(before, PLACE)
    assert (both.is_newest(before, PLACE), both.is_newest(between, PLACE)) == (False, True)


def test_a_rotated_text_needs_the_new_key_only_and_keeps_its_time_and_place() -> None:
    sealed = sealer(OLD).seal("token", PLACE)
    rotated = sealer(NEW, OLD).rotate(sealed, PLACE)
    assert sealer(NEW).unseal(rotated, PLACE) == "token"
    assert sealer(NEW).is_newest(rotated, PLACE)
    assert read_sealing_time(rotated) == read_sealing_time(sealed)
    assert not sealer(OLD).can_unseal(rotated, PLACE) and not sealer(NEW).can_unseal(rotated, "elsewhere")
    with pytest.raises(OperatorFault):
        sealer(NEW, OLD).rotate(sealed, "elsewhere")


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param(sealer(OLD).seal("token", PLACE), id="under another key"),
        pytest.param(sealer(NEW).seal("token", "elsewhere"), id="elsewhere"),
        pytest.param(sealer(NEW).seal("token", PLACE)[:32], id="cut"),
        pytest.param(seal_as_before("token", NEW), id="as before 0.2.0, under this key"),
        "",
        "no seal",
        "é",
        "AgAAAA==",
        "gAAAAA==",
    ],
)
def test_what_no_key_opens_tells_to_put_the_old_key_back(sealed: str) -> None:
    for read in (sealer(NEW).unseal, sealer(NEW).rotate):
        with pytest.raises(OperatorFault, match="put the old key back into RELEVE_TOKEN_KEYS") as caught:
            read(sealed, PLACE)
        assert NEW not in "".join(traceback.format_exception(caught.value))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_error_names_the_setting_of_the_purpose() -> None:
    for purpose in SEALING:
        with pytest.raises(OperatorFault, match=purpose.setting):
            sealer(purpose=purpose).unseal("", PLACE)


def test_a_key_is_any_text_that_is_long_enough() -> None:
    key = "0123456789abcdef" * 3
    assert sealer(key).unseal(sealer(key).seal("token", PLACE), PLACE) == "token"


# Keys that are none


@pytest.mark.parametrize("bad", ["secret-pass-phrase", pytest.param(OLD[:-13], id="a key cut short"), "é" * 31])
def test_a_short_key_is_named_by_its_number_and_not_shown(bad: str) -> None:
    with pytest.raises(ValueError, match=rf"key 2 has {len(bad)} characters and needs at least 32") as caught:
        sealer(OLD, bad)
    message = "".join(traceback.format_exception(caught.value)).split("ValueError", 1)[1]
    assert OLD not in message and bad not in message


@pytest.mark.parametrize("bad", ["a" * 64, "abab" * 16, "1234567" * 8])
def test_a_first_key_that_can_be_guessed_is_refused_and_an_older_one_is_replaced(bad: str) -> None:
    with pytest.raises(ValueError, match="not random: put a key from `releve secrets add --key` before it") as caught:
        sealer(bad, OLD)
    assert bad not in str(caught.value)
    assert sealer(NEW, bad).key_count == 2


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(ValueError, match="the key is missing: make one with `releve secrets add --key`"):
        Sealer([], Purpose.REGISTRY)


def test_a_new_key_is_random_and_one_that_older_versions_take() -> None:
    keys = {generate_key() for _ in range(20)}
    assert len(keys) == 20
    assert all(Fernet(key) for key in keys)


def test_a_sealer_does_not_show_its_keys() -> None:
    both = sealer(NEW, OLD)
    for text in (repr(both), str(both), f"{both}"):
        assert NEW not in text and OLD not in text
