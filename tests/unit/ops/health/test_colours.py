"""The check of Tempo's colours: the newest with its age, where an account is on Tempo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.registries import KEY, add_ready, opened_registry, prepare_registry
from tests.unit.ops.health.conftest import BuildConnections, assert_result, result_of
from worker.accounts.prices import save_colours, set_prices
from worker.domain.account import DEFAULT_TENANT
from worker.domain.prices import Colour, Option
from worker.ops.check_results import CheckResult, Level
from worker.ops.supplier_checks import check_colours
from worker.stores.registry import Registry

FILES_ONLY = "RELEVE_RTE_CLIENT_ID and its secret are not set, so colours come only from files (`releve prices tempo`)"
APPLICATION = {"rte_client_id": "our-id", "rte_client_secret": "s3cret"}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    prepare_registry(tmp_path)
    with opened_registry(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        yield registry


def found(build: BuildConnections, moment: str, **settings: Any) -> Iterable[CheckResult]:
    pretended = {"pretend_now": f"{moment}+01:00", "token_keys": KEY}
    return check_colours(build(**pretended, **APPLICATION | settings))


def test_without_a_home_on_tempo_there_is_nothing_to_tell(
    build_connections: BuildConnections, tmp_path: Path, registry: Registry
) -> None:
    set_prices(registry, DEFAULT_TENANT, regulated=(Option.BASE, 6))
    assert_result(found(build_connections, "2026-01-15T12:00"), Level.OK, "no account is on Tempo")
    (tmp_path / "registry.db").unlink()
    assert_result(found(build_connections, "2026-01-15T12:00"), Level.OK, "no account is on Tempo")
    assert not (tmp_path / "registry.db").exists()


@pytest.mark.parametrize(
    ("moment", "level", "age"),
    [
        ("2026-01-14T12:00", Level.OK, "tomorrow's"),
        ("2026-01-15T23:59", Level.OK, "today's"),
        ("2026-01-16T00:01", Level.WARN, "yesterday's"),
        ("2026-01-25T12:00", Level.WARN, "10 days old"),
    ],
)
def test_the_newest_colour_is_told_and_a_warning_given_where_todays_is_unknown(
    build_connections: BuildConnections, registry: Registry, moment: str, level: Level, age: str
) -> None:
    set_prices(registry, registry.accounts.get_existing(add_ready(registry)), regulated=(Option.TEMPO, 6))
    save_colours(registry, {date(2026, 1, 15): Colour.RED, date(2025, 1, 1): Colour.BLUE})
    assert_result(found(build_connections, moment), level, f"the newest colour is red, of 2026-01-15 ({age})")
    hint = "`colours not updated`"
    text = result_of(found(build_connections, moment)).text
    assert (hint in text) is (level is Level.WARN) and FILES_ONLY not in text
    for lacking in APPLICATION:
        assert_result(found(build_connections, moment, **{lacking: None}), level, FILES_ONLY)
    assert hint not in result_of(found(build_connections, moment, rte_client_id=None)).text


def test_a_home_that_has_left_tempo_needs_no_newer_colour(
    build_connections: BuildConnections, registry: Registry
) -> None:
    account = registry.accounts.get_existing(add_ready(registry))
    set_prices(registry, account, regulated=(Option.TEMPO, 6))
    assert_result(found(build_connections, "2026-01-15T12:00"), Level.WARN, "no colour is known")
    set_prices(registry, account, regulated=(Option.BASE, 6), first=date(2026, 1, 11))
    save_colours(registry, {date(2026, 1, 10): Colour.WHITE})
    assert_result(found(build_connections, "2026-01-15T12:00"), Level.OK, "white, of 2026-01-10 (5 days old)")
