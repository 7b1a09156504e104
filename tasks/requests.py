"""The request of a task as a worker shows it to Flower or `celery inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.worker.request import Request

if TYPE_CHECKING:
    from celery.worker.request import _InfoDict


class QuietRequest(Request):
    """A request that shows the short form of its arguments only: messages between steps carry readings."""

    def info(self, safe: bool = True) -> _InfoDict:
        """Describe the request without its arguments, whatever the caller asks for."""
        return super().info(safe=True)
