"""The supplier: it answers, and takes the application for who it is."""

from __future__ import annotations

from collections.abc import Iterator

from worker.accounts.token_store import SharedVault
from worker.clients.oauth import OAuthClient
from worker.clients.tokens import ApplicationTokens
from worker.clients.transport import Transport
from worker.ops.health.connections import Visit
from worker.ops.health.keys import KEY_FILE
from worker.ops.health.results import Note, ok
from worker.runtime import endpoints_from, ledger_from, sealer_from
from worker.stores.redis.progress import SyncState


def supplier(visit: Visit) -> Iterator[Note]:
    """One token for the application's credentials; a user's token can't be had without the user.

    Raises a WorkerError.
    """
    settings, endpoints = visit.settings, endpoints_from(visit.settings)
    if endpoints.preset.token_mode == "user":  # noqa: S105 - a mode, no secret
        yield ok(f"{settings.preset} has a token for each account: nothing to ask for")
        return
    oauth = OAuthClient(
        endpoints,
        settings.enedis_client_id,
        settings.enedis_client_secret.get_secret_value(),
        Transport(endpoints.base_url, (5.0, settings.supplier_timeout_s)),
        ledger_from(settings, visit.redis, endpoints),
    )
    if settings.token_keys or (settings.data_dir / KEY_FILE).exists():
        vault = SharedVault(endpoints.preset.name, sealer_from(settings), SyncState(visit.redis))
        ApplicationTokens(vault, oauth).current()
    else:
        oauth.application_token()  # not kept: whoever only looks makes no key to seal it with
    yield ok("gives the application a token")
