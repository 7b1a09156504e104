"""Growth of metrics during a test; other tests of the same process count in the same registry."""

from __future__ import annotations

from worker.metrics import REGISTRY, Definition


def sample_names(definition: Definition) -> tuple[str, ...]:
    """Return the names under which a metric's samples appear."""
    suffixes = ("_bucket", "_sum", "_count") if definition.kind == "histogram" else ("",)
    return tuple(definition.name + suffix for suffix in suffixes)


class MetricGrowth:
    """Growth of each sample since this object was created."""

    def __init__(self) -> None:
        self._before = _samples()

    def growth(self, name: str, **labels: str) -> float:
        """Return the growth of one sample, under the name that Prometheus shows."""
        key = name, tuple(sorted(labels.items()))
        return _samples().get(key, 0.0) - self._before.get(key, 0.0)

    def growth_by_labels(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of ``name`` that grew, by their label values in the order of the label names."""
        growths = {key: value - self._before.get(key, 0.0) for key, value in _samples().items() if key[0] == name}
        return {tuple(value for _, value in labels): growth for (_, labels), growth in growths.items() if growth}


def _samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
    }
