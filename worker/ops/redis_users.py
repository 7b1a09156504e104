"""Users of Redis (ACL): what each service may read, write and call there, as lines of redis.conf.

kombu puts all of its keys under one prefix, so that queues, bindings, mailboxes and held messages are told apart by
name.  Nobody may change the server's configuration, empty it, stop it or watch what others send.  Keys:
docs/reference/redis-keys.md.  tests/integration/test_redis_users.py tries each user against a real server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.domain.lanes import BROKER_PREFIX, QUEUES

_STATE: Final = "releve:"
_QUEUES: Final = tuple(BROKER_PREFIX + queue for queue in QUEUES)
_BINDINGS: Final = f"{BROKER_PREFIX}_kombu.binding*"
_MAILBOXES: Final = f"{BROKER_PREFIX}*.celery.pidbox"  # Flower asks workers over these, and they answer.
# Every process looks after messages that it holds itself; Flower holds none.  The index has no message, only tags.
_MUTEX: Final = f"{BROKER_PREFIX}unacked_mutex:*"
_INDEX: Final = f"{BROKER_PREFIX}unacked_index:*"
# Channels.  A subscription to a pattern needs the very same pattern here, not a wider one.
_EVENTS: Final = f"{BROKER_PREFIX}/0.celeryev/*"
_WORKER_EVENTS: Final = f"{BROKER_PREFIX}/0.celeryev/worker.*"
_QUESTIONS: Final = f"{BROKER_PREFIX}/0.celery.pidbox"
# INFO is the one dangerous command that is needed: it tells whether keys are evicted.
_CONNECT: Final = ("+@connection", "+@transaction", "+time", "-@admin", "-@dangerous", "+info")
# Scripts have the rights of the user who runs them.
_SCRIPTS: Final = ("+eval", "+evalsha", "+script|load", "+script|exists")
_READ_AND_WRITE: Final = ("+@read", "+@write", "-function", *_SCRIPTS)


@dataclass(frozen=True, slots=True)
class RedisUser:
    """Rights of one user: patterns of keys (``%R~`` to read alone, ``~`` to write too), channels and commands.

    ``more``: rights besides, of which the commands are for these keys alone (a selector, since Redis 7).
    """

    name: str
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def as_line(self, password: str) -> str:
        """Return the user's line of redis.conf, which holds a hash of the password alone."""
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
    # The web application begins work and looks at the queues; messages that workers hold are none of its business.
    RedisUser(
        "web",
        _write(f"{_STATE}[^c]*", f"{_STATE}co*", *_QUEUES, _BINDINGS),
        (),
        (*_READ_AND_WRITE, "-@blocking", *_CONNECT),
    ),
    # Beat sends, and leaves a sign of life.
    RedisUser(
        "beat",
        _write(*_QUEUES, _BINDINGS, f"{_STATE}heartbeat"),
        (),
        ("+lpush", "+llen", "+sadd", "+smembers", "+hset", "+hget", "+hgetall", "+hmget", "+expire", *_CONNECT),
    ),
    # Flower hears events, asks workers how they are, and counts what waits: it can't read or send a task.
    RedisUser(
        "flower",
        (*_write(_BINDINGS, _MAILBOXES, f"{BROKER_PREFIX}celeryev.*", _MUTEX), *_read(_INDEX)),
        (f"&{_EVENTS}", f"&{_QUESTIONS}"),
        ("+@pubsub", *_READ_AND_WRITE, *_CONNECT),
        more=("+llen", *_read(*_QUEUES)),
    ),
    # The figures of the fleet; what is secret or about a person is none of them.  KEDA counts messages by a
    # script, for which Redis asks for the right to write, whatever it calls.
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
    """Return the lines of redis.conf that make the users, from their passwords by name; others are let in nowhere."""
    lines = [user.as_line(passwords[user.name]) for user in REDIS_USERS]
    return "\n".join(("user default off resetpass resetkeys resetchannels -@all", *lines, ""))
