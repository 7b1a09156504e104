"""Options, commands and names of gas, which are shown where gas is set up."""

from __future__ import annotations

from typing import Any, Final

import click

from config.settings import ConfigError, get_settings
from worker.domain.measures.series import Series

REFERENCE: Final = "reference"  # A context's object where the commands are only described.


class GasOption(click.Option):
    """An option of gas: ``--help`` shows it where gas is set up."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if shows_gas(ctx) else None


class SeriesChoice(click.Choice[str]):
    """The name of a series. Where gas is not set up, help and errors name none of its series."""

    def __init__(self) -> None:
        super().__init__([series.value for series in Series])

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return _shown_choice(ctx).get_metavar(param, ctx)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return _shown_choice(ctx).get_invalid_choice_message(value, ctx)


def _shown_choice(context: click.Context | None) -> click.Choice[str]:
    return click.Choice([series.value for series in Series if not series.is_gas or shows_gas(context)])


def shows_gas(context: click.Context | None) -> bool:
    """Return whether gas is set up, so that commands show its options; the reference shows them in any case."""
    if context is not None and context.obj == REFERENCE:
        return True
    try:
        return bool(get_settings().grdf_client_id)
    except ConfigError:
        return False
