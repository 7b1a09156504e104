"""Keys from the settings, or else made at first use and kept in the data folder; and the mark of a home's data folder.

`releve home add`, `releve import` and a restore set the mark.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from config.settings import ConfigError, Settings
from worker.logs import REDACTOR
from worker.stores.encryption import KeyedHashes, Purpose, Sealer, generate_key

# Files in the data folder.
TOKEN_KEYS: Final = "token.keys"  # noqa: S105 - a file's name
ERASURE_KEYS: Final = "erasure.keys"
SESSION_KEY: Final = "session.key"
_BACKUP_KEYS: Final = "backup.keys"


def build_sealer(settings: Settings, purpose: Purpose, *, keep_new: bool = True) -> Sealer:
    """Return the sealer for a purpose. Raises ConfigError if a key is too short, or the first one is easy to guess.

    ``keep_new=False``: a new key made for lack of one is not stored, so nothing sealed with it can be opened later.
    """
    try:
        return Sealer(_keys_of(settings, purpose, keep_new), purpose)
    except ValueError as error:
        raise ConfigError(f"{purpose.setting}: {error}") from None


class Keys:
    """The sealers and hashes of this process; each reads its keys at first use, which may raise ConfigError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def registry(self) -> Sealer:
        return build_sealer(self._settings, Purpose.REGISTRY)

    @cached_property
    def redis(self) -> Sealer:
        return build_sealer(self._settings, Purpose.REDIS)

    @cached_property
    def broker(self) -> Sealer:
        return build_sealer(self._settings, Purpose.BROKER)

    @cached_property
    def hashes(self) -> KeyedHashes:
        """Hashes that recognize the meters of erased accounts."""
        return build_erasure_hashes(self._settings)


def build_backup_sealer(settings: Settings) -> Sealer:
    """Return the sealer that seals backups. Raises ConfigError as ``build_sealer`` does."""
    return build_sealer(settings, Purpose.BACKUP)


def open_backup_sealer(settings: Settings) -> Sealer:
    """Return the sealer that opens backups. Raises ConfigError also if there is no key: a new one would open none."""
    if not _is_at_hand(settings.backup_keys, settings.data_dir, _BACKUP_KEYS):
        raise ConfigError(
            "no key of backups is given: put it into RELEVE_BACKUP_KEYS, or bring back the file backup.keys of the "
            "data_dir that the backup was made with"
        )
    return build_backup_sealer(settings)


def build_erasure_hashes(settings: Settings, *, keep_new: bool = True) -> KeyedHashes:
    """Return hashes that recognize the meters of erased accounts. Raises ConfigError if a key is too short.

    ``keep_new`` as for ``build_sealer``.
    """
    try:
        return KeyedHashes(_keys(settings.erasure_keys, settings.data_dir, ERASURE_KEYS, _new_key, keep_new))
    except ValueError as error:
        raise ConfigError(f"RELEVE_ERASURE_KEYS: {error}") from None


def session_keys(settings: Settings) -> list[str]:
    """Return the keys for everything that signs a browser in, newest first; only the web application has them."""
    return _keys(settings.session_key, settings.data_dir, SESSION_KEY, _new_key)


def has_session_keys(settings: Settings) -> bool:
    """Return whether the keys of the web application are available here, without making any."""
    return _is_at_hand(settings.session_key, settings.data_dir, SESSION_KEY)


def has_backup_keys(settings: Settings) -> bool:
    """Return whether the keys for a backup are available here, including the ledger's, without making any."""
    return _is_at_hand(settings.backup_keys, settings.data_dir, _BACKUP_KEYS) and has_erasure_keys(settings)


def has_registry_keys(settings: Settings) -> bool:
    """Return whether the keys for a registry are available here, without making any."""
    return _is_at_hand(settings.token_keys, settings.data_dir, TOKEN_KEYS) and has_erasure_keys(settings)


def has_erasure_keys(settings: Settings) -> bool:
    """Return whether the keys of the ledger of erasures are available here, without making any."""
    return _is_at_hand(settings.erasure_keys, settings.data_dir, ERASURE_KEYS)


def _is_at_hand(setting: SecretStr | None, data_dir: Path, file: str) -> bool:
    return bool(setting) or (data_dir / file).exists()


def _keys_of(settings: Settings, purpose: Purpose, keep_new: bool) -> list[str]:
    match purpose.setting:
        case "RELEVE_TOKEN_KEYS":
            return _keys(settings.token_keys, settings.data_dir, TOKEN_KEYS, generate_key, keep_new)
        case "RELEVE_BACKUP_KEYS":
            return _keys(settings.backup_keys, settings.data_dir, _BACKUP_KEYS, generate_key, keep_new)
        case _:
            return _keys(settings.session_key, settings.data_dir, SESSION_KEY, _new_key, keep_new)


def _keys(
    setting: SecretStr | None, data_dir: Path, file: str, make: Callable[[], str], keep_new: bool = True
) -> list[str]:
    """Return the keys of a setting, or else of a file in the data folder, newest first."""
    if setting:
        text = setting.get_secret_value()
    elif keep_new or (data_dir / file).exists():
        text = stored_secret(data_dir, file, make).replace("\n", ",")
    else:
        text = make()
    return [key.strip() for key in text.split(",") if key.strip()]


def _new_key() -> str:
    return secrets.token_urlsafe(48)


def stored_secret(data_dir: Path, name: str, make: Callable[[], str]) -> str:
    """Return the secret in a file of ``data_dir``, which is made at first use.

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


def mark_home(settings: Settings) -> None:
    """Write the mark. Settings that were read before don't have it."""
    mark = settings.home_mark()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("This data folder is that of a home: see `releve home --help`.\n", encoding="utf-8")


def refuse_fleet(settings: Settings) -> None:
    """Raise ConfigError if the settings are those of a fleet."""
    if settings.home is False:
        raise ConfigError("RELEVE_HOME is false: unset it to set up a home")
    if settings.has_enedis_credentials:
        raise ConfigError(
            "this installation has Enedis credentials (RELEVE_ENEDIS_CLIENT_ID): for a home, unset them and set "
            "RELEVE_DATA_DIR to another folder"
        )
