"""`releve keys`: make an encryption key, and encrypt everything anew under the newest one."""

from __future__ import annotations

from contextlib import ExitStack

import click

from config.settings import get_settings
from worker.runtime.keys import build_sealer
from worker.runtime.stores import open_current_database
from worker.stores.encryption import generate_key
from worker.stores.registry.evidence.older_consents import import_older_consents
from worker.stores.registry.seals import SEALED_COLUMNS, rotate_seals


@click.group()
def keys() -> None:
    """Make a key, or seal all tokens anew under the newest one."""


@keys.command()
def new() -> None:
    """Print a new key, to be put FIRST in RELEVE_TOKEN_KEYS; keep the old ones until `keys rotate` has run.

    \b
    Example:
      RELEVE_TOKEN_KEYS="$(releve keys new),$RELEVE_TOKEN_KEYS"
    """
    click.echo(generate_key())


@keys.command()
def rotate() -> None:
    """Seal all stored tokens, evidence, kept answers and webhooks under the first key; afterwards the others may go.

    \b
    Example:
      releve keys rotate
    """
    settings = get_settings()
    sealer = build_sealer(settings)
    with ExitStack() as stack:
        database = open_current_database(settings, stack)
        import_older_consents(database, sealer)
        for column in SEALED_COLUMNS:
            click.echo(f"{rotate_seals(database, sealer, column)} {column.label} sealed anew")
