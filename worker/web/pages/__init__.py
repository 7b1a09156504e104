"""Pages of households: first page, account, download, removal. The operator's page has a router of its own."""

from __future__ import annotations

from fastapi import APIRouter

from worker.web.pages import account, download, home, remove

router = APIRouter(include_in_schema=False)
for _module in (home, account, download, remove):
    router.include_router(_module.router)
