"""Builders for what serves accounts: connecting, token renewal, explanations."""

from __future__ import annotations

from config.settings import Settings
from worker.accounts.connect import AccountConnector
from worker.accounts.explain import Explainer
from worker.accounts.refusals import RefusalPolicy
from worker.accounts.token_renewal import TokenRenewal
from worker.domain.clock import Clock
from worker.runtime.supplier import ENEDIS, SupplierClients
from worker.stores.measures.base import MeasureStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.corrections import CorrectionTable
from worker.sync.claims import WindowClaims
from worker.sync.history import History
from worker.sync.incidents import Incidents


def build_token_renewal(
    *,
    registry: AccountRegistry,
    clients: SupplierClients,
    calls_per_hour: int | None,
    claims: WindowClaims,
    incidents: Incidents,
    refusals: RefusalPolicy,
) -> TokenRenewal:
    """Return what renews users' tokens before they expire."""
    return TokenRenewal(
        registry=registry,
        tokens_of=clients.tokens_of,
        calls_per_hour=calls_per_hour,
        claims=claims,
        incidents=incidents,
        refusals=refusals,
    )


def build_connector(
    *,
    settings: Settings,
    registry: AccountRegistry,
    consents: ConsentTable,
    clients: SupplierClients,
    now: Clock,
) -> AccountConnector:
    """Return what turns the supplier's callback into accounts."""
    return AccountConnector(
        supplier=ENEDIS.name,
        endpoints=clients.endpoints,
        client_id=settings.enedis_client_id,
        duration=settings.consent_duration,
        account_tokens=clients.account_tokens,
        exchange_code=clients.oauth.exchange_code,
        # The application's session: there is no account yet.
        open_session=lambda: clients.session_of(""),
        registry=registry,
        consents=consents,
        now=now,
    )


def build_explainer(
    *,
    registry: AccountRegistry,
    consents: ConsentTable,
    measures: MeasureStore,
    corrections: CorrectionTable,
    progress: ProgressStore,
    history: History,
) -> Explainer:
    """Return what explains why a day is as it is."""
    return Explainer(
        registry=registry,
        consents=consents,
        measures=measures,
        corrections=corrections,
        progress=progress,
        history=history,
    )
