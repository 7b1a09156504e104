"""Check of the API tokens: which end soon, and which have no end."""

from __future__ import annotations

from collections.abc import Iterator

from worker.domain.windows import civil_date
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, ok, warn
from worker.stores.registry.api_tokens import ApiToken, ApiTokenTable


def check_api_tokens(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that no valid token ends soon, and that each has an end."""
    if not connections.registry_is_current:
        yield ok("none yet")
        return
    tokens = ApiTokenTable(connections.registry)
    for token in tokens.list_ending():
        day = civil_date(token.expires_at).isoformat() if token.expires_at else ""
        yield warn(
            f"{_name(token)} expires on {day}: replace it with `releve tokens new`, then `releve tokens revoke "
            f"{token.id}`"
        )
    for token in tokens.list_endless():
        yield warn(
            f"{_name(token)}, created on {civil_date(token.created_at).isoformat()}, never expires: replace it with "
            f"`releve tokens new`, then `releve tokens revoke {token.id}`"
        )
    yield ok(f"{tokens.count_open()} open")


def _name(token: ApiToken) -> str:
    return f"token {token.id} of {token.name}"
