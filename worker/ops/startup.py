"""Checks that each kind of process makes before it starts, a list of connections without TLS, and Flower's defaults.

**Start.** A wrong setting ends the process with one line.  Each process needs only the rights for its work: a worker
opens the stores, but beat only sends messages, so it needs neither the token keys, nor the supplier's client secret,
nor the registry.

**Connections without TLS.** ``find_plain_http`` finds out whether browsers reach the pages by plain http.
``plain_connections`` lists the servers that Relève itself reaches without TLS.

**Flower** (`celery -A worker flower`).  Its own defaults listen on every address without a password, keep 100 000 tasks
and let visitors stop workers.  Relève's defaults: this machine only, a password, bounded memory, read-only pages. These
defaults have the lowest rank: FLOWER_* variables, flowerconfig.py and command-line flags override them.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from celery import current_app
from celery.beat import PersistentScheduler

from config.settings import SIMULATOR_SECRET, ConfigError, Settings, get_settings
from config.unknown_settings import removed_settings, unknown_settings
from config.validation import AMQP_SCHEMES
from worker import tracing
from worker.clients.grdf import GRDF
from worker.domain.networks import is_loopback_host, is_public_host
from worker.errors import StoreUnavailable, WorkerError
from worker.ops.broker import check_broker_access
from worker.ops.machine import describe_machine_fault
from worker.runtime import current
from worker.runtime.keys import stored_secret
from worker.runtime.stores import Stores, announce_pretend_time, open_redis, redis_address
from worker.runtime.supplier_settings import build_endpoints
from worker.stores.measures import open_couchdb
from worker.stores.measures.measure_store import Layout, wrong_layout
from worker.stores.redis import parse_sentinels
from worker.stores.redis.connection import check_eviction
from worker.stores.redis.heartbeats import Heartbeats

log = logging.getLogger("releve")
_PLAIN_HTTP: Final = "RELEVE_PLAIN_HTTP"
# The modes of PostgreSQL that require TLS. With "prefer", the default, a connection may be unencrypted.
_TLS_MODES: Final = ("require", "verify-ca", "verify-full")
FLOWER_USER: Final = "releve"
_PASSWORD_FILE: Final = "flower.password"  # noqa: S105 - This is the name of a file.
FLOWER_PORT: Final = 5555
_MAX_TASKS: Final = 5_000  # This many tasks take about 10 MB.
_OFFLINE_S: Final = 3_600  # Flower forgets workers that are offline this long, because autoscaling ends many.
_COLUMNS: Final = "name,state,args,runtime,retries,received,worker"
SIMULATOR_CREDENTIALS: Final = {
    "enedis_client_id": Settings.model_fields["enedis_client_id"].default,
    "enedis_client_secret": Settings.model_fields["enedis_client_secret"].default,
}
# The commands of Celery's remote control that stay available: the watchdog's ping, and those that Flower sends.
# Flower's enable_events is harmless, because it only makes the worker report its tasks.
_REMOTE_COMMANDS: Final = {
    "ping",
    "stats",
    "active_queues",
    "registered",
    "scheduled",
    "active",
    "reserved",
    "revoked",
    "conf",
    "enable_events",
    "disable_events",
}
SET_CREDENTIALS: Final = (
    "set RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET, or RELEVE_ENEDIS_URL to a simulator"
)
BEGIN: Final = (
    f"no home and no credentials here: for your home, `cd` to its folder or run `releve home add`; for a service, "
    f"{SET_CREDENTIALS}"
)
SET_GAS_CREDENTIALS: Final = (
    "set RELEVE_GRDF_CLIENT_ID and RELEVE_GRDF_CLIENT_SECRET to those of your application at GRDF, or set "
    "RELEVE_GRDF_URL to a simulator"
)


def check_credentials(settings: Settings) -> None:
    """Raise ConfigError if a supplier would be called without the application's own credentials."""
    check_enedis_credentials(settings)
    check_gas_credentials(settings)


def check_enedis_credentials(settings: Settings) -> None:
    """Raise ConfigError if the simulator's credentials would be sent to Enedis, which would refuse them.

    A home needs no credentials, because it calls a gateway with a token for each account.
    """
    if settings.is_home:
        return
    endpoints = build_endpoints(settings)
    is_pretended = any(getattr(settings, name) == default for name, default in SIMULATOR_CREDENTIALS.items())
    if is_pretended and endpoints.preset.owns(endpoints.base_url):
        raise ConfigError(SET_CREDENTIALS if settings.has_enedis_credentials else BEGIN)


def check_gas_credentials(settings: Settings) -> None:
    """Raise ConfigError if GRDF itself would be called without the application's own id and secret."""
    if not settings.grdf_client_id or not build_endpoints(settings, GRDF.name).production:
        return
    is_pretended = settings.grdf_client_id == SIMULATOR_CREDENTIALS["enedis_client_id"]
    if is_pretended or settings.grdf_client_secret.get_secret_value() in ("", SIMULATOR_SECRET):
        raise ConfigError(SET_GAS_CREDENTIALS)


def warn_of_unknown_settings() -> None:
    """Log a line for each variable that has no effect, because its name is mistyped or from an earlier version."""
    for line in (*removed_settings(), *unknown_settings()):
        log.warning(line)


def check_tracing() -> None:
    """Raise ConfigError if traces are wanted, but the packages for them are missing."""
    if tracing.is_on():
        try:
            import worker.exported_spans  # noqa: F401
        except ImportError:
            text = f"{tracing.ENDPOINT} needs the extra otel: pip install 'releve[otel]', or unset the variable"
            raise ConfigError(text) from None


@contextmanager
def _exit_with_one_line() -> Iterator[None]:
    """End the process with one line if the settings or a server are at fault; also usable as a decorator."""
    try:
        yield
    except (ConfigError, WorkerError) as error:
        raise SystemExit(f"releve: {error}") from None
    except OSError as error:
        if (fault := describe_machine_fault(error)) is None:
            raise
        raise SystemExit(f"releve: {fault}") from None


def limit_remote_control() -> None:
    """Remove all commands from this worker's remote control except those that only read its state.

    Otherwise anyone who may write to the broker could end all workers, or make them stop taking messages from a queue.
    """
    from celery.worker.control import Panel, inspect_command

    for known in (Panel.data, Panel.meta):
        for name in [name for name in known if name not in _REMOTE_COMMANDS]:
            del known[name]

    # Another worker sends ``hello`` when it starts. Celery's own handler would also accept task ids to revoke.
    @inspect_command(name="hello", visible=False)
    def answer_hello(state: Any, from_node: str, **_: Any) -> dict[str, Any]:
        return {"revoked": [], "clock": state.app.clock.forward()}


@_exit_with_one_line()
def prepare_worker() -> None:
    """Check the settings and open the stores before the first task; exit with one line if that fails."""
    limit_remote_control()
    settings = get_settings()
    check_tracing()
    announce_pretend_time(settings, log.warning)
    warn_of_unknown_settings()
    check_credentials(settings)
    check_broker_access(current_app)
    _check_couchdb(settings)
    _check_layout(current.stores())


def _check_couchdb(settings: Settings) -> None:
    """Raise ConfigError if the CouchDB of RELEVE_MEASURES_URL is unsuitable; only log if it can't be reached."""
    server = open_couchdb(settings.measures(), settings.store_timeout_s)
    if server is None:
        return
    from worker.stores.measures import couchdb  # Imported here because it is not needed if measures are in SQL.

    try:
        couchdb.check_server(server)
    except couchdb.ServerUnsuitable as error:
        raise ConfigError(str(error)) from None
    except StoreUnavailable as error:
        log.warning("could not look at the version of CouchDB: %s", error)


def _check_layout(stores: Stores) -> None:
    """Raise ConfigError if the measure store has documents in a layout other than that of the settings.

    If a store is down, that is only logged, because tasks wait for it.
    """
    try:
        is_wrong = stores.measures.has_other_layout()
    except StoreUnavailable as error:
        log.warning("could not check the measures' layout: %s", error)
        return
    if is_wrong:
        raise ConfigError(wrong_layout(Layout(stores.settings.layout)))


@_exit_with_one_line()
def prepare_beat(stack: ExitStack) -> Callable[..., None]:
    """Check beat's settings and its broker, and return a handler that records beat's heartbeat after each message.

    Exits with one line if a check fails.
    """
    settings = get_settings()
    announce_pretend_time(settings, log.warning)
    warn_of_unknown_settings()
    redis = open_redis(redis_address(settings, stack), stack)
    check_eviction(redis)
    check_broker_access(current_app)
    heartbeats, thread = Heartbeats(redis), threading.get_ident()

    def record_beat(**_: Any) -> None:
        if threading.get_ident() != thread:
            return  # In a home, the tasks of beat's process send messages too; these don't show that beat works.
        try:
            heartbeats.record_beat()
        except StoreUnavailable as error:  # The message itself has been sent.
            log.warning("beat could not record its heartbeat: %s", error)

    return record_beat


class BeatScheduler(PersistentScheduler):
    """Celery's own scheduler; it also creates the folder of its file, and sends the first ``tick`` at once.

    The folder is created here because beat opens the file before Relève's checks run.
    """

    schedule_filename: str

    def setup_schedule(self) -> None:
        Path(self.schedule_filename).parent.mkdir(parents=True, exist_ok=True)
        super().setup_schedule()
        # This test task is due at once: it shows `releve doctor` that beat and workers are running.
        self.schedule["tick"].last_run_at = datetime.fromtimestamp(0, UTC)


def check_plain_http(public_url: str, *, wanted: bool) -> str | None:
    """Return a warning if browsers reach the pages by plain http from other machines; otherwise None.

    Raises ConfigError, with a text of one line, if plain http is not ``wanted``.
    """
    parts = urlsplit(public_url)
    if parts.scheme != "http" or is_loopback_host(parts.hostname or ""):
        return None
    if wanted:
        return (
            f"plain http is allowed ({_PLAIN_HTTP}): anybody between a browser and {parts.hostname} can read sessions "
            "and measures, and act as the household"
        )
    raise ConfigError(
        "RELEVE_PUBLIC_URL is http:// on another machine, so that others can read sessions and measures: set up a "
        f"reverse proxy with TLS and use https://, or set {_PLAIN_HTTP}=true to allow it"
    )


def find_plain_http(settings: Settings, public_url: str, host: str = "127.0.0.1") -> str | None:
    """Return the warning of ``check_plain_http``, or raise its ConfigError.

    For a home whose pages are reached only in its own network, return a warning and never raise. None if other machines
    can't reach the pages by plain http. ``host``: the address that the web service listens on.
    """
    parts = urlsplit(public_url)
    name = parts.hostname or ""
    if not settings.is_home or parts.scheme != "http" or is_public_host(name):
        return check_plain_http(public_url, wanted=settings.plain_http)
    if is_loopback_host(name) and is_loopback_host(host):
        return None
    return (
        "other machines in your network reach the pages without TLS: anybody on that network can read the measures "
        "and the password; never forward this port to the internet"
    )


@dataclass(frozen=True, slots=True)
class PlainConnection:
    """A server on another host that is reached without TLS."""

    server: str
    host: str

    @property
    def is_public(self) -> bool:
        """Whether the host is outside all private networks."""
        return is_public_host(self.host)


def plain_connections(settings: Settings) -> list[PlainConnection]:
    """Return the connections without TLS that leave this machine, each once."""
    found = [
        *_name_hosts("Redis", _redis_hosts(settings.redis())),
        *_broker_connections(settings.broker_address()),
        *_store_connections(settings.registry()),
        *_store_connections(settings.measures()),
    ]
    return list(dict.fromkeys(found))


def _name_hosts(server: str, hosts: Iterable[str | None]) -> Iterator[PlainConnection]:
    for host in hosts:
        if host and not host.startswith("/") and not is_loopback_host(host):
            yield PlainConnection(server, host)


def _redis_hosts(url: str | None) -> list[str | None]:
    scheme = (url or "").partition("://")[0]
    if url and scheme == "sentinel":
        return [host for host, _ in parse_sentinels(url).nodes]
    return [urlsplit(url).hostname] if url and scheme == "redis" else []


def _broker_connections(url: str | None) -> Iterator[PlainConnection]:
    if url and url.partition("://")[0] in AMQP_SCHEMES:
        hosts = (urlsplit(part) for part in url.split(";"))
        yield from _name_hosts("RabbitMQ", [host.hostname for host in hosts if host.scheme == "amqp"])
    else:
        yield from _name_hosts("Redis", _redis_hosts(url))


def _store_connections(url: str) -> Iterator[PlainConnection]:
    scheme = url.partition("://")[0]
    if scheme.startswith("couchdb"):
        yield from _name_hosts("CouchDB", [urlsplit(url).hostname] if scheme == "couchdb+http" else [])
    elif scheme.startswith("postgresql"):
        yield from _name_hosts("PostgreSQL", _postgres_hosts(url))


def _postgres_hosts(url: str) -> list[str | None]:
    """Return the hosts reached without TLS; none for an invalid URL, which the registry's own check reports."""
    from sqlalchemy.engine import make_url  # Imported here because it takes a moment and few commands need it.
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return []
    options = {name: value if isinstance(value, str) else ",".join(value) for name, value in parts.query.items()}
    if options.get("sslmode") in _TLS_MODES:
        return []
    hosts = ",".join(text for text in (parts.host, options.get("host")) if text)
    return [host.rpartition(":")[0] if host.count(":") == 1 else host for host in hosts.split(",")]


def set_flower_defaults(settings: Settings) -> None:
    """Set Flower's defaults; call this before Flower reads its options. Raises ConfigError."""
    from flower.options import options  # Imported here because `releve up` does not need Flower's own modules.

    our_login = [f"{FLOWER_USER}:{flower_password(settings)}"]

    def require_login() -> None:
        """Require our login if no other kind of login is configured.

        Flower calls this again after it has read the configuration file.
        """
        has_other_login = options.basic_auth and options.basic_auth != our_login
        if not has_other_login:
            options.basic_auth = [] if options.auth else our_login

    options.address = "127.0.0.1"
    options.logging = settings.log_level.lower()  # Tornado takes its level from this option.
    options.max_tasks = _MAX_TASKS
    options.purge_offline_workers = _OFFLINE_S
    options.read_only = True
    options.tasks_columns = _COLUMNS
    options.add_parse_callback(require_login)


def flower_password(settings: Settings) -> str:
    """Return the password from the settings, else from a file in data_dir, which is created at first use.

    Raises ConfigError.
    """
    configured = settings.flower_password.get_secret_value() if settings.flower_password else ""
    if not configured.isascii():  # Flower can't compare other characters.
        raise ConfigError("RELEVE_FLOWER_PASSWORD: use only ASCII letters, digits and signs")
    return configured or stored_secret(settings.data_dir, _PASSWORD_FILE, lambda: secrets.token_urlsafe(18)).strip()


def flower_password_source(settings: Settings) -> str:
    if settings.flower_password:
        return "in RELEVE_FLOWER_PASSWORD (or the file of RELEVE_FLOWER_PASSWORD_FILE)"
    return f"in {settings.data_dir / _PASSWORD_FILE}"
