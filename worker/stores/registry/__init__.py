"""The registry in SQL: accounts with their consents, tokens and outcomes, households, operators, notices, outputs.

The registry, not Redis, is the source of truth about accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from worker.domain.clock import Clock, real_clock
from worker.domain.series import USUAL_SERIES, Series
from worker.stores.database import Database
from worker.stores.encryption import KeyedHashes, RegistryKeys, Sealer
from worker.stores.registry import migrations

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from worker.stores.registry.access_keys import SessionTable
    from worker.stores.registry.account_details import AccountDetailTable
    from worker.stores.registry.account_lists import AccountLists
    from worker.stores.registry.accounts import AccountTable
    from worker.stores.registry.api_tokens import ApiTokenTable, TenantTable
    from worker.stores.registry.audit import AuditTable
    from worker.stores.registry.campaigns import CampaignTable
    from worker.stores.registry.consents import ConsentTable, PendingRefusals
    from worker.stores.registry.due import DueTable, PolicyTable
    from worker.stores.registry.erased_meters import ErasureTable, ReadingTryTable
    from worker.stores.registry.evidence import EvidenceCheck
    from worker.stores.registry.fleet_counts import Overview
    from worker.stores.registry.households import HomeTable
    from worker.stores.registry.invitations import InvitationTable
    from worker.stores.registry.notices import NoticeTable
    from worker.stores.registry.outcomes import CompletenessTable, OutcomeTable
    from worker.stores.registry.outputs import OutboxTable, OutputTable
    from worker.stores.registry.proxy import ProxyClientTable, ProxyGrantTable
    from worker.stores.registry.public_files import PublicFileTable
    from worker.stores.registry.rights import RightTable
    from worker.stores.registry.supplier_answers import CorrectionTable, QuarantineTable, RawAnswerTable
    from worker.stores.registry.user_tokens import TokenTable

_WRITER_EXPIRY: Final = timedelta(minutes=10)


def _table(place: str, *further: str) -> Any:
    """Return a cached property that builds a table from the database and the registry attributes named in ``further``.

    ``place``: the module and the class of the table, such as ``due.DueTable``.
    """
    module, _, name = place.partition(".")

    def build(registry: Registry) -> Any:
        table = getattr(import_module(f"{__name__}.{module}"), name)
        return table(registry.database, *(getattr(registry, need) for need in further))

    return cached_property(build)


class Registry:
    """The tables of one registry. The module and the keys of a table are loaded when the table is first used.

    Every method of a table may raise StoreUnavailable.
    """

    tokens: TokenTable = _table("user_tokens.TokenTable", "sealer")
    accounts: AccountTable = _table("accounts.AccountTable", "tokens", "invitations", "fleet", "keys")
    lists: AccountLists = _table("account_lists.AccountLists")
    account_details: AccountDetailTable = _table("account_details.AccountDetailTable", "sealer")
    outcomes: OutcomeTable = _table("outcomes.OutcomeTable", "fleet")
    completeness: CompletenessTable = _table("outcomes.CompletenessTable")
    due: DueTable = _table("due.DueTable")
    policies: PolicyTable = _table("due.PolicyTable")
    invitations: InvitationTable = _table("invitations.InvitationTable", "sealer")
    consents: ConsentTable = _table("consents.ConsentTable", "sealer")
    campaigns: CampaignTable = _table("campaigns.CampaignTable", "now")
    pending_refusals: PendingRefusals = _table("consents.PendingRefusals", "sealer")
    evidence: EvidenceCheck = _table("evidence.EvidenceCheck", "sealer")
    rights: RightTable = _table("rights.RightTable", "sealer", "hashes")
    notices: NoticeTable = _table("notices.NoticeTable")
    erasures: ErasureTable = _table("erased_meters.ErasureTable", "hashes")
    reading_tries: ReadingTryTable = _table("erased_meters.ReadingTryTable", "hashes")
    corrections: CorrectionTable = _table("supplier_answers.CorrectionTable")
    quarantine: QuarantineTable = _table("supplier_answers.QuarantineTable", "sealer")
    raw_answers: RawAnswerTable = _table("supplier_answers.RawAnswerTable", "sealer")
    api_tokens: ApiTokenTable = _table("api_tokens.ApiTokenTable")
    tenants: TenantTable = _table("api_tokens.TenantTable", "sealer")
    public_files: PublicFileTable = _table("public_files.PublicFileTable")
    proxy_clients: ProxyClientTable = _table("proxy.ProxyClientTable")
    proxy_grants: ProxyGrantTable = _table("proxy.ProxyGrantTable")
    homes: HomeTable = _table("households.HomeTable")
    sessions: SessionTable = _table("access_keys.SessionTable")
    outputs: OutputTable = _table("outputs.OutputTable", "sealer", "writer_expiry")
    outbox: OutboxTable = _table("outputs.OutboxTable", "now", "writer_expiry")
    audit: AuditTable = _table("audit.AuditTable")
    overview: Overview = _table("fleet_counts.Overview")

    def __init__(
        self,
        database: Database,
        keys: RegistryKeys,
        *,
        fleet: Sequence[Series] = USUAL_SERIES,
        now: Clock = real_clock,
        writer_expiry: timedelta = _WRITER_EXPIRY,
    ) -> None:
        """``fleet``: the series that are collected for every account by default.

        ``writer_expiry``: after this time, a process that began to write rows for an output and hasn't finished counts
        as dead.
        """
        self.database, self.keys = database, keys
        self.fleet, self.now, self.writer_expiry = fleet, now, writer_expiry

    def __repr__(self) -> str:
        return f"Registry({self.database.address})"

    @property
    def sealer(self) -> Sealer:
        return self.keys.registry

    @property
    def hashes(self) -> KeyedHashes:
        return self.keys.hashes

    def join(self, connection: Connection) -> Registry:
        """Return a copy of this registry whose tables run all their calls inside the transaction of ``connection``."""
        return Registry(
            self.database.join(connection), self.keys, fleet=self.fleet, now=self.now, writer_expiry=self.writer_expiry
        )

    def schema_version(self) -> str | None:
        """Return the migration step of the registry's tables; None if the registry is empty."""
        with self.database.reading() as connection:
            return migrations.current_step(connection)
