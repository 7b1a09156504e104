"""The model of a check and its results, for `releve doctor`, `releve health` and the operator's page.

The checks of one run share their connections; each connection opens when a check first needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from config.settings import ConfigError, Settings
from worker.errors import WorkerError
from worker.ops.machine import describe_machine_fault
from worker.texts import Message

if TYPE_CHECKING:
    from redis import Redis

    from worker.stores.measures.couchdb import CouchServer
    from worker.stores.registry import Registry


class CheckConnections:
    """Settings and connections for one run of checks.

    ``start_embedded``: start the embedded Redis if no Redis is configured; otherwise only use one that is running.
    ``address``: the URL of web, Flower or metrics, for the checks that call one of these.

    ``stack`` closes all connections. A property raises ConfigError or a WorkerError if its connection can't be opened.
    """

    def __init__(self, settings: Settings, stack: ExitStack, *, start_embedded: bool = True, address: str = "") -> None:
        self.settings = settings
        self.address = address
        self.stack = stack
        self._start_embedded = start_embedded

    @cached_property
    def redis_url(self) -> str:
        if self.stopped_servers and not self._start_embedded:
            raise ConfigError("RELEVE_REDIS_URL is not set, and no embedded Redis runs: start `releve up`, or set it")
        from worker.runtime.stores import redis_address

        return redis_address(self.settings, self.stack)

    @cached_property
    def stopped_servers(self) -> Set[str]:
        """The checks (``redis``, ``broker``) that can't run because the embedded Redis they need is stopped.

        Empty if the server is running or not needed. Only `releve up` keeps it running.
        """
        from worker.stores.redis.embedded import UP_LOCK, is_locked

        folder = self.settings.data_dir
        if self.settings.redis() or is_locked(folder / UP_LOCK) or is_locked(folder / "redis" / "server.lock"):
            return set()
        return {"redis"} if self.settings.broker_address() else {"redis", "broker"}

    @property
    def broker_url(self) -> str:
        return self.settings.broker_options().url or self.redis_url

    @cached_property
    def redis(self) -> Redis:
        from worker.runtime.stores import open_redis

        return open_redis(self.redis_url, self.stack)

    @cached_property
    def registry(self) -> Registry:
        from worker.runtime.keys import Keys
        from worker.runtime.stores import open_registry

        return open_registry(self.settings, self.stack, Keys(self.settings, keep_new=False))

    @property
    def registry_is_current(self) -> bool:
        """Whether the registry exists and has the tables of this version; if not, the registry's own check says why."""
        from worker.stores.registry import migrations

        if missing_sqlite_file(self.settings.registry()):
            return False
        with self.registry.database.reading() as connection:
            return migrations.current_step(connection) == migrations.newest_step()

    @cached_property
    def couchdb(self) -> CouchServer | None:
        """CouchDB with our user; None if the measures are in SQL."""
        from worker.stores.measures import open_couchdb

        try:
            return open_couchdb(self.settings.measures(), self.settings.store_timeout_s)
        except ValueError as error:
            raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None


def missing_sqlite_file(url: str) -> bool:
    """Return whether ``url`` names a SQLite file that does not exist; a connection would create it."""
    from pathlib import Path

    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return parts.get_backend_name() == "sqlite" and "uri" not in parts.query and not Path(parts.database or "").exists()


class Level(Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check (one line of `releve doctor`), or a single finding of a check.

    A finding has an empty ``check``. ``summarize`` makes a check's result from its findings.
    """

    level: Level
    message: Message
    check: str = ""

    @property
    def text(self) -> str:
        """The English text, for commands and logs."""
        return str(self.message)

    def translate(self, language: str) -> str:
        return self.message.translate(language)

    @property
    def failed(self) -> bool:
        return self.level is Level.FAIL

    def as_line(self) -> str:
        return f"{self.level.value:4} {self.check:11} {self.text}"

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "level": self.level.value.lower(), "ok": not self.failed, "told": self.text}


def phrase(key: str, **facts: Any) -> Message:
    """Return the text ``check.KEY`` as a part of another."""
    return Message(f"check.{key}", facts)


def describe_limit(calls: int | None, span: str) -> Message:
    """Return the limit of calls in a second, an hour or a day; it may be none."""
    return phrase(f"limit.{span}" if calls else f"limit.none.{span}", calls=calls)


def _find(level: Level, key: str, check: str = "", **facts: Any) -> CheckResult:
    return CheckResult(level, phrase(key, **facts), check)


# A finding by the key of its text without ``check.``; a text that has no translation is a fact of the key ``told``.
ok: Final = partial(_find, Level.OK)
warn: Final = partial(_find, Level.WARN)
fail: Final = partial(_find, Level.FAIL)
Found = Iterator[CheckResult]
CheckFunction = Callable[[CheckConnections], Iterable[CheckResult]]


def summarize(check: str, found: Iterable[CheckResult]) -> CheckResult:
    """Combine findings into one result: the worst level, with the texts of that level only."""
    results = list(found)
    worst = max((one.level for one in results), key=list(Level).index, default=Level.OK)
    return _find(worst, "several", check, found=[one.message for one in results if one.level is worst])


@dataclass(frozen=True, slots=True)
class Check:
    """Definition of a check.

    ``needs``: names of the checks that must not fail; otherwise this check is skipped. ``applies``: whether there is
    anything to check with these settings; if not, nothing is printed.
    """

    run: CheckFunction
    needs: tuple[str, ...] = ()
    applies: Callable[[Settings], bool] = lambda settings: True


def run_check(name: str, run: CheckFunction, connections: CheckConnections) -> CheckResult:
    try:
        return summarize(name, run(connections))
    except (ConfigError, WorkerError) as error:
        return fail("told", name, text=error)
    except OSError as error:
        if (fault := describe_machine_fault(error)) is None:
            raise
        return fail("told", name, text=fault)
