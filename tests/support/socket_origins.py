"""A pytest plugin that says where an unclosed socket was made: it fails a test only at a later garbage collection."""

from __future__ import annotations

import re
import socket
import sys
import traceback
from typing import Any, Final

import pytest

_FRAMES: Final = 14
_POOL: Final = "/couchdb/http.py"  # The package's connection pool, which only ``__del__`` closes.
_origins: Final[dict[int, traceback.StackSummary]] = {}  # By file descriptor; a newer socket replaces the older one.
_init: Final = socket.socket.__init__


def _remember(made: socket.socket, *words: Any, **named: Any) -> None:
    _init(made, *words, **named)
    stack = traceback.walk_stack(sys._getframe(1))  # The innermost frame comes first.
    _origins[made.fileno()] = traceback.StackSummary.extract(stack, limit=_FRAMES, lookup_lines=False)


@pytest.hookimpl(trylast=True)  # After pytest's own hook, which fails the test.
def pytest_configure() -> None:
    socket.socket.__init__ = _remember  # type: ignore[method-assign]
    before = sys.unraisablehook

    def tell(unraisable: Any) -> None:
        if unclosed := re.search(r"unclosed <socket.socket fd=(\d+)", str(unraisable.exc_value)):
            origin = "".join(_origins[int(unclosed[1])].format()) if int(unclosed[1]) in _origins else "unknown"
            if _POOL in origin:  # The pool closes it when collected, but a collection may come to the socket first.
                return
            unraisable.exc_value.args = (f"{unraisable.exc_value}, made in\n{origin}",)
        before(unraisable)

    sys.unraisablehook = tell
