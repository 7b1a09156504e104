"""Mail addresses of households, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests.support.registries import METER, NOW, OTHER_METER, add_ready
from worker.stores.encryption import KeyedHashes, Purpose, Sealer
from worker.stores.registry import Registry
from worker.stores.registry.households import HouseholdTable, MailAddressTable
from worker.stores.registry.tables import MAIL_ADDRESSES

SEALER = Sealer(["the key of the web application alone"], Purpose.WEB_ACCESS)
ANNE = "anne@example.org"


@pytest.fixture
def addresses(registry: Registry) -> MailAddressTable:
    return MailAddressTable(registry.database, SEALER, KeyedHashes(["a key for hashes, which is long enough"]))


@pytest.fixture
def two(registry: Registry, addresses: MailAddressTable) -> tuple[str, str]:
    """Return two households, each with an address."""
    ids = [add_ready(registry, meter) for meter in (METER, OTHER_METER)]
    first, second = (HouseholdTable(registry.database, SEALER).create({account_id: 0}).id for account_id in ids)
    assert addresses.set(first, ANNE, "fr") and addresses.set(second, "ben@example.org", "en")
    return first, second


def since(addresses: MailAddressTable, household_id: str) -> object:
    row = addresses.load(household_id)
    return row and row.month_since


def test_a_new_address_gets_no_months_until_its_household_asks(
    addresses: MailAddressTable, two: tuple[str, str]
) -> None:
    assert since(addresses, two[0]) is None and list(addresses.iterate_months()) == []
    addresses.set_month(two[0], NOW)
    addresses.set_month(two[0], NOW + timedelta(days=1))
    assert since(addresses, two[0]) == NOW, "to ask twice changes nothing"
    addresses.set_notices(two[0], wanted=False)
    assert since(addresses, two[0]) == NOW, "notices are switched apart"
    assert [(row.household_id, row.address) for row in addresses.iterate_months()] == [(two[0], ANNE)]
    addresses.set_month(two[0], None)
    assert since(addresses, two[0]) is None and (row := addresses.load(two[0])) and row.address == ANNE


def test_months_end_with_the_address_for_which_they_were_asked(
    addresses: MailAddressTable, two: tuple[str, str]
) -> None:
    addresses.set_month(two[0], NOW)
    (kept,) = addresses._database.fetch(select(MAIL_ADDRESSES).where(MAIL_ADDRESSES.c.household_id == two[0]))
    addresses.set(two[0], "other@example.org", "fr")
    assert since(addresses, two[0]) is None
    # Who writes to the table without the key can't give the old consent to the new address, nor to another household.
    addresses._database.change(update(MAIL_ADDRESSES).values(sealed_month=kept.sealed_month))
    assert [since(addresses, one) for one in two] == [None, None] and list(addresses.iterate_months()) == []
    addresses._database.change(update(MAIL_ADDRESSES).values(sealed_month=NOW.isoformat()))
    assert [since(addresses, one) for one in two] == [None, None]


def test_all_addresses_with_months_are_found_whatever_the_size_of_a_page(
    addresses: MailAddressTable, two: tuple[str, str]
) -> None:
    for household in two:
        addresses.set_month(household, NOW)
    for page_size in (1, 2, 3):
        assert [row.household_id for row in addresses.iterate_months(page_size)] == sorted(two)


def test_the_households_that_still_see_accounts_are_found_at_once(registry: Registry, two: tuple[str, str]) -> None:
    first, second = add_ready(registry, "30001640000033"), add_ready(registry, "30001640000044")
    households = HouseholdTable(registry.database, SEALER)
    both, former = households.create({first: 1, second: 1}).id, households.create({first: 0}).id
    assert households.find_seeing({first: 1, second: 1}) == {first: [both], second: [both]}
    assert households.find_seeing({first: 0}) == {first: sorted([both, former])}
    other_key = Sealer(["another key of a web application"], Purpose.WEB_ACCESS)
    assert HouseholdTable(registry.database, other_key).find_seeing({first: 0}) == {}


def test_addresses_of_many_households_are_read_at_once(addresses: MailAddressTable, two: tuple[str, str]) -> None:
    rows = addresses.load_many([*two, "nobody"])
    assert {one: row.address for one, row in rows.items()} == {two[0]: ANNE, two[1]: "ben@example.org"}
