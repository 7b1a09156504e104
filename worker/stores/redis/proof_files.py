"""Files of a proof on their way from the operator's page to the worker that sends them, sealed, for a day at most.

A lost key means that the operator uploads them again.

    proof_files:<right>      list: a sealed JSON for each file, {"name": "consent.pdf", "content": "<base64>"}
    proof_files:waiting      set of the ids of rights with files
    proof_files:fault:<right>  the code with which the supplier has refused the last files; empty for another fault
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Final

from redis import Redis

from worker.stores.redis.connection import PrefixedKeys
from worker.stores.sealing import Sealer

_LIFE_S: Final = 24 * 3600
ProofFile = tuple[str, bytes]  # Name and content.


class ProofFiles(PrefixedKeys):
    """The files that wait to be sent, by our own id of their right; every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, sealer: Sealer, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._sealer = sealer

    def put(self, right_id: str, files: Sequence[ProofFile]) -> None:
        """Keep the files of a right in place of those before."""
        key = self._key("proof_files", right_id)
        texts = [{"name": name, "content": base64.b64encode(content).decode()} for name, content in files]
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(key, self._key("proof_files", "fault", right_id))
            pipe.rpush(key, *(self._sealer.seal(json.dumps(text), _place_of(right_id)) for text in texts))
            pipe.expire(key, _LIFE_S)
            pipe.sadd(self._key("proof_files", "waiting"), right_id)
            pipe.execute()

    def list_waiting(self) -> list[str]:
        """Return the ids of the rights whose files wait to be sent, in order."""
        return sorted(str(right_id) for right_id in self._redis.smembers(self._key("proof_files", "waiting")))

    def get(self, right_id: str) -> list[ProofFile]:
        """Return the files of a right; none where they are gone. Raises OperatorFault where their key is missing."""
        texts = self._redis.lrange(self._key("proof_files", right_id), 0, -1)
        files = [json.loads(self._sealer.unseal(str(text), _place_of(right_id))) for text in texts]
        return [(str(file["name"]), base64.b64decode(file["content"])) for file in files]

    def end(self, right_id: str, fault: str | None = None) -> None:
        """Forget the files of a right, which were sent, or refused with a ``fault``."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._key("proof_files", right_id))
            pipe.srem(self._key("proof_files", "waiting"), right_id)
            if fault is not None:
                pipe.set(self._key("proof_files", "fault", right_id), fault, ex=_LIFE_S)
            pipe.execute()

    def is_waiting(self, right_id: str) -> bool:
        """Return whether files of a right wait to be sent."""
        return bool(self._redis.sismember(self._key("proof_files", "waiting"), right_id))

    def was_refused(self, right_id: str) -> bool:
        """Return whether the last files of a right were refused."""
        return bool(self._redis.exists(self._key("proof_files", "fault", right_id)))


def _place_of(right_id: str) -> str:
    return f"proof_files/{right_id}"
