"""The bound of consents that are begun, each of which keeps a key in Redis for a quarter of an hour.

Strangers of one address share a count. An invited person and a household have their own, so that no stranger of the
same address shuts them out; and what other sites' pages load on their own begins nothing.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request

from worker.domain.invitation import Invitation
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.addresses import client_address
from worker.web.consent.browser_names import BrowserNames
from worker.web.sessions import Session

CONSENT_STARTS: Final = Rate("consent", calls=60)
# A secret of 256 bits can't be guessed; this keeps wrong ones from costing us. The right one is always heard.
WRONG_INVITATIONS: Final = Rate("invitation", calls=20)


def is_visit(request: Request) -> bool:
    """Return whether a person goes to this page, and no page loads it as an image or a frame of its own.

    Browsers say so (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/); what says nothing may be an old one.
    """
    headers = request.headers
    if headers.get("Sec-Fetch-Dest", "document") != "document":
        return False
    return headers.get("Sec-Fetch-Site") != "cross-site" or headers.get("Sec-Fetch-Mode", "navigate") == "navigate"


def count_start(
    request: Request, runtime: Runtime, session: Session, names: BrowserNames, invitation: Invitation | None
) -> int:
    """Count a start. Return 0 where it may go on, else the seconds until the next may.

    ``invitation``: the one that it begins with; without it, one that this browser has opened counts as well.
    """
    if session.household is not None and session.accounts:
        subject = f"household:{session.household.id}"
    elif opened := invitation or runtime.invitations.find_opened(names.hashes):
        subject = f"invitation:{opened.id}"
    else:
        subject = client_address(request)
    return RateLimiter(runtime.redis).count_call(CONSENT_STARTS, subject)


def count_wrong_invitation(request: Request, runtime: Runtime) -> int:
    """Count an invitation that opens nothing. Return 0, or the seconds until the next is looked at."""
    return RateLimiter(runtime.redis).count_call(WRONG_INVITATIONS, client_address(request))
