"""Which workers are alive, by their own word, which ends by itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from worker.stores.redis.connection import PrefixedKeys, redis_errors

ALIVE_TTL_S: Final = 20  # a worker says so every few seconds; one that is silent this long is taken for dead


class Presence(PrefixedKeys):
    """Every method raises StoreUnavailable."""

    @redis_errors()
    def say_alive(self, worker: str) -> None:
        self._redis.set(self._key("alive", worker), "1", ex=ALIVE_TTL_S)

    @redis_errors()
    def say_gone(self, worker: str) -> None:
        """What it still holds may be given to others at once."""
        self._redis.delete(self._key("alive", worker))

    @redis_errors()
    def alive(self) -> list[str]:
        """The workers that are, in order; walks through all keys."""
        before = len(self._key("alive", ""))
        return sorted({key[before:] for page in self._scan("alive:*") for key in page})

    @redis_errors()
    def gone(self, workers: Collection[str]) -> list[str]:
        """Those of the workers that are not alive, in order."""
        if not workers:
            return []
        ordered = sorted(workers)
        answers = self._redis.mget([self._key("alive", worker) for worker in ordered])
        return [worker for worker, answer in zip(ordered, answers, strict=True) if answer is None]
