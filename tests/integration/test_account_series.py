"""`releve accounts series`: what an account is asked for, shown and chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.commands import CommandResult
from tests.support.installation import new_installation
from tests.support.registries import add_ready, new_registry
from worker.domain.series import USUAL_SERIES, Series, of_supplier
from worker.stores.registry import Registry

Releve = Callable[..., CommandResult]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with new_registry(tmp_path) as registry:
        yield registry


@pytest.fixture
def releve(tmp_path: Path, redis_url: str) -> Releve:
    return partial(new_installation(tmp_path, redis_url).run, "accounts", "series")


def test_every_series_is_shown_and_those_that_are_asked_for(releve: Releve, registry: Registry) -> None:
    account_id = add_ready(registry)
    shown = json.loads(releve(account_id, "--json").out)
    assert list(shown["series"]) == of_supplier("enedis")
    asked = [name for name, state in shown["series"].items() if state["collected"]]
    assert asked == list(USUAL_SERIES)
    assert {state["switch"] for state in shown["series"].values()} == {"fleet"}
    table = releve(account_id).out
    assert "max_power" in table and "asked for" in table


def test_series_are_switched_on_and_off_and_back(releve: Releve, registry: Registry) -> None:
    account_id = add_ready(registry)
    ended = releve(account_id, "--on", "max_power", "--on", "registers", "--off", "load_curve", "--json")
    assert ended.code == 0, ended.err
    assert registry.outcomes.collected(account_id) == [Series.DAILY, Series.MAX_POWER, Series.REGISTERS]
    assert json.loads(ended.out)["series"]["load_curve"]["switch"] == "off"
    assert releve(account_id, "--fleet", "load_curve", "--off", "registers").code == 0
    assert registry.outcomes.collected(account_id) == [*USUAL_SERIES, Series.MAX_POWER]


@pytest.mark.parametrize(
    "words, reason",
    [
        (("--on", "gas"), "'gas' is not one of"),
        (("--on", "daily", "--off", "daily"), "one of --on, --off and --fleet"),
    ],
)
def test_what_can_not_be_chosen_is_refused_in_one_line(
    releve: Releve, registry: Registry, words: tuple[str, ...], reason: str
) -> None:
    account_id = add_ready(registry)
    ended = releve(account_id, *words)
    assert ended.code != 0 and reason in ended.err
    assert registry.outcomes.collected(account_id) == list(USUAL_SERIES)


def test_a_series_that_the_generation_does_not_have_is_refused(
    tmp_path: Path, redis_url: str, registry: Registry
) -> None:
    account_id = add_ready(registry)
    v5 = new_installation(tmp_path, redis_url, preset="enedis-v5")
    ended = v5.run("accounts", "series", account_id, "--on", "max_power", "--on", "registers")
    assert ended.code != 0 and "does not offer registers" in ended.err
    assert registry.outcomes.collected(account_id) == list(USUAL_SERIES), "nothing was changed"
    assert "not offered" in v5.run("accounts", "series", account_id).out


def test_an_unknown_account_is_refused(releve: Releve, registry: Registry) -> None:
    ended = releve("k3q7d0fr2mxx", "--on", "daily")
    assert ended.code != 0 and "no account" in ended.error_line
