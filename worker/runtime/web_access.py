"""The parts that only the web application builds: sessions, codes and operators. No worker has their keys."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings
from worker.accounts.campaigns import CampaignDesk
from worker.accounts.household_access import HomeAccess, HouseholdAccess, HouseholdMails
from worker.accounts.notice_channels import NoticeChannels
from worker.accounts.notice_services import MailService
from worker.accounts.notices import NoticeSender
from worker.domain.networks import parse_networks
from worker.runtime.keys import build_sealer, session_keys
from worker.runtime.stores import Stores
from worker.runtime.supplier_settings import chosen_presets
from worker.stores.database import Database
from worker.stores.encryption import Purpose, Sealer, Signer
from worker.stores.redis.locks import RateLimiter
from worker.stores.registry.access_keys import AccessKeyTable, OperatorTable
from worker.stores.registry.households import HouseholdTable, MailAddressTable


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAccess:
    """The tables for the sign-in of operators, and the sealer of all secrets that sign a browser in."""

    sealer: Sealer
    keys: AccessKeyTable
    operators: OperatorTable


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAccess(OperatorAccess):
    """What the web needs to sign in both operators and households.

    These are their tables, the ways for households to regain access, and the signer of forms.
    """

    signer: Signer
    households: HouseholdTable
    ways_back: HouseholdAccess
    mails: HouseholdMails
    notice_sender: NoticeSender
    home: HomeAccess
    campaigns: CampaignDesk


def build_operator_access(settings: Settings, database: Database) -> OperatorAccess:
    """Return the tables and the sealer for the sign-in of operators. Raises ConfigError like ``build_sealer``."""
    sealer = build_sealer(settings, Purpose.WEB_ACCESS)
    keys, operators = AccessKeyTable(database, sealer), OperatorTable(database, sealer)
    return OperatorAccess(sealer=sealer, keys=keys, operators=operators)


def build_mail_service(settings: Settings) -> MailService:
    return MailService(notify_urls=settings.notify_urls(), networks=parse_networks(settings.webhook_networks))


def build_web(stores: Stores) -> WebAccess:
    """Return the parts that open and end sessions. Raises ConfigError like ``build_sealer``."""
    settings, registry = stores.settings, stores.registry
    of_operators = build_operator_access(settings, registry.database)
    keys, sealer = of_operators.keys, of_operators.sealer
    households = HouseholdTable(registry.database, sealer)
    addresses = MailAddressTable(registry.database, sealer, stores.keys.hashes)
    signer = Signer(session_keys(settings))
    mails = HouseholdMails(
        keys=keys,
        households=households,
        addresses=addresses,
        registry=registry,
        limiter=RateLimiter(stores.redis),
        signer=signer,
        public_url=settings.public_url,
        mail_service=build_mail_service(settings),
    )
    return WebAccess(
        sealer=sealer,
        keys=keys,
        operators=of_operators.operators,
        signer=signer,
        households=households,
        ways_back=HouseholdAccess(keys=keys, households=households, addresses=addresses),
        mails=mails,
        notice_sender=NoticeSender(
            registry=registry, channels=NoticeChannels(of_settings={}, household=mails), now=stores.now
        ),
        home=HomeAccess(keys=keys, households=households, registry=registry),
        campaigns=CampaignDesk(
            registry=registry,
            mails=mails,
            sealer=sealer,
            presets=chosen_presets(settings),
            language=settings.notify_language,
        ),
    )
