"""Proof P4: which numbers a meter's display can show, given its registers of the last midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.consents import confirms, parse_displayed

MIDNIGHT = datetime(2024, 7, 24, 22, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)
A_DAY = timedelta(days=1)
TWO = {"HC": 4_321_700, "HP": 7_654_300}
names = st.sets(st.sampled_from(["BASE", "HC", "HP", "BUHC", "BUHP"]), min_size=1)
Registers = dict[str, int]


def before(registers: Registers, *used: Registers) -> dict[datetime, Registers]:
    """Return these registers at the newest midnight, and those before it, by what was used in each day since."""
    midnights = {MIDNIGHT: registers}
    for days, of_day in enumerate(used, 1):
        registers = {name: wh - of_day[name] for name, wh in registers.items()}
        midnights[MIDNIGHT - days * A_DAY] = registers
    return midnights


@given(st.data(), st.integers(0, 80_000), st.floats(0.1, 48))
def test_what_a_display_shows_of_a_home_that_uses_up_to_twice_its_highest_day_is_always_confirmed(
    data: st.DataObject, day_wh: int, hours: float
) -> None:
    registers = {name: data.draw(st.integers(200_000, 99_999_999)) for name in data.draw(names)}
    days = [{name: of_day // len(registers) for name in registers} for of_day in (day_wh // 2, day_wh, day_wh // 3)]
    most_wh = max(10_000, int(2 * sum(days[1].values()) * hours / 24))
    used = data.draw(st.lists(st.integers(0, most_wh // len(registers)), min_size=len(registers)))
    shown = {name: (wh + more) // 1000 for (name, wh), more in zip(registers.items(), used, strict=False)}
    assert confirms(shown, before(registers, *days), MIDNIGHT + timedelta(hours=hours))


@given(st.data(), st.integers(0, 99_999))
def test_a_guess_beyond_what_the_home_uses_is_refused(data: st.DataObject, kwh: int) -> None:
    registers = {"BASE": data.draw(st.integers(100_000, 99_999_999))}
    midnights = before(registers, {"BASE": 12_000}, {"BASE": 30_000}, {"BASE": 7_000})
    possible = registers["BASE"] // 1000 <= kwh <= (registers["BASE"] + 60_000) // 1000
    assert confirms({"BASE": kwh}, midnights, MIDNIGHT + A_DAY) is possible


@pytest.mark.parametrize(
    ("midnights", "most_kwh"),
    [
        (before(TWO), 10),
        (before(TWO, {"HC": 100, "HP": 900}), 10),
        (before(TWO, {"HC": 12_000, "HP": 48_000}), 60),
        ({MIDNIGHT: TWO, MIDNIGHT - 2 * A_DAY: {"HC": 0, "HP": 0}}, 10),
        (before(TWO, {"HC": 1_000, "HP": 9_000}, {"HC": -9_000_000, "HP": 99_000_000}), 10),
        ({**before(TWO, {"HC": 0, "HP": 9_000}), MIDNIGHT - 2 * A_DAY: {"BASE": 1}}, 10),
    ],
    ids=["one midnight", "little use", "much use", "no neighbours", "a new meter", "a new contract"],
)
def test_the_bound_is_twice_the_highest_day_and_never_below_ten_kwh(
    midnights: dict[datetime, Registers], most_kwh: int
) -> None:
    for name in TWO:
        for kwh, is_possible in ((most_kwh, True), (most_kwh + 1, False)):
            shown = {of: wh // 1000 + (kwh if of == name else 0) for of, wh in TWO.items()}
            assert confirms(shown, midnights, NOON) is is_possible


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({"HC": 4321}, "a register is missing"),
        ({"HC": 4321, "HP": 7654, "BASE": 0}, "one too many"),
        ({"BASE": 11975}, "the sum is not each by itself"),
        ({"HC": 4320, "HP": 7654}, "less than at midnight"),
        ({"HC": 4321 + 6, "HP": 7654 + 6}, "both together are more than the home uses"),
        ({}, "nothing"),
    ],
)
def test_a_reading_that_a_display_can_t_show_is_refused(shown: dict[str, int], reason: str) -> None:
    assert not confirms(shown, before(TWO), NOON), reason
    assert confirms({"HC": 4321, "HP": 7654 + 10}, before(TWO), NOON)


def test_without_a_register_nothing_is_confirmed() -> None:
    assert not confirms({}, {}, NOON) and not confirms({}, {MIDNIGHT: {}}, NOON)
    assert not confirms({"BASE": 1}, {NOON: {"BASE": 1000}}, MIDNIGHT)


@pytest.mark.parametrize(
    ("text", "kwh"),
    [("012345", 12345), (" 12 345 ", 12345), ("12345 kWh", 12345), ("0", 0), ("", None), ("12,5", None), ("-1", None),
     ("1" * 10, None), ("١٢", None), ("12345Wh", None)],
)  # fmt: skip
def test_a_display_is_read_in_whole_kwh(text: str, kwh: int | None) -> None:
    assert parse_displayed(text) == kwh
