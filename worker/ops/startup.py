"""Checks that each kind of process makes before it starts: a wrong setting ends the process with one line.

Each process has only the rights that it needs.  A worker builds the whole runtime.  Beat only sends messages, so it
needs neither the token keys, nor the supplier's client secret, nor the registry.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from celery import current_app
from celery.beat import PersistentScheduler

from config.settings import PREFIX, SIMULATOR_SECRET, ConfigError, Settings, get_settings
from config.unknown_settings import removed_settings, unknown_settings
from worker.clients.suppliers import GRDF
from worker.errors import StoreUnavailable, WorkerError
from worker.ops.broker import check_broker_access
from worker.ops.machine import describe_machine_fault
from worker.runtime.current import get_runtime
from worker.runtime.process import Runtime, announce_pretend_time
from worker.runtime.stores import redis_address
from worker.runtime.supplier import build_endpoints
from worker.stores.measures import open_couchdb
from worker.stores.measures.measure_store import Layout, wrong_layout
from worker.stores.redis.connection import check_eviction, connect
from worker.stores.redis.heartbeats import Heartbeats

log = logging.getLogger("releve")
SIMULATOR_CREDENTIALS: Final = {
    "enedis_client_id": Settings.model_fields["enedis_client_id"].default,
    "enedis_client_secret": Settings.model_fields["enedis_client_secret"].default,
}
# What is left of Celery's remote control: the ping of the watchdog, and what Flower asks. Events are but reports of
# tasks, which Flower turns on.
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
SET_GAS_CREDENTIALS: Final = (
    "set RELEVE_GRDF_CLIENT_ID and RELEVE_GRDF_CLIENT_SECRET to those of your application at GRDF, or set "
    "RELEVE_GRDF_URL to a simulator"
)


def check_credentials(settings: Settings) -> None:
    """Raise ConfigError where a supplier would be asked without the application's own credentials."""
    check_enedis_credentials(settings)
    check_gas_credentials(settings)


def check_enedis_credentials(settings: Settings) -> None:
    """Raise ConfigError where the simulator's credentials would be sent to Enedis, which would refuse them.

    A home asks a gateway, with a token for each account and without credentials.
    """
    if settings.is_home:
        return
    endpoints = build_endpoints(settings)
    is_pretended = any(getattr(settings, name) == default for name, default in SIMULATOR_CREDENTIALS.items())
    if is_pretended and endpoints.preset.owns(endpoints.base_url):
        raise ConfigError(SET_CREDENTIALS)


def own_credentials(settings: Settings) -> str:
    """Return the setting that names an application of a supplier's own; empty where there is but the simulator's."""
    known = {SIMULATOR_CREDENTIALS["enedis_client_id"], None, ""}
    names = ("enedis_client_id", "grdf_client_id")
    return next((f"{PREFIX}{name.upper()}" for name in names if getattr(settings, name) not in known), "")


def check_gas_credentials(settings: Settings) -> None:
    """Raise ConfigError where GRDF itself would be asked without the application's own id and secret."""
    if not settings.grdf_client_id or not build_endpoints(settings, GRDF.name).production:
        return
    is_pretended = settings.grdf_client_id == SIMULATOR_CREDENTIALS["enedis_client_id"]
    if is_pretended or settings.grdf_client_secret.get_secret_value() in ("", SIMULATOR_SECRET):
        raise ConfigError(SET_GAS_CREDENTIALS)


def warn_of_unknown_settings() -> None:
    """Log a line for each variable that does nothing, because it is mistyped or of an earlier version."""
    for line in (*removed_settings(), *unknown_settings()):
        log.warning(line)


@contextmanager
def _exit_with_one_line() -> Iterator[None]:
    """End the process with one line where the settings or a server are at fault; also usable as a decorator."""
    try:
        yield
    except (ConfigError, WorkerError) as error:
        raise SystemExit(f"releve: {error}") from None
    except OSError as error:
        if (fault := describe_machine_fault(error)) is None:
            raise
        raise SystemExit(f"releve: {fault}") from None


def limit_remote_control() -> None:
    """Take all commands from this worker's remote control but those that look at it.

    Anyone who may write to the broker could otherwise end all workers, or have them take no message of a queue.
    """
    from celery.worker.control import Panel, inspect_command

    for name in [name for name in Panel.data if name not in _REMOTE_COMMANDS]:
        del Panel.data[name]
    for name in [name for name in Panel.meta if name not in _REMOTE_COMMANDS]:
        del Panel.meta[name]

    # Another worker asks so at its start. Celery's own answer also takes over the task ids that it is told as revoked.
    @inspect_command(name="hello", visible=False)
    def answer_hello(state: Any, from_node: str, **_: Any) -> dict[str, Any]:
        return {"revoked": [], "clock": state.app.clock.forward()}


@_exit_with_one_line()
def prepare_worker() -> None:
    """Check the settings and build the runtime before the first task; exit with one line where that fails."""
    limit_remote_control()
    settings = get_settings()
    announce_pretend_time(settings, log.warning)
    warn_of_unknown_settings()
    check_credentials(settings)
    check_broker_access(current_app)
    _check_couchdb(settings)
    _check_layout(get_runtime())


def _check_couchdb(settings: Settings) -> None:
    """Raise ConfigError where RELEVE_MEASURES_URL names what is no CouchDB 3; a server that is down is waited for."""
    server = open_couchdb(settings.measures(), settings.store_timeout_s)
    if server is None:
        return
    from worker.stores.measures.couchdb import (
        ServerUnsuitable,
        check_server,  # Not where measures are in SQL.
    )

    try:
        check_server(server)
    except ServerUnsuitable as error:
        raise ConfigError(str(error)) from None
    except StoreUnavailable as error:
        log.warning("could not look at the version of CouchDB: %s", error)


def _check_layout(runtime: Runtime) -> None:
    """Raise ConfigError where the store has documents in the other layout.

    A store that is down is only logged, because tasks wait for it.
    """
    try:
        is_wrong = runtime.measures.has_other_layout()
    except StoreUnavailable as error:
        log.warning("could not check the measures' layout: %s", error)
        return
    if is_wrong:
        raise ConfigError(wrong_layout(Layout(runtime.settings.layout)))


@_exit_with_one_line()
def prepare_beat(stack: ExitStack) -> Callable[..., None]:
    """Check beat's settings and its broker; exit with one line where that fails.

    Returns the function that writes beat's heartbeat, to be called after each message that beat sends.
    """
    settings = get_settings()
    announce_pretend_time(settings, log.warning)
    warn_of_unknown_settings()
    redis = connect(redis_address(settings, stack))
    stack.callback(redis.close)
    check_eviction(redis)
    check_broker_access(current_app)
    heartbeats, thread = Heartbeats(redis), threading.get_ident()

    def record_beat(**_: Any) -> None:
        if threading.get_ident() != thread:
            return  # Beat runs in a worker, whose tasks send messages too.
        try:
            heartbeats.record_beat()
        except StoreUnavailable as error:  # The message itself has been sent.
            log.warning("beat could not record its heartbeat: %s", error)

    return record_beat


class BeatScheduler(PersistentScheduler):
    """Celery's own scheduler, which makes the folder of its file, and is heard of at once.

    The folder is made here because beat opens the file before its checks.
    """

    schedule_filename: str

    def setup_schedule(self) -> None:
        Path(self.schedule_filename).parent.mkdir(parents=True, exist_ok=True)
        super().setup_schedule()
        # Due now: by the tick, `releve doctor` knows that beat and workers work.
        self.schedule["tick"].last_run_at = datetime.fromtimestamp(0, UTC)
