"""Generate docs/reference/states.md: ``python -m tools.state_reference > docs/reference/states.md``.

Rows come from the tables of ``worker/domain``, and what an event means from the comment beside its name.  `make lint`
compares them with the page.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from worker.domain import access_right, account, campaign, connection_request, invitation
from worker.domain.account import Step

_HEAD: Final = """# States

Made from `worker/domain` by `make reference`; `make lint` checks it. An event that a table doesn't have in a state is
refused there. `gone`: nothing of it is kept.
"""
_LIVES: Final = (
    ("Account", "See [account lifecycle](../explanation/account-lifecycle.md).", account),
    ("Connection request", "See [proof of ownership](../explanation/ownership.md).", connection_request),
    ("Invitation", "See [invite a person](../how-to/connect.md#invite-a-person).", invitation),
    ("Recipient of a campaign", "See [campaigns](../how-to/renew-consents.md).", campaign),
    (
        "Gas right",
        "How far it has come in Relève; [GRDF has states of its own](../explanation/rights.md#states).",
        access_right,
    ),
)
_EFFECTS: Final = {
    "keeps_reason": "keeps its reason",
    "due": "its series are due at once",
    "ends_refusals": "pending refusals end",
    "ends_notices": "undelivered notices end",
    "tells": "its household is told",
}


def to_markdown() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(_section(*life) for life in _LIVES)]).rstrip() + "\n"


def _section(title: str, text: str, module: Any) -> str:
    events: dict[StrEnum, dict[Any, list[StrEnum]]] = {}
    for (state, event), after in module.TRANSITIONS.items():
        events.setdefault(event, {}).setdefault(after, []).append(state)
    head = f"## {title}\n\n{text}\n\n| event | state | next state |\n| --- | --- | --- |\n"
    meanings = _meanings(type(next(iter(events))))
    return head + "".join(_rows(events, meanings))


def _rows(events: Mapping[StrEnum, Mapping[Any, list[StrEnum]]], meanings: Mapping[str, str]) -> Iterator[str]:
    for event, rows in events.items():
        told = f"`{event}`: {meanings[event.name]}"
        for after, states in rows.items():
            shown = "any" if states == list(type(states[0])) else ", ".join(f"`{state}`" for state in states)
            yield f"| {told} | {shown} | {_next(after)} |\n"
            told = f"`{event}`"


def _next(after: Step | StrEnum | None) -> str:
    if not isinstance(after, Step):
        return f"`{after or 'gone'}`"
    states = " or ".join(f"`{state}`" for state in after.states)
    return "; ".join([states, *(text for name, text in _EFFECTS.items() if getattr(after, name))])


def _meanings(events: type[StrEnum]) -> dict[str, str]:
    """Return what stands beside the names in the source."""
    found = re.findall(r"^    (\w+) = .*?  # (.*?)\.?$", inspect.getsource(events), re.MULTILINE)
    return {name: f"{comment[0].lower()}{comment[1:]}".replace("``", "`") for name, comment in found}


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
