"""Puts the house together from Settings, once a process and after the fork."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from redis import Redis

from config.settings import ConfigError, Settings, get_settings
from worker.accounts.channels import Channel, Log, Mail, Webhook
from worker.accounts.notices import NoticeSender
from worker.accounts.refusals import RefusalPolicy
from worker.accounts.token_store import ApplicationTokenStore, UserTokenStore
from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import PRESETS, Endpoints
from worker.clients.oauth import OAuthClient
from worker.clients.session import SupplierSession
from worker.clients.tokens import ApplicationTokens, TokenProvider, UserTokens
from worker.clients.transport import Transport
from worker.domain.clock import Clock, clock_from
from worker.domain.consent.accounts import Account
from worker.domain.fleet.incidents import Thresholds
from worker.domain.fleet.lanes import BROKER_PREFIX, QUEUES
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.readings import Series
from worker.logs import REDACTOR
from worker.quota.ledger import QuotaLedger
from worker.stores.encryption import Sealer, Signer, new_key
from worker.stores.measures.base import Layout, Measures
from worker.stores.measures.factory import Site, open_measures
from worker.stores.redis.broker import BrokerMessages
from worker.stores.redis.connection import check_eviction, connect, is_redis
from worker.stores.redis.embedded import shared_redis
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.redis.incidents import IncidentStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.api_tokens import ApiTokenTable
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.corrections import CorrectionTable
from worker.stores.registry.notices import NoticeTable
from worker.stores.registry.raw_answers import RawAnswerTable
from worker.stores.registry.refusals import PendingRefusals
from worker.stores.registry.unknown_answers import QuarantineTable
from worker.sync.answer_watch import AnswerWatch
from worker.sync.claims import LOST_AFTER_S, ClaimPolicy, TtlCache
from worker.sync.history import History, paris_today
from worker.sync.incidents import Incidents
from worker.sync.results import ResultRecorder
from worker.sync.window import AnswerObserver, WindowSync

SUPPLIER: Final = "enedis"  # an account's supplier; which generation is spoken is a setting, not the account's


class Runtime(AbstractContextManager["Runtime"]):
    """Everything a door needs.  Raises ConfigError or a WorkerError with one clear line where it can't be had."""

    def __init__(self, settings: Settings, *, guarded: bool = False) -> None:
        """``guarded``: refuse measures that are laid out in another way than we were told; for every real door."""
        self._open = ExitStack()
        self._guarded = guarded
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
        self.api_tokens = ApiTokenTable(self.registry.database)
        self.consents = ConsentTable(self.registry.database, self.sealer)
        self.notices = NoticeTable(self.registry.database)
        self.signer = signer_from(settings)
        channels = channels_from(settings)
        self.courier = NoticeSender(
            self.notices, self.registry, channels, self.renewal_link, self.now, self._curve_missing
        )
        self.raw_vault = RawAnswerTable(self.registry.database, self.sealer)
        self.quarantine = QuarantineTable(self.registry.database, self.sealer)
        self.canary = AnswerWatch(self.quarantine, tuple(channels), self.endpoints.preset.name, self.now)
        self.measures = measures_from(settings, guarded=self._guarded)
        self.redis_url = redis_url_from(settings, self._open)
        self.redis = connect(self.redis_url)
        self._open.callback(self.redis.close)
        check_eviction(self.redis)
        self.state = ProgressStore(self.redis)
        self.incidents = incidents_from(settings, IncidentStore(self.redis), self.notices, tuple(channels), self.now)
        doubts = PendingRefusals(self.registry.database)
        self.desk = RefusalPolicy(self.consents, doubts, self.notices, tuple(channels), self.now, self.incidents)
        self.deliveries = self._deliveries()
        self.pulse = Heartbeats(self.redis)
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
            ApplicationTokenStore(self.endpoints.preset.name, self.sealer, self.state), self.oauth
        )
        self.history = History(
            self.state, self.measures, self._stored_before, paris_today(self.now), settings.history_load_days
        )
        self.corrections = CorrectionTable(self.registry.database)
        self.journal = ResultRecorder(
            self.registry, self.state, self.history, self.now, self.desk, self.corrections, self.incidents
        )
        self.dispatcher = ClaimPolicy(
            self.registry,
            self.state,
            self.history,
            self.now,
            settings.inflight_expiry_s,
            TtlCache(self._words_in_flight, LOST_AFTER_S / 2),
            self.incidents.is_held,
        )
        self.walk = WindowSync(
            self.registry, self.client_of, self.measures, self.journal, self.now, self._witness(), self.incidents
        )

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
            return UserTokens(UserTokenStore(account_id, self.registry, self.state), self.oauth)
        return self._application_tokens

    def session_of(self, account_id: str) -> SupplierSession:
        return SupplierSession(self.endpoints, self.transport, self.tokens_of(account_id), self.ledger)

    def client_of(self, account: Account) -> EnedisClient:
        return EnedisClient(self.endpoints, self.session_of(account.id), self.now, self.canary.report)

    def renewal_link(self, account_id: str) -> str:
        """Where the account's owner consents again, for 30 days; who has the link may do that, and nothing else."""
        return f"{self.settings.public_url}/renew/{self.signer.renewal(account_id)}"

    def remove(self, account_id: str) -> dict[str, int]:
        """Erase an account's measures, tokens and state, and refuse late writes; what was erased, counted.

        ``consent_proofs_kept`` counts what stays, by policy and without the meter's number.  The registry goes
        first: from then on no task writes for it.  Safe to repeat.
        """
        removal = self.registry.remove(account_id)
        papers = self.consents.removed(account_id, self.now(), self.settings.keep_consent_proof_days)
        documents = sum(store.erase(account_id) for store in self.measures.values())
        return {
            "documents": documents,
            "usage_points": removal.usage_points,
            "tokens": removal.tokens,
            "outcomes": removal.outcomes,
            "raw_answers": removal.raw_answers,
            "state_keys": self.state.forget(account_id),
            "doubts": papers.doubts,
            "notices": papers.notices,
            "consent_proofs_erased": papers.proofs_erased,
            "consent_proofs_kept": papers.proofs_kept,
        }

    def _witness(self) -> AnswerObserver:
        """Who sees the answers: the canary, and the vault where it is switched on."""
        return _All((self.raw_vault, self.canary) if self.settings.raw_vault_days else (self.canary,))

    def _deliveries(self) -> BrokerMessages | None:
        """What the broker holds; None where it isn't Redis and sees to its own."""
        url = self.settings.broker_address() or self.redis_url
        if not is_redis(url):
            return None
        client = connect(url)
        self._open.callback(client.close)
        return BrokerMessages(client, BROKER_PREFIX)

    def _words_in_flight(self) -> frozenset[str] | None:
        return self.deliveries.words_in_flight(QUEUES) if self.deliveries else None

    def _curve_missing(self, account_id: str) -> bool:
        return self.registry.completeness.missing_curve(account_id) is not None

    def _stored_before(self, account_id: str, series: Series) -> bool:
        outcome = self.registry.outcomes(account_id).get(series)
        return outcome is not None and outcome.ever_stored


@dataclass(frozen=True)
class _All:
    """Several witnesses, one after the other."""

    witnesses: Sequence[AnswerObserver]

    def answered(self, account_id: str, told: RawAnswer) -> None:
        for witness in self.witnesses:
            witness.answered(account_id, told)


def endpoints_from(settings: Settings) -> Endpoints:
    try:
        return PRESETS[settings.preset].at(
            settings.enedis_url, settings.enedis_authorize_url, sandbox=settings.enedis_sandbox
        )
    except ValueError as error:
        raise ConfigError(f"RELEVE_ENEDIS_URL: {error}") from None


def incidents_from(
    settings: Settings, store: IncidentStore, notices: NoticeTable, channels: Sequence[str], now: Clock
) -> Incidents:
    limits = Thresholds(settings.incident_accounts, settings.incident_share, settings.incident_minutes)
    return Incidents(store, notices, channels, now, limits, settings.incident_probe_s)


def registry_from(settings: Settings, sealer: Sealer) -> AccountRegistry:
    try:
        return AccountRegistry(settings.registry(), sealer)
    except ValueError as error:
        raise ConfigError(f"RELEVE_REGISTRY_URL: {error}") from None


def measures_from(settings: Settings, layout: Layout | None = None, *, guarded: bool = False) -> Measures:
    """As laid out, or in another layout."""
    try:
        return open_measures(
            settings.measures(),
            timeout_s=settings.store_timeout_s,
            shards=settings.couchdb_shards,
            replicas=settings.couchdb_replicas,
            layout=layout or settings.layout,
            guarded=guarded,
        )
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None


def holds_any(settings: Settings, layout: Layout) -> bool:
    """Whether the store has readings in this layout.  Raises StoreUnavailable."""
    try:
        return Site(settings.measures(), settings.store_timeout_s).holds_any(layout)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None


def ledger_from(settings: Settings, redis: Redis, endpoints: Endpoints) -> QuotaLedger:
    """The preset's limits, or those we were told; 0 is none."""
    preset = endpoints.preset
    per_second = preset.calls_per_second if settings.calls_per_second is None else settings.calls_per_second
    per_day = preset.calls_per_day if settings.calls_per_day is None else settings.calls_per_day
    return QuotaLedger(
        redis,
        preset.name,
        per_second=per_second or None,
        per_hour=calls_per_hour(settings, endpoints),
        per_day=per_day or None,
        shares=settings.quota_shares(),
    )


def calls_per_hour(settings: Settings, endpoints: Endpoints) -> int | None:
    told = settings.calls_per_hour
    return (endpoints.preset.calls_per_hour if told is None else told) or None


def redis_url_from(settings: Settings, opened: ExitStack) -> str:
    """The Redis we were told of, or the embedded one, shared by all of this user's commands."""
    return settings.redis() or opened.enter_context(shared_redis(settings.data_dir))


def sealer_from(settings: Settings) -> Sealer:
    told = settings.token_keys.get_secret_value() if settings.token_keys else ""
    kept = told or kept_text(settings.data_dir, "token.keys", new_key).replace("\n", ",")
    try:
        return Sealer([key.strip() for key in kept.split(",") if key.strip()])
    except ValueError as error:
        raise ConfigError(f"RELEVE_TOKEN_KEYS: {error}") from None


def session_key_from(settings: Settings) -> str:
    """What signs sessions and links.  Worker and web must have the same: one data_dir, or RELEVE_SESSION_KEY."""
    if settings.session_key:
        return settings.session_key.get_secret_value()
    return kept_text(settings.data_dir, "session.key", lambda: secrets.token_urlsafe(48)).strip()


def signer_from(settings: Settings) -> Signer:
    try:
        return Signer(session_key_from(settings))
    except ValueError as error:
        raise ConfigError(f"RELEVE_SESSION_KEY: {error}") from None


def channels_from(settings: Settings) -> dict[str, Channel]:
    """The ways for notices, those that are set up; the log where none is."""
    channels: dict[str, Channel] = {}
    if settings.webhook_url and settings.webhook_secret:
        channels["webhook"] = Webhook(settings.webhook_url, settings.webhook_secret.get_secret_value())
    if settings.smtp_url and settings.notify_mail:
        channels["mail"] = Mail(settings.smtp_url.get_secret_value(), settings.mail_from, settings.notify_mail)
    return channels or {"log": Log()}


def kept_text(data_dir: Path, name: str, make: Callable[[], str]) -> str:
    """A secret in a file of data_dir, made at first use; two processes starting at once agree on one."""
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
    REDACTOR.learn(*text.split())
    return text


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
            _runtime = (os.getpid(), Runtime(get_settings(), guarded=True))
            atexit.register(_runtime[1].close)
        return _runtime[1]
