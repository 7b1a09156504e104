"""All kinds of outputs; to add one, add a module beside this one, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.outputs import home_assistant, line_protocol, mqtt, webhook
from worker.outputs.output import OutputKind

KINDS: Final[Mapping[str, OutputKind]] = {
    kind.name: kind for kind in (home_assistant.KIND, mqtt.KIND, line_protocol.KIND, webhook.KIND)
}
