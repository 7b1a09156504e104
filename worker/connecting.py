"""From what the supplier's page sent back to accounts in the registry.

v4 brings a code to exchange for the holder's own tokens, v5 the usage point itself, 2026 an authorisation whose
usage points are asked for and may take a while to be there (upstream-apis, 1.3 and 1.12).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from worker.clients.consent import Callback, usage_points_of, usage_points_of_grant
from worker.domain.accounts import Account
from worker.errors import SupplierUnavailable, UnknownUsagePoint
from worker.runtime import SUPPLIER, Runtime

_WAITS_S: Final = (0.5, 1.0, 2.0, 4.0)


def connect_accounts(
    runtime: Runtime, callback: Callback, sleep: Callable[[float], None] = time.sleep
) -> list[Account]:
    """The accounts of a consent, new or renewed; the same callback twice gives the same accounts.

    Raises UnknownUsagePoint where the holder refused or shared no meter, SupplierUnavailable where the supplier
    doesn't know the consent yet, and what the client raises.
    """
    if callback.failure:
        raise UnknownUsagePoint(f"the supplier's consent page answered {callback.failure}: connect again")
    usage_points, token = callback.usage_points, None
    if runtime.account_tokens:
        if callback.code is None:
            raise UnknownUsagePoint("the consent page sent no code: connect again")
        grant = runtime.oauth.exchange_code(callback.code)
        usage_points, token = usage_points or usage_points_of_grant(grant), grant.token.to_text()
    elif callback.autorisation_id is not None:
        usage_points = _authorised(runtime, callback.autorisation_id, sleep)
    if not usage_points:
        raise UnknownUsagePoint("the consent names no meter: connect again")
    return [
        runtime.registry.add(SUPPLIER, usage_point, runtime.now(), token=token, token_needed=runtime.account_tokens)[0]
        for usage_point in usage_points
    ]


def _authorised(runtime: Runtime, autorisation_id: int, sleep: Callable[[float], None]) -> tuple[str, ...]:
    session = runtime.session_of("")  # the application's token: there is no account yet
    for wait_s in (*_WAITS_S, None):
        if found := usage_points_of(session, autorisation_id, runtime.now()):
            return tuple(found)
        if wait_s is not None:
            sleep(wait_s)
    raise SupplierUnavailable("the supplier does not know this consent yet: load the page again in a minute")
