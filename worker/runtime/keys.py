"""Keys from the settings, or made at first use and stored in the data folder."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from config.settings import ConfigError, Settings
from worker.logs import REDACTOR
from worker.stores.encryption import Sealer, Signer, generate_key


def build_sealer(settings: Settings) -> Sealer:
    """Return what seals tokens.  Raises ConfigError where a key is not a key."""
    setting = settings.token_keys.get_secret_value() if settings.token_keys else ""
    text = setting or stored_secret(settings.data_dir, "token.keys", generate_key).replace("\n", ",")
    try:
        return Sealer([key.strip() for key in text.split(",") if key.strip()])
    except ValueError as error:
        raise ConfigError(f"RELEVE_TOKEN_KEYS: {error}") from None


def build_signer(settings: Settings) -> Signer:
    """Return what signs sessions and links.  Raises ConfigError where the key is too short."""
    try:
        return Signer(session_key(settings))
    except ValueError as error:
        raise ConfigError(f"RELEVE_SESSION_KEY: {error}") from None


def session_key(settings: Settings) -> str:
    """Return the key of sessions and links.

    Worker and web need the same key: the same data folder, or RELEVE_SESSION_KEY.
    """
    if settings.session_key:
        return settings.session_key.get_secret_value()
    return stored_secret(settings.data_dir, "session.key", lambda: secrets.token_urlsafe(48)).strip()


def stored_secret(data_dir: Path, name: str, make: Callable[[], str]) -> str:
    """Return the secret in a file of ``data_dir``, made at first use.

    Two processes that start at once agree on one: the file is linked into place as a whole, and the second link fails.
    """
    path = data_dir / name
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{name}.{os.getpid()}.{threading.get_ident()}")
        draft.touch(mode=0o600)
        draft.write_text(make(), encoding="utf-8")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    text = path.read_text(encoding="utf-8")
    REDACTOR.add_secrets(*text.split())
    return text
