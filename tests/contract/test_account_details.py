"""What is told of an account, and a tenant's default prices, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from sqlalchemy import insert, select, update

from tests.support.registries import (
    KEY,
    METER,
    NOW,
    OTHER_METER,
    add_ready,
    all_rows,
    close_account,
    empty_registry,
    open_registry,
    registry_sealer,
)
from worker.accounts.prices import Owner, load_choices, remove_prices, set_prices
from worker.domain.account import DEFAULT_TENANT
from worker.domain.prices import Option
from worker.domain.prices.choices import TariffChoices
from worker.errors import AccountClosed, OperatorFault, UnknownAccount, UnknownTenant
from worker.stores.encryption import generate_key
from worker.stores.registry import Registry
from worker.stores.registry.account_details import PRICES, AccountDetailTable
from worker.stores.registry.dump import TABLES, read_rows, restore_rows
from worker.stores.registry.key_rotation import DETAIL_SEALS, rotate_seals
from worker.stores.registry.tables import ACCOUNT_DETAILS

HOURS = "off_peak_hours"
KINDS = (PRICES, HOURS)
REGULATED = {"option": "hphc", "power": 6, "supplier": "Électricité du Coin"}
NIGHT = {"2026-02-01": "22:00-06:00"}
REFUSED = "a stored text can't be decrypted: its key is missing, or it was moved"


@pytest.fixture
def details(registry: Registry) -> AccountDetailTable:
    return registry.account_details


@pytest.fixture
def home(registry: Registry) -> str:
    """An account with both kinds of details."""
    account_id = add_ready(registry)
    registry.account_details.save(account_id, PRICES, REGULATED)
    registry.account_details.save(account_id, HOURS, NIGHT)
    return account_id


def count_rows(registry: Registry) -> int:
    return len(registry.database.fetch(select(ACCOUNT_DETAILS)))


def test_each_kind_of_each_account_is_kept_by_itself(registry: Registry, details: AccountDetailTable) -> None:
    first, second = add_ready(registry), add_ready(registry, OTHER_METER)
    assert details.load(first, PRICES) is None
    details.save(first, PRICES, REGULATED)
    details.save(first, HOURS, NIGHT)
    details.save(second, PRICES, {"option": "base"})
    assert (details.load(first, PRICES), details.load(first, HOURS)) == (REGULATED, NIGHT)
    assert (details.load(second, PRICES), details.load(second, HOURS)) == ({"option": "base"}, None)
    details.save(first, PRICES, {"option": "tempo"})
    assert (details.load(first, PRICES), details.load(first, HOURS)) == ({"option": "tempo"}, NIGHT)
    assert details.remove(first, PRICES)
    assert not details.remove(first, PRICES)
    assert (details.load(first, PRICES), details.load(first, HOURS)) == (None, NIGHT)


def test_those_of_all_accounts_are_read_at_once(registry: Registry, details: AccountDetailTable, home: str) -> None:
    second, third = (add_ready(registry, f"{30001640000100 + number}") for number in range(2))
    details.save(second, PRICES, {"option": "base"})
    assert dict(details.iterate(PRICES, page_size=1)) == {home: REGULATED, second: {"option": "base"}}
    assert dict(details.iterate(PRICES, page_size=1, among=[third, home])) == {home: REGULATED}
    assert dict(details.iterate(HOURS)) == {home: NIGHT} and details.load(third, PRICES) is None


def test_one_that_can_not_be_read_hides_none_of_the_others(registry: Registry, details: AccountDetailTable) -> None:
    accounts = sorted(add_ready(registry, f"{30001640000000 + number}") for number in range(4))
    for account_id in accounts:
        details.save(account_id, PRICES, {"of": account_id})
    lost = ACCOUNT_DETAILS.c.account_id.in_([accounts[1], accounts[3]])
    registry.database.change(update(ACCOUNT_DETAILS).where(lost).values(sealed="sealed with a key that is lost"))
    for page_size in (1, 2, 500):
        assert list(details.iterate(PRICES, page_size)) == [(one, {"of": one}) for one in (accounts[0], accounts[2])]


def test_what_is_told_is_sealed(registry: Registry, home: str) -> None:
    rows = all_rows(registry.database)["account_details"]
    assert len(rows) == 2 and all(home in row for row in rows)
    assert not [row for row in rows if "Coin" in row or "hphc" in row or "22:00" in row]
    with pytest.raises(OperatorFault, match=REFUSED):
        AccountDetailTable(registry.database, registry_sealer(generate_key())).load(home, PRICES)


def test_a_value_that_was_moved_to_another_account_or_kind_is_refused(
    registry: Registry, details: AccountDetailTable, home: str
) -> None:
    other, columns = add_ready(registry, OTHER_METER), ACCOUNT_DETAILS.c
    of_prices = columns.account_id == home, columns.kind == PRICES
    sealed = registry.database.scalar(select(columns.sealed).where(*of_prices))
    registry.database.change(update(ACCOUNT_DETAILS).where(columns.kind == HOURS).values(sealed=sealed))
    with pytest.raises(OperatorFault, match=REFUSED):
        details.load(home, HOURS)
    registry.database.change(update(ACCOUNT_DETAILS).where(*of_prices).values(account_id=other))
    with pytest.raises(OperatorFault, match=REFUSED):
        details.load(other, PRICES)


def test_prices_that_can_not_be_read_can_be_removed(registry: Registry, home: str) -> None:
    registry.database.change(update(ACCOUNT_DETAILS).values(sealed="sealed with a key that is lost"))
    account = registry.accounts.get_existing(home)
    assert remove_prices(registry, account) and load_choices(registry, account) is None
    assert not remove_prices(registry, account)


def test_a_rotation_seals_every_kind_anew_also_where_a_page_ends_within_an_account(
    registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.registry.key_rotation.PAGE", 3)
    accounts = [add_ready(registry, f"{30001640000000 + number}") for number in range(4)]
    for account_id in accounts:
        for kind in KINDS:
            registry.account_details.save(account_id, kind, {"of": f"{account_id} {kind}"})
    new_key = generate_key()
    assert rotate_seals(registry.database, registry_sealer(new_key, KEY), DETAIL_SEALS) == 4 * len(KINDS)
    with_new_key = open_registry(url, new_key)
    for kind in KINDS:
        assert dict(with_new_key.account_details.iterate(kind)) == {
            account_id: {"of": f"{account_id} {kind}"} for account_id in accounts
        }
    with_new_key.database.close()


# The end of an account


def test_a_removal_takes_the_accounts_own_and_counts_them(
    registry: Registry, details: AccountDetailTable, home: str
) -> None:
    other = add_ready(registry, OTHER_METER)
    details.save(other, PRICES, {"option": "base"})
    assert registry.accounts.remove(home, NOW)["account_details"] == 2
    assert registry.accounts.remove(home, NOW)["account_details"] == 0
    assert (details.load(home, PRICES), details.load(other, PRICES)) == (None, {"option": "base"})
    with pytest.raises(UnknownAccount, match="was removed"):
        details.save(home, PRICES, REGULATED)
    with pytest.raises(UnknownAccount, match="releve accounts list"):
        details.save(METER, PRICES, REGULATED)


def test_a_new_holders_account_starts_without_and_the_closed_one_keeps_none(
    registry: Registry, details: AccountDetailTable, home: str
) -> None:
    neighbour = add_ready(registry, OTHER_METER)
    details.save(neighbour, PRICES, {"option": "base"})
    close_account(registry.consents, home, NOW)
    new_holder = add_ready(registry)
    assert new_holder != home
    assert dict(details.iterate(PRICES)) == {neighbour: {"option": "base"}}
    assert count_rows(registry) == 1
    with pytest.raises(AccountClosed, match="another person holds this meter now"):
        details.save(home, PRICES, REGULATED)


def test_a_stopped_or_paused_account_keeps_them_for_its_history_stays(
    registry: Registry, details: AccountDetailTable, home: str
) -> None:
    registry.consents.withdraw(home, NOW)
    assert details.load(home, PRICES) == REGULATED
    details.save(home, PRICES, {"option": "base"})
    assert details.load(home, PRICES) == {"option": "base"}


def test_upkeep_takes_what_a_worker_of_0_2_0_has_left_of_ended_accounts(
    registry: Registry, details: AccountDetailTable, home: str
) -> None:
    removed, closed = add_ready(registry, OTHER_METER), add_ready(registry, "30001640000033")
    registry.accounts.remove(removed, NOW)
    close_account(registry.consents, closed, NOW)
    for account_id in (removed, closed):  # 0.2.0 doesn't know the table.
        row = {"account_id": account_id, "kind": PRICES, "sealed": "left", "sealed_at": NOW}
        registry.database.change(insert(ACCOUNT_DETAILS).values(row))
    registry.consents.expire_and_erase(NOW, NOW.date(), 10)
    assert count_rows(registry) == 2
    assert (details.load(home, PRICES), details.load(home, HOURS)) == (REGULATED, NIGHT)


# A dump, and a tenant's default


def test_what_was_told_comes_back_from_a_dump(registry: Registry, details: AccountDetailTable, home: str) -> None:
    registry.tenants.save_prices(DEFAULT_TENANT, {"option": "base"})
    with registry.database.snapshot() as connection:
        rows = {table: list(read_rows(connection, table)) for table in TABLES}
    empty_registry(registry.database)
    assert details.load(home, PRICES) is None
    with registry.database.writing() as connection:
        restore_rows(connection, rows.__getitem__)
    assert (details.load(home, PRICES), details.load(home, HOURS)) == (REGULATED, NIGHT)
    assert registry.tenants.load_prices().get(DEFAULT_TENANT) == {"option": "base"}


def test_a_tenant_has_default_prices_of_its_own_and_the_default_one_needs_no_title(registry: Registry) -> None:
    tenants = registry.tenants
    tenants.save("kilowatt", "Kilowatt Club")
    assert tenants.load_prices().get(DEFAULT_TENANT) is tenants.load_prices().get("kilowatt") is None
    tenants.save_prices(DEFAULT_TENANT, {"option": "base"})
    tenants.save_prices("kilowatt", REGULATED)
    tenants.save_prices("kilowatt", {"option": "tempo"})
    assert tenants.load_prices().get(DEFAULT_TENANT) == {"option": "base"}
    assert tenants.load_prices().get("kilowatt") == {"option": "tempo"}
    assert [(one.id, one.title) for one in tenants.list_tenants()] == [
        (DEFAULT_TENANT, None),
        ("kilowatt", "Kilowatt Club"),
    ]
    tenants.save_prices("kilowatt", None)
    tenants.save_prices("kilowatt", None)
    assert (tenants.load_prices().get(DEFAULT_TENANT), tenants.load_prices().get("kilowatt")) == (
        {"option": "base"},
        None,
    )


def test_a_tenant_that_does_not_exist_gets_no_prices(registry: Registry) -> None:
    for prices in (REGULATED, None):
        with pytest.raises(UnknownTenant, match="`releve tenants kilowatt --title"):
            registry.tenants.save_prices("kilowatt", prices)
    assert registry.tenants.load_prices().get("kilowatt") is None


# Two people at once: a household's page and a command, or two operators


@pytest.fixture(params=["account", DEFAULT_TENANT, "kilowatt"])
def owner(request: pytest.FixtureRequest, registry: Registry) -> Owner:
    """An account or a tenant, without prices; the default tenant has no row."""
    if request.param == "account":
        return registry.accounts.get_existing(add_ready(registry))
    registry.tenants.save("kilowatt", "Kilowatt Club")
    return str(request.param)


def set_from(registry: Registry, owner: Owner, day: date) -> None:
    set_prices(registry, owner, regulated=(Option.BASE, 6), first=day)


def test_prices_that_are_set_at_once_are_all_kept(registry: Registry, owner: Owner) -> None:
    days = [date(2026, month, 1) for month in range(1, 9)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda day: set_from(registry, owner, day), days))
    choices = load_choices(registry, owner)
    assert choices is not None and [one.first for one in choices.electricity] == days


def test_prices_that_are_removed_while_others_are_set_do_not_come_back(
    registry: Registry, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_from(registry, owner, date(2026, 1, 1))
    removal = threading.Thread(target=lambda: remove_prices(registry, owner))

    def load_before_the_removal(registry: Registry, owner: Owner) -> TariffChoices | None:
        monkeypatch.undo()
        choices = load_choices(registry, owner)
        removal.start()
        removal.join(0.3)  # It waits for the prices that are set if it is locked out, else it is done by now.
        return choices

    monkeypatch.setattr("worker.accounts.prices.load_choices", load_before_the_removal)
    set_from(registry, owner, date(2026, 2, 1))
    removal.join(30)
    assert not removal.is_alive() and load_choices(registry, owner) is None
