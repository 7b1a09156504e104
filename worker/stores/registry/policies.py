"""The policies that an operator has chosen, each with its first night and the arithmetic behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import delete, select

from worker.domain.fleet.policy import FleetPolicy
from worker.stores.registry.database import Database
from worker.stores.registry.outcomes import insert
from worker.stores.registry.tables import POLICIES


@dataclass(frozen=True, slots=True)
class Applied:
    """``arithmetic``: the plan as `releve plan --json` printed it."""

    since: date
    policy: FleetPolicy
    applied_at: datetime
    arithmetic: Mapping[str, Any]


class PolicyTable:
    """One row a first night; a night's fan-out reads it once.  Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> FleetPolicy:
        """What holds, knowing what held before; everything every night where nothing was chosen."""
        policy = FleetPolicy()
        for applied in self.all():
            policy = applied.policy.after(policy)
        return policy

    def all(self) -> list[Applied]:
        """Oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(POLICIES).order_by(POLICIES.c.since)).all()
        return [
            Applied(
                row.since,
                FleetPolicy(row.daily_every, row.curve_every, since=row.since),
                row.applied_at,
                json.loads(row.arithmetic),
            )
            for row in rows
        ]

    def apply(self, policy: FleetPolicy, since: date, now: datetime, arithmetic: Mapping[str, Any]) -> None:
        """Let ``policy`` hold from the night of ``since`` on; the last one told for a night holds."""
        told = {
            "daily_every": policy.daily_every,
            "curve_every": policy.curve_every,
            "applied_at": now,
            "arithmetic": json.dumps(arithmetic),
        }
        statement = insert(self._database.dialect, POLICIES).values(since=since, **told)
        with self._database.writing() as connection:
            connection.execute(delete(POLICIES).where(POLICIES.c.since > since))
            connection.execute(statement.on_conflict_do_update(index_elements=["since"], set_=told))

    def forget(self) -> int:
        """Everything every night again, which leaves no day out; how many policies were forgotten."""
        with self._database.writing() as connection:
            return connection.execute(delete(POLICIES)).rowcount
