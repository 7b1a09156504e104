"""Lines about outputs for people, which several commands print."""

from __future__ import annotations

from worker.cli.tables import local_text
from worker.stores.registry.outputs import OutputState


def describe_output(output: OutputState) -> str:
    """Return what an output was sent and what waits for it: ``all sent, last at …`` or ``waiting since …``."""
    last = f"last sent {local_text(output.last_sent_at)}" if output.last_sent_at else "nothing sent yet"
    if not output.waiting:
        return f"all sent, {last}"
    waiting = f"waiting since {local_text(output.waiting_since)}, {last}" if output.waiting_since else last
    if output.failing_since is None:
        return waiting
    next_try = f"; next try {local_text(output.next_try_at)}" if output.next_try_at else ""
    return f"{waiting}; failing since {local_text(output.failing_since)}: {output.error}{next_try}"
