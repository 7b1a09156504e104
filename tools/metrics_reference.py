"""Generate docs/reference/metrics.md: ``python -m tools.metrics_reference > docs/reference/metrics.md``."""

from __future__ import annotations

import sys
from typing import Final

from worker import metrics
from worker.metrics import OPEN_LABELS, Definition, MetricRegistry
from worker.ops import fleet_metrics

_HEAD: Final = """# Metrics

Made from `worker/metrics.py` and `worker/ops/fleet_metrics.py` by `make reference`; `make lint` checks it.
A test checks the dashboard and the alerts in `deploy/` against these names.

No label holds an account, a meter, a run or an address. Labels take the values listed below and no others.

Words in the names: the **gate** closes during a [rate-limit pause](../explanation/quotas.md), a **permit** is one call
of the quota, and a **night** is a nightly sync.

## Two endpoints

**Each worker** serves its own counters at `http://RELEVE_METRICS_HOST:RELEVE_METRICS_PORT/metrics` if
`RELEVE_METRICS_PORT` is set. Workers on one host need a port each. If a port is in use, the worker logs one line and
runs without its endpoint. Counters start at zero when a worker starts.

`process_…` (memory, open files, CPU time) is about the worker's main process. With the default pool of threads, this is
the whole worker. With a prefork pool, set `PROMETHEUS_MULTIPROC_DIR` to an empty folder, one for each worker
([prometheus_client](https://prometheus.github.io/client_python/multiprocess/)). The metrics are then sums over all
child processes, including those that have ended.

**`releve metrics`** serves the metrics of the whole installation; one process is enough. Each scrape asks registry,
measure store, Redis and broker. If a part does not answer, `releve_up{part="…"}` is 0 and that part's metrics are
missing. `releve metrics --once` prints these metrics and exits, with code 1 if a part is down.

By default both endpoints listen on this machine only. They have no password. The metrics contain no personal
data, but keep them away from the public.
"""
_COLUMNS: Final = "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n"
_LABELS: Final = """## Labels

| label | values |
| --- | --- |
"""


def to_markdown() -> str:
    """Return the whole page."""
    registries = {
        "## Metrics of each worker": metrics.WORKER_METRICS,
        "## Metrics of the installation": fleet_metrics.METRICS,
    }
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
