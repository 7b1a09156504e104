"""The parts of one process for tests: the stores, and the objects built on them, each at its first use."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, Self

import pytest
from fastapi import FastAPI

from config.settings import Settings
from worker.outputs.delivery import DeliveryThreads, OutputDelivery
from worker.runtime import current
from worker.runtime.consent_parts import Consent, build_consent
from worker.runtime.output_parts import build_outputs
from worker.runtime.stores import open_stores
from worker.runtime.sync_parts import Sync, build_sync
from worker.runtime.web_access import WebAccess, build_web


class Parts:
    def __init__(self, settings: Settings, *, guarded: bool = False) -> None:
        self._opened = ExitStack()
        self.stores = self._opened.enter_context(open_stores(settings, guarded=guarded))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

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

    def change_settings(self, **changes: Any) -> None:
        """Change settings of parts that are built already."""
        object.__setattr__(self.stores, "settings", self.stores.settings.model_copy(update=changes))

    def create_app(self) -> FastAPI:
        """Return the web application over these parts."""
        from worker.web.asgi import create_app

        return create_app(self.stores, self.sync, self.consent, self.access)


def use_parts(patch: pytest.MonkeyPatch, parts: Any) -> None:
    """Let tasks in this process use these parts; a test may provide only some of them."""
    for name in ("stores", "sync", "consent", "outputs"):
        patch.setattr(current, name, partial(getattr, parts, name))
    deliveries = DeliveryThreads(lambda output_id: parts.outputs.deliver(output_id))  # noqa: PLW0108 - asked late
    patch.setattr(current, "deliveries", lambda: deliveries)
