"""Generate docs/reference/metrics.md: ``python -m tools.metrics_reference > docs/reference/metrics.md``."""

from __future__ import annotations

import sys
from typing import Final

from worker import metrics
from worker.metrics import OPEN_LABELS, Definition, MetricRegistry
from worker.ops import fleet_metrics

_HEAD: Final = """# Metrics

Made from `worker/metrics.py` and `worker/ops/fleet_metrics.py` by `make reference`; a test keeps this page in
step, and another holds the dashboard and the alerts in `deploy/` to these names.

No label ever holds an account, a meter, a run or an address: each takes the values listed below and no others.

## Two endpoints

**Each worker** tells of its own work at `http://RELEVE_METRICS_HOST:RELEVE_METRICS_PORT/metrics` when
`RELEVE_METRICS_PORT` is set; without it there is no endpoint. Workers on one host need a port each; where a port is
taken, the worker says so in one line of its log and works on without its endpoint. Counts begin at zero when a worker
starts. `process_…` (memory, open files, CPU time) is that of the worker's main process; with the default pool of
threads this is all of it. With a prefork pool name an empty folder in `PROMETHEUS_MULTIPROC_DIR`, one for each worker,
as [prometheus_client](https://prometheus.github.io/client_python/multiprocess/) documents: its processes are then added
up, those that ended too.

**The fleet** is told by `releve metrics`, one process for all. It asks registry, measure store, Redis and broker when
it is scraped. A part that does not answer costs `releve_up{part="…"} 0` and its own metrics, never those of the
others. `releve metrics --once` prints the same and ends, with exit code 1 where a part is down.

Both listen on this machine alone unless told otherwise, and have no password: what they tell is not personal, but it
is not for the public either.
"""
_COLUMNS: Final = "| metric | kind | labels | what it tells |\n| --- | --- | --- | --- |\n"
_LABELS: Final = """## Labels

| label | values |
| --- | --- |
"""


def to_markdown() -> str:
    """Return the whole page."""
    registries = {"## Of each worker": metrics.WORKER_METRICS, "## Of the fleet": fleet_metrics.METRICS}
    tables = [f"{title}\n\n{_COLUMNS}{_rows(registry)}" for title, registry in registries.items()]
    return "\n".join(
        [
            _HEAD,
            *tables,
            _LABELS + _label_rows([*metrics.WORKER_METRICS.definitions, *fleet_metrics.METRICS.definitions]),
        ]
    )


def _rows(registry: MetricRegistry) -> str:
    return "".join(
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |\n"
        for metric in registry.definitions
    )


def _label_rows(definitions: list[Definition]) -> str:
    """Return the rows of the table of labels; a label has one row for each set of values it takes."""
    rows: dict[tuple[str, str], list[str]] = {}
    for metric in definitions:
        for label, values in metric.labels.items():
            listed = ", ".join(f"`{value}`" for value in values) or OPEN_LABELS[label]
            rows.setdefault((label, listed), []).append(metric.name)
    labels = [label for label, _ in rows]
    return "".join(
        f"| `{label}`{_of(names) if labels.count(label) > 1 else ''} | {listed} |\n"
        for (label, listed), names in sorted(rows.items())
    )


def _of(names: list[str]) -> str:
    return " of " + ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
