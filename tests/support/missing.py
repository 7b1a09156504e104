"""A test without a program that it needs is skipped, but fails in CI, where nobody would notice a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn, TypeVar

import pytest

from tests.support.servers import NotInstalled

Server = TypeVar("Server")


def skip(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def or_skip(server: AbstractContextManager[Server]) -> Iterator[Server]:
    """Yield the running server, or skip the test if it isn't installed."""
    try:
        running = server.__enter__()
    except NotInstalled as missing:
        skip(str(missing))
    try:
        yield running
    finally:
        server.__exit__(None, None, None)
