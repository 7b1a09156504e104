"""One event loop for the requests of all clients, because a loop for each request takes as long as a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from anyio.from_thread import start_blocking_portal
from fastapi.testclient import TestClient


@contextmanager
def one_event_loop() -> Iterator[None]:
    """Let each TestClient that isn't entered send its requests over one loop."""
    with start_blocking_portal() as portal, pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestClient, "portal", portal)
        yield
