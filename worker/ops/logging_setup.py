"""Set-up of logging for processes and for commands, with the secrets of the settings masked in every line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import click
from pydantic import SecretStr

from config.settings import ConfigError, Settings, get_settings
from worker import logs
from worker.logs import REDACTOR


def warn(text: str) -> None:
    click.echo(f"releve: {text}", err=True)


# Files of data_dir that are created at first use. ``session.key`` is not listed: only the web application reads that
# key, and ``stored_secret`` masks it when it is read.
_SECRET_FILES: Final = ("token.keys", "flower.password")
_PASSWORDS: Final = re.compile(r"://[^:/@\s]*:([^/\s;,]+)@")
_KEYS: Final = re.compile(r"[A-Za-z0-9_%~+-]{10,}")  # In a notification service's URL any part may be a key.


def configure_process(
    settings: Settings, *, level: int = logging.CRITICAL, logfile: str | Path | None = None, takeover: bool = False
) -> None:
    """Set up logging for a process that keeps running.

    The level is the one in the settings, or ``level`` if that logs more.
    """
    REDACTOR.add_secrets(*known_secrets(settings))
    lowest = min(logging.getLevelNamesMapping()[settings.log_level], level)
    logs.configure(level=lowest, form=settings.log_format, logfile=logfile, takeover=takeover)


def configure_command(*, verbose: bool) -> None:
    """Set up logging for one command in a terminal: errors only, unless ``-v`` or RELEVE_LOG_LEVEL asks for more."""
    level = logging.INFO if verbose else logging.ERROR
    try:
        settings = get_settings()
    except ConfigError:  # The command itself reports the error, if it needs the settings.
        logs.configure(level=level, form="console")
        return
    if "log_level" in settings.model_fields_set:
        level = min(level, logging.getLevelNamesMapping()[settings.log_level])
    REDACTOR.add_secrets(*known_secrets(settings))
    logs.configure(level=level, form=settings.log_format)


def known_secrets(settings: Settings) -> Iterator[str]:
    """Yield all secrets of the settings and of data_dir: of a URL only the secret parts, of a list also each key."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    files = (settings.data_dir / name for name in _SECRET_FILES)
    secrets += [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    yield from (key for url in settings.notify_urls() for key in (*_KEYS.findall(url), *_KEYS.findall(unquote(url))))
    for secret in secrets:
        if "://" in secret:
            yield from _PASSWORDS.findall(secret)
        else:
            yield from re.split(r"[\s,]+", secret)
            yield secret.strip()
