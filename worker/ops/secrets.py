"""The secrets of an installation: which there are, how each is made, who may read which.

Pure but for chance: what an operator gives and what is kept comes in, what is to be kept and handed out goes out.
``worker.cli.secrets`` moves the files.  A *reader* is a service; it gets a folder with its own secrets and no others,
so what a break-in at one can read is what that one needs.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from worker.stores.encryption import SHORTEST_KEY, Sealer, new_key

_PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]{8,}")  # needs no quoting in a URL, an .ini file or redis.conf
APP_ROLE: Final = "releve_app"
OWNER_ROLE: Final = "releve"
DATABASE: Final = "releve"
COUCHDB_ADMIN: Final = "admin"
COUCHDB_USER: Final = "releve"


class SecretRefused(ValueError):
    """What the operator gives can't be used; one line that says what to do and never the value."""


class KeyChange(Enum):
    """What a value given later does to the one that is kept."""

    TAKEN = "replaces it"
    REFUSED = "is refused: a server has written it into its data"
    OVERLAPPING = "replaces it where the two share a key"


@dataclass(frozen=True, slots=True)
class Secret:
    """``variable`` is where the operator may give it; ``make`` makes it where he doesn't."""

    name: str
    variable: str
    make: Callable[[], str]
    check: Callable[[str], str | None]  # what is wrong with a value given, or None
    change: KeyChange = KeyChange.TAKEN


@dataclass(frozen=True, slots=True)
class Addresses:
    """Host and port of each server, as the readers reach it."""

    redis: str = "redis:6379"
    postgres: str = "postgres:5432"
    couchdb: str = "couchdb:5984"


def choose(secret: Secret, kept: str | None, given: str | None) -> str:
    """The value from now on.  Raises SecretRefused."""
    if not given or given == kept:
        return kept or secret.make()
    if fault := secret.check(given):
        raise SecretRefused(f"{secret.variable}: {fault}")
    if kept is not None and secret.change is KeyChange.REFUSED:
        raise SecretRefused(
            f"{secret.variable} is not the password in use, which the server has written into its data: take it out of "
            ".env, or change it as docs/how-to/production.md tells"
        )
    if kept is not None and secret.change is KeyChange.OVERLAPPING and not _keys(kept) & _keys(given):
        raise SecretRefused(
            f"{secret.variable} shares no key with those in use, so what they sealed could not be read: put the new "
            f"key before the old ones (`releve secrets show {secret.name}`), and drop those after `releve keys rotate`"
        )
    return given


def hand_out(values: Mapping[str, str], at: Addresses) -> dict[str, dict[str, str]]:
    """Reader to file name to content, from all secrets by name."""
    redis_url = f"redis://:{values['redis_password']}@{at.redis}/0"
    registry_url = f"postgresql://{APP_ROLE}:{values['postgres_password']}@{at.postgres}/{DATABASE}"
    owner_url = f"postgresql://{OWNER_ROLE}:{values['postgres_admin_password']}@{at.postgres}/{DATABASE}"
    measures_url = f"couchdb+http://{COUCHDB_USER}:{values['couchdb_password']}@{at.couchdb}/"
    admin_url = f"couchdb+http://{COUCHDB_ADMIN}:{values['couchdb_admin_password']}@{at.couchdb}/"
    engine = {
        "redis_url": redis_url,
        "registry_url": registry_url,
        "measures_url": measures_url,
        "token_keys": values["token_keys"],
        "session_key": values["session_key"],
        "enedis_client_secret": values["enedis_client_secret"],
    }
    return {
        "redis": {"redis.conf": f"requirepass {values['redis_password']}\n", "password": values["redis_password"]},
        "postgres": {"admin_password": values["postgres_admin_password"]},
        "couchdb": {"admin_password": values["couchdb_admin_password"]},
        "migrate": {
            "registry_url": registry_url,
            "registry_admin_url": owner_url,
            "measures_url": measures_url,
            "measures_admin_url": admin_url,
        },
        "worker": engine,
        "web": {**engine, "operator_password": values["operator_password"]},
        "beat": {"redis_url": redis_url},
        "flower": {"redis_url": redis_url, "flower_password": values["flower_password"]},
        "metrics": {"redis_url": redis_url, "registry_url": registry_url, "measures_url": measures_url},
        "grafana": {"admin_password": values["grafana_password"]},
    }


# Whom the files of a reader belong to: the user that its image runs as.
OURS: Final = 10_001
OWNERS: Final = {"redis": 999, "postgres": 999, "couchdb": 5984, "grafana": 472}


def _keys(text: str) -> set[str]:
    return {key.strip() for key in text.split(",") if key.strip()}


def _password() -> str:
    return secrets.token_hex(24)


def _plain(value: str) -> str | None:
    return None if _PLAIN.fullmatch(value) else "use 8 or more of the characters A-Z a-z 0-9 . _ ~ -"


def _ascii(value: str) -> str | None:
    return None if value.isascii() and value.isprintable() and len(value) >= 8 else "use 8 or more ASCII characters"


def _sealing_keys(value: str) -> str | None:
    try:
        Sealer([*_keys(value)])
    except ValueError:
        return "needs Fernet keys, comma separated: make one with `releve keys new`"
    return None


def _long(value: str) -> str | None:
    return None if len(value) >= SHORTEST_KEY else f"needs {SHORTEST_KEY} characters or more"


def _anything(value: str) -> str | None:
    return None if value.isprintable() else "must be one line"


SECRETS: Final = (
    Secret("redis_password", "REDIS_PASSWORD", _password, _plain),
    Secret("postgres_admin_password", "POSTGRES_ADMIN_PASSWORD", _password, _plain, KeyChange.REFUSED),
    Secret("postgres_password", "POSTGRES_PASSWORD", _password, _plain),
    Secret("couchdb_admin_password", "COUCHDB_ADMIN_PASSWORD", _password, _plain, KeyChange.REFUSED),
    Secret("couchdb_password", "COUCHDB_PASSWORD", _password, _plain),
    Secret("token_keys", "RELEVE_TOKEN_KEYS", new_key, _sealing_keys, KeyChange.OVERLAPPING),
    Secret("session_key", "RELEVE_SESSION_KEY", lambda: secrets.token_urlsafe(48), _long),
    Secret("operator_password", "RELEVE_OPERATOR_PASSWORD", lambda: secrets.token_urlsafe(18), _ascii),
    Secret("flower_password", "RELEVE_FLOWER_PASSWORD", lambda: secrets.token_urlsafe(18), _ascii),
    Secret("grafana_password", "GRAFANA_PASSWORD", lambda: secrets.token_urlsafe(18), _ascii, KeyChange.REFUSED),
    # what any application of the simulator may say; Enedis gives the real one
    Secret("enedis_client_secret", "RELEVE_ENEDIS_CLIENT_SECRET", lambda: "releve-simulator-secret", _anything),
)
