"""Secrets of an installation: their names, how each is generated, and which service may read which.

This module does no I/O; ``worker.cli.secrets`` reads and writes the files. The functions here take the stored values
and the operator's values, and return the values to store and the files for each service. Each service gets a folder
with its own secrets only, so that an intruder in one service can read only what that service needs.

One of these files holds the users of Redis (ACL). Its lines, in the form of redis.conf, say what each service may read,
write and call there. kombu puts all of its keys under one prefix, so these lines tell queues, bindings, mailboxes and
workers' messages apart by the rest of the key. No user may change the server's configuration, empty or stop the server,
or watch what others send. Keys: docs/reference/redis-keys.md. tests/integration/test_redis_users.py tries each user
against a real server.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from io import StringIO
from typing import Final

from dotenv import dotenv_values

from config.settings import SIMULATOR_SECRET, ConfigError
from config.validation import MIN_WEBHOOK_SECRET, check_notify_urls
from worker.domain.lanes import BROKER_PREFIX, QUEUES
from worker.runtime.keys import new_key
from worker.stores.encryption import MIN_KEY_LENGTH, check_keys, generate_key

_STATE: Final = "releve:"
_QUEUES: Final = tuple(BROKER_PREFIX + queue for queue in QUEUES)
_BINDINGS: Final = f"{BROKER_PREFIX}_kombu.binding*"
_MAILBOXES: Final = f"{BROKER_PREFIX}*.celery.pidbox"  # Flower's questions to workers, and their answers.
# In each process, kombu uses these two keys to restore messages that the process took and didn't acknowledge. It does
# so in Flower too, although Flower takes no messages. The index contains only the tags of messages.
_MUTEX: Final = f"{BROKER_PREFIX}unacked_mutex:*"
_INDEX: Final = f"{BROKER_PREFIX}unacked_index:*"
# Channels.  A subscription to a pattern needs the very same pattern here, not a wider one.
_EVENTS: Final = f"{BROKER_PREFIX}/0.celeryev/*"
_WORKER_EVENTS: Final = f"{BROKER_PREFIX}/0.celeryev/worker.*"
_QUESTIONS: Final = f"{BROKER_PREFIX}/0.celery.pidbox"
# INFO is the only command of Redis' category ``dangerous`` that is needed: it says whether keys are evicted.
_CONNECT: Final = ("+@connection", "+@transaction", "+time", "-@admin", "-@dangerous", "+info")
# Scripts have the rights of the user who runs them.
_SCRIPTS: Final = ("+eval", "+evalsha", "+script|load", "+script|exists")
_READ_AND_WRITE: Final = ("+@read", "+@write", "-function", *_SCRIPTS)
# A value that matches needs no quoting in a URL, an .ini file or redis.conf.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]{8,}")
APP_ROLE: Final = "releve_app"
OWNER_ROLE: Final = "releve"
DATABASE: Final = "releve"
COUCHDB_ADMIN: Final = "admin"
COUCHDB_USER: Final = "releve"
# The files of a service belong to the user that its image runs as.
RELEVE_USER: Final = 10_001
SERVICE_USERS: Final = {"redis": 999, "postgres": 999, "couchdb": 5984, "grafana": 472}


@dataclass(frozen=True, slots=True)
class RedisUser:
    """Rights of one user: key patterns (``%R~`` for reading only, ``~`` for writing too), channels and commands.

    ``more``: further rights as a selector (since Redis 7), whose commands apply only to the keys named in the selector.
    """

    name: str
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def as_line(self, password: str) -> str:
        """Return the user's line for redis.conf, which has only a hash of the password."""
        digest = hashlib.sha256(password.encode()).hexdigest()
        words = ("on", f"#{digest}", "resetkeys", *self.keys, "resetchannels", *self.channels, "-@all", *self.commands)
        selector = f" ({' '.join(self.more)})" if self.more else ""
        return f"user {self.name} {' '.join(words)}{selector}"


def _write(*patterns: str) -> tuple[str, ...]:
    return tuple(f"~{pattern}" for pattern in patterns)


def _read(*patterns: str) -> tuple[str, ...]:
    return tuple(f"%R~{pattern}" for pattern in patterns)


REDIS_USERS: Final = (
    RedisUser(
        "worker",
        _write(f"{_STATE}*"),
        (f"&{_EVENTS}", f"&{_WORKER_EVENTS}", f"&{_QUESTIONS}"),
        ("+@pubsub", *_READ_AND_WRITE, *_CONNECT),
    ),
    # The web application publishes tasks and looks at the queues; it must not see messages that workers hold.
    RedisUser(
        "web",
        _write(f"{_STATE}[^c]*", f"{_STATE}co*", *_QUEUES, _BINDINGS),
        (),
        (*_READ_AND_WRITE, "-@blocking", *_CONNECT),
    ),
    # Beat publishes messages and writes its heartbeat.
    RedisUser(
        "beat",
        _write(*_QUEUES, _BINDINGS, f"{_STATE}heartbeat"),
        (),
        ("+lpush", "+llen", "+sadd", "+smembers", "+hset", "+hget", "+hgetall", "+hmget", "+expire", *_CONNECT),
    ),
    # Flower receives events, asks workers for their state, and counts waiting messages. It can't read or send a task.
    RedisUser(
        "flower",
        (*_write(_BINDINGS, _MAILBOXES, f"{BROKER_PREFIX}celeryev.*", _MUTEX), *_read(_INDEX)),
        (f"&{_EVENTS}", f"&{_QUESTIONS}"),
        ("+@pubsub", *_READ_AND_WRITE, *_CONNECT),
        more=("+llen", *_read(*_QUEUES)),
    ),
    # The metrics of the fleet include nothing secret or personal. KEDA (an autoscaler) counts messages with a script,
    # for which Redis requires write permission, whatever the script calls.
    RedisUser(
        "metrics",
        _read(
            *(f"{_STATE}{name}" for name in ("heartbeat", "gate:*", "permit:*", "incident:*", "text:audit")),
            *(*_QUEUES, _BINDINGS),
        ),
        (),
        ("+@read", *_CONNECT),
        more=("+llen", "+type", "+eval", "+evalsha", *_write(*_QUEUES)),
    ),
    RedisUser("health", commands=("+ping",)),  # The server's own health check.
)


def redis_conf(passwords: Mapping[str, str]) -> str:
    """Return the lines of redis.conf that define the users; no other user may connect. ``passwords``: by user name."""
    lines = [user.as_line(passwords[user.name]) for user in REDIS_USERS]
    return "\n".join(("user default off resetpass resetkeys resetchannels -@all", *lines, ""))


_OWN_REDIS_PASSWORDS: Final = tuple(user.name for user in REDIS_USERS if user.name != "worker")
# For each Redis user, the name of the secret with that user's password. The workers' secret has kept its name from the
# time when all services shared one password.
_REDIS_PASSWORDS: Final = {"worker": "redis_password"} | {
    user: f"redis_{user}_password" for user in _OWN_REDIS_PASSWORDS
}


class KeyChange(Enum):
    """What happens if the operator's value of a secret differs from the stored value."""

    ALLOWED = "replaces it"
    REFUSED = "is refused: a server has written it into its data"
    OVERLAPPING = "replaces it where the two share a key"


@dataclass(frozen=True, slots=True)
class Secret:
    """Definition of one secret.

    ``variable``: the environment variable in which the operator may set the value. ``make``: generates a value if the
    operator sets none. ``check``: returns what is wrong with an operator's value, or None. ``optional``: only the
    operator can set the secret, and an empty variable removes it.
    """

    name: str
    variable: str
    make: Callable[[], str]
    check: Callable[[str], str | None]
    change: KeyChange = KeyChange.ALLOWED
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Addresses:
    """Host and port of each server, as the services reach it."""

    redis: str = "redis:6379"
    postgres: str = "postgres:5432"
    couchdb: str = "couchdb:5984"


def read_env_file(text: str, known: Collection[str]) -> dict[str, str]:
    """Return the secrets of a file such as .env, by variable. A secret that is not in the file gets an empty text.

    ``known``: the variables for which Compose has a value, from the file or from the environment. Raises ConfigError if
    one of these is not in the file, and for a value that Compose would read differently.
    """
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    given = {secret.variable: values.get(secret.variable) or "" for secret in SECRETS}
    for variable, value in given.items():
        if "$" in value and f"'{value}'" not in text:
            raise ConfigError(f"{variable}: put a value that contains $ between single quotes in .env")
        if not value and variable in known:
            raise ConfigError(f"{variable} is set in the environment, not in .env: write it into .env")
    return given


def choose_value(secret: Secret, stored_value: str | None, operator_value: str | None) -> str:
    """Return the value to use from now on.

    Raises ConfigError if the operator's value can't be used; its one line says what to do and never shows the value.
    """
    if operator_value == "" and secret.optional:
        return ""
    if not operator_value or operator_value == stored_value:
        return stored_value or secret.make()
    if fault := secret.check(operator_value):
        raise ConfigError(f"{secret.variable}: {fault}")
    if stored_value is None:
        return operator_value
    if secret.change is KeyChange.REFUSED:
        raise ConfigError(
            f"{secret.variable} differs from the password in the server's data: remove it from .env, or change it as "
            "in docs/how-to/production.md"
        )
    if secret.change is KeyChange.OVERLAPPING and not _split_keys(stored_value) & _split_keys(operator_value):
        raise ConfigError(
            f"{secret.variable} lacks the keys in use, so stored data could not be decrypted: put the new key before "
            f"the old ones (`releve secrets show {secret.name}`), and remove those after `releve secrets rotate`"
        )
    return operator_value


def files_for_services(values: Mapping[str, str], addresses: Addresses) -> dict[str, dict[str, str]]:
    """Return the content of each file by service and file name, from the values of all secrets by name."""
    postgres = f"{addresses.postgres}/{DATABASE}"
    redis_passwords = {user: values[name] for user, name in _REDIS_PASSWORDS.items()}
    redis_url = {user: f"redis://{user}:{word}@{addresses.redis}/0" for user, word in redis_passwords.items()}
    registry_url = f"postgresql://{APP_ROLE}:{values['postgres_password']}@{postgres}"
    owner_url = f"postgresql://{OWNER_ROLE}:{values['postgres_admin_password']}@{postgres}"
    measures_url = f"couchdb+http://{COUCHDB_USER}:{values['couchdb_password']}@{addresses.couchdb}/"
    admin_url = f"couchdb+http://{COUCHDB_ADMIN}:{values['couchdb_admin_password']}@{addresses.couchdb}/"
    same = ("token_keys", "erasure_keys", "enedis_client_secret", "grdf_client_secret", "webhook_secret", "notify_url")
    runtime_files = {
        "redis_url": redis_url["worker"],
        "registry_url": registry_url,
        "measures_url": measures_url,
        **{name: values[name] for name in same},
    }
    return {
        "redis": {"redis.conf": redis_conf(redis_passwords), "health_password": redis_passwords["health"]},
        "postgres": {"admin_password": values["postgres_admin_password"]},
        "couchdb": {"admin_password": values["couchdb_admin_password"]},
        "migrate": {
            "registry_url": registry_url,
            "registry_admin_url": owner_url,
            "measures_url": measures_url,
            "measures_admin_url": admin_url,
        },
        "worker": {**runtime_files, "rte_client_secret": values["rte_client_secret"]},
        "web": {**runtime_files, "redis_url": redis_url["web"], "session_key": values["session_key"]},
        "backup": {**runtime_files, "backup_keys": values["backup_keys"]},
        "beat": {"redis_url": redis_url["beat"]},
        "flower": {"redis_url": redis_url["flower"], "flower_password": values["flower_password"]},
        "metrics": {"redis_url": redis_url["metrics"], "registry_url": registry_url, "measures_url": measures_url},
        "grafana": {"admin_password": values["grafana_password"], "influxdb_password": values["influxdb_password"]},
    }


def _split_keys(text: str) -> set[str]:
    return {key.strip() for key in text.split(",") if key.strip()}


def _new_password() -> str:
    return secrets.token_hex(24)


def _check_plain(value: str) -> str | None:
    return None if _PLAIN.fullmatch(value) else "use 8 or more of the characters A-Z a-z 0-9 . _ ~ -"


def _check_ascii(value: str) -> str | None:
    return None if value.isascii() and value.isprintable() and len(value) >= 8 else "use 8 or more ASCII characters"


def _check_sealing_keys(value: str) -> str | None:
    try:
        check_keys([key.strip() for key in value.split(",") if key.strip()])
    except ValueError as error:
        return str(error)
    return None


def _check_hash_keys(value: str) -> str | None:
    short = any(len(key) < MIN_KEY_LENGTH for key in _split_keys(value))
    return f"needs keys of {MIN_KEY_LENGTH} characters or more, comma separated" if short else None


def _check_webhook_secret(value: str) -> str | None:
    if len(value) < MIN_WEBHOOK_SECRET:
        return f"needs at least {MIN_WEBHOOK_SECRET} characters: make one with `openssl rand -hex 32`"
    return _check_one_line(value)


def _check_notify_url(value: str) -> str | None:
    try:
        check_notify_urls(value)
    except ValueError as error:
        return str(error)
    return _check_one_line(value)


def _check_one_line(value: str) -> str | None:
    return None if value.isprintable() else "must be one line"


SECRETS: Final = (
    Secret("redis_password", "REDIS_PASSWORD", _new_password, _check_plain),
    *(
        Secret(f"redis_{user}_password", f"REDIS_{user.upper()}_PASSWORD", _new_password, _check_plain)
        for user in _OWN_REDIS_PASSWORDS
    ),
    Secret("postgres_admin_password", "POSTGRES_ADMIN_PASSWORD", _new_password, _check_plain, KeyChange.REFUSED),
    Secret("postgres_password", "POSTGRES_PASSWORD", _new_password, _check_plain),
    Secret("couchdb_admin_password", "COUCHDB_ADMIN_PASSWORD", _new_password, _check_plain, KeyChange.REFUSED),
    Secret("couchdb_password", "COUCHDB_PASSWORD", _new_password, _check_plain),
    Secret("token_keys", "RELEVE_TOKEN_KEYS", generate_key, _check_sealing_keys, KeyChange.OVERLAPPING),
    Secret("erasure_keys", "RELEVE_ERASURE_KEYS", new_key, _check_hash_keys, KeyChange.OVERLAPPING),
    Secret("backup_keys", "RELEVE_BACKUP_KEYS", generate_key, _check_sealing_keys, KeyChange.OVERLAPPING),
    Secret("session_key", "RELEVE_SESSION_KEY", new_key, _check_sealing_keys),
    Secret("flower_password", "RELEVE_FLOWER_PASSWORD", lambda: secrets.token_urlsafe(18), _check_ascii),
    Secret("grafana_password", "GRAFANA_PASSWORD", lambda: secrets.token_urlsafe(18), _check_ascii, KeyChange.REFUSED),
    # The generated values are those of the simulator; Enedis and GRDF issue the real ones.
    Secret("enedis_client_secret", "RELEVE_ENEDIS_CLIENT_SECRET", lambda: SIMULATOR_SECRET, _check_one_line),
    Secret("grdf_client_secret", "RELEVE_GRDF_CLIENT_SECRET", lambda: SIMULATOR_SECRET, _check_one_line),
    Secret("rte_client_secret", "RELEVE_RTE_CLIENT_SECRET", str, _check_one_line, optional=True),
    Secret("webhook_secret", "RELEVE_WEBHOOK_SECRET", str, _check_webhook_secret, optional=True),
    Secret("notify_url", "RELEVE_NOTIFY_URL", str, _check_notify_url, optional=True),
    Secret("influxdb_password", "INFLUXDB_PASSWORD", str, _check_one_line, optional=True),
)
