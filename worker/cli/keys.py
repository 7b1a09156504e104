"""`releve keys`: make an encryption key, and encrypt everything anew under the newest one."""

from __future__ import annotations

from contextlib import ExitStack

import click

from config.settings import get_settings
from worker.runtime.keys import build_sealer, has_session_keys
from worker.runtime.stores import open_current_database
from worker.stores.encryption import Purpose, generate_key
from worker.stores.registry.evidence.older_consents import import_older_consents
from worker.stores.registry.seals import SEALED_COLUMNS, WEB_SEALS, rotate_seals


@click.group()
def keys() -> None:
    """Make a key, or seal all tokens anew under the newest one.

    \b
    Example:
      releve keys new
    """


@keys.command()
def new() -> None:
    """Print a new key.

    Put it FIRST in RELEVE_TOKEN_KEYS, and keep the old ones until `keys rotate` has run.

    RELEVE_SESSION_KEY and RELEVE_BACKUP_KEYS take such a key in the same way.

    \b
    Example:
      RELEVE_TOKEN_KEYS="$(releve keys new),$RELEVE_TOKEN_KEYS"
    """
    click.echo(generate_key())


@keys.command()
def rotate() -> None:
    """Seal everything anew under the first key of each setting.

    Afterwards the other keys may go.

    Tokens, evidence, kept answers and webhooks are under RELEVE_TOKEN_KEYS. Sessions, codes, mail addresses and
    operators are under RELEVE_SESSION_KEY, which only the web application has: run the command where it runs, and it
    seals these anew too. Elsewhere it leaves them as they are, and says so.

    \b
    Examples:
      releve keys rotate
      docker compose exec web releve keys rotate
    """
    settings = get_settings()
    sealer = build_sealer(settings, Purpose.REGISTRY)
    with ExitStack() as stack:
        database = open_current_database(settings, stack)
        import_older_consents(database, sealer)
        for column in SEALED_COLUMNS:
            click.echo(f"{rotate_seals(database, sealer, column)} {column.label} sealed anew")
        if not has_session_keys(settings):
            click.echo(
                "sessions, codes, mail addresses and operators stay as they are: RELEVE_SESSION_KEY is not given here; "
                "where the web application runs, this command seals them anew"
            )
            return
        web_sealer = build_sealer(settings, Purpose.WEB_ACCESS)
        for column in WEB_SEALS:
            click.echo(f"{rotate_seals(database, web_sealer, column)} {column.label} sealed anew")
