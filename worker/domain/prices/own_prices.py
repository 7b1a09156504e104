"""A household's own prices: a file that a person writes (TOML), or the same from a form.

    supplier = "Énergie du Port"    # If you like.
    currency = "EUR"                # May be left out; nothing else is possible.

    [[electricity]]                 # One block for each time that prices changed.
    from = 2025-08-01               # The first day.
    subscription = 15.65            # Euros a month, 0 where there is none.
    hp = 0.2065                     # Euros a kWh with all taxes; or base, or blue_hp, blue_hc, white_hp, …
    hc = 0.1579

    [[electricity]]
    from = 2026-02-01
    until = 2026-07-31              # The last day. Without it: up to the next block, or until further notice.
    subscription = 15.65
    base = 0.1940

    [[gas]]
    from = 2025-07-01
    subscription = 27.30
    price = 0.1128

    [[production]]                  # What you are paid for the energy that you sell.
    from = 2025-01-01
    price = 0.1269

The blocks of one kind leave no gap and don't overlap; their order is free.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from itertools import chain
from typing import Any, Final

from worker.domain.prices import HIGHEST_PRICE, HIGHEST_SUBSCRIPTION, PERIODS, Price, PricesRefused, find_misfit
from worker.domain.prices.choices import KINDS, TariffChoices
from worker.domain.windows import ONE_DAY

MAX_BYTES: Final = 64 * 1024
_YEARS: Final = range(2000, 2100)
_MOST_PLACES: Final = 8
_LONGEST: Final = 100  # Characters of a name, or of what is quoted.
_LONGEST_LINE: Final = 300  # Names with thousands of parts would take the reader of TOML seconds.
_COMMA: Final = re.compile(r"\s*(\d{1,6})[.,](\d{1,8})\s*(?:€|eur|euros?)?\s*", re.ASCII | re.IGNORECASE)
_ASSIGNED_COMMA: Final = re.compile(r"=\s*(\d{1,6}),(\d{1,8})", re.ASCII)
_LINE_OF_ERROR: Final = re.compile(r"(.*) \(at line (\d+), column \d+\)")


def read_own_prices(text: str) -> TariffChoices:
    """Return what a file in TOML says. Raises PricesRefused."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise PricesRefused(f"it is larger than {MAX_BYTES // 1024} kB")
    text = text.removeprefix("\ufeff")
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_LINE:
            raise PricesRefused(f"line {number}: longer than {_LONGEST_LINE} characters")
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise PricesRefused(_explain_syntax(str(error), lines)) from None
    return check_own_prices(document)


def check_own_prices(document: Mapping[str, Any]) -> TariffChoices:
    """Return the prices of a parsed file, or of a form with the same names. Raises PricesRefused."""
    _refuse_unknown(document, ("supplier", "currency", *KINDS))
    supplier, currency = document.get("supplier", ""), document.get("currency", "EUR")
    if currency != "EUR":
        raise PricesRefused('currency: only euros are possible: write "EUR", or leave it out')
    if not isinstance(supplier, str) or not supplier.isprintable() or len(supplier) > _LONGEST:
        raise PricesRefused(f"supplier: must be a name in quotes of at most {_LONGEST} characters")
    kinds: dict[str, Any] = {kind: _read_blocks(kind, document.get(kind, []), supplier) for kind in KINDS}
    if not any(kinds.values()):
        raise PricesRefused(f"it has no prices: write a block {' or '.join(f'[[{kind}]]' for kind in KINDS)}")
    return TariffChoices(**kinds)


def _explain_syntax(error: str, lines: Sequence[str]) -> str:
    match = _LINE_OF_ERROR.fullmatch(error)
    if match is None:
        return f"not TOML: {error[:_LONGEST]}"
    comma = _ASSIGNED_COMMA.search(lines[int(match[2]) - 1])
    reason = f"write {comma[1]}.{comma[2]}" if comma else f"not TOML: {match[1][:_LONGEST]}"
    return f"line {match[2]}: {reason}"


def _refuse_unknown(block: Mapping[str, Any], known: Sequence[str], place: str = "") -> None:
    for key in block:
        if key not in known:
            like = get_close_matches(key.lower(), known, n=1)
            hint = f"did you mean {like[0]}?" if like else f"known are {', '.join(known)}"
            raise PricesRefused(f"{place}{key[:_LONGEST]!r} is unknown: {hint}")


def _read_blocks(kind: str, blocks: Any, supplier: str) -> tuple[Price, ...]:
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise PricesRefused(f"{kind}: write [[{kind}]] on a line of its own, with two brackets")
    read = (_read_block(kind, f"[[{kind}]] {number}, ", block) for number, block in enumerate(blocks, 1))
    in_order = sorted(read, key=lambda price: price.first)
    # One without a last day lasts until the next begins.
    ends = [*(after.first - ONE_DAY for after in in_order[1:]), None]
    paired = zip(in_order, ends, strict=False)
    prices = tuple(replace(price, last=price.last or end, supplier=supplier) for price, end in paired)
    if misfit := find_misfit(prices):
        raise PricesRefused(f"[[{kind}]]: {misfit}")
    return prices


def _read_block(kind: str, place: str, block: Mapping[str, Any]) -> Price:
    options = list(PERIODS.values()) if kind == "electricity" else [("price",)]
    needed = ["from"] if kind == "production" else ["from", "subscription"]
    _refuse_unknown(block, [*needed, "until", *chain(*options)], place)
    periods = tuple(period for period in chain(*options) if period in block)
    energy = {period: _read_amount(f"{place}{period}: ", block[period], HIGHEST_PRICE) for period in periods}
    if lacking := [key for key in needed if key not in block]:
        raise PricesRefused(f"{place}{lacking[0]} is missing")
    if periods not in options:
        raise PricesRefused(f"{place}needs {', or '.join(' and '.join(option) for option in options)}")
    highest = HIGHEST_SUBSCRIPTION / 12
    monthly = _read_amount(f"{place}subscription: ", block.get("subscription", 0), highest, may_be_0=True)
    first = _read_day(f"{place}from: ", block["from"])
    last = _read_day(f"{place}until: ", block["until"]) if "until" in block else None
    return Price(first, last, energy, 12 * monthly)


def _read_day(place: str, raw: Any) -> date:
    if not isinstance(raw, date) or isinstance(raw, datetime):
        raise PricesRefused(f"{place}write a day such as 2026-02-01, without quotes and without a time")
    if raw.year not in _YEARS:
        raise PricesRefused(f"{place}the year must be from {_YEARS[0]} to {_YEARS[-1]}")
    return raw


def _read_amount(place: str, raw: Any, highest: Decimal, *, may_be_0: bool = False) -> Decimal:
    if isinstance(raw, str) and (comma := _COMMA.fullmatch(raw)):
        raise PricesRefused(f"{place}write {comma[1]}.{comma[2]}, without quotes")
    if isinstance(raw, bool) or not isinstance(raw, int | Decimal) or not Decimal(raw).is_finite():
        raise PricesRefused(f"{place}must be a number of euros such as 0.19, without quotes")
    if not 0 <= raw <= highest or (raw == 0 and not may_be_0):
        raise PricesRefused(f"{place}must be {'at least' if may_be_0 else 'more than'} 0, and at most {highest} euros")
    if -int(Decimal(raw).as_tuple().exponent) > _MOST_PLACES:
        raise PricesRefused(f"{place}must have at most {_MOST_PLACES} decimals")
    return Decimal(raw)
