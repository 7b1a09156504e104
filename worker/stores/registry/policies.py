"""The table of fleet policies that an operator has chosen, each with its first night and its plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import delete, select

from worker.domain.schedule import FleetPolicy
from worker.stores.database import SqlTable, build_insert
from worker.stores.registry.tables import POLICIES


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A chosen policy; ``arithmetic`` is the plan as `releve plan --json` prints it."""

    since: date
    policy: FleetPolicy
    applied_at: datetime
    arithmetic: Mapping[str, Any]


class PolicyTable(SqlTable):
    """The table of policies, one row a first night; every method raises StoreUnavailable."""

    def load_current(self, today: date) -> FleetPolicy:
        """Return the policy in force; without a choice, every account is due every night."""
        begun = [row.policy for row in self.list_all() if row.since <= today]
        return begun[-1] if begun else FleetPolicy()

    def list_all(self) -> list[AppliedPolicy]:
        """Return all chosen policies, the oldest first."""
        rows = self._database.fetch(select(POLICIES).order_by(POLICIES.c.since))
        return [
            AppliedPolicy(
                row.since,
                FleetPolicy(row.daily_every, row.curve_every),
                row.applied_at,
                json.loads(row.arithmetic),
            )
            for row in rows
        ]

    def apply(self, policy: FleetPolicy, since: date, now: datetime, arithmetic: Mapping[str, Any]) -> None:
        """Put ``policy`` in force from the night of ``since`` on.

        It replaces a policy of the same night and of any later night.
        """
        columns = {
            "daily_every": policy.daily_every,
            "curve_every": policy.curve_every,
            "applied_at": now,
            "arithmetic": json.dumps(arithmetic),
        }
        statement = build_insert(self._database.dialect, POLICIES).values(since=since, **columns)
        with self._database.writing() as connection:
            connection.execute(delete(POLICIES).where(POLICIES.c.since > since))
            connection.execute(statement.on_conflict_do_update(index_elements=["since"], set_=columns))

    def delete_all(self) -> int:
        """Delete all policies, so that every account is due every night, and return their number."""
        return self._database.change(delete(POLICIES))
