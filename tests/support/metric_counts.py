"""How much a metric has grown since: other tests of the same process count too."""

from __future__ import annotations

from worker.metrics import REGISTRY


class Counts:
    def __init__(self) -> None:
        self._before = _samples()

    def grown(self, name: str, **labels: str) -> float:
        """Of one sample, as Prometheus names it."""
        key = name, tuple(sorted(labels.items()))
        return _samples().get(key, 0.0) - self._before.get(key, 0.0)

    def all_grown(self, name: str) -> dict[tuple[str, ...], float]:
        """What grew of ``name``, by the values of its labels in the order of their names."""
        found = {key: value - self._before.get(key, 0.0) for key, value in _samples().items() if key[0] == name}
        return {tuple(value for _, value in labels): grown for (_, labels), grown in found.items() if grown}


def _samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
    }
