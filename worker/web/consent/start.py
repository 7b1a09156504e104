"""The first half of a consent: the redirect to the supplier's consent page."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows
from worker.web.rate_limit import Rate

PORTAL_SUFFIX: Final = "_parent"  # Enedis' portal of 2026 sometimes appends it to the redirect address.
CONSENT_STARTS: Final = Rate("consent", calls=60)  # Each start keeps a key in Redis for a quarter of an hour.


def start_flow(runtime: Runtime, flow: ConsentFlow, callback_path: str, usage_point_id: str | None = None) -> str:
    """Store the flow and return the address of the supplier's consent page.

    Only a simulator gets ``callback_path`` and ``usage_point_id``: the supplier knows our callback address from our
    contract, and the holder chooses the meter on its page.

    Raises ValueError where the supplier has no consent page (the sandbox).
    """
    runtime.connector.consent_page("")  # It raises the ValueError before anything is stored.
    page = runtime.connector.consent_page(ConsentFlows(runtime.redis).start(flow))
    if not runtime.settings.speaks_to_simulator:
        return page
    hints = {"redirect_uri": runtime.settings.public_url + callback_path, "usage_point_id": usage_point_id}
    return f"{page}&{urlencode({name: value for name, value in hints.items() if value})}"
