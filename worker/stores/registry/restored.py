"""What comes back ended when a registry is restored from a backup: everything that lets somebody in.

A backup is a copy, and older than what was revoked since. So its API tokens, invitations and grants of the proxy come
back as revoked, and its sessions as ended. The clients of the proxy stay: without a grant they read nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, case, null, update

from worker.stores.registry.tables import ACCOUNTS, API_TOKENS, INVITATIONS, PROXY_GRANTS

END_REASON: Final = "restored"
_SESSIONS_SINCE: Final = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EndedRights:
    """How many came back ended; those that had ended before are not counted."""

    api_tokens: int = 0
    invitations: int = 0
    proxy_grants: int = 0


def end_rights(connection: Connection, now: datetime) -> EndedRights:
    """End all API tokens, invitations, grants of the proxy and sessions of a registry that was just restored.

    Each account gets a session number that no cookie has: the seconds since 2020, which fit 32 bits until 2088. Numbers
    otherwise grow by one at a time, so a later restore gives a higher one. ``now`` is the real time.
    """
    number = int((now - _SESSIONS_SINCE).total_seconds())
    higher = case((ACCOUNTS.c.session_number < number, number), else_=ACCOUNTS.c.session_number + 1)
    connection.execute(update(ACCOUNTS).values(session_number=higher))
    tokens = update(API_TOKENS).where(API_TOKENS.c.revoked_at.is_(None)).values(revoked_at=now)
    unfinished = INVITATIONS.c.revoked_at.is_(None), INVITATIONS.c.used_at.is_(None)
    invitations = update(INVITATIONS).where(*unfinished).values(revoked_at=now, sealed_usage_point=null())
    grants = update(PROXY_GRANTS).where(PROXY_GRANTS.c.ended_at.is_(None)).values(ended_at=now, end_reason=END_REASON)
    return EndedRights(*(connection.execute(ending).rowcount for ending in (tokens, invitations, grants)))
