"""Keys, from the settings or from files in the data folder; and the mark of a data folder that belongs to a home.

A missing key is created and stored, unless the caller passes ``keep_new=False``, because it only reads. Such a caller
gets a random key instead, which is not stored and opens nothing. `releve home add`, `releve import` and a restore set
the mark.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from config.settings import PREFIX, ConfigError, Settings
from worker.logs import REDACTOR
from worker.stores.encryption import KeyedHashes, Purpose, Sealer, generate_key

# Files in the data folder.
TOKEN_KEYS: Final = "token.keys"  # noqa: S105 - a file's name
ERASURE_KEYS: Final = "erasure.keys"
SESSION_KEY: Final = "session.key"


def new_key() -> str:
    """Return a new key for hashes or for sessions."""
    return secrets.token_urlsafe(48)


# For each setting: its file, and the function that makes a new key.
_FILES: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "token_keys": (TOKEN_KEYS, generate_key),
    "erasure_keys": (ERASURE_KEYS, new_key),
    "session_key": (SESSION_KEY, new_key),
    "backup_keys": ("backup.keys", generate_key),
}


class Keys:
    """The sealers and hashes of this process; each reads its keys at first use, which may raise ConfigError."""

    def __init__(self, settings: Settings, *, keep_new: bool = True) -> None:
        self._settings, self._keep_new = settings, keep_new

    @cached_property
    def registry(self) -> Sealer:
        return build_sealer(self._settings, Purpose.REGISTRY, keep_new=self._keep_new)

    @cached_property
    def redis(self) -> Sealer:
        return build_sealer(self._settings, Purpose.REDIS, keep_new=self._keep_new)

    @cached_property
    def broker(self) -> Sealer:
        return build_sealer(self._settings, Purpose.BROKER, keep_new=self._keep_new)

    @cached_property
    def hashes(self) -> KeyedHashes:
        """Hashes that recognize the meters of erased accounts."""
        try:
            return KeyedHashes(_read_keys(self._settings, "erasure_keys", self._keep_new))
        except ValueError as error:
            raise ConfigError(f"RELEVE_ERASURE_KEYS: {error}") from None


def build_sealer(settings: Settings, purpose: Purpose, *, keep_new: bool = True) -> Sealer:
    """Return the sealer for a purpose. Raises ConfigError if a key is too short, or the first key is easy to guess."""
    try:
        return Sealer(_read_keys(settings, purpose.setting.removeprefix(PREFIX).lower(), keep_new), purpose)
    except ValueError as error:
        raise ConfigError(f"{purpose.setting}: {error}") from None


def open_backup_sealer(settings: Settings) -> Sealer:
    """Return the sealer that opens backups. Raises ConfigError if no key is given, or a key is unusable."""
    if not has_keys(settings, "backup_keys"):
        raise ConfigError(
            "no key of backups is given: put it into RELEVE_BACKUP_KEYS, or bring back the file backup.keys of the "
            "data_dir that the backup was made with"
        )
    return build_sealer(settings, Purpose.BACKUP)


def session_keys(settings: Settings) -> list[str]:
    """Return the keys that protect the sessions of browsers, newest first; only the web application has these keys."""
    return _read_keys(settings, "session_key")


def has_keys(settings: Settings, *names: str) -> bool:
    """Return whether the keys of all these settings are available here; creates no keys."""
    return all(_given(settings, name) or (settings.data_dir / _FILES[name][0]).exists() for name in names)


def list_places(settings: Settings, *names: str) -> list[str]:
    """Return the settings that give these keys and, if some are not given there, the files in the data folder."""
    given = [f"{PREFIX}{name.upper()}" for name in names if _given(settings, name)]
    return given if len(given) == len(names) else [*given, f"{settings.data_dir}/*.keys"]


def _given(settings: Settings, name: str) -> SecretStr | None:
    given: SecretStr | None = getattr(settings, name)
    return given


def _read_keys(settings: Settings, name: str, keep_new: bool = True) -> list[str]:
    """Return the keys of a setting, or of a file in the data folder, the newest first."""
    file, make = _FILES[name]
    if given := _given(settings, name):
        text = given.get_secret_value()
    elif keep_new or has_keys(settings, name):
        text = stored_secret(settings.data_dir, file, make).replace("\n", ",")
    else:
        text = make()
    return [key.strip() for key in text.split(",") if key.strip()]


def stored_secret(data_dir: Path, name: str, make: Callable[[], str]) -> str:
    """Return the secret in a file of ``data_dir``; create the file if it is missing.

    Two processes that create it at the same time get the same secret: each links a finished file into place, and the
    second link fails.
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


def mark_home(settings: Settings) -> None:
    """Mark the data folder as a home's. Settings that were read before this call lack a home's defaults."""
    mark = settings.home_mark()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("This data folder is that of a home: see `releve home --help`.\n", encoding="utf-8")


def refuse_fleet(settings: Settings) -> None:
    """Raise ConfigError if the settings belong to a fleet."""
    if settings.home is False:
        raise ConfigError("RELEVE_HOME is false: unset it to set up a home")
    if settings.has_enedis_credentials:
        raise ConfigError(
            "this installation has Enedis credentials (RELEVE_ENEDIS_CLIENT_ID): for a home, unset them and set "
            "RELEVE_DATA_DIR to another folder"
        )
