"""The cast of the tests of access: all kinds of callers of the web service.

==========================  ===========================================================================
holder                      a browser whose session holds an account: the one that each call concerns
holder without CSRF         the same browser without the value of its page, as for a form on another site
another household           a browser whose session holds another account
operator                    a browser that has signed in at /operator, of an administrator
support operator            the same with the role support
program                     an API token with every scope
program with SCOPE          an API token with only that scope
program of another tenant   an API token with every scope, of a service with its own home
stranger                    no cookie and no token
==========================  ===========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi.testclient import TestClient

from tests.support.api_service import TODAY, ApiService
from tests.support.grants import give_grant
from tests.support.household_pages import record_outcome
from tests.support.operators import NAME, signed_in
from worker.domain.account import DEFAULT_TENANT, AccountState
from worker.domain.campaign import Campaign, Recipient
from worker.domain.series import USUAL_SERIES
from worker.domain.sessions import Role, Scope
from worker.runtime.consent_parts import build_inviter
from worker.stores.database import new_id
from worker.web.api.callers import CSRF_HEADER

HOLDER: Final = "holder"
HOLDER_WITHOUT_CSRF: Final = "holder without CSRF"
HOUSEHOLD: Final = "another household"
OPERATOR: Final = "operator"
SUPPORT: Final = "support operator"
PROGRAM: Final = "program"
STRANGER: Final = "stranger"
NEIGHBOUR: Final = "program of another tenant"
PROGRAMS: Final = {scope: f"program with {scope}" for scope in Scope}
CAST: Final = (
    HOLDER,
    HOLDER_WITHOUT_CSRF,
    HOUSEHOLD,
    OPERATOR,
    SUPPORT,
    PROGRAM,
    *PROGRAMS.values(),
    NEIGHBOUR,
    STRANGER,
)

OTHER_TENANT: Final = "kilowatt"
STACK: Final = "https://stack.example/back"  # The redirect address of a client of the proxy.
NOBODYS_ID: Final = "zzzzzzzzzzzz"  # As long as a real id, so that two answers can be compared.


@dataclass(frozen=True)
class Home:
    """An account and its secrets: its id, its meter's number, and a day of ``load`` in kWh.

    Pages round the load to one decimal, so ``load`` is only the beginning of the number in answers.
    """

    id: str
    number: str
    load: str

    @property
    def digits(self) -> str:
        return f"…{self.number[-4:]}"


class Cast:
    """The members of the cast at one service: three homes, and a new client of a member at each call of ``client``.

    ``neighbours_home`` belongs to another tenant. ``invitation_id`` and ``neighbours_invitation_id`` are invitations to
    the first home and to that one. ``campaign_id`` is a campaign that asks the first home.
    """

    def __init__(self, service: ApiService, first_number: int, state: AccountState = AccountState.READY) -> None:
        self._service = service
        self.home = self._add_home(first_number, 974_110, state)
        self.other_home = self._add_home(first_number + 1, 983_260, state)
        self.neighbours_home = self._add_home(first_number + 2, 965_430, state, OTHER_TENANT)
        inviter = build_inviter(service.parts.stores)
        self.invitation_id = inviter.invite_account(self.home.id, "the cast")[0].id
        self.neighbours_invitation_id = inviter.invite_account(self.neighbours_home.id, "the cast")[0].id
        stack = service.parts.stores.registry.proxy_clients.create("A stack", [STACK], DEFAULT_TENANT, pkce=False)[0]
        self.proxy_client_id = stack.id
        self.campaign_id = self._add_campaign()
        self.grant_id = give_grant(service.parts, stack.id, self.home.number)

    def client(self, member: str) -> TestClient:
        """Return a client of this member that follows no redirect.

        Its header CSRF_HEADER has the value of the forms on the member's own pages.
        """
        client = self._new_client(member)
        client.follow_redirects = False
        client.headers["Accept-Language"] = "en"
        return client

    def _new_client(self, member: str) -> TestClient:
        service = self._service
        if member in (HOLDER, HOLDER_WITHOUT_CSRF):
            browser = service.browser(self.home.id)
            if member == HOLDER_WITHOUT_CSRF:
                del browser.headers[CSRF_HEADER]
            return browser
        if member == HOUSEHOLD:
            return service.browser(self.other_home.id)
        if member in (OPERATOR, SUPPORT):
            return self._log_in(Role.ADMIN if member == OPERATOR else Role.SUPPORT)
        if member == PROGRAM:
            return service.client()
        if member == NEIGHBOUR:
            return service.client(tenant=OTHER_TENANT)
        scopes = [scope for scope, name in PROGRAMS.items() if name == member]
        return service.client(*scopes) if scopes else service.stranger()

    def _add_campaign(self) -> str:
        """Return a campaign that asks the first home."""
        now = self._service.parts.stores.now()
        campaign = Campaign(new_id(), "the cast", now, "--csv", 200)
        recipient = Recipient(
            id=new_id(),
            campaign_id=campaign.id,
            account_id=self.home.id,
            mail_id=new_id(),
            created_at=now,
            next_attempt_at=now,
        )
        self._service.parts.stores.registry.campaigns.create(campaign, [recipient])
        return campaign.id

    def _log_in(self, role: Role) -> TestClient:
        return signed_in(self._service.app, self._service.parts, name=NAME if role is Role.ADMIN else "bob", role=role)

    def _add_home(self, number: int, watt_hours: int, state: AccountState, tenant: str = DEFAULT_TENANT) -> Home:
        service, yesterday = self._service, TODAY - timedelta(days=1)
        account_id = service.add(number, tenant)
        service.store_days(account_id, yesterday, [watt_hours])
        for series in USUAL_SERIES:
            record_outcome(service, account_id, series)
        registry = service.parts.stores.registry
        if state is not AccountState.READY:
            registry.accounts.set_state(account_id, state, now=service.parts.stores.now())
        meter = registry.accounts.get(account_id).usage_point_id
        assert meter is not None
        return Home(account_id, meter, f"{watt_hours // 100 / 10}")
