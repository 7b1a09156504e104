"""What every request passes before it leaves."""

from __future__ import annotations

from typing import Protocol


class Turnstile(Protocol):
    """The fleet's quota, seen by one client; the ledger behind it lives with the stores."""

    def enter(self, api: str) -> str:
        """Take a permit to send one request of ``api``, after a short wait at most; what it is called.

        Raises RateLimited, with the longer wait, where none comes.
        """

    def give_back(self, permit: str) -> None:
        """The request never left, so the supplier can't have counted it."""

    def close(self, retry_after_s: float, permit: str) -> None:
        """Shut the way for everybody: the supplier said of the request with this permit that the quota is used up."""
