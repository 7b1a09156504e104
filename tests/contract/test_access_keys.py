"""Access keys and households, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from tests.support.registries import METER, NOW, OTHER_METER, add_ready
from worker.domain.sessions import KEY_LIVES, AccessKey, KeyKind
from worker.stores.encryption import Purpose, Sealer
from worker.stores.registry import Registry
from worker.stores.registry.access_keys import AccessKeyTable, RecoveryTexts
from worker.stores.registry.households import HouseholdTable, forget_account
from worker.stores.registry.tables import ACCESS_KEYS, HOUSEHOLD_ACCOUNTS, HOUSEHOLDS, MAIL_ADDRESSES

WEB_KEY, OTHER_KEY = "the key of the web application alone", "a key of somebody else, just as long"
SECOND = timedelta(seconds=1)
SESSION = KeyKind.HOUSEHOLD_SESSION


@dataclass
class Setting:
    registry: Registry
    now: datetime = NOW
    keys: AccessKeyTable = field(init=False)
    households: HouseholdTable = field(init=False)

    def __post_init__(self) -> None:
        self.keys = self.keys_under(WEB_KEY)
        sealer = Sealer([WEB_KEY], Purpose.WEB_ACCESS)
        self.households = HouseholdTable(self.registry.database, sealer, lambda: self.now)

    def keys_under(self, *keys: str) -> AccessKeyTable:
        sealer = Sealer(keys, Purpose.WEB_ACCESS)
        return AccessKeyTable(self.registry.database, sealer, lambda: self.now)

    def change(self, key: AccessKey, **values: object) -> None:
        self.registry.database.change(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(**values))

    def sealed(self, key: AccessKey) -> str:
        query = select(ACCESS_KEYS.c.sealed).where(ACCESS_KEYS.c.id == key.id)
        return str(self.registry.database.fetch(query)[0].sealed)

    def accounts(self) -> list[str]:
        return [add_ready(self.registry, meter) for meter in (METER, OTHER_METER)]


@pytest.fixture
def setting(registry: Registry) -> Setting:
    return Setting(registry)


@pytest.mark.parametrize("kind", KeyKind)
def test_a_key_is_opened_by_its_own_text_alone_and_only_as_its_own_kind(setting: Setting, kind: KeyKind) -> None:
    key, text = setting.keys.create(kind, "owner", device="Firefox, Windows", details={"a": "b"})
    _, other = setting.keys.create(kind, "owner")
    found = setting.keys.find(kind, text)
    assert found == key and found.details == {"a": "b"}
    wrong = (other[:-6] + text[-6:], text[:-1], text + "x", "", None, key.id, "é" * 40)
    assert [setting.keys.find(kind, one) for one in wrong if one != text] == [None] * len(wrong)
    assert all(setting.keys.find(other_kind, text) is None for other_kind in KeyKind if other_kind is not kind)
    assert text not in repr(key) and text not in str(setting.registry.database.fetch(select(ACCESS_KEYS)))


def visit(setting: Setting, kind: KeyKind, text: str) -> None:
    key = setting.keys.find(kind, text)
    assert key is not None
    setting.keys.record_visit(key)


@pytest.mark.parametrize("kind", [kind for kind in KeyKind if KEY_LIVES[kind].longest])
def test_a_key_ends_with_its_longest_life_however_often_it_is_seen(setting: Setting, kind: KeyKind) -> None:
    life = KEY_LIVES[kind]
    _, text = setting.keys.create(kind, "owner")
    end = setting.now + (life.longest or SECOND)
    step = (life.idle or life.longest or SECOND) * 0.9
    while setting.now + step < end:
        setting.now += step
        visit(setting, kind, text)
    setting.now = end - SECOND
    assert setting.keys.find(kind, text) is not None
    setting.now = end
    assert setting.keys.find(kind, text) is None


@pytest.mark.parametrize("kind", [KeyKind.HOUSEHOLD_SESSION, KeyKind.OPERATOR_SESSION])
def test_a_session_that_nobody_uses_ends_and_each_visit_renews_it(setting: Setting, kind: KeyKind) -> None:
    idle = KEY_LIVES[kind].idle or SECOND
    _, text = setting.keys.create(kind, "owner")
    for _ in range(3):
        setting.now += idle - SECOND
        visit(setting, kind, text)
    setting.now += idle
    assert setting.keys.find(kind, text) is None
    assert setting.keys.list_keys() == [] and setting.keys.delete_over() == 1


def test_a_key_that_works_once_works_once(setting: Setting) -> None:
    key, text = setting.keys.create(KeyKind.SIGN_IN_LINK, "owner")
    assert setting.keys.use(KeyKind.SIGN_IN_LINK, text) == key
    assert setting.keys.use(KeyKind.SIGN_IN_LINK, text) is None


def test_what_is_ended_is_refused_at_the_next_request(setting: Setting) -> None:
    made = [setting.keys.create(SESSION, owner) for owner in ("a", "a", "b")]
    code, code_text = setting.keys.create(KeyKind.RECOVERY_CODE, "a")
    (first, _), (second, _), (third, _) = made
    assert not setting.keys.end(third.id, owners=["a"]) and setting.keys.end(second.id, owners=["a"])
    assert [setting.keys.find(SESSION, text) is not None for _, text in made] == [True, False, True]
    assert setting.keys.end_of(["a", "b"], but=third.id) == 1 and not setting.keys.is_open(first)
    assert setting.keys.is_open(third) and setting.keys.find(KeyKind.RECOVERY_CODE, code_text) == code
    assert setting.keys.end_all([SESSION]) == 1 and setting.keys.list_keys(["b"]) == []


def test_details_change_and_nothing_else_does(setting: Setting) -> None:
    key, text = setting.keys.create(SESSION, "owner", details={"code": "x"})
    setting.keys.set_details(key, {})
    found = setting.keys.find(SESSION, text)
    assert found is not None and found.details == {} and found.expires_at == key.expires_at
    setting.keys.end(key.id)
    setting.keys.set_details(key, {"code": "y"})
    assert setting.keys.find(SESSION, text) is None


def test_two_session_keys_at_once_open_what_either_has_sealed(setting: Setting) -> None:
    _, text = setting.keys.create(SESSION, "owner")
    assert setting.keys_under(OTHER_KEY).find(SESSION, text) is None
    assert setting.keys_under(OTHER_KEY, WEB_KEY).find(SESSION, text) is not None


def test_who_can_write_the_table_without_the_key_makes_no_session(setting: Setting) -> None:
    stranger = setting.keys_under(OTHER_KEY)
    _, planted = stranger.create(SESSION, "owner")
    assert setting.keys.find(SESSION, planted) is None
    mine, text = setting.keys.create(SESSION, "mine")
    theirs, _ = setting.keys.create(KeyKind.OPERATOR_SESSION, "theirs")
    setting.change(mine, owner="theirs", kind="operator", expires_at=NOW + timedelta(days=9000))
    found = setting.keys.find(SESSION, text)
    assert found is not None and (found.owner, found.expires_at) == ("mine", mine.expires_at)
    setting.change(theirs, sealed=setting.sealed(mine))
    setting.registry.database.change(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.id == mine.id))
    setting.change(theirs, id=mine.id)
    assert setting.keys.find(SESSION, text) is not None, "the row itself, put back"
    other, other_text = setting.keys.create(SESSION, "other")
    setting.change(other, sealed=setting.sealed(mine))
    assert setting.keys.find(SESSION, other_text) is None
    assert setting.keys.find(SESSION, text.replace(mine.id, other.id)) is None


# Households


def test_a_household_keeps_the_last_fifty_accounts_and_their_numbers(setting: Setting) -> None:
    first, second = setting.accounts()
    household = setting.households.create({first: 1})
    added = setting.households.add(household.id, {second: 3, first: 2})
    assert added is not None and dict(added.accounts) == {first: 2, second: 3}
    assert setting.households.load(household.id) == added
    assert setting.households.add("nobody", {first: 1}) is None and setting.households.load("nobody") is None


def test_an_account_that_others_also_see_is_taken_from_them(setting: Setting) -> None:
    first, second = setting.accounts()
    mine = setting.households.create({first: 1})
    both, only = setting.households.create({first: 1, second: 1}), setting.households.create({first: 1})
    _, text = setting.keys.create(SESSION, only.id)
    assert setting.keys.households_of([first]) == sorted([mine.id, both.id, only.id])
    assert setting.households.remove_from_others([first], mine.id) == 2
    left = setting.households.load(both.id)
    assert left is not None and dict(left.accounts) == {second: 1}
    assert setting.households.load(only.id) is None and setting.keys.find(SESSION, text) is None


def test_an_erased_account_leaves_nothing_of_a_household_that_has_no_other(setting: Setting) -> None:
    first, second = setting.accounts()
    one, two = setting.households.create({first: 1}), setting.households.create({first: 1, second: 1})
    setting.keys.create(KeyKind.RECOVERY_CODE, one.id)
    row = {"household_id": one.id, "hash": "h", "sealed": "s", "language": "fr", "confirmed_at": NOW}
    setting.registry.database.change(insert(MAIL_ADDRESSES).values(**row))
    with setting.registry.database.writing() as connection:
        forget_account(connection, first)
    counts = [
        len(setting.registry.database.fetch(select(table))) for table in (HOUSEHOLDS, MAIL_ADDRESSES, ACCESS_KEYS)
    ]
    assert counts == [1, 0, 0]
    left = setting.households.load(two.id)
    assert left is not None and dict(left.accounts) == {second: 1}


def test_an_account_that_is_planted_in_a_household_is_not_shown(setting: Setting) -> None:
    first, second = setting.accounts()
    household = setting.households.create({first: 1})
    row = {"household_id": household.id, "account_id": second}
    setting.registry.database.change(insert(HOUSEHOLD_ACCOUNTS).values(**row))
    loaded = setting.households.load(household.id)
    assert loaded is not None and dict(loaded.accounts) == {first: 1}
    other = setting.households.create({second: 1})
    sealed = setting.registry.database.fetch(select(HOUSEHOLDS.c.sealed).where(HOUSEHOLDS.c.id == other.id))[0].sealed
    setting.registry.database.change(update(HOUSEHOLDS).where(HOUSEHOLDS.c.id == household.id).values(sealed=sealed))
    assert setting.households.load(household.id) is None


# Recovery codes


@given(st.sampled_from(["upper", "lower"]), st.sampled_from(["-", " ", "", "–"]), st.data())
def test_a_recovery_code_is_read_however_a_person_types_it(case: str, between: str, data: st.DataObject) -> None:
    texts = RecoveryTexts()
    key_id, secret_hash, code = texts.create()
    typed = between.join(code.split("-"))
    typed = typed.upper() if case == "upper" else typed.lower()
    place = data.draw(st.integers(0, len(typed) - 1))
    typed = typed[:place] + {"0": "O", "1": "l"}.get(typed[place], typed[place]) + typed[place + 1 :]
    assert texts.read_id(typed) == key_id and texts.matches(typed, secret_hash)
    assert not texts.matches(typed[:-1] + ("0" if typed[-1] not in "0oO" else "2"), secret_hash)


@given(st.text())
def test_what_is_no_recovery_code_is_none(text: str) -> None:
    assert RecoveryTexts().matches(text, "0" * 64) is False
