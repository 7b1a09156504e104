"""What the checks of one visit share: the settings, and each connection once, opened by the first that asks."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from config.settings import ConfigError, Settings

if TYPE_CHECKING:
    from redis import Redis

    from worker.ops.health.databases import CouchSite
    from worker.stores.registry.database import Database


class CheckConnections:
    """``start_embedded``: start our own Redis where none is named; else only one that runs is looked at.
    ``address`` is that of the door to knock at, where it is not the usual one.

    What is opened is closed by ``opened``.  Raises ConfigError or a WorkerError where something can't be had.
    """

    def __init__(
        self, settings: Settings, opened: ExitStack, *, start_embedded: bool = True, address: str | None = None
    ) -> None:
        self.settings = settings
        self.address = address
        self.opened = opened
        self._start_embedded = start_embedded

    @cached_property
    def redis_url(self) -> str:
        if told := self.settings.redis():
            return told
        if self._start_embedded:
            from worker.runtime.process import redis_url_from

            return redis_url_from(self.settings, self.opened)
        from worker.stores.redis.embedded import ServerFolder

        folder = self.settings.data_dir
        if (folder / "redis").is_dir() and (url := ServerFolder(folder).url):
            return url
        raise ConfigError("RELEVE_REDIS_URL is not set, and no embedded Redis has run here")

    @cached_property
    def redis(self) -> Redis:
        from worker.stores.redis.connection import connect

        redis = connect(self.redis_url)
        self.opened.callback(redis.close)
        return redis

    @cached_property
    def registry(self) -> Database:
        from worker.stores.registry.database import Database

        try:
            database = Database(self.settings.registry())
        except ValueError as error:
            raise ConfigError(f"RELEVE_REGISTRY_URL: {error}") from None
        self.opened.callback(database.close)
        return database

    @cached_property
    def couchdb(self) -> CouchSite | None:
        """None where the measures are in SQL."""
        from worker.ops.health.databases import couch_site

        return couch_site(self.settings.measures(), self.settings.store_timeout_s)


def missing_sqlite_file(url: str) -> bool:
    """Looking at a SQLite file makes it; so where there is none, nobody looks."""
    from pathlib import Path

    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return parts.get_backend_name() == "sqlite" and "uri" not in parts.query and not Path(parts.database or "").exists()
