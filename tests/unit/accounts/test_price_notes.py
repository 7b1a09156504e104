"""Outputs are told whose costs a change of prices, hours or colours changes, from the first day on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.registries import add_ready, open_registry, prepare_registry, switch_on
from tests.unit.accounts.test_price_files import copies
from tests.unit.domain.prices.test_regulated import HPHC
from worker.accounts import price_files, prices
from worker.accounts.price_files import take_shipped, update_files
from worker.accounts.prices import (
    BEGINNING,
    COLOURS_FILE,
    load_choices,
    remove_prices,
    save_colours,
    set_prices,
    shipped_copies,
)
from worker.domain.account import DEFAULT_TENANT
from worker.domain.prices import Option, Price
from worker.domain.prices.choices import TariffChoices, read_hours
from worker.domain.prices.regulated import FILES
from worker.domain.prices.tempo import read_colours
from worker.domain.series import Series
from worker.domain.windows import PARIS, civil_date
from worker.stores.registry import outputs
from worker.stores.registry.outputs import END, OutboxTable
from worker.stores.registry.public_files import PublicFile

NOW = datetime(2026, 11, 27, 12, tzinfo=PARIS)
SPRING, SUMMER = date(2026, 4, 1), date(2026, 7, 1)
NIGHT = read_hours("22:00-06:00")
OWN = TariffChoices(electricity=(Price(SUMMER, None, {"base": Decimal("0.2")}),))
OWN_TEMPO = {f"{colour}_{hours}": Decimal("0.2") for colour in ("blue", "white", "red") for hours in ("hp", "hc")}


class Homes:
    """A registry with three accounts of the default tenant, and an output for all of them."""

    def __init__(self, folder: Path) -> None:
        prepare_registry(folder)
        self.registry = open_registry(f"sqlite:///{folder}/registry.db")
        self.registry.now = lambda: NOW
        self.first, self.second, self.third = sorted(
            add_ready(self.registry, f"{30001640000000 + number}") for number in range(3)
        )
        self.output = self.registry.outputs.insert("webhook", {}, NOW)

    def set(self, account: str, **what: Any) -> None:
        set_prices(self.registry, self.registry.accounts.get_existing(account), **what)

    def noted(self) -> dict[str, date]:
        """Return from which day on each account's daily energy is noted, and forget it."""
        found: dict[str, date] = {}
        while changes := self.registry.outbox.next_changes(self.output):
            for change in changes:
                assert change.series is Series.DAILY and change.last == END
                found[change.account_id] = civil_date(change.first)
            self.registry.outbox.delete_sent(changes)
        return found


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Homes]:
    made = Homes(tmp_path)
    yield made
    made.registry.database.close()


@pytest.mark.parametrize(
    ("what", "first"),
    [
        ({"regulated": (Option.BASE, 6), "first": SUMMER}, SUMMER),
        ({"regulated": (Option.TEMPO, 9), "first": SPRING}, SPRING),
        ({"hours": NIGHT, "first": SUMMER}, SUMMER),
        ({"own": OWN}, SUMMER),
        ({"regulated": (Option.BASE, 9), "hours": NIGHT, "first": date(2026, 11, 28)}, NOW.date()),
        ({"regulated": (Option.HPHC, 6), "first": BEGINNING}, None),
    ],
    ids=["option", "earlier", "hours", "own prices", "in the future", "nothing new"],
)
def test_a_choice_is_noted_from_its_first_day_on(homes: Homes, what: dict[str, Any], first: date | None) -> None:
    homes.set(homes.first, regulated=(Option.HPHC, 6))
    assert homes.noted() == {homes.first: BEGINNING}
    homes.set(homes.first, **what)
    assert homes.noted() == ({homes.first: first} if first else {})


def test_what_is_removed_is_noted_from_the_beginning(homes: Homes) -> None:
    account = homes.registry.accounts.get_existing(homes.first)
    homes.set(homes.first, own=OWN)
    homes.noted()
    remove_prices(homes.registry, account)
    assert homes.noted() == {homes.first: BEGINNING}
    remove_prices(homes.registry, account)
    assert homes.noted() == {}


def test_the_default_of_a_tenant_is_noted_for_its_accounts(homes: Homes) -> None:
    homes.registry.tenants.save("club", "Club")
    set_prices(homes.registry, DEFAULT_TENANT, regulated=(Option.BASE, 6), first=SUMMER)
    assert homes.noted() == dict.fromkeys((homes.first, homes.second, homes.third), SUMMER)
    set_prices(homes.registry, "club", regulated=(Option.BASE, 6))
    assert homes.noted() == {}
    remove_prices(homes.registry, DEFAULT_TENANT)
    assert homes.noted() == dict.fromkeys((homes.first, homes.second, homes.third), BEGINNING)


def test_an_account_of_a_curve_alone_has_days_too(homes: Homes) -> None:
    homes.set(homes.first, own=OWN)
    switch_on(homes.registry, homes.first, Series.PRODUCTION_LOAD_CURVE)
    homes.registry.outbox.delete_sent(homes.registry.outbox.next_changes(homes.output))
    remove_prices(homes.registry, homes.registry.accounts.get_existing(homes.first))
    changes = homes.registry.outbox.next_changes(homes.output)
    assert {change.series for change in changes} == {Series.DAILY, Series.PRODUCTION_DAILY}


def test_the_note_and_the_change_are_one(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the process ends")

    homes.set(homes.first, regulated=(Option.TEMPO, 9))
    account, stored = homes.registry.accounts.get_existing(homes.first), homes.registry.public_files.load_all()
    monkeypatch.setattr(OutboxTable, "enqueue_energy", fail)
    for change in (
        lambda: homes.set(homes.first, own=OWN),
        lambda: remove_prices(homes.registry, account),
        lambda: save_colours(homes.registry, read_colours("day,colour\n2026-11-01,RED\n")),
        lambda: update_files(homes.registry, copies({Option.TEMPO: shipped_copies()[FILES[Option.TEMPO]].text})),
    ):
        with pytest.raises((RuntimeError, KeyError)):
            change()
    choices = load_choices(homes.registry, account)
    assert choices and len(choices.electricity) == 1 and homes.registry.public_files.load_all() == stored


def test_a_file_is_noted_where_it_changes_a_price_from_the_first_day_on(homes: Homes) -> None:
    rows = f"{HPHC}01/02/2026;31/07/2026;9;1;180,00;1;0,20;1;0,30\n01/08/2026;;9;1;180,00;1;0,20;1;0,30\n"
    update_files(homes.registry, copies({Option.HPHC: HPHC}, date(2026, 2, 1)), [Option.HPHC])
    homes.set(homes.first, regulated=(Option.HPHC, 9))
    homes.set(homes.second, regulated=(Option.HPHC, 9), first=SPRING)
    homes.set(homes.second, regulated=(Option.BASE, 9), first=SUMMER)
    homes.set(homes.third, regulated=(Option.HPHC, 6))
    homes.noted()
    update_files(homes.registry, copies({Option.HPHC: rows}, date(2026, 11, 1)), [Option.HPHC])
    of_open_row = {homes.third: date(2026, 8, 1)}  # A later copy says that it still counts.
    assert homes.noted() == {homes.first: date(2026, 2, 1), homes.second: SPRING, **of_open_row}
    dearer = rows.replace("01/08/2026;;9;1;180,00;1;0,20", "01/08/2026;;9;1;180,00;1;0,21")
    for _ in range(2):
        update_files(homes.registry, copies({Option.HPHC: dearer}, date(2026, 11, 2)), [Option.HPHC])
    assert homes.noted() == {homes.first: date(2026, 8, 1)}


def test_a_file_is_noted_for_the_default_of_a_tenant_where_no_own_choice_comes_first(homes: Homes) -> None:
    set_prices(homes.registry, DEFAULT_TENANT, regulated=(Option.HPHC, 9))
    homes.set(homes.first, regulated=(Option.BASE, 9))
    homes.set(homes.second, regulated=(Option.BASE, 9), first=date(2026, 3, 1))
    homes.noted()
    text = HPHC + "01/02/2026;;9;1;180,00;1;0,20;1;0,30\n"
    update_files(homes.registry, copies({Option.HPHC: text}, date(2026, 11, 1)), [Option.HPHC])
    assert homes.noted() == {homes.second: date(2026, 2, 1), homes.third: date(2026, 2, 1)}


def test_a_copy_that_a_new_version_ships_is_noted_too(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    homes.set(homes.first, regulated=(Option.BASE, 6))
    homes.noted()
    take_shipped(homes.registry)
    assert homes.noted() == {}, "it was in use before"
    name = FILES[Option.BASE]
    copy = shipped_copies()[name]
    newer = PublicFile(name, copy.text, date(2026, 2, 1))  # Its open row counts for half a year more.
    monkeypatch.setattr(price_files, "shipped_copies", lambda: {name: newer})
    for _ in range(2):
        take_shipped(homes.registry)
        assert homes.registry.public_files.load_all()[name] == newer
    assert homes.noted() == {homes.first: date(2026, 2, 1)}


def test_what_a_new_version_ships_is_noted_too_where_the_same_file_is_fetched_first(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes.set(homes.first, regulated=(Option.BASE, 6))
    take_shipped(homes.registry)
    homes.noted()
    name = FILES[Option.BASE]
    newer = PublicFile(name, shipped_copies()[name].text, date(2026, 2, 1))
    monkeypatch.setattr(price_files, "shipped_copies", lambda: {name: newer})
    monkeypatch.setattr(prices, "shipped_copies", lambda: {name: newer})
    update_files(homes.registry, copies({Option.BASE: newer.text}, date(2026, 2, 2)), [Option.BASE])
    assert homes.noted() == {homes.first: date(2026, 2, 1)}


def test_colours_are_noted_where_tempo_needs_them(homes: Homes) -> None:
    homes.set(homes.first, regulated=(Option.TEMPO, 9))
    homes.set(homes.second, own=replace(OWN, electricity=(Price(date(2026, 11, 3), None, OWN_TEMPO),)))
    homes.set(homes.third, regulated=(Option.BASE, 9))
    homes.noted()
    save_colours(homes.registry, read_colours("day,colour\n2026-11-01,RED\n"))
    assert homes.noted() == {homes.first: date(2026, 11, 1)}
    save_colours(homes.registry, read_colours("day,colour\n2026-11-01,RED\n2026-11-02,RED\n"))
    assert homes.noted() == {homes.first: date(2026, 11, 2), homes.second: date(2026, 11, 3)}, "the night that follows"
    save_colours(homes.registry, read_colours("day,colour\n2026-11-28,RED\n"))
    assert homes.noted() == dict.fromkeys((homes.first, homes.second), NOW.date()), "tomorrow's, which outputs tell"
    assert COLOURS_FILE in homes.registry.public_files.load_all()


def test_accounts_that_a_change_concerns_alike_are_noted_by_thousands(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for account in (homes.first, homes.second, homes.third):
        homes.set(account, regulated=(Option.TEMPO, 9))
    homes.noted()
    statements, enqueue = list[date](), outputs._enqueue

    def count(connection: Any, first: datetime, *args: Any) -> int:
        statements.append(civil_date(first))
        return enqueue(connection, first, *args)

    monkeypatch.setattr(outputs, "_enqueue", count)
    monkeypatch.setattr(outputs, "_MOST_AT_ONCE", 2)
    save_colours(homes.registry, read_colours("day,colour\n2026-11-01,RED\n"))
    assert statements == [date(2026, 11, 1)] * 2
    assert homes.noted() == dict.fromkeys((homes.first, homes.second, homes.third), date(2026, 11, 1))
