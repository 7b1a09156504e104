"""All kinds of outputs; a new kind needs a module beside this one, and its ``KIND`` in the tuple below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.outputs import home_assistant, line_protocol, mqtt, webhook
from worker.outputs.output import OutputKind

KINDS: Final[Mapping[str, OutputKind]] = {
    kind.name: kind for kind in (home_assistant.KIND, mqtt.KIND, line_protocol.KIND, webhook.KIND)
}
