"""The Celery app, and the functions ``enqueue_…()``, by which the command line and the web start tasks by name.

Importing this module opens no connection. Functions that use the broker raise StoreUnavailable if it can't be reached.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, signals
from kombu import Connection
from kombu.pools import connections

from config.settings import ConfigError, get_settings
from worker.domain.lanes import Lane, request_lane
from worker.domain.messages import WindowJob
from worker.domain.retry import SHORT_PUBLISH_POLICY
from worker.ops import broker, task_signals
from worker.ops.logging_setup import configure_process
from worker.ops.machine import keep_files_private
from worker.stores.redis.heartbeats import Heartbeats

if TYPE_CHECKING:
    from worker.clients.suppliers import Suppliers

BACKFILL_TASK: Final = "tasks.backfill.backfill_account"
LOOK_BACK_TASK: Final = "tasks.nightly.sync_account"
WINDOW_TASK: Final = "tasks.upkeep.request_window"
REQUEST_TASK: Final = "tasks.consent.conclude"
REVOCATION_TASK: Final = "tasks.upkeep.revoke_tokens"
RIGHTS_TASK: Final = "tasks.consent.check_rights"
WITHDRAWAL_TASK: Final = "tasks.consent.withdraw_rights"
PROOFS_TASK: Final = "tasks.consent.send_proofs"

broker.register_transports()
app = Celery("releve")
app.config_from_object("config.celery_options")
app.steps["consumer"].add(broker.FormerDeliveries)
task_signals.install()
_resources = ExitStack()
# At exit, this process stops using the embedded Redis server; the last process to do so stops the server.
atexit.register(_resources.close)

# `celery -A worker flower` loads this module before Flower reads its options, so Flower's defaults are set here.
if "flower" in sys.argv[1:]:
    from worker.ops.startup import set_flower_defaults, warn_of_unknown_settings

    keep_files_private()
    try:
        # Tornado adds no log handler of its own if one is already in place.
        configure_process(get_settings(), takeover=True)
        warn_of_unknown_settings()
        set_flower_defaults(get_settings())
    except ConfigError as error:
        raise SystemExit(f"releve: {error}") from None


@app.on_after_configure.connect
def _use_embedded_broker(sender: Celery, **_: Any) -> None:
    """Use the embedded Redis server if the settings name no broker; this user's other commands use the same server."""
    from worker.ops.broker import WORKER_ID
    from worker.stores.redis.connection import is_redis
    from worker.stores.redis.heartbeats import broker_keys

    if not sender.conf.broker_url:
        from worker.runtime.stores import redis_address

        sender.conf.update(broker_url=redis_address(get_settings(), _resources))
    if is_redis(sender.conf.broker_url):
        sender.conf.broker_transport_options |= broker_keys(WORKER_ID)


@signals.worker_init.connect
def _prepare_worker(sender: Any, **_: Any) -> None:
    """Check the settings; start the heartbeat before the first message is taken, and later the watchdog."""
    from worker.ops.startup import prepare_worker
    from worker.ops.watchdog import start_heartbeat, start_watchdog
    from worker.runtime import current

    prepare_worker()
    stores = current.stores()
    key = stores.keys.registry.fingerprint
    heartbeat = start_heartbeat(Heartbeats(stores.redis), sender.hostname, key, is_home=stores.settings.is_home)
    signals.worker_ready.connect(lambda sender, **_: start_watchdog(sender, heartbeat), weak=False)


@signals.beat_init.connect
@signals.beat_embedded_init.connect
def _prepare_beat(**_: Any) -> None:
    from worker.ops.startup import prepare_beat

    signals.after_task_publish.connect(prepare_beat(_resources), weak=False)


@contextmanager
def open_broker(broker_url: str) -> Iterator[Connection]:
    """Take a connection to this broker from kombu's pool, and give it back at the end.

    The URL is a parameter, because the Celery app keeps using the first broker that it has connected to.
    """
    pool = connections[app.connection_for_write(broker_url, connect_timeout=5)]
    with broker.broker_errors(), pool.acquire(block=True) as connection:
        # No caller should wait long for a broker that is down.
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        yield connection


def enqueue_backfill(account_id: str, *, broker_url: str) -> None:
    enqueue(BACKFILL_TASK, account_id, broker_url=broker_url)


def enqueue_look_back(account_id: str, *, broker_url: str) -> None:
    """Enqueue a task that fetches the last days of an account."""
    enqueue(LOOK_BACK_TASK, account_id, "by-hand", broker_url=broker_url)


def enqueue_window(job: WindowJob, *, broker_url: str) -> None:
    """Enqueue a task that requests one window again, outside any run."""
    enqueue(WINDOW_TASK, job["account_id"], job["series"], job["start"], job["end"], broker_url=broker_url)


def enqueue_request(request_id: str, *, vouched: bool, broker_url: str) -> None:
    """Enqueue a connection request; a request that nobody vouches for goes to the lane that is served last."""
    enqueue(REQUEST_TASK, request_id, broker_url=broker_url, queue=request_lane(vouched=vouched))


def enqueue_revocation(suppliers: Suppliers, *, broker_url: str) -> None:
    """Enqueue the tasks that revoke the tokens (v4) and withdraw the access rights that no account uses any more."""
    if suppliers.main.account_tokens:
        enqueue(REVOCATION_TASK, broker_url=broker_url)
    if suppliers.has_rights:
        enqueue(WITHDRAWAL_TASK, broker_url=broker_url)


def enqueue_proofs(*, broker_url: str) -> None:
    """Enqueue the sending of the proofs that were uploaded on the operator's page."""
    enqueue(PROOFS_TASK, broker_url=broker_url)


def enqueue(task: str, *args: str, broker_url: str, queue: str = Lane.CONTROL) -> None:
    with open_broker(broker_url) as connection:
        app.send_task(task, args=args, queue=str(queue), connection=connection, retry_policy=SHORT_PUBLISH_POLICY)


def queue_lengths(broker_url: str) -> dict[str, int]:
    """Return how many messages wait in each queue; the broker may be Redis or RabbitMQ."""
    with open_broker(broker_url) as connection:
        return broker.queue_lengths(connection, app.conf.task_queues)


def queue_ages(broker_url: str) -> dict[str, float]:
    """Return how long the next message of each queue has waited, in seconds; see ``oldest_ages``."""
    with open_broker(broker_url) as connection:
        return broker.oldest_ages(connection, app.conf.task_queues)
