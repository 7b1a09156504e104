"""Pages of households: first page, account, download, stop, removal. The operator's page has a router of its own."""

from __future__ import annotations

from fastapi import APIRouter

from worker.web.pages import account, download, home, remove, stop

router = APIRouter(include_in_schema=False)
for _module in (home, account, download, stop, remove):
    router.include_router(_module.router)
