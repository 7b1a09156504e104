"""The regulator's files: the newest copy counts, and one that can't be right changes nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.registries import OTHER_METER, add_ready, open_registry, prepare_registry
from tests.unit.domain.prices.test_regulated import BASE, HPHC
from worker.accounts.price_files import (
    FileUpdate,
    ReadCopy,
    fetch_from,
    load_copies,
    read_from_folder,
    update_files,
    uses_regulated,
)
from worker.accounts.prices import CHOICES_JSON
from worker.clients.published_files import NotFetched
from worker.domain.account import DEFAULT_TENANT
from worker.domain.prices import Option, Price
from worker.domain.prices.choices import RegulatedChoice, TariffChoices
from worker.domain.prices.regulated import FILES
from worker.domain.windows import PARIS
from worker.ops.backup_format import MAX_LINE, to_line
from worker.stores.registry import Registry
from worker.stores.registry.account_details import PRICES
from worker.stores.registry.public_files import PublicFile

TODAY = date(2026, 2, 3)
SHIPPED = date(2025, 8, 1)
MORE_HPHC = HPHC + "01/08/2025;;9;152,76;223,56;0,1065;0,1635;0,1465;0,2081\n"
FIRST = date(2026, 1, 1)
REGULATED = CHOICES_JSON.dump_python(TariffChoices((RegulatedChoice(FIRST, Option.BASE, 6),)), mode="json")
OWN = CHOICES_JSON.dump_python(TariffChoices((Price(FIRST, None, {"base": Decimal("0.2")}),)), mode="json")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    prepare_registry(tmp_path)
    registry = open_registry(f"sqlite:///{tmp_path}/registry.db")
    yield registry
    registry.database.close()


def copies(texts: Mapping[Option, str], day: date = TODAY) -> ReadCopy:
    return lambda option: PublicFile(FILES[option], texts[option], day)


def only_hphc(registry: Registry, text: str, day: date = TODAY) -> FileUpdate:
    return update_files(registry, copies({Option.HPHC: text}, day), [Option.HPHC])[0]


def test_a_new_copy_takes_the_place_of_the_one_before_and_its_new_rows_are_counted(registry: Registry) -> None:
    name = FILES[Option.HPHC]
    assert only_hphc(registry, HPHC, date(2026, 2, 1)) == FileUpdate(name, date(2026, 2, 1), 2)
    assert only_hphc(registry, MORE_HPHC) == FileUpdate(name, TODAY, 1)
    assert only_hphc(registry, MORE_HPHC) == FileUpdate(name, TODAY, 0)
    assert load_copies(registry)[name] == PublicFile(name, MORE_HPHC, TODAY)


def test_a_stored_copy_that_can_not_be_read_is_no_reason_to_refuse_another(registry: Registry) -> None:
    registry.public_files.save(FILES[Option.HPHC], "of a later version\n", date(2026, 2, 1))
    assert only_hphc(registry, HPHC) == FileUpdate(FILES[Option.HPHC], TODAY, 2)


def test_a_copy_that_can_not_be_right_is_refused_whole_and_the_reason_told_without_a_traceback(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    before = load_copies(registry)
    texts = {Option.BASE: BASE, Option.HPHC: "<html>\n", Option.TEMPO: "DATE_DEBUT;DATE_FIN\n"}
    base, hphc, tempo = update_files(registry, copies(texts))
    assert base == FileUpdate(FILES[Option.BASE], SHIPPED, 0, "it has 4 rows, but the copy before had 105")
    assert hphc.copied_on is None and hphc.refused.startswith("the columns are not those of option hphc")
    assert (tempo.copied_on, tempo.new_rows) == (SHIPPED, 0) and "option tempo" in tempo.refused
    assert load_copies(registry) == before and registry.public_files.load_all() == {}
    assert [(record.levelno, record.getMessage(), record.exc_info) for record in caplog.records] == [
        (logging.WARNING, "prices not updated", None)
    ] * 3


def test_what_can_not_be_fetched_leaves_the_others(registry: Registry) -> None:
    def read(option: Option) -> PublicFile:
        if option is not Option.HPHC:
            raise NotFetched("www.cre.fr answered with status 503")
        return PublicFile(FILES[option], HPHC, TODAY)

    said = [(one.copied_on, one.refused) for one in update_files(registry, read)]
    assert said == [
        (SHIPPED, "www.cre.fr answered with status 503"),
        (TODAY, ""),
        (SHIPPED, "www.cre.fr answered with status 503"),
    ]


def test_an_older_copy_is_refused(registry: Registry) -> None:
    only_hphc(registry, HPHC)
    assert only_hphc(registry, MORE_HPHC, date(2026, 2, 2)).refused == "it is older than the copy in use"
    assert load_copies(registry)[FILES[Option.HPHC]].text == HPHC


def test_what_no_store_keeps_is_left_out(registry: Registry) -> None:
    assert not only_hphc(registry, HPHC.replace("188,10", "188,10\0")).refused
    assert load_copies(registry)[FILES[Option.HPHC]].text == HPHC


def test_blank_rows_are_left_out_and_count_for_nothing(registry: Registry) -> None:
    padded = HPHC.replace("\n", '\n;;;;;;;;;;\n \t"";\u00a0;\n\n') + ";;;;;;;;;;\r\n" * 100_000
    assert only_hphc(registry, padded) == FileUpdate(FILES[Option.HPHC], TODAY, 2)
    assert load_copies(registry)[FILES[Option.HPHC]].text == HPHC


@pytest.mark.parametrize("filler", [" ", "\ufffd", "\x01", '"'], ids=ascii)
def test_a_copy_is_taken_only_if_a_backup_can_hold_it(registry: Registry, filler: str) -> None:
    name, before = FILES[Option.HPHC], ""
    for length, is_taken in ((10, True), (100_000, True), (1_000_000, False)):
        text = HPHC.replace("134,64", f"134,64{filler * length}")  # A cell that isn't read.
        assert only_hphc(registry, text).refused == ("" if is_taken else "it is too long to be kept")
        before = text if is_taken else before
        copy = load_copies(registry)[name]
        assert copy.text == before and len(to_line({**copy._asdict(), "copied_on": str(TODAY)})) < MAX_LINE


def test_a_file_of_a_folder_was_copied_on_the_day_of_its_last_change(tmp_path: Path) -> None:
    file = tmp_path / FILES[Option.HPHC]
    file.write_text("\ufeff" + HPHC, encoding="utf-8")
    for changed_at, day in (
        (datetime(2026, 1, 31, 23, 30, tzinfo=PARIS), date(2026, 1, 31)),
        (datetime(2027, 1, 1, tzinfo=PARIS), TODAY),
    ):
        moment = changed_at.timestamp()
        os.utime(file, (moment, moment))
        assert read_from_folder(tmp_path, TODAY)(Option.HPHC) == PublicFile(file.name, HPHC, day)


def test_a_file_of_a_folder_has_at_most_two_megabytes(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / FILES[Option.HPHC]).write_text(HPHC + ";" * 2 * 1024**2)
    (update,) = update_files(registry, read_from_folder(tmp_path, TODAY), [Option.HPHC])
    assert update.refused == "it has more than 2097152 bytes"


def test_files_are_fetched_from_the_addresses_of_the_settings_and_may_move_to_their_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, frozenset[str], int]] = []

    def fetch(url: str, hosts: set[str], longest: int) -> str:
        asked.append((url, frozenset(hosts), longest))
        return HPHC

    monkeypatch.setattr("worker.accounts.price_files.fetch_text", fetch)
    addresses = {option: f"https://{option}.example/file.csv" for option in Option}
    assert fetch_from(addresses, TODAY)(Option.HPHC) == PublicFile(FILES[Option.HPHC], HPHC, TODAY)
    own = {"base.example", "hphc.example", "tempo.example"}
    of_regulator = {"www.cre.fr", "www.data.gouv.fr", "static.data.gouv.fr"}
    assert asked == [("https://hphc.example/file.csv", frozenset(own | of_regulator), 2 * 1024**2)]


def test_prices_are_used_by_whoever_is_on_the_regulated_tariff(registry: Registry) -> None:
    first, second = add_ready(registry), add_ready(registry, OTHER_METER)
    details, tenants = registry.account_details, registry.tenants
    assert not uses_regulated(registry)
    details.save(first, PRICES, OWN)
    tenants.save_prices(DEFAULT_TENANT, OWN)
    assert not uses_regulated(registry)
    details.save(second, PRICES, REGULATED)
    assert uses_regulated(registry)
    details.remove(second, PRICES)
    tenants.save_prices(DEFAULT_TENANT, REGULATED)
    assert uses_regulated(registry)
