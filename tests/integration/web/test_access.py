"""Who may do what: one table of all routes of the web service against the cast of tests/support/cast.py.

Each call is about the holder's account. A cell says the status and what must be in the answer.  What a cell does not
name must not be there: no id, digit or measure of any home, and never a whole meter number.  A refusal writes
nothing but its entry in the audit trail, and another household or tenant gets the same answer for the holder's account
or invitation as for one that does not exist.

To add a route, add a line to TABLE: choose the function that says whose route it is, and give what is seen.
docs/explanation/access.md explains the rules behind these functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from httpx2 import Cookies, Response
from sqlalchemy import update
from starlette.routing import Mount

from tests.support.api_service import ApiService, open_api_service
from tests.support.cast import (
    CAST,
    HOLDER,
    HOLDER_WITHOUT_CSRF,
    HOUSEHOLD,
    NEIGHBOUR,
    NOBODYS_ID,
    OPERATOR,
    PROGRAM,
    PROGRAMS,
    STACK,
    STRANGER,
    SUPPORT,
    Cast,
)
from tests.support.gas_homes import GAS_SETTINGS
from tests.support.sql_statements import changes_something, watch_statements
from worker.clients.supplier_session import Token
from worker.domain.account import DEFAULT_TENANT, AccountState
from worker.domain.sessions import Scope
from worker.stores.registry.tables import ACCESS_KEYS
from worker.web.api.callers import CSRF_HEADER

CANARY = "canary-" + "c" * 40  # In the place of the application's token, which no answer may have (H5).
RIGHT_FORM = {"csrf": "{csrf}", "pce": "GI000456", "name": "x", "postcode": "44000", "email": "a@b.fr", "consent": "y"}
TYPED_CALLBACK = {"state": "s" * 43, "code": "c0de", "usage_point_id": "{number}", "autorisation_id": "900001"}


# What a cell says


@dataclass(frozen=True)
class Sees:
    """An answer: its status and what must be in it, headers included. ``changes``: the call changes an account.

    The texts may have {id}, {digits} and {load} of the holder's home, {other_id}, … of the other household's, and
    {neighbours_id}, … of the other tenant's.
    """

    status: int
    texts: tuple[str, ...] = ()
    changes: bool = False


@dataclass(frozen=True)
class Row:
    """One route with one cell for each member of the cast, and what is sent along.

    ``route``: method and path as declared.  Texts of ``query``, ``form``, ``json`` and ``files`` may have {csrf}, the
    value of the caller's own pages, {id} and {number}, the holder's account and meter, and {new_number}, a meter
    without an account. ``state``: that of the account before the call.
    """

    route: str
    cells: Mapping[str, Sees]
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None
    files: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    state: AccountState = AccountState.READY

    @property
    def names_account(self) -> bool:
        return "{account_id}" in self.route or "{id}" in (self.json or {}).values()

    @property
    def names_invitation(self) -> bool:
        return "{invitation_id}" in self.route


def sees(status: int, *texts: str) -> Sees:
    return Sees(status, texts)


def changes(status: int, *texts: str) -> Sees:
    return Sees(status, texts, changes=True)


NOT_FOUND = sees(404, "unknown_account")
NO_SUCH_PAGE = sees(404, "Account not found")
NEEDS_LOGIN = sees(401, "unauthorized", 'Bearer realm="releve"')
ELSEWHERE = sees(409, "METER_ELSEWHERE")
NO_CALLER = dict.fromkeys((OPERATOR, SUPPORT, STRANGER), NEEDS_LOGIN)
SIGN_IN = sees(303, "/sign-in")
# A file of the holder's meter.
EXPORT: Final = (
    "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;Unite;"
    "Pas en minutes\n"
    "{number};Courbe de charge;01/07/2024;02/07/2024;Energie active;Consommation;Comptage Brut;W;\nHorodate;Valeur\n"
    "2024-07-01T00:30:00+02:00;252\n2024-07-01T01:00:00+02:00;286\n"
)
BAD_FORM = sees(403, "no longer matches your session")


def needs(scope: Scope) -> Sees:
    return sees(403, "scope_needed", f'error="insufficient_scope", scope="{scope}"')


# Whose route it is


def for_everybody(route: str, cell: Sees, but: Mapping[str, Sees] | None = None, **sent: Any) -> Row:
    """A route that looks at nobody; ``but`` has the members who see something else."""
    return Row(route, {**dict.fromkeys(CAST, cell), **(but or {})}, **sent)


def for_holder(route: str, cell: Sees, **sent: Any) -> Row:
    """A page of the account, for the browser whose session holds it; the others are told that there is none."""
    return for_everybody(route, NO_SUCH_PAGE, {HOLDER: cell, HOLDER_WITHOUT_CSRF: cell}, **sent)


def for_holders_form(route: str, cell: Sees, **sent: Any) -> Row:
    """A form of the account's own page."""
    form = {"csrf": "{csrf}", **sent.pop("form", {})}
    return for_everybody(route, NO_SUCH_PAGE, {HOLDER: cell, HOLDER_WITHOUT_CSRF: BAD_FORM}, form=form, **sent)


def for_household(route: str, cell: Sees) -> Row:
    """A page of whichever household the browser has; the others are led to the page on which they sign in."""
    return for_everybody(route, SIGN_IN, dict.fromkeys((HOLDER, HOLDER_WITHOUT_CSRF, HOUSEHOLD), cell))


def for_households_form(route: str, cell: Sees) -> Row:
    """A form of that page."""
    cells = {HOLDER: cell, HOLDER_WITHOUT_CSRF: BAD_FORM, HOUSEHOLD: cell}
    return for_everybody(route, SIGN_IN, cells, form={"csrf": "{csrf}"})


def for_operator(route: str, cell: Sees, others: Sees, **sent: Any) -> Row:
    """A page or form of the operator, whatever the role."""
    return for_everybody(route, others, dict.fromkeys((OPERATOR, SUPPORT), cell), **sent)


def for_admin(route: str, cell: Sees, others: Sees, **sent: Any) -> Row:
    """A page or form of the operator, for administrators alone."""
    return for_everybody(route, others, {OPERATOR: cell, SUPPORT: sees(403, "For administrators only")}, **sent)


def for_operators_form(route: str, cell: Sees, **sent: Any) -> Row:
    """A form of the operator's page of an account."""
    return for_operator(route, cell, others=BAD_FORM, form={"csrf": "{csrf}", **sent.pop("form", {})}, **sent)


def for_admins_form(route: str, cell: Sees, **sent: Any) -> Row:
    return for_admin(route, cell, others=BAD_FORM, form={"csrf": "{csrf}", **sent.pop("form", {})}, **sent)


def for_programs(
    route: str,
    scope: Scope,
    cell: Sees,
    but: Mapping[str, Sees] | None = None,
    neighbour: Sees = NOT_FOUND,
    **sent: Any,
) -> Row:
    """A route of the API that asks for a scope, which a household does not have.

    ``neighbour``: what the program of another tenant sees; usually that there is no such account.
    """
    cells = dict.fromkeys(CAST, needs(scope)) | {PROGRAM: cell, PROGRAMS[scope]: cell, NEIGHBOUR: neighbour}
    return Row(route, cells | NO_CALLER | dict(but or {}), **sent)


def for_programs_and_holder(
    route: str, scope: Scope, cell: Sees, holder: Sees | None = None, another: Sees = NOT_FOUND, **sent: Any
) -> Row:
    """A route of the API that asks a program for a scope, and a household for the account in its session."""
    own = dict.fromkeys((HOLDER, HOLDER_WITHOUT_CSRF), holder or cell)
    return for_programs(route, scope, cell, {**own, HOUSEHOLD: another}, **sent)


def for_programs_and_holders_page(route: str, scope: Scope, cell: Sees, holder: Sees | None = None, **sent: Any) -> Row:
    """A route of the API that changes an account, for a program with a scope and for the household's own page."""
    no_csrf = sees(403, "csrf_needed")
    own = {HOLDER: holder or cell, HOLDER_WITHOUT_CSRF: no_csrf, HOUSEHOLD: NOT_FOUND}
    return for_programs(route, scope, cell, own, **sent)


# The table

_INVITATIONS: Final = ("{id}", "{invitation}", "{neighbours_id}", "{neighbours_invitation}")
_NO_OPERATOR: Final = sees(303, "/operator")

TABLE = (
    # Pages.
    for_everybody(
        "GET /",
        sees(200, "Connect"),
        but={
            HOLDER: sees(200, "{id}", "{digits}", "{load}"),
            HOLDER_WITHOUT_CSRF: sees(200, "{id}", "{digits}", "{load}"),
            HOUSEHOLD: sees(200, "{other_id}", "{other_digits}", "{other_load}"),
        },
    ),
    for_everybody("GET /connect", sees(200, "/invitation")),
    for_holder("GET /accounts/{account_id}", sees(200, "{digits}", "{load}")),
    for_holder("GET /accounts/{account_id}/power", sees(200, "{digits}")),
    for_holder("GET /accounts/{account_id}/contract", sees(200, "{digits}")),
    for_holder("GET /accounts/{account_id}/connection", sees(200, "{digits}", "/accounts/{id}/remove")),
    for_holder("GET /accounts/{account_id}/download", sees(200, "/accounts/{id}/download/file", "{digits}")),
    for_holder("GET /accounts/{account_id}/download/file", sees(200, "{load}"), query={"columns": "fields"}),
    for_holder("GET /accounts/{account_id}/everything", sees(200, "PK")),
    # The account has no curve, but its holder's typing is checked before.
    for_holders_form("POST /accounts/{account_id}/download/enedis", sees(422, "{digits}"), form={"meter": "1"}),
    for_holder("GET /accounts/{account_id}/series", sees(200, "/accounts/{id}/series", "{digits}", "Maximum power")),
    for_holders_form(
        "POST /accounts/{account_id}/series",
        changes(303, "/accounts/{id}/series?saved=yes"),
        form={"series": "max_power"},
    ),
    for_holder("GET /accounts/{account_id}/alerts", sees(200, "/accounts/{id}/alerts", "Energy of a day")),
    for_holders_form(
        "POST /accounts/{account_id}/alerts", changes(303, "/accounts/{id}/alerts?saved=yes"), form={"energy": "12.5"}
    ),
    for_holder("GET /accounts/{account_id}/prices", sees(200, "/accounts/{id}/prices", "/accounts/{id}")),
    for_holders_form(
        "POST /accounts/{account_id}/prices",
        changes(303, "/accounts/{id}/prices?saved=yes"),
        form={"own": "[[electricity]]\nfrom = 2024-01-01\nsubscription = 0\nbase = 0.2\n"},
    ),
    for_holder("GET /accounts/{account_id}/prices/compare", sees(200, "/accounts/{id}/prices", "Subscribed power")),
    for_holders_form(
        "POST /accounts/{account_id}/name", changes(303, "/accounts/{id}/connection"), form={"name": "Maison"}
    ),
    for_holders_form("POST /accounts/{account_id}/prices/remove", changes(303, "/accounts/{id}/prices")),
    for_holder("GET /accounts/{account_id}/spans", sees(200, "/accounts/{id}/bill-day", "{digits}", "{load}")),
    for_holders_form(
        "POST /accounts/{account_id}/bill-day",
        changes(303, "/accounts/{id}/spans#bill"),
        form={"day": "14", "month": "3"},
    ),
    for_holder("GET /accounts/{account_id}/usage", sees(200, "/accounts/{id}/series", "{digits}", "is known of")),
    for_holder("GET /accounts/{account_id}/import", sees(200, "/accounts/{id}/import", "Choose the files")),
    # Files are read for nobody but the holder.
    for_holders_form(
        "POST /accounts/{account_id}/import",
        sees(200, "What these files contain", "{id}"),
        form={"look": "1"},
        files={"file": EXPORT},
    ),
    for_holder("GET /accounts/{account_id}/stop", sees(200, "/accounts/{id}/stop", "{digits}")),
    for_holders_form("POST /accounts/{account_id}/stop", changes(303, "/accounts/{id}/connection")),
    # The grant is for the meter of the holder's account.
    for_holders_form(
        "POST /accounts/{account_id}/grants/{grant_id}/end", changes(303, "/accounts/{id}/connection#grants")
    ),
    for_holder("GET /accounts/{account_id}/remove", sees(200, "{digits}")),
    for_holders_form("POST /accounts/{account_id}/remove", changes(200, "{id}", "{digits}")),
    # The household's own sessions.
    for_everybody(
        "GET /access/sessions",
        sees(303, "/"),
        but=dict.fromkeys((HOLDER, HOLDER_WITHOUT_CSRF, HOUSEHOLD), sees(200, "Signed-in devices")),
    ),
    for_everybody(
        "POST /access/sessions/{key_id}/end",
        BAD_FORM,
        dict.fromkeys((HOLDER, HOUSEHOLD), changes(303, "/access/sessions")),
        form={"csrf": "{csrf}"},
    ),
    for_everybody(
        "POST /access/sessions/end-others",
        BAD_FORM,
        dict.fromkeys((HOLDER, HOUSEHOLD), changes(303, "/access/sessions")),
        form={"csrf": "{csrf}"},
    ),
    for_everybody(
        "POST /access/log-out", BAD_FORM, dict.fromkeys((HOLDER, HOUSEHOLD), changes(303, "/")), form={"csrf": "{csrf}"}
    ),
    # The way back in.  A household's page shows its code and address; its forms change what leads to it alone.
    for_household("GET /access", sees(200, "/access/kept")),
    for_households_form("POST /access/kept", changes(303, "/access#code")),
    for_households_form("POST /access/later", changes(303, "/")),
    for_households_form("POST /access/code", changes(303, "/access#code")),
    for_households_form("POST /access/address/remove", changes(303, "/access#mail")),
    for_households_form("POST /access/notices", sees(303, "/access#mail")),  # It has no address yet.
    # The ticket of a mail is the right to switch notices off; a made-up one is none.
    for_everybody("GET /access/notices/off/{ticket}", sees(410), path="/access/notices/off/x.0"),
    for_everybody("POST /access/notices/off/{ticket}", sees(410), path="/access/notices/off/x.0"),
    for_households_form("POST /access/month", changes(303, "/access#mail")),
    for_everybody("GET /access/month/off/{ticket}", sees(410), path="/access/month/off/x.0"),
    for_everybody("POST /access/month/off/{ticket}", sees(410), path="/access/month/off/x.0"),
    for_everybody(
        "POST /access/address", sees(404), form={"csrf": "{csrf}", "address": "a@example.org"}
    ),  # No mail here.
    # Signing in.  A form is sent by the browser that has loaded it.
    for_everybody("GET /sign-in", sees(200, "/sign-in/code")),
    for_everybody("POST /sign-in/code", BAD_FORM, form={"csrf": "{csrf}", "code": "x"}),
    for_everybody("POST /sign-in/mail", sees(404), form={"csrf": "{csrf}", "address": "a@example.org"}),
    for_everybody("GET /sign-in/link", sees(200, "/sign-in/link")),
    for_everybody("POST /sign-in/link", BAD_FORM, form={"csrf": "{csrf}", "link": "x"}),
    for_everybody("GET /access/confirm", sees(200, "/access/confirm")),
    for_everybody("POST /access/confirm", BAD_FORM, form={"csrf": "{csrf}", "link": "x"}),
    # Homes.  Only accounts of the browser's own session are ever joined.
    for_everybody(
        "POST /accounts/{account_id}/home",
        NO_SUCH_PAGE,
        {HOLDER_WITHOUT_CSRF: BAD_FORM},
        form={"csrf": "{csrf}", "other": "{id}"},
    ),
    for_holders_form("POST /accounts/{account_id}/home/part", changes(303, "/accounts/{id}")),
    # A right of access: its form is the holder's, and its CSRF value that of the form which this browser has loaded.
    for_holder("GET /accounts/{account_id}/gas", sees(200, "/accounts/{id}/gas")),
    *(
        for_everybody(route, NO_SUCH_PAGE, dict.fromkeys((HOLDER, HOLDER_WITHOUT_CSRF), BAD_FORM), form=RIGHT_FORM)
        for route in ("POST /accounts/{account_id}/gas", "POST /accounts/{account_id}/gas/page")
    ),
    # An invitation of another energy, or of another browser, opens no form.
    for_everybody("GET /invitation/{invitation_id}/right", sees(410)),
    for_everybody("POST /invitation/{invitation_id}/right", sees(410), form=RIGHT_FORM),
    for_everybody("POST /invitation/{invitation_id}/right/page", sees(410), form=RIGHT_FORM),
    for_everybody("GET /connect/right/state", sees(404)),
    for_everybody("POST /connect/right/state", BAD_FORM, form={"csrf": "{csrf}"}),
    for_everybody(
        "GET /connect/right/again",
        sees(303, "/invitation"),
        {
            HOLDER: sees(303, "/accounts/{id}/gas"),
            HOLDER_WITHOUT_CSRF: sees(303, "/accounts/{id}/gas"),
            HOUSEHOLD: sees(303, "/accounts/{other_id}/gas"),
        },
    ),
    for_holder("GET /accounts/{account_id}/renew", sees(200, "/accounts/{id}/renew", "{digits}")),
    # Only a simulator is told the meter.
    for_holders_form("POST /accounts/{account_id}/renew", changes(303, "oauth2/authorize", "usage_point_id={number}")),
    # Consent.  Nothing that an address says is a proof: a typed callback is nothing to anybody.
    for_everybody("GET /connect/{supplier}", sees(303, "oauth2/authorize", "state=")),
    for_everybody("GET /callback/{supplier}", sees(400), query=TYPED_CALLBACK),
    for_everybody("POST /connect/new-holder", BAD_FORM, form={"connection": "c" * 32, "csrf": "{csrf}"}),
    for_everybody("POST /connect/join", BAD_FORM, form={"offer": "b2ZmZXI=", "choice": "join"}),
    # A reading of the meter belongs to the browser's own request, which has no proof yet.
    for_everybody("GET /connect/reading", sees(404)),
    for_everybody("POST /connect/reading", BAD_FORM, form={"register_BASE": "12345", "csrf": "{csrf}"}),
    for_everybody("GET /connect/reading/outcome", sees(404)),
    for_everybody("POST /connect/reading/outcome", BAD_FORM, form={"csrf": "{csrf}"}),
    # An invitation is opened with the CSRF value of the form that this browser has loaded.
    for_everybody("GET /invitation", sees(200, "/invitation")),
    for_everybody("POST /invitation", BAD_FORM, form={"invitation": "invite_x", "csrf": "{csrf}"}),
    for_everybody("GET /invitation/again", sees(410)),
    # A campaign's link is opened in the same way.
    for_everybody("GET /renew", sees(200, "/renew")),
    for_everybody("POST /renew", BAD_FORM, form={"invitation": "x.y", "answer": "yes", "csrf": "{csrf}"}),
    # Nobody invites himself, unless the settings say that all homes are pretended.
    for_everybody("POST /invitation/pretend", sees(404), form={"usage_point_id": "{number}"}),
    # The proxy for other services; who asks for a token is checked by the client's own id and secret.
    for_everybody(
        "GET /proxy/{supplier}/auth",
        sees(200, "A stack", "stack.example"),
        query={"client_id": "{proxy_client}", "redirect_uri": STACK, "state": "s"},
    ),
    for_everybody(
        "POST /proxy/{supplier}/auth",
        BAD_FORM,
        form={"client_id": "{proxy_client}", "redirect_uri": STACK, "state": "s", "csrf": "{csrf}"},
    ),
    for_everybody("GET /proxy/{supplier}/redirect", sees(400), query=TYPED_CALLBACK),
    for_everybody("GET /proxy/{supplier}/redirect_parent", sees(400), query=TYPED_CALLBACK),
    for_everybody("POST /proxy/{supplier}/token", sees(401, "invalid_client"), form={"grant_type": "refresh_token"}),
    # Who reads is known by an access token of the proxy, which is none of the API's.
    for_everybody(
        "GET /proxy/{supplier}/data/{path:path}",
        sees(401, "invalid_token"),
        path="/proxy/enedis/data/mesure_synchrone_auto/v2/consommation_quotidienne",
        query={"pointId": "{number}", "dateDebut": "2024-07-20", "dateFin": "2024-07-22"},
    ),
    # The operator.
    for_operator("GET /operator", sees(200, "/operator/logout", "{campaign}"), others=sees(200, 'type="password"')),
    # The page names accounts with an open invitation, of all tenants, and no others.
    for_operator("GET /operator/invitations", sees(200, *_INVITATIONS), others=_NO_OPERATOR),
    for_operator("GET /operator/access", sees(200, "/operator/logout"), others=_NO_OPERATOR),
    # A sign-in is a form without a session: its field belongs to the page that this browser has loaded.
    for_everybody("POST /operator/login", sees(403, 'type="password"'), form={"csrf": "{csrf}", "name": "alice"}),
    for_everybody("GET /operator/link", sees(200, "/operator/link")),
    for_everybody("POST /operator/link", sees(403, "/operator/link"), form={"csrf": "{csrf}", "link": "x"}),
    for_operator("POST /operator/logout", changes(303, "/operator"), others=BAD_FORM, form={"csrf": "{csrf}"}),
    for_operator(
        "POST /operator/sessions/end-others",
        changes(303, "/operator/access"),
        others=BAD_FORM,
        form={"csrf": "{csrf}"},
    ),
    # A new password asks for the password and a code again; a refused form is shown on the page.
    for_operator("POST /operator/password", sees(422, "/operator/logout"), others=BAD_FORM, form={"csrf": "{csrf}"}),
    for_operator(  # The link names the meter by its last digits.
        "POST /operator/invitations",
        changes(200, "/invitation#invite_", "{digits}"),
        others=BAD_FORM,
        form={"csrf": "{csrf}", "whom": "{new_number}"},
    ),
    for_operator(
        "POST /operator/invitations/{invitation_id}/revoke",
        changes(303, "/operator/invitations"),
        others=BAD_FORM,
        form={"csrf": "{csrf}"},
    ),
    # Who searches gives the number or the id of one account, and sees the state of this one.
    for_operator(
        "POST /operator/search",
        sees(303, "/operator/accounts/{id}"),
        others=BAD_FORM,
        form={"csrf": "{csrf}", "wanted": "{number}"},
    ),
    for_operator("GET /operator/accounts/{account_id}", sees(200, "{id}"), others=_NO_OPERATOR),
    for_operators_form("POST /operator/accounts/{account_id}/sync", sees(303, "{id}?done=sync&number=")),
    for_operators_form("POST /operator/accounts/{account_id}/pause", changes(303, "{id}?done=pause")),
    for_operators_form(
        "POST /operator/accounts/{account_id}/resume", changes(303, "{id}?done=resume"), state=AccountState.PAUSED
    ),
    for_admins_form(
        "POST /operator/accounts/{account_id}/series",
        changes(303, "{id}?done=series"),
        form={"switch": "max_power fleet on"},
    ),
    for_admins_form(
        "POST /operator/accounts/{account_id}/end-sessions", changes(303, "{id}?done=end-sessions&number=")
    ),
    for_operators_form(  # This operator hasn't seen the note that is there.
        "POST /operator/accounts/{account_id}/note", sees(409, "{id}", "moved out"), form={"text": "moved out"}
    ),
    # An erasure asks for the password and a code again.
    for_admins_form(
        "POST /operator/accounts/{account_id}/erase",
        sees(403, "{id}"),
        form={"sure": "yes", "password": "a guess", "code": "000000"},
    ),
    # Operators see the accounts of all services, and of each its state.
    for_operator(
        "GET /operator/accounts",
        sees(200, "/operator/accounts/{id}", "{other_id}", "{neighbours_id}"),
        others=_NO_OPERATOR,
    ),
    for_admins_form("POST /operator/accounts.csv", sees(200, "{id},", "{other_id}", "{neighbours_id}")),
    # The trail names the accounts to which something was done; nothing was done to these yet.
    for_operator("GET /operator/audit", sees(200, "session.open"), others=_NO_OPERATOR),
    # An upload is for an administrator who is logged in, before it is read.
    for_admin(
        "POST /operator/rights/{right_id}/proofs",
        sees(422, "Choose 1 to 3 files"),
        others=BAD_FORM,
        form={"csrf": "{csrf}"},
    ),
    # A campaign's page names accounts; its list is read, and its CSV and mails begin, for administrators alone.
    for_operator("GET /operator/campaigns", sees(200, "/operator/campaigns/{campaign}"), others=_NO_OPERATOR),
    for_admins_form(
        "POST /operator/campaigns",
        sees(422, "Line 2: no account has this reference or id", "/operator/campaigns/{campaign}"),
        form={"per_day": "200"},
        files={"csv": "account;mail\nnobody;a@example.org\n"},
    ),
    for_operator("GET /operator/campaigns/{campaign_id}", sees(200, "{id}", "{campaign}"), others=_NO_OPERATOR),
    for_operators_form("POST /operator/campaigns/{campaign_id}/stop", changes(303, "/operator/campaigns/{campaign}")),
    for_admins_form("POST /operator/campaigns/{campaign_id}/resume", changes(303, "/operator/campaigns/{campaign}")),
    for_admins_form(
        "POST /operator/campaigns/{campaign_id}/remove", changes(303, "/operator/campaigns"), form={"sure": "yes"}
    ),
    for_admins_form("POST /operator/campaigns/{campaign_id}/left.csv", sees(200, "{id},", "{campaign}")),
    # The API.
    for_programs_and_holder(
        "GET /api/accounts",
        Scope.READ_ACCOUNTS,
        sees(200, "{id}", "{other_id}"),
        holder=sees(200, "{id}", "{digits}"),
        another=sees(200, "{other_id}", "{other_digits}"),
        neighbour=sees(200, "{neighbours_id}"),
        query={"limit": "500"},
    ),
    for_programs(
        "POST /api/accounts",
        Scope.WRITE_ACCOUNTS,
        changes(201),
        neighbour=changes(201),
        json={"usage_point": "{new_number}"},
    ),
    for_programs(  # Two services never have the same meter.
        "POST /api/accounts",
        Scope.WRITE_ACCOUNTS,
        sees(409, "account_exists", "{id}"),
        neighbour=ELSEWHERE,
        json={"usage_point": "{number}"},
    ),
    # The number is in the body; another service's account is not found.
    for_programs(
        "POST /api/accounts/search",
        Scope.READ_ACCOUNTS,
        sees(200, "{id}"),
        but=dict.fromkeys((HOLDER, HOLDER_WITHOUT_CSRF, HOUSEHOLD), sees(403, "token_needed")),
        neighbour=sees(200, '"accounts":[]'),
        json={"usage_point": "{number}"},
    ),
    for_programs_and_holder(
        "GET /api/accounts/{account_id}",
        Scope.READ_ACCOUNTS,
        sees(200, "{id}"),
        holder=sees(200, "{id}", "{digits}"),
    ),
    for_programs("POST /api/accounts/{account_id}/pause", Scope.WRITE_ACCOUNTS, changes(200, "paused")),
    for_programs(
        "POST /api/accounts/{account_id}/resume",
        Scope.WRITE_ACCOUNTS,
        changes(200, "ready"),
        state=AccountState.PAUSED,
    ),
    for_programs_and_holders_page(
        "POST /api/accounts/{account_id}/stop",
        Scope.WRITE_ACCOUNTS,
        changes(200, "{id}"),
        holder=changes(200, "{id}", "{digits}"),
    ),
    for_programs_and_holders_page(
        "POST /api/accounts/{account_id}/import",
        Scope.WRITE_ACCOUNTS,
        sees(200, "{id}", "{digits}", "load_curve"),
        query={"dry_run": "true"},
        files={"file": EXPORT},
    ),
    for_programs_and_holders_page("DELETE /api/accounts/{account_id}", Scope.ERASE_ACCOUNTS, changes(200, "erased")),
    for_programs_and_holder(
        "GET /api/accounts/{account_id}/status", Scope.READ_ACCOUNTS, sees(200, "{id}", "load_curve")
    ),
    for_programs_and_holder(
        "GET /api/accounts/{account_id}/series", Scope.READ_ACCOUNTS, sees(200, "{id}", "max_power")
    ),
    for_programs(
        "PATCH /api/accounts/{account_id}/series",
        Scope.WRITE_ACCOUNTS,
        changes(200, "{id}", "max_power"),
        json={"series": {"max_power": "on"}},
    ),
    for_programs_and_holder(
        "GET /api/accounts/{account_id}/measures", Scope.READ_MEASURES, sees(200, "{load}"), query={"by": "day"}
    ),
    for_programs_and_holder(
        "GET /api/accounts/{account_id}/measures", Scope.READ_MEASURES, sees(200, "{load}"), query={"format": "csv"}
    ),
    for_programs_and_holder("GET /api/accounts/{account_id}/costs", Scope.READ_MEASURES, sees(200, "{id}", '"costs"')),
    for_programs_and_holder(
        "GET /api/accounts/{account_id}/progress", Scope.READ_ACCOUNTS, sees(200, "{id}", "load_curve")
    ),
    for_programs_and_holder(
        "GET /api/accounts/{account_id}/progress/stream",
        Scope.READ_ACCOUNTS,
        sees(204),  # A stream goes on for minutes; to a browser that has seen its end it says so at once.
        headers={"Last-Event-ID": "loaded"},
    ),
    # Schemas hold nothing of any account; whoever may call the API at all reads them.
    for_everybody("GET /api/schemas", sees(200, "com.grandlyon.enedis.day"), NO_CALLER),
    for_everybody("GET /api/schemas/{doctype}", sees(200, "additionalProperties"), NO_CALLER),
    # Invitations are for programs alone: their list names accounts, and a link opens one.
    for_programs(
        "GET /api/invitations",
        Scope.READ_ACCOUNTS,
        sees(200, "{id}", "{invitation}"),
        but=dict.fromkeys((HOLDER, HOLDER_WITHOUT_CSRF, HOUSEHOLD), sees(403, "token_needed")),
        neighbour=sees(200, "{neighbours_id}", "{neighbours_invitation}"),
        query={"limit": "500"},
    ),
    for_programs(
        "POST /api/invitations",
        Scope.WRITE_ACCOUNTS,
        changes(201, "/invitation#invite_"),
        neighbour=changes(201, "/invitation#invite_"),
        json={"usage_point": "{new_number}"},
    ),
    for_programs(
        "POST /api/invitations",
        Scope.WRITE_ACCOUNTS,
        changes(201, "/invitation#invite_", "{id}"),
        json={"account": "{id}"},
    ),
    for_programs(
        "POST /api/invitations",
        Scope.WRITE_ACCOUNTS,
        sees(409, "meter_has_account", "{id}"),
        neighbour=ELSEWHERE,
        json={"usage_point": "{number}"},
    ),
    for_programs(
        "DELETE /api/invitations/{invitation_id}",
        Scope.WRITE_ACCOUNTS,
        changes(200, "revoked", "{id}", "{invitation}"),
        neighbour=sees(404, "unknown_invitation"),
    ),
    # The trail of a service is for its programs that have the scope.
    for_programs("GET /api/audit", Scope.READ_AUDIT, sees(200, '"entries"'), neighbour=sees(200, '"entries"')),
    # What is the same for all.
    for_everybody("GET /api/openapi.json", sees(200, '"openapi"')),
    for_everybody("GET /api/docs", sees(200, "POST</strong> <code>/api/accounts/search</code>")),
    for_everybody("HEAD /api/openapi.json", sees(200)),
    for_everybody("GET /static", sees(200), path="/static/page.css"),
    for_everybody("HEAD /static", sees(200), path="/static/page.css"),
)


# What the table is held to


class Stage:
    """One service with its cast, both as they were at first whenever ``put_back`` is called."""

    def __init__(self, service: ApiService, folder: Path) -> None:
        self.service, self.cast = service, Cast(service, 1001)
        self._clients = {member: self.cast.client(member) for member in CAST}
        self._cookies = {member: Cookies(client.cookies) for member, client in self._clients.items()}
        self._stored = {folder / name: sqlite3.connect(":memory:") for name in ("registry.db", "measures.db")}
        for file, copy in self._stored.items():
            with closing(sqlite3.connect(file)) as connection:
                connection.backup(copy)

    def put_back(self, state: AccountState = AccountState.READY) -> None:
        for file, copy in self._stored.items():
            with closing(sqlite3.connect(file)) as connection:
                copy.backup(connection)
        parts = self.service.parts
        with parts.stores.registry.database.writing() as connection:  # A visit is recorded again after a minute.
            connection.execute(update(ACCESS_KEYS).values(last_seen_at=datetime.now(UTC)))
        parts.stores.redis.flushdb()
        parts.sync.suppliers.main.application_token.save(Token(CANARY).to_text(), None)
        if state is not AccountState.READY:
            parts.stores.registry.accounts.set_state(self.cast.home.id, state, now=parts.stores.now())

    def client(self, member: str) -> TestClient:
        client = self._clients[member]
        client.cookies = self._cookies[member]
        return client

    def close(self) -> None:
        for copy in self._stored.values():
            copy.close()


@pytest.fixture(scope="module")
def stage(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Yield one service for the whole table; nothing leaves it for the broker."""
    folder = tmp_path_factory.mktemp("access")
    with pytest.MonkeyPatch.context() as patch, open_api_service(redis_url, folder, **GAS_SETTINGS) as service:
        patch.setattr("worker.web.dependencies.enqueue_backfill", lambda *_, **__: None)
        patch.setattr("worker.web.pages.operator_account.enqueue_look_back", lambda *_, **__: None)
        with closing(Stage(service, folder)) as stage:
            yield stage


@pytest.fixture
def service(stage: Stage) -> ApiService:
    return stage.service


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.route}{'?' + '&'.join(row.query) if row.query else ''}")
def test_each_member_of_the_cast_sees_what_the_table_says_and_nothing_else(stage: Stage, row: Row) -> None:
    stage.put_back(row.state)
    for member, cell in row.cells.items():
        stage.service.forget_limits()
        check_cell(stage.cast, stage.client(member), row, member, cell)
        if cell.changes:
            stage.put_back(row.state)


def check_cell(cast: Cast, client: TestClient, row: Row, member: str, cell: Sees) -> None:
    with watch_statements(changes_something) as writes:
        answer = ask(client, row, cast.home.id, cast)
    text, where = text_of(answer), f"{row.route} by {member}"
    assert answer.status_code == cell.status, f"{where}: {text[:2000]}"
    assert CANARY not in text, f"{where}: the application's own token is seen"
    names = names_of(cast)
    shown = {name for name in names if any(f"{{{name}}}" in expected for expected in cell.texts)}
    for expected in cell.texts:
        assert expected.format(**names) in text, f"{where}: {expected} is not seen"
    said_by_caller = {"id"} if row.names_account else {"invitation"} if row.names_invitation else set()
    said_by_caller |= {"campaign"} if "{campaign_id}" in row.route else set()
    for hidden in names.keys() - shown - said_by_caller:
        assert names[hidden] not in text, f"{where}: {hidden} is seen"
    assert bool(writes) is cell.changes, f"{where}: {writes or 'nothing is written'}"
    assert cell is not ELSEWHERE or DEFAULT_TENANT not in answer.text, f"{where}: it tells who reads the meter"
    if row.names_account and cell.status >= 400 and member not in (HOLDER, HOLDER_WITHOUT_CSRF, OPERATOR, SUPPORT):
        nobodys = text_of(ask(client, row, NOBODYS_ID, cast))
        assert text == nobodys.replace(NOBODYS_ID, cast.home.id), f"{where}: it tells that the account exists"
    if row.names_invitation and member == NEIGHBOUR and cell.status >= 400:
        nobodys = text_of(ask(client, row, cast.home.id, cast, invitation_id=NOBODYS_ID))
        assert text == nobodys.replace(NOBODYS_ID, cast.invitation_id), f"{where}: it tells that the invitation exists"


def ask(client: TestClient, row: Row, account_id: str, cast: Cast, invitation_id: str | None = None) -> Response:
    method, _, path = row.route.partition(" ")
    values = {
        "csrf": client.headers.get(CSRF_HEADER, ""),
        "id": account_id,
        "number": cast.home.number,
        "proxy_client": cast.proxy_client_id,
        "new_number": f"9{cast.home.number[1:]}",
    }
    fill = {"account_id": account_id, "supplier": "enedis", "invitation_id": invitation_id or cast.invitation_id}
    fill |= {"doctype": "com.grandlyon.enedis.day", "right_id": "f" * 20, "key_id": "h4t8q2mxk0ra"}
    fill |= {"grant_id": cast.grant_id, "campaign_id": cast.campaign_id}
    return client.request(
        method,
        (row.path or path.replace("{path:path}", "x")).format(**fill),
        params=_filled(row.query, values),
        data=_filled(row.form, values),
        json=_filled(row.json, values),
        files=_filled(row.files, values),
        headers=dict(row.headers),
    )


def _filled(texts: Mapping[str, Any] | None, values: Mapping[str, str]) -> dict[str, Any] | None:
    if texts is None:
        return None
    return {name: text.format(**values) if isinstance(text, str) else text for name, text in texts.items()}


def text_of(answer: Response) -> str:
    """Return headers and body, without cookies, whose signatures are random, and how many calls the caller has left."""
    headers = [f"{name}: {value}" for name, value in answer.headers.items() if name not in ("set-cookie", "ratelimit")]
    return "\n".join((*headers, "", answer.text))


def names_of(cast: Cast) -> dict[str, str]:
    """Return what a cell may name; the whole number of a meter is in no answer at all."""
    homes = {"": cast.home, "other_": cast.other_home, "neighbours_": cast.neighbours_home}
    return {
        **{
            f"{whose}{name}": getattr(home, name)
            for whose, home in homes.items()
            for name in ("id", "number", "digits", "load")
        },
        "invitation": cast.invitation_id,
        "neighbours_invitation": cast.neighbours_invitation_id,
        "campaign": cast.campaign_id,
    }


def declared_routes(service: ApiService) -> set[str]:
    """Return all routes of the application as `METHOD /path`; what is mounted answers GET and HEAD."""
    routes = set()
    for route in iter_route_contexts(service.app.routes):
        mounted = isinstance(route.original_route, Mount)
        routes |= {f"{method} {route.path}" for method in ({"GET", "HEAD"} if mounted else route.methods or ())}
    return routes


def test_every_route_has_a_row(service: ApiService) -> None:
    missing = declared_routes(service) - {row.route for row in TABLE}
    assert not missing, f"add a row for {sorted(missing)} to TABLE in {Path(__file__).name}: who may call it, and why"


def test_every_row_has_a_route(service: ApiService) -> None:
    gone = {row.route for row in TABLE} - declared_routes(service)
    assert not gone, f"take {sorted(gone)} out of TABLE in {Path(__file__).name}, or put the route back"


def test_every_row_has_a_cell_for_each_member() -> None:
    assert [row.route for row in TABLE if set(row.cells) != set(CAST)] == []


def test_a_method_that_no_route_declares_is_refused(stage: Stage) -> None:
    """One request a method; tests/unit/web/test_routes.py asks the router about all routes."""
    stage.put_back()
    undeclared = {
        "HEAD /callback/enedis": {405},
        "PUT /accounts/{account_id}": {405},
        "PATCH /operator": {405},
        "TRACE /connect/{supplier}": {405},
        "OPTIONS /api/accounts": {405},
        "POST /api/accounts/{account_id}": {405},
        "DELETE /static/page.css": {405},
        # There is no such supplier, and no such account: 401 for who is nobody to the API.
        "GET /connect/new-holder": {404},
        "GET /connect/join": {404},
        "GET /api/accounts/search": {401, 404},
        "DELETE /api/accounts/search": {401, 404},
    }
    for client in map(stage.client, (HOLDER, PROGRAM, OPERATOR)):
        for route, statuses in undeclared.items():
            answer = ask(client, Row(route, {}), stage.cast.home.id, stage.cast)
            assert answer.status_code in statuses, route
