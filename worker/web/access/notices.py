"""The notice above a household's pages: its code waits to be kept, it has no way back, or its session ends soon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.errors import StoreUnavailable
from worker.runtime.sync_parts import Runtime
from worker.web.sessions import Session

_SHOWN_BEFORE: Final = timedelta(days=14)
# These pages say it themselves, or are not the household's.
_WITHOUT: Final = ("/access", "/sign-in", "/operator", "/proxy")


@dataclass(frozen=True, slots=True)
class AccessNotice:
    """What a household should know of its access. ``key``: that of its text; ``ends_at``: the session's last moment."""

    key: str
    ends_at: datetime | None


def find_access_notice(runtime: Runtime, session: Session, path: str) -> AccessNotice | None:
    """Return the notice for a page of this session, or None. A page is shown without it while the registry is away."""
    key, household = session.key, session.household
    if key is None or household is None or not household.accounts or path.startswith(_WITHOUT):
        return None
    if runtime.settings.is_home:  # Its way back is the machine itself.
        return None
    try:
        ways = runtime.web_access.ways_back.find(household.id, key.details)
    except StoreUnavailable:
        return None
    if ways.shown_code:
        return AccessNotice("access.notice.code", key.expires_at)
    if not ways.is_safe:
        return AccessNotice("access.notice.none", key.expires_at)
    if key.expires_at is not None and key.expires_at - datetime.now(UTC) < _SHOWN_BEFORE:
        return AccessNotice("access.notice.ends", key.expires_at)
    return None
