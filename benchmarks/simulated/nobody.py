"""Who stands where nothing is to be kept."""

from __future__ import annotations

from typing import Any


class Nobody:
    """A registry that notes no outcome, a desk that counts whom it would have judged, books nobody reads."""

    def __init__(self) -> None:
        self.refused_accounts = self.last_errors = 0

    def record_outcome(self, *_: Any, code: str | None = None, **__: Any) -> None:
        self.last_errors += code is not None

    def refused(self, *_: Any, **__: Any) -> None:
        self.refused_accounts += 1

    def succeeded(self, account_id: str) -> None:
        """Nothing."""

    def note(self, *_: Any) -> None:
        """Nothing."""
