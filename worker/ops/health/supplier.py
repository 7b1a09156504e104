"""The supplier: it answers, and takes the application for who it is."""

from __future__ import annotations

from collections.abc import Iterator

from worker.accounts.token_store import ApplicationTokenStore
from worker.clients.oauth import OAuthClient
from worker.clients.tokens import ApplicationTokens
from worker.clients.transport import Transport
from worker.domain.clock import clock_from
from worker.domain.measures.readings import PARIS
from worker.ops.capacity import fit_of
from worker.ops.health.connections import CheckConnections, missing_sqlite_file
from worker.ops.health.keys import KEY_FILE
from worker.ops.health.results import Note, ok, warn
from worker.runtime.process import endpoints_from, ledger_from, sealer_from
from worker.stores.redis.incidents import IncidentStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry import migrations


def supplier(visit: CheckConnections) -> Iterator[Note]:
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
        vault = ApplicationTokenStore(endpoints.preset.name, sealer_from(settings), ProgressStore(visit.redis))
        ApplicationTokens(vault, oauth).current()
    else:
        oauth.application_token()  # not kept: whoever only looks makes no key to seal it with
    yield ok("gives the application a token")


# Whether the supplier is known to be unwell: an open incident explains why nothing new comes.


def incidents(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    found = IncidentStore(visit.redis).all_open().values()
    for incident in found:
        what = "nothing is asked for" if incident.kind.holds else "refusals of this kind set nobody aside"
        series = " and ".join(incident.series)
        yield warn(
            f"{incident.kind} since {incident.began_at:%Y-%m-%d %H:%M}, {series}: {what} until it is over "
            "(`releve incidents`)"
        )
    yield ok("none is open")


# The fleet against its quota: whether the nights of the accounts there are fit, under the policy that holds.


def quota(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    if missing_sqlite_file(visit.settings.registry()):
        yield ok("no account yet")
        return
    today = clock_from(visit.settings.pretend_now)().astimezone(PARIS).date()
    with visit.registry.reading() as connection:
        if migrations.current_step(connection) != migrations.newest_step():
            return  # told by the registry's own line
    fit = fit_of(visit.registry, visit.settings, today)
    yield ok(fit.told()) if fit.fits else warn(fit.told())
