"""`releve keys`: make an encryption key, and encrypt everything again with the newest one."""

from __future__ import annotations

from contextlib import ExitStack

import click

from config.settings import get_settings
from worker.runtime.keys import build_sealer, has_session_keys
from worker.runtime.stores import open_current_database
from worker.stores.encryption import Purpose, generate_key
from worker.stores.registry.evidence import import_older_consents
from worker.stores.registry.key_rotation import SEALED_COLUMNS, WEB_SEALS, rotate_seals


@click.group()
def keys() -> None:
    """Create a key, or encrypt everything again with the newest one.

    \b
    Example:
      releve keys new
    """


@keys.command()
def new() -> None:
    """Print a new key.

    Put it FIRST in RELEVE_TOKEN_KEYS. Keep the old ones until you have run `keys rotate`.

    RELEVE_SESSION_KEY and RELEVE_BACKUP_KEYS take such keys, too.

    \b
    Example:
      RELEVE_TOKEN_KEYS="$(releve keys new),$RELEVE_TOKEN_KEYS"
    """
    click.echo(generate_key())


@keys.command()
def rotate() -> None:
    """Encrypt everything with the first key of each setting.

    You can then remove the other keys.

    RELEVE_TOKEN_KEYS protects tokens, consent proofs, kept answers and webhooks. RELEVE_SESSION_KEY protects sessions,
    codes, mail addresses and operators; only the web application has it. Run the command where the web application
    runs. Elsewhere the command leaves what RELEVE_SESSION_KEY protects unchanged, and says so.

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
            click.echo(f"{rotate_seals(database, sealer, column)} {column.label} encrypted again")
        if not has_session_keys(settings):
            click.echo(
                "sessions, codes, mail addresses and operators were not changed, because RELEVE_SESSION_KEY is not "
                "set: run this command where the web application runs"
            )
            return
        web_sealer = build_sealer(settings, Purpose.WEB_ACCESS)
        for column in WEB_SEALS:
            click.echo(f"{rotate_seals(database, web_sealer, column)} {column.label} encrypted again")
