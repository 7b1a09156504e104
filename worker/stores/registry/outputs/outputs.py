"""The table of outputs: what each of them is for, its sealed options, and how its last delivery ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    distinct,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from worker.domain.account import DEFAULT_TENANT
from worker.domain.retry import OUTPUT_DELAYS
from worker.errors import UnknownOutput
from worker.stores.database import Database, SealedTable, place_of
from worker.stores.registry import account_rows
from worker.stores.registry.consent_rows import new_id
from worker.stores.registry.outputs.outbox import is_ready
from worker.stores.registry.tables import OUTPUT_CHANGES, OUTPUTS, belongs_to
from worker.stores.registry.tenants import require_tenant
from worker.stores.sealing import Sealer

_MOST_DUE: Final = 500  # Outputs in one round.


@dataclass(frozen=True, slots=True)
class OutputState:
    """An output without its options.

    ``account_id``: None for one of all accounts of its tenant. ``waiting``: accounts of which something is still to be
    sent, the first of it since ``waiting_since``. ``code`` and ``error`` tell the last failure, and are empty after a
    success; ``failing_since`` is the first one in a row.
    """

    id: str
    kind: str
    tenant: str
    account_id: str | None
    created_at: datetime
    last_sent_at: datetime | None
    failing_since: datetime | None
    next_try_at: datetime | None
    tries: int
    code: str
    error: str
    waiting: int
    waiting_since: datetime | None

    def may_try(self, now: datetime) -> bool:
        """Return whether its next try is due; one later than any delay was set before the clock was set back."""
        return self.next_try_at is None or not now < self.next_try_at <= now + OUTPUT_DELAYS[-1]


class OutputTable(SealedTable):
    """The table of outputs; every method raises StoreUnavailable, and those that take an id UnknownOutput."""

    def __init__(self, database: Database, sealer: Sealer, writer_expiry: timedelta) -> None:
        """``writer_expiry``: after this long a window that noted a change and never closed it counts as killed."""
        super().__init__(database, sealer)
        self._writer_expiry = writer_expiry

    def insert(
        self,
        kind: str,
        options: Mapping[str, Any],
        now: datetime,
        *,
        tenant: str = DEFAULT_TENANT,
        account_id: str | None = None,
        at_end: Callable[[Connection, str], object] = lambda connection, output_id: None,
    ) -> str:
        """Insert an output of a tenant or of one account, and return its id; ``at_end`` is called in the transaction.

        Raises UnknownTenant, and UnknownAccount for one that was removed, too.
        """
        output_id = new_id()
        require_tenant(self._database, tenant)
        row = {"id": output_id, "kind": kind, "tenant": tenant, "account_id": account_id, "created_at": now}
        row["sealed"] = self._sealer.seal(json.dumps(dict(options)), _place_of(output_id))
        with self._database.writing() as connection:
            if account_id is not None:
                account_rows.lock(connection, account_id, shared=True)
                row["tenant"] = account_rows.get(connection, account_id).tenant
            connection.execute(insert(OUTPUTS).values(**row, tries=0, last_code="", last_error=""))
            at_end(connection, output_id)
        return output_id

    def get(self, output_id: str) -> OutputState:
        """Return one output."""
        rows = self._database.fetch(_states([OUTPUTS.c.id == output_id], [OUTPUT_CHANGES.c.output_id == output_id]))
        if not rows:
            raise _unknown(output_id)
        return OutputState(*rows[0])

    def load_options(self, output_id: str) -> dict[str, Any]:
        """Return the options that an output was inserted with. Raises OperatorFault where their key is missing."""
        rows = self._database.fetch(select(OUTPUTS.c.sealed).where(OUTPUTS.c.id == output_id))
        if not rows:
            raise _unknown(output_id)
        options: dict[str, Any] = json.loads(self._sealer.unseal(rows[0].sealed, _place_of(output_id)))
        return options

    def remove(self, output_id: str) -> int:
        """Delete an output with what it still waits for, and return the number of accounts that waited."""
        waiting = self.get(output_id).waiting
        with self._database.writing() as connection:
            # First, as a window does: one that notes a change waits for the end of this, or this for the end of it.
            connection.execute(select(OUTPUTS.c.id).where(OUTPUTS.c.id == output_id).with_for_update())
            connection.execute(delete(OUTPUT_CHANGES).where(OUTPUT_CHANGES.c.output_id == output_id))
            connection.execute(delete(OUTPUTS).where(OUTPUTS.c.id == output_id))
        return waiting

    def list_due(self, now: datetime) -> list[str]:
        """Return the ids of outputs that have something to send and may try, those that fail last."""
        ready = exists().where(OUTPUT_CHANGES.c.output_id == OUTPUTS.c.id, is_ready(now, self._writer_expiry))
        next_try = OUTPUTS.c.next_try_at
        may_try = or_(next_try.is_(None), next_try <= now, next_try > now + OUTPUT_DELAYS[-1])
        order = (OUTPUTS.c.tries > 0, OUTPUTS.c.last_sent_at.nulls_first(), OUTPUTS.c.id)
        query = select(OUTPUTS.c.id).where(may_try, ready).order_by(*order)
        return [row.id for row in self._database.fetch(query.limit(_MOST_DUE))]

    def record_sent(self, output_id: str, now: datetime) -> None:
        """Record a delivery without a failure: what failed before is over."""
        values = {"tries": 0, "failing_since": None, "next_try_at": None, "last_code": "", "last_error": ""}
        self._change(output_id, last_sent_at=now, **values)

    def end_wait(self, output_id: str) -> None:
        """Let what waits be sent at once, whatever failed before."""
        self._change(output_id, next_try_at=None)

    def record_failure(self, output_id: str, code: str, text: str, now: datetime, *, sent: bool) -> OutputState:
        """Record a delivery that failed, with the next try, and return the output.

        ``text`` is our own and contains no secret. ``sent``: something was sent before it failed.
        """
        with self._database.writing() as connection:
            is_it = OUTPUTS.c.id == output_id
            row = connection.execute(select(OUTPUTS).where(is_it).with_for_update()).one_or_none()
            if row is not None:
                delay = OUTPUT_DELAYS[0 if sent else min(row.tries, len(OUTPUT_DELAYS) - 1)]
                values = {
                    "tries": 1 if sent else row.tries + 1,
                    "failing_since": row.failing_since or now,
                    "next_try_at": now + delay,
                    "last_code": code,
                    "last_error": text[:200],
                    "last_sent_at": now if sent else row.last_sent_at,
                }
                connection.execute(update(OUTPUTS).where(is_it).values(**values))
        return self.get(output_id)

    def _change(self, output_id: str, **values: Any) -> None:
        self._database.change(update(OUTPUTS).where(OUTPUTS.c.id == output_id).values(**values))

    # This method is the last one: below it, ``list`` in an annotation would mean the method.
    def list(self, *, tenant: str | None = None) -> list[OutputState]:
        """Return the outputs of one tenant or of all, the oldest first."""
        return list_outputs(self._database, tenant=tenant)


def list_outputs(database: Database, *, tenant: str | None = None) -> list[OutputState]:
    """Return the outputs of one tenant or of all, the oldest first; needs no key. Raises StoreUnavailable."""
    return [OutputState(*row) for row in database.fetch(_states(belongs_to(OUTPUTS, tenant)))]


def list_outputs_of(database: Database, account_id: str, tenant: str) -> list[OutputState]:
    """Return the outputs that an account is sent to, with what waits of this account alone. Raises StoreUnavailable."""
    of_tenant = and_(OUTPUTS.c.account_id.is_(None), OUTPUTS.c.tenant == tenant)
    states = _states([or_(OUTPUTS.c.account_id == account_id, of_tenant)], [OUTPUT_CHANGES.c.account_id == account_id])
    return [OutputState(*row) for row in database.fetch(states)]


def _states(conditions: Iterable[ColumnElement[bool]], counted: Iterable[ColumnElement[bool]] = ()) -> Select[Any]:
    """Return the query of outputs, with what waits of the accounts that ``counted`` names."""
    row = OUTPUT_CHANGES.c
    accounts = func.count(distinct(row.account_id)).label("waiting")
    waiting = select(row.output_id, accounts, func.min(row.since).label("since")).where(*counted)
    found = waiting.group_by(row.output_id).subquery()
    of = OUTPUTS.c
    states = select(
        of.id, of.kind, of.tenant, of.account_id, of.created_at, of.last_sent_at, of.failing_since
    ).add_columns(
        of.next_try_at, of.tries, of.last_code, of.last_error, func.coalesce(found.c.waiting, 0), found.c.since
    )
    joined = states.select_from(OUTPUTS.outerjoin(found, found.c.output_id == of.id))
    return joined.where(*conditions).order_by(of.created_at, of.id)


def _place_of(output_id: str) -> str:
    return place_of(OUTPUTS.c.sealed, output_id)


def _unknown(output_id: str) -> UnknownOutput:
    return UnknownOutput(f"no output {output_id}: `releve outputs list` shows the outputs")
