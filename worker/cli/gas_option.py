"""Options and commands of gas, which are shown where gas is set up."""

from __future__ import annotations

from typing import Final

import click

from config.settings import ConfigError, get_settings

REFERENCE: Final = "reference"  # A context's object where the commands are only described.


class GasOption(click.Option):
    """An option of gas: ``--help`` shows it where gas is set up."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if shows_gas(ctx) else None


def shows_gas(context: click.Context | None) -> bool:
    """Return whether gas is set up, so that commands show its options; the reference shows them in any case."""
    if context is not None and context.obj == REFERENCE:
        return True
    try:
        return bool(get_settings().grdf_client_id)
    except ConfigError:
        return False
