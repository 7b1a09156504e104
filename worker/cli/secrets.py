"""`releve secrets`: the secrets of an installation, and encryption keys.

Secrets are created once. Each service gets a folder of its own with the secrets that it needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from config.settings import ConfigError, get_settings
from worker.cli.command_audit import Group
from worker.cli.parameters import FILE, confirm_on_terminal, json_option, print_result
from worker.domain.audit_entry import AuditAction
from worker.errors import WorkerError
from worker.ops import installation_secrets
from worker.ops.check_results import CheckConnections
from worker.runtime.keys import build_sealer, has_keys
from worker.runtime.stores import open_current_registry
from worker.stores.encryption import Purpose, generate_key
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry.key_rotation import SEALED_COLUMNS, WEB_SEALS, rotate_seals

KEPT: Final = "kept"  # The folder of the originals; the folders of services hold copies.
_FOLDER: Final = Path("/secrets")
_FOLDER_TYPE: Final = click.Path(file_okay=False, path_type=Path)
_DEFAULT: Final = installation_secrets.Addresses()


@click.group(cls=Group)
def secrets() -> None:
    """Create an installation's secrets or a key, encrypt everything again with the newest key, or show a secret.

    \b
    Example:
      releve secrets add /run/secrets
    """


@secrets.command(audit=AuditAction.KEYS_ROTATE)
def rotate() -> None:
    """Encrypt everything with the first key of each setting.

    You can then remove the other keys.

    RELEVE_TOKEN_KEYS protects tokens, consent proofs, kept answers and webhooks. RELEVE_SESSION_KEY protects sessions,
    codes, mail addresses and operators; only the web application has it. Run the command where the web application
    runs. Elsewhere, data protected by RELEVE_SESSION_KEY stays unchanged, and the command says so. The command names
    workers that still encrypt with another key: keep that key until you have restarted them and rotated again.

    \b
    Examples:
      releve secrets rotate
      docker compose exec web releve secrets rotate
    """
    settings = get_settings()
    sealer = build_sealer(settings, Purpose.REGISTRY)
    with ExitStack() as stack:
        database = open_current_registry(settings, stack).database
        for column in SEALED_COLUMNS:
            click.echo(f"{rotate_seals(database, sealer, column)} {column.label} encrypted again")
        if has_keys(settings, "session_key"):
            web_sealer = build_sealer(settings, Purpose.WEB_ACCESS)
            for column in WEB_SEALS:
                click.echo(f"{rotate_seals(database, web_sealer, column)} {column.label} encrypted again")
        else:
            click.echo(
                "sessions, codes, mail addresses and operators were not changed, because RELEVE_SESSION_KEY is not "
                "set: run this command where the web application runs"
            )
        for line in _describe_other_keys(CheckConnections(settings, stack, start_embedded=False), sealer.fingerprint):
            click.echo(line)


def _describe_other_keys(connections: CheckConnections, fingerprint: str) -> Iterator[str]:
    """Yield a line for each worker that seals with another key than ours, or that doesn't say with which key."""
    if connections.stopped_servers:
        return  # The embedded Redis is stopped, so no worker is running.
    try:
        keys = Heartbeats(connections.redis).first_keys()
    except WorkerError as error:
        yield f"whether workers still encrypt with an old key is not known: {error}"
        return
    for name, key in keys.items():
        if key != fingerprint:
            what = "still encrypts with another key" if key else "does not say with which key it encrypts"
            yield f"{name} {what}: keep the old key, restart the worker, and run this command again"


@secrets.command(audit="it runs at each start, before there is a registry, and stores no key that it makes up")
@click.argument("folder", type=_FOLDER_TYPE, metavar="[FOLDER]", required=False)
@click.option("--key", "only_key", is_flag=True, help="Print a new key instead, and store nothing.")
@click.option("--redis", default=_DEFAULT.redis, show_default=True, help="HOST:PORT of Redis for services.")
@click.option("--postgres", default=_DEFAULT.postgres, show_default=True, help="HOST:PORT of PostgreSQL for services.")
@click.option("--couchdb", default=_DEFAULT.couchdb, show_default=True, help="HOST:PORT of CouchDB for services.")
@click.option("--env-file", type=FILE, help="The operator's secrets, like .env. Default: the environment.")
@json_option
def add(
    folder: Path | None, only_key: bool, redis: str, postgres: str, couchdb: str, env_file: Path | None, as_json: bool
) -> None:
    """Create the secrets of FOLDER, or print a new key.

    Secrets that already exist in FOLDER are kept. Each service gets its own folder with its secrets.

    If the environment has a secret (REDIS_PASSWORD, RELEVE_TOKEN_KEYS, …), its value is stored instead of a generated
    or an earlier value. The value is refused if it would lock you out, because it differs from the password in a
    server's data or lacks the keys in use. If the environment lacks a secret, the existing secret stays. An empty
    RELEVE_WEBHOOK_SECRET or RELEVE_NOTIFY_URL deletes the stored value. If root runs the command, each file belongs to
    the user that reads it.

    Put a new key FIRST in RELEVE_TOKEN_KEYS. Keep the old keys until you have run `releve secrets rotate`.
    RELEVE_SESSION_KEY and RELEVE_BACKUP_KEYS take keys of this kind, too.

    \b
    Examples:
      releve secrets add /secrets
      RELEVE_TOKEN_KEYS="$(releve secrets add --key),$RELEVE_TOKEN_KEYS"
    """
    if only_key == (folder is not None):
        raise click.UsageError("give a FOLDER, or --key")
    if folder is None:
        key = generate_key()
        print_result({"key": key}, key, as_json=as_json)
        return
    known = os.environ.get("SECRETS_SET", "").split()
    given = (
        installation_secrets.read_env_file(env_file.read_text(encoding="utf-8"), known)
        if env_file
        else dict(os.environ)
    )
    sources: dict[str, str] = {}
    values: dict[str, str] = {}
    try:
        for secret in installation_secrets.SECRETS:
            stored = _read(folder, secret)
            values[secret.name] = installation_secrets.choose_value(secret, stored, given.get(secret.variable))
            sources[secret.name] = _source_of(secret, stored, values[secret.name], given)
        for name, value in values.items():
            _write_secret_file(folder / KEPT, name, value, os.geteuid())
        for reader, files in installation_secrets.files_for_services(
            values, installation_secrets.Addresses(redis, postgres, couchdb)
        ).items():
            for name, text in files.items():
                _write_secret_file(
                    folder / reader,
                    name,
                    text,
                    installation_secrets.SERVICE_USERS.get(reader, installation_secrets.RELEVE_USER),
                )
    except OSError as error:
        raise ConfigError(f"secrets can't be kept in {folder}: {error.strerror} ({error.filename})") from None
    lines = [f"{name}: {source}" for name, source in sources.items()]
    print_result(sources, *lines, "`releve secrets show NAME` prints one", as_json=as_json)


@secrets.command(audit=AuditAction.SECRET_SHOW, subject="name")
@click.argument("name", type=click.Choice([secret.name for secret in installation_secrets.SECRETS]), metavar="NAME")
@click.option("--folder", type=_FOLDER_TYPE, default=_FOLDER, show_default=True, help="Folder of the secrets.")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
def show(name: str, folder: Path, yes: bool) -> None:
    """Print the secret NAME, like flower_password.

    On a terminal the command asks for confirmation.

    \b
    Example:
      docker compose run --rm secrets releve secrets show flower_password
    """
    value = _read(folder, next(secret for secret in installation_secrets.SECRETS if secret.name == name))
    if value is None:
        raise ConfigError(f"{folder} has no {name}: run `releve secrets add {folder}` first")
    confirm_on_terminal(f"Print {name} here, where others may read it?", yes, if_not="nothing was printed")
    click.echo(value)


def _source_of(secret: installation_secrets.Secret, stored: str | None, value: str, given: Mapping[str, str]) -> str:
    if not value:
        return "none"
    if value == stored:
        return "kept"
    if value == given.get(secret.variable):
        return f"taken from {secret.variable}"
    return "made"


def _read(folder: Path, secret: installation_secrets.Secret) -> str | None:
    try:
        return (folder / KEPT / secret.name).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def _write_secret_file(folder: Path, name: str, text: str, owner: int) -> None:
    """Write the text to a file that only ``owner`` can read; a reader never sees a file that is half written."""
    folder.mkdir(parents=True, exist_ok=True)
    # The draft is unreadable for others from the start, and replaces the file in one step.
    draft = folder / f".{name}.new"
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o400)
    if os.geteuid() == 0:
        os.chown(draft, owner, owner)
        os.chown(folder, owner, owner)
    folder.chmod(0o700)
    draft.replace(folder / name)
