"""Logging as the settings want it, for each door; what secrets they hold, the mask is told first."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from config.settings import ConfigError, Settings
from worker import logs
from worker.logs import REDACTOR

_KEPT_SECRETS: Final = ("token.keys", "session.key", "flower.password")  # in data_dir, made at first use
_PASSWORDS: Final = re.compile(r"://[^:/@\s]*:([^/\s;,]+)@")


def configure_process(
    settings: Settings, *, level: int = logging.CRITICAL, logfile: str | Path | None = None, takeover: bool = False
) -> None:
    """For what runs on: at the level of the settings, or at ``level`` where that tells more."""
    REDACTOR.learn(*known_secrets(settings))
    told = min(logging.getLevelNamesMapping()[settings.log_level], level)
    logs.configure(level=told, form=settings.log_format, logfile=logfile, takeover=takeover)


def configure_command(*, verbose: bool) -> None:
    """For one command at a terminal: errors alone, unless asked for more by ``-v`` or RELEVE_LOG_LEVEL."""
    level = logging.INFO if verbose else logging.ERROR
    try:
        settings = Settings.from_env()
    except ConfigError:  # the command says so itself, if it needs them
        logs.configure(level=level, form="console")
        return
    if "log_level" in settings.model_fields_set:
        level = min(level, logging.getLevelNamesMapping()[settings.log_level])
    REDACTOR.learn(*known_secrets(settings))
    logs.configure(level=level, form=settings.log_format)


def known_secrets(settings: Settings) -> Iterator[str]:
    """All that the settings keep secret, passwords within URLs and keys within lists one by one."""
    told = (getattr(settings, name) for name in type(settings).model_fields)
    secrets = [value.get_secret_value() for value in told if isinstance(value, SecretStr)]
    files = (settings.data_dir / name for name in _KEPT_SECRETS)
    secrets += [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    for secret in secrets:
        if "://" in secret:
            yield from _PASSWORDS.findall(secret)
        else:
            yield from re.split(r"[\s,]+", secret)
            yield secret.strip()
