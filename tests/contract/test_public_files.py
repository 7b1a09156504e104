"""Copies of published files, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

from tests.support.registries import empty_registry
from worker.accounts.prices import load_colours, save_colours
from worker.domain.prices import Colour
from worker.stores.registry import Registry
from worker.stores.registry.dump import TABLES, is_empty, read_rows, restore_rows
from worker.stores.registry.public_files import PublicFile

BASE = PublicFile("Option_Base.csv", "DATE_DEBUT;DATE_FIN\r\n01/08/2025;\r\n", date(2026, 2, 1))
COLOURS = PublicFile("tempo_days.csv", "day,colour\n2026-02-01,BLUE\n", date(2026, 2, 2))


def test_a_file_is_kept_as_it_came_and_a_newer_copy_takes_its_place(registry: Registry) -> None:
    files = registry.public_files
    assert files.load_all() == {}
    files.save("Option_Base.csv", "old", date(2025, 8, 1))
    files.save(COLOURS.name, COLOURS.text, COLOURS.copied_on)
    files.save(BASE.name, BASE.text, BASE.copied_on)
    assert files.load_all() == {BASE.name: BASE, COLOURS.name: COLOURS}


def test_files_come_back_from_a_dump_also_where_others_were_fetched_before(registry: Registry) -> None:
    registry.public_files.save(BASE.name, BASE.text, BASE.copied_on)
    with registry.database.snapshot() as connection:
        rows = {table: list(read_rows(connection, table)) for table in TABLES}
    empty_registry(registry.database)
    registry.public_files.save(BASE.name, "of the new installation", BASE.copied_on + timedelta(days=1))
    registry.public_files.save(COLOURS.name, COLOURS.text, COLOURS.copied_on)
    with registry.database.writing() as connection:
        assert is_empty(connection)
        restore_rows(connection, rows.__getitem__)
    assert registry.public_files.load_all() == {BASE.name: BASE, COLOURS.name: COLOURS}


def test_colours_of_files_that_are_read_at_once_are_all_kept(registry: Registry) -> None:
    days = [date(2026, 2, day) for day in range(1, 9)]
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda day: save_colours(registry, {day: Colour.RED}), days))
    assert list(load_colours(registry)) == days and told == [(1, 0)] * 8


def test_a_source_that_knows_no_colour_yet_leaves_none(registry: Registry) -> None:
    assert save_colours(registry, {}) == (0, 0) and load_colours(registry) == {}
    day = date(2026, 2, 1)
    save_colours(registry, {day: Colour.RED})
    assert save_colours(registry, {}) == (0, 0) and load_colours(registry) == {day: Colour.RED}
    assert save_colours(registry, {day: Colour.WHITE}) == (0, 1) and load_colours(registry) == {day: Colour.WHITE}
