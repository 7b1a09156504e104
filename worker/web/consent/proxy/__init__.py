"""OAuth proxy for clients with accounts of their own, such as Cozy stacks: one callback address at the supplier.

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

from worker.web.consent.proxy import data, routes, token

router = APIRouter(prefix="/proxy", include_in_schema=False)
for module in (routes, token, data):
    router.include_router(module.router)
