"""What each kind of process looks at before it starts: what can't work ends it with its reason, not its first task.

Least rights: a worker builds the whole house; beat only sends messages, so it needs neither token keys, nor the
supplier's secret, nor the registry.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from celery import current_app

from config.settings import PRODUCTION_DOMAIN, ConfigError, Settings, get_settings
from worker.errors import StoreUnavailable, WorkerError
from worker.ops.broker import refuse_wrong_broker
from worker.runtime.process import announce_pretence, endpoints_from, get_runtime, holds_any, redis_url_from
from worker.stores.measures.base import Layout, wrong_layout
from worker.stores.redis.connection import check_eviction, connect
from worker.stores.redis.heartbeats import Heartbeats

log = logging.getLogger("releve")
T = TypeVar("T")

SIMULATORS_OWN: Final = {
    "enedis_client_id": Settings.model_fields["enedis_client_id"].default,
    "enedis_client_secret": Settings.model_fields["enedis_client_secret"].default,
}
OWN_CREDENTIALS: Final = (
    "set RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET, or RELEVE_ENEDIS_URL to a simulator"
)


def check_credentials(settings: Settings) -> None:
    """Raises ConfigError where the simulator's credentials would be sent to Enedis, which can only refuse them."""
    host = urlsplit(endpoints_from(settings).base_url).hostname or ""
    own = f".{host}".endswith(f".{PRODUCTION_DOMAIN}")
    if own and any(getattr(settings, name) == default for name, default in SIMULATORS_OWN.items()):
        raise ConfigError(OWN_CREDENTIALS)


def look_as_worker() -> None:
    """Build the house before the first task."""
    _or_exit(_build)


def look_as_beat(opened: ExitStack) -> Callable[..., None]:
    """Where messages go to; gives what leaves a sign of life there, to be called for each message sent."""
    return _or_exit(lambda: _beat(opened))


def _build() -> None:
    settings = get_settings()
    announce_pretence(settings, log.warning)
    check_credentials(settings)
    refuse_wrong_broker(current_app)
    get_runtime()
    _refuse_wrong_layout(settings)


def _refuse_wrong_layout(settings: Settings) -> None:
    """Raises ConfigError.  A store that is down is none of this: tasks wait for it."""
    layout = Layout(settings.layout)
    try:
        wrong = holds_any(settings, layout.other)
    except StoreUnavailable as error:
        log.warning("could not look at the measures' layout: %s", error)
        return
    if wrong:
        raise ConfigError(wrong_layout(layout))


def _beat(opened: ExitStack) -> Callable[..., None]:
    settings = get_settings()
    announce_pretence(settings, log.warning)
    redis = connect(redis_url_from(settings, opened))
    opened.callback(redis.close)
    check_eviction(redis)
    refuse_wrong_broker(current_app)
    pulse = Heartbeats(redis)

    def leave_sign(**_: Any) -> None:
        try:
            pulse.note_beat(time.time())
        except StoreUnavailable as error:  # what was sent is sent
            log.warning("beat could not leave its sign of life: %s", error)

    return leave_sign


def _or_exit(look: Callable[[], T]) -> T:
    try:
        return look()
    except (ConfigError, WorkerError) as error:
        raise SystemExit(f"releve: {error}") from None
