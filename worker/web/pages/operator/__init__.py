"""Pages of operators: sign-in, their own sessions and password, the fleet, invitations, proofs, erasure."""

from __future__ import annotations

from fastapi import APIRouter

from worker.web.pages.operator import accounts, audit, erase, invitations, overview, own_access, proofs, sign_in

router = APIRouter(include_in_schema=False)
for _module in (overview, sign_in, own_access, invitations, proofs, erase, accounts, audit):
    router.include_router(_module.router)
