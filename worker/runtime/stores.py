"""The stores, opened from the settings once per process: the registry, the measures and Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from redis import Redis

from config.settings import ConfigError, Settings
from worker.domain.clock import Clock, clock_from
from worker.domain.lanes import BROKER_PREFIX
from worker.runtime.keys import Keys
from worker.runtime.supplier_settings import fleet_series
from worker.stores.database import Database
from worker.stores.erasure_ledger import LedgerFile
from worker.stores.measures import InstrumentedStore, open_measures
from worker.stores.measures.measure_store import Layout
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.connection import check_eviction, connect, is_redis
from worker.stores.redis.heartbeats import BrokerMessages
from worker.stores.registry import Registry
from worker.stores.registry.known_ledger import KnownLedger
from worker.stores.registry.migrations import require_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The stores that every builder takes. ``now``: the fleet's time. ``windows``: the accounts' progress, in Redis."""

    settings: Settings
    now: Clock
    keys: Keys
    registry: Registry
    measures: InstrumentedStore
    redis: Redis
    redis_url: str
    windows: ProgressStore
    erasure_ledger: KnownLedger
    broker: BrokerMessages | None

    def __post_init__(self) -> None:
        # A transaction may make loaded histories due again; it notes them. After its commit, Redis deletes its flags
        # that say that these histories are loaded.
        self.registry.database.on_commit = self.windows.forget_loaded

    @property
    def broker_url(self) -> str:
        """The broker's URL: from the settings, or else the URL of the embedded Redis."""
        return self.settings.broker_options().url or self.redis_url


@contextmanager
def open_stores(settings: Settings, *, guarded: bool = True, keep_new: bool = True) -> Iterator[Stores]:
    """Open all stores. Raises ConfigError or a WorkerError, with one clear line, if the settings can't work.

    ``guarded``: refuse measures whose layout is not the one in the settings; only a migration between layouts passes
    False. ``keep_new``: create and store missing keys.
    """
    with ExitStack() as opened:
        keys = Keys(settings, keep_new=keep_new)
        registry = open_current_registry(settings, opened, keys)
        _ = keys.registry  # An unusable key is found here, before the process does anything.
        measures = build_measures(settings, opened, guarded=guarded)
        redis_url = redis_address(settings, opened)
        redis = open_redis(redis_url, opened)
        check_eviction(redis)
        yield Stores(
            settings=settings,
            now=registry.now,
            keys=keys,
            registry=registry,
            measures=measures,
            redis=redis,
            redis_url=redis_url,
            windows=ProgressStore(redis),
            erasure_ledger=known_ledger(settings, registry),
            broker=build_broker_messages(settings, redis_url, opened),
        )


def open_database(url: str, setting: str, opened: ExitStack) -> Database:
    """Return a database, which connects at first use; ``opened`` closes it.

    Raises ConfigError, which names the ``setting``, if the address is invalid.
    """
    try:
        database = Database(url)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    opened.callback(database.close)
    return database


def open_registry(
    settings: Settings, opened: ExitStack, keys: Keys | None = None, *, as_owner: bool = False
) -> Registry:
    """Return the registry without checking its tables; ``opened`` closes it. Only tables with secrets need a key.

    The registry connects at first use. ``as_owner``: connect as the user that may change the tables. Raises ConfigError
    if the address is invalid.
    """
    url = settings.registry_owner() if as_owner else settings.registry()
    is_admin = as_owner and settings.registry_admin_url
    return Registry(
        open_database(url, "RELEVE_REGISTRY_ADMIN_URL" if is_admin else "RELEVE_REGISTRY_URL", opened),
        keys or Keys(settings),
        fleet=fleet_series(settings),
        now=clock_from(settings.pretend_now),
        writer_expiry=timedelta(seconds=settings.inflight_expiry_s),
    )


def open_current_registry(settings: Settings, opened: ExitStack, keys: Keys | None = None) -> Registry:
    """Return the registry, which must have the tables of this version; ``opened`` closes it.

    Raises ConfigError, StoreUnavailable, and OperatorFault for older tables.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    registry = open_registry(settings, opened, keys)
    require_schema(registry.database)
    return registry


def ledger_file(settings: Settings, keys: Keys) -> LedgerFile:
    """Return only the file of the ledger of erasures. ``known_ledger`` adds the registry's record of its end."""
    return LedgerFile(settings.ledger(), keys.hashes)


def known_ledger(settings: Settings, registry: Registry) -> KnownLedger:
    """Return the ledger of erasures: its file, and the registry's record of the file's end."""
    return KnownLedger(registry.database, LedgerFile(settings.ledger(), registry.hashes))


def open_redis(url: str, opened: ExitStack) -> Redis:
    """Return a client of Redis, which connects at first use; ``opened`` closes it."""
    redis = connect(url)
    opened.callback(redis.close)
    return redis


def build_measures(
    settings: Settings,
    opened: ExitStack,
    layout: Layout | None = None,
    *,
    guarded: bool = False,
    as_owner: bool = False,
) -> InstrumentedStore:
    """Return the measure store in the layout of the settings, or in ``layout``; ``opened`` closes the store.

    ``as_owner``: connect as the user that may create databases. A ``guarded`` store refuses to work if the measures
    have the other layout. Raises ConfigError if the URL names no measure store, or one that doesn't support this
    layout.
    """
    try:
        measures = open_measures(
            settings.measures_owner() if as_owner else settings.measures(),
            timeout_s=settings.store_timeout_s,
            shards=settings.couchdb_shards,
            replicas=settings.couchdb_replicas,
            layout=layout or settings.layout,
            guarded=guarded,
        )
    except ValueError as error:
        names = "RELEVE_MEASURES_URL or RELEVE_MEASURES_ADMIN_URL" if as_owner else "RELEVE_MEASURES_URL"
        raise ConfigError(f"{names}: {error}") from None
    opened.callback(measures.close)
    return measures


def redis_address(settings: Settings, resources: ExitStack) -> str:
    """Return the URL of Redis: from the settings, or of the embedded server that all commands on ``data_dir`` share."""
    address = settings.redis()
    if address:
        return address
    # The embedded server's modules are loaded only if it is used.
    from worker.stores.redis.embedded import shared_redis

    return resources.enter_context(shared_redis(settings.data_dir))


def build_broker_messages(settings: Settings, redis_url: str, opened: ExitStack) -> BrokerMessages | None:
    """Return the view of the messages in Redis; None for another broker, which redelivers messages itself."""
    url = settings.broker_address() or redis_url
    if not is_redis(url):
        return None
    return BrokerMessages(open_redis(url, opened), BROKER_PREFIX)


def announce_pretend_time(settings: Settings, print_line: Callable[[str], object]) -> None:
    """Print a line if the settings replace the present with another time."""
    if settings.pretend_now is not None:
        print_line(f"PRETENDING that now is {settings.pretend_now.isoformat()} (RELEVE_PRETEND_NOW)")
