"""The first half of a consent: off to the supplier's page."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from worker.accounts.connect import consent_page
from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows
from worker.web.rate_limit import Rate

SUPPLIERS: Final = ("enedis",)
GLUED: Final = "_parent"  # the 2026 portal glues it to addresses (upstream-apis, 1.12)
STARTS: Final = Rate("consent", calls=60)  # each keeps a key in Redis for a while


def known_supplier(name: str) -> bool:
    return name.removesuffix(GLUED) in SUPPLIERS


def begin(runtime: Runtime, handshake: ConsentFlow, callback_path: str, usage_point_id: str | None = None) -> str:
    """The address of the supplier's page.  Raises ValueError where there is none (a sandbox without consent).

    ``callback_path`` and ``usage_point_id`` are told to a simulator alone: the supplier knows our callback address
    from our contract, and which meter is the holder's business.
    """
    consent_page(runtime, "")  # before anything is kept
    page = consent_page(runtime, ConsentFlows(runtime.redis).start(handshake))
    if not is_pretend(runtime):
        return page
    hints = {"redirect_uri": runtime.settings.public_url + callback_path, "usage_point_id": usage_point_id}
    return f"{page}&{urlencode({name: told for name, told in hints.items() if told})}"


def is_pretend(runtime: Runtime) -> bool:
    """Whether the supplier is a simulator."""
    return runtime.settings.enedis_url is not None and not runtime.settings.speaks_to_production
