"""The parts of one process for tests: the stores, and what the builders make of them, each at its first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import pytest

from config.settings import Settings
from worker.outputs.delivery import OutputDelivery
from worker.runtime import current
from worker.runtime.consent_parts import Consent, build_consent
from worker.runtime.output_parts import build_outputs
from worker.runtime.stores import Stores, open_stores
from worker.runtime.sync_parts import Sync, build_sync
from worker.runtime.web_access import WebAccess, build_web


class Parts:
    def __init__(self, stores: Stores) -> None:
        self.stores = stores

    @cached_property
    def sync(self) -> Sync:
        return build_sync(self.stores)

    @cached_property
    def consent(self) -> Consent:
        return build_consent(self.stores, self.sync)

    @cached_property
    def access(self) -> WebAccess:
        return build_web(self.stores)

    @cached_property
    def outputs(self) -> OutputDelivery:
        return build_outputs(self.stores)


@contextmanager
def open_parts(settings: Settings, *, guarded: bool = False) -> Iterator[Parts]:
    with open_stores(settings, guarded=guarded) as stores:
        yield Parts(stores)


def use_parts(patch: pytest.MonkeyPatch, parts: Any) -> None:
    """Let tasks in this process work with these parts, of which a test may give some alone."""
    for name in ("stores", "sync", "consent", "outputs"):
        patch.setattr(current, name, partial(getattr, parts, name))
