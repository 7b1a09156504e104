"""The withdrawal of rights at the supplier, where a household stops its consent or has its account erased.

A right waits in its row until the supplier has withdrawn it, for seven days at most. Then the row goes, and nothing of
the meter is left but the keyed hash that remembers the erasure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from worker.clients.suppliers import SupplierClients
from worker.domain.access_right import Right, RightRole, best_record
from worker.domain.clock import Clock, real_clock
from worker.errors import OperatorFault, StoreUnavailable, TransientError, WorkerError
from worker.logs import fields
from worker.stores.registry.rights import RightTable

log = logging.getLogger("releve.rights")
_MOST_AT_ONCE: Final = 200
_LONGEST_WAIT: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class RightWithdrawal:
    """The job that withdraws rights. ``clients_of`` returns a supplier's clients; see ``Runtime``."""

    rights: RightTable
    clients_of: Callable[[str], SupplierClients]
    now: Clock = real_clock

    def run(self) -> int:
        """Withdraw the rights that wait and return their number. Safe to repeat. Raises StoreUnavailable.

        Where the supplier is silent, refuses the application or has us wait, the rest waits for the next run.
        """
        withdrawn = 0
        for right in self.rights.list_to_withdraw(_MOST_AT_ONCE):
            try:
                self._withdraw(right)
                withdrawn += 1
            except StoreUnavailable:
                raise
            except WorkerError as error:
                if right.withdraw_since is not None and self.now() - right.withdraw_since > _LONGEST_WAIT:
                    log.error("right not withdrawn, given up", extra=fields(right=right.id, reason=str(error)))
                    self.rights.delete_withdrawn(right.id)
                    continue
                log.warning("right not withdrawn yet", extra=fields(right=right.id, reason=str(error)))
                if isinstance(error, TransientError | OperatorFault):  # It concerns the other rights, too.
                    break
        return withdrawn

    def _withdraw(self, right: Right) -> None:
        clients = self.clients_of(right.supplier)
        session = clients.application_session()
        if right.supplier_id is not None:
            clients.rights.withdraw(session, right.supplier_id)
        else:  # It was given on the supplier's own page, and no sweep has found it yet.
            records = [record for record in clients.rights.list(session, [right.meter]) if record.meter == right.meter]
            while record := best_record(records, *RightRole):
                clients.rights.withdraw(session, record.id)
                records.remove(record)
        self.rights.delete_withdrawn(right.id)
        log.info("right withdrawn", extra=fields(right=right.id))
