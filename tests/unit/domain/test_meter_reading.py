"""Proof P4: which numbers a meter's display can show, given its registers of the last midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.consents import LARGEST_POWER_VA, confirms, parse_displayed

MIDNIGHT = datetime(2024, 7, 24, 22, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)
TWO = {"HC": 4_321_700, "HP": 7_654_300}
names = st.sets(st.sampled_from(["BASE", "HC", "HP", "BUHC", "BUHP"]), min_size=1)


@given(st.data(), st.integers(3, 36), st.floats(0.1, 30))
def test_what_a_display_shows_is_always_confirmed(data: st.DataObject, power_kva: int, hours: float) -> None:
    registers = {name: data.draw(st.integers(0, 99_999_999)) for name in data.draw(names)}
    now, most_wh = MIDNIGHT + timedelta(hours=hours), int(power_kva * 1000 * hours)
    used = data.draw(st.lists(st.integers(0, most_wh // len(registers)), min_size=len(registers)))
    shown = {name: (wh + more) // 1000 for (name, wh), more in zip(registers.items(), used, strict=False)}
    assert confirms(shown, registers, MIDNIGHT, power_kva * 1000, now)


@given(st.data(), st.integers(0, 99_999))
def test_a_guess_beyond_what_the_power_allows_is_refused(data: st.DataObject, kwh: int) -> None:
    registers = {"BASE": data.draw(st.integers(0, 99_999_999))}
    now, power_va = MIDNIGHT + timedelta(hours=24), 6000
    possible = registers["BASE"] // 1000 <= kwh <= (registers["BASE"] + 24 * power_va) // 1000
    assert confirms({"BASE": kwh}, registers, MIDNIGHT, power_va, now) is possible


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({"HC": 4321}, "a register is missing"),
        ({"HC": 4321, "HP": 7654, "BASE": 0}, "one too many"),
        ({"BASE": 11975}, "the sum is not each by itself"),
        ({"HC": 4320, "HP": 7654}, "less than at midnight"),
        ({"HC": 4321 + 60, "HP": 7654 + 60}, "both together are more than the power allows"),
        ({}, "nothing"),
    ],
)
def test_a_reading_that_a_display_can_t_show_is_refused(shown: dict[str, int], reason: str) -> None:
    assert not confirms(shown, TWO, MIDNIGHT, 9000, NOON), reason
    assert confirms({"HC": 4321, "HP": 7654 + 100}, TWO, MIDNIGHT, 9000, NOON)


def test_without_a_register_nothing_is_confirmed() -> None:
    assert not confirms({}, {}, MIDNIGHT, LARGEST_POWER_VA, NOON)
    assert not confirms({"BASE": 1}, {"BASE": 1000}, NOON, LARGEST_POWER_VA, MIDNIGHT)


@pytest.mark.parametrize(
    ("text", "kwh"),
    [("012345", 12345), (" 12 345 ", 12345), ("12345 kWh", 12345), ("0", 0), ("", None), ("12,5", None), ("-1", None),
     ("1" * 10, None), ("١٢", None), ("12345Wh", None)],
)  # fmt: skip
def test_a_display_is_read_in_whole_kwh(text: str, kwh: int | None) -> None:
    assert parse_displayed(text) == kwh
