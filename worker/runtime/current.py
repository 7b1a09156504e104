"""The parts of this process, for tasks. Importing this module loads neither stores nor clients.

A task calls the function of the part that it needs. The first call loads and builds this part.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

from config.settings import get_settings

if TYPE_CHECKING:
    from worker.outputs.delivery import DeliveryThreads, OutputDelivery
    from worker.runtime.consent_parts import Consent
    from worker.runtime.stores import Stores
    from worker.runtime.sync_parts import Sync

Part = TypeVar("Part")
_lock = threading.RLock()


def once_a_process(build: Callable[[], Part]) -> Callable[[], Part]:
    """Return a function that builds the part at its first call in each process, also in a forked one."""
    built: tuple[int, Part] | None = None

    @wraps(build)
    def part() -> Part:
        nonlocal built
        with _lock:
            if built is None or built[0] != os.getpid():
                built = os.getpid(), build()
            return built[1]

    return part


@once_a_process
def stores() -> Stores:
    from worker.runtime.stores import open_stores

    opened = ExitStack()
    stores = opened.enter_context(open_stores(get_settings()))
    atexit.register(opened.close)
    return stores


@once_a_process
def sync() -> Sync:
    from worker.runtime.sync_parts import build_sync

    return build_sync(stores())


@once_a_process
def consent() -> Consent:
    from worker.runtime.consent_parts import build_consent

    return build_consent(stores(), sync())


@once_a_process
def outputs() -> OutputDelivery:
    from worker.runtime.output_parts import build_outputs

    return build_outputs(stores())


@once_a_process
def deliveries() -> DeliveryThreads:
    from worker.outputs.delivery import DeliveryThreads

    return DeliveryThreads(outputs().deliver)
