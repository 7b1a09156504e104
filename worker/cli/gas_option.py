"""Options, commands and names for gas; help texts show them only if gas is set up."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, Final

import click

from config.settings import ConfigError, get_settings
from worker.domain.series import Series, daily_of, of_supplier

REFERENCE: Final = "reference"  # The value of ``Context.obj`` while the command reference is generated.


class GasOption(click.Option):
    """An option for gas, which ``--help`` shows only if gas is set up."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if shows_gas(ctx) else None


class ChoiceWithGas(click.Choice[str]):
    """A choice of words. If gas is not set up, help and error texts leave out the words ``of_gas``."""

    def __init__(self, words: Sequence[str], of_gas: Container[str]) -> None:
        super().__init__(words)
        self._without_gas = click.Choice([word for word in words if word not in of_gas])

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return super().get_metavar(param, ctx) if shows_gas(ctx) else self._without_gas.get_metavar(param, ctx)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        if shows_gas(ctx):
            return super().get_invalid_choice_message(value, ctx)
        return self._without_gas.get_invalid_choice_message(value, ctx)


_OF_GAS: Final = {*Series}.difference(of_supplier(daily_of().description.supplier))  # The series of the gas supplier.
SERIES: Final = ChoiceWithGas([series.value for series in Series], _OF_GAS)


def shows_gas(context: click.Context | None) -> bool:
    """Return whether texts mention gas: True if gas is set up, and always while the reference is generated."""
    if context is not None and context.obj == REFERENCE:
        return True
    try:
        return bool(get_settings().grdf_client_id)
    except ConfigError:
        return False
