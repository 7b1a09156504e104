"""Proofs that the operator's page has taken: they wait, sealed, until a worker sends them to the supplier."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date

from worker.accounts.rights.own import OwnRights
from worker.errors import DataError
from worker.logs import fields
from worker.stores.redis.pending_consents import ProofFiles

log = logging.getLogger("releve.consents")


@dataclass(frozen=True, slots=True)
class AwaitedProof:
    """A right whose proof is awaited until a day. ``state``: ``awaited``, ``waiting`` (to be sent) or ``refused``."""

    right_id: str
    digits: str
    until: date | None
    state: str


@dataclass(frozen=True, kw_only=True)
class ProofUploads:
    """The use case that sends waiting proofs; the web puts them into ``files``."""

    files: ProofFiles
    rights: OwnRights

    def list_awaited(self) -> list[AwaitedProof]:
        """Return the proofs that suppliers await, those that end first at the top. Raises StoreUnavailable."""
        rows = [
            AwaitedProof(right.id, right.last_digits, right.proof_until, self._state_of(right.id))
            for right in self.rights.rights.list_awaiting_proof()
        ]
        return sorted(rows, key=lambda row: (row.until or date.max, row.right_id))

    def send_waiting(self) -> None:
        """Send all that wait. Safe to repeat.

        What the supplier refuses is forgotten, and the page says so. Raises what the client raises: the rest waits for
        the next run.
        """
        for right_id in self.files.list_waiting():
            contents = self.files.get(right_id)
            fault = None
            try:
                if contents:
                    self.rights.upload_proof(right_id, contents)
            except DataError as error:
                fault = error.code
                log.warning("proof refused", extra=fields(right=right_id, code=error.code))
            self.files.end(right_id, fault)

    def _state_of(self, right_id: str) -> str:
        if self.files.is_waiting(right_id):
            return "waiting"
        return "refused" if self.files.was_refused(right_id) else "awaited"
