"""A household's own prices: what its file says, the same as it is stored, and one line for each mistake."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.accounts.prices import CHOICES_JSON
from worker.domain.prices import PERIODS, Option, Price, PricesRefused, find_misfit, own_prices
from worker.domain.prices.choices import KINDS, TariffChoices, option_of
from worker.domain.prices.own_prices import check_own_prices, read_own_prices
from worker.domain.windows import ONE_DAY

TEMPO: Final = "\n".join(f"{period} = 0.15" for period in PERIODS[Option.TEMPO])
FILE: Final = """\
supplier = "Énergie du Port"
[[electricity]]
from = 2025-08-01
subscription = 15.65
hp = 0.2065
hc = 0.1579
[[electricity]]
from = 2026-02-01
until = 2026-07-31
subscription = 0
base = 0.1940
[[gas]]
from = 2025-07-01
subscription = 27.30
price = 0.1128
[[production]]
from = 2025-01-01
price = 0.1269
"""
UNNAMED: Final = TariffChoices(
    electricity=(
        Price(
            date(2025, 8, 1), date(2026, 1, 31), {"hp": Decimal("0.2065"), "hc": Decimal("0.1579")}, Decimal("187.80")
        ),
        Price(date(2026, 2, 1), date(2026, 7, 31), {"base": Decimal("0.1940")}),
    ),
    gas=(Price(date(2025, 7, 1), None, {"price": Decimal("0.1128")}, Decimal("327.60")),),
    production=(Price(date(2025, 1, 1), None, {"price": Decimal("0.1269")}),),
)


def named(choices: TariffChoices, supplier: str) -> TariffChoices:
    """Return the prices with the name of their supplier."""
    kinds = {kind: tuple(replace(one, supplier=supplier) for one in getattr(choices, kind)) for kind in KINDS}
    return replace(choices, **kinds)


READ: Final = named(UNNAMED, "Énergie du Port")


def own(choices: TariffChoices) -> list[Price]:
    return [choice for choice in choices.electricity if isinstance(choice, Price)]


def refusal(text: str) -> str:
    with pytest.raises(PricesRefused) as caught:
        read_own_prices(text)
    return str(caught.value)


def test_a_file_gives_prices_of_each_kind_by_the_day() -> None:
    assert read_own_prices(FILE) == READ
    assert [option_of(price) for price in own(READ)] == [Option.HPHC, Option.BASE]
    assert read_own_prices("\ufeff" + FILE.replace("\n", "\r\n")) == READ


def test_the_example_that_people_read_is_such_a_file() -> None:
    text = own_prices.__doc__ or ""
    example = textwrap.dedent(text[text.index("    supplier") : text.index("The blocks of one kind")])
    with_subscription = replace(own(READ)[1], subscription=Decimal("187.80"))
    assert read_own_prices(example) == replace(READ, electricity=(own(READ)[0], with_subscription))


def test_one_kind_is_enough_and_all_periods_of_tempo_are_one_option() -> None:
    prices = read_own_prices(f"[[electricity]]\nfrom = 2025-08-01\nsubscription = 15\n{TEMPO}")
    assert [option_of(price) for price in prices.electricity] == [Option.TEMPO]
    assert own(prices)[0].subscription == 180
    assert (own(prices)[0].supplier, prices.gas, prices.production) == ("", (), ())


def test_a_form_with_the_same_names_gives_the_same_prices() -> None:
    form = {
        "currency": "EUR",
        "gas": [{"from": date(2025, 7, 1), "subscription": Decimal("27.30"), "price": Decimal("0.1128")}],
    }
    assert check_own_prices(form).gas == UNNAMED.gas


ELECTRICITY: Final = "[[electricity]]\nfrom = 2026-02-01\nsubscription = 15.65\nbase = 0.19\n"
WANTED: Final = "base, or hp and hc, or blue_hp and blue_hc and white_hp and white_hc and red_hp and red_hc"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (" 0.19", " -0.19", "[[electricity]] 1, base: must be more than 0, and at most 5 euros"),
        (" 0.19", " 0", "[[electricity]] 1, base: must be more than 0, and at most 5 euros"),
        (" 0.19", " 0.0", "[[electricity]] 1, base: must be more than 0, and at most 5 euros"),
        (" 0.19", " 19.4", "[[electricity]] 1, base: must be more than 0, and at most 5 euros"),
        (" 0.19", " 1e999999", "[[electricity]] 1, base: must be more than 0, and at most 5 euros"),
        (" 0.19", " 1e-999999", "[[electricity]] 1, base: must have at most 8 decimals"),
        (" 0.19", " 0.123456789", "[[electricity]] 1, base: must have at most 8 decimals"),
        (" 0.19", ' "0,19"', "[[electricity]] 1, base: write 0.19, without quotes"),
        (" 0.19", ' "0.19 €"', "[[electricity]] 1, base: write 0.19, without quotes"),
        (" 0.19", ' "cheap"', "[[electricity]] 1, base: must be a number of euros such as 0.19, without quotes"),
        (" 0.19", " true", "[[electricity]] 1, base: must be a number of euros such as 0.19, without quotes"),
        (" 0.19", " nan", "[[electricity]] 1, base: must be a number of euros such as 0.19, without quotes"),
        (" 0.19", " inf", "[[electricity]] 1, base: must be a number of euros such as 0.19, without quotes"),
        (" 0.19", " [0.19]", "[[electricity]] 1, base: must be a number of euros such as 0.19, without quotes"),
        (" 0.19", " 0,19", "line 4: write 0.19"),
        (" 0.19", " 0.19 €", "line 4: not TOML: Expected newline or end of document after a statement"),
        ("15.65", "-15.65", "[[electricity]] 1, subscription: must be at least 0, and at most 1000 euros"),
        ("15.65", "9e999999", "[[electricity]] 1, subscription: must be at least 0, and at most 1000 euros"),
        ("15.65", "false", "[[electricity]] 1, subscription: must be a number of euros such as 0.19, without quotes"),
        ("subscription = 15.65\n", "", "[[electricity]] 1, subscription is missing"),
        ("from = 2026-02-01\n", "", "[[electricity]] 1, from is missing"),
        ("base = 0.19", "", f"[[electricity]] 1, needs {WANTED}"),
        ("base = 0.19", "hp = 0.19", f"[[electricity]] 1, needs {WANTED}"),
        ("base = 0.19", "hp = 1\nhc = 1\nbase = 1", f"[[electricity]] 1, needs {WANTED}"),
        ("base = 0.19", "bsae = 0.19", "[[electricity]] 1, 'bsae' is unknown: did you mean base?"),
        ("subscription", "Subscripton", "[[electricity]] 1, 'Subscripton' is unknown: did you mean subscription?"),
        ("[[electricity]]", "[[electricty]]", "'electricty' is unknown: did you mean electricity?"),
        (
            "[[electricity]]",
            "[electricity]",
            "electricity: write [[electricity]] on a line of its own, with two brackets",
        ),
        ("[[electricity]]", "[[gas]]", "[[gas]] 1, 'base' is unknown: known are from, subscription, until, price"),
        (
            "base = 0.19",
            "[[gas]]\nfrom = 2026-02-01\nsubscription = 1",
            f"[[electricity]] 1, needs {WANTED}",
        ),
        (ELECTRICITY, "[[gas]]\nfrom = 2026-02-01\nsubscription = 1", "[[gas]] 1, needs price"),
        (ELECTRICITY, "[[production]]\nprice = 0.1\n", "[[production]] 1, from is missing"),
        (
            ELECTRICITY,
            "[[production]]\nfrom = 2026-02-01\nprice = 0.1\nsubscription = 1",
            "[[production]] 1, 'subscription' is unknown: known are from, until, price",
        ),
        (ELECTRICITY, "", "it has no prices: write a block [[electricity]] or [[gas]] or [[production]]"),
        (ELECTRICITY, "electricity = 1", "electricity: write [[electricity]] on a line of its own, with two brackets"),
        (
            ELECTRICITY,
            "electricity = [1]",
            "electricity: write [[electricity]] on a line of its own, with two brackets",
        ),
        (
            ELECTRICITY,
            "electricity = []",
            "it has no prices: write a block [[electricity]] or [[gas]] or [[production]]",
        ),
        (
            "2026-02-01",
            '"2026-02-01"',
            "[[electricity]] 1, from: write a day such as 2026-02-01, without quotes and without a time",
        ),
        (
            "2026-02-01",
            "2026-02-01T00:00:00",
            "[[electricity]] 1, from: write a day such as 2026-02-01, without quotes and without a time",
        ),
        ("2026-02-01", "0026-02-01", "[[electricity]] 1, from: the year must be from 2000 to 2099"),
        ("2026-02-01", "2026-02-30", "line 2: not TOML: Invalid date or datetime"),
        (
            "2026-02-01",
            "2026-02-01\nuntil = 2026-01-31",
            "[[electricity]]: the price from 2026-02-01 on ends before it begins, on 2026-01-31",
        ),
        (
            "[[electricity]]",
            'currency = "CHF"\n[[electricity]]',
            'currency: only euros are possible: write "EUR", or leave it out',
        ),
        (
            "[[electricity]]",
            "supplier = 7\n[[electricity]]",
            "supplier: must be a name in quotes of at most 100 characters",
        ),
        (
            "[[electricity]]",
            'supplier = "a\\u0007"\n[[electricity]]',
            "supplier: must be a name in quotes of at most 100 characters",
        ),
        ("[[electricity]]", f"# {'x' * 300}\n[[electricity]]", "line 1: longer than 300 characters"),
        ("base = 0.19", "base = 0.19\nbase = 0.20", "line 5: not TOML: Cannot overwrite a value"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_place(old: str, new: str, reason: str) -> None:
    assert ELECTRICITY.count(old) == 1
    assert refusal(ELECTRICITY.replace(old, new)) == reason


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("from = 2026-02-01", "2026-02-01 has two prices: those from 2026-02-01 and from 2026-02-01 on"),
        ("from = 2025-01-01\nuntil = 2025-12-31", "the days from 2026-01-01 to 2026-01-31 are missing"),
        (
            "from = 2025-01-01\nuntil = 2026-02-01",
            "2026-02-01 has two prices: those from 2025-01-01 and from 2026-02-01 on",
        ),
    ],
)
def test_a_date_twice_a_gap_and_an_overlap_are_told(more: str, reason: str) -> None:
    assert (
        refusal(f"{ELECTRICITY}[[electricity]]\n{more}\nsubscription = 1\nbase = 0.2") == f"[[electricity]]: {reason}"
    )


@pytest.mark.parametrize("price", ["5", "5.0", "0.12345678", "0.00000001"])
def test_prices_up_to_five_euros_and_eight_decimals_are_read(price: str) -> None:
    prices = read_own_prices(ELECTRICITY.replace("0.19", price))
    assert own(prices)[0].energy == {"base": Decimal(price)}


def test_what_is_as_long_as_it_may_be_is_read_and_one_character_more_is_refused() -> None:
    named = f'supplier = "{"é" * 100}"\n#{"x" * 299}\n{ELECTRICITY}'
    full = named + "\n" * (65_536 - len(named.encode()))
    assert own(read_own_prices(full))[0].supplier == "é" * 100
    assert refusal(full + "\n") == "it is larger than 64 kB"
    assert refusal(named.replace("#", "# ")) == "line 2: longer than 300 characters"
    assert refusal(named.replace("é", "éé", 1)) == "supplier: must be a name in quotes of at most 100 characters"


def test_a_file_that_ends_too_soon_is_no_toml() -> None:
    assert refusal("[[gas]]\nfrom = [").startswith("not TOML: ")


def write_toml(prices: TariffChoices, random: Random, *, with_ends: bool) -> str:
    """Return such a file, its blocks in any order; ends are left out where the next block tells them."""
    blocks = []
    for kind in ("electricity", "gas", "production"):
        rows = own(prices) if kind == "electricity" else getattr(prices, kind)
        for price in rows:
            keys = {"from": price.first, **price.energy}
            if price.last and (with_ends or price is rows[-1]):
                keys["until"] = price.last
            if kind != "production":
                keys["subscription"] = price.subscription / 12
            blocks.append("\n".join([f"[[{kind}]]", *(f"{key} = {value}" for key, value in keys.items())]))
    random.shuffle(blocks)
    supplier = next((one.supplier for kind in KINDS for one in getattr(prices, kind)), "")
    return "\n".join([f"supplier = {json.dumps(supplier)}", *blocks])


amounts = st.decimals("0.00001", 5, places=5)
monthly_amounts = st.decimals(0, 200, places=2)


@st.composite
def made_rows(draw: st.DrawFn, kind: str) -> tuple[Price, ...]:
    day = draw(st.dates(date(2015, 1, 1), date(2030, 1, 1)))
    rows: list[Price] = []
    for _ in range(draw(st.integers(0, 4))):
        last = day + timedelta(days=draw(st.integers(0, 400)))
        periods = PERIODS[draw(st.sampled_from(Option))] if kind == "electricity" else ("price",)
        yearly = Decimal(0) if kind == "production" else draw(monthly_amounts) * 12
        rows.append(Price(day, last, {period: draw(amounts) for period in periods}, yearly))
        day = last + ONE_DAY
    is_open = draw(st.booleans())
    if rows and is_open:
        rows[-1] = Price(rows[-1].first, None, rows[-1].energy, rows[-1].subscription)
    return tuple(rows)


made_prices = st.builds(
    named,
    st.builds(TariffChoices, made_rows("electricity"), made_rows("gas"), made_rows("production")),
    st.sampled_from(["", "Énergie du Port", 'L"Autre\\']),
)


@given(made_prices, st.randoms(use_true_random=False), st.booleans())
@many
def test_a_written_file_is_read_back_whatever_the_order_of_its_blocks(
    prices: TariffChoices, random: Random, with_ends: bool
) -> None:
    text = write_toml(prices, random, with_ends=with_ends)
    if prices.electricity or prices.gas or prices.production:
        assert read_own_prices(text) == prices
    else:
        assert refusal(text).startswith("it has no prices")


values = st.sampled_from(
    [
        *("0.19", "1", "-1", "0", "0,19", '"0,19"', "nan", "inf", "1e999999", "1e-999999", "0e-999999", "9" * 290),
        *("true", "[]", "{}", "[[", "{a.b=1}", "''", '"""', "07:30:00"),
        *("2026-02-01", "9999-12-31", "0001-01-01", "2026-02-01T00:00:00Z"),
    ]
)
lines = st.sampled_from(
    ["[[electricity]]", "[electricity]", "[[gas]]", "[[production]]", "[[a.b]]", "electricity = [{}]", "", "#"]
)
keys = st.sampled_from(
    ["from", "until", "subscription", "base", "hp", "hc", "price", "supplier", "currency", "prix", "a.b", '"\\u0000"']
)
assignments = st.tuples(keys, values).map(" = ".join)


@st.composite
def damaged_files(draw: st.DrawFn) -> str:
    """Return a file of which some lines are others."""
    text = draw(
        st.sampled_from([FILE, ELECTRICITY]) | made_prices.map(lambda made: write_toml(made, Random(1), with_ends=True))
    )
    rows = text.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        rows[draw(st.integers(0, len(rows) - 1))] = draw(assignments | lines | st.text(max_size=8))
    return "\n".join(rows)


@given(damaged_files() | st.lists(assignments | lines, max_size=8).map("\n".join) | st.text())
@many
def test_any_text_is_refused_in_one_line_or_gives_possible_prices_that_follow_each_other(text: str) -> None:
    try:
        prices = read_own_prices(text)
    except PricesRefused as refused:
        assert str(refused).isprintable()
        assert len(str(refused)) < 300
        return
    assert CHOICES_JSON.validate_json(CHOICES_JSON.dump_json(prices)) == prices
    for rows in (own(prices), prices.gas, prices.production):
        assert find_misfit(rows) is None
        assert all(0 < amount <= 5 for price in rows for amount in price.energy.values())
        assert all(0 <= price.subscription <= 12_000 for price in rows)


@given(
    st.dictionaries(
        keys | st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.dates(),
            lambda inner: st.lists(inner | st.dictionaries(keys, inner, max_size=3), max_size=2),
            max_leaves=6,
        ),
        max_size=3,
    )
)
@many
def test_any_form_is_refused_or_read(form: dict[str, Any]) -> None:
    try:
        assert check_own_prices(form)
    except PricesRefused as refused:
        assert "\n" not in str(refused)
