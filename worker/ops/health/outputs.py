"""Check of the outputs: which of them fail, and since when something waits."""

from __future__ import annotations

from collections.abc import Iterator

from worker.domain.windows import PARIS
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, ok, warn
from worker.stores.registry.outputs import list_outputs


def check_outputs(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that no output fails."""
    outputs = list_outputs(connections.registry) if connections.registry_is_current else []
    for output in outputs:
        if output.failing_since is not None:
            since = output.failing_since.astimezone(PARIS)
            yield warn(
                f"{output.id} ({output.kind}) has received nothing since {since:%Y-%m-%d %H:%M}: {output.error}; "
                f"then run `releve outputs test {output.id}`"
            )
    yield ok(f"{len(outputs)} set up" if outputs else "none")
