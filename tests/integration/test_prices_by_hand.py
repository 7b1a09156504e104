"""`releve prices` and `releve cost`: what an account pays, and what its energy costs, by command."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.api_service import TODAY
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.panel_homes import PanelHome, store_home
from tests.support.registries import prepare_registry

HOME = PanelHome(TODAY - timedelta(days=1), days=40, curve_days=40)
OWN = """
supplier = "Énergie du Port"
[[electricity]]
from = 2024-07-01
subscription = 31
hp = 0.25
hc = 0.125
[[electricity]]
from = 2027-02-01
subscription = 31
hp = 0.5
hc = 0.25
[[production]]
from = 2024-01-01
price = 0.1
"""


@pytest.fixture
def home(installation: Installation) -> str:
    prepare_registry(installation.folder)
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False)
        store_home(parts, account.id, HOME)
    return account.id


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def test_nothing_is_assumed_and_what_contract_and_registers_say_is_only_suggested(
    installation: Installation, home: str
) -> None:
    assert (
        f"no price is set for this account: `releve prices set {home} …`"
        in installation.releve("cost", home, code=1).err
    )
    assert installation.releve("prices", "show", home).out.splitlines() == [
        "no prices are set: `releve prices set --help` shows how",
        "its contract and registers suggest: --option hphc --power 6 --hours 22:00-06:00",
    ]


def test_own_prices_by_registers(installation: Installation, home: str) -> None:
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", OWN))
    print(installation.releve("prices", "show", home).out)
    print(installation.releve("cost", home).out)
    print(installation.releve("cost", home, "--by", "month").out)
    print(installation.releve("cost", home, "--by", "hour", "--from", "2024-07-20", "--to", "2024-07-20").out)
    print(installation.releve("cost", home, "--by", "month", "--json").out)
    installation.releve("prices", "set", home, "--option", "base", "--power", "6", "--from", "2024-07-10")
    print(installation.releve("cost", home, "--by", "month").out)
    assert 0
