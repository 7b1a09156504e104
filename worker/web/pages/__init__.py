"""Pages of households: first page, account, series, download, stop, removal. Operators have their own.

Pages of operators: sign-in, their own sessions and password, the fleet, invitations, proofs, erasure.

OAuth proxy for clients with accounts of their own, such as Cozy stacks: one callback address at the supplier.

1. A client sends the person to ``/auth``, whose page names the client. Its button leads on to the supplier's page.
2. The supplier sends the person to ``/redirect``. Where the consent is proven, the person goes on to the client's own
   address with a code of ours.
3. The client exchanges the code at ``/token``, and later renews its token there, in plain OAuth 2.0 (RFC 6749).
4. With v5 and 2026 it reads its meter at ``/data``: the application's own token never leaves us.

The supplier takes 100 characters of state and knows one callback address, so the client's state and address wait in
Redis. A client is one that ``releve proxy-clients new`` has made.
"""

from __future__ import annotations

from fastapi import APIRouter

from worker.web.pages import (
    account,
    account_forms,
    files,
    home,
    oauth_proxy,
    operator_access,
    operator_forms,
    operator_overview,
)

pages_router = APIRouter(include_in_schema=False)
for _module in (
    home.home_router,
    account.router,
    account_forms.joined_router,
    account_forms.series_router,
    files.download_router,
    files.download_file_router,
    files.import_files_router,
    account_forms.stop_router,
    account_forms.remove_router,
):
    pages_router.include_router(_module)


operator_router = APIRouter(include_in_schema=False)
for _module in (
    operator_overview.overview_router,
    operator_access.router,
    operator_forms.own_access_router,
    operator_forms.invitations_router,
    operator_forms.proofs_router,
    operator_forms.erase_router,
    operator_overview.accounts_router,
    operator_overview.audit_router,
):
    operator_router.include_router(_module)


proxy_router = APIRouter(prefix="/proxy", include_in_schema=False)
for module in (oauth_proxy.routes_router, oauth_proxy.token_router, oauth_proxy.data_router):
    proxy_router.include_router(module)
