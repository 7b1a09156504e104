"""How a metric is defined: once, with every value that its labels take, so that none can be an account or a meter.

From a definition come what is counted, the reference page (``worker.metrics.reference``) and the tests of
dashboard and alerts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Kind = Literal["counter", "gauge", "histogram"]

# Of a label whose values are not listed, where they come from.
OPEN_LABELS: Final[Mapping[str, str]] = {
    "api": "the supplier's interfaces as quotas tell them apart: one name a preset, or one for each of its APIs",
    "queue": "the queues of `config/celery_options.py`",
    "task": "the tasks' names, `tasks.…`",
}
_SUFFIXES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}

REGISTRY: Final = CollectorRegistry()  # ours alone: Flower counts in the library's own


@dataclass(frozen=True, slots=True)
class Definition:
    """``name`` is what Prometheus sees, less a histogram's suffixes; ``labels``: their values, () for an open one."""

    kind: Kind
    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def exposed(self) -> tuple[str, ...]:
        """The names under which its samples come."""
        return tuple(self.name + suffix for suffix in _SUFFIXES[self.kind])


def define(kind: Kind, name: str, told: str, labels: Mapping[str, Iterable[str]]) -> Definition:
    """Raises ValueError for a label without values that OPEN_LABELS doesn't explain."""
    listed = {label: tuple(str(value) for value in values) for label, values in labels.items()}
    if unknown := [label for label, values in listed.items() if not values and label not in OPEN_LABELS]:
        raise ValueError(f"{name}: say which values {unknown} can take")
    return Definition(kind, name, told, listed)


class Book:
    """The definitions of one endpoint, in the order of its page; also makes what is counted."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []

    def define(self, kind: Kind, name: str, told: str, /, **labels: Iterable[str]) -> Definition:
        definition = define(kind, name, told, labels)
        self.definitions.append(definition)
        return definition

    def counter(self, name: str, told: str, /, **labels: Iterable[str]) -> Counter:
        """Begins at 0 for every value of its labels: of a series that appears, the first count would go unseen."""
        definition = self.define("counter", name, told, **labels)
        made = Counter(name, told, list(definition.labels), registry=REGISTRY)
        if definition.labels and all(definition.labels.values()):
            for values in itertools.product(*definition.labels.values()):
                made.labels(*values)
        return made

    def gauge(self, name: str, told: str, /, **labels: Iterable[str]) -> Gauge:
        """Added up over the living processes of a worker."""
        definition = self.define("gauge", name, told, **labels)
        return Gauge(name, told, list(definition.labels), registry=REGISTRY, multiprocess_mode="livesum")

    def histogram(self, name: str, told: str, buckets: Sequence[float], /, **labels: Iterable[str]) -> Histogram:
        definition = self.define("histogram", name, told, **labels)
        return Histogram(name, told, list(definition.labels), buckets=buckets, registry=REGISTRY)
