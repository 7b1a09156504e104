"""Builds, once per process, the parts that connect accounts and follow their consents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from worker.accounts.asserted_accounts import AccountAssertion
from worker.accounts.connect import AccountConnector, MeterReadings
from worker.accounts.erasure import remove_account
from worker.accounts.gas_rights import RightDeclarations
from worker.accounts.invitations import Inviter
from worker.accounts.notices import NoticeSender
from worker.accounts.opening import NewAccountLimits, ProvenRequests
from worker.accounts.proxy_grants import ProxyCodes, ProxyGrants
from worker.accounts.right_sweep import OwnRights, ProofUploads, RightSweep
from worker.accounts.series_choice import SeriesChooser
from worker.clients.enedis import ENEDIS
from worker.clients.gateway import GATEWAY
from worker.clients.grdf import GRDF
from worker.clients.supplier import ConsentCalls, SupplierConsents
from worker.clients.suppliers import SupplierClients
from worker.domain.account import Account
from worker.domain.clock import real_clock
from worker.domain.consents import EndReason
from worker.domain.evidence import HOUSEHOLD
from worker.domain.series import registers_of
from worker.errors import OperatorFault
from worker.runtime.stores import Stores
from worker.runtime.supplier_settings import SupplierSettings, configured_suppliers, is_offered, main_supplier
from worker.runtime.sync_parts import Sync, build_channels
from worker.runtime.web_access import build_mail_service
from worker.stores.erasure_ledger import LedgerEntry, LedgerKind
from worker.stores.redis.locks import Locks, RateLimiter
from worker.stores.redis.pending_consents import ConnectionRequests, ConsentFlows, ProofFiles
from worker.stores.registry import Registry

if TYPE_CHECKING:
    from worker.sync.file_import import FileAccounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """The parts that ask for consents, handle the answers, and follow access rights.

    ``suppliers``: the suppliers that have a consent page here; a gateway has none.
    """

    connector: AccountConnector
    requests: ConnectionRequests
    suppliers: Mapping[str, SupplierConsents]
    assertion: AccountAssertion
    own_rights: OwnRights
    right_sweep: RightSweep
    proof_uploads: ProofUploads
    proxy_grants: ProxyGrants

    def supplier_of(self, supplier: str) -> SupplierConsents:
        """Return the part for a supplier's consents. Raises OperatorFault if the supplier has no consent page here."""
        if supplier not in self.suppliers:
            raise OperatorFault(f"{supplier} has no consent page here")
        return self.suppliers[supplier]


def build_consent(stores: Stores, sync: Sync) -> Consent:
    settings, registry, redis, now = stores.settings, stores.registry, stores.redis, stores.now
    suppliers, locks, requests = sync.suppliers, Locks(redis), build_requests(stores)
    pages = {
        name: _build_consents(stores, suppliers[name], calls, one)
        for name, one in configured_suppliers(settings).items()
        if (calls := one.supplier.consent) is not None
    }
    proxy_codes = ProxyCodes(flows=ConsentFlows(redis), sealer=stores.keys.redis)
    outcomes = ProvenRequests(
        suppliers=pages,
        registry=registry,
        ledger=stores.erasure_ledger,
        requests=requests,
        proxy_codes=proxy_codes,
        limiter=RateLimiter(redis),
        limits=NewAccountLimits(
            settings.new_accounts_per_browser, settings.new_accounts_per_address, settings.new_accounts_per_day
        ),
        channels=build_channels(settings, registry.tenants),
        now=now,
    )
    own_rights = OwnRights(clients_of=suppliers.clients_of, outcomes=outcomes)
    return Consent(
        connector=AccountConnector(
            outcomes=outcomes,
            declarations=RightDeclarations(clients_of=suppliers.clients_of, outcomes=outcomes, locks=locks),
            locks=locks,
            meter_readings=MeterReadings(
                client_of=suppliers.application_client,
                tries=registry.reading_tries,
                locks=locks,
                now=now,
                offered=is_offered(settings, registers_of()),
            ),
        ),
        requests=requests,
        suppliers=pages,
        assertion=build_assertion(stores, suppliers.main.supplier.name),
        own_rights=own_rights,
        right_sweep=RightSweep(suppliers=suppliers, outcomes=outcomes, refusals=sync.refusals),
        proof_uploads=ProofUploads(files=ProofFiles(redis, stores.keys.redis), rights=own_rights),
        proxy_grants=ProxyGrants(
            codes=proxy_codes,
            supplier=pages.get(suppliers.main.supplier.name),
            refresh_token=suppliers.main.oauth.refresh,
            client_of=suppliers.application_client,
            registry=registry,
            now=now,
        ),
    )


def _build_consents(
    stores: Stores, clients: SupplierClients, calls: ConsentCalls, of: SupplierSettings
) -> SupplierConsents:
    address, exchange = f"{stores.settings.public_url}/callback/{of.name}", clients.oauth.exchange_code
    return SupplierConsents(
        calls=calls,
        endpoints=clients.endpoints,
        client_id=of.client_id,
        duration=of.consent_duration,
        account_tokens=clients.account_tokens,
        exchange_code=partial(exchange, redirect_uri=address) if calls.sends_redirect else exchange,
        # The application's own session is used, because there is no account yet.
        open_session=clients.application_session,
        redirect_uri=address,
        now=stores.now,
    )


def build_requests(stores: Stores) -> ConnectionRequests:
    subject_of = partial(stores.keys.hashes.hash, "connection request")
    return ConnectionRequests(stores.redis, stores.keys.redis, subject_of)


def build_assertion(stores: Stores, supplier: str) -> AccountAssertion:
    return AccountAssertion(supplier=supplier, registry=stores.registry, now=stores.now)


def build_file_accounts(stores: Stores) -> FileAccounts:
    from worker.sync.file_import import FileAccounts

    return FileAccounts(
        registry=stores.registry,
        assertion=build_assertion(stores, main_supplier(stores.settings)),
        suppliers={ENEDIS.name: GATEWAY.name, GRDF.name: GRDF.name},
    )


def build_inviter(stores: Stores) -> Inviter:
    return Inviter(
        registry=stores.registry,
        public_url=stores.settings.public_url,
        mail_service=build_mail_service(stores.settings),
    )


def build_series_chooser(stores: Stores) -> SeriesChooser:
    return SeriesChooser(
        outcomes=stores.registry.outcomes, is_offered=partial(is_offered, stores.settings), now=stores.now
    )


def build_notice_sender(stores: Stores) -> NoticeSender:
    channels = build_channels(stores.settings, stores.registry.tenants)
    return NoticeSender(registry=stores.registry, channels=channels, now=stores.now)


def stop_consent(stores: Stores, account_id: str, actor: str = HOUSEHOLD) -> None:
    """End an account's consent at its household's request; see ``ConsentTable.withdraw``."""
    registry, now = stores.registry, stores.now()

    def end_access(connection: Connection, account: Account) -> None:
        registry.rights.withdraw_meter(connection, account)
        registry.proxy_grants.end_for(connection, meters_of(registry, account), EndReason.WITHDRAWN)

    at_end = partial(stores.erasure_ledger.append, LedgerEntry(LedgerKind.STOPPED, account_id, now))
    registry.consents.withdraw(account_id, now, actor, on_stop=end_access, at_end=at_end)


def meters_of(registry: Registry, account: Account) -> list[str]:
    """Return the meter's hashes, one under each erasure key; empty if the account no longer has a meter."""
    number = account.usage_point_id
    return [] if number is None else registry.erasures.digests(account.supplier, number)


def erase(stores: Stores, account_id: str, actor: str | None = None) -> dict[str, int]:
    """Erase an account's measures, tokens and state, refuse late writes, and return the counts of what was erased.

    ``consent_proofs_kept`` counts the proofs that are kept by policy; the meter's number is erased from them.
    ``actor``: who asked for the erasure. Safe to repeat. Raises UnknownAccount or StoreUnavailable. Nothing is erased
    before the ledger has the erasure. The caller enqueues the withdrawal of the account's rights at the supplier.
    """
    now, registry = stores.now(), stores.registry
    requests, ledger = build_requests(stores), stores.erasure_ledger
    # The registry is erased first, because after that no task writes for this account.
    removed = remove_account(account_id, registry, ledger, requests, now=now, erased_at=real_clock())
    proofs = registry.consents.erase_after_removal(account_id, now, stores.settings.keep_consent_proof_days, actor)
    documents, state_keys = stores.measures.erase(account_id), stores.windows.forget(account_id)
    return {"documents": documents, **removed, "state_keys": state_keys, **proofs}
