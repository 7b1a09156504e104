"""Stores from the settings: the registry, the measures, Redis."""

from __future__ import annotations

from contextlib import ExitStack

from config.settings import ConfigError, Settings
from worker.domain.lanes import BROKER_PREFIX
from worker.stores.database import Database
from worker.stores.measures import InstrumentedStore, open_measures
from worker.stores.measures.measure_store import Layout
from worker.stores.redis.connection import connect, is_redis
from worker.stores.redis.heartbeats import BrokerMessages
from worker.stores.registry.migrations import require_schema


def open_database(settings: Settings, opened: ExitStack) -> Database:
    """Return the registry's database, its tables as they are; ``opened`` closes it.

    It connects at first use.  Raises ConfigError where its address can't be one.
    """
    try:
        database = Database(settings.registry())
    except ValueError as error:
        raise ConfigError(f"RELEVE_REGISTRY_URL: {error}") from None
    opened.callback(database.close)
    return database


def open_current_database(settings: Settings, opened: ExitStack) -> Database:
    """Return the registry's database with the tables of this version; ``opened`` closes it.

    Raises ConfigError, StoreUnavailable, and OperatorFault for older tables.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = open_database(settings, opened)
    require_schema(database)
    return database


def build_measures(
    settings: Settings, opened: ExitStack, layout: Layout | None = None, *, guarded: bool = False
) -> InstrumentedStore:
    """Return the measure store in the layout of the settings, or in another one; ``opened`` closes it.

    A ``guarded`` store refuses to work where the measures are laid out in the other way.  Raises ConfigError where the
    URL can't be a store's, or not with this layout.
    """
    try:
        measures = open_measures(
            settings.measures(),
            timeout_s=settings.store_timeout_s,
            shards=settings.couchdb_shards,
            replicas=settings.couchdb_replicas,
            layout=layout or settings.layout,
            guarded=guarded,
        )
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None
    opened.callback(measures.close)
    return measures


def redis_address(settings: Settings, resources: ExitStack) -> str:
    """Return the URL of Redis: of the settings, or of the embedded server that all of this user's commands share."""
    address = settings.redis()
    if address:
        return address
    # The embedded server's modules are loaded only where it is used.
    from worker.stores.redis.embedded import shared_redis

    return resources.enter_context(shared_redis(settings.data_dir))


def build_broker_messages(settings: Settings, redis_url: str, opened: ExitStack) -> BrokerMessages | None:
    """Return the view of the broker's messages; None where the broker isn't Redis and redelivers by itself."""
    url = settings.broker_address() or redis_url
    if not is_redis(url):
        return None
    client = connect(url)
    opened.callback(client.close)
    return BrokerMessages(client, BROKER_PREFIX)
