"""The corrections of a day: what a removed value became, in words."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW
from worker.accounts.status import correction_to_json
from worker.cli.explain import _to_row
from worker.domain.documents import REMOVED
from worker.domain.series import Doctype
from worker.stores.registry.supplier_answers import Correction


@pytest.mark.parametrize(
    "period, key, became, words",
    [
        (Doctype.DAY, "2024-07-10", 62_500, "0.0625"),
        (Doctype.MINUTE, "2024-07-10T08:00Z", REMOVED, "part of other steps"),
        (Doctype.DAY, "2024-07-10", REMOVED, "nothing (set aside)"),
    ],
)
def test_a_removed_value_says_where_its_energy_went(period: Doctype, key: str, became: int, words: str) -> None:
    assert _to_row(Correction("home1", period, key, 1, became, None, NOW, "r1"))["became (kWh)"] == words


def test_a_value_that_is_there_again_says_where_its_energy_was() -> None:
    back = Correction("home1", Doctype.MINUTE, "2024-07-10T08:00Z", REMOVED, 62_500, None, NOW, "r1")
    assert (_to_row(back)["was (kWh)"], correction_to_json(back)["was_kwh"]) == ("part of other steps", None)
