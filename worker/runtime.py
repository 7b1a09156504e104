"""Puts the house together from Settings, once a process and after the fork."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, Self

from redis import Redis

from config.settings import ConfigError, Settings, get_settings
from worker.clients.enedis import EnedisClient
from worker.clients.oauth import OAuthClient
from worker.clients.presets import PRESETS, Endpoints
from worker.clients.session import SupplierSession
from worker.clients.tokens import ApplicationTokens, TokenProvider, UserTokens
from worker.clients.transport import Transport
from worker.clock import clock_from
from worker.dispatch import Dispatcher
from worker.domain.accounts import Account
from worker.domain.readings import Series
from worker.embedded import shared_redis
from worker.history import History, paris_today
from worker.journal import Journal
from worker.stores.consumption import Measures
from worker.stores.measures import open_measures
from worker.stores.quota import QuotaLedger
from worker.stores.redis_link import check_eviction, connect
from worker.stores.registry import AccountRegistry
from worker.stores.sealing import Sealer, new_key
from worker.stores.state import SyncState
from worker.sync import WindowWalk
from worker.vaults import AccountVault, SharedVault

SUPPLIER: Final = "enedis"  # an account's supplier; which generation is spoken is a setting, not the account's


class Runtime(AbstractContextManager["Runtime"]):
    """Everything a door needs.  Raises ConfigError or a WorkerError with one clear line where it can't be had."""

    def __init__(self, settings: Settings) -> None:
        self._open = ExitStack()
        self.settings = settings
        self.now = clock_from(settings.pretend_now)
        try:
            self._build()
        except BaseException:
            self._open.close()
            raise

    def _build(self) -> None:
        settings = self.settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.endpoints = endpoints_from(settings)
        self.sealer = sealer_from(settings)
        self.registry = registry_from(settings, self.sealer)
        self._open.callback(self.registry.close)
        self.registry.migrate()
        self.measures = measures_from(settings)
        self.redis_url = redis_url_from(settings, self._open)
        self.redis = connect(self.redis_url)
        self._open.callback(self.redis.close)
        check_eviction(self.redis)
        self.state = SyncState(self.redis)
        self.ledger = ledger_from(settings, self.redis, self.endpoints)
        self.transport = Transport(self.endpoints.base_url, (5.0, settings.supplier_timeout_s))
        self.oauth = OAuthClient(
            self.endpoints,
            settings.enedis_client_id,
            settings.enedis_client_secret.get_secret_value(),
            self.transport,
            self.ledger,
        )
        self._application_tokens = ApplicationTokens(
            SharedVault(self.endpoints.preset.name, self.sealer, self.state), self.oauth
        )
        self.history = History(
            self.state, self.measures, self._stored_before, paris_today(self.now), settings.history_load_days
        )
        self.journal = Journal(self.registry, self.state, self.history, self.now)
        self.dispatcher = Dispatcher(self.registry, self.state, self.history, self.now, settings.inflight_expiry_s)
        self.walk = WindowWalk(self.registry, self.client_of, self.measures, self.journal, self.now)

    def __exit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        self._open.close()

    @property
    def account_tokens(self) -> bool:
        """Whether each account brings its own token (v4), or the application's serves all."""
        return self.endpoints.preset.token_mode == "user"  # noqa: S105 - a mode, no secret

    @property
    def calls_per_hour(self) -> int | None:
        """The quota that paces a fan-out; None for no limit."""
        return calls_per_hour(self.settings, self.endpoints)

    def tokens_of(self, account_id: str) -> TokenProvider:
        if self.account_tokens:
            return UserTokens(AccountVault(account_id, self.registry, self.state), self.oauth)
        return self._application_tokens

    def session_of(self, account_id: str) -> SupplierSession:
        return SupplierSession(self.endpoints, self.transport, self.tokens_of(account_id), self.ledger)

    def client_of(self, account: Account) -> EnedisClient:
        return EnedisClient(self.endpoints, self.session_of(account.id), self.now)

    def remove(self, account_id: str) -> dict[str, int]:
        """Erase an account's measures, tokens and state, and refuse late writes; what was erased, counted.

        The registry goes first: from then on no task writes for it.  Safe to repeat.
        """
        removal = self.registry.remove(account_id)
        documents = sum(store.erase(account_id) for store in self.measures.values())
        return {
            "documents": documents,
            "usage_points": removal.usage_points,
            "tokens": removal.tokens,
            "state_keys": self.state.forget(account_id),
        }

    def _stored_before(self, account_id: str, series: Series) -> bool:
        outcome = self.registry.outcomes(account_id).get(series)
        return outcome is not None and outcome.ever_stored


def endpoints_from(settings: Settings) -> Endpoints:
    try:
        return PRESETS[settings.preset].at(
            settings.enedis_url, settings.enedis_authorize_url, sandbox=settings.enedis_sandbox
        )
    except ValueError as error:
        raise ConfigError(f"RELEVE_ENEDIS_URL: {error}") from None


def registry_from(settings: Settings, sealer: Sealer) -> AccountRegistry:
    try:
        return AccountRegistry(settings.registry(), sealer)
    except ValueError as error:
        raise ConfigError(f"RELEVE_REGISTRY_URL: {error}") from None


def measures_from(settings: Settings) -> Measures:
    try:
        return open_measures(settings.measures(), timeout_s=settings.store_timeout_s)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None


def ledger_from(settings: Settings, redis: Redis, endpoints: Endpoints) -> QuotaLedger:
    """The preset's limits, or those we were told; 0 is none."""
    preset = endpoints.preset
    per_second = preset.calls_per_second if settings.calls_per_second is None else settings.calls_per_second
    per_hour = calls_per_hour(settings, endpoints)
    return QuotaLedger(redis, preset.name, per_second=per_second or None, per_hour=per_hour)


def calls_per_hour(settings: Settings, endpoints: Endpoints) -> int | None:
    told = settings.calls_per_hour
    return (endpoints.preset.calls_per_hour if told is None else told) or None


def redis_url_from(settings: Settings, opened: ExitStack) -> str:
    """The Redis we were told of, or the embedded one, shared by all of this user's commands."""
    return settings.redis() or opened.enter_context(shared_redis(settings.data_dir))


def sealer_from(settings: Settings) -> Sealer:
    told = settings.token_keys.get_secret_value() if settings.token_keys else ""
    keys = [key.strip() for key in (told or _kept_keys(settings.data_dir)).split(",") if key.strip()]
    try:
        return Sealer(keys)
    except ValueError as error:
        raise ConfigError(f"RELEVE_TOKEN_KEYS: {error}") from None


def _kept_keys(data_dir: Path) -> str:
    """The embedded key file, made at first use; two processes starting at once agree on one key."""
    path = data_dir / "token.keys"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"token.keys.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(new_key(), encoding="utf-8")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="utf-8").replace("\n", ",")


def announce_pretence(settings: Settings, say: Callable[[str], object]) -> None:
    """Say loudly that this is not the present."""
    if settings.pretend_now is not None:
        say(f"PRETENDING that now is {settings.pretend_now.isoformat()} (RELEVE_PRETEND_NOW)")


_lock = threading.Lock()
_runtime: tuple[int, Runtime] | None = None


def get_runtime() -> Runtime:
    """The runtime of this process, built at first use: a forked child builds its own."""
    global _runtime  # noqa: PLW0603 - one a process is the point
    with _lock:
        if _runtime is None or _runtime[0] != os.getpid():
            _runtime = (os.getpid(), Runtime(get_settings()))
            atexit.register(_runtime[1].close)
        return _runtime[1]
