"""Parsers of suppliers' answers: ``parse`` reads an answer of any series, with the series' parser in ``PARSERS``.

Units and timestamps are converted only here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from worker.domain.answers import Json
from worker.domain.parsing.contracts import parse_contract, parse_gas_contract
from worker.domain.parsing.electricity import parse_daily, parse_load_curve, parse_max_power, parse_registers
from worker.domain.parsing.gas import parse_gas_days, parse_gas_periods
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import Series
from worker.domain.windows import DateWindow

# A parser takes an answer of its series and the requested window. It raises MalformedAnswer for any other answer.
Parser = Callable[[Json, DateWindow], ParsedAnswer]


def parse(payload: Json, series: Series, window: DateWindow) -> ParsedAnswer:
    """Parse the answer to a request for this series and window. Raises MalformedAnswer."""
    return PARSERS[series](payload, window)


def _for(series: Series, parse_series: Callable[[Json, Series], ParsedAnswer]) -> Parser:
    """Return a parser that ignores the window, because the points of the answer have dates of their own."""
    return lambda payload, window: parse_series(payload, series)


PARSERS: Final[Mapping[Series, Parser]] = {
    Series.DAILY: _for(Series.DAILY, parse_daily),
    Series.LOAD_CURVE: _for(Series.LOAD_CURVE, parse_load_curve),
    Series.PRODUCTION_DAILY: _for(Series.PRODUCTION_DAILY, parse_daily),
    Series.PRODUCTION_LOAD_CURVE: _for(Series.PRODUCTION_LOAD_CURVE, parse_load_curve),
    Series.MAX_POWER: _for(Series.MAX_POWER, parse_max_power),
    Series.REGISTERS: _for(Series.REGISTERS, parse_registers),
    Series.PRODUCTION_REGISTERS: _for(Series.PRODUCTION_REGISTERS, parse_registers),
    Series.CONTRACT: parse_contract,
    Series.GAS_DAILY: lambda payload, window: parse_gas_days(payload),
    Series.GAS_PUBLISHED: lambda payload, window: parse_gas_periods(payload),
    Series.GAS_CONTRACT: parse_gas_contract,
}
