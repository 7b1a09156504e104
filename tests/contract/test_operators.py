"""The table of operators, on a SQLite file and on PostgreSQL alike (L4, N7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Barrier

import pyotp
import pytest
from sqlalchemy import select, update

from tests.support.passwords import REAL_HASHER, set_hasher
from tests.support.registries import KEY, NOW
from worker.domain.sessions import KeyKind, Role, new_totp_key
from worker.stores.database import place_of
from worker.stores.encryption import Purpose, Sealer, generate_key
from worker.stores.registry import Registry
from worker.stores.registry.access_keys import AccessKeyTable, OperatorRefused, OperatorTable, UnknownOperator
from worker.stores.registry.tables import OPERATORS

PASSWORD, NEW_PASSWORD = "marmotte vapeur tuile 12", "girafe lundi moquette 7"
WEB_KEY, WORKERS_KEY = generate_key(), KEY
STEP = timedelta(seconds=30)


@dataclass
class Setting:
    registry: Registry
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.sealer = Sealer([WEB_KEY], Purpose.WEB_ACCESS)
        self.table = OperatorTable(self.registry.database, self.sealer, lambda: self.now)
        self.keys = AccessKeyTable(self.registry.database, self.sealer, lambda: self.now)
        self.key = new_totp_key()
        self.id = self.table.add("Alice ", PASSWORD, self.key).id

    def code(self) -> str:
        """Return the code of a step that was not used yet."""
        self.now += STEP
        return pyotp.TOTP(self.key).at(self.now)

    def sealed(self, operator_id: str) -> str:
        (row,) = self.registry.database.fetch(select(OPERATORS).where(OPERATORS.c.id == operator_id))
        return str(row.sealed)

    def unsealed(self, operator_id: str) -> dict[str, object]:
        text = self.sealer.unseal(self.sealed(operator_id), place_of(OPERATORS.c.sealed, operator_id))
        content: dict[str, object] = json.loads(text)
        return content

    def roles(self) -> dict[str, Role | None]:
        return {operator.name: operator.role for operator in self.table.list_operators()}

    def plant(self, operator_id: str, **values: object) -> None:
        self.registry.database.change(update(OPERATORS).where(OPERATORS.c.id == operator_id).values(**values))


@pytest.fixture
def setting(registry: Registry) -> Iterator[Setting]:
    yield Setting(registry)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("a", "12 characters or more"),
        ("", "12 characters or more"),
        ("password1234", "easy to guess"),
        ("azertyuiop123", "easy to guess"),
        ("123456789012", "easy to guess"),
        ("bob marmotte tuile", "contains the operator's name"),
        ("x" * 201, "200 characters"),
    ],
)
def test_l4_a_weak_password_is_refused_in_one_line_that_says_what_to_do(
    setting: Setting, password: str, said: str
) -> None:
    with pytest.raises(OperatorRefused, match=said) as refusal:
        setting.table.add("bob", password, None)
    assert "\n" not in str(refusal.value) and (len(password) < 2 or password not in str(refusal.value))
    with pytest.raises(OperatorRefused):
        setting.table.set_password(setting.id, "a")
    assert [operator.name for operator in setting.table.list_operators()] == ["alice"]


def test_l4_the_row_has_an_argon2id_hash_and_shows_neither_hash_nor_key(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_hasher(monkeypatch, REAL_HASHER)
    setting = Setting(registry)
    sealed = setting.sealed(setting.id)
    assert setting.key not in sealed and "argon2" not in sealed
    opened = setting.sealer.unseal(sealed, place_of(OPERATORS.c.sealed, setting.id))
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in opened and PASSWORD not in opened


def test_name_and_password_are_checked_together(setting: Setting) -> None:
    found = setting.table.check(" ALICE", PASSWORD)
    assert found is not None and (found.id, found.actor) == (setting.id, "operator alice")
    assert setting.table.check("alice", NEW_PASSWORD) is None
    assert setting.table.check("bob", PASSWORD) is None
    assert setting.table.check("alice", "") is None


def test_a_code_of_a_minute_ago_or_ahead_is_wrong_and_one_of_the_next_step_is_right(setting: Setting) -> None:
    totp = pyotp.TOTP(setting.key)
    assert not setting.table.use_code(setting.id, totp.at(setting.now - 2 * STEP))
    assert not setting.table.use_code(setting.id, totp.at(setting.now + 2 * STEP))
    assert setting.table.use_code(setting.id, totp.at(setting.now - STEP))
    assert setting.table.use_code(setting.id, f" {totp.at(setting.now + STEP)} ")
    assert not setting.table.use_code(setting.id, totp.at(setting.now)), "an older one than the last"


def test_of_many_uses_of_a_code_at_once_one_counts(setting: Setting) -> None:
    code = setting.code()
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: setting.table.use_code(setting.id, code), range(8))) == 1


def test_a_name_is_of_one_living_operator(setting: Setting) -> None:
    with pytest.raises(OperatorRefused, match="there is an operator alice already"):
        setting.table.add("ALICE", PASSWORD)
    for name in ("", "x" * 33, "a b", "a/b", "a\nb"):
        with pytest.raises(OperatorRefused, match="1 to 32 letters"):
            setting.table.add(name, PASSWORD)
    setting.table.add("bob", PASSWORD)
    setting.table.end(setting.id)
    assert setting.table.add("alice", PASSWORD).id != setting.id


def test_an_operator_ends_with_all_that_opens_a_session(setting: Setting) -> None:
    _, session = setting.keys.create(KeyKind.OPERATOR_SESSION, setting.id)
    _, link = setting.keys.create(KeyKind.OPERATOR_LINK, setting.id)
    other = setting.table.add("bob", PASSWORD)
    _, others = setting.keys.create(KeyKind.OPERATOR_SESSION, other.id)
    assert setting.table.end(setting.id) == 2
    assert setting.keys.find(KeyKind.OPERATOR_SESSION, session) is None
    assert setting.keys.find(KeyKind.OPERATOR_LINK, link) is None
    assert setting.keys.find(KeyKind.OPERATOR_SESSION, others) is not None
    assert setting.table.get(setting.id) is None and setting.table.check("alice", PASSWORD) is None
    with pytest.raises(UnknownOperator):
        setting.table.find("alice")
    setting.plant(setting.id, ended_at=None)
    assert setting.table.check("alice", PASSWORD) is None, "who can write the table can't bring it back"


def test_a_new_password_ends_sessions_and_keeps_the_second_factor(setting: Setting) -> None:
    _, session = setting.keys.create(KeyKind.OPERATOR_SESSION, setting.id)
    setting.table.set_password(setting.id, NEW_PASSWORD)
    assert setting.keys.find(KeyKind.OPERATOR_SESSION, session) is None
    assert setting.table.check("alice", PASSWORD) is None
    assert setting.table.check("alice", NEW_PASSWORD) is not None


def test_n7_with_a_workers_secrets_no_operator_can_be_made_or_changed(setting: Setting) -> None:
    workers = Sealer([WORKERS_KEY], Purpose.WEB_ACCESS)
    workers_table = OperatorTable(setting.registry.database, workers, lambda: setting.now)
    planted = workers_table.add("mallory", PASSWORD)
    assert setting.table.check("mallory", PASSWORD) is None and setting.table.get(planted.id) is None
    assert not next(one for one in setting.table.list_operators() if one.id == planted.id).has_password
    bob = setting.table.add("bob", PASSWORD, role=Role.SUPPORT)
    with pytest.raises(UnknownOperator):
        workers_table.set_role(bob.id, Role.ADMIN)
    setting.plant(bob.id, sealed=setting.sealed(setting.id))
    assert setting.table.get(bob.id) is None, "an administrator's text is worth nothing in another row"


def test_a_sealed_text_opens_at_its_own_row_and_under_its_own_name_alone(setting: Setting) -> None:
    other = setting.table.add("bob", NEW_PASSWORD)
    setting.plant(setting.id, sealed=setting.sealed(other.id))
    assert setting.table.check("alice", NEW_PASSWORD) is None
    setting.table.end(setting.id)
    setting.plant(other.id, name="alice")
    assert setting.table.check("alice", NEW_PASSWORD) is None


def test_an_operator_without_a_password_is_let_in_by_none(setting: Setting) -> None:
    demo = setting.table.add("demo")
    assert (demo.has_password, demo.has_second_factor) == (False, False)
    assert setting.table.check("demo", "") is None
    assert not setting.table.use_code(demo.id, "000000")


def test_reprs_show_no_secret(setting: Setting) -> None:
    operator = setting.table.find("alice")
    assert setting.key not in repr(operator) and "argon2" not in repr(operator)


@pytest.mark.parametrize("leave", [OperatorTable.end, lambda table, id_: table.set_role(id_, Role.SUPPORT)])
def test_of_two_administrators_who_end_or_demote_each_other_at_once_one_stays(
    setting: Setting, leave: Callable[[OperatorTable, str], object]
) -> None:
    last = setting.id
    for number in range(8):
        start = Barrier(2)

        def is_refused(operator_id: str, start: Barrier = start) -> bool:
            start.wait()
            try:
                leave(setting.table, operator_id)
            except OperatorRefused as refusal:
                return "is the last administrator: add one" in str(refusal)
            return False

        with ThreadPoolExecutor(2) as pool:
            refused = pool.map(is_refused, (last, setting.table.add(f"bob{number}", PASSWORD).id))
            assert sorted(refused) == [False, True]
        (last,) = (one.id for one in setting.table.list_operators() if one.role is Role.ADMIN)


def test_the_last_administrator_stays_whoever_else_there_is(setting: Setting) -> None:
    bob = setting.table.add("bob", PASSWORD, role=Role.SUPPORT)
    unreadable = setting.table.add("carol", PASSWORD)
    setting.plant(unreadable.id, sealed=setting.sealed(setting.id))
    assert setting.roles() == {"alice": Role.ADMIN, "bob": Role.SUPPORT, "carol": None}
    with pytest.raises(OperatorRefused, match="alice is the last administrator"):
        setting.table.set_role(setting.id, Role.SUPPORT)
    with pytest.raises(OperatorRefused, match="alice is the last administrator"):
        setting.table.end(setting.id)
    for role in Role:
        with pytest.raises(UnknownOperator, match="remove it and add it again"):
            setting.table.set_role(unreadable.id, role)
    setting.table.end(unreadable.id)
    setting.table.set_role(bob.id, Role.ADMIN)
    setting.table.end(setting.id)
    assert setting.roles() == {"bob": Role.ADMIN}


def test_a_role_is_sealed_and_that_of_an_administrator_is_not_written(setting: Setting) -> None:
    """So 0.2.0 can read administrators, and what a later version writes is read and kept."""
    bob = setting.table.add("bob", PASSWORD, setting.key, role=Role.SUPPORT)
    assert set(setting.unsealed(setting.id)) == {"name", "password", "totp", "step"}
    assert setting.unsealed(bob.id)["role"] == "support" and bob == setting.table.get(bob.id)
    later = {**setting.unsealed(bob.id), "role": "auditor", "colour": "red"}
    setting.plant(bob.id, sealed=setting.sealer.seal(json.dumps(later), place_of(OPERATORS.c.sealed, bob.id)))
    assert setting.roles()["bob"] is Role.SUPPORT, "a role that nobody knows has the fewest rights"
    assert setting.table.use_code(bob.id, setting.code()) and setting.unsealed(bob.id)["role"] == "auditor"
    setting.table.set_role(bob.id, Role.ADMIN)
    assert "role" not in setting.unsealed(bob.id) and setting.roles()["bob"] is Role.ADMIN
