"""The table of invitations, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, select, text

from tests.support.registries import KEY, METER, NOW, OTHER_METER, add_ready, open_registry, registry_sealer
from worker.domain.invitation import (
    INVITATION_LIFE,
    TRANSITIONS,
    Invitation,
    InvitationEvent,
    InvitationPurpose,
    InvitationState,
)
from worker.errors import OperatorFault, UnknownAccount
from worker.stores.encryption import generate_key
from worker.stores.registry import Registry
from worker.stores.registry.invitations import InvitationTable, UnknownInvitation
from worker.stores.registry.key_rotation import INVITATION_SEALS, rotate_seals
from worker.stores.registry.tables import INVITATIONS

ALICE, BOB = "a" * 64, "b" * 64  # The hashes of two browsers' ids.
SECOND = timedelta(seconds=1)


@dataclass
class Setting:
    registry: Registry
    url: str
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.table = InvitationTable(self.registry.database, registry_sealer(), lambda: self.now)

    def invite_meter(self, meter: str = METER) -> tuple[Invitation, str]:
        return self.table.create(InvitationPurpose.METER, "enedis", "operator", usage_point_id=meter)

    def invite_account(self, account_id: str) -> tuple[Invitation, str]:
        return self.table.create(InvitationPurpose.ACCOUNT, "enedis", "operator", account_id=account_id)

    def use(self, invitation: Invitation) -> bool:
        with self.registry.database.writing() as connection:
            return self.table.use(connection, invitation.id)

    def end_for(self, account_id: str | None, meter: str | None) -> int:
        with self.registry.database.writing() as connection:
            return self.table.end_for(connection, account_id, meter)

    def state_of(self, invitation: Invitation) -> InvitationState | None:
        current = self.table.get(invitation.id)
        return current and current.state_at(self.now)

    def rows(self) -> str:
        engine = create_engine(self.url)
        with engine.connect() as connection:
            rows = str(connection.execute(text("SELECT * FROM invitations")).all())
        engine.dispose()
        return rows


@pytest.fixture
def setting(registry: Registry, url: str) -> Setting:
    return Setting(registry, url)


# Creating and finding


def test_an_invitation_is_read_back_and_its_secret_and_meter_are_not_stored_in_clear_text(setting: Setting) -> None:
    invitation, secret = setting.invite_meter()
    assert re.fullmatch(rf"invite_{invitation.id}_[A-Za-z0-9_-]{{43}}", secret)
    assert (invitation.created_at, invitation.expires_at) == (NOW, NOW + INVITATION_LIFE)
    assert setting.table.get(invitation.id) == setting.table.find(secret) == invitation
    assert (invitation.usage_point_id, invitation.created_by, invitation.account_id) == (METER, "operator", None)
    rows = setting.rows()
    assert METER not in rows
    assert secret.split("_", 2)[2] not in rows
    assert METER not in repr(invitation)


def test_every_secret_is_another(setting: Setting) -> None:
    assert len({setting.invite_meter(f"{30001640000000 + n}")[1] for n in range(20)}) == 20


def test_a_wrong_secret_finds_nothing(setting: Setting) -> None:
    invitation, secret = setting.invite_meter()
    other_id = "a" * 12 if invitation.id != "a" * 12 else "b" * 12
    other_letter = "A" if secret[-1] != "A" else "B"
    wrong = (
        "",
        invitation.id,
        secret[:-1] + other_letter,
        f"{secret} ",
        secret.replace("invite_", "releve_"),
        secret.replace(invitation.id, other_id),
        "é" * len(secret),
    )
    assert [setting.table.find(text) for text in wrong] == [None] * len(wrong)
    assert [setting.table.open(text, ALICE) for text in wrong] == [None] * len(wrong)
    assert setting.table.get("nobody") is None


def test_an_unknown_or_removed_account_gets_no_invitation(setting: Setting) -> None:
    removed = add_ready(setting.registry)
    setting.registry.accounts.remove(removed, NOW)
    for account_id in (removed, "nobody"):
        with pytest.raises(UnknownAccount):
            setting.invite_account(account_id)
    assert setting.table.list_invitations() == []


def test_a_newer_invitation_revokes_unfinished_ones_for_the_same_account_or_meter_alone(setting: Setting) -> None:
    account, other = add_ready(setting.registry), add_ready(setting.registry, OTHER_METER)
    for_account, _ = setting.invite_account(account)
    for_other, _ = setting.invite_account(other)
    for_meter, secret = setting.invite_meter("30001640000099")
    used, its_secret = setting.invite_meter("30001640000098")
    assert setting.table.open(its_secret, ALICE) and setting.use(used)
    setting.table.open(secret, ALICE)
    newer = [setting.invite_account(account)[0], setting.invite_meter("30001640000099")[0]]
    newer.append(setting.invite_meter("30001640000098")[0])
    assert [setting.state_of(one) for one in (for_account, for_meter, used)] == ["revoked", "revoked", "used"]
    assert {one.id for one in setting.table.list_invitations(open_only=True)} == {
        for_other.id,
        *(one.id for one in newer),
    }


def test_of_many_invitations_at_once_for_an_account_one_is_open(setting: Setting) -> None:
    account = add_ready(setting.registry)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: setting.invite_account(account)[0].id, range(12)))
    assert len(set(made)) == 12
    assert len(setting.table.list_invitations(open_only=True)) == 1


def test_pages_give_each_invitation_once_in_the_order_of_ids(setting: Setting) -> None:
    ids = [setting.invite_meter(f"{30001640000000 + number}")[0].id for number in range(5)]
    setting.table.revoke(ids[0])
    pages, after = [], ""
    while page := setting.table.page(after, 2):
        pages += [one.id for one in page]
        after = pages[-1]
    assert pages == sorted(ids)
    assert [one.id for one in setting.table.page(open_only=True)] == sorted(ids[1:])
    assert [one.id for one in setting.table.list_invitations(limit=2)] == [
        one.id for one in setting.table.list_invitations()
    ][:2]


# Opening and using


def test_an_invitation_belongs_to_the_first_browser_that_opens_it(setting: Setting) -> None:
    _, secret = setting.invite_meter()
    opened = setting.table.open(secret, ALICE)
    assert opened is not None
    assert (opened.opened_at, opened.browser, opened.usage_point_id) == (NOW, ALICE, METER)
    setting.now += SECOND
    assert setting.table.open(secret, ALICE) == opened  # The moment of the first opening stays.
    assert setting.table.open(secret, BOB) is None
    assert setting.table.find(secret) == opened


def test_a_browser_goes_on_with_an_invitation_by_any_of_its_names(setting: Setting) -> None:
    _, secret = setting.invite_meter()
    newer = "c" * 64
    opened = setting.table.open(secret, ALICE)
    assert setting.table.open(secret, newer, [BOB, ALICE]) == opened
    assert setting.table.open(secret, newer, [BOB]) is None
    assert setting.table.find_opened([newer, ALICE]) == opened == setting.table.find_opened([ALICE], "default")
    for names, tenant in (([newer], None), ([], None), ([ALICE], "other")):
        assert setting.table.find_opened(names, tenant) is None


def test_of_many_browsers_at_once_one_opens_it(setting: Setting) -> None:
    _, secret = setting.invite_meter()
    browsers = [f"{number:064x}" for number in range(12)]
    with ThreadPoolExecutor(8) as threads:
        opened = [one for one in threads.map(lambda name: setting.table.open(secret, name), browsers * 2) if one]
    assert len({one.browser for one in opened}) == 1
    assert len(opened) == 2  # The same browser came twice.


def test_an_invitation_is_used_once_even_by_many_at_once(setting: Setting) -> None:
    invitation, secret = setting.invite_meter()
    setting.table.open(secret, ALICE)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: setting.use(invitation), range(16))) == 1
    assert setting.table.open(secret, ALICE) is None
    found = setting.table.find(secret)
    assert found is not None
    assert (found.state_at(NOW), found.used_at, found.usage_point_id) == ("used", NOW, METER)


def test_a_transaction_that_fails_uses_nothing_up(setting: Setting) -> None:
    invitation, secret = setting.invite_meter()
    assert setting.table.open(secret, ALICE)
    with pytest.raises(ZeroDivisionError), setting.registry.database.writing() as connection:
        assert setting.table.use(connection, invitation.id)
        _ = 1 / 0
    assert setting.use(invitation)


def test_an_invitation_ends_after_72_hours_to_the_second(setting: Setting) -> None:
    invitation, secret = setting.invite_meter()
    setting.now = invitation.expires_at - SECOND
    assert setting.table.open(secret, ALICE) is not None
    setting.now = invitation.expires_at
    assert setting.table.open(secret, ALICE) is None
    assert not setting.use(invitation)
    assert setting.state_of(invitation) == "expired"
    assert setting.table.list_invitations(open_only=True) == []
    assert [one.id for one in setting.table.list_invitations()] == [invitation.id]


def test_without_a_clock_of_its_own_the_table_runs_at_the_real_time(registry: Registry) -> None:
    invitation, _ = registry.invitations.create(InvitationPurpose.METER, "enedis", "x", usage_point_id=METER)
    assert abs(invitation.created_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("event", InvitationEvent)
@pytest.mark.parametrize("state", InvitationState)
def test_each_event_does_to_a_stored_invitation_what_its_table_says(
    setting: Setting, state: InvitationState, event: InvitationEvent
) -> None:
    invitation, secret = setting.invite_meter()

    def let_happen(event: InvitationEvent) -> None:
        match event:
            case InvitationEvent.OPENED:
                setting.table.open(secret, ALICE)
            case InvitationEvent.USED:
                setting.use(invitation)
            case InvitationEvent.REVOKED:
                setting.table.revoke(invitation.id)
            case InvitationEvent.EXPIRED:
                setting.now = invitation.expires_at
            case InvitationEvent.DELETED:
                setting.table.delete_before(setting.now)

    if state is InvitationState.USED:
        let_happen(InvitationEvent.OPENED)
    if state is not InvitationState.SENT:
        let_happen(InvitationEvent(state.value))
    if event is InvitationEvent.DELETED:
        setting.now = invitation.expires_at + SECOND
    before = setting.state_of(invitation)
    if event is not InvitationEvent.DELETED:
        assert before is state
    let_happen(event)
    assert setting.state_of(invitation) is TRANSITIONS.get((before or state, event), before)


# The end


def test_a_revoked_invitation_opens_nothing_and_forgets_its_meter(setting: Setting) -> None:
    invitation, secret = setting.invite_meter()
    revoked = setting.table.revoke(invitation.id)
    assert (revoked.revoked_at, revoked.usage_point_id) == (NOW, None)
    setting.now += SECOND
    assert setting.table.revoke(invitation.id) == revoked
    assert setting.table.open(secret, ALICE) is None
    assert not setting.use(invitation)
    assert setting.table.list_invitations(open_only=True) == []


def test_revoking_leaves_a_used_invitation_used(setting: Setting) -> None:
    invitation, secret = setting.invite_meter()
    assert setting.table.open(secret, ALICE) and setting.use(invitation)
    assert setting.table.revoke(invitation.id).state_at(NOW) == "used"


def test_revoking_an_unknown_invitation_does_not_repeat_what_was_typed(setting: Setting) -> None:
    _, secret = setting.invite_meter()
    with pytest.raises(UnknownInvitation, match="releve consents --invitations") as error:
        setting.table.revoke(secret)
    assert secret not in str(error.value)
    with pytest.raises(UnknownInvitation):  # PostgreSQL refuses a text with NUL, which an address may have.
        setting.table.revoke("a\x00")


def test_the_removal_of_an_account_ends_all_that_name_it_or_its_meter(setting: Setting) -> None:
    setting.registry.invitations = setting.table
    account, other = add_ready(setting.registry), add_ready(setting.registry, OTHER_METER)
    named, _ = setting.invite_account(account)
    used, secret = setting.invite_meter()
    assert setting.table.open(secret, ALICE) and setting.use(used)
    for_meter, _ = setting.table.create(InvitationPurpose.NEW_HOLDER, "enedis", "operator", usage_point_id=METER)
    others = [setting.invite_account(other)[0], setting.invite_meter(OTHER_METER)[0]]
    setting.registry.accounts.remove(account, NOW)
    assert [setting.state_of(one) for one in (named, for_meter, used)] == ["revoked", "revoked", "used"]
    assert {one.id for one in setting.table.list_invitations(open_only=True)} == {one.id for one in others}
    assert [one.usage_point_id for one in setting.table.list_invitations() if one.id in (used.id, for_meter.id)] == [
        None,
        None,
    ]
    setting.registry.accounts.remove(account, NOW)


def test_ending_by_nothing_ends_nothing(setting: Setting) -> None:
    setting.invite_meter()
    setting.invite_account(add_ready(setting.registry, OTHER_METER))
    assert setting.end_for(None, None) == 0
    assert setting.end_for("nobody", "30001640000099") == 0
    assert len(setting.table.list_invitations(open_only=True)) == 2


def test_old_invitations_are_deleted_and_no_others(setting: Setting) -> None:
    old, _ = setting.invite_meter()
    setting.now += timedelta(days=1)
    newer, _ = setting.invite_meter(OTHER_METER)
    assert setting.table.delete_before(old.expires_at) == 0
    assert setting.table.delete_before(old.expires_at + SECOND) == 1
    assert [one.id for one in setting.table.list_invitations()] == [newer.id]


# Keys


def test_a_rotation_seals_the_meters_anew_and_drops_what_no_key_opens(setting: Setting, url: str) -> None:
    invitation, secret = setting.invite_meter()
    by_account, _ = setting.invite_account(add_ready(setting.registry, OTHER_METER))
    with setting.registry.database.writing() as connection:
        other = {"id": "lost", "hash": "x", "purpose": "meter", "supplier": "enedis", "created_by": "x"}
        sealed = registry_sealer(generate_key()).seal("30001640000033", INVITATION_SEALS.place_of("lost"))
        row = {**other, "sealed_usage_point": sealed, "created_at": NOW, "expires_at": NOW + INVITATION_LIFE}
        connection.execute(INVITATIONS.insert().values(row))
    with pytest.raises(OperatorFault, match="RELEVE_TOKEN_KEYS"):
        setting.table.get("lost")
    assert len(setting.table.list_invitations()) == 3  # The list shows it, without its meter.
    new_key = generate_key()
    assert rotate_seals(setting.registry.database, registry_sealer(new_key, KEY), INVITATION_SEALS) == 1
    with_new_key = open_registry(url, new_key)
    assert {one.id for one in with_new_key.invitations.list_invitations()} == {invitation.id, by_account.id}
    found = with_new_key.invitations.find(secret)
    assert found is not None
    assert found.usage_point_id == METER
    with_new_key.database.close()


def test_an_invitation_that_no_key_opens_ends_when_any_meter_is_erased(setting: Setting) -> None:
    setting.invite_meter()
    with_other_key = InvitationTable(setting.registry.database, registry_sealer(generate_key()), lambda: NOW)
    with setting.registry.database.writing() as connection:
        assert with_other_key.end_for(connection, None, OTHER_METER) == 1
        assert connection.execute(select(INVITATIONS.c.sealed_usage_point)).scalar_one() is None
