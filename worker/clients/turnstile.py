"""What every request passes before it leaves."""

from __future__ import annotations

from typing import Protocol


class Turnstile(Protocol):
    """The fleet's quota, seen by one client; the ledger behind it lives with the stores."""

    def enter(self, api: str) -> None:
        """Take a permit to send one request of ``api``, after a short wait at most.

        Raises RateLimited, with the longer wait, where none comes.
        """

    def close(self, retry_after_s: float) -> None:
        """Shut the way for everybody: the supplier said that the quota is used up."""
