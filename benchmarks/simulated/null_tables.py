"""Null objects in place of tables of the registry, whose contents a simulated week doesn't need."""

from __future__ import annotations

from typing import Any


class NullTables:
    """Tables that store nothing: outcomes, corrections, and a refusal policy that only counts its refusals."""

    def __init__(self) -> None:
        self.refused_accounts = self.error_outcomes = 0

    def record_outcome(self, *_: Any, code: str | None = None, **__: Any) -> None:
        self.error_outcomes += code is not None

    def record_refusal(self, *_: Any, **__: Any) -> None:
        self.refused_accounts += 1

    def clear_refusals(self, account_id: str) -> None:
        """Clear nothing."""

    def record(self, *_: Any) -> None:
        """Record no correction."""
