"""What a worker tells of a task that it holds, to Flower or `celery inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.worker.request import Request

if TYPE_CHECKING:
    from celery.worker.request import _InfoDict


class QuietRequest(Request):
    """Shows the short forms of arguments, never the arguments: between tasks travels what a household used."""

    def info(self, safe: bool = True) -> _InfoDict:
        """As Request's, which shows the arguments unless asked not to; here nobody can ask for them."""
        return super().info(safe=True)
